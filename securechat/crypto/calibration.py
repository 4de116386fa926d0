"""Timing an engine for a moment, to learn its costs.

What is timed are lists, each message under its own key, as the worker asks for them. Shapes come in the order
of their work, so that a slow engine has at least its small batches timed; then all again while time is
left, because only the shortest time of each shape counts and the first one has had to warm things up.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securechat.crypto.aead import KEY_BYTES
from securechat.crypto.costs import EngineCosts, Operation, Sample, Shape, fit
from securechat.crypto.engine import Engine

BUDGET_S: Final = 0.13
"""For one engine. Two are timed at a start, and fitting takes some milliseconds: 0.3 s in all."""
ASSOCIATED: Final = bytes(32)
SHAPES: Final = (
    (1, 200),
    (8, 200),
    (1, 4_096),
    (64, 200),
    (16, 1_024),
    (1, 16_384),
    (256, 200),
    (128, 1_024),
    (32, 16_384),
    (1_024, 1_024),
    (4_096, 200),
    (4_096, 1_024),
    (16_384, 200),
)
"""Messages, and bytes of each. The largest fill a GPU and all processors; single ones show what a chain costs."""


@dataclass(frozen=True, slots=True)
class _Material:
    keys: list[bytes]
    associated: list[bytes]
    texts: list[bytes]
    shape: Shape


def calibrate(
    engine: Engine,
    seconds: Callable[[], float],
    budget_s: float = BUDGET_S,
    stopped: Callable[[], bool] = lambda: False,
) -> EngineCosts:
    """Time an engine by the clock `seconds` for about `budget_s`, and give its costs.

    It ends before a batch that would not fit into the budget, or once `stopped` says so. One message
    is sealed and opened anyway. Raises whatever the engine raises, and ValueError where no time passes.
    """
    stopwatch = _Stopwatch(engine, seconds, budget_s, stopped)
    stopwatch.once(*SHAPES[0])
    while stopwatch.round():
        pass
    return EngineCosts(fit(stopwatch.samples["seal"]), fit(stopwatch.samples["open"]))


class _Stopwatch:
    """One calibration."""

    def __init__(
        self, engine: Engine, seconds: Callable[[], float], budget_s: float, stopped: Callable[[], bool]
    ) -> None:
        self._engine = engine
        self._seconds = seconds
        self._stopped = stopped
        self._ends_s = seconds() + budget_s
        self._last = SHAPES[0]
        self._took: dict[tuple[int, int], float] = {}
        self._materials: dict[tuple[int, int], _Material] = {}
        self.samples: dict[Operation, list[Sample]] = {"seal": [], "open": []}

    def round(self) -> bool:
        """Time every shape for which there is time; tell whether there was for any."""
        any_of_them = False
        for count, each in SHAPES:
            left_s = self._ends_s - self._seconds()
            if not self._stopped() and left_s > 0 and self._expected_s(count, each) <= left_s:
                self.once(count, each)
                any_of_them = True
        return any_of_them

    def once(self, count: int, each: int) -> None:
        """Time one shape, sealed and opened."""
        begun = self._seconds()
        material = self._material(count, each)
        before = self._seconds()
        sealed = self._engine.seal_list(material.keys, material.associated, material.texts)
        between = self._seconds()
        self._engine.open_list(material.keys, material.associated, sealed)
        after = self._seconds()
        grown = Shape.even(count, len(sealed[0]))
        opened = Shape(count, grown.bytes + count * len(ASSOCIATED), grown.longest)
        self.samples["seal"].append(Sample(material.shape, between - before))
        self.samples["open"].append(Sample(opened, after - between))
        self._last = count, each
        self._took[self._last] = after - begun

    def _expected_s(self, count: int, each: int) -> float:
        """Foretell how long a shape takes: as long as the last time.

        At first, as many times as long as the shape before it as it has more items or more bytes: that is
        too long for most engines, and not too short for any.
        """
        items, size = self._last
        times = max(count / items, count * each / (items * size))
        return self._took.get((count, each), times * self._took[self._last])

    def _material(self, count: int, each: int) -> _Material:
        found = self._materials.get((count, each))
        if found is None:
            drawn = os.urandom(KEY_BYTES * count)
            keys = [drawn[at : at + KEY_BYTES] for at in range(0, len(drawn), KEY_BYTES)]
            shape = Shape(count, count * (each + len(ASSOCIATED)), each)
            found = _Material(keys, [ASSOCIATED] * count, [bytes(each)] * count, shape)
            self._materials[count, each] = found
        return found
