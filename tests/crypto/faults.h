/* Put in front of _native.c by test_native: lets the call of a function that may fail, fail.
 * Counted from when faults_after is set; -1: none. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>

atomic_long faults_after = -1;

static int faults(void)
{
    return atomic_load(&faults_after) >= 0 && atomic_fetch_sub(&faults_after, 1) == 0;
}

#define EVP_CIPHER_CTX_new() (faults() ? NULL : EVP_CIPHER_CTX_new())
#define EVP_MD_CTX_new() (faults() ? NULL : EVP_MD_CTX_new())
#define EVP_CipherInit_ex(...) (faults() ? 0 : EVP_CipherInit_ex(__VA_ARGS__))
#define EVP_CipherUpdate(...) (faults() ? 0 : EVP_CipherUpdate(__VA_ARGS__))
#define EVP_CIPHER_CTX_set_padding(...) (faults() ? 0 : EVP_CIPHER_CTX_set_padding(__VA_ARGS__))
#define EVP_DigestInit_ex(...) (faults() ? 0 : EVP_DigestInit_ex(__VA_ARGS__))
#define EVP_DigestUpdate(...) (faults() ? 0 : EVP_DigestUpdate(__VA_ARGS__))
#define EVP_DigestFinal_ex(...) (faults() ? 0 : EVP_DigestFinal_ex(__VA_ARGS__))
#define EVP_MD_CTX_copy_ex(...) (faults() ? 0 : EVP_MD_CTX_copy_ex(__VA_ARGS__))
#define pthread_create(...) (faults() ? EAGAIN : pthread_create(__VA_ARGS__))
#undef PyMem_Calloc
#define PyMem_Calloc(...) (faults() ? NULL : PyMem_Calloc(__VA_ARGS__))
#define PyBytes_FromStringAndSize(...) (faults() ? PyErr_NoMemory() : PyBytes_FromStringAndSize(__VA_ARGS__))
#define PyList_New(...) (faults() ? PyErr_NoMemory() : PyList_New(__VA_ARGS__))
