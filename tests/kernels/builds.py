"""Builds of the kernels for the tests: the unchanged one made once, everything in one temporary folder."""

from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from securechat.crypto import aead
from securechat.crypto.batch import Batch
from tests.crypto import vectors
from tests.kernels.host import HostKernelEngine, Mutation, build


@cache
def _folder() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="securechat-kernels-")


@cache
def built(*mutations: Mutation, flags: tuple[str, ...] = ("-O2",)) -> Path:
    """Give the library with these mutations and flags, compiled once for all tests."""
    root = Path(_folder().name)
    return build(root / str(len(list(root.iterdir()))), *mutations, flags=flags)


def rows(items: list[bytes], width: int) -> Any:
    """Give byte strings of one length as the rows of an array."""
    return np.frombuffer(b"".join(items), np.uint8).reshape(-1, width)


def disagreements(engine: HostKernelEngine, count: int, longest: int) -> list[str]:
    """Seal, open, encrypt and decrypt a ragged batch; name what is not as the reference has it.

    Texts have up to `longest` bytes, associated data up to 300. Every third message is also opened with a
    changed tag.
    """
    random = Random(count)
    texts = vectors.ragged(random, count, longest)
    associated = vectors.ragged(random, count, 300)
    keys = [random.randbytes(64) for _ in range(count)]
    ivs = [random.randbytes(16) for _ in range(count)]
    expected = list(map(aead.seal, keys, associated, texts, ivs))
    packed_keys, packed_ivs = rows(keys, 64), rows(ivs, 16)
    found = []
    sealed = engine.seal(packed_keys, packed_ivs, Batch.join(associated), Batch.join(texts))
    if sealed.split() != expected:
        found.append("seal")
    changed = [item[:-1] + bytes([item[-1] ^ 1]) if i % 3 == 0 else item for i, item in enumerate(expected)]
    opened, ok = engine.open(packed_keys, Batch.join(associated), Batch.join(changed))
    if ok.tolist() != [i % 3 != 0 for i in range(count)]:
        found.append("flags")
    if opened.split() != [b"" if i % 3 == 0 else text for i, text in enumerate(texts)]:
        found.append("open")
    raw_keys = packed_keys[:, 32:]
    ciphertexts = engine.encrypt(raw_keys, packed_ivs, Batch.join(texts))
    if ciphertexts.split() != [item[16:-32] for item in expected]:
        found.append("encrypt")
    decrypted, ok = engine.decrypt(raw_keys, packed_ivs, Batch.join(item[16:-32] for item in expected))
    if not ok.all() or decrypted.split() != texts:
        found.append("decrypt")
    return found


def written_unverified(engine: HostKernelEngine) -> bytes:
    """Give what the kernels write as the text of one message of 32 bytes whose tag is wrong."""
    key = bytes(range(64))
    sealed = Batch.join([aead.seal(key, b"", b"secret" * 5)[:-1] + b"?"])
    keys = rows([key], 64)
    ok = engine.verify(keys, Batch.join([b""]), sealed)
    padded, _ = engine.decrypt_blocks(keys, 0, 8, ok[:0], sealed, 16, np.array([2]), ok)
    return padded.tobytes()
