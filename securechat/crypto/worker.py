"""CryptoWorker: every seal and open of a process, gathered into batches for one thread.

What is asked for while the engine is busy becomes the next batch; while it is idle, a request starts at
once. There is no timer, so a lone request waits for nobody, and batches grow by themselves as the load
does. A batch costs one hop into the thread and one `callFromThread` back, whatever it holds, and its
results are given out in that one call.

Requests finish in the order they were made, seals and opens alike. To keep the thread busy, the next
batch is handed over before the results of the last one are given out.

The engine gets lists of `bytes`; one that wants them packed joins them itself, in the thread, in one call
into C. Packing on the reactor's thread instead was tried against an engine that releases the lock: neither
rate nor reactor latency differed, and it is wasted on the CPU engine. What does hold the reactor up is
giving out a batch, some 10 us per request with the caller's callbacks. With 128 in a batch a saturated
reactor's timers are 3 ms late at the 99th percentile, with 1,024 over 30, and the rate is no better
(benchmarks/crypto.py --latency). Raise `max_batch_items` for an engine that needs more, and ask by
`seal_many` and `open_many`, where all results are one callback.

A batch whose items share one key object is given to the engine as one key for all, which is faster.

Every failure arrives through the Deferred, wrong arguments included. Cancelling takes back what no batch
holds yet; what the thread has begun is finished and thrown away.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from pathlib import PurePath
from typing import Any, Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from securechat.crypto.aead import KEY_BYTES, CryptoError
from securechat.crypto.engine import Engine, as_bytes
from securechat.crypto.gathering import Backlog, BacklogFull, Columns, Item, Load, Request
from securechat.crypto.lane import Lane, ThreadLane

__all__ = ["BacklogFull", "CryptoWorker", "FromThread", "WorkerStats", "WorkerStopped"]

Results = tuple[list[bytes], list[bytes | None]]
"""What was sealed and what was opened."""


class FromThread(Protocol):
    """The one thing that the worker needs of a reactor (see IReactorFromThreads)."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:
        """Have the reactor call this later, on its own thread. Never at once."""


class WorkerStopped(CryptoError):  # noqa: N818
    """The worker is stopping or has stopped, and takes no requests."""

    def __str__(self) -> str:
        """Give the user's text."""
        return "the crypto worker has stopped"


@dataclass(slots=True, frozen=True)
class WorkerStats:
    """What a worker has done since it was made."""

    batches: int
    """Batches that came back."""
    items: int
    """Items in them."""
    bytes: int
    """Bytes that went in with them, without keys."""
    failed_batches: int
    """Those among them for which the engine raised an error."""
    histogram: tuple[int, ...]
    """At index i, the batches of 2**i up to 2**(i + 1) - 1 items."""
    wait_s: float
    """Time from a request to the start of its first batch, all requests together."""
    wait_max_s: float
    """The longest such time."""
    held_items: int
    """Items that wait or are being worked on now."""
    held_bytes: int
    """Their bytes."""


class _State(Enum):
    NEW = auto()
    RUNNING = auto()
    STOPPING = auto()
    STOPPED = auto()


