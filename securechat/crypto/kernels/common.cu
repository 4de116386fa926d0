// What every kernel shares: integers of fixed width, bytes read at any address, the conventions.
//
// Conventions of all entry points (extern "C" __global__ at the end of each file):
//
// * Grids and blocks have one dimension; a block has a multiple of 32 threads, at most MAX_THREADS.
//   Any grid gives the same result: a kernel walks over its items in groups of one block's size.
// * Every buffer begins on a 16-byte boundary. A buffer that is read at offsets has SLACK_BYTES readable
//   bytes behind its last item; their values never matter. Offsets count bytes, are those of a Batch
//   (int64, n + 1 of them) and need no alignment unless it is said.
// * `order` lists the n items in the order of work: longest first, so that the lanes of a warp end
//   together. It is a permutation of 0..n-1; the result does not depend on it.
// * n (and the number of blocks) is below 2^31, an item with its associated data below 2^31 - 256 bytes.
// * Control flow and addresses depend on lengths and offsets, which are public. The one exception are the
//   lookups of aes.cu; see there why they tell nothing.
//
// The sources also compile for the host (tests/kernels): no warp intrinsics, no inline PTX, no return
// before a barrier.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

static_assert(sizeof(u32) == 4 && sizeof(u64) == 8 && sizeof(uint4) == 16, "fixed widths");

#define MAX_THREADS 512
#define SLACK_BYTES 32

// The launch decides the size; the host build brings its own definition.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

// Word `at` of a little-endian buffer, `at` being any byte: the bytes as they stand (LOAD_LITTLE) or
// reversed (LOAD_BIG). Reads the aligned words that hold it, and one word ahead.
#define LOAD_LITTLE 0x3210u
#define LOAD_BIG 0x0123u

__device__ __forceinline__ u32 selector(u32 order, i64 at)
{
    return order + 0x1111u * ((u32)at & 3);
}

__device__ __forceinline__ u32 load_word(const u32 *buffer, i64 at, u32 order)
{
    const u32 *word = buffer + (at >> 2);
    return __byte_perm(word[0], word[1], selector(order, at));
}

// 16 bytes from any byte on. Reads up to 19 bytes from the word that holds the first.
__device__ __forceinline__ uint4 load_block(const u32 *buffer, i64 at)
{
    const u32 *word = buffer + (at >> 2);
    if (((u32)at & 15) == 0)
        return *(const uint4 *)word;
    const u32 select = selector(LOAD_LITTLE, at);
    const u32 a = word[0], b = word[1], c = word[2], d = word[3], e = word[4];
    uint4 block;
    block.x = __byte_perm(a, b, select);
    block.y = __byte_perm(b, c, select);
    block.z = __byte_perm(c, d, select);
    block.w = __byte_perm(d, e, select);
    return block;
}

__device__ __forceinline__ uint4 xor_block(uint4 a, uint4 b)
{
    a.x ^= b.x;
    a.y ^= b.y;
    a.z ^= b.z;
    a.w ^= b.w;
    return a;
}

// The item that place `at` belongs to: the last m with starts[m] <= at. Empty items are passed over.
template <class Place> __device__ __forceinline__ u32 item_of(const Place *starts, u32 n, Place at)
{
    u32 low = 0, high = n;
    while (high - low > 1) {
        const u32 middle = low + (high - low) / 2;
        if (starts[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}
