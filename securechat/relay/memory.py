"""What waits in memory for clients, all together: bounded, the one with most of it going first.

Each connection has its own bounds (see `limits`). These hold where there are very many of them, which the others
are too small to matter for. Everything is added up a few times a second instead of at each frame, which would cost
time where it is scarce; what can come in between is small beside the bounds.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Final, Protocol

from securechat.relay.limits import RelayLimits


class Holding(Protocol):
    """A connection, as far as it takes memory."""

    @property
    def held_bytes(self) -> int:
        """How many bytes wait for it as it does not read."""

    @property
    def unread_bytes(self) -> int:
        """How many bytes have come on it that are no whole frame yet, or wait to be handled."""

    def leave_behind(self) -> None:
        """Drop what waits for it."""

    def turn_away(self) -> None:
        """End it, as there is too much to do."""


class Memory:
    """The sums, as they were when we looked last."""

    def __init__(self, limits: RelayLimits, connections: Callable[[], Iterable[Holding]]) -> None:
        self.held = 0
        """Bytes that wait for clients that do not read."""
        self.unread = 0
        """Bytes that have come and are not handled."""
        self._limits = limits
        self._connections = connections

    @property
    def fullness(self) -> float:
        """How much of a bound is taken, 1 being all of it."""
        return max(self.held / self._limits.outboxes_bytes, self.unread / self._limits.unread_bytes)

    def look(self) -> None:
        """Add everything up, and drop what is too much."""
        every = list(self._connections())
        self.held = sum(each.held_bytes for each in every)
        self.unread = sum(each.unread_bytes for each in every)
        if self.held > self._limits.outboxes_bytes:
            for each in sorted(every, key=_held_bytes, reverse=True):
                self.held -= each.held_bytes
                each.leave_behind()
                if self.held <= self._limits.outboxes_bytes:
                    break
        if self.unread > self._limits.unread_bytes:
            for each in sorted(every, key=_unread_bytes, reverse=True):
                self.unread -= each.unread_bytes
                each.turn_away()
                if self.unread <= self._limits.unread_bytes:
                    break


_held_bytes: Final = attrgetter("held_bytes")
_unread_bytes: Final = attrgetter("unread_bytes")
