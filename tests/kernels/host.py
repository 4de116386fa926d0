"""The CUDA kernels built for the host, and an engine that runs them: what a device would be asked to do.

`build` compiles the very files that are compiled for a device, unchanged or with a mutation; `HostKernels`
launches single kernels; `HostKernelEngine` is a whole engine on them, which keeps the contract of
securechat.crypto.engine. Buffers are as large as the kernels' documentation demands and no larger, so that
a sanitizer finds whatever goes beyond it.
"""

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from securechat.crypto import aead
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.engine import Flags, check_decrypt, check_encrypt, check_open, check_seal
from securechat.crypto.packing import PackedLists

HERE: Final = Path(__file__).resolve().parent
SOURCES: Final = Path(aead.__file__).resolve().parent / "kernels"
COMPILER: Final = "g++"
NO_COMPILER: Final = f"{COMPILER} is not installed: the kernels cannot be built for the host"
FLAGS: Final = ("-std=c++17", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror")
SANITIZERS: Final = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DTWO_PASSES")
BUILD_TIMEOUT_S: Final = 120

TABLE_BYTES: Final = 64 * 1024
"""The dynamic shared memory of the kernels that look up."""
SLACK_BYTES: Final = 32
"""SLACK_BYTES of common.cu."""
ALIGNMENT: Final = 16
SEALED_KEY_WORDS: Final = aead.KEY_BYTES // 4
RAW_KEY_WORDS: Final = aead.ENC_KEY_BYTES // 4
ROUND_KEY_WORDS: Final = 60
FILLING: Final = 0xA5
"""What output buffers hold before a launch, as a device's memory holds anything."""

DIVERGED: Final = 1
"""What a launch gives in which some threads wait at a barrier and others have ended."""

Array = npt.NDArray[Any]


class DivergedError(Exception):
    """Some threads of a block wait at a barrier, others have ended: a device would hang."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change to one source file. The text stands there, and every place of it is changed."""

    file: str
    old: str
    new: str


def have_compiler() -> bool:
    """Tell whether kernels can be built for the host."""
    return shutil.which(COMPILER) is not None


def build(folder: Path, *mutations: Mutation, flags: tuple[str, ...] = ("-O2",)) -> Path:
    """Compile the kernels into a library in a new folder, changed by mutations.

    Raises AssertionError for a mutation whose text the file does not have, CalledProcessError with the
    compiler's words where it refuses.
    """
    sources = shutil.copytree(SOURCES, folder)
    for mutation in mutations:
        path = sources / mutation.file
        text = path.read_text("utf-8")
        assert mutation.old in text, f"{mutation.file} has no {mutation.old!r}"
        path.write_text(text.replace(mutation.old, mutation.new), "utf-8")
    library = folder / "kernels.so"
    command = [COMPILER, *FLAGS, *flags, "-shared", "-fPIC", f"-I{folder}", f"-I{HERE}"]
    command += [str(HERE / "host.cc"), "-o", str(library)]
    subprocess.run(command, check=True, timeout=BUILD_TIMEOUT_S)
    return library


class HostKernels:
    """The kernels of one library, launched as on a device: by name, with grid, block and arguments."""

    def __init__(self, library: Path) -> None:
        """Load the library."""
        self._library = ctypes.CDLL(str(library))

    def launch(self, name: str, grid: int, block: int, shared_bytes: int, *arguments: Array | int) -> None:
        """Run one kernel to its end. An array is passed as its address, an integer as a u32.

        Raises DivergedError where a device would hang.
        """
        values: list[Any] = []
        for argument in arguments:
            if isinstance(argument, int):
                values.append(ctypes.c_uint32(argument))
            else:
                assert argument.ctypes.data % ALIGNMENT == 0
                values.append(ctypes.c_void_p(argument.ctypes.data))
        self.launch_values(name, grid, block, shared_bytes, values)

    def launch_values(self, name: str, grid: int, block: int, shared_bytes: int, values: list[Any]) -> None:
        """Run one kernel on arguments of ctypes. Raises DivergedError where a device would hang."""
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        function = getattr(self._library, f"launch_{name}")
        if function(grid, block, ctypes.c_size_t(shared_bytes), pointers) == DIVERGED:
            raise DivergedError(name)


class HostKernelEngine(PackedLists):
    """An engine whose every byte comes from the kernels. Its launches are those of a device."""

    name = "host-kernels"

    def __init__(self, library: Path, grid: int = 3, block: int = 32) -> None:
        """Take a library from `build` and the shape of all launches."""
        self._kernels = HostKernels(library)
        self._grid = grid
        self._block = block

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        keys, ivs = check_seal(keys, ivs, associated, plaintext)
        n = len(plaintext)
        key_words = _stride(keys, SEALED_KEY_WORDS)
        sealed_at = _offsets(plaintext.lengths // 16 * 16 + aead.MIN_SEALED_BYTES)
        sealed = _filled(int(sealed_at[-1]) + SLACK_BYTES)
        order = _order(plaintext.lengths)
        text, text_at = _readable(plaintext)
        more, more_at = _readable(associated)
        keys = _aligned(keys)
        encrypt = (keys, key_words, 8, _aligned(ivs), text, text_at, order, sealed, sealed_at, 16, n)
        self._run("cbc_encrypt", TABLE_BYTES, *encrypt)
        self._run("hmac_tag", 0, keys, key_words, more, more_at, sealed, sealed_at, order, n)
        return Batch(sealed[: sealed_at[-1]], sealed_at)

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        keys = check_open(keys, associated, sealed)
        ok = self.verify(keys, associated, sealed)
        lengths = sealed.lengths
        well_formed = (lengths >= aead.MIN_SEALED_BYTES) & (lengths % 16 == 0)
        blocks = np.where(well_formed, (lengths - 48) // 16, 0)
        key_words = _stride(keys, SEALED_KEY_WORDS)
        no_ivs = _filled(0)
        padded, block_at = self.decrypt_blocks(keys, key_words, 8, no_ivs, sealed, 16, blocks, ok)
        return self._texts(padded, block_at, ok)

    def encrypt(self, keys: Bytes, ivs: Bytes, plaintext: Batch) -> Batch:
        """See Engine."""
        keys, ivs = check_encrypt(keys, ivs, plaintext)
        out_at = _offsets(plaintext.lengths // 16 * 16 + 16)
        out = _filled(int(out_at[-1]))
        text, text_at = _readable(plaintext)
        order, n = _order(plaintext.lengths), len(plaintext)
        key_words = _stride(keys, RAW_KEY_WORDS)
        encrypt = (_aligned(keys), key_words, 0, _aligned(ivs), text, text_at, order, out, out_at, 0, n)
        self._run("cbc_encrypt", TABLE_BYTES, *encrypt)
        return Batch(out, out_at)

    def decrypt(self, keys: Bytes, ivs: Bytes, ciphertext: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        keys, ivs = check_decrypt(keys, ivs, ciphertext)
        lengths = ciphertext.lengths
        blocks = np.where(lengths % 16 == 0, lengths // 16, 0)
        ok = _aligned((blocks > 0).view(np.uint8))
        key_words = _stride(keys, RAW_KEY_WORDS)
        padded, block_at = self.decrypt_blocks(keys, key_words, 0, _aligned(ivs), ciphertext, 0, blocks, ok)
        return self._texts(padded, block_at, ok)

    def close(self) -> None:
        """See Engine."""

    def verify(self, keys: Bytes, associated: Batch, sealed: Batch) -> Bytes:
        """Run hmac_verify alone: one byte per item, 1 where its tag is right."""
        ok = _filled(len(sealed))
        text, text_at = _readable(sealed)
        more, more_at = _readable(associated)
        key_words, order = _stride(keys, SEALED_KEY_WORDS), _order(sealed.lengths)
        keys = _aligned(keys)
        verify = (keys, key_words, more, more_at, text, text_at, order, ok, len(sealed))
        self._run("hmac_verify", 0, *verify)
        return ok

    def decrypt_blocks(
        self,
        keys: Bytes,
        key_words: int,
        first: int,
        ivs: Bytes,
        sealed: Batch,
        lead: int,
        blocks: Array,
        ok: Bytes,
    ) -> tuple[Bytes, Array]:
        """Run decrypt_keys and cbc_decrypt: the padded texts, and the first block of each."""
        block_at = _offsets(blocks).astype(np.uint32)
        schedules = _filled(4 * ROUND_KEY_WORDS * len(keys))
        padded = _filled(16 * int(block_at[-1]))
        text, text_at = _readable(sealed)
        self._run("decrypt_keys", TABLE_BYTES, _aligned(keys), key_words, first, schedules, len(keys))
        stride = ROUND_KEY_WORDS if key_words else 0
        decrypt = (schedules, stride, ivs, text, text_at, lead, block_at, ok, padded, len(sealed))
        self._run("cbc_decrypt", TABLE_BYTES, *decrypt)
        return padded, block_at

    def check_padding(self, padded: Bytes, block_at: Array, ok: Bytes) -> Array:
        """Run check_padding, which changes `padded` and `ok`: the length of each text."""
        n = len(ok)
        lengths = _filled(4 * n).view(np.uint32)
        self._run("check_padding", 0, padded, block_at, ok, lengths, n)
        return lengths

    def _texts(self, padded: Bytes, block_at: Array, ok: Bytes) -> tuple[Batch, Flags]:
        lengths = self.check_padding(padded, block_at, ok)
        out_at = _offsets(lengths)
        texts = _filled(16 * int(block_at[-1]))
        slack = np.concatenate([padded, _filled(SLACK_BYTES)])
        self._run("pack_texts", 0, slack, block_at, out_at, texts, len(ok))
        return Batch(texts[: out_at[-1]], out_at), ok.astype(np.bool_)

    def _run(self, name: str, shared_bytes: int, *arguments: Array | int) -> None:
        self._kernels.launch(name, self._grid, self._block, shared_bytes, *arguments)


def _stride(keys: Bytes, words: int) -> int:
    """The distance of two keys in words; 0 where one serves all, which the engines' checks have allowed."""
    return words if len(keys) != 1 else 0


def _order(lengths: Array) -> Array:
    """The items, longest first."""
    return np.argsort(-(lengths // 16), kind="stable").astype(np.uint32)


def _offsets(lengths: Array) -> Array:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _filled(size: int) -> Bytes:
    return np.full(size, FILLING, np.uint8)


def _aligned(array: Bytes) -> Bytes:
    """Copy an array to memory of its own: numpy gives whole allocations the alignment of malloc, 16."""
    return np.array(array, np.uint8, order="C").reshape(-1)


def _readable(batch: Batch) -> tuple[Bytes, Array]:
    """Copy a batch to the beginning of a buffer with slack. It keeps whatever misalignment its items have."""
    start, end = int(batch.offsets[0]), int(batch.offsets[-1])
    buffer = _filled(end - start + SLACK_BYTES)
    buffer[: end - start] = batch.buffer[start:end]
    return buffer, batch.offsets - start
