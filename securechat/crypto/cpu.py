"""The reference engine: whole batches on `cryptography` and hashlib, in plain Python, on any machine.

Most of a short message's cost is the setting up of a cipher and a MAC for its key (some 4 and 2 us),
little of it the bytes. So there are two paths:

* own keys: one cipher object and two hashes per item, and nothing else that could be left out. Padding
  comes from a table; `finalize` is not called, as whole blocks leave nothing to finalize; HMAC is spelt
  out (RFC 2104), which spares OpenSSL's costly set-up of a MAC and a copy of the message.
* one key for all: set up once. HMACs are copies of two keyed states. To encrypt, one CBC chain runs over
  all items: it would XOR the previous item's last block into the next item's first, so that block and
  the item's own iv are XORed in beforehand, which leaves exactly the item's own CBC. To decrypt, one
  call takes all ivs and ciphertexts joined: each block is XORed with the one in front, in an item's
  first block its iv; what comes out in the ivs' places is dropped.

Either way a tag is compared, in constant time, before its item goes near the decryptor.

AES runs with Python's global lock held, and so do hashes of less than 2 KiB: in a thread this engine
shares its core with the reactor rather than running beside it.
"""

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha512
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC

from securechat.crypto.aead import (
    BLOCK_BYTES,
    IV_BYTES,
    MAC_KEY_BYTES,
    MIN_SEALED_BYTES,
    PADDING,
    TAG_BYTES,
    associated_length,
    unpad,
)
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.engine import (
    Flags,
    check_decrypt,
    check_encrypt,
    check_open,
    check_open_list,
    check_seal,
    check_seal_list,
)

RUN_BYTES: Final = 1 << 18
"""How much one decryptor call takes: enough to make the call free, little enough to stay in cache."""
_ZERO_IV: Final = bytes(IV_BYTES)
_HASH_BLOCK_BYTES: Final = 128

# HMAC's two keys are the key, filled up with zeros to a block of the hash, XORed with a constant. The
# XOR of the key itself is a `bytes.translate`; the filling is constant.
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_INNER_REST: Final = b"\x36" * (_HASH_BLOCK_BYTES - MAC_KEY_BYTES)
_OUTER_REST: Final = b"\x5c" * (_HASH_BLOCK_BYTES - MAC_KEY_BYTES)

Keys = bytes | list[bytes]
"""One key for all items, or each item's own."""


