"""`securechat bench crypto`: measures, and prints what where.

Standard output has the result: the table, with the machine above it, or with --json exactly one list of
rows, whose keys are those of rows.Row. Standard error has the rest: what could not be measured and why, and
with --json the machine and the table as it grows.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from securechat.bench import gpu, gpu_kernels, ipsec_mb, openssl
from securechat.bench.crossover import crossovers
from securechat.bench.crypto import BenchError, Ways, Yardstick, check, grid, measure_cell
from securechat.bench.facts import machine, one_line
from securechat.bench.measure import Clock
from securechat.bench.options import Wish, read
from securechat.bench.plot import plot
from securechat.bench.report import HEAD, as_json, crossover_line, line
from securechat.bench.rows import Row, beside_loop
from securechat.bench.units import size_name
from securechat.crypto import cuda, engines
from securechat.crypto.aead import CryptoError
from securechat.crypto.device import Device
from securechat.crypto.engine import Engine

DONE, FAILED, USAGE, BROKEN_PIPE = 0, 1, 2, 141
"""What the command returns; Ctrl-C is the caller's."""

Say = Callable[[str], None]
"""Prints one line."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the benchmark takes from the machine; tests bring their own."""

    survey: Callable[[], dict[str, str | None]] = engines.survey
    choose: Callable[[str], Engine] = engines.choose
    build_ipsec_mb: Callable[[Path], Yardstick] = ipsec_mb.build
    speed: openssl.Speed = openssl.run_speed
    open_gpu: Callable[[], Device] = cuda.open_pycuda
    gpu_cases: Sequence[tuple[int, int]] = gpu_kernels.CASES
    piece_bytes: int = gpu.PIECE_BYTES
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
            if wish.json:
                print(as_json(rows))
            if wish.plot is not None:
                wish.plot.write_text(plot(rows, facts), encoding="utf-8")
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
        facts = machine()
        usable = self._usable()
        device_rows, rates = self._device_alone(facts) if gpu.ENGINE in usable else ([], None)
        about = one_line(facts)
        self._table(about)
        ways = Ways(self._engines(usable), self._ipsec_mb(), self._wish.paths)
        self._check(ways)
        self._table(HEAD)
        rows = self._grid(ways, rates)
        if not rows:
            raise BenchError("nothing is left to measure")
        for row in (*self._openssl(rows), *device_rows):
            rows.append(beside_loop(row, rows))
            self._table(line(rows[-1]))
        for found in crossovers(rows):
            self._table(crossover_line(found))
        return rows, about

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
        except ipsec_mb.NoYardstick as wrong:
            self._missing("no ipsec-mb", str(wrong))
            return {}
        self._stack.callback(built.close)
        return {"ipsec-mb": built}

    def _check(self, ways: Ways) -> None:
        """Be sure that all of them seal and open what the loop does, before their times mean anything."""
        for size in self._wish.sizes:
            for name, engine in ways.engines.items():
                check(name, engine, size)
            for name, yardstick in ways.yardsticks.items():
                if size <= yardstick.longest_text:
                    check(name, yardstick, size)

    def _grid(self, ways: Ways, rates: gpu.Rates | None) -> list[Row]:
        cells, left_out = grid(self._wish.sizes, self._wish.counts, self._wish.most_bytes)
        for reason in left_out:
            self._missing("left out", reason)
        rows: list[Row] = []
        watch = gpu.Watch(ways.engines.get(gpu.ENGINE))
        for cell in cells:
            found = measure_cell(cell, ways, self._wish.seconds / len(cells), self._around.clock)
            elsewhere = watch.why_elsewhere()
            if elsewhere is not None:
                self._missing(f"no cuda {cell.operation} of {cell.n} x {size_name(cell.size)}", elsewhere)
                found = [row for row in found if row.engine != gpu.ENGINE]
            for row in found:
                rows.append(row if rates is None else gpu.with_limit(row, rates))
                self._table(line(rows[-1]))
        return rows

    def _openssl(self, rows: Sequence[Row]) -> list[Row]:
        if "openssl" not in self._wish.yardsticks:
            return []
        sizes = list(dict.fromkeys(row.size for row in rows))
        try:
            return openssl.estimates(sizes, max(row.n for row in rows), self._around.speed)
        except ipsec_mb.NoYardstick as wrong:
            self._missing("no openssl speed", str(wrong))
            return []

    def _device_alone(self, facts: dict[str, str | int]) -> tuple[list[Row], gpu.Rates | None]:
        """Measure the device before an engine has it; give its rows, and the rates of its copies."""
        rows: list[Row] = []
        rates = None
        try:
            device = self._around.open_gpu()
            try:
                facts["gpu"] = f"{device.facts.name} ({size_name(device.facts.memory_bytes)})"
                rows, rates = gpu.measure_copies(device, self._around.piece_bytes)
                rows.append(gpu.measure_launch(device, clock=self._around.clock))
                for size, n in self._around.gpu_cases:
                    tell = partial(_tell_shapes, f"{n} x {size_name(size)}")
                    rows += gpu_kernels.measure_kernels(device, size, n, tell=tell)
            finally:
                device.close()
        except CryptoError as wrong:
            self._missing("no figures of the GPU alone" if not rows else "not all of the GPU alone", str(wrong))
        return rows, rates

    def _missing(self, what: str, reason: str, demanded: bool = False) -> None:
        """Say what is not measured. Raises BenchError where it was demanded."""
        if demanded:
            raise BenchError(f"{what}: {reason}")
        _to_stderr(f"{what}: {reason}")


def _to_stdout(text: str) -> None:
    print(text, flush=True)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell_shapes(case: str, shapes: str) -> None:
    _to_stderr(f"fastest launches for {case}: {shapes}")


def _drop_if_empty(path: Path) -> None:
    """Remove a picture that was not drawn; an older one stays."""
    if path.is_file() and not path.stat().st_size:
        path.unlink()
