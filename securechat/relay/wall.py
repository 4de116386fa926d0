"""The wall clock as far as it is believed when something is to be deleted for good.

A clock that is set far forward would have everything expire at once, and setting it right would not bring it back.
So a step of more than an hour, by which the wall clock has gone ahead of the other one since we looked last, is
believed when it has lasted for a day; until then time goes on from before it. A clock that is set back is believed
at once: things are only kept for longer by that. What happens while the relay does not run is not seen.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

STEP_MS: Final = 3_600_000
"""What is a step, and no clock that is a little wrong."""
DOUBT_S: Final = 24 * 3600.0
"""For how long a step is not believed."""


class Wall:
    """Asked now and then, once an hour at least."""

    def __init__(self, clock: IReactorTime, now_ms: Callable[[], int]) -> None:
        self._clock = clock
        self._now_ms = now_ms
        self._then_s = clock.seconds()
        self._then_ms = now_ms()
        """What was believed then."""
        self._doubted_s: float | None = None
        """Since when there has been a step."""

    def now_ms(self) -> int:
        """The time by which things expire, in milliseconds of Unix time."""
        now_s, wall_ms = self._clock.seconds(), self._now_ms()
        expected_ms = self._then_ms + round((now_s - self._then_s) * 1_000)
        if wall_ms - expected_ms > STEP_MS:
            if self._doubted_s is None:
                self._doubted_s = now_s
            if now_s - self._doubted_s < DOUBT_S:
                return expected_ms
        self._doubted_s = None
        self._then_s, self._then_ms = now_s, wall_ms
        return wall_ms
