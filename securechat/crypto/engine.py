"""The contract of the engines: what goes in, what comes out, and the checks that all of them share.

An engine seals and opens many messages in one call, each under its own key or all under one. Two ways
in, with the same bytes out:

* packed: numpy arrays and `Batch`es, for callers who hold messages in one buffer. Keys are uint8 of
  shape (n, width), or (1, width) or (width,) where one key serves all; strides are free.
* lists: `bytes` in, `bytes` out, for callers who hold messages one by one. A single `bytes` as key
  serves all.

Arguments are checked here before any work, so that every engine refuses the same things with the same
words: TypeError or ValueError, beginning with the name of the argument. What a peer can influence, the
contents and the lengths of sealed messages, is never an error: such an item comes back not opened, and
its neighbours do not notice.

An engine is used by one thread at a time, and one that owns a device by one thread only, which also
closes it. It decides no policy and draws no randomness but the ivs of `seal_list`.

An engine may tell more of itself by properties that nobody relies on: `preferred_items`, how many items it
wants in a batch if so many wait (see worker); `stats`, figures; `usable`, whether it still has its device,
`why_lost`, why not, and `facts`, which one that is (see auto).
"""

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from securechat.crypto.aead import BLOCK_BYTES, ENC_KEY_BYTES, IV_BYTES, KEY_BYTES, MIN_SEALED_BYTES
from securechat.crypto.batch import Batch, Bytes

Flags = npt.NDArray[np.bool_]

MAX_ITEM_BYTES: Final = 2**31 - 1024
"""The longest item: OpenSSL counts the bytes of one call in a C int."""
MAX_TOTAL_BYTES: Final = 2**32 - 1
"""The most that one batch may hold or become: a device may count in 32 bits."""
_ONLY_BYTES: Final = {bytes}
_ONLY_KEYS: Final = {KEY_BYTES}


class Engine(Protocol):
    """Many messages in one call."""

    @property
    def name(self) -> str:
        """A short lower-case word for logs and figures."""

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """Seal item by item: iv, ciphertext and tag (see aead). Keys are 64 bytes wide, ivs (n, 16).

        An iv must be random and never serve twice under one key.
        """

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """Verify and then decrypt: the texts, and one flag per item.

        An item that does not verify comes back empty with its flag False; nothing of its text was
        written anywhere.
        """

    def encrypt(self, keys: Bytes, ivs: Bytes, plaintext: Batch) -> Batch:
        """AES-256-CBC with PKCS#7 padding and nothing else: ciphertexts without iv. Keys are 32 wide.

        Not authenticated. It exists for published vectors and for other programs' formats.
        """

    def decrypt(self, keys: Bytes, ivs: Bytes, ciphertext: Batch) -> tuple[Batch, Flags]:
        """The inverse of `encrypt`; an item with a wrong length or padding is empty, its flag False.

        Never tell a peer that flag: it is a padding oracle.
        """

    def seal_list(
        self,
        keys: bytes | Sequence[bytes],
        associated: Sequence[bytes],
        plaintexts: Sequence[bytes],
        ivs: Sequence[bytes] | None = None,
    ) -> list[bytes]:
        """Seal byte strings. Fresh random ivs, unless a published vector brings its own."""

    def open_list(
        self, keys: bytes | Sequence[bytes], associated: Sequence[bytes], sealed: Sequence[bytes]
    ) -> list[bytes | None]:
        """Open byte strings; None where one does not verify."""

    def close(self) -> None:
        """Give back whatever the engine holds, from the thread that used it.

        May be called twice. An engine used again takes what it needs again.
        """


def check_seal(keys: object, ivs: object, associated: object, plaintext: object) -> tuple[Bytes, Bytes]:
    """Check the arguments of `seal`; give keys (1 or n, 64) and ivs (n, 16), contiguous."""
    count = len(_batch("plaintext", plaintext, growth=MIN_SEALED_BYTES))
    _batch("associated", associated, count)
    return _keys(keys, KEY_BYTES, count), _rows("ivs", ivs, IV_BYTES, count)


def check_open(keys: object, associated: object, sealed: object) -> Bytes:
    """Check the arguments of `open`; give keys (1 or n, 64), contiguous."""
    count = len(_batch("sealed", sealed))
    _batch("associated", associated, count)
    return _keys(keys, KEY_BYTES, count)


def check_encrypt(keys: object, ivs: object, plaintext: object) -> tuple[Bytes, Bytes]:
    """Check the arguments of `encrypt`; give keys (1 or n, 32) and ivs (n, 16), contiguous."""
    count = len(_batch("plaintext", plaintext, growth=BLOCK_BYTES))
    return _keys(keys, ENC_KEY_BYTES, count), _rows("ivs", ivs, IV_BYTES, count)


def check_decrypt(keys: object, ivs: object, ciphertext: object) -> tuple[Bytes, Bytes]:
    """Check the arguments of `decrypt`; give keys (1 or n, 32) and ivs (n, 16), contiguous."""
    count = len(_batch("ciphertext", ciphertext))
    return _keys(keys, ENC_KEY_BYTES, count), _rows("ivs", ivs, IV_BYTES, count)


