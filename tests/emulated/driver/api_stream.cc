// Entry points for streams and events, and all that waits.
#include <cuda.h>

#include "call.h"
#include "settings.h"

namespace {

// Take note of a waiting; not CUDA_SUCCESS if it is to fail.
CUresult begin_waiting(Context *context)
{
    ++counters[SYNCHRONIZATIONS];
    if (strikes(FAIL_SYNCHRONIZE))
        context->error = (CUresult)fault_code(CUDA_ERROR_UNKNOWN);
    return context->error;
}

Event *event_of(Context *context, CUevent handle)
{
    return context->events.count((Event *)handle) ? (Event *)handle : nullptr;
}

// Asking makes time pass: the first question finds work that is going on, the second finds it done.
CUresult poll(const std::shared_ptr<Stream> &stream, uint64_t number, bool &was_polled)
{
    if (was_polled)
        perform(stream, number);
    const bool is_done = was_polled;
    was_polled = true;
    return is_done ? stream->context->error : CUDA_ERROR_NOT_READY;
}

} // namespace

CUresult wait_for_all(Context *context)
{
    const CUresult error = begin_waiting(context);
    if (error == CUDA_SUCCESS)
        perform_all(context);
    return context->error;
}

extern "C" {

CUresult cuStreamCreate(CUstream *handle, unsigned flags)
{
    WITH_CONTEXT
    if (flags & ~(unsigned)CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    const std::shared_ptr<Stream> stream(new Stream{context, false, !(flags & CU_STREAM_NON_BLOCKING), false, {}});
    context->streams.insert(stream);
    context->usable_streams.insert(stream.get());
    ++counters[LIVE_STREAMS];
    *handle = (CUstream)stream.get();
    return CUDA_SUCCESS;
}

// What is queued on it still happens.
CUresult cuStreamDestroy(CUstream handle)
{
    WITH_CONTEXT
    const std::shared_ptr<Stream> stream = stream_of(context, handle);
    if (!stream || stream->is_default)
        return CUDA_ERROR_INVALID_HANDLE;
    destroy_stream(context, stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream handle)
{
    WITH_CONTEXT
    const std::shared_ptr<Stream> stream = stream_of(context, handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    const CUresult error = begin_waiting(context);
    if (error == CUDA_SUCCESS && !stream->queue.empty())
        perform(stream, stream->queue.back().number);
    return context->error;
}

CUresult cuStreamQuery(CUstream handle)
{
    WITH_CONTEXT
    const std::shared_ptr<Stream> stream = stream_of(context, handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    return stream->queue.empty() ? CUDA_SUCCESS : poll(stream, stream->queue.back().number, stream->was_polled);
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags)
{
    WITH_CONTEXT
    const std::shared_ptr<Stream> stream = stream_of(context, handle);
    const Event *const event = event_of(context, event_handle);
    if (!stream || !event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    const std::shared_ptr<Record> record = event->record;
    if (record)
        enqueue(stream, [record] {
            perform(record->stream, record->number);
            return CUDA_SUCCESS;
        });
    return context->error;
}

CUresult cuEventCreate(CUevent *handle, unsigned flags)
{
    WITH_CONTEXT
    if (flags & ~(unsigned)(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_VALUE;
    Event *const event = new Event{context, !(flags & CU_EVENT_DISABLE_TIMING), nullptr};
    context->events.insert(event);
    ++counters[LIVE_EVENTS];
    *handle = (CUevent)event;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent handle)
{
    WITH_CONTEXT
    Event *const event = event_of(context, handle);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    context->events.erase(event);
    --counters[LIVE_EVENTS];
    delete event;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent handle, CUstream stream_handle)
{
    WITH_CONTEXT
    Event *const event = event_of(context, handle);
    const std::shared_ptr<Stream> stream = stream_of(context, stream_handle);
    if (!event || !stream)
        return CUDA_ERROR_INVALID_HANDLE;
    record(*event, stream);
    return context->error;
}

CUresult cuEventSynchronize(CUevent handle)
{
    WITH_CONTEXT
    const Event *const event = event_of(context, handle);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    const CUresult error = begin_waiting(context);
    if (error == CUDA_SUCCESS && event->record)
        perform(event->record->stream, event->record->number);
    return context->error;
}

CUresult cuEventQuery(CUevent handle)
{
    WITH_CONTEXT
    const Event *const event = event_of(context, handle);
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!event->record || event->record->happened)
        return CUDA_SUCCESS;
    return poll(event->record->stream, event->record->number, event->record->was_polled);
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start_handle, CUevent end_handle)
{
    WITH_CONTEXT
    const Event *const start = event_of(context, start_handle);
    const Event *const end = event_of(context, end_handle);
    for (const Event *event : {start, end})
        if (!event || !event->has_time || !event->record)
            return CUDA_ERROR_INVALID_HANDLE;
    if (!start->record->happened || !end->record->happened)
        return CUDA_ERROR_NOT_READY;
    *milliseconds = (float)(end->record->nanoseconds - start->record->nanoseconds) / 1e6f;
    return CUDA_SUCCESS;
}

} // extern "C"
