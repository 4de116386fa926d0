// All kernels as one module: what is compiled for a device.
#include "cbc_encrypt.cu"
#include "decrypt_keys.cu"
#include "cbc_decrypt.cu"
#include "padding.cu"
#include "pack_texts.cu"
#include "hmac.cu"
