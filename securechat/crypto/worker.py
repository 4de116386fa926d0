"""CryptoWorker: every seal and open of a process, gathered into batches for one thread.

What is asked for while the engine is busy becomes the next batch; while it is idle, a request starts at
once, so a lone request waits for nobody, and batches grow by themselves as the load does. Only where
`flush_s` allows it do requests wait for company at an idle engine. A batch costs one hop into the thread
and one `callFromThread` back, whatever it holds, and its results are given out in that one call.

Requests finish in the order they were made, seals and opens alike. To keep the thread busy, the next
batch is handed over before the results of the last one are given out.

The engine gets lists of `bytes`; one that wants them packed joins them itself, in the thread, in one call
into C. Packing on the reactor's thread instead was tried against an engine that releases the lock: neither
rate nor reactor latency differed, and it is wasted on the CPU engine. What does hold the reactor up is
giving out a batch, some 10 us per request with the caller's callbacks. With 128 in a batch a saturated
reactor's timers are 3 ms late at the 99th percentile, with 1,024 over 30, and the rate is no better
(benchmarks/crypto.py --latency). For an engine that is better with many, ask by `seal_many` and `open_many`,
where all results are one callback: while such an engine has a `preferred_items` of thousands, a batch may hold
so many items, yet still answers at most `max_batch_items` requests. The price is that a lone request may
have to wait for such a batch to end.

A batch whose items share one key object is given to the engine as one key for all, which is faster.

Every failure arrives through the Deferred, wrong arguments included. Cancelling takes back what no batch
holds yet; what the thread has begun is finished and thrown away.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from functools import partial
from pathlib import PurePath
from typing import Any, Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from securechat.crypto.aead import KEY_BYTES, CryptoError
from securechat.crypto.engine import Engine, as_bytes
from securechat.crypto.figures import AutoStats
from securechat.crypto.flushing import Deadline, Timers
from securechat.crypto.gathering import Backlog, BacklogFull, Columns, Item, Load, Request
from securechat.crypto.lane import Lane, ThreadLane
from securechat.crypto.worker_stats import Counts, WorkerStats

__all__ = ["BacklogFull", "CryptoWorker", "WorkerReactor", "WorkerStats", "WorkerStopped"]

Results = tuple[list[bytes], list[bytes | None]]
"""What was sealed and what was opened."""


class WorkerReactor(Timers, Protocol):
    """What the worker needs of a reactor (see IReactorFromThreads and IReactorTime). Timers only with `flush_s`."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:
        """Have the reactor call this later, on its own thread. Never at once."""


class WorkerStopped(CryptoError):  # noqa: N818
    """The worker is stopping or has stopped, and takes no requests."""

    def __str__(self) -> str:
        """Give the user's text."""
        return "the crypto worker has stopped"


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
        reactor: WorkerReactor,
        *,
        max_items: int = 65_536,
        max_bytes: int = 64 << 20,
        max_batch_items: int = 128,
        max_batch_bytes: int = 1 << 20,
        flush_items: int = 1,
        flush_s: float = 0.0,
        lane: Lane | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the engine, which is the worker's from now on, and the reactor to come back through.

        At most `max_items` and `max_bytes` (keys not counted) wait or are worked on; a request beyond
        that fails at once with BacklogFull, whole. At most `max_batch_items` and `max_batch_bytes` make
        one batch, or one item that is larger; a long request is spread over several. An engine with
        `preferred_items` gets more items, but not of more requests (see the module's description).

        An idle worker starts a batch when `flush_items` items wait, or when the first request has
        waited `flush_s`; as it stands, at once. More is for an engine that is forced on and slow with
        small batches. `lane` is the thread, `seconds` a clock that never goes back.
        """
        self._engine = engine
        self._reactor = reactor
        self._lane: Lane = ThreadLane() if lane is None else lane
        self._seconds = seconds
        self._backlog = Backlog(max_items, max_bytes, max_batch_items, max_batch_bytes)
        self._deadline = Deadline(flush_items, flush_s, reactor, self._start)
        self._state = _State.NEW
        self._busy = False
        self._stop_waiters: list[Deferred[None]] = []
        self._counts = Counts()

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
        return self._counts.stats(self._backlog.held_items, self._backlog.held_bytes)

    @property
    def engine_stats(self) -> AutoStats | None:
        """What an engine that chooses between others has done and why; None for any other engine."""
        stats: object = getattr(self._engine, "stats", None)
        return stats if isinstance(stats, AutoStats) else None

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
        self._next()  # the deadline may have been this request's

    def _next(self) -> None:
        """Start what is due, if the thread is free."""
        if self._busy or self._state not in (_State.RUNNING, _State.STOPPING):
            return
        if self._state is _State.STOPPING:
            self._deadline.cancel()
            self._start()
        elif self._deadline.due(self._backlog.oldest(), self._backlog.waiting_items, self._seconds()):
            self._start()

    def _start(self) -> None:
        """Hand the next load to the free thread; begin to end, if there is none and never will."""
        load = self._backlog.gather(getattr(self._engine, "preferred_items", 0))
        if load is not None:
            self._busy = True
            self._counts.started(load, self._seconds())
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
        self._counts.came_back(load, isinstance(outcome, BaseException))
        if isinstance(outcome, BaseException):
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
