/* A256CBC-HS512 over whole batches in one C loop, on OpenSSL's EVP. See native.py, its only caller.
 *
 * Two ways in. Packed: every argument is a buffer, item i is data[off[i]:off[i + 1]], offsets are int64 in
 * native order. Lists: Python lists of bytes in, a new list of bytes out; each object is held by a
 * reference of ours while the loop runs, and each result is written in its final place.
 *
 * The global lock is released for the loop, and a large batch is spread over POSIX threads, the caller's
 * among them. What the caller passed could be changed meanwhile by a thread that breaks its promise not
 * to, so item_at() reads each offset once and checks it against the buffers again: every access is in
 * bounds whatever happens. The first pass, with the lock held, is there to refuse before anything is
 * written.
 *
 * To open: the tag is computed and compared in constant time; only then is the last block decrypted, into
 * a scratch block that is wiped, and its padding looked at; only then is the rest decrypted, into the
 * output. So neither a wrong tag nor wrong padding leaves anything of the text in the output.
 *
 * Key material of ours (HMAC pads, scratch, contexts) is wiped; OpenSSL wipes the contexts it frees.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "securechat's native engine needs OpenSSL 3 or newer"
#endif

/* What native.py expects; raised whenever a function here changes its arguments or results. */
#define INTERFACE 2

#define BLOCK 16
#define IV BLOCK
#define TAG 32
#define MAC_KEY 32
#define ENC_KEY 32
#define HASH_BLOCK 128
#define DIGEST 64
#define MIN_SEALED (IV + BLOCK + TAG)
/* OpenSSL counts the bytes of one call in an int (see MAX_ITEM_BYTES of engine.py). */
#define MAX_ITEM ((size_t)INT32_MAX - 1023)

/* Associated data up to here goes to the hash together with the key: a call less for each message. */
#define SHORT_AAD 128

#define MAX_THREADS 64
#define BYTES_PER_THREAD ((size_t)1 << 20)
/* What an item costs besides its bytes, counted in bytes: setting up key, cipher and hash. */
#define BYTES_PER_ITEM 512

typedef struct {
    const uint8_t *key, *iv, *aad, *in;
    size_t aad_bytes, in_bytes;
    uint8_t *out;      /* NULL in a list where nothing can come out */
    size_t text_bytes; /* lists, opening: the result */
    int ok;            /* the same */
} item;

typedef struct {
    int opening, sealed; /* sealed: with iv and tag around; otherwise the raw cipher */
    EVP_CIPHER *cipher;
    EVP_MD *digest;
    size_t count, key_stride; /* a stride of 0: one key for all */
    const uint8_t *keys, *ivs, *aad, *aad_off, *in, *in_off;
    size_t aad_bytes, in_bytes, out_bytes, in_first;
    uint8_t *out, *out_off, *ok;
    item *items; /* lists; otherwise NULL */
    size_t chunk;
    atomic_size_t next;
    atomic_int failed;
} job;

typedef struct {
    EVP_CIPHER_CTX *cipher;
    EVP_MD_CTX *hash, *inner, *outer; /* inner, outer: one key for all, with their pads taken in */
    uint8_t ipad[HASH_BLOCK + SHORT_AAD], opad[HASH_BLOCK + DIGEST], digest[DIGEST], block[BLOCK];
} worker;

typedef struct {
    EVP_CIPHER *cipher;
    EVP_MD *digest;
} state;

/* ---- items ---- */

static int64_t load(const uint8_t *offsets, size_t i)
{
    int64_t value; /* the array need not be aligned */
    memcpy(&value, offsets + i * sizeof value, sizeof value);
    return value;
}

static void store(uint8_t *offsets, size_t i, int64_t value)
{
    memcpy(offsets + i * sizeof value, &value, sizeof value);
}

static int range(const uint8_t *offsets, size_t i, size_t limit, size_t *start, size_t *bytes)
{
    int64_t from = load(offsets, i), to = load(offsets, i + 1);
    if (from < 0 || to < from || (uint64_t)to > limit) {
        return 0;
    }
    *start = (size_t)from;
    *bytes = (size_t)(to - from);
    return 1;
}

