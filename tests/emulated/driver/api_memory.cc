// Entry points for memory and what moves it.
#include <cuda.h>

#include <cstring>
#include <memory>
#include <vector>

#include "call.h"
#include "memory.h"
#include "settings.h"

namespace {

// A copy between host and device that has been queued: what it found then must still be so when it happens.
struct Copy {
    Context *context;
    CUdeviceptr device;
    void *host;
    size_t bytes;
    uint64_t allocation;
    bool was_pinned;
};

CUresult still_possible(const Copy &copy)
{
    const Allocation *const allocation = allocation_of(copy.context, copy.device, copy.bytes);
    if (!allocation || allocation->number != copy.allocation) {
        misuse("memory was freed while a copy was queued");
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    if (copy.was_pinned && !is_pinned(copy.context, copy.host, copy.bytes)) {
        misuse("host memory was unpinned while a copy was queued");
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    return CUDA_SUCCESS;
}

CUresult count_copy(Context *context)
{
    ++counters[COPIES];
    if (strikes(FAIL_COPY))
        context->error = (CUresult)fault_code(CUDA_ERROR_ILLEGAL_ADDRESS);
    return context->error;
}

// Queue a copy; wait for it if it has no stream of its own.
CUresult copy(Context *context, CUdeviceptr device, void *host, size_t bytes, CUstream handle, bool in, bool wait)
{
    const std::shared_ptr<Stream> stream = stream_of(context, handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    const CUresult error = count_copy(context);
    if (error != CUDA_SUCCESS || !bytes)
        return error;
    const Allocation *const allocation = allocation_of(context, device, bytes);
    if (!allocation || !host)
        return CUDA_ERROR_INVALID_VALUE;
    const bool pinned = is_pinned(context, host, bytes);
    if (!wait && !pinned)
        ++counters[UNPINNED_COPIES];
    const Copy copy = {context, device, host, bytes, allocation->number, pinned};
    std::function<CUresult()> work;
    if (in) {
        const unsigned char *const source = (const unsigned char *)host;
        const auto seen = std::make_shared<const std::vector<unsigned char>>(source, source + bytes);
        work = [copy, seen] {
            const CUresult error = still_possible(copy);
            if (error != CUDA_SUCCESS)
                return error;
            std::memcpy((void *)copy.device, copy.host, copy.bytes);
            if (std::memcmp((void *)copy.device, seen->data(), copy.bytes))
                misuse("the source of a copy was changed while it was queued");
            return CUDA_SUCCESS;
        };
    } else {
        work = [copy] {
            const CUresult error = still_possible(copy);
            if (error == CUDA_SUCCESS)
                std::memcpy(copy.host, (void *)copy.device, copy.bytes);
            return error;
        };
    }
    const uint64_t number = enqueue(stream, std::move(work));
    if (wait)
        perform(stream, number);
    return context->error;
}

CUresult copy_within(Context *context, CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream handle)
{
    const std::shared_ptr<Stream> stream = stream_of(context, handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    const CUresult error = count_copy(context);
    if (error != CUDA_SUCCESS || !bytes)
        return error;
    const auto is_there = [context, to, from, bytes] {
        return allocation_of(context, to, bytes) && allocation_of(context, from, bytes);
    };
    if (!is_there())
        return CUDA_ERROR_INVALID_VALUE;
    enqueue(stream, [is_there, to, from, bytes] {
        if (!is_there())
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        std::memmove((void *)to, (void *)from, bytes);
        return CUDA_SUCCESS;
    });
    return context->error;
}

// Queue the filling of memory with a value of `width` bytes. It isn't waited for, even without a stream.
CUresult fill(Context *context, CUdeviceptr at, unsigned value, size_t width, size_t count, CUstream handle)
{
    const std::shared_ptr<Stream> stream = stream_of(context, handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!count)
        return CUDA_SUCCESS;
    const Allocation *const allocation = allocation_of(context, at, width * count);
    if (!allocation || at % width)
        return CUDA_ERROR_INVALID_VALUE;
    const uint64_t expected = allocation->number;
    enqueue(stream, [context, at, value, width, count, expected] {
        const Allocation *const allocation = allocation_of(context, at, width * count);
        if (!allocation || allocation->number != expected) {
            misuse("memory was freed while its filling was queued");
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        }
        for (size_t i = 0; i < count; ++i)
            std::memcpy((unsigned char *)at + i * width, &value, width);
        return CUDA_SUCCESS;
    });
    return context->error;
}

} // namespace

extern "C" {

CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes)
{
    WITH_CONTEXT
    return allocate(context, bytes, address);
}

CUresult cuMemFree(CUdeviceptr address)
{
    WITH_CONTEXT
    return release(context, address);
}

CUresult cuMemGetInfo(size_t *available, size_t *total)
{
    WITH_CONTEXT
    (void)context;
    const long long left = settings[MEMORY_BYTES] - counters[LIVE_BYTES];
    *available = left > 0 ? (size_t)left : 0;
    *total = (size_t)settings[MEMORY_BYTES];
    return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange(CUdeviceptr *begin, size_t *bytes, CUdeviceptr address)
{
    WITH_CONTEXT
    const Allocation *const allocation = allocation_of(context, address, 1);
    if (!allocation)
        return CUDA_ERROR_NOT_FOUND;
    *begin = (CUdeviceptr)allocation->begin;
    *bytes = allocation->bytes;
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned flags)
{
    WITH_CONTEXT
    *address = nullptr;
    return pin(context, address, bytes, flags);
}

CUresult cuMemAllocHost(void **address, size_t bytes)
{
    return cuMemHostAlloc(address, bytes, 0);
}

CUresult cuMemFreeHost(void *address)
{
    WITH_CONTEXT
    return unpin(context, address, true);
}

CUresult cuMemHostRegister(void *address, size_t bytes, unsigned flags)
{
    WITH_CONTEXT
    return address ? pin(context, &address, bytes, flags) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemHostUnregister(void *address)
{
    WITH_CONTEXT
    return unpin(context, address, false);
}

CUresult cuMemHostGetFlags(unsigned *flags, void *address)
{
    WITH_CONTEXT
    return pin_flags(context, address, flags);
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes)
{
    WITH_CONTEXT
    return copy(context, to, const_cast<void *>(from), bytes, nullptr, true, true);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
    WITH_CONTEXT
    return copy(context, to, const_cast<void *>(from), bytes, stream, true, false);
}

CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes)
{
    WITH_CONTEXT
    return copy(context, from, to, bytes, nullptr, false, true);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    WITH_CONTEXT
    return copy(context, from, to, bytes, stream, false, false);
}

CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    WITH_CONTEXT
    return copy_within(context, to, from, bytes, nullptr);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    WITH_CONTEXT
    return copy_within(context, to, from, bytes, stream);
}

CUresult cuMemsetD8(CUdeviceptr at, unsigned char value, size_t count)
{
    WITH_CONTEXT
    return fill(context, at, value, 1, count, nullptr);
}

CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t count, CUstream stream)
{
    WITH_CONTEXT
    return fill(context, at, value, 1, count, stream);
}

CUresult cuMemsetD32(CUdeviceptr at, unsigned value, size_t count)
{
    WITH_CONTEXT
    return fill(context, at, value, 4, count, nullptr);
}

CUresult cuMemsetD32Async(CUdeviceptr at, unsigned value, size_t count, CUstream stream)
{
    WITH_CONTEXT
    return fill(context, at, value, 4, count, stream);
}

} // extern "C"
