"""How late the reactor's timers are: what everybody who waits for the relay waits at least.

A call every tenth of a second, which costs some microseconds, compares the clock with when it was due. What is told
is the worst of the last minute, so that a stall is seen whenever somebody asks within that minute; an average would
hide it, and a histogram says less to a person and not more to an alarm.
"""

from collections import deque
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

EVERY_S: Final = 0.1
WINDOW_S: Final = 60.0


class Lateness(Service):
    """Measures while it runs."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque()
        self._due = 0.0
        self._call: IDelayedCall | None = None

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._wait()

    def stopService(self) -> None:
        """End."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        super().stopService()

    def worst(self) -> float:
        """The most seconds that a timer was late in the last minute, the one that is due now included."""
        now = self._clock.seconds()
        self._forget(now)
        late = max((each for _, each in self._seen), default=0.0)
        return late if self._call is None else max(late, now - self._due)

    def _wait(self) -> None:
        self._due = self._clock.seconds() + EVERY_S
        self._call = self._clock.callLater(EVERY_S, self._came)

    def _came(self) -> None:
        now = self._clock.seconds()
        self._seen.append((now, max(0.0, now - self._due)))
        self._forget(now)
        self._wait()

    def _forget(self, now: float) -> None:
        while self._seen and self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()
