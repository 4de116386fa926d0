// How every entry point begins: one call at a time, in whichever thread, and a context where it needs one.
#pragma once
#include <cuda.h>

#include <mutex>

#include "context.h"

extern bool is_initialized;

class Lock {
  public:
    Lock();

  private:
    std::lock_guard<std::mutex> guard;
};

class Call : Lock {
  public:
    Call();
    Context *const context;
    const CUresult error; // why the call can't be served
};

// Begin a function that needs a context: `context` is it.
#define WITH_CONTEXT                                                                                     \
    const Call call;                                                                                     \
    Context *const context = call.context;                                                               \
    if (call.error != CUDA_SUCCESS)                                                                      \
        return call.error;

// Begin a function that needs cuInit.
#define WITH_DRIVER                                                                                      \
    const Lock lock;                                                                                     \
    if (!is_initialized)                                                                                 \
        return CUDA_ERROR_NOT_INITIALIZED;
