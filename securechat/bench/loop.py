"""The baseline: one message after the other, as one writes it with `cryptography` alone.

Cipher, padding and HMAC objects for each message, nothing kept and nothing clever; the format is that of
securechat.crypto.aead, spelt out once more, so that engines are also checked against something else than
the reference they were written by.
"""

import os
from collections.abc import Sequence

from cryptography.hazmat.primitives import constant_time, hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC


def loop_seal(keys: Sequence[bytes], associated: Sequence[bytes], texts: Sequence[bytes]) -> list[bytes]:
    """Seal one by one, each under its own 64-byte key and a fresh iv."""
    sealed = []
    for key, additional, text in zip(keys, associated, texts, strict=True):
        iv = os.urandom(16)
        padder = padding.PKCS7(128).padder()
        padded = padder.update(text) + padder.finalize()
        encryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).encryptor()
        ciphertext = encryptor.update(padded) + encryptor.finalize()
        mac = HMAC(key[:32], hashes.SHA512())
        mac.update(additional + iv + ciphertext + (8 * len(additional)).to_bytes(8, "big"))
        sealed.append(iv + ciphertext + mac.finalize()[:32])
    return sealed


def loop_open(keys: Sequence[bytes], associated: Sequence[bytes], sealed: Sequence[bytes]) -> list[bytes]:
    """Open one by one. Raises ValueError at the first that does not verify."""
    texts = []
    for key, additional, message in zip(keys, associated, sealed, strict=True):
        iv, ciphertext, tag = message[:16], message[16:-32], message[-32:]
        mac = HMAC(key[:32], hashes.SHA512())
        mac.update(additional + iv + ciphertext + (8 * len(additional)).to_bytes(8, "big"))
        if not constant_time.bytes_eq(mac.finalize()[:32], tag):
            raise ValueError("a message that does not verify")
        decryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        unpadder = padding.PKCS7(128).unpadder()
        texts.append(unpadder.update(padded) + unpadder.finalize())
    return texts
