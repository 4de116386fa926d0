"""`securechat bench crypto`: measures, and prints what where.

Standard output has the result: the table, with the machine above it, or with --json exactly one list of
rows, whose keys are those of rows.Row. Standard error has the rest: what could not be measured and why, and
with --json the machine and the table as it grows.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from securechat.bench import gpu, gpu_kernels, ipsec_mb, openssl
from securechat.bench.crossover import crossovers
from securechat.bench.crypto import (
    MEMORY_BYTES,
    BenchError,
    Cell,
    NoYardstick,
    Ways,
    Yardstick,
    check,
    grid,
    measure_cell,
)
from securechat.bench.facts import Facts, free_memory, machine, one_line
from securechat.bench.measure import Clock
from securechat.bench.options import Wish, read
from securechat.bench.plot import plot
from securechat.bench.report import HEAD, as_json, crossover_line, line
from securechat.bench.rows import Row, beside_loop
from securechat.bench.units import count_name, size_name
from securechat.bench.watch import is_usable, watch
from securechat.crypto import engines
from securechat.crypto.aead import CryptoError
from securechat.crypto.device import Device, DeviceMemoryError
from securechat.crypto.engine import Engine

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
BROKEN_PIPE: Final = 141
"""What the command returns; Ctrl-C is the caller's."""

_COPIES: Final = 8
"""By how much the free memory is divided for the text of one batch: some six copies exist, and others run too."""
_LEAST_MEMORY: Final = 1 << 20
_CHECKED: Final = 16

Say = Callable[[str], None]
"""Prints one line."""


