"""Sealing and opening on a grid of sizes and counts: the loop, every engine by list and packed, ipsec-mb.

Every way seals and opens the same n messages, each under a key of its own, with 32 bytes of associated
data. The paths:

    loop        what one writes with `cryptography` alone, see loop; the ratio's 1
    again       the same once more: how far from 1 its ratio comes out is what a difference has to exceed
    list        `bytes` in and out: seal_list and open_list
    packed      numpy arrays and batches in and out: seal and open
    list-1key   list with one key for all messages

Packed sealing is given its ivs, the others draw theirs, as their callers would.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from securechat.bench.loop import loop_open, loop_seal
from securechat.bench.material import make_sealed, make_texts
from securechat.bench.measure import Clock, drive, rows, timer, turns
from securechat.bench.rows import LOOP, Name, Row
from securechat.bench.units import count_name, size_name
from securechat.crypto.aead import MIN_SEALED_BYTES, sealed_bytes
from securechat.crypto.batch import Batch
from securechat.crypto.engine import MAX_ITEM_BYTES, MAX_TOTAL_BYTES, Engine
from securechat.crypto.packing import Packed

SIZES: Final = (64, 200, 1024, 4096, 16384)
COUNTS: Final = (1, 16, 256, 4096, 65536)
QUICK_SIZES: Final = (200, 4096)
QUICK_COUNTS: Final = (1, 16, 256)
OPERATIONS: Final = ("seal", "open")
LONGEST_TEXT: Final = MAX_ITEM_BYTES - MIN_SEALED_BYTES
MEMORY_BYTES: Final = 1 << 30
"""The most text in one batch where nothing else is asked for and the machine has room for its copies."""

_MESSAGE_BYTES: Final = 512
"""What a short message takes all the same: its key, and Python's objects."""

Run = Callable[[], object]
"""Does all n messages once."""


class BenchError(Exception):
    """The benchmark cannot go on. Its text is one line for the user."""


class NoYardstick(Exception):  # noqa: N818
    """A yardstick cannot be used here. Its text is the reason, in one line for a person."""


class Yardstick(Packed, Protocol):
    """Something from outside that does the same on batches whose texts are equally long."""

    @property
    def longest_text(self) -> int:
        """The longest text that it takes."""

    def close(self) -> None:
        """Give back whatever it holds."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of the grid."""

    operation: str
    size: int
    n: int


@dataclass(frozen=True, slots=True)
class Ways:
    """What is to be measured beside the loop."""

    engines: Mapping[str, Engine]
    """By name; at least one."""
    yardsticks: Mapping[str, Yardstick]
    paths: Sequence[str]
    """Of PATHS."""


def grid(sizes: Iterable[int], counts: Sequence[int], most_bytes: int) -> tuple[list[Cell], list[str]]:
    """Give the cells of these sizes and counts, and a line about each pair that has too many bytes."""
    cells, left_out = [], []
    for size in sizes:
        for n in counts:
            pair = f"{count_name(n)} x {size_name(size)}"
            if n * max(size, _MESSAGE_BYTES) > most_bytes:
                left_out.append(f"{pair}: more than {size_name(most_bytes)} at once, which --memory bounds")
            elif n * sealed_bytes(size) > MAX_TOTAL_BYTES or size > LONGEST_TEXT:
                left_out.append(f"{pair}: more than engines take in one call")
            else:
                cells += [Cell(operation, size, n) for operation in OPERATIONS]
    return cells, left_out


def runs(cell: Cell, ways: Ways) -> dict[Name, Run]:
    """Make everything that is to be timed for one cell, the loop first."""
    return _seals(cell, ways) if cell.operation == "seal" else _opens(cell, ways)


def measure_cell(cell: Cell, ways: Ways, budget_s: float, clock: Clock = time.perf_counter) -> list[Row]:
    """Time everything for one cell in turns, for about so many seconds."""
    wanted = runs(cell, ways)
    timers = {name: timer(run, clock) for name, run in wanted.items()}
    return rows(drive(turns(list(wanted), budget_s), timers), cell.operation, cell.size, cell.n)


def check(name: str, engine: Packed, size: int, n: int) -> None:
    """Let an engine and the loop open each other's messages. Raises BenchError where that does not work."""
    texts = make_texts(size, n)
    sealed = engine.seal(texts.keys, texts.ivs, texts.associated, texts.items)
    by_loop = loop_seal(texts.key_list, texts.associated_list, texts.item_list)
    try:
        opened = loop_open(texts.key_list, texts.associated_list, sealed.split())
    except ValueError:
        opened = []
    if opened != texts.item_list:
        raise BenchError(f"the loop does not open what {name} sealed ({size_name(size)})")
    back, ok = engine.open(texts.keys, texts.associated, Batch.join(by_loop))
    if not ok.all() or back.split() != texts.item_list:
        raise BenchError(f"{name} does not open what the loop sealed ({size_name(size)})")


def _seals(cell: Cell, ways: Ways) -> dict[Name, Run]:
    it = make_texts(cell.size, cell.n)
    loop = partial(loop_seal, it.key_list, it.associated_list, it.item_list)
    wanted: dict[Name, Run] = {LOOP: loop, ("cryptography", "again"): loop}
    for name, engine in ways.engines.items():
        calls: dict[str, Run] = {
            "list": partial(engine.seal_list, it.key_list, it.associated_list, it.item_list),
            "packed": partial(engine.seal, it.keys, it.ivs, it.associated, it.items),
            "list-1key": partial(engine.seal_list, it.key_list[0], it.associated_list, it.item_list),
        }
        wanted |= {(name, path): calls[path] for path in ways.paths}
    for name, yardstick in _fitting(cell, ways).items():
        wanted[name, "packed"] = partial(yardstick.seal, it.keys, it.ivs, it.associated, it.items)
    return wanted


def _opens(cell: Cell, ways: Ways) -> dict[Name, Run]:
    first = next(iter(ways.engines.values()))
    it = make_sealed(cell.size, cell.n, first)
    one = make_sealed(cell.size, cell.n, first, one_key=True) if "list-1key" in ways.paths else it
    loop = partial(loop_open, it.key_list, it.associated_list, it.item_list)
    wanted: dict[Name, Run] = {LOOP: loop, ("cryptography", "again"): loop}
    for name, engine in ways.engines.items():
        calls: dict[str, Run] = {
            "list": partial(engine.open_list, it.key_list, it.associated_list, it.item_list),
            "packed": partial(engine.open, it.keys, it.associated, it.items),
            "list-1key": partial(engine.open_list, one.key_list[0], one.associated_list, one.item_list),
        }
        wanted |= {(name, path): calls[path] for path in ways.paths}
    for name, yardstick in _fitting(cell, ways).items():
        wanted[name, "packed"] = partial(yardstick.open, it.keys, it.associated, it.items)
    return wanted


def _fitting(cell: Cell, ways: Ways) -> dict[str, Yardstick]:
    """Give the yardsticks that take texts of this size; they know batches only."""
    if "packed" not in ways.paths:
        return {}
    return {name: one for name, one in ways.yardsticks.items() if cell.size <= one.longest_text}
