"""Whoever comes is listened to in their turn, so that those who are here hardly notice how many come.

A stranger costs much more than a message: a TLS handshake, signatures to be checked, perhaps a name to be written
down. So strangers are listened to one after the other, so many a second; what the others have said first waits, and
nothing more is read of them until it is their turn. Who says nothing takes nobody's turn.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

AT_ONCE: Final = 4
"""Strangers who are listened to at once where nobody came for a while."""


class Turns:
    """The line of those who wait. A rate of 0 makes nobody wait."""

    def __init__(self, clock: IReactorTime, per_s: float) -> None:
        self._clock = clock
        self._every_s = 1 / per_s if per_s else 0.0
        self._early_s = (AT_ONCE - 1) * self._every_s
        """How much earlier a turn can be had than at an even pace."""
        self._free_s = clock.seconds() - self._early_s
        """When the next one can be had."""
        self._waiting: dict[Callable[[], None], None] = {}
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self, call: Callable[[], None]) -> bool:
        """Take a turn, if it can be had now; `call` is made, and it is taken then, where it is not."""
        if self._call is None and self._free_s <= self._clock.seconds():
            self._give()
            return True
        self._waiting[call] = None
        self._wait()
        return False

    def leave(self, call: Callable[[], None]) -> None:
        """Wait no more, if it waits."""
        self._waiting.pop(call, None)
        if self._call is not None and not self._waiting:
            self._call.cancel()
            self._call = None

    def _give(self) -> None:
        self._free_s = max(self._free_s, self._clock.seconds() - self._early_s) + self._every_s

    def _wait(self) -> None:
        if self._call is None:
            self._call = self._clock.callLater(max(0.0, self._free_s - self._clock.seconds()), self._next)

    def _next(self) -> None:
        self._call = None
        self._give()
        call = next(iter(self._waiting))
        del self._waiting[call]
        if self._waiting:
            self._wait()
        call()
