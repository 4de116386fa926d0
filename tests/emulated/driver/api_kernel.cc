// Entry points for modules, kernels and launches.
#include <cuda.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <vector>

#include "call.h"
#include "image.h"
#include "launchers.h"
#include "memory.h"
#include "settings.h"
#include "shared_memory.h"

namespace {

const int DONE = 0; // of shim.h

struct Module {
    Context *context;
    std::set<std::string> kernels;
};

struct Function {
    Module *module;
    const Launcher *launcher;
    int shared_bytes; // what was asked for
};

std::set<Module *> modules;
std::map<std::pair<Module *, std::string>, std::unique_ptr<Function>> functions;

CUresult load(Context *context, CUmodule *handle, const void *image)
{
    std::unique_ptr<Module> module(new Module{context, {}});
    const CUresult error = read_image(image, (int)settings[CAPABILITY], module->kernels);
    if (error != CUDA_SUCCESS)
        return error;
    modules.insert(module.get());
    ++counters[LIVE_MODULES];
    *handle = (CUmodule)module.release();
    return CUDA_SUCCESS;
}

// The kernel of a handle; none if this context has no such kernel loaded.
Function *function_of(const Context *context, CUfunction handle)
{
    for (const auto &known : functions)
        if (known.second.get() == (Function *)handle && known.second->module->context == context)
            return known.second.get();
    return nullptr;
}

// The arguments of one launch, kept until it happens.
struct Arguments {
    struct alignas(16) Value {
        unsigned char bytes[16];
    };
    std::vector<Value> values;
    std::vector<uint64_t> allocations; // where a pointer pointed when the launch was queued; 0: nowhere
};

// From the buffer in which the caller packed them as in a struct; false if it has another size.
bool unpack(const Launcher &launcher, const unsigned char *buffer, size_t bytes, Arguments &arguments)
{
    size_t offset = 0;
    for (const Argument &argument : launcher.arguments) {
        offset = (offset + argument.alignment - 1) / argument.alignment * argument.alignment;
        if (offset + argument.bytes > bytes)
            return false;
        arguments.values.emplace_back();
        std::memcpy(arguments.values.back().bytes, buffer + offset, argument.bytes);
        offset += argument.bytes;
    }
    return offset == bytes;
}

bool gather(const Launcher &launcher, void **parameters, void **extra, Arguments &arguments)
{
    if (parameters) {
        for (size_t i = 0; i < launcher.arguments.size(); ++i) {
            arguments.values.emplace_back();
            std::memcpy(arguments.values.back().bytes, parameters[i], launcher.arguments[i].bytes);
        }
        return !extra;
    }
    const unsigned char *buffer = nullptr;
    size_t bytes = 0;
    for (; extra && *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = (const unsigned char *)extra[1];
        else if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            bytes = *(const size_t *)extra[1];
        else
            return false;
    }
    return buffer && unpack(launcher, buffer, bytes, arguments);
}

CUdeviceptr pointer(const Arguments &arguments, size_t i)
{
    CUdeviceptr address;
    std::memcpy(&address, arguments.values[i].bytes, sizeof address);
    return address;
}

uint64_t allocation_number(const Context *context, CUdeviceptr address)
{
    // A buffer of nothing may lie at the very end of an allocation.
    const Allocation *const allocation = allocation_of(context, address, 0);
    return allocation ? allocation->number : 0;
}

CUresult run(const Context *context, const Launcher &launcher, unsigned grid, unsigned block, size_t shared_bytes,
             Arguments &arguments)
{
    std::vector<void *> pointers;
    for (size_t i = 0; i < launcher.arguments.size(); ++i) {
        pointers.push_back(arguments.values[i].bytes);
        const CUdeviceptr address = launcher.arguments[i].is_pointer ? pointer(arguments, i) : 0;
        if (!address) // a null pointer is a fault only where it is followed
            continue;
        const uint64_t number = allocation_number(context, address);
        if (!number || number != arguments.allocations[i]) {
            misuse(std::string(launcher.name) + ": argument " + std::to_string(i) + " points at no allocation");
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        }
        if (address % launcher.arguments[i].pointee_alignment)
            return CUDA_ERROR_MISALIGNED_ADDRESS;
    }
    // A real device would hang, and one with a watchdog give up.
    return launcher.launch(grid, block, shared_bytes, pointers.data()) == DONE ? CUDA_SUCCESS
                                                                               : CUDA_ERROR_LAUNCH_TIMEOUT;
}

void forget(Module *module)
{
    for (auto function = functions.begin(); function != functions.end();)
        function = function->first.first == module ? functions.erase(function) : std::next(function);
    modules.erase(module);
    delete module;
    --counters[LIVE_MODULES];
}

} // namespace

