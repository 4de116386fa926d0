// AES-256-CBC back to padded text, one thread for each block: decryption is not a chain.
#pragma once
#include "aes.cu"

// keys      round keys from decrypt_keys: those of item m begin at word m * key_words; key_words is 60, or
//           0 (one key for all).
// ivs       16 bytes for each item; not read where lead is 16.
// in        ciphertexts, item m's first block at in_at[m] + lead. `lead` is 16 where the iv is in front.
// block_at  n + 1 numbers: the first block of each item among all blocks, and the count of all.
// ok        a byte for each item: 1 to decrypt it, 0 to write zeros.
// out       16 bytes for each block, in their order: item m begins at 16 * block_at[m].
// Dynamic shared memory: 64 KiB. Never in place, as blocks read their predecessors.
extern "C" __global__ void __launch_bounds__(MAX_THREADS)
cbc_decrypt(const u32 *keys, u32 key_words, const uint4 *ivs, const u32 *in, const i64 *in_at, u32 lead,
            const u32 *block_at, const u8 *ok, uint4 *out, u32 n)
{
    DYNAMIC_SHARED(u32, table);
    fill_decrypt(table);
    __syncthreads();
    const u32 lane4 = 4 * (threadIdx.x & 31);
    const u32 blocks = block_at[n];
    for (u32 group = blockIdx.x * blockDim.x; group < blocks; group += gridDim.x * blockDim.x) {
        const u32 block = group + threadIdx.x;
        if (block >= blocks)
            break;
        const u32 m = item_of(block_at, n, block);
        const u32 number = block - block_at[m];
        const i64 at = in_at[m] + lead + 16 * (i64)number;
        const uint4 before = number || lead ? load_block(in, at - 16) : ivs[m];
        const uint4 *schedule = (const uint4 *)(keys + (u64)m * key_words);
        uint4 plain = decrypt_block(table, lane4, schedule, load_block(in, at));
        plain = xor_block(plain, before);
        // By mask and not by branch: what did not verify never reaches memory.
        const u32 mask = 0u - ok[m];
        plain.x &= mask;
        plain.y &= mask;
        plain.z &= mask;
        plain.w &= mask;
        out[block] = plain;
    }
}
