"""Engines whose time is a clock that they move themselves, and what else AutoEngine needs around it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import cast

from twisted.logger import ILogObserver, LogEvent, Logger

from securechat.crypto.costs import Costs, EngineCosts, Line, Shape
from securechat.crypto.cpu import CpuEngine
from tests.crypto.fakes import HandClock


def both(line: Line) -> EngineCosts:
    """Give an engine's costs that are this line for both operations."""
    return EngineCosts(Costs((line,)), Costs((line,)))


HOST = both(Line(1e-6, 1e-6, 0.0, 0.0))
ACCELERATOR = both(Line(30e-6, 1e-7, 0.0, 0.0))
"""Crosses HOST at 33 messages; 1.3 times as fast from 44 on, as slow up to 24."""


class TimedEngine(CpuEngine):
    """The CPU engine, whose batches take as long as its costs say. Writes down what it is asked."""

    def __init__(self, name: str, costs: EngineCosts, clock: HandClock) -> None:
        """Take all that."""
        self.name = name
        self.costs = costs
        self.clock = clock
        self.asked: list[tuple[str, int]] = []
        self.closed = 0
        self.usable = True
        self.slowness = 1.0
        self.failure: BaseException | None = None

    def seal_list(
        self,
        keys: bytes | Sequence[bytes],
        associated: Sequence[bytes],
        plaintexts: Sequence[bytes],
        ivs: Sequence[bytes] | None = None,
    ) -> list[bytes]:
        """Seal."""
        self._pass("seal", plaintexts)
        return super().seal_list(keys, associated, plaintexts, ivs)

    def open_list(
        self, keys: bytes | Sequence[bytes], associated: Sequence[bytes], sealed: Sequence[bytes]
    ) -> list[bytes | None]:
        """Open."""
        self._pass("open", sealed)
        return super().open_list(keys, associated, sealed)

    def close(self) -> None:
        """Count, or fail."""
        self.closed += 1
        if self.failure is not None:
            raise self.failure

    def _pass(self, what: str, items: Sequence[bytes]) -> None:
        if self.failure is not None:
            raise self.failure
        with suppress(TypeError):  # which the engine itself will raise
            self.asked.append((what, len(items)))
            shape = Shape(len(items), sum(map(len, items)), max(map(len, items), default=0))
            costs = self.costs.seal if what == "seal" else self.costs.open
            self.clock.now_s += costs.seconds(shape) * self.slowness


def log_into(events: list[LogEvent]) -> Logger:
    """Give a logger whose events come into a list."""
    return Logger(observer=cast(ILogObserver, events.append))
