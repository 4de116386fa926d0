/* A256CBC-HS512 by Intel's ipsec-mb: what assembly that interleaves messages reaches on one core of this
 * machine. ipsec_mb.py compiles this and calls it; nothing else uses it.
 *
 * n messages lie one behind the other, all of one length, each with its own key of 64 bytes (MAC key, AES
 * key), as in securechat/crypto/aead.py. A job of ipsec-mb is one message: the library takes them one by
 * one, works on several side by side, and gives them back in the order in which they came.
 *
 * A job hashes one stretch of memory, and ciphers within it where it hashes what it has ciphered. So each
 * message is laid out in a slot: associated data | iv | padded text | length of the associated data. That
 * copying is part of what this way costs, as are key expansion and HMAC's two pads for each message. */
#include <intel-ipsec-mb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define IV 16
#define TAG 32
#define KEY 64
#define SLOTS (IMB_MAX_JOBS + 1) /* more than the library ever holds, so that a slot is free when it is reused */

typedef struct {
    DECLARE_ALIGNED(uint32_t enc_keys[60], 16);
    DECLARE_ALIGNED(uint32_t dec_keys[60], 16);
    DECLARE_ALIGNED(uint8_t inner[64], 16);
    DECLARE_ALIGNED(uint8_t outer[64], 16);
    DECLARE_ALIGNED(uint8_t tag[TAG], 16);
    uint8_t *data;
} slot_t;

struct state {
    IMB_MGR *manager;
    slot_t *slots;
    uint8_t *memory;
    size_t slot_bytes;
};

void state_free(struct state *state)
{
    if (!state)
        return;
    if (state->manager)
        free_mb_mgr(state->manager);
    free(state->slots);
    free(state->memory);
    free(state);
}

/* Room for messages whose associated data, iv, padded text and length take up to so many bytes; NULL where
 * there is no memory or the processor is none that the library knows. */
struct state *state_new(size_t most_bytes)
{
    struct state *state = calloc(1, sizeof *state);
    if (!state)
        return NULL;
    state->slot_bytes = (most_bytes + 63) / 64 * 64;
    state->manager = alloc_mb_mgr(0);
    state->slots = aligned_alloc(64, (SLOTS * sizeof(slot_t) + 63) / 64 * 64);
    state->memory = aligned_alloc(64, SLOTS * state->slot_bytes);
    if (state->manager)
        init_mb_mgr_auto(state->manager, NULL);
    if (!state->manager || imb_get_errno(state->manager) || !state->slots || !state->memory) {
        state_free(state);
        return NULL;
    }
    for (size_t i = 0; i < SLOTS; ++i)
        state->slots[i].data = state->memory + i * state->slot_bytes;
    return state;
}

static void hmac_pad(IMB_MGR *manager, const uint8_t *key, uint8_t with, uint8_t *out)
{
    DECLARE_ALIGNED(uint8_t block[128], 16);
    memset(block, with, sizeof block);
    for (int i = 0; i < 32; ++i)
        block[i] ^= key[i];
    IMB_SHA512_ONE_BLOCK(manager, block, out);
}

/* Fill in what sealing and opening have in common; iv and ciphertext (or padded text) lie in the slot. */
static void prepare(struct state *state, IMB_JOB *job, slot_t *slot, const uint8_t *key, const uint8_t *associated,
                    size_t associated_bytes, size_t padded_bytes, size_t number)
{
    uint8_t *end = slot->data + associated_bytes + IV + padded_bytes;
    const uint64_t bits = 8 * (uint64_t)associated_bytes;
    memcpy(slot->data, associated, associated_bytes);
    for (int i = 0; i < 8; ++i)
        end[i] = (uint8_t)(bits >> (56 - 8 * i));
    hmac_pad(state->manager, key, 0x36, slot->inner);
    hmac_pad(state->manager, key, 0x5c, slot->outer);
    IMB_AES_KEYEXP_256(state->manager, key + 32, slot->enc_keys, slot->dec_keys);
    job->enc_keys = slot->enc_keys;
    job->dec_keys = slot->dec_keys;
    job->key_len_in_bytes = 32;
    job->src = slot->data;
    job->dst = slot->data + associated_bytes + IV;
    job->cipher_start_src_offset_in_bytes = associated_bytes + IV;
    job->msg_len_to_cipher_in_bytes = padded_bytes;
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_hash_in_bytes = associated_bytes + IV + padded_bytes + 8;
    job->iv = slot->data + associated_bytes;
    job->iv_len_in_bytes = IV;
    job->auth_tag_output = slot->tag;
    job->auth_tag_output_len_in_bytes = TAG;
    job->u.HMAC._hashed_auth_key_xor_ipad = slot->inner;
    job->u.HMAC._hashed_auth_key_xor_opad = slot->outer;
    job->cipher_mode = IMB_CIPHER_CBC;
    job->hash_alg = IMB_AUTH_HMAC_SHA_512;
    job->user_data = (void *)(uintptr_t)number;
}

