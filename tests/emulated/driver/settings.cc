// The settings, the counters, and the functions by which a test reaches them.
#include "settings.h"

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

std::atomic<long long> settings[SETTINGS], counters[COUNTERS];

namespace {

struct Known {
    const char *name;
    long long usual;
};

const Known known_settings[SETTINGS] = {
    {"devices", 1},
    {"capability", 90}, // 10 * major + minor
    {"multiprocessors", 2},
    {"memory_bytes", 1LL << 30},
    {"pinnable_bytes", 1LL << 30},
    {"eager", 0},            // 1: what is queued happens at once, rather than as late as possible
    {"fail_launch", 0},      // the k-th launch from now on is queued and then fails
    {"refuse_launch", 0},    // the k-th launch from now on is refused
    {"fail_synchronize", 0}, // the k-th waiting from now on fails
    {"fail_copy", 0},        // the k-th copy from now on fails at once
    {"fail_code", 0},        // what faults fail with; 0: each with its own error
};

const char *const counter_names[COUNTERS] = {
    "live_bytes",   "live_pinned_bytes", "live_contexts",       "live_streams", "live_events",
    "live_modules", "leaked_bytes",      "leaked_pinned_bytes", "launches",     "copies",
    "unpinned_copies", "synchronizations", "misuses",
};

std::mutex misuse_lock;
char last_misuse[256];

long long from_environment(const Known &known)
{
    std::string variable = "EMULATED_";
    for (const char *letter = known.name; *letter; ++letter)
        variable += (char)std::toupper(*letter);
    const char *value = std::getenv(variable.c_str());
    return value && *value ? std::strtoll(value, nullptr, 10) : known.usual;
}

} // namespace

bool strikes(Setting fault)
{
    return settings[fault] > 0 && --settings[fault] == 0;
}

int fault_code(int usual)
{
    return settings[FAIL_CODE] ? (int)settings[FAIL_CODE] : usual;
}

void misuse(const std::string &what)
{
    const std::lock_guard<std::mutex> guard(misuse_lock);
    ++counters[MISUSES];
    std::snprintf(last_misuse, sizeof last_misuse, "%s", what.c_str());
    std::fprintf(stderr, "emulated driver: %s\n", last_misuse);
}

extern "C" {

// Change a setting; 0, or -1 for a name that is none.
int emulated_set(const char *name, long long value)
{
    for (int i = 0; i < SETTINGS; ++i)
        if (!std::strcmp(name, known_settings[i].name)) {
            settings[i] = value;
            return 0;
        }
    return -1;
}

// The value of a setting or a counter; -1 for a name that is none.
long long emulated_get(const char *name)
{
    for (int i = 0; i < SETTINGS; ++i)
        if (!std::strcmp(name, known_settings[i].name))
            return settings[i];
    for (int i = 0; i < COUNTERS; ++i)
        if (!std::strcmp(name, counter_names[i]))
            return counters[i];
    return -1;
}

// What was done wrong last; empty if nothing was.
const char *emulated_misuse()
{
    return last_misuse;
}

// All settings as at the beginning, and nothing counted but what lives.
void emulated_reset()
{
    const std::lock_guard<std::mutex> guard(misuse_lock);
    for (int i = 0; i < SETTINGS; ++i)
        settings[i] = from_environment(known_settings[i]);
    for (int i = LEAKED_BYTES; i < COUNTERS; ++i)
        counters[i] = 0;
    last_misuse[0] = 0;
}

} // extern "C"

static const bool ready = (emulated_reset(), true);
