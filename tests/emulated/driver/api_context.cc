// Entry points for contexts.
#include <cuda.h>

#include "call.h"
#include "settings.h"

namespace {

Context *primary;
int primary_uses;

CUresult create(CUcontext *handle, unsigned, CUdevice device)
{
    WITH_DRIVER
    if (device < 0 || device >= settings[DEVICES])
        return CUDA_ERROR_INVALID_DEVICE;
    Context *const context = make_context(false);
    push_context(context);
    *handle = (CUcontext)context;
    return CUDA_SUCCESS;
}

CUresult why_not(const Context *context)
{
    if (!is_context(context))
        return CUDA_ERROR_INVALID_CONTEXT;
    return context->is_destroyed ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_SUCCESS;
}

} // namespace

extern "C" {

#if CUDA_VERSION >= 13000
CUresult cuCtxCreate(CUcontext *handle, CUctxCreateParams *parameters, unsigned flags, CUdevice device)
{
    return parameters ? CUDA_ERROR_NOT_SUPPORTED : create(handle, flags, device);
}
#else
CUresult cuCtxCreate(CUcontext *handle, unsigned flags, CUdevice device)
{
    return create(handle, flags, device);
}
#endif

CUresult cuCtxDestroy(CUcontext handle)
{
    WITH_DRIVER
    Context *const context = (Context *)handle;
    const CUresult error = why_not(context);
    if (error != CUDA_SUCCESS || context->is_primary)
        return error ? error : CUDA_ERROR_INVALID_CONTEXT;
    destroy_context(context);
    return CUDA_SUCCESS;
}

CUresult cuCtxAttach(CUcontext *handle, unsigned flags)
{
    WITH_CONTEXT
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    ++context->uses;
    *handle = (CUcontext)context;
    return CUDA_SUCCESS;
}

// Only in the thread in which the context is current.
CUresult cuCtxDetach(CUcontext handle)
{
    WITH_DRIVER
    Context *const context = (Context *)handle;
    const CUresult error = why_not(context);
    if (error != CUDA_SUCCESS || context != current_context())
        return error ? error : CUDA_ERROR_INVALID_CONTEXT;
    if (--context->uses == 0)
        destroy_context(context);
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext handle)
{
    WITH_DRIVER
    const CUresult error = why_not((Context *)handle);
    if (error == CUDA_SUCCESS)
        push_context((Context *)handle);
    return error;
}

CUresult cuCtxPopCurrent(CUcontext *handle)
{
    WITH_DRIVER
    if (!current_context())
        return CUDA_ERROR_INVALID_CONTEXT;
    Context *const context = pop_context();
    if (handle)
        *handle = (CUcontext)context;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext handle)
{
    WITH_DRIVER
    const CUresult error = handle ? why_not((Context *)handle) : CUDA_SUCCESS;
    if (error == CUDA_SUCCESS)
        replace_context((Context *)handle);
    return error;
}

CUresult cuCtxGetCurrent(CUcontext *handle)
{
    WITH_DRIVER
    *handle = (CUcontext)current_context();
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    WITH_CONTEXT
    (void)context;
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned *version)
{
    WITH_DRIVER
    *version = CUDA_VERSION;
    return why_not((Context *)handle);
}

CUresult cuCtxSynchronize()
{
    WITH_CONTEXT
    return wait_for_all(context);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *handle, CUdevice device)
{
    WITH_DRIVER
    if (device != 0 || device >= settings[DEVICES])
        return CUDA_ERROR_INVALID_DEVICE;
    if (primary_uses++ == 0)
        primary = make_context(true);
    *handle = (CUcontext)primary;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    WITH_DRIVER
    if (device != 0 || primary_uses == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (--primary_uses == 0)
        destroy_context(primary);
    return CUDA_SUCCESS;
}

} // extern "C"
