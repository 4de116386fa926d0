"""Whether the relay has as much to do as it can: then nobody and nothing new is let in, and what is there goes on.

Four times a second we look at three things: how late timers are, as everybody waits for as long; for how long a
commit has been under way, as all answers wait for it; and how much memory waits for clients. One of them over its
mark, timers for a second on end, is too much; less than a good deal below all marks for two seconds is not too much
any more. In between nothing changes, so that it does not go to and fro.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from securechat.relay.beat import Beat
from securechat.relay.memory import Memory

EVERY_S: Final = 0.25
LATE_S: Final = 0.25
"""Timers that are so late, each of the last `LATE_LOOKS`, are too late."""
LATE_LOOKS: Final = 4
COMMITTING_S: Final = 2.0
FULLNESS: Final = 0.75
CALM: Final = 0.4
"""How much of each mark is little enough."""
CALM_LOOKS: Final = 8


class Load(Beat):
    """Looks while it runs; `committing_s` says for how long a commit has been under way."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, committing_s: Callable[[], float], memory: Memory) -> None:
        super().__init__(clock, EVERY_S)
        self._is_too_much = False
        self.times = 0
        """How often it became too much."""
        self.memory = memory
        self._committing_s = committing_s
        self._late: deque[float] = deque(maxlen=LATE_LOOKS)
        self._calm_looks = 0

    def is_too_much(self) -> bool:
        """Whether nobody and nothing new should be let in."""
        return self._is_too_much

    def beat(self, late_s: float) -> None:
        """Look."""
        self.memory.look()
        # How much there is of each, 1 being the mark.
        amounts = {
            "timers are late": late_s / LATE_S,
            "the store is slow": self._committing_s() / COMMITTING_S,
            "memory is full": self.memory.fullness / FULLNESS,
        }
        self._calm_looks = self._calm_looks + 1 if max(amounts.values()) < CALM else 0
        self._late.append(amounts["timers are late"])
        # One stall is none that will go on.
        amounts["timers are late"] = min(self._late) if len(self._late) == LATE_LOOKS else 0.0
        self._judge([what for what, amount in amounts.items() if amount >= 1])

    def _judge(self, too_much: list[str]) -> None:
        if too_much and not self._is_too_much:
            self._is_too_much = True
            self.times += 1
            self._log.warn("too much to do ({why}): nobody and nothing new is let in", why=", ".join(too_much))
        elif self._is_too_much and self._calm_looks >= CALM_LOOKS:
            self._is_too_much = False
            self._log.info("there is time for others again")
