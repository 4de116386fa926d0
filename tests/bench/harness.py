"""What tests of the benchmark stand on: rows, options, a clock moved by hand, surroundings without a machine."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from securechat.bench.command import Surroundings, run
from securechat.bench.crypto import NoYardstick, Yardstick
from securechat.bench.options import add_options
from securechat.bench.rows import LOOP, Name, Row
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.engine import Engine, Flags
from securechat.crypto.engines import EngineUnavailable

GONE = "it is not installed"


def row(name: Name = LOOP, n: int = 1, seconds: float = 1.0, ratio: float | None = 1.0, **others: Any) -> Row:
    """Make a row of sealing 64 bytes, whose rounds took all the same time."""
    fields: dict[str, Any] = {"operation": "seal", "size": 64, "fastest": seconds, "slowest": seconds, **others}
    return Row(*name, n=n, seconds=seconds, ratio=ratio, **fields)


def curve(name: Name, ratios: dict[int, float], **others: Any) -> list[Row]:
    """Make the rows of one way from its ratios by n, to a loop that takes a second for each message."""
    return [row(name, n, n / ratio, ratio, **others) for n, ratio in ratios.items()]


def parsed(*words: str) -> argparse.Namespace:
    """Parse options as the command does."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


@dataclass
class HandClock:
    """A clock that work moves, and looking at it too where that is wanted."""

    now: float = 0.0
    step: float = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        self.now += self.step
        return self.now

    def work(self, seconds: float) -> Callable[[], None]:
        """Make work that takes so long."""

        def working() -> None:
            self.now += seconds

        return working


class WatchedEngine(CpuEngine):
    """An engine that counts how often it was closed, and whose sealing a test may spoil."""

    name = "watched"

    def __init__(self, spoil: Callable[[], None] = lambda: None) -> None:
        """Begin open. `spoil` is called before each batch that is sealed packed."""
        self.closed = 0
        self._spoil = spoil

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        self._spoil()
        return super().seal(keys, ivs, associated, plaintext)

    def close(self) -> None:
        """Count."""
        self.closed += 1


class WrongSeal(CpuEngine):
    """An engine that seals one bit wrongly."""

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """Change the last byte."""
        right = super().seal(keys, ivs, associated, plaintext)
        wrong = right.buffer.copy()
        wrong[-1] ^= 1
        return Batch(wrong, right.offsets)


class WrongOpen(CpuEngine):
    """An engine that opens all but the last item."""

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """Refuse the last one."""
        texts, ok = super().open(keys, associated, sealed)
        ok = ok.copy()
        ok[-1] = False
        return texts, ok


class CpuYardstick(CpuEngine):
    """A yardstick that is none; it takes texts of up to 100 bytes."""

    longest_text = 100

    def __init__(self) -> None:
        """Begin open."""
        self.closed = False

    def close(self) -> None:
        """Remember."""
        self.closed = True


@dataclass
class Machine:
    """What a test says there is: engines by name, yardsticks, memory."""

    engines: dict[str, Engine | str] = field(
        default_factory=lambda: {"cpu": CpuEngine(), "native": GONE, "cuda": GONE}
    )
    """Each engine, or the reason against it."""
    ipsec_mb: Yardstick | None = None
    speed: Callable[[Sequence[str]], str] | None = None
    free_bytes: int | None = None
    open_gpu: Any = None
    others: dict[str, Any] = field(default_factory=dict)
    """More of Surroundings."""

    def around(self) -> Surroundings:
        """Give it as the benchmark takes it."""
        return Surroundings(
            survey=self.survey,
            choose=self.choose,
            build_ipsec_mb=self.build_ipsec_mb,
            speed=self.speed or self.no_speed,
            open_gpu=self.open_gpu,
            free_memory=lambda: self.free_bytes,
            **self.others,
        )

    def survey(self) -> dict[str, str | None]:
        """Tell which engines there are."""
        return {name: one if isinstance(one, str) else None for name, one in self.engines.items()}

    def choose(self, name: str) -> Engine:
        """Give one of them."""
        one = self.engines[name]
        if isinstance(one, str):
            raise EngineUnavailable(name, one)
        return one

    def build_ipsec_mb(self, folder: Path) -> Yardstick:
        """Give the yardstick, if there is one."""
        assert folder.is_dir()
        if self.ipsec_mb is None:
            raise NoYardstick(GONE)
        return self.ipsec_mb

    def no_speed(self, arguments: Sequence[str]) -> str:
        """Have no openssl."""
        raise NoYardstick(GONE)


@dataclass
class Ran:
    """What a run of the benchmark gave."""

    status: int
    out: str
    err: str


TINY = ("--sizes", "64", "--counts", "1", "--seconds", "0.001")


def bench(machine: Machine, *words: str) -> Ran:
    """Run the command with these options on what a test says there is."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = run(parsed(*words), machine.around())
    return Ran(status, out.getvalue(), err.getvalue())
