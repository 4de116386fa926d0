// The round keys of the equivalent inverse cipher (FIPS 197, section 5.3.5), one thread for each key.
#pragma once
#include "aes.cu"

// Double four bytes of GF(2^8) at once.
__device__ __forceinline__ u32 xtime(u32 x)
{
    return (x & 0x7f7f7f7fu) << 1 ^ (x >> 7 & 0x01010101u) * 0x1b;
}

// InvMixColumns of one column by arithmetic: there is no table for it, and it is done once for each key.
__device__ __forceinline__ u32 inverse_mix(u32 x)
{
    const u32 x2 = xtime(x), x4 = xtime(x2), x8 = xtime(x4);
    const u32 x9 = x8 ^ x, x11 = x9 ^ x2, x13 = x9 ^ x4, x14 = x8 ^ x4 ^ x2;
    return x14 ^ __byte_perm(x11, x11, 0x0321) ^ __byte_perm(x13, x13, 0x1032) ^
           __byte_perm(x9, x9, 0x2103);
}

// keys      AES keys: number k begins at word k * key_words + key_first, on a 16-byte boundary.
// out       60 words for each of the n keys.
// Dynamic shared memory: 64 KiB.
extern "C" __global__ void __launch_bounds__(MAX_THREADS)
decrypt_keys(const u32 *keys, u32 key_words, u32 key_first, u32 *out, u32 n)
{
    DYNAMIC_SHARED(u32, table);
    fill_encrypt(table);
    __syncthreads();
    const u32 lane4 = 4 * (threadIdx.x & 31);
    for (u32 group = blockIdx.x * blockDim.x; group < n; group += gridDim.x * blockDim.x) {
        const u32 k = group + threadIdx.x;
        if (k >= n)
            break;
        u32 words[AES_WORDS];
        expand_key(table, lane4, keys + (u64)k * key_words + key_first, words);
#pragma unroll
        for (u32 i = 4; i < AES_WORDS - 4; ++i)
            words[i] = inverse_mix(words[i]);
        uint4 *to = (uint4 *)(out + (u64)k * AES_WORDS);
#pragma unroll
        for (u32 i = 0; i < AES_WORDS; i += 4) {
            uint4 four;
            four.x = words[i], four.y = words[i + 1], four.z = words[i + 2], four.w = words[i + 3];
            to[i / 4] = four;
        }
    }
}
