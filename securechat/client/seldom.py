"""What others can make us ask of the relay, bounded: it must not use up what the relay lets us ask."""

from collections.abc import Hashable
from typing import Final

SPAN_MS: Final = 60_000
CAUSES: Final = 4_096
"""Causes that are remembered; the oldest is forgotten first."""


class Seldom:
    """Lets something happen so many times a minute for each cause."""

    def __init__(self, times: int) -> None:
        """Take how many times."""
        self._most = times
        self._times: dict[Hashable, list[int]] = {}

    def may(self, cause: Hashable, now_ms: int) -> bool:
        """Whether it may happen now for a cause; if so, it is taken to happen."""
        lately = [each for each in self._times.pop(cause, []) if 0 <= now_ms - each < SPAN_MS]
        allowed = len(lately) < self._most
        if allowed:
            lately.append(now_ms)
        self._times[cause] = lately
        if len(self._times) > CAUSES:
            del self._times[next(iter(self._times))]
        return allowed
