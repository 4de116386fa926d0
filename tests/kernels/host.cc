// The kernels as a library for the host: one launch function for each.
#include "shim.h"

#include "module.cu"

LAUNCHER(cbc_encrypt)
LAUNCHER(decrypt_keys)
LAUNCHER(cbc_decrypt)
LAUNCHER(check_padding)
LAUNCHER(pack_texts)
LAUNCHER(hmac_tag)
LAUNCHER(hmac_verify)
