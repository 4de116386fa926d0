"""A256CBC-HS512 (RFC 7518, sections 5.2.2 and 5.2.5) for one message: the layout, and the reference.

A key is 64 bytes, MAC_KEY32 and then ENC_KEY32. A sealed message is

    iv (16) | ciphertext (AES-256-CBC of the PKCS#7-padded text) | tag (32)

where the tag is the first half of HMAC-SHA-512, under MAC_KEY, over

    associated data | iv | ciphertext | length of the associated data in bits, 64-bit big-endian.

The engines must give these bytes and no others. Sealing n bytes gives `sealed_bytes(n)`: n rounded up
to the next whole block (a full one is added to a text that already ends on a block), plus 48.
"""

import hmac
import os
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAC_KEY_BYTES: Final = 32
ENC_KEY_BYTES: Final = 32
KEY_BYTES: Final = MAC_KEY_BYTES + ENC_KEY_BYTES
SECRET_BYTES: Final = 32
BLOCK_BYTES: Final = 16
IV_BYTES: Final = BLOCK_BYTES
TAG_BYTES: Final = 32
MIN_SEALED_BYTES: Final = IV_BYTES + BLOCK_BYTES + TAG_BYTES

PADDING: Final = tuple(bytes([BLOCK_BYTES - n]) * (BLOCK_BYTES - n) for n in range(BLOCK_BYTES))
"""The PKCS#7 padding for a text of n bytes, at index n % 16."""


class CryptoError(Exception):
    """The root of every error of this package."""


class OpenError(CryptoError):
    """The message was not opened. Whether length, tag or padding was wrong is deliberately not told."""


def message_key(secret: bytes, label: bytes) -> bytes:
    """Derive the 64-byte key for one purpose from a 32-byte secret.

    HKDF-SHA-512 (RFC 5869), no salt, `label` as info. Two labels give two unrelated keys.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"secret: expected {SECRET_BYTES} bytes, got {len(secret)}")
    return HKDF(SHA512(), KEY_BYTES, salt=None, info=label).derive(secret)


def seal(key: bytes, associated: bytes, plaintext: bytes, iv: bytes | None = None) -> bytes:
    """Seal one message: iv, ciphertext and tag in one byte string.

    `iv` is there for published vectors; without it 16 fresh random bytes are used, as they must be.
    Raises ValueError for a key or an iv of the wrong length.
    """
    _check_key(key)
    if iv is None:
        iv = os.urandom(IV_BYTES)
    elif len(iv) != IV_BYTES:
        raise ValueError(f"iv: expected {IV_BYTES} bytes, got {len(iv)}")
    encryptor = Cipher(AES(key[MAC_KEY_BYTES:]), CBC(iv)).encryptor()
    body = iv + encryptor.update(pad(plaintext)) + encryptor.finalize()
    return body + tag(key, associated, body)


def open(key: bytes, associated: bytes, sealed: bytes) -> bytes:
    """Open one message. Raises OpenError if it is not exactly what a holder of the key sealed.

    The tag is compared, in constant time, before anything is decrypted. Raises ValueError for a key
    of the wrong length.
    """
    _check_key(key)
    if len(sealed) < MIN_SEALED_BYTES or len(sealed) % BLOCK_BYTES:
        raise OpenError
    body, unverified_tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
    if not hmac.compare_digest(tag(key, associated, body), unverified_tag):
        raise OpenError
    decryptor = Cipher(AES(key[MAC_KEY_BYTES:]), CBC(body[:IV_BYTES])).decryptor()
    plaintext = unpad(decryptor.update(body[IV_BYTES:]) + decryptor.finalize())
    if plaintext is None:
        raise OpenError
    return plaintext


def tag(key: bytes, associated: bytes, body: bytes) -> bytes:
    """Give the 32-byte tag of `body` (iv and ciphertext) with its associated data, under a 64-byte key."""
    authenticated = b"".join((associated, body, associated_length(associated)))
    return hmac.digest(key[:MAC_KEY_BYTES], authenticated, "sha512")[:TAG_BYTES]


def associated_length(associated: bytes) -> bytes:
    """Give AL of RFC 7518, section 5.2.2.1: the length in bits as 8 big-endian bytes."""
    return (len(associated) * 8).to_bytes(8, "big")


def pad(plaintext: bytes) -> bytes:
    """Append 1 to 16 bytes of PKCS#7 padding (RFC 5652, section 6.3)."""
    return plaintext + PADDING[len(plaintext) % BLOCK_BYTES]


def unpad(padded: bytes) -> bytes | None:
    """Take PKCS#7 padding off, or give None where it is malformed.

    Callers have verified a tag over it first (or offer no such promise, as the raw cipher): the time
    this takes depends on the padding.
    """
    if not padded or len(padded) % BLOCK_BYTES:
        return None
    count = padded[-1]
    if not 1 <= count <= BLOCK_BYTES or not padded.endswith(PADDING[BLOCK_BYTES - count]):
        return None
    return padded[:-count]


def sealed_bytes(plaintext_bytes: int) -> int:
    """Give the length of a sealed message from that of its text."""
    return plaintext_bytes - plaintext_bytes % BLOCK_BYTES + MIN_SEALED_BYTES


def _check_key(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise ValueError(f"key: expected {KEY_BYTES} bytes, got {len(key)}")