/* Write iv, ciphertext and tag of a job that is done. Returns how many jobs failed: 0 or 1. */
static size_t take_sealed(struct state *state, const IMB_JOB *job, size_t associated_bytes, size_t padded_bytes,
                          uint8_t *out)
{
    const size_t number = (uintptr_t)job->user_data, body = IV + padded_bytes;
    const slot_t *slot = &state->slots[number % SLOTS];
    uint8_t *to = out + number * (body + TAG);
    memcpy(to, slot->data + associated_bytes, body);
    memcpy(to + body, slot->tag, TAG);
    return job->status != IMB_STATUS_COMPLETED;
}

/* Seal n texts of `bytes` each; records of iv, ciphertext and tag go to `out`. Returns how many failed. */
size_t seal(struct state *state, size_t n, const uint8_t *keys, const uint8_t *ivs, const uint8_t *associated,
            size_t associated_bytes, const uint8_t *texts, size_t bytes, uint8_t *out)
{
    const size_t padded_bytes = bytes / 16 * 16 + 16;
    size_t failed = 0;
    for (size_t i = 0; i < n; ++i) {
        slot_t *slot = &state->slots[i % SLOTS];
        uint8_t *padded = slot->data + associated_bytes + IV;
        IMB_JOB *job = IMB_GET_NEXT_JOB(state->manager);
        memcpy(slot->data + associated_bytes, ivs + i * IV, IV);
        memcpy(padded, texts + i * bytes, bytes);
        memset(padded + bytes, (int)(padded_bytes - bytes), padded_bytes - bytes);
        prepare(state, job, slot, keys + i * KEY, associated + i * associated_bytes, associated_bytes,
                padded_bytes, i);
        job->cipher_direction = IMB_DIR_ENCRYPT;
        job->chain_order = IMB_ORDER_CIPHER_HASH;
        for (job = IMB_SUBMIT_JOB(state->manager); job; job = IMB_GET_COMPLETED_JOB(state->manager))
            failed += take_sealed(state, job, associated_bytes, padded_bytes, out);
    }
    for (IMB_JOB *job = IMB_FLUSH_JOB(state->manager); job; job = IMB_FLUSH_JOB(state->manager))
        failed += take_sealed(state, job, associated_bytes, padded_bytes, out);
    return failed;
}

/* Compare the tag, check the padding, write the text. Returns its length, or -1 where something is wrong. */
static int64_t take_opened(struct state *state, const IMB_JOB *job, size_t associated_bytes,
                           size_t padded_bytes, const uint8_t *sealed, uint8_t *out)
{
    const size_t number = (uintptr_t)job->user_data, record = IV + padded_bytes + TAG;
    const slot_t *slot = &state->slots[number % SLOTS];
    const uint8_t *tag = sealed + (number + 1) * record - TAG;
    const uint8_t *padded = slot->data + associated_bytes + IV;
    const uint8_t count = padded[padded_bytes - 1];
    uint8_t wrong = job->status != IMB_STATUS_COMPLETED || count < 1 || count > 16;
    for (size_t i = 0; i < TAG; ++i)
        wrong |= tag[i] ^ slot->tag[i];
    for (size_t i = 0; !wrong && i < count; ++i)
        wrong |= padded[padded_bytes - 1 - i] ^ count;
    if (wrong)
        return -1;
    memcpy(out + number * padded_bytes, padded, padded_bytes - count);
    return (int64_t)(padded_bytes - count);
}

/* Open n records of `record` bytes each. Text i goes to `out` at i * (record - 48), its length, or -1 where
 * it was not opened, to lengths[i].
 *
 * The hash comes first in a job, and the library goes on to decrypt whatever it is; a text is given out
 * only where the tag was right. */
void open_records(struct state *state, size_t n, const uint8_t *keys, const uint8_t *associated,
                  size_t associated_bytes, const uint8_t *sealed, size_t record, uint8_t *out, int64_t *lengths)
{
    const size_t padded_bytes = record - IV - TAG;
    for (size_t i = 0; i < n; ++i) {
        slot_t *slot = &state->slots[i % SLOTS];
        IMB_JOB *job = IMB_GET_NEXT_JOB(state->manager);
        memcpy(slot->data + associated_bytes, sealed + i * record, IV + padded_bytes);
        prepare(state, job, slot, keys + i * KEY, associated + i * associated_bytes, associated_bytes,
                padded_bytes, i);
        job->cipher_direction = IMB_DIR_DECRYPT;
        job->chain_order = IMB_ORDER_HASH_CIPHER;
        for (job = IMB_SUBMIT_JOB(state->manager); job; job = IMB_GET_COMPLETED_JOB(state->manager))
            lengths[(uintptr_t)job->user_data] =
                take_opened(state, job, associated_bytes, padded_bytes, sealed, out);
    }
    for (IMB_JOB *job = IMB_FLUSH_JOB(state->manager); job; job = IMB_FLUSH_JOB(state->manager))
        lengths[(uintptr_t)job->user_data] = take_opened(state, job, associated_bytes, padded_bytes, sealed, out);
}