static size_t grown(const job *j, size_t text_bytes)
{
    return text_bytes - text_bytes % BLOCK + BLOCK + (j->sealed ? IV + TAG : 0);
}

/* Give item i, everything in it checked. 0 where an offset is wrong. */
static int item_at(const job *j, size_t i, item *it)
{
    size_t start, bytes;
    if (j->items != NULL) {
        *it = j->items[i];
        return 1;
    }
    memset(it, 0, sizeof *it);
    it->key = j->keys + i * j->key_stride;
    if (j->ivs != NULL) {
        it->iv = j->ivs + i * IV;
    }
    if (j->sealed) {
        if (!range(j->aad_off, i, j->aad_bytes, &start, &it->aad_bytes) || it->aad_bytes > MAX_ITEM) {
            return 0;
        }
        it->aad = j->aad + start;
    }
    if (!range(j->in_off, i, j->in_bytes, &start, &it->in_bytes) || it->in_bytes > MAX_ITEM) {
        return 0;
    }
    it->in = j->in + start;
    if (j->opening) { /* a text has room where its sealed message lies */
        if (start < j->in_first || start - j->in_first > j->out_bytes
            || it->in_bytes > j->out_bytes - (start - j->in_first)) {
            return 0;
        }
        it->out = j->out + (start - j->in_first);
        return 1;
    }
    if (!range(j->out_off, i, j->out_bytes, &start, &bytes) || bytes != grown(j, it->in_bytes)) {
        return 0;
    }
    it->out = j->out + start;
    return 1;
}

/* ---- one item ---- */

static int update(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in, size_t bytes)
{
    int done = 0;
    return bytes == 0 || (EVP_CipherUpdate(ctx, out, &done, in, (int)bytes) == 1 && (size_t)done == bytes);
}

static int start_cipher(worker *w, const job *j, const item *it, const uint8_t *iv)
{
    const uint8_t *key = j->key_stride ? it->key + (j->sealed ? MAC_KEY : 0) : NULL;
    return EVP_CipherInit_ex(w->cipher, NULL, NULL, key, iv, -1);
}

static void make_pads(worker *w, const uint8_t *mac_key)
{
    for (size_t i = 0; i < MAC_KEY; i++) {
        w->ipad[i] = mac_key[i] ^ 0x36;
        w->opad[i] = mac_key[i] ^ 0x5c;
    }
}

/* HMAC-SHA-512 (RFC 2104) over aad, body and the length of aad in bits, into w->digest. */
static int mac(worker *w, const job *j, const item *it, const uint8_t *body, size_t body_bytes)
{
    uint64_t bits = (uint64_t)it->aad_bytes * 8;
    uint8_t length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    }
    size_t ahead = 0; /* what of the associated data was hashed with the key */
    if (j->key_stride) {
        make_pads(w, it->key);
        if (it->aad_bytes && it->aad_bytes <= SHORT_AAD) {
            ahead = it->aad_bytes;
            memcpy(w->ipad + HASH_BLOCK, it->aad, ahead);
        }
        if (!EVP_DigestInit_ex(w->hash, NULL, NULL) || !EVP_DigestUpdate(w->hash, w->ipad, HASH_BLOCK + ahead)) {
            return 0;
        }
    } else if (!EVP_MD_CTX_copy_ex(w->hash, w->inner)) {
        return 0;
    }
    if ((ahead < it->aad_bytes && !EVP_DigestUpdate(w->hash, it->aad, it->aad_bytes))
        || !EVP_DigestUpdate(w->hash, body, body_bytes) || !EVP_DigestUpdate(w->hash, length, sizeof length)
        || !EVP_DigestFinal_ex(w->hash, w->opad + HASH_BLOCK, NULL)) {
        return 0;
    }
    if (j->key_stride) {
        return EVP_DigestInit_ex(w->hash, NULL, NULL) && EVP_DigestUpdate(w->hash, w->opad, HASH_BLOCK + DIGEST)
            && EVP_DigestFinal_ex(w->hash, w->digest, NULL);
    }
    return EVP_MD_CTX_copy_ex(w->hash, w->outer) && EVP_DigestUpdate(w->hash, w->opad + HASH_BLOCK, DIGEST)
        && EVP_DigestFinal_ex(w->hash, w->digest, NULL);
}

