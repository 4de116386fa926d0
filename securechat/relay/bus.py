"""Hints: what is worth a look, told to whoever it may concern, here and one day on other nodes.

A hint is no news. It says where to look, or which of two things is the later one; what is true stands elsewhere, in
the rows of the store and in what this process has in memory of them. So one that never comes only delays, and one
that comes twice or late finds nothing to do. That is what lets several relays share one database, whose
notifications get lost with each connection:

- **here** whoever listens hears a hint at once, before the call that says it returns;
- **elsewhere** it comes later, twice, or not at all. A bus that has an elsewhere says again what the rows say, when
  it has connected and every other second: that heals whatever got lost.

`LocalBus` has no elsewhere. Nothing gets lost between two calls in one process, and a crash takes those who listen
with it, so nothing is said again.
"""

from collections.abc import Callable
from typing import Protocol

Reached = Callable[[str, int], None]
Moved = Callable[[bytes, int], None]


class Bus(Protocol):
    """Passes hints on. Whoever listens may hear any of them at any time, and as often as it likes to come."""

    def reached(self, room: str, seq: int) -> None:
        """The messages of a room are kept up to a number. Said after the commit, once for a batch and room."""

    def moved(self, identity: bytes, term: int) -> None:
        """The name of an identity key has moved to another link, the one of a term; links of earlier terms end."""

    def hear_reached(self, handler: Reached) -> None:
        """Have a handler hear how far rooms are."""

    def hear_moved(self, handler: Moved) -> None:
        """Have a handler hear which names have moved."""


class LocalBus:
    """That of a relay which is alone."""

    def __init__(self) -> None:
        self._reached: list[Reached] = []
        self._moved: list[Moved] = []

    def reached(self, room: str, seq: int) -> None:
        """Tell those who listen."""
        for handler in self._reached:
            handler(room, seq)

    def moved(self, identity: bytes, term: int) -> None:
        """Tell those who listen."""
        for handler in self._moved:
            handler(identity, term)

    def hear_reached(self, handler: Reached) -> None:
        """Have a handler hear how far rooms are."""
        self._reached.append(handler)

    def hear_moved(self, handler: Moved) -> None:
        """Have a handler hear which names have moved."""
        self._moved.append(handler)
