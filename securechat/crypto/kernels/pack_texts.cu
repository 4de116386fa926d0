// Opened texts closed up to a Batch, one thread for each 16 bytes of the result.
#pragma once
#include "common.cu"

// text      what check_padding left; block_at as there.
// out_at    n + 1 offsets of the result, the running sum of the lengths that check_padding gave.
// out       the texts one behind the other, with room for whole blocks of 16 bytes.
extern "C" __global__ void __launch_bounds__(MAX_THREADS)
pack_texts(const u32 *text, const u32 *block_at, const i64 *out_at, uint4 *out, u32 n)
{
    const i64 bytes = out_at[n];
    const u32 blocks = (u32)((bytes + 15) / 16);
    for (u32 group = blockIdx.x * blockDim.x; group < blocks; group += gridDim.x * blockDim.x) {
        const u32 block = group + threadIdx.x;
        if (block >= blocks)
            break;
        const i64 start = 16 * (i64)block;
        u32 m = item_of(out_at, n, start);
        if (start + 16 <= out_at[m + 1]) {
            out[block] = load_block(text, 16 * (i64)block_at[m] + start - out_at[m]);
            continue;
        }
        // Texts meet in this block, or the last one ends.
        u32 words[4] = {0, 0, 0, 0};
#pragma unroll
        for (u32 i = 0; i < 16; ++i) {
            const i64 at = start + i;
            if (at < bytes) {
                if (at >= out_at[m + 1])
                    m = item_of(out_at, n, at);
                const i64 from = 16 * (i64)block_at[m] + at - out_at[m];
                words[i / 4] |= (u32)((const u8 *)text)[from] << 8 * (i % 4);
            }
        }
        uint4 whole;
        whole.x = words[0], whole.y = words[1], whole.z = words[2], whole.w = words[3];
        out[block] = whole;
    }
}
