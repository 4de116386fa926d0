"""Engines whose time is a clock that they move themselves, and what else AutoEngine needs around it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent

from securechat.crypto.auto import AutoEngine
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.cost_cache import CostCache, cost_key
from securechat.crypto.costs import Costs, EngineCosts, Line, Shape
from securechat.crypto.cpu import CpuEngine
from tests.crypto.fakes import HandClock, HandLane


def both(line: Line) -> EngineCosts:
    """Give an engine's costs that are this line for both operations."""
    return EngineCosts(Costs((line,)), Costs((line,)))


HOST = both(Line(1e-6, 1e-6, 0.0, 0.0))
ACCELERATOR = both(Line(30e-6, 1e-7, 0.0, 0.0))
"""Crosses HOST at 33 messages; 1.3 times as fast from 44 on, as slow up to 24."""
BUDGET_S = 0.005
"""Time on the hand's clock; sealing what fits into it takes some ten times as long."""
KNOWN = {"host": HOST, "far": ACCELERATOR}


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
        self.why_lost: str | None = None
        self.loses_device = False
        self.slowness = 1.0
        self.failure: BaseException | None = None
        self.close_failure: BaseException | None = None

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """Seal a packed batch."""
        self._pass("seal", plaintext.split())
        return super().seal(keys, ivs, associated, plaintext)

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
        if self.close_failure is not None:
            raise self.close_failure

    def _pass(self, what: str, items: Sequence[bytes]) -> None:
        if self.failure is not None:
            raise self.failure
        with suppress(TypeError):  # which the engine itself will raise
            self.asked.append((what, len(items)))
            shape = Shape(len(items), sum(map(len, items)), max(map(len, items), default=0))
            costs = self.costs.seal if what == "seal" else self.costs.open
            self.clock.now_s += costs.seconds(shape) * self.slowness
            self.usable = self.usable and not self.loses_device


def log_into(events: list[LogEvent]) -> Logger:
    """Give a logger whose events come into a list."""
    return Logger(observer=cast(ILogObserver, events.append))


class KnownCosts(CostCache):
    """A cache in memory, which may know costs by engine name already, and writes down what it is asked."""

    def __init__(self, **known: EngineCosts) -> None:
        """Take what it knows."""
        self.known = {cost_key(name): costs for name, costs in known.items()}
        self.kept: list[str] = []
        self.asked: list[str] = []

    def find(self, key: str) -> EngineCosts | None:
        """Give what is known."""
        self.asked.append(key)
        return self.known.get(key)

    def keep(self, key: str, costs: EngineCosts) -> None:
        """Know it from now on."""
        self.kept.append(key)
        self.known[key] = costs


class AutoRig:
    """An AutoEngine on timed engines, with the thread beside moved by hand."""

    def __init__(self, known: dict[str, EngineCosts] | None = None) -> None:
        """Make one; what the engines cost is known unless other costs are given."""
        self.clock = HandClock()
        self.lane = HandLane()
        self.events: list[LogEvent] = []
        self.hosts: list[TimedEngine] = []
        self.accelerators: list[TimedEngine] = []
        self.cannot: BaseException | None = None
        self.configure: Callable[[TimedEngine], object] = lambda far: None
        self.cache = KnownCosts(**(KNOWN if known is None else known))
        self.engine = AutoEngine(
            self.make_host,
            self.open_accelerator,
            cache=self.cache,
            lane=self.lane,
            seconds=self.clock.seconds,
            budget_s=BUDGET_S,
            log=log_into(self.events),
        )

    def make_host(self) -> TimedEngine:
        """Make a host's engine."""
        self.hosts.append(TimedEngine("host", HOST, self.clock))
        return self.hosts[-1]

    def open_accelerator(self) -> TimedEngine:
        """Open the accelerator, or fail."""
        if self.cannot is not None:
            raise self.cannot
        self.accelerators.append(TimedEngine("far", ACCELERATOR, self.clock))
        self.configure(self.accelerators[-1])
        return self.accelerators[-1]

    def seal(self, count: int) -> str:
        """Seal so many messages; give the name of the engine that did."""
        before = sum(len(each.asked) for each in self.accelerators)
        sealed = self.engine.seal_list(bytes(64), [b""] * count, [b"text"] * count)
        assert len(sealed) == count
        return "host" if before == sum(len(each.asked) for each in self.accelerators) else "far"

    def open(self) -> TimedEngine:
        """Have the accelerator opened; give it."""
        self.seal(1)
        self.lane.run()
        self.seal(1)
        return self.accelerators[-1]

    def said(self) -> list[str]:
        """Give what was logged, as text."""
        return [formatEvent(event) for event in self.events]
