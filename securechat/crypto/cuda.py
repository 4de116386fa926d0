"""The CUDA engine: batches on a GPU, and on the CPU whatever the GPU can't or shouldn't do.

Everything that touches the device happens on one thread of the engine's own, so that the engine itself may be
called from any thread, by one at a time (a CUDA context belongs to a thread, and one that ends with a context
takes the process with it).

Items over MAX_ITEM_BYTES go to the CPU meanwhile: CBC is a chain, and one long message would hold up all
others of its batch. A failing device is out of use from then on: the batch is done again on the CPU from what
the caller passed, so nothing is lost and nothing done twice. That is logged once, and counted.
"""

import ctypes
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from threading import Lock
from typing import Any, Final, TypeVar

import numpy as np
from twisted.logger import Logger

from securechat.crypto import aead, native
from securechat.crypto.aead import CryptoError
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.device import (
    Device,
    DeviceError,
    DeviceMemoryError,
    DeviceUnavailable,
    Facts,
    driver_library,
)
from securechat.crypto.engine import Engine, Flags, check_decrypt, check_encrypt, check_open, check_seal
from securechat.crypto.lane import ThreadLane
from securechat.crypto.native import NativeEngine
from securechat.crypto.packing import PackedLists
from securechat.crypto.parts import Call, Result, merge
from securechat.crypto.pipeline import Pipeline

NO_PYCUDA: Final = "PyCUDA is not installed (pip install 'securechat[cuda]')"
NO_DRIVER: Final = "no NVIDIA driver: {library} cannot be loaded"
ENDED: Final = "the process is ending"
WRONG_RESULTS: Final = "its kernels gave wrong results in the test before their first use"
MAX_ITEM_BYTES: Final = 16 * 1024
"""The longest text and the longest associated data that go to the device."""

T = TypeVar("T")


def why_not(
    installed: Callable[[str], object | None] = find_spec,
    load: Callable[[str], object] = ctypes.CDLL,
    platform: str = sys.platform,
) -> str | None:
    """Give the reason, in one line for a person, why CUDA can't be tried here; None where it can.

    Nothing of PyCUDA is imported, which takes a second, and no device is touched: whether there is one that
    works, opening tells. `installed` finds a module by name, `load` loads a shared library or raises OSError.
    """
    if installed("pycuda") is None:
        return NO_PYCUDA
    library = driver_library(platform)
    try:
        load(library)
    except OSError:
        return NO_DRIVER.format(library=library)
    return None


def open_pycuda() -> Device:
    """Open the first GPU through PyCUDA. Raises DeviceUnavailable."""
    reason = why_not()
    if reason is not None:
        raise DeviceUnavailable(reason)
    from securechat.crypto.pycuda_device import open_device

    return open_device()


@dataclass(slots=True)
class CudaStats:
    """What a CUDA engine has done since it was made."""

    batches: int = 0
    """Batches that the device did, or a part of."""
    items: int = 0
    """Items that the device did."""
    long_items: int = 0
    """Items that were too long for it, and went to the CPU."""
    redone_batches: int = 0
    """Batches done on the CPU because the device failed, or had no memory for them."""
    halvings: int = 0
    """How often the device's memory was short, and half as much was taken."""


