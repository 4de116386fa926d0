"""What waits for the crypto worker, how much of it may wait, and how it is gathered into loads.

No threads, no reactor, no clock: the worker adds those.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from twisted.internet.defer import Deferred

from securechat.crypto.aead import CryptoError, OpenError

Item = tuple[bytes, bytes, bytes]
"""Key (64 bytes), associated data, and plaintext or sealed message."""
PREFERRED_ITEM_BYTES: Final = 1_024
"""For each item that an engine wants in a batch, the batch may have so many bytes: chat messages are shorter."""
Columns = tuple[list[bytes], list[bytes], list[bytes]]
"""Many items, turned."""


@dataclass(eq=False)
class BacklogFull(CryptoError):  # noqa: N818
    """More is waiting than may wait. Nothing of the request was accepted; ask again later."""

    held_items: int
    """Items that wait or are being worked on."""
    held_bytes: int
    """Their bytes, without keys."""

    def __str__(self) -> str:
        """Give the user's text."""
        return f"the crypto worker is full: it holds {self.held_items} items of {self.held_bytes} bytes"


@dataclass(slots=True, eq=False)
class Request:
    """What one caller asked for, and where the answer goes."""

    sealing: bool
    """Seal, or open."""
    single: bool
    """One item, whose result is given as such and not in a list."""
    items: list[Item]
    """What to do, with what has been taken into a load still there."""
    asked_s: float
    """When."""
    done: "Deferred[Any] | None" = None
    """Fires with the answer. Taken away when it does, which breaks a cycle through its canceller."""
    taken: int = 0
    """How many items are in loads."""
    results: list[bytes | None] = field(default_factory=list)
    """One for each item that came back."""
    withdrawn: bool = False
    """Failed or cancelled: no more of it goes into a load."""

    def collect(self, results: Iterator[bytes | None], count: int) -> None:
        """Take the next `count` results, and answer if they were the last."""
        self.results.extend(islice(results, count))
        if len(self.results) < len(self.items):
            return
        answer = self.results[0] if self.single else self.results
        self._answer(OpenError() if answer is None else answer)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless answered."""
        self._answer(error)

    def _answer(self, answer: object) -> None:
        done, self.done = self.done, None
        if done is None:
            return
        if isinstance(answer, BaseException):
            done.errback(answer)
        else:
            done.callback(answer)


@dataclass(slots=True, eq=False)
class Load:
    """What one hop carries: whole requests and parts of long ones, in their order."""

    shares: list[tuple[Request, int]] = field(default_factory=list)
    """Whose items these are, and how many of each."""
    seals: Columns = field(default_factory=lambda: ([], [], []))
    """What to seal."""
    opens: Columns = field(default_factory=lambda: ([], [], []))
    """What to open."""
    items: int = 0
    """How many items."""
    bytes: int = 0
    """How many bytes, without keys."""

    def take(self, request: Request, max_items: int, max_bytes: int) -> bool:
        """Take what fits of a request, or a first item of any size. Tell whether that was all of it."""
        keys, additional, texts = self.seals if request.sealing else self.opens
        count = 0
        for key, associated, data in islice(request.items, request.taken, None):
            size = len(associated) + len(data)
            if self.items and (self.items == max_items or self.bytes + size > max_bytes):
                break
            keys.append(key)
            additional.append(associated)
            texts.append(data)
            self.items += 1
            self.bytes += size
            count += 1
        request.taken += count
        whole = request.taken == len(request.items)
        if whole or count:
            self.shares.append((request, count))
        return whole


class Backlog:
    """Requests in the order they came, bounded in items and bytes.

    Held is what waits and what is being worked on: whoever bounds only what waits is surprised by the
    load that left a moment ago. `waiting_items` is the part of `held_items` that is in no load.
    """

    def __init__(self, max_items: int, max_bytes: int, max_batch_items: int, max_batch_bytes: int) -> None:
        """Take the bounds for all that is held, and for one load (where one larger item goes alone)."""
        if min(max_items, max_bytes, max_batch_items, max_batch_bytes) < 1:
            raise ValueError("max_items, max_bytes, max_batch_items, max_batch_bytes: at least 1 each")
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_batch_items = max_batch_items
        self._max_batch_bytes = max_batch_bytes
        self._requests: deque[Request] = deque()
        self.held_items = 0
        self.held_bytes = 0
        self.waiting_items = 0

    def add(self, request: Request) -> None:
        """Accept a request, whole. Raises BacklogFull."""
        size = bytes_of(request.items)
        if self.held_items + len(request.items) > self._max_items or self.held_bytes + size > self._max_bytes:
            raise BacklogFull(self.held_items, self.held_bytes)
        self.held_items += len(request.items)
        self.held_bytes += size
        self.waiting_items += len(request.items)
        self._requests.append(request)

    def oldest(self) -> Request | None:
        """Give the request that has waited longest, perhaps begun already; None where nothing waits."""
        while self._requests and self._requests[0].withdrawn:
            self._requests.popleft()
        return self._requests[0] if self._requests else None

    def gather(self, preferred_items: int = 0) -> Load | None:
        """Take the next load, or None where nothing waits.

        An engine that wants many items at once may get more of them than `max_batch_items`, but not from
        more requests: that bound is for the reactor's sake, whom the answers hold up and not the items.
        """
        load = Load()
        max_items = max(self._max_batch_items, preferred_items)
        max_bytes = max(self._max_batch_bytes, preferred_items * PREFERRED_ITEM_BYTES)
        while len(load.shares) < self._max_batch_items:
            request = self.oldest()
            if request is None or not load.take(request, max_items, max_bytes):
                break
            self._requests.popleft()
        self.waiting_items -= load.items
        return load if load.shares else None

    def release(self, load: Load) -> None:
        """Hold a load no longer: it came back."""
        self.held_items -= load.items
        self.held_bytes -= load.bytes

    def withdraw(self, request: Request) -> None:
        """Forget what no load has taken of a request, even twice. Answering it is the caller's."""
        rest = request.items[request.taken :]
        self.held_items -= len(rest)
        self.waiting_items -= len(rest)
        self.held_bytes -= bytes_of(rest)
        del request.items[request.taken :]
        request.withdrawn = True

    def drain(self) -> list[Request]:
        """Take all requests that wait, and hold them no longer."""
        waiting = [request for request in self._requests if not request.withdrawn]
        for request in waiting:
            self.withdraw(request)
        self._requests.clear()
        return waiting


def bytes_of(items: list[Item]) -> int:
    """Count the bytes of items, without keys."""
    return sum([len(associated) + len(data) for _, associated, data in items])