def check_seal_list(
    keys: Any, associated: Any, plaintexts: Any, ivs: object
) -> tuple[bytes | list[bytes], list[bytes], list[bytes], list[bytes]]:
    """Check the arguments of `seal_list`; give them as lists of bytes, with ivs drawn where None."""
    if ivs is None and _well_formed(keys, associated, plaintexts):
        return keys, associated, plaintexts, _random_ivs(len(plaintexts))
    texts = byte_strings("plaintexts", plaintexts)
    count = len(texts)
    additional = byte_strings("associated", associated, count)
    key_list = _key_list(keys, count)
    if ivs is None:
        return key_list, additional, texts, _random_ivs(count)
    vectors = byte_strings("ivs", ivs, count)
    _widths("ivs", vectors, IV_BYTES)
    return key_list, additional, texts, vectors


def check_open_list(
    keys: Any, associated: Any, sealed: Any
) -> tuple[bytes | list[bytes], list[bytes], list[bytes]]:
    """Check the arguments of `open_list`; give them as lists of bytes."""
    if _well_formed(keys, associated, sealed):
        return keys, associated, sealed
    items = byte_strings("sealed", sealed)
    return _key_list(keys, len(items)), byte_strings("associated", associated, len(items)), items


def byte_strings(name: str, items: object, count: int | None = None) -> list[bytes]:
    """Give a sequence of byte strings as a list of `bytes`, copying only what is of another kind.

    Raises TypeError for a lone byte string (its items are integers) and for items that are not
    bytes-like, ValueError where there are not `count`.
    """
    if isinstance(items, str | bytes | bytearray | memoryview) or not isinstance(items, Iterable):
        raise TypeError(f"{name}: expected a sequence of byte strings, got {type(items).__name__}")
    found = [as_bytes(f"{name}[{i}]", item) for i, item in enumerate(items)]
    if count is not None and len(found) != count:
        raise ValueError(f"{name}: expected {count} of them, got {len(found)}")
    return found


def as_bytes(name: str, value: object) -> bytes:
    """Give one bytes-like value as `bytes`. Raises TypeError for anything else, even a list of integers."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"{name}: expected bytes, got {type(value).__name__}")


def _well_formed(keys: Any, associated: Any, items: Any) -> bool:
    """Tell whether these are lists of `bytes` with nothing to convert or refuse: the fast way through.

    One message is checked in a microsecond, a tenth of its sealing; the long way takes four.
    """
    return (
        type(associated) is type(items) is list
        and len(associated) == len(items) > 0
        and set(map(type, chain(associated, items))) == _ONLY_BYTES
        and (
            len(keys) == KEY_BYTES
            if type(keys) is bytes
            else type(keys) is list
            and len(keys) == len(items)
            and set(map(type, keys)) == _ONLY_BYTES
            and set(map(len, keys)) == _ONLY_KEYS
        )
    )


def _random_ivs(count: int) -> list[bytes]:
    if count == 1:
        return [os.urandom(IV_BYTES)]
    drawn = os.urandom(IV_BYTES * count)
    return [drawn[at : at + IV_BYTES] for at in range(0, len(drawn), IV_BYTES)]


def _batch(name: str, value: object, count: int | None = None, growth: int = 0) -> Batch:
    """Check a batch of `count` items, each of which may grow by so many bytes."""
    if not isinstance(value, Batch):
        raise TypeError(f"{name}: expected a Batch, got {type(value).__name__}")
    if count is not None and len(value) != count:
        raise ValueError(f"{name}: expected {count} items, got {len(value)}")
    total = value.total_bytes
    if total + growth * len(value) > MAX_TOTAL_BYTES:
        raise ValueError(f"{name}: one batch may hold {MAX_TOTAL_BYTES} bytes, in and out; split it")
    if total > MAX_ITEM_BYTES and value.lengths.max() > MAX_ITEM_BYTES:
        raise ValueError(f"{name}: one item may hold {MAX_ITEM_BYTES} bytes")
    return value


def _rows(name: str, value: object, width: int, count: int, or_one: str = "") -> Bytes:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected a numpy array of uint8, got {type(value).__name__}")
    if value.dtype != np.uint8:
        raise TypeError(f"{name}: expected uint8, got {value.dtype}")
    if value.shape != (count, width):
        raise ValueError(f"{name}: expected shape ({count}, {width}){or_one}, got {value.shape}")
    return np.ascontiguousarray(value)


def _keys(value: object, width: int, count: int) -> Bytes:
    if isinstance(value, np.ndarray) and value.shape in ((width,), (1, width)):
        return _rows("keys", value.reshape(1, width), width, 1)
    return _rows("keys", value, width, count, f" or (1, {width}) or ({width},)")


def _key_list(keys: object, count: int) -> bytes | list[bytes]:
    if isinstance(keys, bytes | bytearray | memoryview):
        one = as_bytes("keys", keys)
        _widths("keys", [one], KEY_BYTES)
        return one
    found = byte_strings("keys", keys, count)
    _widths("keys", found, KEY_BYTES)
    return found


def _widths(name: str, items: list[bytes], width: int) -> None:
    for wrong in set(map(len, items)) - {width}:
        raise ValueError(f"{name}: expected {width} bytes each, got {wrong}")