static int seal_item(worker *w, const job *j, const item *it)
{
    size_t rest = it->in_bytes % BLOCK, whole = it->in_bytes - rest;
    uint8_t *ciphertext = it->out + (j->sealed ? IV : 0);
    memset(w->block, (int)(BLOCK - rest), BLOCK);
    memcpy(w->block, it->in + whole, rest);
    if (!start_cipher(w, j, it, it->iv) || !update(w->cipher, ciphertext, it->in, whole)
        || !update(w->cipher, ciphertext + whole, w->block, BLOCK)) {
        return 0;
    }
    if (j->sealed) {
        size_t body_bytes = IV + whole + BLOCK;
        memcpy(it->out, it->iv, IV);
        if (!mac(w, j, it, it->out, body_bytes)) {
            return 0;
        }
        memcpy(it->out + body_bytes, w->digest, TAG);
    }
    return 1;
}

/* 1 if the item was dealt with, opened or not (it->ok); 0 if OpenSSL failed. */
static int open_item(worker *w, const job *j, item *it)
{
    const uint8_t *iv = it->iv, *ciphertext = it->in;
    size_t bytes = it->in_bytes, last;
    unsigned count, wrong;
    it->ok = 0;
    it->text_bytes = 0;
    if (bytes < (j->sealed ? MIN_SEALED : BLOCK) || bytes % BLOCK) {
        return 1;
    }
    if (j->sealed) {
        if (!mac(w, j, it, it->in, bytes - TAG)) {
            return 0;
        }
        if (CRYPTO_memcmp(w->digest, it->in + bytes - TAG, TAG) != 0) {
            return 1;
        }
        iv = it->in;
        ciphertext = it->in + IV;
        bytes -= IV + TAG;
    }
    last = bytes - BLOCK;
    if (!start_cipher(w, j, it, last ? ciphertext + last - BLOCK : iv)
        || !update(w->cipher, w->block, ciphertext + last, BLOCK)) {
        return 0;
    }
    count = w->block[BLOCK - 1];
    wrong = count < 1 || count > BLOCK;
    for (unsigned i = 0; i < BLOCK; i++) {
        wrong |= (unsigned)(i < count) & (unsigned)(w->block[BLOCK - 1 - i] != count);
    }
    if (wrong) {
        return 1;
    }
    if (last && (!EVP_CipherInit_ex(w->cipher, NULL, NULL, NULL, iv, -1) || !update(w->cipher, it->out, ciphertext, last))) {
        return 0;
    }
    memcpy(it->out + last, w->block, BLOCK - count);
    it->text_bytes = bytes - count;
    it->ok = 1;
    return 1;
}

/* ---- all items ---- */

static void end_worker(worker *w)
{
    EVP_CIPHER_CTX_free(w->cipher);
    EVP_MD_CTX_free(w->hash);
    EVP_MD_CTX_free(w->inner);
    EVP_MD_CTX_free(w->outer);
    OPENSSL_cleanse(w, sizeof *w);
}

static int begin_worker(worker *w, const job *j)
{
    const uint8_t *one = j->key_stride ? NULL : j->keys;
    memset(w, 0, sizeof *w);
    memset(w->ipad, 0x36, HASH_BLOCK);
    memset(w->opad, 0x5c, HASH_BLOCK);
    w->cipher = EVP_CIPHER_CTX_new();
    if (w->cipher == NULL
        || !EVP_CipherInit_ex(w->cipher, j->cipher, NULL, one && j->sealed ? one + MAC_KEY : one, NULL, !j->opening)
        || !EVP_CIPHER_CTX_set_padding(w->cipher, 0)) {
        return 0;
    }
    if (!j->sealed) {
        return 1;
    }
    w->hash = EVP_MD_CTX_new();
    if (w->hash == NULL || !EVP_DigestInit_ex(w->hash, j->digest, NULL)) {
        return 0;
    }
    if (one == NULL) {
        return 1;
    }
    make_pads(w, one);
    w->inner = EVP_MD_CTX_new();
    w->outer = EVP_MD_CTX_new();
    return w->inner != NULL && w->outer != NULL && EVP_DigestInit_ex(w->inner, j->digest, NULL)
        && EVP_DigestUpdate(w->inner, w->ipad, HASH_BLOCK) && EVP_DigestInit_ex(w->outer, j->digest, NULL)
        && EVP_DigestUpdate(w->outer, w->opad, HASH_BLOCK);
}

