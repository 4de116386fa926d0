"""When an idle worker starts a batch: at once, or when enough waits, or when the first has waited long enough."""

from collections.abc import Callable
from math import isfinite
from typing import Any, Protocol

from securechat.crypto.gathering import Request


class Timer(Protocol):
    """A call that will be made later."""

    def cancel(self) -> None:
        """Do not make it."""


class Timers(Protocol):
    """The one thing that a deadline needs of a reactor (see IReactorTime)."""

    def callLater(self, delay: float, callable: Callable[..., object], /, *args: object) -> Any:
        """Call this after so many seconds, on the reactor's thread; give the Timer."""


class Deadline:
    """Tells whether to start, and sees to it that somebody asks again in time.

    There is a timer only while requests wait at an idle worker, and it is always for the one that has
    waited longest. Where nothing ever needs to wait there is never one, and `timers` is not touched.
    """

    def __init__(self, items: int, wait_s: float, timers: Timers, start: Callable[[], None]) -> None:
        """Wait for so many items, but for no request longer than `wait_s`; `start` is called when it is time."""
        if items < 1 or not (isfinite(wait_s) and wait_s >= 0):
            raise ValueError("flush_items, flush_s: at least 1 and at least 0, and finite")
        self._items = items
        self._wait_s = wait_s
        self._timers = timers
        self._start = start
        self._timer: Timer | None = None
        self._for: Request | None = None

    def due(self, oldest: Request | None, items: int, now_s: float) -> bool:
        """Tell whether a batch is to start: of those that wait, the oldest request, and how many items.

        Where it is not, `start` will be called when that request has waited long enough. One that is
        partly done has waited already.
        """
        if oldest is None or oldest.taken > 0 or items >= self._items or now_s - oldest.asked_s >= self._wait_s:
            self.cancel()
            return True
        if self._timer is None or self._for is not oldest:
            self.cancel()
            self._for = oldest
            self._timer = self._timers.callLater(oldest.asked_s + self._wait_s - now_s, self._ring)
        return False

    def cancel(self) -> None:
        """Forget the timer, if there is one."""
        timer, self._timer, self._for = self._timer, None, None
        if timer is not None:
            timer.cancel()

    def _ring(self) -> None:
        self._timer = self._for = None
        self._start()