class CpuEngine:
    """The engine of the module's description. It holds nothing; `close` does nothing."""

    name = "cpu"

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        keys, ivs = check_seal(keys, ivs, associated, plaintext)
        return Batch.join(_seal(_items(keys), associated.split(), plaintext.split(), _rows(ivs)))

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        keys = check_open(keys, associated, sealed)
        return _flagged(_open(_items(keys), associated.split(), sealed.split()))

    def encrypt(self, keys: Bytes, ivs: Bytes, plaintext: Batch) -> Batch:
        """See Engine."""
        keys, ivs = check_encrypt(keys, ivs, plaintext)
        return Batch.join(_encrypt(_items(keys), _rows(ivs), plaintext.split()))

    def decrypt(self, keys: Bytes, ivs: Bytes, ciphertext: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        keys, ivs = check_decrypt(keys, ivs, ciphertext)
        bodies = [
            iv + text if text and len(text) % BLOCK_BYTES == 0 else None
            for iv, text in zip(_rows(ivs), ciphertext.split(), strict=True)
        ]
        return _flagged(_decrypt(_items(keys), bodies))

    def seal_list(
        self,
        keys: bytes | Sequence[bytes],
        associated: Sequence[bytes],
        plaintexts: Sequence[bytes],
        ivs: Sequence[bytes] | None = None,
    ) -> list[bytes]:
        """See Engine."""
        return _seal(*check_seal_list(keys, associated, plaintexts, ivs))

    def open_list(
        self, keys: bytes | Sequence[bytes], associated: Sequence[bytes], sealed: Sequence[bytes]
    ) -> list[bytes | None]:
        """See Engine."""
        return _open(*check_open_list(keys, associated, sealed))

    def close(self) -> None:
        """See Engine."""


def _seal(keys: Keys, associated: list[bytes], texts: list[bytes], ivs: list[bytes]) -> list[bytes]:
    if not isinstance(keys, bytes):
        return list(map(_seal_item, keys, associated, texts, ivs))
    if len(texts) == 1:
        return [_seal_item(keys, associated[0], texts[0], ivs[0])]
    tag_of = _tagger(keys)
    bodies = map(bytes.__add__, ivs, _encrypt_chained(keys[MAC_KEY_BYTES:], ivs, texts))
    return [body + tag_of(additional, body) for additional, body in zip(associated, bodies, strict=True)]


def _open(keys: Keys, associated: list[bytes], sealed: list[bytes]) -> list[bytes | None]:
    if not isinstance(keys, bytes):
        return list(map(_open_item, keys, associated, sealed))
    if len(sealed) == 1:
        return [_open_item(keys, associated[0], sealed[0])]
    tag_of = _tagger(keys)
    verified = [
        item[:-TAG_BYTES]
        if len(item) >= MIN_SEALED_BYTES
        and len(item) % BLOCK_BYTES == 0
        and hmac.compare_digest(tag_of(additional, item[:-TAG_BYTES]), item[-TAG_BYTES:])
        else None
        for additional, item in zip(associated, sealed, strict=True)
    ]
    return _decrypt_joined(keys[MAC_KEY_BYTES:], verified)


def _seal_item(key: bytes, associated: bytes, text: bytes, iv: bytes) -> bytes:
    encryptor = Cipher(AES256(key[MAC_KEY_BYTES:]), CBC(iv)).encryptor()
    body = iv + encryptor.update(text + PADDING[len(text) % BLOCK_BYTES])
    return body + _tag_item(key, associated, body)


def _open_item(key: bytes, associated: bytes, sealed: bytes) -> bytes | None:
    if len(sealed) < MIN_SEALED_BYTES or len(sealed) % BLOCK_BYTES:
        return None
    body = sealed[:-TAG_BYTES]
    if not hmac.compare_digest(_tag_item(key, associated, body), sealed[-TAG_BYTES:]):
        return None
    return _decrypt_item(key[MAC_KEY_BYTES:], body)


def _tag_item(key: bytes, associated: bytes, body: bytes) -> bytes:
    mac_key = key[:MAC_KEY_BYTES]
    bits = (len(associated) * 8).to_bytes(8, "big")
    inner = sha512(b"".join((mac_key.translate(_INNER), _INNER_REST, associated, body, bits))).digest()
    return sha512(mac_key.translate(_OUTER) + _OUTER_REST + inner).digest()[:TAG_BYTES]


def _tagger(key: bytes) -> Callable[[bytes, bytes], bytes]:
    """Give the function from associated data and body to tag, under the MAC half of one key."""
    mac_key = key[:MAC_KEY_BYTES]
    keyed_inner = sha512(mac_key.translate(_INNER) + _INNER_REST)
    keyed_outer = sha512(mac_key.translate(_OUTER) + _OUTER_REST)

    def tag_of(associated: bytes, body: bytes) -> bytes:
        inner, outer = keyed_inner.copy(), keyed_outer.copy()
        inner.update(b"".join((associated, body, associated_length(associated))))
        outer.update(inner.digest())
        return outer.digest()[:TAG_BYTES]

    return tag_of


def _encrypt(keys: Keys, ivs: list[bytes], texts: list[bytes]) -> Iterable[bytes]:
    if isinstance(keys, bytes):
        return _encrypt_chained(keys, ivs, texts)
    return map(_encrypt_item, keys, ivs, texts)


def _encrypt_item(key: bytes, iv: bytes, text: bytes) -> bytes:
    return Cipher(AES256(key), CBC(iv)).encryptor().update(text + PADDING[len(text) % BLOCK_BYTES])


def _encrypt_chained(key: bytes, ivs: list[bytes], texts: list[bytes]) -> Iterator[bytes]:
    chain = Cipher(AES256(key), CBC(_ZERO_IV)).encryptor()
    last = 0
    for iv, text in zip(ivs, texts, strict=True):
        padded = text + PADDING[len(text) % BLOCK_BYTES]
        first = int.from_bytes(padded[:BLOCK_BYTES], "big") ^ int.from_bytes(iv, "big") ^ last
        ciphertext = chain.update(first.to_bytes(BLOCK_BYTES, "big") + padded[BLOCK_BYTES:])
        last = int.from_bytes(ciphertext[-BLOCK_BYTES:], "big")
        yield ciphertext


def _decrypt(keys: Keys, bodies: list[bytes | None]) -> list[bytes | None]:
    """Decrypt each body (iv and whole blocks of ciphertext); None stays None, bad padding becomes it."""
    if isinstance(keys, bytes):
        return _decrypt_joined(keys, bodies)
    return [body and _decrypt_item(key, body) for key, body in zip(keys, bodies, strict=True)]


def _decrypt_item(key: bytes, body: bytes) -> bytes | None:
    return unpad(Cipher(AES256(key), CBC(body[:IV_BYTES])).decryptor().update(body[IV_BYTES:]))


def _decrypt_joined(key: bytes, bodies: list[bytes | None]) -> list[bytes | None]:
    decryptor = Cipher(AES256(key), CBC(_ZERO_IV)).decryptor()
    texts: list[bytes | None] = []
    for run in _runs(bodies):
        joined = decryptor.update(b"".join(filter(None, run)))
        at = 0
        for body in run:
            if body is None:
                texts.append(None)
            else:
                texts.append(unpad(joined[at + IV_BYTES : at + len(body)]))
                at += len(body)
    return texts


def _runs(bodies: list[bytes | None]) -> Iterator[list[bytes | None]]:
    """Cut a list of bodies into runs of about RUN_BYTES."""
    run: list[bytes | None] = []
    gathered = 0
    for body in bodies:
        run.append(body)
        gathered += len(body) if body else 0
        if gathered >= RUN_BYTES:
            yield run
            run, gathered = [], 0
    if run:
        yield run


def _items(keys: Bytes) -> Keys:
    """Give packed keys as one `bytes` or one for each item."""
    return keys.tobytes() if len(keys) == 1 else _rows(keys)


def _rows(array: Bytes) -> list[bytes]:
    joined, width = array.tobytes(), array.shape[1]
    return [joined[at : at + width] for at in range(0, len(joined), width)]


def _flagged(texts: Iterable[bytes | None]) -> tuple[Batch, Flags]:
    found = list(texts)
    opened = np.fromiter((text is not None for text in found), np.bool_, len(found))
    return Batch.join(text or b"" for text in found), opened