void forget_modules(const Context *context)
{
    const auto known = modules;
    for (Module *const module : known)
        if (module->context == context)
            forget(module);
}

extern "C" {

CUresult cuModuleLoadData(CUmodule *handle, const void *image)
{
    WITH_CONTEXT
    return load(context, handle, image);
}

CUresult cuModuleLoadDataEx(CUmodule *handle, const void *image, unsigned, CUjit_option *, void **)
{
    return cuModuleLoadData(handle, image);
}

CUresult cuModuleLoad(CUmodule *handle, const char *path)
{
    WITH_CONTEXT
    std::ifstream file(path, std::ios::binary);
    if (!file)
        return CUDA_ERROR_FILE_NOT_FOUND;
    const std::vector<char> image{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    return load(context, handle, image.data());
}

CUresult cuModuleUnload(CUmodule handle)
{
    WITH_CONTEXT
    Module *const module = (Module *)handle;
    if (!modules.count(module) || module->context != context)
        return CUDA_ERROR_INVALID_HANDLE;
    forget(module);
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *handle, CUmodule module_handle, const char *name)
{
    WITH_CONTEXT
    Module *const module = (Module *)module_handle;
    if (!modules.count(module) || module->context != context)
        return CUDA_ERROR_INVALID_HANDLE;
    for (const Launcher &launcher : launchers())
        if (module->kernels.count(name) && !std::strcmp(launcher.name, name)) {
            auto &function = functions[{module, name}];
            if (!function)
                function.reset(new Function{module, &launcher, 0});
            *handle = (CUfunction)function.get();
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value)
{
    WITH_CONTEXT
    Function *const function = function_of(context, handle);
    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 || value > max_shared_bytes())
        return CUDA_ERROR_INVALID_VALUE;
    function->shared_bytes = value;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction handle)
{
    WITH_CONTEXT
    const Function *const function = function_of(context, handle);
    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = (int)function->launcher->max_threads;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = function->shared_bytes > SHARED_BYTES_UNASKED ? function->shared_bytes : SHARED_BYTES_UNASKED;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *value = (int)settings[CAPABILITY];
        return CUDA_SUCCESS;
    default: // registers, local and static memory: not known here
        *value = 0;
        return attribute < CU_FUNC_ATTRIBUTE_MAX ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache)
{
    WITH_CONTEXT
    return function_of(context, handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// PyCUDA calls this before each prepared launch, which then says it again itself.
CUresult cuFuncSetBlockShape(CUfunction handle, int x, int y, int z)
{
    WITH_CONTEXT
    if (!function_of(context, handle))
        return CUDA_ERROR_INVALID_HANDLE;
    return x > 0 && y > 0 && z > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// The kernels know one dimension, so the others have to be 1.
CUresult cuLaunchKernel(CUfunction handle, unsigned grid, unsigned grid_y, unsigned grid_z, unsigned block,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream_handle,
                        void **parameters, void **extra)
{
    WITH_CONTEXT
    const Function *const function = function_of(context, handle);
    const std::shared_ptr<Stream> stream = stream_of(context, stream_handle);
    if (!function || !stream)
        return CUDA_ERROR_INVALID_HANDLE;
    const Launcher &launcher = *function->launcher;
    if (!grid || !block || grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1)
        return CUDA_ERROR_INVALID_VALUE;
    if (grid > 0x7fffffff || block > launcher.max_threads)
        return CUDA_ERROR_INVALID_VALUE;
    if (shared_bytes > SHARED_BYTES_UNASKED && (int)shared_bytes > function->shared_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    const auto arguments = std::make_shared<Arguments>();
    if (!gather(launcher, parameters, extra, *arguments))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < launcher.arguments.size(); ++i)
        arguments->allocations.push_back(
            launcher.arguments[i].is_pointer ? allocation_number(context, pointer(*arguments, i)) : 0);
    ++counters[LAUNCHES];
    if (strikes(REFUSE_LAUNCH))
        return (CUresult)fault_code(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    const bool is_to_fail = strikes(FAIL_LAUNCH);
    enqueue(stream, [=, &launcher] {
        if (is_to_fail)
            return (CUresult)fault_code(CUDA_ERROR_LAUNCH_FAILED);
        return run(context, launcher, grid, block, shared_bytes, *arguments);
    });
    return context->error;
}

} // extern "C"
