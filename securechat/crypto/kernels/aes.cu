// AES-256 (FIPS 197) on little-endian words through tables in shared memory: one column is a u32 whose
// lowest byte is row 0.
//
// A table holds 256 rows of 64 words, 64 KiB. A row has two halves of 32 words, and in each half the same
// word 32 times, one for each lane of a warp:
//
//     table[64 * x + lane]       first half of row x
//     table[64 * x + 32 + lane]  second half
//
// The word index modulo 32 is the lane, so each lane reads a bank of its own whatever x is. A lookup takes
// the same time for all data; that is why lookups may depend on secrets here and nowhere else.
//
//     encryption: T[x] = S[x] * (2, 1, 1, 3), lowest byte first, and the same rotated by 16
//     decryption: D[x] = Si[x] * (14, 9, 13, 11), and Si[x]
//
// The byte address of a lookup is one PRMT: byte b of the state in bits 8..15 over 4 * lane. Address the
// C++ array, never PTX: the shared window of newer devices does not begin at 0.
#pragma once
#include "common.cu"

#define AES_WORDS 60
#define TABLE_WORDS (256 * 64)
#define SECOND_HALF 128

struct ByteTable {
    u8 at[256];
};
struct WordTable {
    u32 at[256];
};

constexpr u32 times(u32 a, u32 b)
{
    u32 product = 0;
    for (; b; b >>= 1) {
        if (b & 1)
            product ^= a;
        a = a << 1 ^ (a & 0x80 ? 0x11bu : 0);
    }
    return product;
}

// Powers of the generator 3 give all inverses; the affine map of FIPS 197, section 5.1.1, follows.
constexpr ByteTable make_sbox()
{
    ByteTable power = {}, sbox = {};
    u32 value = 1;
    for (u32 i = 0; i < 255; ++i) {
        power.at[i] = (u8)value;
        value = times(value, 3);
    }
    sbox.at[0] = 0x63;
    for (u32 i = 0; i < 255; ++i) {
        const u32 inverse = power.at[(255 - i) % 255] * 0x101u;
        const u32 mapped = inverse ^ inverse >> 4 ^ inverse >> 5 ^ inverse >> 6 ^ inverse >> 7;
        sbox.at[power.at[i]] = (u8)(mapped ^ 0x63);
    }
    return sbox;
}

constexpr WordTable make_encrypt()
{
    const ByteTable sbox = make_sbox();
    WordTable table = {};
    for (u32 x = 0; x < 256; ++x) {
        const u32 s = sbox.at[x];
        table.at[x] = times(s, 2) | s << 8 | s << 16 | times(s, 3) << 24;
    }
    return table;
}

constexpr WordTable make_inverse()
{
    const ByteTable sbox = make_sbox();
    WordTable table = {};
    for (u32 x = 0; x < 256; ++x)
        table.at[sbox.at[x]] = x;
    return table;
}

constexpr WordTable make_decrypt()
{
    const WordTable inverse = make_inverse();
    WordTable table = {};
    for (u32 x = 0; x < 256; ++x) {
        const u32 s = inverse.at[x];
        table.at[x] = times(s, 14) | times(s, 9) << 8 | times(s, 13) << 16 | times(s, 11) << 24;
    }
    return table;
}

__constant__ constexpr WordTable ENCRYPT = make_encrypt();
__constant__ constexpr WordTable DECRYPT = make_decrypt();
__constant__ constexpr WordTable INVERSE = make_inverse();

// Fill a table, all threads of a block together; a barrier must follow. Consecutive threads store
// consecutive words, and a warp reads one and the same constant.
__device__ __forceinline__ void fill_encrypt(u32 *table)
{
    for (u32 i = threadIdx.x; i < TABLE_WORDS; i += blockDim.x) {
        const u32 value = ENCRYPT.at[i >> 6];
        table[i] = i & 32 ? __byte_perm(value, value, 0x1032) : value;
    }
}

__device__ __forceinline__ void fill_decrypt(u32 *table)
{
    for (u32 i = threadIdx.x; i < TABLE_WORDS; i += blockDim.x)
        table[i] = i & 32 ? INVERSE.at[i >> 6] : DECRYPT.at[i >> 6];
}

// Byte `byte` of `state` looked up; `lane4` is 4 * lane, `half` 0 or SECOND_HALF.
__device__ __forceinline__ u32 lookup(const u32 *table, u32 lane4, u32 state, u32 byte, u32 half)
{
    const u32 address = __byte_perm(state, lane4, 0x5504u | byte << 4);
    return *(const u32 *)((const u8 *)table + address + half);
}

__device__ __forceinline__ u32 rotate8(u32 x)
{
    return __byte_perm(x, x, 0x2103);
}

// Byte 1 of each of four words, which in T is S[x] itself: the last round needs no other table.
__device__ __forceinline__ u32 gather1(u32 a, u32 b, u32 c, u32 d)
{
    return __byte_perm(__byte_perm(a, b, 0x51), __byte_perm(c, d, 0x51), 0x5410);
}

// Byte 0 of each of four words.
__device__ __forceinline__ u32 gather0(u32 a, u32 b, u32 c, u32 d)
{
    return __byte_perm(__byte_perm(a, b, 0x40), __byte_perm(c, d, 0x40), 0x5410);
}

