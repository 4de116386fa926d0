"""Intel's ipsec-mb as a yardstick: what its assembly makes of the same messages, on one core.

ipsec_mb.c beside this file is compiled when it is wanted, where a C compiler and the library with its header
are installed; nothing else of securechat needs either.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import numpy as np

from securechat.bench.crypto import NoYardstick
from securechat.crypto.aead import BLOCK_BYTES, IV_BYTES, MIN_SEALED_BYTES, TAG_BYTES, sealed_bytes
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.engine import Flags

SOURCE: Final = Path(__file__).with_name("ipsec_mb.c")
COMPILERS: Final = ("cc", "gcc", "clang")
NO_COMPILER: Final = "there is no C compiler"
NO_LIBRARY: Final = "its header or library is not installed (Debian: libipsec-mb-dev)"
NO_PROCESSOR: Final = "it does not know this processor"
MOST_BYTES: Final = 65_534
"""The most that one of its jobs takes, from the associated data to the last byte that is hashed."""
MOST_ASSOCIATED: Final = 256
_BUILD_TIMEOUT_S: Final = 60
_LENGTH_BYTES: Final = 8
_MOST_PADDED: Final = (MOST_BYTES - MOST_ASSOCIATED - IV_BYTES - _LENGTH_BYTES) // BLOCK_BYTES * BLOCK_BYTES
"""The longest padded text beside the longest associated data."""


def build(folder: Path, path: str | None = None) -> "IpsecMb":
    """Compile into a folder, and load. `path` is where compilers are looked for, $PATH where not given.

    Raises NoYardstick where something is missing.
    """
    compiler = next(filter(None, (shutil.which(name, path=path) for name in COMPILERS)), None)
    if compiler is None:
        raise NoYardstick(NO_COMPILER)
    library = folder / "ipsec_mb.so"
    command = [compiler, "-O2", "-std=c11", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-lIPSec_MB"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_TIMEOUT_S)  # noqa: S603
        return IpsecMb(ctypes.CDLL(str(library)))
    except (OSError, subprocess.SubprocessError):
        raise NoYardstick(NO_LIBRARY) from None


class IpsecMb:
    """Seals and opens batches whose items, and whose associated data, are equally long, under own keys.

    Nothing else is checked of its arguments: they are the benchmark's own.
    """

    longest_text: Final = _MOST_PADDED - 1

    def __init__(self, library: Any) -> None:
        """Take the library that was built. Raises NoYardstick where it cannot work on this processor."""
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        library.state_new.argtypes, library.state_new.restype = [size], pointer
        library.state_free.argtypes, library.state_free.restype = [pointer], None
        library.seal.argtypes = [pointer, size, pointer, pointer, pointer, size, pointer, size, pointer]
        library.seal.restype = size
        library.open_records.argtypes = [pointer, size, pointer, pointer, size, pointer, size, pointer, pointer]
        library.open_records.restype = None
        self._library = library
        self._state = library.state_new(MOST_BYTES)
        if not self._state:
            raise NoYardstick(NO_PROCESSOR)

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine. Raises ValueError where items differ in length or are too long."""
        count, size = len(plaintext), _common_length(plaintext, self.longest_text)
        record = sealed_bytes(size)
        out = np.empty(count * record, np.uint8)
        failed = self._library.seal(
            self._state, count, keys.ctypes.data, ivs.ctypes.data, *_start(associated, MOST_ASSOCIATED),
            *_start(plaintext, size), out.ctypes.data,
        )  # fmt: skip
        if failed:
            raise ValueError(f"ipsec-mb failed at {failed} messages")
        return Batch(out, np.arange(count + 1, dtype=np.int64) * record)

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine. Raises ValueError where items differ in length or are too long or too short."""
        count, record = len(sealed), _common_length(sealed, _MOST_PADDED + IV_BYTES + TAG_BYTES)
        if record < MIN_SEALED_BYTES or record % BLOCK_BYTES:
            raise ValueError("sealed: expected whole blocks, and at least an iv, a block and a tag")
        padded = record - IV_BYTES - TAG_BYTES
        out, lengths = np.empty(count * padded, np.uint8), np.empty(count, np.int64)
        self._library.open_records(
            self._state, count, keys.ctypes.data, *_start(associated, MOST_ASSOCIATED),
            *_start(sealed, record), out.ctypes.data, lengths.ctypes.data,
        )  # fmt: skip
        return _closed_up(out, lengths, padded)

    def close(self) -> None:
        """Give the library's memory back. May be called twice."""
        if self._state:
            self._library.state_free(self._state)
            self._state = None


def _common_length(batch: Batch, most: int) -> int:
    lengths = batch.lengths
    length = int(lengths[0]) if len(lengths) else 0
    if (lengths != length).any() or length > most:
        raise ValueError("expected items of one length that fits a job")
    return length


def _start(batch: Batch, most: int) -> tuple[int, int]:
    """Give the address of the first item and the length of each, which is at most so much."""
    return batch.buffer.ctypes.data + int(batch.offsets[0]), _common_length(batch, most)


def _closed_up(out: Bytes, lengths: Any, padded: int) -> tuple[Batch, Flags]:
    """Close the gaps that padding left. Where all texts are equally long that is one copy in numpy."""
    ok: Flags = lengths >= 0
    kept = np.maximum(lengths, 0)
    offsets = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(kept, out=offsets[1:])
    table = out.reshape(-1, padded)
    if ok.all() and len(kept) and (kept == kept[0]).all():
        return Batch(np.ascontiguousarray(table[:, : kept[0]]).reshape(-1), offsets), ok
    return Batch(table[np.arange(padded) < kept[:, None]], offsets), ok