static int do_item(worker *w, job *j, size_t i)
{
    item it;
    if (!item_at(j, i, &it)) {
        return 0;
    }
    if (!j->opening) {
        return seal_item(w, j, &it);
    }
    if (j->items != NULL && it.out == NULL) {
        return 1;
    }
    if (!open_item(w, j, &it)) {
        return 0;
    }
    if (j->items != NULL) {
        j->items[i].text_bytes = it.text_bytes;
        j->items[i].ok = it.ok;
    } else {
        store(j->out_off, i + 1, (int64_t)it.text_bytes);
        j->ok[i] = (uint8_t)it.ok;
    }
    return 1;
}

static void *work(void *argument)
{
    job *j = argument;
    worker w;
    int fine = begin_worker(&w, j);
    while (fine && !atomic_load(&j->failed)) {
        size_t i = atomic_fetch_add(&j->next, j->chunk);
        size_t end;
        if (i >= j->count) {
            break;
        }
        end = j->count - i < j->chunk ? j->count : i + j->chunk;
        for (; fine && i < end; i++) {
            fine = do_item(&w, j, i);
        }
    }
    if (!fine) {
        atomic_store(&j->failed, 1);
    }
    end_worker(&w);
    return NULL;
}

/* Without the global lock: do all items on so many threads at most, this one among them. */
static int work_on_all(job *j, Py_ssize_t threads, size_t total_bytes)
{
    pthread_t others[MAX_THREADS - 1];
    size_t wanted = total_bytes / BYTES_PER_THREAD + j->count / (BYTES_PER_THREAD / BYTES_PER_ITEM);
    size_t started = 0;
    if (threads < 1) {
        threads = 1;
    }
    if (wanted > (size_t)threads) {
        wanted = (size_t)threads;
    }
    if (wanted > MAX_THREADS) {
        wanted = MAX_THREADS;
    }
    if (wanted > j->count) {
        wanted = j->count;
    }
    j->chunk = wanted > 1 ? j->count / (wanted * 16) + 1 : j->count;
    atomic_init(&j->next, 0);
    atomic_init(&j->failed, 0);
    if (wanted > 1) { /* signals stay with the threads that Python knows */
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        while (started < wanted - 1 && pthread_create(&others[started], NULL, work, j) == 0) {
            started++;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (j->count) {
        work(j);
    }
    while (started) {
        pthread_join(others[--started], NULL);
    }
    return !atomic_load(&j->failed);
}

/* Without the global lock: move the texts together, count their offsets, and wipe where they were. */
static int close_ranks(job *j)
{
    size_t end = 0, written = 0;
    item it;
    store(j->out_off, 0, 0);
    for (size_t i = 0; i < j->count; i++) {
        int64_t bytes = load(j->out_off, i + 1);
        if (!item_at(j, i, &it) || bytes < 0 || (uint64_t)bytes > it.in_bytes
            || end > (size_t)(it.out - j->out)) {
            return 0;
        }
        if (bytes) {
            written = (size_t)(it.out - j->out) + (size_t)bytes;
        }
        memmove(j->out + end, it.out, (size_t)bytes);
        end += (size_t)bytes;
        store(j->out_off, i + 1, (int64_t)end);
    }
    if (written > end) {
        OPENSSL_cleanse(j->out + end, written - end);
    }
    return 1;
}

/* ---- packed ---- */

static int check_offsets(const char *name, const Py_buffer *offsets, size_t count, const Py_buffer *data)
{
    size_t start, bytes;
    if ((size_t)offsets->len / sizeof(int64_t) != count + 1 || offsets->len % (Py_ssize_t)sizeof(int64_t)) {
        PyErr_Format(PyExc_ValueError, "%s: expected %zu of them", name, count + 1);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (!range(offsets->buf, i, (size_t)data->len, &start, &bytes)) {
            PyErr_Format(PyExc_ValueError, "%s: item %zu is not in order within the buffer", name, i);
            return 0;
        }
        if (bytes > MAX_ITEM) {
            PyErr_Format(PyExc_ValueError, "%s: item %zu is too long", name, i);
            return 0;
        }
    }
    return 1;
}

static int check_bytes(const char *name, const Py_buffer *buffer, size_t count, size_t width)
{
    if (count > SIZE_MAX / width || (size_t)buffer->len != count * width) {
        PyErr_Format(PyExc_ValueError, "%s: expected %zu times %zu bytes, got %zd", name, count, width, buffer->len);
        return 0;
    }
    return 1;
}

static PyObject *run_packed(PyObject *module, PyObject *args, int opening, int sealed)
{
    enum { KEYS, IVS, AAD, AAD_OFF, IN, IN_OFF, OUT, OUT_OFF, OK, BUFFERS };
    Py_buffer b[BUFFERS];
    Py_ssize_t stride, threads;
    state *s = PyModule_GetState(module);
    size_t count, width = sealed ? MAC_KEY + ENC_KEY : ENC_KEY;
    int parsed, fine = 0;
    job j;
    item it;

    memset(b, 0, sizeof b);
    memset(&j, 0, sizeof j);
    if (sealed && opening) {
        parsed = PyArg_ParseTuple(args, "y*ny*y*y*y*w*w*w*n:open", &b[KEYS], &stride, &b[AAD], &b[AAD_OFF], &b[IN],
                                  &b[IN_OFF], &b[OUT], &b[OUT_OFF], &b[OK], &threads);
    } else if (sealed) {
        parsed = PyArg_ParseTuple(args, "y*ny*y*y*y*y*w*y*n:seal", &b[KEYS], &stride, &b[IVS], &b[AAD], &b[AAD_OFF],
                                  &b[IN], &b[IN_OFF], &b[OUT], &b[OUT_OFF], &threads);
    } else if (opening) {
        parsed = PyArg_ParseTuple(args, "y*ny*y*y*w*w*w*n:decrypt", &b[KEYS], &stride, &b[IVS], &b[IN], &b[IN_OFF],
                                  &b[OUT], &b[OUT_OFF], &b[OK], &threads);
    } else {
        parsed = PyArg_ParseTuple(args, "y*ny*y*y*w*y*n:encrypt", &b[KEYS], &stride, &b[IVS], &b[IN], &b[IN_OFF],
                                  &b[OUT], &b[OUT_OFF], &threads);
    }
    if (!parsed) {
        return NULL;
    }
    if (b[IN_OFF].len < (Py_ssize_t)sizeof(int64_t)) {
        PyErr_SetString(PyExc_ValueError, "offsets: expected n + 1 of them, got none");
        goto done;
    }
    count = (size_t)b[IN_OFF].len / sizeof(int64_t) - 1;
    if (stride != 0 && (size_t)stride != width) {
        PyErr_Format(PyExc_ValueError, "key_stride: expected 0 or %zu, got %zd", width, stride);
        goto done;
    }
    if (!check_bytes("keys", &b[KEYS], stride ? count : 1, width)
        || ((!sealed || !opening) && !check_bytes("ivs", &b[IVS], count, IV))
        || (sealed && !check_offsets("aad_off", &b[AAD_OFF], count, &b[AAD]))
        || !check_offsets("offsets", &b[IN_OFF], count, &b[IN])) {
        goto done;
    }
    if (opening && (!check_bytes("ok", &b[OK], count, 1) || !check_bytes("out_off", &b[OUT_OFF], count + 1, 8))) {
        goto done;
    }
    if (!opening && !check_offsets("out_off", &b[OUT_OFF], count, &b[OUT])) {
        goto done;
    }
    j.opening = opening;
    j.sealed = sealed;
    j.cipher = s->cipher;
    j.digest = s->digest;
    j.count = count;
    j.key_stride = (size_t)stride;
    j.keys = b[KEYS].buf;
    j.ivs = b[IVS].buf;
    j.aad = b[AAD].buf;
    j.aad_off = b[AAD_OFF].buf;
    j.aad_bytes = (size_t)b[AAD].len;
    j.in = b[IN].buf;
    j.in_off = b[IN_OFF].buf;
    j.in_bytes = (size_t)b[IN].len;
    j.in_first = count ? (size_t)load(j.in_off, 0) : 0;
    j.out = b[OUT].buf;
    j.out_off = b[OUT_OFF].buf;
    j.out_bytes = (size_t)b[OUT].len;
    j.ok = b[OK].buf;
    for (size_t i = 0; i < count; i++) {
        if (!item_at(&j, i, &it)) {
            PyErr_Format(PyExc_ValueError, "out: has no fitting place for item %zu", i);
            goto done;
        }
    }
    Py_BEGIN_ALLOW_THREADS
    if (opening && count) {
        memset(j.ok, 0, count);
        memset(j.out_off, 0, (count + 1) * sizeof(int64_t));
    } else if (opening) {
        store(j.out_off, 0, 0);
    }
    fine = work_on_all(&j, threads, count ? j.in_bytes : 0);
    if (fine && opening) {
        fine = close_ranks(&j);
    }
    if (!fine && j.out_bytes) {
        OPENSSL_cleanse(j.out, j.out_bytes);
        if (opening && count) {
            memset(j.ok, 0, count);
        }
    }
    Py_END_ALLOW_THREADS
    if (!fine) {
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL failed, or an argument was changed meanwhile");
    }
done:
    for (int i = 0; i < BUFFERS; i++) {
        if (b[i].obj != NULL) {
            PyBuffer_Release(&b[i]);
        }
    }
    if (!fine) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Where sealed or encrypted items go: fills the offsets, and gives their end. */
static PyObject *places(PyObject *module, PyObject *args)
{
    Py_buffer in, out;
    int sealed;
    size_t count;
    int64_t end = 0;
    int fine = 0;
    job j;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*w*p:places", &in, &out, &sealed)) {
        return NULL;
    }
    memset(&j, 0, sizeof j);
    j.sealed = sealed;
    count = (size_t)in.len / sizeof(int64_t);
    if (count == 0 || in.len != out.len || in.len % (Py_ssize_t)sizeof(int64_t)) {
        PyErr_SetString(PyExc_ValueError, "offsets: expected n + 1 of them, twice");
        goto done;
    }
    store(out.buf, 0, 0);
    for (size_t i = 0; i + 1 < count; i++) {
        size_t start, bytes;
        if (!range(in.buf, i, INT64_MAX, &start, &bytes) || bytes > MAX_ITEM
            || end > INT64_MAX - (int64_t)grown(&j, bytes)) {
            PyErr_Format(PyExc_ValueError, "offsets: item %zu is not in order, or too long", i);
            goto done;
        }
        end += (int64_t)grown(&j, bytes);
        store(out.buf, i + 1, end);
    }
    fine = 1;
done:
    PyBuffer_Release(&in);
    PyBuffer_Release(&out);
    return fine ? PyLong_FromLongLong(end) : NULL;
}

static PyObject *seal(PyObject *module, PyObject *args)
{
    return run_packed(module, args, 0, 1);
}

static PyObject *open_(PyObject *module, PyObject *args)
{
    return run_packed(module, args, 1, 1);
}

static PyObject *encrypt(PyObject *module, PyObject *args)
{
    return run_packed(module, args, 0, 0);
}

static PyObject *decrypt(PyObject *module, PyObject *args)
{
    return run_packed(module, args, 1, 0);
}

/* ---- lists ---- */

typedef struct {
    PyObject *key, *aad, *in, *out;
} held;

static void let_go(held *objects, item *items, size_t count, int wipe)
{
    for (size_t i = 0; i < count; i++) {
        if (wipe && objects[i].out != NULL) {
            OPENSSL_cleanse(PyBytes_AS_STRING(objects[i].out), (size_t)PyBytes_GET_SIZE(objects[i].out));
        }
        Py_XDECREF(objects[i].key);
        Py_XDECREF(objects[i].aad);
        Py_XDECREF(objects[i].in);
        Py_XDECREF(objects[i].out);
    }
    PyMem_Free(objects);
    PyMem_Free(items);
}

/* Whether this is bytes of a fitting length: 1; not bytes, or another width: 0; too long, an error: -1. */
static int fits(const char *name, PyObject *value, Py_ssize_t width)
{
    if (!PyBytes_Check(value) || (width && PyBytes_GET_SIZE(value) != width)) {
        return 0;
    }
    if ((size_t)PyBytes_GET_SIZE(value) > MAX_ITEM) {
        PyErr_Format(PyExc_ValueError, "%s: one item may hold %zu bytes", name, MAX_ITEM);
        return -1;
    }
    return 1;
}

/* Take item i with references of ours, and make the bytes that it becomes. As fits(). */
static int take(const job *j, held *o, item *it, PyObject *key, PyObject *aad, PyObject *in)
{
    size_t bytes;
    int good = fits("keys", key, MAC_KEY + ENC_KEY);
    if (good == 1) {
        good = fits("associated", aad, 0);
    }
    if (good == 1) {
        good = fits(j->opening ? "sealed" : "plaintexts", in, 0);
    }
    if (good != 1) {
        return good;
    }
    o->key = Py_NewRef(key);
    o->aad = Py_NewRef(aad);
    o->in = Py_NewRef(in);
    it->key = (const uint8_t *)PyBytes_AS_STRING(key);
    it->aad = (const uint8_t *)PyBytes_AS_STRING(aad);
    it->aad_bytes = (size_t)PyBytes_GET_SIZE(aad);
    it->in = (const uint8_t *)PyBytes_AS_STRING(in);
    it->in_bytes = (size_t)PyBytes_GET_SIZE(in);
    if (!j->opening) {
        bytes = grown(j, it->in_bytes);
    } else if (it->in_bytes < MIN_SEALED || it->in_bytes % BLOCK) {
        return 1;
    } else {
        bytes = it->in_bytes - IV - TAG - 1; /* at least one byte is padding */
    }
    o->out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes);
    if (o->out == NULL) {
        return -1;
    }
    it->out = (uint8_t *)PyBytes_AS_STRING(o->out);
    return 1;
}

static PyObject *results(const job *j, held *objects)
{
    PyObject *list = PyList_New((Py_ssize_t)j->count);
    if (list == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < j->count; i++) {
        PyObject *one = NULL;
        if (j->opening && !j->items[i].ok) {
            one = Py_NewRef(Py_None);
        } else {
            if (j->opening && (size_t)PyBytes_GET_SIZE(objects[i].out) != j->items[i].text_bytes
                && _PyBytes_Resize(&objects[i].out, (Py_ssize_t)j->items[i].text_bytes) < 0) {
                Py_DECREF(list);
                return NULL;
            }
            one = objects[i].out;
            objects[i].out = NULL;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, one);
    }
    return list;
}

/* None where an argument is not what is described: the caller then finds the words for it. */
static PyObject *run_lists(PyObject *module, int opening, PyObject *keys, PyObject *associated, PyObject *in,
                           PyObject *ivs, PyObject *threads_)
{
    state *s = PyModule_GetState(module);
    Py_ssize_t threads = PyLong_AsSsize_t(threads_), n;
    size_t total = 0, taken;
    PyObject *list = NULL;
    held *objects;
    int good = 1, fine;
    job j;

    if (threads == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (!PyList_Check(associated) || !PyList_Check(in) || !(PyBytes_Check(keys) || PyList_Check(keys))) {
        Py_RETURN_NONE;
    }
    n = PyList_GET_SIZE(in);
    if (PyList_GET_SIZE(associated) != n || (PyList_Check(keys) && PyList_GET_SIZE(keys) != n)
        || (PyBytes_Check(keys) && PyBytes_GET_SIZE(keys) != MAC_KEY + ENC_KEY)
        || (!opening && (!PyBytes_Check(ivs) || PyBytes_GET_SIZE(ivs) / IV != n || PyBytes_GET_SIZE(ivs) % IV))) {
        Py_RETURN_NONE;
    }
    memset(&j, 0, sizeof j);
    j.opening = opening;
    j.sealed = 1;
    j.cipher = s->cipher;
    j.digest = s->digest;
    j.count = (size_t)n;
    j.key_stride = PyList_Check(keys) ? MAC_KEY + ENC_KEY : 0;
    j.keys = j.key_stride ? NULL : (const uint8_t *)PyBytes_AS_STRING(keys);
    objects = PyMem_Calloc((size_t)n + 1, sizeof *objects);
    j.items = PyMem_Calloc((size_t)n + 1, sizeof *j.items);
    if (objects == NULL || j.items == NULL) {
        PyMem_Free(objects);
        PyMem_Free(j.items);
        return PyErr_NoMemory();
    }
    /* Nothing in this loop runs Python code or the garbage collector, so the lists stay as they are. */
    for (taken = 0; good == 1 && taken < j.count; taken++) {
        Py_ssize_t i = (Py_ssize_t)taken;
        PyObject *key = j.key_stride ? PyList_GET_ITEM(keys, i) : keys;
        good = take(&j, &objects[i], &j.items[i], key, PyList_GET_ITEM(associated, i), PyList_GET_ITEM(in, i));
        if (!opening) {
            j.items[i].iv = (const uint8_t *)PyBytes_AS_STRING(ivs) + taken * IV;
        }
        total += j.items[i].in_bytes;
    }
    if (good != 1) {
        let_go(objects, j.items, taken, 0);
        if (good < 0) {
            return NULL;
        }
        Py_RETURN_NONE;
    }
    Py_BEGIN_ALLOW_THREADS
    fine = work_on_all(&j, threads, total);
    Py_END_ALLOW_THREADS
    if (fine) {
        list = results(&j, objects);
    } else {
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL failed");
    }
    let_go(objects, j.items, j.count, list == NULL);
    return list;
}

static PyObject *seal_list(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 5) {
        PyErr_SetString(PyExc_TypeError, "seal_list takes keys, associated, plaintexts, ivs, threads");
        return NULL;
    }
    return run_lists(module, 0, args[0], args[1], args[2], args[3], args[4]);
}

static PyObject *open_list(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "open_list takes keys, associated, sealed, threads");
        return NULL;
    }
    return run_lists(module, 1, args[0], args[1], args[2], NULL, args[3]);
}