// The S-box on the bytes of a word, beginning with byte `first`: SubWord for 0, SubWord(RotWord) for 1.
__device__ __forceinline__ u32 sub_word(const u32 *table, u32 lane4, u32 word, u32 first)
{
    return gather1(lookup(table, lane4, word, first, 0), lookup(table, lane4, word, (first + 1) & 3, 0),
                   lookup(table, lane4, word, (first + 2) & 3, 0),
                   lookup(table, lane4, word, (first + 3) & 3, 0));
}

// FIPS 197, section 5.2, for a key of 32 bytes on a 16-byte boundary; `table` is the encryption table.
__device__ __forceinline__ void expand_key(const u32 *table, u32 lane4, const u32 *key, u32 *words)
{
    const uint4 low = *(const uint4 *)key, high = *(const uint4 *)(key + 4);
    words[0] = low.x, words[1] = low.y, words[2] = low.z, words[3] = low.w;
    words[4] = high.x, words[5] = high.y, words[6] = high.z, words[7] = high.w;
#pragma unroll
    for (u32 i = 8; i < AES_WORDS; ++i) {
        u32 last = words[i - 1];
        if (i % 8 == 0)
            last = sub_word(table, lane4, last, 1) ^ 1u << (i / 8 - 1);
        else if (i % 8 == 4)
            last = sub_word(table, lane4, last, 0);
        words[i] = words[i - 8] ^ last;
    }
}

__device__ __forceinline__ u32 encrypt_column(const u32 *table, u32 lane4, u32 a, u32 b, u32 c, u32 d)
{
    return lookup(table, lane4, a, 0, 0) ^ lookup(table, lane4, c, 2, SECOND_HALF) ^
           rotate8(lookup(table, lane4, b, 1, 0) ^ lookup(table, lane4, d, 3, SECOND_HALF));
}

__device__ __forceinline__ u32 encrypt_last(const u32 *table, u32 lane4, u32 a, u32 b, u32 c, u32 d)
{
    return gather1(lookup(table, lane4, a, 0, 0), lookup(table, lane4, b, 1, 0),
                   lookup(table, lane4, c, 2, 0), lookup(table, lane4, d, 3, 0));
}

__device__ __forceinline__ uint4 encrypt_block(const u32 *table, u32 lane4, const u32 *words, uint4 s)
{
    s.x ^= words[0], s.y ^= words[1], s.z ^= words[2], s.w ^= words[3];
    uint4 t;
#pragma unroll
    for (u32 i = 4; i < AES_WORDS - 4; i += 4) {
        t.x = encrypt_column(table, lane4, s.x, s.y, s.z, s.w) ^ words[i];
        t.y = encrypt_column(table, lane4, s.y, s.z, s.w, s.x) ^ words[i + 1];
        t.z = encrypt_column(table, lane4, s.z, s.w, s.x, s.y) ^ words[i + 2];
        t.w = encrypt_column(table, lane4, s.w, s.x, s.y, s.z) ^ words[i + 3];
        s = t;
    }
    t.x = encrypt_last(table, lane4, s.x, s.y, s.z, s.w) ^ words[56];
    t.y = encrypt_last(table, lane4, s.y, s.z, s.w, s.x) ^ words[57];
    t.z = encrypt_last(table, lane4, s.z, s.w, s.x, s.y) ^ words[58];
    t.w = encrypt_last(table, lane4, s.w, s.x, s.y, s.z) ^ words[59];
    return t;
}

// Rotated by nested steps, for want of a third table: 64 KiB fit every device from sm_75 on.
__device__ __forceinline__ u32 decrypt_column(const u32 *table, u32 lane4, u32 a, u32 b, u32 c, u32 d)
{
    const u32 outer = rotate8(lookup(table, lane4, d, 3, 0)) ^ lookup(table, lane4, c, 2, 0);
    return lookup(table, lane4, a, 0, 0) ^ rotate8(rotate8(outer) ^ lookup(table, lane4, b, 1, 0));
}

__device__ __forceinline__ u32 decrypt_last(const u32 *table, u32 lane4, u32 a, u32 b, u32 c, u32 d)
{
    return gather0(lookup(table, lane4, a, 0, SECOND_HALF), lookup(table, lane4, b, 1, SECOND_HALF),
                   lookup(table, lane4, c, 2, SECOND_HALF), lookup(table, lane4, d, 3, SECOND_HALF));
}

// The equivalent inverse cipher (FIPS 197, section 5.3.5) with the words of decrypt_keys.cu, read in
// groups of four from global memory as they are needed.
__device__ __forceinline__ uint4 decrypt_block(const u32 *table, u32 lane4, const uint4 *keys, uint4 s)
{
    s = xor_block(s, keys[14]);
    uint4 t;
#pragma unroll
    for (u32 i = 13; i > 0; --i) {
        t.x = decrypt_column(table, lane4, s.x, s.w, s.z, s.y);
        t.y = decrypt_column(table, lane4, s.y, s.x, s.w, s.z);
        t.z = decrypt_column(table, lane4, s.z, s.y, s.x, s.w);
        t.w = decrypt_column(table, lane4, s.w, s.z, s.y, s.x);
        s = xor_block(t, keys[i]);
    }
    t.x = decrypt_last(table, lane4, s.x, s.w, s.z, s.y);
    t.y = decrypt_last(table, lane4, s.y, s.x, s.w, s.z);
    t.z = decrypt_last(table, lane4, s.z, s.y, s.x, s.w);
    t.w = decrypt_last(table, lane4, s.w, s.z, s.y, s.x);
    return xor_block(t, keys[0]);
}
