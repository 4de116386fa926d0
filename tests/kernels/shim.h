// CUDA for the host, as far as the kernels use it: one launch after another, one block after another, with
// real barriers.
//
// By default each CUDA thread is a fiber. A barrier leaves the fiber for a scheduler, which sweeps over all
// threads of the block until all have ended; it reports a block in which some wait and others have ended,
// where a GPU would hang. With TWO_PASSES, for sanitizers, which cannot follow fibers, each thread of a
// block runs up to the barrier and then, in a second pass, all of it again: that finds bad addresses, but
// no missing barrier.
//
// Dynamic shared memory is a block of the heap of exactly the launch's size, filled anew with 0xa5 for each
// block of threads.
#pragma once
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>
#ifndef TWO_PASSES
#include <ucontext.h>
#endif

#include "launchers.h"

#define __device__
#define __global__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define DYNAMIC_SHARED(type, name) type *const name = (type *)shim::shared

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

struct Dimension {
    unsigned x;
};

static thread_local Dimension threadIdx, blockIdx, blockDim, gridDim;

static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector)
{
    const unsigned long long bytes = (unsigned long long)y << 32 | x;
    unsigned result = 0;
    for (unsigned i = 0; i < 4; ++i)
        result |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return result;
}

namespace shim {

enum Outcome { DONE = 0, DIVERGED = 1 };

static thread_local unsigned char *shared;
static thread_local const std::function<void()> *body;

#ifdef TWO_PASSES

struct AtBarrier {
};
static thread_local bool first_pass, met_barrier;

static inline void barrier()
{
    met_barrier = true;
    if (first_pass)
        throw AtBarrier();
}

static Outcome run_block()
{
    met_barrier = false;
    for (int pass = 0; pass < 2; ++pass) {
        first_pass = pass == 0;
        if (pass && !met_barrier)
            break;
        for (unsigned i = 0; i < blockDim.x; ++i) {
            threadIdx.x = i;
            try {
                (*body)();
            } catch (AtBarrier) {
            }
        }
    }
    return DONE;
}

#else

enum State { READY, WAITING, ENDED };

struct Fiber {
    ucontext_t context;
    State state;
    std::unique_ptr<char[]> stack;
};

static const size_t STACK_BYTES = 64 * 1024;
static thread_local ucontext_t scheduler;
static thread_local std::vector<Fiber> fibers;

static void barrier()
{
    const unsigned me = threadIdx.x;
    fibers[me].state = WAITING;
    swapcontext(&fibers[me].context, &scheduler);
}

static void run_fiber()
{
    const unsigned me = threadIdx.x;
    (*body)();
    fibers[me].state = ENDED;
}

static Outcome run_block()
{
    if (fibers.size() < blockDim.x)
        fibers.resize(blockDim.x);
    for (unsigned i = 0; i < blockDim.x; ++i) {
        Fiber &fiber = fibers[i];
        if (!fiber.stack)
            fiber.stack.reset(new char[STACK_BYTES]);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK_BYTES;
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, run_fiber, 0);
        fiber.state = READY;
    }
    for (;;) {
        unsigned ended = 0;
        for (unsigned i = 0; i < blockDim.x; ++i) {
            threadIdx.x = i;
            swapcontext(&scheduler, &fibers[i].context);
            ended += fibers[i].state == ENDED;
        }
        if (ended == blockDim.x)
            return DONE;
        if (ended)
            return DIVERGED;
    }
}

#endif

template <class... A, size_t... I>
int launch(void (*kernel)(A...), unsigned grid, unsigned block, size_t shared_bytes, void **arguments,
           std::index_sequence<I...>)
{
    const std::function<void()> call = [&] { kernel(*static_cast<A *>(arguments[I])...); };
    unsigned char *memory = static_cast<unsigned char *>(std::aligned_alloc(64, shared_bytes));
    Outcome outcome = DONE;
    shared = memory;
    body = &call;
    gridDim.x = grid;
    blockDim.x = block;
    for (unsigned i = 0; i < grid && outcome == DONE; ++i) {
        blockIdx.x = i;
        std::memset(memory, 0xa5, shared_bytes);
        outcome = run_block();
    }
    std::free(memory);
    return outcome;
}

template <class... A>
int launch_any(void (*kernel)(A...), unsigned grid, unsigned block, size_t shared_bytes, void **arguments)
{
    return launch(kernel, grid, block, shared_bytes, arguments, std::index_sequence_for<A...>());
}

template <class T> size_t alignment_of_target()
{
    if constexpr (std::is_pointer_v<T>)
        return alignof(std::remove_pointer_t<T>);
    else
        return 0;
}

template <class... A> std::vector<Argument> arguments_of(void (*)(A...))
{
    return {{sizeof(A), alignof(A), std::is_pointer_v<A>, alignment_of_target<A>()}...};
}

static std::vector<Launcher> all;

} // namespace shim

const std::vector<Launcher> &launchers()
{
    return shim::all;
}

static inline void __syncthreads()
{
    shim::barrier();
}

// The function launch_NAME: `arguments` are pointers to the kernel's arguments, as for cuLaunchKernel. The
// kernel is also listed among `launchers`.
#define LAUNCHER(name)                                                                                   \
    extern "C" int launch_##name(unsigned grid, unsigned block, size_t shared_bytes, void **arguments)   \
    {                                                                                                    \
        return shim::launch_any(name, grid, block, shared_bytes, arguments);                             \
    }                                                                                                    \
    static const bool listed_##name =                                                                    \
        (shim::all.push_back({#name, MAX_THREADS, shim::arguments_of(name), launch_##name}), true);
