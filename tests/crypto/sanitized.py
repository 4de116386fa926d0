"""Run by test_native in a process of its own: calls of every kind, on an extension built with sanitizers."""

import ctypes
import random
import sys
from collections.abc import Callable
from functools import partial
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

import numpy as np

EXTENSION = "securechat.crypto._native"


def load(path: str) -> Any:
    """Put the extension at this path in the place of the installed one."""
    spec = spec_from_loader(EXTENSION, ExtensionFileLoader(EXTENSION, path))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[EXTENSION] = module
    spec.loader.exec_module(module)
    return module


def main(path: str) -> None:
    """Make all calls, and say so at the end."""
    extension = load(path)
    from securechat.crypto import native
    from securechat.crypto.batch import Batch

    assert native._native is extension
    source = random.Random(4)
    for threads, count, longest in ((1, 0, 0), (1, 1, 40), (1, 40, 700), (5, 3_000, 2_000)):
        engine = native.NativeEngine(threads)
        texts = [source.randbytes(source.randrange(longest)) for _ in range(count)]
        keys = [source.randbytes(64) for _ in range(count)]
        extra = [source.randbytes(i % 40) for i in range(count)]
        own = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 64)
        ivs = np.frombuffer(source.randbytes(16 * count), np.uint8).reshape(-1, 16)
        for one_or_own, packed_keys in ((keys, own), (bytes(64), np.zeros(64, np.uint8))):
            sealed = engine.seal_list(one_or_own, extra, texts)
            assert engine.open_list(one_or_own, extra, sealed) == texts
            forged = [item[:-1] + bytes([item[-1] ^ (i % 2)]) for i, item in enumerate(sealed)]
            forged = [item[: i % 64] if i % 7 == 0 else item for i, item in enumerate(forged)]
            assert all(
                (a is None) == bool(i % 2 or i % 7 == 0)
                for i, a in enumerate(engine.open_list(one_or_own, extra, forged))
            )
            packed = engine.seal(packed_keys, ivs, Batch.join(extra), Batch.join(texts))
            assert engine.open(packed_keys, Batch.join(extra), packed)[0].split() == texts
            engine.open(packed_keys, Batch.join(extra), Batch.join(forged))
            raw_keys = packed_keys[..., :32]
            encrypted = engine.encrypt(raw_keys, ivs, Batch.join(texts))
            assert engine.decrypt(raw_keys, ivs, encrypted)[0].split() == texts
            engine.decrypt(raw_keys, ivs, Batch.join(texts))
    assert extension.seal_list([bytes(64), None], [b"", b""], [b"", b""], bytes(32), 1) is None
    assert extension.open_list([bytes(64)] * 2, [b"", 5], [b"", b""], 1) is None
    bad_calls(extension)
    failing_calls(extension, ctypes.c_long.in_dll(ctypes.CDLL(path), "faults_after"))
    print("all done")


def bad_calls(extension: Any) -> None:
    """Make calls that fail at every stage: arguments and offsets."""

    def offsets(*values: int) -> bytes:
        return np.array(values, np.int64).tobytes()

    good = [
        bytes(64),
        0,
        bytes(16),
        b"abc",
        offsets(0, 3),
        bytes(35),
        offsets(0, 35),
        bytearray(96),
        offsets(0, 96),
        1,
    ]
    wrong: list[tuple[int, object]] = [
        (at, value)
        for at in (4, 6, 8)
        for value in (offsets(-1, 3), offsets(3, 0), offsets(0, 2**63 - 1), offsets(0), b"", bytes(9), None)
    ]
    wrong += [(0, bytes(63)), (1, 3), (2, bytes(15)), (7, bytearray(95)), (7, bytes(96))]
    for at, value in wrong:
        arguments = [*good[:at], value, *good[at + 1 :]]
        try:
            extension.seal(*arguments)
        except (TypeError, ValueError, BufferError):
            continue
        raise AssertionError(at)
    extension.seal(*good)


def failing_calls(extension: Any, faults_after: ctypes.c_long) -> None:
    """Let each call of a function that may fail, fail once: an error, outputs wiped, or no harm done."""
    from securechat.crypto import native
    from securechat.crypto.batch import Batch

    keys, texts, extra = [bytes([i]) * 64 for i in range(3)], [b"t" * 20] * 3, [b"aad"] * 3
    sealed = native.NativeEngine(1).seal_list(keys, extra, texts)
    items, associated, plain = Batch.join(sealed), Batch.join(extra), Batch.join(texts)
    own = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 64)
    ivs = np.zeros((3, 16), np.uint8)
    long = [bytes(1 << 20)] * 3
    for one_or_own, packed in ((keys, own), (keys[0], own[:1])):
        for threads in (1, 3):
            engine = native.NativeEngine(threads)
            calls: list[Callable[[], object]] = [
                partial(engine.seal_list, one_or_own, extra, texts),
                partial(engine.open_list, one_or_own, extra, sealed),
                partial(engine.seal, packed, ivs, associated, plain),
                partial(engine.open, packed, associated, items),
                partial(engine.encrypt, packed[:, :32], ivs, plain),
                partial(engine.decrypt, packed[:, :32], ivs, items),
            ]
            if threads > 1:
                calls = [partial(engine.seal_list, one_or_own, extra, long)]
            for call in calls:
                fail_everywhere(call, faults_after)
    out, out_off, ok = bytearray(b"\xa5" * items.total_bytes), bytearray(32), bytearray(3)
    faults_after.value = 40  # in the last item: two texts have been written by then
    try:
        extension.open(
            own, 64, associated.buffer, associated.offsets, items.buffer, items.offsets, out, out_off, ok, 1
        )
    except RuntimeError:
        assert not any(out + ok)
    else:
        raise AssertionError(faults_after.value)


def fail_everywhere(call: Callable[[], object], faults_after: ctypes.c_long) -> None:
    """Repeat a call, with the first, second, third... such function failing, until none is left to fail."""
    for n in range(1_000):
        faults_after.value = n
        try:
            call()
        except (RuntimeError, MemoryError):
            assert faults_after.value < 0
        if faults_after.value >= 0:
            faults_after.value = -1
            return
    raise AssertionError("no end of faults")


if __name__ == "__main__":
    main(sys.argv[1])
