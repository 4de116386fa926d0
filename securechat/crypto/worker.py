"""CryptoWorker: every seal and open of a process, gathered into batches for one thread.

What is asked for while the engine is busy becomes the next batch; while it is idle, a request starts at
once. No timer, so a lone request waits for nobody, and batches grow by themselves as the load does. A
batch costs one hop into the thread and one `callFromThread` back, however many it holds, and its results
are given out in that one call.

Requests finish in the order they were made, seals and opens alike. To keep the thread busy the next batch
is handed over before the results of the last one are given out.

The engine gets lists of `bytes`, not packed batches. Packing here, on the reactor's thread, was tried: it
costs the same microseconds under the same lock, stops the reactor for certain instead of possibly, and is
wasted on the CPU engine, which would only unpack again. An engine that wants packed input joins in the
thread, in one call into C.

The bounds: so many requests and bytes may wait (`max_waiting_items`, `max_waiting_bytes`; beyond that a
request fails with BacklogFull, whole), and so many make one batch (`max_batch_items`,
`max_batch_bytes`; one larger item is a batch alone). A request for many items counts as that many, may be
spread over several batches, and is accepted or refused as one.

Every failure arrives through the Deferred, wrong arguments included. Cancelling takes back what no batch
holds yet; what the thread has begun is finished and thrown away.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.crypto.aead import KEY_BYTES, CryptoError, OpenError
from securechat.crypto.engine import Engine, as_bytes
from securechat.crypto.lane import Lane, ThreadLane

T = TypeVar("T")

Item = tuple[bytes, bytes, bytes]
"""Key (64 bytes), associated data, and plaintext or sealed message."""


class FromThread(Protocol):
    """The one thing that the worker needs of a reactor (see IReactorFromThreads)."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:
        """Have the reactor call this later, from its own thread. Never at once."""


@dataclass(eq=False)
class BacklogFull(CryptoError):
    """More is waiting than the worker may hold. Nothing of the request was accepted; ask again later."""

    waiting_items: int
    """Items that wait or are being worked on."""
    waiting_bytes: int
    """Their bytes."""

    def __str__(self) -> str:
        """Give the user's text."""
        return f"the crypto worker is full: {self.waiting_items} items, {self.waiting_bytes} bytes wait"


class WorkerStopped(CryptoError):
    """The worker is stopping or has stopped, and takes no more requests."""

    def __str__(self) -> str:
        """Give the user's text."""
        return "the crypto worker has stopped"


@dataclass(slots=True, frozen=True)
class WorkerStats:
    """What a worker has done since it was made."""

    batches: int = 0
    """Batches that came back."""
    items: int = 0
    """Items in them."""
    bytes: int = 0
    """Bytes that went in with them: associated data, plaintexts and sealed messages."""
    failed_batches: int = 0
    """Batches that the engine raised for, counted in the others too."""
    histogram: tuple[int, ...] = ()
    """At index i, the batches of 2**i up to 2**(i+1) - 1 items."""
    wait_s: float = 0.0
    """Time from a request to the start of its first batch, all requests together."""
    wait_max_s: float = 0.0
    """The longest such time."""


@dataclass(slots=True, eq=False)
class _Request:
    """What one caller asked for."""

    sealing: bool
    items: list[Item]
    asked_s: float
    size: int
    finish: Callable[[list[bytes | None]], object]
    done: "Deferred[Any]"
    taken: int = 0
    results: list[bytes | None] = field(default_factory=list)
    over: bool = False
    """Failed or cancelled: what is left of it is skipped, what comes back for it thrown away."""


@dataclass(slots=True, eq=False)
class _Batch:
    """What one hop carries: items in two columns of lists, and whose they are."""

    shares: list[tuple[_Request, int]] = field(default_factory=list)
    """Requests in order, and how many items of each."""
    seals: tuple[list[bytes], list[bytes], list[bytes]] = field(default_factory=lambda: ([], [], []))
    opens: tuple[list[bytes], list[bytes], list[bytes]] = field(default_factory=lambda: ([], [], []))
    items: int = 0
    size: int = 0

    def take(self, request: _Request, max_items: int, max_bytes: int) -> bool:
        """Take what fits of a request. Tell whether that was all of it."""
        columns = self.seals if request.sealing else self.opens
        first = request.taken
        for item in request.items[first:]:
            size = _size(item)
            if self.items and (self.items >= max_items or self.size + size > max_bytes):
                break
            for column, value in zip(columns, item, strict=True):
                column.append(value)
            self.items += 1
            self.size += size
            request.taken += 1
        complete = request.taken == len(request.items)
        if complete or request.taken > first:
            self.shares.append((request, request.taken - first))
        return complete


class CryptoWorker(Service):
    """A service that seals and opens, in batches, on a thread of its own. See the module's description.

    Requests made before the service starts wait for it; requests made once it stops fail with
    WorkerStopped. Stopping delivers everything accepted, closes the engine in its thread, ends the
    thread, and only then fires its Deferred. Then the worker may be started again.
    """

    _log: Final = Logger()

    def __init__(
        self,
        engine: Engine,
        reactor: FromThread,
        *,
        max_waiting_items: int = 65_536,
        max_waiting_bytes: int = 64 << 20,
        max_batch_items: int = 4_096,
        max_batch_bytes: int = 4 << 20,
        lane: Lane | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the engine, which is the worker's from now on, and the reactor to come back through.

        The bounds are those of the module's description. `lane` is the thread, `seconds` a clock that
        never goes back.
        """
        bounds = (max_waiting_items, max_waiting_bytes, max_batch_items, max_batch_bytes)
        if min(bounds) < 1:
            raise ValueError(f"bounds: expected at least 1 each, got {bounds}")
        self._engine = engine
        self._reactor = reactor
        self._max_waiting_items = max_waiting_items
        self._max_waiting_bytes = max_waiting_bytes
        self._max_batch_items = max_batch_items
        self._max_batch_bytes = max_batch_bytes
        self._lane: Lane = ThreadLane() if lane is None else lane
        self._seconds = seconds
        self._queue: deque[_Request] = deque()
        self._held_items = 0
        self._held_bytes = 0
        self._state = _State.WAITING
        self._busy = False
        self._stop_waiters: list[Deferred[None]] = []
        self._batches = self._items = self._bytes = self._failed_batches = 0
        self._histogram: list[int] = []
        self._wait_s = self._wait_max_s = 0.0
