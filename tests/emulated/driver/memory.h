// The memory of the emulated device, and the host memory that is pinned for it.
#pragma once
#include <cuda.h>

#include <cstddef>
#include <cstdint>

struct Context;

// One allocation. A page that can't be touched lies on both sides of it, so that a kernel which goes further
// is found; it ends where that page begins, but for its alignment.
struct Allocation {
    Context *context;
    unsigned char *begin;
    size_t bytes;
    uint64_t number; // no two have the same, even at one address
    void *mapping;
    size_t mapped_bytes;
};

CUresult allocate(Context *context, size_t bytes, CUdeviceptr *address);
CUresult release(Context *context, CUdeviceptr address);

// The allocation that holds all these bytes, or nullptr.
const Allocation *allocation_of(const Context *context, CUdeviceptr address, size_t bytes);

// Host memory becomes pinned: given by the caller, or taken here (`*address` is nullptr).
CUresult pin(Context *context, void **address, size_t bytes, unsigned flags);
CUresult unpin(Context *context, void *address, bool taken_here);
CUresult pin_flags(Context *context, const void *address, unsigned *flags);
bool is_pinned(const Context *context, const void *address, size_t bytes);

// All that a context has left. Counts it as leaked where it should have been given back.
void forget_memory(Context *context, bool leaked);
