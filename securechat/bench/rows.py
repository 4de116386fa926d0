"""What a measurement gives: one row for each way of doing the same."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

Name = tuple[str, str]
"""An engine and a path through it."""
LOOP: Final[Name] = ("cryptography", "loop")
"""What everything is compared with: one message after the other."""
PATHS: Final = ("list", "packed", "list-1key")
"""The ways through an engine, see crypto."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result. These are the keys of `--json` too, None being null there."""

    engine: str
    """What did it: cryptography, an engine's name, ipsec-mb, openssl."""
    path: str
    """How it was asked: loop, again, list, packed, ...; see crypto, yardsticks and gpu."""
    operation: str
    """seal or open; what else a device does alone stands in gpu."""
    size: int
    """The bytes of one text."""
    n: int
    """How many messages one call took."""
    seconds: float
    """Of one call, for all n messages: the median of the rounds."""
    fastest: float
    """The same of the fastest round."""
    slowest: float
    """And of the slowest."""
    ratio: float | None
    """How many times as fast as the loop of the same run; None where there is no such loop."""
    limit_seconds: float | None = None
    """What the same bytes take over PCIe at the rates of the same run; None where nothing crosses it."""
    of_limit: float | None = None
    """The rate as a part of that limit's: 1 would be as fast as the bytes can cross."""

    @property
    def name(self) -> Name:
        """Engine and path."""
        return self.engine, self.path

    @property
    def rate(self) -> float:
        """Bytes of text in a second."""
        return self.n * self.size / self.seconds


def beside_loop(row: Row, rows: Iterable[Row]) -> Row:
    """Give a row that was measured by itself its ratio to the loop of these rows, message by message.

    That is the loop of the same operation and size with the most messages; without one there is no ratio.
    """
    loops = [one for one in rows if one.name == LOOP and (one.operation, one.size) == (row.operation, row.size)]
    if not loops:
        return row
    loop = max(loops, key=lambda one: one.n)
    return replace(row, ratio=(loop.seconds / loop.n) / (row.seconds / row.n))
