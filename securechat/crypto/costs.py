"""What a batch costs on an engine: a model of few numbers, fitted to timed batches. No clock, no engine, no disk.

One line is `fixed + per_item * items + per_byte * bytes + per_longest * longest item`, in seconds. The last
term is for a GPU, where an item is one chain of work that a thread walks alone while its neighbours wait.
Costs are the cheaper of at most two lines: an engine that spreads large batches over several threads is on
a flat line for them and on a steep one for small batches, and one line through both would be wrong about each.

No coefficient is negative, so a larger batch is never predicted to be cheaper.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, isfinite
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Operation = Literal["seal", "open"]
"""Each has costs of its own."""
OPERATIONS: Final[tuple[Operation, Operation]] = ("seal", "open")

MOST_S: Final = 1_000.0
"""No coefficient that was really measured is larger: not even a batch of one takes a quarter of an hour."""
_LEAST_IN_LINE: Final = 4
"""Samples that a line of its own needs, as many as it has coefficients."""
_GOOD_FIT: Final = 0.05
"""Where one line is right within this share, root mean square, a second one would only follow the noise."""

_Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """All that the model wants to know of a batch."""

    items: int
    """How many."""
    bytes: int
    """Of all texts or sealed messages with their associated data."""
    longest: int
    """Bytes of the longest text or sealed message."""

    @classmethod
    def even(cls, items: int, each: int) -> "Shape":
        """Give the shape of `items` messages of `each` bytes."""
        return cls(items, items * each, each)


@dataclass(frozen=True, slots=True)
class Sample:
    """A batch that was timed."""

    shape: Shape
    """What it was."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True, slots=True)