def open_gpu() -> Device:
    """Open the first GPU through PyCUDA. Raises DeviceUnavailable."""
    device: Device = import_module("securechat.crypto.pycuda_device").open_device()
    return device


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the benchmark takes from the machine; tests bring their own."""

    survey: Callable[[], dict[str, str | None]] = engines.survey
    choose: Callable[[str], Engine] = engines.choose
    build_ipsec_mb: Callable[[Path], Yardstick] = ipsec_mb.build
    speed: openssl.Speed = openssl.run_speed
    open_gpu: Callable[[], Device] = open_gpu
    gpu_cases: Sequence[tuple[int, int]] = gpu_kernels.CASES
    piece_bytes: int = gpu.PIECE_BYTES
    free_memory: Callable[[], int | None] = free_memory
    clock: Clock = time.perf_counter


def run(options: argparse.Namespace, around: Surroundings | None = None) -> int:
    """Measure what the options ask for; return the exit status."""
    try:
        wish = read(options)
    except ValueError as wrong:
        print(f"securechat: {wrong}", file=sys.stderr)
        return USAGE
    try:
        with ExitStack() as stack:
            if wish.plot is not None:
                stack.callback(_drop_if_empty, wish.plot)
                wish.plot.open("a").close()  # minutes later would be a bad time to learn that it can't be written
            rows, facts = Bench(wish, around or Surroundings(), stack).measure()
            if wish.plot is not None:
                wish.plot.write_text(plot(rows, facts), encoding="utf-8")
            if wish.json:
                print(as_json(rows))
            sys.stdout.flush()
    except BenchError as wrong:
        print(f"securechat: {wrong}", file=sys.stderr)
        return FAILED
    except MemoryError:
        print("securechat: the memory is not enough; --memory leaves large batches out", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # Python would complain about it once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as wrong:
        print(f"securechat: {wrong.filename or 'output'}: {wrong.strerror}", file=sys.stderr)
        return FAILED
    return DONE


class Bench:
    """One run. What it opens is closed by the stack it is given."""

    def __init__(self, wish: Wish, around: Surroundings, stack: ExitStack) -> None:
        """Take what is wanted."""
        self._wish = wish
        self._around = around
        self._stack = stack
        self._table: Say = _to_stderr if wish.json else _to_stdout

    def measure(self) -> tuple[list[Row], str]:
        """Measure everything; give the rows, and one line about the machine. Raises BenchError."""
        cells = self._cells()
        facts = machine()
        usable = self._usable()
        device_rows = self._device_alone(facts) if gpu.ENGINE in usable else []
        about = one_line(facts)
        self._table(about)
        ways = Ways(self._engines(usable), self._ipsec_mb(), self._wish.paths)
        self._check(ways, cells)
        self._table(HEAD)
        rows = self._grid(cells, ways, gpu.copy_rates(device_rows))
        for row in (*self._openssl(rows), *device_rows):
            rows.append(beside_loop(row, rows))
            self._table(line(rows[-1]))
        for found in crossovers(rows):
            self._table(crossover_line(found))
        return rows, about

    def _cells(self) -> list[Cell]:
        """Give the cells for which there is memory. Raises BenchError where there is none."""
        most_bytes = self._wish.most_bytes
        if most_bytes is None:
            free = self._around.free_memory()
            share = MEMORY_BYTES if free is None else free // _COPIES // _LEAST_MEMORY * _LEAST_MEMORY
            most_bytes = max(_LEAST_MEMORY, min(MEMORY_BYTES, share))
        cells, left_out = grid(self._wish.sizes, self._wish.counts, most_bytes)
        for reason in left_out:
            self._missing("left out", reason)
        if not cells:
            raise BenchError("nothing is left to measure")
        return cells

    def _usable(self) -> list[str]:
        """Give the names of the engines to measure; say why others are missing."""
        usable = []
        for name, reason in self._around.survey().items():
            if name not in self._wish.engines:
                continue
            if reason is None:
                usable.append(name)
            else:
                self._missing(f"no {name} engine", reason, self._wish.demanded)
        return usable

    def _engines(self, usable: Sequence[str]) -> dict[str, Engine]:
        made: dict[str, Engine] = {}
        for name in usable:
            try:
                made[name] = self._around.choose(name)
            except CryptoError as wrong:
                reason = wrong.reason if isinstance(wrong, engines.EngineUnavailable) else str(wrong)
                self._missing(f"no {name} engine", reason, self._wish.demanded)
            else:
                self._stack.callback(made[name].close)
        if not made:
            raise BenchError("there is no engine to measure")
        return made

    def _ipsec_mb(self) -> dict[str, Yardstick]:
        if "ipsec-mb" not in self._wish.yardsticks or "packed" not in self._wish.paths:
            return {}
        try:
            folder = self._stack.enter_context(TemporaryDirectory(prefix="securechat-bench-"))
            built = self._around.build_ipsec_mb(Path(folder))
        except NoYardstick as wrong:
            self._missing("no ipsec-mb", str(wrong))
            return {}
        self._stack.callback(built.close)
        return {"ipsec-mb": built}

    def _check(self, ways: Ways, cells: Sequence[Cell]) -> None:
        """Be sure that all of them seal and open what the loop does, before their times mean anything."""
        for size, most in _counts(cells).items():
            n = min(most, _CHECKED)
            for name, engine in ways.engines.items():
                check(name, engine, size, n)
            for name, yardstick in ways.yardsticks.items():
                if size <= yardstick.longest_text:
                    check(name, yardstick, size, n)

    def _grid(self, cells: Sequence[Cell], ways: Ways, rates: gpu.Rates | None) -> list[Row]:
        rows: list[Row] = []
        for cell in cells:
            watches = {name: watch(engine) for name, engine in ways.engines.items()}
            found = measure_cell(cell, ways, self._wish.seconds / len(cells), self._around.clock)
            reasons = {name: one.why_not_own() for name, one in watches.items()}
            for row in found:
                if reasons.get(row.engine) is None:
                    rows.append(row if rates is None else gpu.with_limit(row, rates))
                    self._table(line(rows[-1]))
            for name, reason in reasons.items():
                if reason is not None:
                    self._not_its_own(name, ways.engines[name], cell, reason)
            left = {name: engine for name, engine in ways.engines.items() if is_usable(engine)}
            ways = replace(ways, engines=left)
        return rows

    def _not_its_own(self, name: str, engine: Engine, cell: Cell, reason: str) -> None:
        """Say that an engine has no rows for a cell; a run for the sake of an engine ends where that is lost."""
        where = f"{cell.operation} {size_name(cell.size)} x {count_name(cell.n)}"
        self._missing(f"no {name} engine at {where}", reason, self._wish.demanded and not is_usable(engine))

    def _openssl(self, rows: Sequence[Row]) -> list[Row]:
        if "openssl" not in self._wish.yardsticks:
            return []
        try:
            return openssl.estimates(_counts(rows), self._around.speed)
        except NoYardstick as wrong:
            self._missing("no openssl speed", str(wrong))
            return []

    def _device_alone(self, facts: Facts) -> list[Row]:
        """Measure the device before an engine has it; give its rows. Where it fails, there are those until then."""
        rows: list[Row] = []
        try:
            device = self._around.open_gpu()
            try:
                facts["gpu"] = f"{device.facts.name} ({device.facts.memory_bytes / (1 << 30):.0f} GiB)"
                for what, part in self._device_parts(device).items():
                    try:
                        rows += part()
                    except DeviceMemoryError as short:
                        self._missing(f"no {what} of the GPU alone", str(short))
            finally:
                device.close()
        except CryptoError as wrong:
            self._missing("no figures of the GPU alone" if not rows else "not all of the GPU alone", str(wrong))
        return rows

    def _device_parts(self, device: Device) -> dict[str, Callable[[], list[Row]]]:
        """Give what is measured of a device alone, each part by its name."""
        parts: dict[str, Callable[[], list[Row]]] = {
            "copies": partial(gpu.measure_copies, device, self._around.piece_bytes),
            "launches": partial(gpu.measure_launch, device, clock=self._around.clock),
        }
        for size, n in self._around.gpu_cases:
            what = f"kernels for {count_name(n)} x {size_name(size)}"
            parts[what] = partial(gpu_kernels.measure_kernels, device, size, n)
        return parts

    def _missing(self, what: str, reason: str, demanded: bool = False) -> None:
        """Say what is not measured. Raises BenchError where it was demanded."""
        if demanded:
            raise BenchError(f"{what}: {reason}")
        _to_stderr(f"{what}: {reason}")


def _counts(cells: Iterable[Cell | Row]) -> dict[int, int]:
    """Give the most messages of each size."""
    counts: dict[int, int] = {}
    for cell in cells:
        counts[cell.size] = max(counts.get(cell.size, 0), cell.n)
    return counts


def _to_stdout(text: str) -> None:
    print(text, flush=True)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _drop_if_empty(path: Path) -> None:
    """Remove a picture that was not drawn; an older one stays."""
    if path.is_file() and not path.stat().st_size:
        path.unlink()
