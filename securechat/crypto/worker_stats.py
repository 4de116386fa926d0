"""What a crypto worker counts."""

from dataclasses import dataclass

from securechat.crypto.gathering import Load


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


class Counts:
    """The counters, as the worker moves them."""

    def __init__(self) -> None:
        """Begin with nothing done."""
        self._batches = self._items = self._bytes = self._failed_batches = 0
        self._histogram: list[int] = []
        self._wait_s = self._wait_max_s = 0.0

    def started(self, load: Load, now_s: float) -> None:
        """Count the waiting of those requests whose first item is in a load that starts now."""
        for request, count in load.shares:
            if request.taken == count:
                waited = now_s - request.asked_s
                self._wait_s += waited
                self._wait_max_s = max(self._wait_max_s, waited)

    def came_back(self, load: Load, failed: bool) -> None:
        """Count a load that is done, or failed."""
        self._batches += 1
        self._items += load.items
        self._bytes += load.bytes
        self._failed_batches += failed
        power = max(load.items, 1).bit_length() - 1
        self._histogram.extend([0] * (power + 1 - len(self._histogram)))
        self._histogram[power] += 1

    def stats(self, held_items: int, held_bytes: int) -> WorkerStats:
        """Give them as they stand."""
        return WorkerStats(
            batches=self._batches,
            items=self._items,
            bytes=self._bytes,
            failed_batches=self._failed_batches,
            histogram=tuple(self._histogram),
            wait_s=self._wait_s,
            wait_max_s=self._wait_max_s,
            held_items=held_items,
            held_bytes=held_bytes,
        )
