"""When a lost link is tried again: after a wait that doubles, and that is drawn anew each time.

Drawn, so that those whom one relay has lost do not all come back at once; doubled, so that a relay that is down, or
that welcomes and drops at once, is left in peace. Each while that a link was up takes one doubling back: on a bad
line, whose links last for seconds, nobody waits for longer than they have to.
"""

from collections.abc import Callable
from math import exp2, log2
from random import random
from typing import Final

FIRST_S: Final = 0.5
MOST_S: Final = 30.0
FORGIVEN_S: Final = 2.0
"""How long a link is up for each doubling that it takes back."""


class Retry:
    """The waits of one link: the first one up to `first_s`, none over `most_s`, none under a half of `first_s`."""

    def __init__(
        self, first_s: float = FIRST_S, most_s: float = MOST_S, jitter: Callable[[], float] = random
    ) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._most_doublings = log2(most_s / first_s)
        self._jitter = jitter
        self._doublings = 0.0

    def wait_s(self, up_s: float) -> float:
        """Seconds until the next attempt, where one failed (0) or where a link is lost that was up for so long."""
        doublings = max(0.0, self._doublings - up_s / FORGIVEN_S)
        self._doublings = min(doublings + 1, self._most_doublings)
        least_s, most_s = self._first_s / 2, min(self._most_s, self._first_s * exp2(doublings))
        return least_s + self._jitter() * (most_s - least_s)
