// Contexts, streams and events: who may work, and when queued work happens.
//
// Work is done as late as a real device might do it: not before something waits for it, and then only that
// which the waiting is entitled to find done. A stream's work happens in its order; the streams' own order
// among each other is known only from events and from the default stream, which does its work after that
// which other streams were given earlier and before that which they are given later.
#pragma once
#include <cuda.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>

struct Context;

struct Operation {
    uint64_t number; // rises from call to call, over all streams
    std::function<CUresult()> perform;
};

struct Stream {
    Context *context;
    bool is_default, is_blocking;
    bool was_polled; // since the last operation was queued
    std::deque<Operation> queue;
};

// What one cuEventRecord left, which later ones of the same event don't change.
struct Record {
    std::shared_ptr<Stream> stream;
    uint64_t number;
    bool happened, was_polled;
    int64_t nanoseconds;
};

struct Event {
    Context *context;
    bool has_time;
    std::shared_ptr<Record> record; // none before the first
};

struct Context {
    int uses; // cuCtxAttach and cuCtxDetach count
    bool is_primary, is_destroyed;
    CUresult error; // once it isn't CUDA_SUCCESS, everything fails with it
    std::shared_ptr<Stream> default_stream;
    std::set<std::shared_ptr<Stream>> streams; // all others, destroyed ones too as long as they have work
    std::set<Stream *> usable_streams;
    std::set<Event *> events;
};

// Contexts live for ever, as far as their handles go: a destroyed one is recognised.
Context *make_context(bool is_primary);
void destroy_context(Context *context);
bool is_context(const Context *context);
void forget_modules(const Context *context);

// The calling thread's stack of contexts.
Context *current_context();
void push_context(Context *context);
Context *pop_context();
void replace_context(Context *context);

// The stream of a handle; none if the context has no such stream.
std::shared_ptr<Stream> stream_of(Context *context, CUstream handle);
void destroy_stream(Context *context, const std::shared_ptr<Stream> &stream);

// Queue work. With the setting `eager` it happens at once.
uint64_t enqueue(const std::shared_ptr<Stream> &stream, std::function<CUresult()> perform);

// Do a stream's work up to a number, and all that must come before it. The context keeps the first error.
void perform(const std::shared_ptr<Stream> &stream, uint64_t number);
void perform_all(Context *context);

// Everything that was queued has happened, or the context has an error.
CUresult wait_for_all(Context *context);

void record(Event &event, const std::shared_ptr<Stream> &stream);