class CudaEngine(PackedLists):
    """The engine of the module's description."""

    name = "cuda"
    preferred_items: Final = 16_384
    """How many items a batch should hold if so many wait: some 21,000 threads fill a large GPU."""
    _log: Final = Logger()

    def __init__(
        self,
        open_device: Callable[[], Device] = open_pycuda,
        fallback: Engine | None = None,
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        """Open a device, which may take seconds: the first time its kernels are compiled.

        `fallback` does what the device doesn't; without one it is native where that was built. Raises
        DeviceUnavailable, with the reason.
        """
        if not 1 <= max_item_bytes <= MAX_ITEM_BYTES:
            raise ValueError(f"max_item_bytes: expected 1 to {MAX_ITEM_BYTES}, got {max_item_bytes}")
        self._max_item_bytes = max_item_bytes
        self._fallback: Engine = (
            fallback if fallback is not None else CpuEngine() if native.why_not() else NativeEngine()
        )
        self._lost: str | None = None
        self.stats = CudaStats()
        self._hold = _Hold(open_device)
        # A process that ends without closing still gives the device back, on its own thread.
        weakref.finalize(self, self._hold.end)
        try:
            self._facts = self._hold.call(lambda pipeline: pipeline.facts)
        except DeviceError as error:
            raise DeviceUnavailable(str(error)) from None

    @property
    def facts(self) -> Facts:
        """What the device is, or was."""
        return self._facts

    @property
    def usable(self) -> bool:
        """Whether the device is in use; once lost, it stays so."""
        return self._lost is None

    @property
    def why_lost(self) -> str | None:
        """Why the device is out of use, in one line."""
        return self._lost

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        keys, ivs = check_seal(keys, ivs, associated, plaintext)
        return self._do(Call("seal", keys, ivs, associated, plaintext))[0]

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        keys = check_open(keys, associated, sealed)
        return _flagged(self._do(Call("open", keys, None, associated, sealed)))

    def encrypt(self, keys: Bytes, ivs: Bytes, plaintext: Batch) -> Batch:
        """See Engine."""
        keys, ivs = check_encrypt(keys, ivs, plaintext)
        return self._do(Call("encrypt", keys, ivs, None, plaintext))[0]

    def decrypt(self, keys: Bytes, ivs: Bytes, ciphertext: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        keys, ivs = check_decrypt(keys, ivs, ciphertext)
        return _flagged(self._do(Call("decrypt", keys, ivs, None, ciphertext)))

    def lock(self, size: int) -> Bytes:
        """Give an array of `size` bytes, zeros, in memory with locked pages.

        Batches over it go to the device without another copy on the host, the bulk of the cost of large
        ones. It stays locked until the engine is closed, and valid memory after that. Raises
        DeviceError where it can't be had.
        """
        if self._lost is not None:
            raise DeviceError(self._lost)
        return self._hold.call(lambda pipeline: pipeline.lock(size))

    def close(self) -> None:
        """See Engine."""
        self._hold.close()
        self._fallback.close()

    def _do(self, call: Call) -> Result:
        if self._lost is not None or not len(call.data):
            return call.on(self._fallback)
        short = call.longest() <= self._max_item_bytes
        count = int(short.sum())
        self.stats.long_items += len(short) - count
        if count == len(short):
            return self._wait_for(self._hold.begin(call.on), call)
        if not count:
            return call.on(self._fallback)
        ours, others = call.part(short), call.part(~short)
        begun = self._hold.begin(ours.on)
        try:
            rest = others.on(self._fallback)
        finally:
            found = self._wait_for(begun, ours)
        return merge(short, found, rest)

    def _wait_for(self, begun: "Future[Result]", call: Call) -> Result:
        """Give what the device gives, or the fallback's result where it gives none."""
        try:
            result = begun.result()
        except (DeviceError, DeviceUnavailable) as error:
            self.stats.redone_batches += 1
            if not isinstance(error, DeviceMemoryError) and not self._hold.ended:
                self._lose(error)
            return call.on(self._fallback)
        finally:
            self.stats.halvings = self._hold.halvings
        self.stats.batches += 1
        self.stats.items += len(call.data)
        return result

    def _lose(self, error: CryptoError) -> None:
        self._lost = str(error)
        self._log.error(
            "the GPU failed and is out of use in this process: {reason}; the {engine} engine goes on",
            reason=self._lost,
            engine=self._fallback.name,
        )
        self._hold.close()


class _Hold:
    """The device with its pipeline, on a thread of its own, opened when it is needed."""

    def __init__(self, open_device: Callable[[], Device]) -> None:
        self._open_device = open_device
        self._lane: ThreadLane | None = None
        self._pipeline: Pipeline | None = None
        self._lock = Lock()
        self.halvings = 0
        self.ended = False
        """Nothing is done any more."""

    def begin(self, job: Callable[[Pipeline], T]) -> "Future[T]":
        """Have a job done on the thread. It fails with DeviceError once there is an end to that."""
        future: Future[T] = Future()
        with self._lock:
            if self.ended:
                future.set_exception(DeviceError(ENDED))
                return future
            if self._lane is None:
                self._lane = ThreadLane("cuda")
                self._lane.start()
            self._lane.submit(partial(_settle, future, partial(self._run, job)))
        return future

    def call(self, job: Callable[[Pipeline], T]) -> T:
        """Have a job done on the thread, and wait for it."""
        return self.begin(job).result()

    def close(self) -> None:
        """Give the device back and end the thread."""
        with self._lock:
            lane, self._lane = self._lane, None
            if lane is None:
                return
            future: Future[None] = Future()
            lane.submit(partial(_settle, future, self._give_back))
        future.result()
        lane.end()

    def end(self) -> None:
        """Close for good, while other threads may still be at work: the process ends.

        They would open the device once more, and be torn out of PyCUDA in the middle of it, which aborts.
        """
        with self._lock:
            self.ended = True
        self.close()

    def _run(self, job: Callable[[Pipeline], T]) -> T:
        if self._pipeline is None:
            pipeline = Pipeline(self._open_device())
            try:
                _try_out(pipeline)
            except BaseException:
                pipeline.close()
                raise
            self._pipeline = pipeline
        try:
            return job(self._pipeline)
        finally:
            self.halvings = self._pipeline.halvings

    def _give_back(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()


def _settle(future: "Future[Any]", job: Callable[[], object]) -> None:
    try:
        result = job()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _try_out(pipeline: Pipeline) -> None:
    """Compare the device with OpenSSL before its first use. Raises DeviceUnavailable where they differ."""
    count = 33
    keys = np.arange(64 * count, dtype=np.int64).astype(np.uint8).reshape(count, 64)
    ivs = keys[:, 16:32].copy()
    texts = Batch.join(bytes(range(i % 7)) * (i * i % 60) for i in range(count))
    associated = Batch.join(bytes([i]) * (11 * i % 150) for i in range(count))
    rows = zip(keys, associated, texts, ivs, strict=True)
    expected = [aead.seal(key.tobytes(), extra, text, iv.tobytes()) for key, extra, text, iv in rows]
    sealed = pipeline.seal(keys, ivs, associated, texts)
    broken = Batch.join(item[:-1] + bytes([item[-1] ^ (i % 2)]) for i, item in enumerate(expected))
    opened, ok = pipeline.open(keys, associated, broken)
    true = [i % 2 == 0 for i in range(count)]
    if (
        sealed.split() != expected
        or ok.tolist() != true
        or opened.split() != [text if good else b"" for text, good in zip(texts, true, strict=True)]
    ):
        raise DeviceUnavailable(WRONG_RESULTS)


def _flagged(result: Result) -> tuple[Batch, Flags]:
    batch, ok = result
    assert ok is not None
    return batch, ok
