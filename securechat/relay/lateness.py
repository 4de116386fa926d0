"""How late the reactor's timers are: what everybody who waits for the relay waits at least.

A call every tenth of a second, which costs some microseconds, compares the clock with when it was due. What is told
is the worst of the last minute, so that a stall is seen whenever somebody asks within that minute; an average would
hide it, and a histogram says less to a person and not more to an alarm.
"""

from collections import deque
from typing import Final

from twisted.internet.interfaces import IReactorTime

from securechat.relay.beat import Beat

EVERY_S: Final = 0.1
WINDOW_S: Final = 60.0


class Lateness(Beat):
    """Measures while it runs."""

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(clock, EVERY_S)
        self._seen: deque[tuple[float, float]] = deque()

    def worst(self) -> float:
        """The most seconds that a timer was late in the last minute, the one that is due now included."""
        self._forget(self._clock.seconds())
        return max(self.overdue_s, max((each for _, each in self._seen), default=0.0))

    def beat(self, late_s: float) -> None:
        """Remember it for a minute."""
        now = self._clock.seconds()
        self._seen.append((now, late_s))
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._seen and self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()