class Line:
    """Coefficients in seconds, none negative. Raises ValueError for what can't be any."""

    fixed: float
    per_item: float
    per_byte: float
    per_longest: float

    def __post_init__(self) -> None:
        """Refuse what no measurement gives."""
        numbers = (self.fixed, self.per_item, self.per_byte, self.per_longest)
        if not all(isfinite(each) and 0 <= each <= MOST_S for each in numbers) or not any(numbers):
            raise ValueError("a line: expected four coefficients of at least 0, not all 0")

    def seconds(self, shape: Shape) -> float:
        """Predict."""
        return (
            self.fixed
            + self.per_item * shape.items
            + self.per_byte * shape.bytes
            + self.per_longest * shape.longest
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """One operation on one engine: the cheaper of its lines."""

    lines: tuple[Line, ...]

    def __post_init__(self) -> None:
        """Refuse any other number of lines."""
        if not 1 <= len(self.lines) <= 2:
            raise ValueError("costs: expected one line or two")

    def seconds(self, shape: Shape) -> float:
        """Predict."""
        return min([line.seconds(shape) for line in self.lines])

    def as_json(self) -> list[list[float]]:
        """Give what `costs_from_json` takes."""
        return [[line.fixed, line.per_item, line.per_byte, line.per_longest] for line in self.lines]


@dataclass(frozen=True, slots=True)
class EngineCosts:
    """Both operations on one engine."""

    seal: Costs
    open: Costs

    def of(self, operation: Operation) -> Costs:
        """Give one operation's."""
        return self.seal if operation == "seal" else self.open

    def as_json(self) -> dict[str, list[list[float]]]:
        """Give what `engine_costs_from_json` takes."""
        return {operation: self.of(operation).as_json() for operation in OPERATIONS}


def costs_from_json(found: object) -> Costs:
    """Read what `Costs.as_json` gave. Raises ValueError for anything else."""
    if not isinstance(found, list):
        raise ValueError("costs: expected a list")
    lines = []
    for numbers in found:
        # A bool is an int to Python, and nothing that was measured.
        if not isinstance(numbers, list) or len(numbers) != 4 or not {float, int} >= set(map(type, numbers)):
            raise ValueError("a line: expected four numbers")
        try:
            lines.append(Line(*map(float, numbers)))
        except OverflowError:
            raise ValueError("a line: expected numbers of some size") from None
    return Costs(tuple(lines))


def engine_costs_from_json(found: object) -> EngineCosts:
    """Read what `EngineCosts.as_json` gave. Raises ValueError for anything else."""
    if not isinstance(found, dict) or set(found) != set(OPERATIONS):
        raise ValueError("an engine's costs: expected seal and open")
    return EngineCosts(costs_from_json(found["seal"]), costs_from_json(found["open"]))


def fit(samples: Iterable[Sample]) -> Costs:
    """Find the costs that explain the samples best, all shapes counting alike, by relative error.

    Of several samples of one shape the shortest counts: whatever else a machine does makes a batch longer,
    never shorter. Raises ValueError where there is none that took any time.
    """
    shortest: dict[Shape, float] = {}
    for sample in samples:
        if sample.seconds > 0:
            shortest[sample.shape] = min(sample.seconds, shortest.get(sample.shape, sample.seconds))
    if not shortest:
        raise ValueError("samples: expected at least one that took time")
    known = [Sample(shape, seconds) for shape, seconds in sorted(shortest.items(), key=lambda item: item[1])]
    one = Costs((_line(known),))
    error = _error(one, known)
    if error <= len(known) * _GOOD_FIT**2:
        return one
    # In a large batch no item is long beside all the rest, and few shapes are large: what only looks like a
    # cost of the longest item would be far off for one that is longer still.
    two = [
        Costs((_line(known[:cut]), _line(known[cut:], columns=3)))
        for cut in range(_LEAST_IN_LINE, len(known) - _LEAST_IN_LINE + 1)
    ]
    best = min(two, key=lambda costs: _error(costs, known), default=one)
    return best if _error(best, known) < error / 2 else one


def crossover(host: Costs, accelerator: Costs, each: int, most: int = 1 << 20) -> int | None:
    """Give the least number of messages of `each` bytes that cost no more on the accelerator; None up to `most`.

    It need not go on so: a host with many threads can be ahead again for very large batches.
    """
    found = []
    for ours in accelerator.lines:
        # This line must lie below each of the host's: each leaves a half of the axis, all together a piece of it.
        least, last = 1.0, float(most)
        for theirs in host.lines:
            steeper = (ours.per_item + ours.per_byte * each) - (theirs.per_item + theirs.per_byte * each)
            ahead = (theirs.fixed + theirs.per_longest * each) - (ours.fixed + ours.per_longest * each)
            if steeper > 0:
                last = min(last, ahead / steeper)
            elif steeper < 0:
                least = max(least, ahead / steeper)
            elif ahead < 0:
                last = 0.0
        if least <= last and ceil(least) <= last:
            found.append(ceil(least))
    return min(found, default=None)


def _error(costs: Costs, samples: Sequence[Sample]) -> float:
    return sum([(costs.seconds(sample.shape) / sample.seconds - 1) ** 2 for sample in samples])


def _line(samples: Sequence[Sample], columns: int = 4) -> Line:
    """Fit the first so many coefficients by least squares, none negative.

    With at most four of them, every set of those that are not 0 can be tried.
    """
    taken = np.array([sample.seconds for sample in samples])
    shapes = [sample.shape for sample in samples]
    known = np.array([[1.0, shape.items, shape.bytes, shape.longest] for shape in shapes]) / taken[:, None]
    scale = known.max(axis=0)
    scale[scale == 0] = 1.0
    known /= scale
    best, least = np.array([float(taken.min()), 0, 0, 0]), np.inf
    for size in range(1, columns + 1):
        for chosen in map(list, combinations(range(columns), size)):
            found = np.linalg.lstsq(known[:, chosen], np.ones(len(samples)), rcond=None)[0]
            error = float(((known[:, chosen] @ found - 1) ** 2).sum())
            # A larger set must earn its place: two columns can say the same of the few shapes there are.
            if (found >= 0).all() and found.any() and error < least * (1 - 1e-6) - 1e-12:
                best, least = _spread(found, chosen) / scale, error
    return Line(*best.tolist())


def _spread(found: _Matrix, chosen: list[int]) -> _Matrix:
    whole = np.zeros(4)
    whole[chosen] = found
    return whole
