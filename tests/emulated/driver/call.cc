// What stands in front of every entry point.
#include "call.h"

bool is_initialized;

namespace {

std::mutex one_at_a_time;

CUresult why_not(const Context *context)
{
    if (!is_initialized)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (!context)
        return CUDA_ERROR_INVALID_CONTEXT;
    return context->is_destroyed ? CUDA_ERROR_CONTEXT_IS_DESTROYED : context->error;
}

} // namespace

Lock::Lock() : guard(one_at_a_time)
{
}

Call::Call() : context(current_context()), error(why_not(context))
{
}
