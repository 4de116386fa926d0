// Allocations between guard pages; pinned host memory by pages.
#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "settings.h"

namespace {

const size_t ALIGNMENT = 256; // of cuMemAlloc
const unsigned char FILLING = 0xa5;
const size_t PAGE = (size_t)sysconf(_SC_PAGESIZE);

struct Pin {
    Context *context;
    size_t bytes;
    unsigned flags;
    bool taken_here;
};

std::map<uintptr_t, Allocation> allocations;
std::map<uintptr_t, Pin> pins;
uint64_t last_number;

size_t rounded(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

bool fits(size_t bytes, Setting limit, Counter used)
{
    const long long left = settings[limit] - counters[used];
    return left > 0 && bytes <= (size_t)left;
}

// The last item that begins at or before a key.
template <class T> typename std::map<uintptr_t, T>::iterator at_or_before(std::map<uintptr_t, T> &map, uintptr_t key)
{
    auto found = map.upper_bound(key);
    return found == map.begin() ? map.end() : --found;
}

// A block is given back: the bytes behind it must be as they were, then it can't be touched any more.
void unmap(const Allocation &block)
{
    const unsigned char *const end = block.begin + rounded(block.bytes, ALIGNMENT);
    for (const unsigned char *byte = block.begin + block.bytes; byte < end; ++byte)
        if (*byte != FILLING) {
            misuse("something wrote behind an allocation of " + std::to_string(block.bytes) + " bytes");
            break;
        }
    munmap(block.mapping, block.mapped_bytes);
    counters[LIVE_BYTES] -= (long long)block.bytes;
}

void unpin_one(std::map<uintptr_t, Pin>::iterator pinned)
{
    counters[LIVE_PINNED_BYTES] -= (long long)pinned->second.bytes;
    if (pinned->second.taken_here)
        munmap((void *)pinned->first, rounded(pinned->second.bytes, PAGE));
    pins.erase(pinned);
}

} // namespace

CUresult allocate(Context *context, size_t bytes, CUdeviceptr *address)
{
    if (!bytes || !address)
        return CUDA_ERROR_INVALID_VALUE;
    if (!fits(bytes, MEMORY_BYTES, LIVE_BYTES))
        return CUDA_ERROR_OUT_OF_MEMORY;
    const size_t usable = rounded(bytes, PAGE), mapped = usable + 2 * PAGE;
    void *const mapping = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    unsigned char *const first = (unsigned char *)mapping + PAGE;
    mprotect(first, usable, PROT_READ | PROT_WRITE);
    std::memset(first, FILLING, usable);
    unsigned char *const begin = first + usable - rounded(bytes, ALIGNMENT);
    allocations[(uintptr_t)begin] = {context, begin, bytes, ++last_number, mapping, mapped};
    counters[LIVE_BYTES] += (long long)bytes;
    *address = (CUdeviceptr)begin;
    return CUDA_SUCCESS;
}

CUresult release(Context *context, CUdeviceptr address)
{
    const auto found = allocations.find((uintptr_t)address);
    if (found == allocations.end() || found->second.context != context)
        return CUDA_ERROR_INVALID_VALUE;
    unmap(found->second);
    allocations.erase(found);
    return CUDA_SUCCESS;
}

const Allocation *allocation_of(const Context *context, CUdeviceptr address, size_t bytes)
{
    const auto found = at_or_before(allocations, (uintptr_t)address);
    if (found == allocations.end() || found->second.context != context)
        return nullptr;
    const size_t offset = (size_t)(address - found->first);
    return offset <= found->second.bytes && bytes <= found->second.bytes - offset ? &found->second : nullptr;
}

CUresult pin(Context *context, void **address, size_t bytes, unsigned flags)
{
    if (!bytes || !address)
        return CUDA_ERROR_INVALID_VALUE;
    // Whole pages are pinned, so two arrays on one page are one too many.
    const bool taken_here = !*address;
    const uintptr_t first = (uintptr_t)*address / PAGE * PAGE;
    const uintptr_t end = rounded((uintptr_t)*address + bytes, PAGE);
    const auto before = at_or_before(pins, end - 1);
    if (!taken_here && before != pins.end() && rounded(before->first + before->second.bytes, PAGE) > first)
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    if (!fits(bytes, PINNABLE_BYTES, LIVE_PINNED_BYTES))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (taken_here) {
        void *const taken = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (taken == MAP_FAILED)
            return CUDA_ERROR_OUT_OF_MEMORY;
        std::memset(taken, FILLING, bytes);
        *address = taken;
    }
    pins[(uintptr_t)*address] = {context, bytes, flags, taken_here};
    counters[LIVE_PINNED_BYTES] += (long long)bytes;
    return CUDA_SUCCESS;
}

CUresult unpin(Context *context, void *address, bool taken_here)
{
    const auto found = pins.find((uintptr_t)address);
    if (found == pins.end() || found->second.context != context || found->second.taken_here != taken_here)
        return taken_here ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    unpin_one(found);
    return CUDA_SUCCESS;
}

CUresult pin_flags(Context *context, const void *address, unsigned *flags)
{
    const auto found = at_or_before(pins, (uintptr_t)address);
    if (!flags || !is_pinned(context, address, 1))
        return CUDA_ERROR_INVALID_VALUE;
    *flags = found->second.flags;
    return CUDA_SUCCESS;
}

bool is_pinned(const Context *context, const void *address, size_t bytes)
{
    const auto found = at_or_before(pins, (uintptr_t)address);
    if (found == pins.end() || found->second.context != context)
        return false;
    const size_t offset = (size_t)((uintptr_t)address - found->first);
    return offset <= found->second.bytes && bytes <= found->second.bytes - offset;
}

void forget_memory(Context *context, bool leaked)
{
    for (auto block = allocations.begin(); block != allocations.end();) {
        const auto here = block++;
        if (here->second.context != context)
            continue;
        if (leaked)
            counters[LEAKED_BYTES] += (long long)here->second.bytes;
        unmap(here->second);
        allocations.erase(here);
    }
    for (auto pinned = pins.begin(); pinned != pins.end();) {
        const auto here = pinned++;
        if (here->second.context != context)
            continue;
        if (leaked)
            counters[LEAKED_PINNED_BYTES] += (long long)here->second.bytes;
        unpin_one(here);
    }
}
