// When work happens.
#include "context.h"

#include <chrono>
#include <vector>

#include "guarded.h"
#include "memory.h"
#include "settings.h"

namespace {

std::set<Context *> contexts;
thread_local std::vector<Context *> stack;
uint64_t last_number;

int64_t now()
{
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

// What must have happened before the operation of that number does.
void perform_before(const Stream &stream, uint64_t number)
{
    Context *const context = stream.context;
    if (!stream.is_default) {
        if (stream.is_blocking)
            perform(context->default_stream, number - 1);
        return;
    }
    const auto streams = context->streams; // doing their work can remove some
    for (const auto &other : streams)
        if (other->is_blocking)
            perform(other, number - 1);
}

} // namespace

Context *make_context(bool is_primary)
{
    Context *const context = new Context{1, is_primary, false, CUDA_SUCCESS, nullptr, {}, {}, {}};
    context->default_stream.reset(new Stream{context, true, true, false, {}});
    contexts.insert(context);
    ++counters[LIVE_CONTEXTS];
    return context;
}

void destroy_context(Context *context)
{
    context->is_destroyed = true;
    context->default_stream->queue.clear();
    for (const auto &stream : context->streams)
        stream->queue.clear();
    context->streams.clear();
    counters[LIVE_STREAMS] -= (long long)context->usable_streams.size();
    context->usable_streams.clear();
    counters[LIVE_EVENTS] -= (long long)context->events.size();
    for (Event *event : context->events)
        delete event;
    context->events.clear();
    forget_modules(context);
    // After an error nothing can be given back any more, so nothing of it was forgotten.
    forget_memory(context, context->error == CUDA_SUCCESS);
    --counters[LIVE_CONTEXTS];
    if (!stack.empty() && stack.back() == context)
        stack.pop_back();
}

bool is_context(const Context *context)
{
    return contexts.count(const_cast<Context *>(context)) != 0;
}

Context *current_context()
{
    return stack.empty() ? nullptr : stack.back();
}

void push_context(Context *context)
{
    stack.push_back(context);
}

Context *pop_context()
{
    Context *const context = stack.back();
    stack.pop_back();
    return context;
}

void replace_context(Context *context)
{
    if (!stack.empty())
        stack.pop_back();
    if (context)
        stack.push_back(context);
}

std::shared_ptr<Stream> stream_of(Context *context, CUstream handle)
{
    if (!handle || handle == CU_STREAM_LEGACY)
        return context->default_stream;
    Stream *const stream = (Stream *)handle;
    if (context->usable_streams.count(stream))
        for (const auto &known : context->streams)
            if (known.get() == stream)
                return known;
    return nullptr;
}

void destroy_stream(Context *context, const std::shared_ptr<Stream> &stream)
{
    context->usable_streams.erase(stream.get());
    --counters[LIVE_STREAMS];
    if (stream->queue.empty())
        context->streams.erase(stream);
}

uint64_t enqueue(const std::shared_ptr<Stream> &stream, std::function<CUresult()> perform_it)
{
    const uint64_t number = ++last_number;
    stream->was_polled = false;
    stream->queue.push_back({number, std::move(perform_it)});
    if (settings[EAGER])
        perform(stream, number);
    return number;
}

void perform(const std::shared_ptr<Stream> &stream, uint64_t number)
{
    Context *const context = stream->context;
    while (!stream->queue.empty() && stream->queue.front().number <= number) {
        perform_before(*stream, stream->queue.front().number);
        // That may have come back here, through an event, and done it already.
        if (stream->queue.empty() || stream->queue.front().number > number)
            break;
        const Operation operation = std::move(stream->queue.front());
        stream->queue.pop_front();
        if (context->error != CUDA_SUCCESS)
            continue;
        const CUresult result = guarded(operation.perform);
        if (context->error == CUDA_SUCCESS) // it may have made other work happen, which failed
            context->error = result;
    }
    if (stream->queue.empty() && !stream->is_default && !context->usable_streams.count(stream.get()))
        context->streams.erase(stream);
}

void perform_all(Context *context)
{
    perform(context->default_stream, last_number);
    const auto streams = context->streams;
    for (const auto &stream : streams)
        perform(stream, last_number);
}

void record(Event &event, const std::shared_ptr<Stream> &stream)
{
    const std::shared_ptr<Record> record(new Record{stream, 0, false, false, 0});
    event.record = record;
    record->number = enqueue(stream, [record] {
        record->happened = true;
        record->nanoseconds = now();
        return CUDA_SUCCESS;
    });
}
