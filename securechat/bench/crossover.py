"""From how many messages on one way is faster than another.

That is the least n from which on it stays ahead, up to the largest n that was measured. Between two
measured n the gain is taken for a straight line where both axes are logarithmic.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from securechat.bench.rows import LOOP, PATHS, Name, Row

ENGINES: Final = ("cpu", "native", "cuda")
"""Each is compared with the one in front that was measured too, and all with the loop."""


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where one way passes another."""

    operation: str
    size: int
    ahead: Name
    behind: Name
    n: float | None
    """From so many messages on; None where it is not ahead at the largest n."""
    inside: bool
    """Whether the lines really cross: False where it is ahead from the least n on, or not in the end."""

    def __str__(self) -> str:
        """Say it in a few words, without the operation and the size."""
        ahead, behind = (" ".join(name) if name != LOOP else "the loop" for name in (self.ahead, self.behind))
        if self.n is None:
            return f"{ahead} is not faster than {behind} in the end"
        about = "about " if self.inside else ""
        return f"{ahead} is faster than {behind} from n = {about}{self.n:.3g} on"


def crossovers(rows: Iterable[Row]) -> list[Crossover]:
    """Find all crossovers, for each operation and size that stands in the rows."""
    lines: dict[tuple[str, int], dict[Name, dict[int, Row]]] = {}
    for row in rows:
        lines.setdefault((row.operation, row.size), {}).setdefault(row.name, {})[row.n] = row
    return [
        Crossover(operation, size, ahead, behind, *first_ahead(gains))
        for (operation, size), found in lines.items()
        for ahead, behind in _pairs(found)
        if (gains := _gains(found, ahead, behind))
    ]


def first_ahead(gains: Sequence[tuple[int, float]]) -> tuple[float | None, bool]:
    """Give the n from which on a gain stays at 1 or above, and whether that lies inside what was measured.

    `gains` are pairs of n and gain, by n, at least one.
    """
    after: tuple[int, float] | None = None
    for n, gain in reversed(gains):
        if gain < 1:
            if after is None:
                return None, False
            part = math.log(gain) / (math.log(gain) - math.log(after[1]))
            return n * (after[0] / n) ** part, True
        after = n, gain
    return float(gains[0][0]), False


def _pairs(found: dict[Name, dict[int, Row]]) -> list[tuple[Name, Name]]:
    pairs = []
    for name in found:
        if name[0] not in ENGINES or name[1] not in PATHS or LOOP not in found:
            continue
        pairs.append((name, LOOP))
        earlier = [(engine, name[1]) for engine in ENGINES[: ENGINES.index(name[0])]]
        pairs += [(name, other) for other in earlier if other in found][-1:]
    return pairs


def _gains(found: dict[Name, dict[int, Row]], ahead: Name, behind: Name) -> list[tuple[int, float]]:
    """Compare by the ratios to the loop, each of which was taken within its rounds."""
    gains = []
    for n in sorted(found[ahead].keys() & found[behind].keys()):
        better, worse = found[ahead][n].ratio, found[behind][n].ratio
        if better is not None and worse is not None:
            gains.append((n, better / worse))
    return gains