class CryptoWorker(Service):
    """A service that seals and opens, in batches, on a thread of its own. See the module's description.

    Requests made before the service starts wait for that; once it stops they fail with WorkerStopped.
    Stopping delivers everything accepted, closes the engine in its thread, ends the thread, and only then
    fires its Deferred. After that it may be started again.
    """

    _log: Final = Logger()

    def __init__(
        self,
        engine: Engine,
        reactor: FromThread,
        *,
        max_items: int = 65_536,
        max_bytes: int = 64 << 20,
        max_batch_items: int = 128,
        max_batch_bytes: int = 1 << 20,
        lane: Lane | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the engine, which is the worker's from now on, and the reactor to come back through.

        At most `max_items` and `max_bytes` (keys not counted) wait or are worked on; a request beyond
        that fails at once with BacklogFull, whole. At most `max_batch_items` and `max_batch_bytes` make
        one batch, or one item that is larger; a long request is spread over several. `lane` is the
        thread, `seconds` a clock that never goes back.
        """
        self._engine = engine
        self._reactor = reactor
        self._lane: Lane = ThreadLane() if lane is None else lane
        self._seconds = seconds
        self._backlog = Backlog(max_items, max_bytes, max_batch_items, max_batch_bytes)
        self._state = _State.NEW
        self._busy = False
        self._stop_waiters: list[Deferred[None]] = []
        self._batches = self._items = self._bytes = self._failed_batches = 0
        self._histogram: list[int] = []
        self._wait_s = self._wait_max_s = 0.0

    def seal(self, key: bytes, associated: bytes, plaintext: bytes) -> Deferred[bytes]:
        """Seal one message under a 64-byte key. Fires with iv, ciphertext and tag."""
        return self._request(True, True, [(key, associated, plaintext)])

    def open(self, key: bytes, associated: bytes, sealed: bytes) -> Deferred[bytes]:
        """Open one message. Fires with its text, or fails with OpenError."""
        return self._request(False, True, [(key, associated, sealed)])

    def seal_many(self, items: Iterable[Item]) -> Deferred[list[bytes]]:
        """Seal (key, associated, plaintext) each. Fires with the sealed messages, in order."""
        return self._request(True, False, items)

    def open_many(self, items: Iterable[Item]) -> Deferred[list[bytes | None]]:
        """Open (key, associated, sealed) each. Fires with the texts in order, None where not authentic."""
        return self._request(False, False, items)

    @property
    def engine(self) -> str:
        """The name of the engine."""
        return self._engine.name

    @property
    def stats(self) -> WorkerStats:
        """The counters as they stand."""
        return WorkerStats(
            batches=self._batches,
            items=self._items,
            bytes=self._bytes,
            failed_batches=self._failed_batches,
            histogram=tuple(self._histogram),
            wait_s=self._wait_s,
            wait_max_s=self._wait_max_s,
            held_items=self._backlog.held_items,
            held_bytes=self._backlog.held_bytes,
        )

    def startService(self) -> None:
        """Start the thread, and what has been asked for before."""
        if self._state is _State.STOPPING:
            raise RuntimeError("the crypto worker is still stopping")
        super().startService()
        if self._state is not _State.RUNNING:
            self._state = _State.RUNNING
            self._lane.start()
            self._next()

    def stopService(self) -> Deferred[None]:
        """Take no more requests. Fires once all accepted ones are answered and the thread has ended."""
        super().stopService()
        if self._state in (_State.NEW, _State.STOPPED):
            self._state = _State.STOPPED
            for request in self._backlog.drain():
                request.fail(WorkerStopped())
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stop_waiters.append(stopped)
        if self._state is _State.RUNNING:
            self._state = _State.STOPPING
            self._next()
        return stopped

    def _request(self, sealing: bool, single: bool, items: Iterable[Item]) -> "Deferred[Any]":
        try:
            if self._state in (_State.STOPPING, _State.STOPPED):
                raise WorkerStopped
            checked = [_checked(item, "plaintext" if sealing else "sealed") for item in items]
            request = Request(sealing, single, checked, self._seconds())
            self._backlog.add(request)
        except (CryptoError, TypeError, ValueError) as error:
            return fail(error.with_traceback(None))
        done: Deferred[Any] = Deferred(partial(self._cancelled, request))
        request.done = done
        self._next()
        return done

    def _cancelled(self, request: Request, _: "Deferred[Any]") -> None:
        request.done = None
        self._backlog.withdraw(request)

    def _next(self) -> None:
        """Hand the next load to the thread, if it is free; begin to end, if there is none and never will."""
        if self._busy or self._state not in (_State.RUNNING, _State.STOPPING):
            return
        load = self._backlog.gather()
        if load is not None:
            self._busy = True
            self._count_wait(load)
            self._lane.submit(partial(self._work, load))
        elif self._state is _State.STOPPING:
            self._busy = True
            self._lane.submit(self._close)

    def _work(self, load: Load) -> None:
        """In the thread: do a load. Whatever goes wrong goes back as a value, and the thread lives on."""
        outcome: Results | BaseException
        try:
            outcome = _done_by(self._engine, load)
        except BaseException as error:
            outcome = error
        self._reactor.callFromThread(self._came_back, load, outcome)

    def _came_back(self, load: Load, outcome: Results | BaseException) -> None:
        self._busy = False
        self._backlog.release(load)
        self._count_batch(load)
        if isinstance(outcome, BaseException):
            self._failed_batches += 1
            self._tell(outcome, load.items)
            for request, _ in load.shares:
                self._backlog.withdraw(request)
            self._next()
            for request, _ in load.shares:
                request.fail(outcome)
        else:
            self._next()
            results: dict[bool, Iterator[bytes | None]] = {True: iter(outcome[0]), False: iter(outcome[1])}
            for request, count in load.shares:
                request.collect(results[request.sealing], count)

    def _close(self) -> None:
        """In the thread, at its end: close the engine."""
        error: BaseException | None = None
        try:
            self._engine.close()
        except BaseException as caught:
            error = caught
        self._reactor.callFromThread(self._closed, error)

    def _closed(self, error: BaseException | None) -> None:
        if error is not None:
            self._tell(error, 0)
        self._lane.end()
        self._busy = False
        self._state = _State.STOPPED
        waiters, self._stop_waiters = self._stop_waiters, []
        for stopped in waiters:
            stopped.callback(None)

    def _tell(self, error: BaseException, items: int) -> None:
        """Log an engine's error without its text or its frames' variables, which may hold contents."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
        traceback.clear_frames(error.__traceback__)
        self._log.error(
            "engine {engine}: {kind} at {place}, {items} items failed",
            engine=self._engine.name,
            kind=type(error).__name__,
            place=place,
            items=items,
        )

    def _count_wait(self, load: Load) -> None:
        now = self._seconds()
        for request, count in load.shares:
            if request.taken == count:
                waited = now - request.asked_s
                self._wait_s += waited
                self._wait_max_s = max(self._wait_max_s, waited)

    def _count_batch(self, load: Load) -> None:
        self._batches += 1
        self._items += load.items
        self._bytes += load.bytes
        power = max(load.items, 1).bit_length() - 1
        self._histogram.extend([0] * (power + 1 - len(self._histogram)))
        self._histogram[power] += 1


def _checked(item: Item, name: str) -> Item:
    key, associated, data = item
    if not type(key) is type(associated) is type(data) is bytes:
        item = as_bytes("key", key), as_bytes("associated", associated), as_bytes(name, data)
    if len(item[0]) != KEY_BYTES:
        raise ValueError(f"key: expected {KEY_BYTES} bytes, got {len(item[0])}")
    return item


def _done_by(engine: Engine, load: Load) -> Results:
    sealed: list[bytes] = []
    opened: list[bytes | None] = []
    if load.seals[0]:
        sealed = engine.seal_list(*_with_common_key(load.seals))
    if load.opens[0]:
        opened = engine.open_list(*_with_common_key(load.opens))
    if (len(sealed), len(opened)) != (len(load.seals[0]), len(load.opens[0])):
        raise RuntimeError("the engine gave another number of results than it was given items")
    return sealed, opened


def _with_common_key(columns: Columns) -> tuple[bytes | list[bytes], list[bytes], list[bytes]]:
    """Give one key for all where all are one object. Comparing secrets would tell of them in time."""
    keys, associated, data = columns
    return (keys[0] if len(set(map(id, keys))) == 1 else keys), associated, data