/* ---- the module ---- */

static PyMethodDef methods[] = {
    {"places", places, METH_VARARGS,
     "places(text_off, out_off, sealed): fills out_off with where each item goes, and gives the end of the last."},
    {"seal", seal, METH_VARARGS,
     "seal(keys, key_stride, ivs, aad, aad_off, text, text_off, out, out_off, threads)"},
    {"open", open_, METH_VARARGS,
     "open(keys, key_stride, aad, aad_off, sealed, sealed_off, out, out_off, ok, threads)\n\n"
     "Fills out_off and ok; out needs as many bytes as the sealed messages have."},
    {"encrypt", encrypt, METH_VARARGS, "encrypt(keys, key_stride, ivs, text, text_off, out, out_off, threads)"},
    {"decrypt", decrypt, METH_VARARGS,
     "decrypt(keys, key_stride, ivs, ciphertext, ciphertext_off, out, out_off, ok, threads)"},
    {"seal_list", (PyCFunction)(void (*)(void))seal_list, METH_FASTCALL,
     "seal_list(keys, associated, plaintexts, ivs, threads): a list, or None for arguments of another kind.\n\n"
     "keys is 64 bytes or a list of such, ivs the ivs joined."},
    {"open_list", (PyCFunction)(void (*)(void))open_list, METH_FASTCALL,
     "open_list(keys, associated, sealed, threads): a list, or None for arguments of another kind."},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module)
{
    state *s = PyModule_GetState(module);
    s->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    s->digest = EVP_MD_fetch(NULL, "SHA2-512", NULL);
    if (s->cipher == NULL || s->digest == NULL) {
        PyErr_SetString(PyExc_ImportError, "this OpenSSL offers no AES-256-CBC or no SHA-512");
        return -1;
    }
    return PyModule_AddIntConstant(module, "INTERFACE", INTERFACE);
}

static void release(void *module)
{
    state *s = PyModule_GetState(module);
    if (s != NULL) {
        EVP_CIPHER_free(s->cipher);
        EVP_MD_free(s->digest);
        s->cipher = NULL;
        s->digest = NULL;
    }
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "A256CBC-HS512 over whole batches, on OpenSSL. For native.py.",
    .m_size = sizeof(state),
    .m_methods = methods,
    .m_slots = slots,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
