// Entry points for the driver, its device and its errors.
#include <cuda.h>

#include <cstdio>
#include <cstring>

#include "call.h"
#include "settings.h"
#include "shared_memory.h"

namespace {

const char PCI_BUS_ID[] = "0000:00:00.0";

struct Meaning {
    CUresult error;
    const char *name, *text;
};

#define MEANING(name, text) {name, #name, text}

const Meaning meanings[] = {
    MEANING(CUDA_SUCCESS, "no error"),
    MEANING(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    MEANING(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    MEANING(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    MEANING(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    MEANING(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    MEANING(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    MEANING(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    MEANING(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
    MEANING(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
    MEANING(CUDA_ERROR_FILE_NOT_FOUND, "file not found"),
    MEANING(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    MEANING(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    MEANING(CUDA_ERROR_NOT_READY, "device not ready"),
    MEANING(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    MEANING(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    MEANING(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    MEANING(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    MEANING(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "part or all of the memory is already page-locked"),
    MEANING(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "pointer does not correspond to a registered memory region"),
    MEANING(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    MEANING(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    MEANING(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    MEANING(CUDA_ERROR_UNKNOWN, "unknown error"),
};

const Meaning &meaning_of(CUresult error)
{
    for (const Meaning &meaning : meanings)
        if (meaning.error == error)
            return meaning;
    return meaning_of(CUDA_ERROR_UNKNOWN);
}

CUresult why_not(CUdevice device)
{
    return device >= 0 && device < settings[DEVICES] ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

int value_of(CUdevice_attribute attribute)
{
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        return (int)settings[CAPABILITY] / 10;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        return (int)settings[CAPABILITY] % 10;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        return (int)settings[MULTIPROCESSORS];
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
        return 0x7fffffff;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        return 0xffff;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        return SHARED_BYTES_UNASKED;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        return max_shared_bytes();
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        return max_shared_bytes() + 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
        return 65536;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
        return 2048;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
        return 1000000;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
        return 2;
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        return 1;
    default:
        return 0;
    }
}

} // namespace

extern "C" {

CUresult cuInit(unsigned flags)
{
    const Lock lock;
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (settings[DEVICES] <= 0)
        return CUDA_ERROR_NO_DEVICE;
    is_initialized = true;
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version)
{
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

// Unlike a real driver's these two always give a text: PyCUDA takes it without asking whether there is one.
CUresult cuGetErrorString(CUresult error, const char **text)
{
    *text = meaning_of(error).text;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    *name = meaning_of(error).name;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    WITH_DRIVER
    *count = (int)settings[DEVICES];
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    WITH_DRIVER
    *device = ordinal;
    return why_not(ordinal);
}

CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *id)
{
    WITH_DRIVER
    *device = 0;
    return std::strcmp(id, PCI_BUS_ID) ? CUDA_ERROR_INVALID_DEVICE : why_not(0);
}

CUresult cuDeviceGetPCIBusId(char *id, int size, CUdevice device)
{
    WITH_DRIVER
    std::snprintf(id, (size_t)size, "%s", PCI_BUS_ID);
    return why_not(device);
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    WITH_DRIVER
    std::memset(uuid->bytes, 0xe0 + device, sizeof uuid->bytes);
    return why_not(device);
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device)
{
    WITH_DRIVER
    std::snprintf(name, (size_t)size, "Emulated GPU");
    return why_not(device);
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    WITH_DRIVER
    if (attribute < 1 || attribute >= CU_DEVICE_ATTRIBUTE_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    *value = value_of(attribute);
    return why_not(device);
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    WITH_DRIVER
    *major = value_of(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    *minor = value_of(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    return why_not(device);
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    WITH_DRIVER
    *bytes = (size_t)settings[MEMORY_BYTES];
    return why_not(device);
}

} // extern "C"
