// AES-256-CBC with PKCS#7 padding, one thread for each message: CBC encryption is one chain.
#pragma once
#include "aes.cu"

// The last block of a text: `left` (0 to 15) bytes of it and then the padding.
__device__ __forceinline__ u32 pad_word(u32 word, u32 left, u32 first)
{
    const u32 here = left <= first ? 0 : left - first;
    const u32 keep = here >= 4 ? 0xffffffffu : (1u << 8 * here) - 1;
    return (word & keep) | ((16 - left) * 0x01010101u & ~keep);
}

// keys      AES keys: the one of item m begins at word m * key_words + key_first, on a 16-byte boundary.
//           key_words is 16 (MAC and AES key), 8 (AES key alone) or 0 (one key for all).
// ivs       16 bytes for each item.
// text      the texts, text_at[n + 1] their offsets.
// out       records, out_at[n + 1] their offsets, multiples of 16. A record takes lead + 16 * (length / 16
//           + 1) bytes, more may follow (the tag). `lead` is 16 where the iv goes in front, or 0.
// Dynamic shared memory: 64 KiB. Never in place.
extern "C" __global__ void __launch_bounds__(MAX_THREADS)
cbc_encrypt(const u32 *keys, u32 key_words, u32 key_first, const uint4 *ivs, const u32 *text,
            const i64 *text_at, const u32 *order, u8 *out, const i64 *out_at, u32 lead, u32 n)
{
    DYNAMIC_SHARED(u32, table);
    fill_encrypt(table);
    __syncthreads();
    const u32 lane4 = 4 * (threadIdx.x & 31);
    // Groups of one block's size rather than a stride for each thread: the loop is the same for all threads of
    // a block, so that nothing which the compiler derives from it, such as addresses, differs among them.
    for (u32 group = blockIdx.x * blockDim.x; group < n; group += gridDim.x * blockDim.x) {
        const u32 position = group + threadIdx.x;
        if (position >= n)
            break;
        const u32 m = order[position];
        u32 words[AES_WORDS];
        expand_key(table, lane4, keys + (u64)m * key_words + key_first, words);
        i64 at = text_at[m];
        const u32 bytes = (u32)(text_at[m + 1] - at);
        uint4 *to = (uint4 *)(out + out_at[m]);
        uint4 chain = ivs[m];
        if (lead)
            *to++ = chain;
#pragma unroll 1
        for (u32 block = 0; block <= bytes / 16; ++block, at += 16) {
            uint4 plain = load_block(text, at);
            if (block == bytes / 16) {
                plain.x = pad_word(plain.x, bytes % 16, 0);
                plain.y = pad_word(plain.y, bytes % 16, 4);
                plain.z = pad_word(plain.z, bytes % 16, 8);
                plain.w = pad_word(plain.w, bytes % 16, 12);
            }
            chain = encrypt_block(table, lane4, words, xor_block(chain, plain));
            *to++ = chain;
        }
    }
}
