// PKCS#7 padding (RFC 5652, section 6.3) checked after decryption, one thread for each message.
#pragma once
#include "common.cu"

// Whether the last 16 bytes of a text end in padding: its length, or 0. No branch depends on them.
__device__ __forceinline__ u32 padding_bytes(uint4 last)
{
    const u32 words[4] = {last.x, last.y, last.z, last.w};
    const u32 count = last.w >> 24;
    u32 wrong = (count - 1) & ~15u;
#pragma unroll
    for (u32 i = 0; i < 16; ++i) {
        const u32 byte = words[i / 4] >> 8 * (i % 4) & 255;
        const u32 inside = 0u - (15 - i < count);
        wrong |= inside & (byte ^ count);
    }
    return wrong ? 0 : count;
}

// text      what cbc_decrypt wrote; block_at as there.
// ok        in: 1 where the item was verified and decrypted. Out: 1 where its padding is right as well.
//           An item without blocks is not ok.
// bytes     out: the length of each text without its padding, 0 where it is not ok.
// An item that was verified but is badly padded is overwritten with zeros.
extern "C" __global__ void __launch_bounds__(MAX_THREADS)
check_padding(uint4 *text, const u32 *block_at, u8 *ok, u32 *bytes, u32 n)
{
    for (u32 group = blockIdx.x * blockDim.x; group < n; group += gridDim.x * blockDim.x) {
        const u32 m = group + threadIdx.x;
        if (m >= n)
            break;
        const u32 first = block_at[m], end = block_at[m + 1];
        u32 padding = 0;
        if (ok[m] && first < end) {
            padding = padding_bytes(text[end - 1]);
            if (!padding) {
                const uint4 zeros = {0, 0, 0, 0};
                for (u32 block = first; block < end; ++block)
                    text[block] = zeros;
            }
        }
        ok[m] = padding ? 1 : 0;
        bytes[m] = padding ? 16 * (end - first) - padding : 0;
    }
}
