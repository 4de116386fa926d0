// What a test may change about the emulated device, and what it may ask.
//
// A setting NAME begins as the environment variable EMULATED_NAME says (in capitals, an integer), else as
// listed in settings.cc. In the process, emulated_set changes it and emulated_reset undoes all changes.
#pragma once
#include <atomic>
#include <string>

enum Setting {
    DEVICES,
    CAPABILITY,
    MULTIPROCESSORS,
    MEMORY_BYTES,
    PINNABLE_BYTES,
    EAGER,
    FAIL_LAUNCH,
    REFUSE_LAUNCH,
    FAIL_SYNCHRONIZE,
    FAIL_COPY,
    FAIL_CODE,
    SETTINGS
};

enum Counter {
    LIVE_BYTES,
    LIVE_PINNED_BYTES,
    LIVE_CONTEXTS,
    LIVE_STREAMS,
    LIVE_EVENTS,
    LIVE_MODULES,
    LEAKED_BYTES,
    LEAKED_PINNED_BYTES,
    LAUNCHES,
    COPIES,
    UNPINNED_COPIES,
    SYNCHRONIZATIONS,
    MISUSES,
    COUNTERS
};

extern std::atomic<long long> settings[SETTINGS], counters[COUNTERS];

// Count down a fault that is set to the k-th next operation; true when it is this one.
bool strikes(Setting fault);

// The error of a fault: FAIL_CODE where it is set.
int fault_code(int usual);

// Take note of what a real driver might let pass, or punish by wrong results.
void misuse(const std::string &what);
