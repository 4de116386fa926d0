"""The native engine: whole batches in one C loop on OpenSSL, beside the reactor rather than in its way.

The C extension `_native` is optional: it is built at installation where a C compiler and the headers of
OpenSSL 3 are at hand, and `why_not` tells what to do where it was not. Python checks arguments (see
engine), C does the rest with the global lock released: AES by the processor's own instructions, which take
the same time for any key and text; large batches on several threads.

Lists go to C as they are, and come back as lists; nothing is joined or split. C takes only what needs no
words, and gives None for the rest, which then goes the long way through the checks that all engines share.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import numpy as np

from securechat.crypto.aead import (
    ENC_KEY_BYTES,
    IV_BYTES,
    KEY_BYTES,
    CryptoError,
)
from securechat.crypto.batch import Batch, Bytes, Offsets
from securechat.crypto.engine import (
    Flags,
    check_decrypt,
    check_encrypt,
    check_open,
    check_open_list,
    check_seal,
    check_seal_list,
)

EXTENSION: Final = "securechat.crypto._native"
INTERFACE: Final = 2
"""What `_native` must say of itself; raised whenever a function there changes."""
NOT_BUILT: Final = (
    "its C extension was not built; install a C compiler, Python's headers and those of OpenSSL 3 "
    "(Debian: gcc python3-dev libssl-dev), then install securechat again"
)
OTHER_VERSION: Final = "its C extension was built from another version; install securechat again"

_native: Any = None
with suppress(ImportError):  # why_not tells what is wrong
    _native = import_module(EXTENSION)


def why_not(load: Callable[[str], Any] = import_module) -> str | None:
    """Give the reason, in one line for a person, why this engine cannot be used here; None where it can.

    `load` imports a module by name.
    """
    try:
        found = load(EXTENSION)
    except ModuleNotFoundError:
        return NOT_BUILT
    except ImportError as error:
        return f"its C extension cannot be loaded: {' '.join(str(error).split())}"
    return None if getattr(found, "INTERFACE", None) == INTERFACE else OTHER_VERSION


class NativeEngine:
    """The engine of the module's description. It holds nothing; `close` does nothing."""

    name = "native"

    def __init__(self, threads: int | None = None) -> None:
        """Use so many threads at most, one per processor where none are named; small batches use one.

        Raises CryptoError where the extension cannot be used, ValueError for less than one thread.
        """
        if threads is not None and threads < 1:
            raise ValueError(f"threads: expected at least 1, got {threads}")
        reason = why_not()
        if reason is not None:
            raise CryptoError(reason)
        self._threads = _processors() if threads is None else threads

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        keys, ivs = check_seal(keys, ivs, associated, plaintext)
        out, out_off = _places(plaintext, sealed=True)
        stride = _stride(keys, KEY_BYTES, len(plaintext))
        add, add_off, text, text_off = *_parts(associated), *_parts(plaintext)
        _native.seal(keys, stride, ivs, add, add_off, text, text_off, out, out_off, self._threads)
        return Batch.trusted(out, out_off)

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        keys = check_open(keys, associated, sealed)
        out, out_off, ok = _room(sealed)
        stride = _stride(keys, KEY_BYTES, len(sealed))
        add, add_off, items, items_off = *_parts(associated), *_parts(sealed)
        _native.open(keys, stride, add, add_off, items, items_off, out, out_off, ok, self._threads)
        return _filled(out, out_off), ok

    def encrypt(self, keys: Bytes, ivs: Bytes, plaintext: Batch) -> Batch:
        """See Engine."""
        keys, ivs = check_encrypt(keys, ivs, plaintext)
        out, out_off = _places(plaintext, sealed=False)
        stride = _stride(keys, ENC_KEY_BYTES, len(plaintext))
        _native.encrypt(keys, stride, ivs, *_parts(plaintext), out, out_off, self._threads)
        return Batch.trusted(out, out_off)

    def decrypt(self, keys: Bytes, ivs: Bytes, ciphertext: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        keys, ivs = check_decrypt(keys, ivs, ciphertext)
        out, out_off, ok = _room(ciphertext)
        stride = _stride(keys, ENC_KEY_BYTES, len(ciphertext))
        _native.decrypt(keys, stride, ivs, *_parts(ciphertext), out, out_off, ok, self._threads)
        return _filled(out, out_off), ok

    def seal_list(
        self,
        keys: bytes | Sequence[bytes],
        associated: Sequence[bytes],
        plaintexts: Sequence[bytes],
        ivs: Sequence[bytes] | None = None,
    ) -> list[bytes]:
        """See Engine."""
        if ivs is None and type(plaintexts) is list:
            drawn = os.urandom(IV_BYTES * len(plaintexts))
            sealed: list[bytes] | None = _native.seal_list(keys, associated, plaintexts, drawn, self._threads)
            if sealed is not None:
                return sealed
        key_list, additional, texts, vectors = check_seal_list(keys, associated, plaintexts, ivs)
        sealed = _native.seal_list(key_list, additional, texts, b"".join(vectors), self._threads)
        assert sealed is not None
        return sealed

    def open_list(
        self, keys: bytes | Sequence[bytes], associated: Sequence[bytes], sealed: Sequence[bytes]
    ) -> list[bytes | None]:
        """See Engine."""
        texts: list[bytes | None] | None = _native.open_list(keys, associated, sealed, self._threads)
        if texts is None:
            key_list, additional, items = check_open_list(keys, associated, sealed)
            texts = _native.open_list(key_list, additional, items, self._threads)
            assert texts is not None
        return texts

    def close(self) -> None:
        """See Engine."""


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _stride(keys: Bytes, width: int, count: int) -> int:
    """Give the bytes from one item's key to the next: 0 where one serves all."""
    return width if len(keys) == count else 0


def _parts(batch: Batch) -> tuple[Bytes, Offsets]:
    return batch.buffer, batch.offsets


def _places(plaintext: Batch, sealed: bool) -> tuple[Bytes, Offsets]:
    """Make room for the sealed or encrypted items: a buffer, and the places in it."""
    offsets = np.empty(len(plaintext) + 1, np.int64)
    return np.empty(_native.places(plaintext.offsets, offsets, sealed), np.uint8), offsets


def _room(items: Batch) -> tuple[Bytes, Offsets, Flags]:
    """Make room for the opened items: as much as they take now, and for offsets and flags."""
    count = len(items)
    return np.empty(items.total_bytes, np.uint8), np.zeros(count + 1, np.int64), np.zeros(count, np.bool_)


def _filled(out: Bytes, offsets: Offsets) -> Batch:
    out.resize(int(offsets[-1]), refcheck=False)
    return Batch.trusted(out, offsets)
