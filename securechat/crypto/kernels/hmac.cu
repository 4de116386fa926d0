// The tag of RFC 7518, section 5.2.2.1, one thread for each message: the first half of HMAC-SHA-512 (RFC
// 2104) over associated data | iv | ciphertext | AL, where AL is the length of the associated data in
// bits, 64-bit big-endian.
#pragma once
#include "sha512.cu"

#define TAG_BYTES 32
#define MIN_SEALED_BYTES 64

// What is authenticated, as one stream of bytes: two pieces of memory, and 8 bytes of AL.
struct Stream {
    const u32 *associated;
    const u32 *sealed;
    i64 associated_at;
    i64 sealed_at;
    int associated_bytes;
    int body_bytes;
};

// The first `count` bytes of a big-endian word, the others 0; all of it from 4 on, none below 1.
__device__ __forceinline__ u32 first_bytes(u32 word, int count)
{
    return count >= 4 ? word : count <= 0 ? 0 : word & ~(0xffffffffu >> 8 * count);
}

// AL and the 0x80 that begins SHA-512's padding as words -1 to 3, for index -1 to 3.
__device__ __forceinline__ u32 trailer_word(u32 associated_bytes, int index)
{
    return index == 0   ? associated_bytes >> 29
           : index == 1 ? associated_bytes << 3
           : index == 2 ? 0x80000000u
                        : 0;
}

// Big-endian word at byte `at` of the stream with its trailer, where pieces may meet inside the word.
__device__ __forceinline__ u32 mixed_word(const Stream &stream, int at)
{
    u32 word = 0;
    const int body = at - stream.associated_bytes, trailer = body - stream.body_bytes;
    if (body < 0)
        word = first_bytes(load_word(stream.associated, stream.associated_at + at, LOAD_BIG), -body);
    if (body > -4 && trailer < 0) {
        if (body < 0)
            word |= load_word(stream.sealed, stream.sealed_at, LOAD_BIG) >> -8 * body;
        else
            word |= first_bytes(load_word(stream.sealed, stream.sealed_at + body, LOAD_BIG), -trailer);
    }
    if (trailer > -4 && trailer < 12) {
        const int index = trailer >> 2, shift = 8 * (trailer & 3);
        const u32 left = trailer_word((u32)stream.associated_bytes, index);
        const u32 right = trailer_word((u32)stream.associated_bytes, index + 1);
        word |= (u32)(((u64)left << 32 | right) << shift >> 32);
    }
    return word;
}

// The 128 bytes from byte `at` of the stream on. Inside one piece, as most are, a word costs one PRMT.
__device__ __forceinline__ void load_data(const Stream &stream, int at, u64 (&w)[16])
{
    const int body = at - stream.associated_bytes;
    const bool in_associated = body <= -128;
    if (in_associated || (body >= 0 && body + 128 <= stream.body_bytes)) {
        const i64 from = in_associated ? stream.associated_at + at : stream.sealed_at + body;
        const u32 *word = (in_associated ? stream.associated : stream.sealed) + (from >> 2);
        const u32 select = selector(LOAD_BIG, from);
        u32 left = word[0];
#pragma unroll
        for (u32 i = 0; i < 16; ++i) {
            const u32 middle = word[2 * i + 1], right = word[2 * i + 2];
            w[i] = (u64)__byte_perm(left, middle, select) << 32 | __byte_perm(middle, right, select);
            left = right;
        }
    } else {
#pragma unroll
        for (int i = 0; i < 16; ++i)
            w[i] = (u64)mixed_word(stream, at + 8 * i) << 32 | mixed_word(stream, at + 8 * i + 4);
    }
}

// HMAC's key block: 32 bytes of key, the rest 0, XORed with a repeated byte.
__device__ __forceinline__ void load_key(const u32 *key, u64 repeated, u64 (&w)[16])
{
#pragma unroll
    for (u32 i = 0; i < 16; ++i)
        w[i] = repeated;
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        const u32 high = __byte_perm(key[2 * i], 0, LOAD_BIG), low = __byte_perm(key[2 * i + 1], 0, LOAD_BIG);
        w[i] ^= (u64)high << 32 | low;
    }
}

// The tag as 8 little-endian words. One loop with one call of the compression, the bulk of the code: inner
// key block, data, outer key block, inner hash.
__device__ __forceinline__ void hmac(const Stream &stream, const u32 *key, u32 (&tag)[8])
{
    const int bytes = stream.associated_bytes + stream.body_bytes + 8;
    const int blocks = (bytes + 17 + 127) / 128;
    u64 state[8], inner[8], w[16];
#pragma unroll
    for (u32 i = 0; i < 8; ++i)
        state[i] = SHA512_START[i], inner[i] = 0;
#pragma unroll 1
    for (int step = 0; step < blocks + 3; ++step) {
        if (step == 0) {
            load_key(key, 0x3636363636363636ull, w);
        } else if (step <= blocks) {
            load_data(stream, 128 * (step - 1), w);
            if (step == blocks)
                w[15] = 8 * (128 + (u64)bytes);
        } else if (step == blocks + 1) {
            load_key(key, 0x5c5c5c5c5c5c5c5cull, w);
#pragma unroll
            for (u32 i = 0; i < 8; ++i)
                inner[i] = state[i], state[i] = SHA512_START[i];
        } else {
#pragma unroll
            for (u32 i = 0; i < 8; ++i)
                w[i] = inner[i], w[i + 8] = 0;
            w[8] = 1ull << 63;
            w[15] = 8 * (128 + 64);
        }
        compress(state, w);
    }
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        tag[2 * i] = __byte_perm((u32)(state[i] >> 32), 0, LOAD_BIG);
        tag[2 * i + 1] = __byte_perm((u32)state[i], 0, LOAD_BIG);
    }
}

__device__ __forceinline__ Stream stream_of(const u32 *associated, const i64 *associated_at,
                                            const u32 *sealed, const i64 *sealed_at, u32 m)
{
    Stream stream;
    stream.associated = associated;
    stream.sealed = sealed;
    stream.associated_at = associated_at[m];
    stream.sealed_at = sealed_at[m];
    stream.associated_bytes = (int)(associated_at[m + 1] - associated_at[m]);
    stream.body_bytes = (int)(sealed_at[m + 1] - sealed_at[m]) - TAG_BYTES;
    return stream;
}

// keys        MAC keys: the one of item m begins at word m * key_words; key_words is 16, or 0 (one key
//             for all).
// associated  associated data, associated_at[n + 1] their offsets.
// sealed      records of iv, ciphertext and tag, sealed_at[n + 1] their offsets, multiples of 16. The iv
//             and the ciphertext are there, the tag is written.
extern "C" __global__ void __launch_bounds__(MAX_THREADS)
hmac_tag(const u32 *keys, u32 key_words, const u32 *associated, const i64 *associated_at, u32 *sealed,
         const i64 *sealed_at, const u32 *order, u32 n)
{
    for (u32 group = blockIdx.x * blockDim.x; group < n; group += gridDim.x * blockDim.x) {
        const u32 position = group + threadIdx.x;
        if (position >= n)
            break;
        const u32 m = order[position];
        const Stream stream = stream_of(associated, associated_at, sealed, sealed_at, m);
        u32 tag[8];
        hmac(stream, keys + (u64)m * key_words, tag);
        u32 *to = sealed + ((stream.sealed_at + stream.body_bytes) >> 2);
#pragma unroll
        for (u32 i = 0; i < 8; ++i)
            to[i] = tag[i];
    }
}

// Arguments as above, but nothing of `sealed` is written and its offsets need no alignment.
// ok          out: a byte for each item, 1 where the length is that of a sealed message and the tag is right.
extern "C" __global__ void __launch_bounds__(MAX_THREADS)
hmac_verify(const u32 *keys, u32 key_words, const u32 *associated, const i64 *associated_at,
            const u32 *sealed, const i64 *sealed_at, const u32 *order, u8 *ok, u32 n)
{
    for (u32 group = blockIdx.x * blockDim.x; group < n; group += gridDim.x * blockDim.x) {
        const u32 position = group + threadIdx.x;
        if (position >= n)
            break;
        const u32 m = order[position];
        const i64 bytes = sealed_at[m + 1] - sealed_at[m];
        u32 wrong = 1;
        if (bytes >= MIN_SEALED_BYTES && bytes % 16 == 0) {
            const Stream stream = stream_of(associated, associated_at, sealed, sealed_at, m);
            u32 tag[8];
            hmac(stream, keys + (u64)m * key_words, tag);
            const i64 at = stream.sealed_at + stream.body_bytes;
            wrong = 0;
            // All 32 bytes are compared, whatever the first ones say.
#pragma unroll
            for (u32 i = 0; i < 8; ++i)
                wrong |= tag[i] ^ load_word(sealed, at + 4 * i, LOAD_LITTLE);
        }
        ok[m] = wrong ? 0 : 1;
    }
}
