"""Everything that is to be known of a GPU, as a page: docs/gpu-results.md.

    python benchmarks/gpu.py [--write docs/gpu-results.md] [--quick]

Measures the way to the device, the kernels alone, whole batches from end to end, and lists of messages, in one run,
beside what was predicted. Then it has the contract of the engines run on the device, and where they are installed
NVIDIA's compute-sanitizer and ncu: the one looks for wrong accesses and races, the other counts the bank
conflicts of lookups, of which there must be none.

Without a GPU it says so and, asked to write, fails.
"""

import argparse
import datetime
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from securechat.bench.facts import machine, one_line
from securechat.bench.gpu import ENGINE, Rates, measure_copies, measure_launch, with_limit
from securechat.bench.gpu_kernels import measure_kernels
from securechat.bench.loop import loop_open, loop_seal
from securechat.bench.material import Material, make_sealed, make_texts
from securechat.bench.measure import drive, rows, timer, turns
from securechat.bench.rows import LOOP, Name, Row
from securechat.crypto import native
from securechat.crypto.aead import sealed_bytes
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.cuda import CudaEngine, open_pycuda
from securechat.crypto.device import Device, DeviceUnavailable
from securechat.crypto.engine import Engine
from securechat.crypto.native import NativeEngine

CHECKOUT: Final = Path(__file__).resolve().parents[1]
CONFLICTS: Final = "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum"
TOOL_TIMEOUT_S: Final = 240
END_TO_END: Final = ((64, 65_536), (200, 65_536), (1024, 65_536), (1024, 200_000), (4096, 65_536), (16_384, 8_192))
LISTS: Final = ((200, 16), (200, 256), (200, 10_000), (1024, 1_000), (1024, 100_000))
KERNEL_CASES: Final = ((4096, 65_536), (1024, 65_536), (65_536, 1))
CELL_S: Final = 4.0

PREDICTED: Final = {
    "pcie in": "50 to 56 GB/s",
    "pcie out": "50 to 56 GB/s",
    "pcie duplex": "35 to 55 GB/s each way",
    "launch round-trip": "40 to 60 us",
    "kernel encrypt 65536 x 1": "2.3 ms",
    "kernel tag 65536 x 1": "1.8 ms",
    "kernel encrypt 4096 x 65536": "350 to 500 GB/s",
    "kernel decrypt 4096 x 65536": "350 to 500 GB/s",
    "kernel tag 4096 x 65536": "400 to 530 GB/s",
    "kernel seal 4096 x 65536": "180 to 260 GB/s",
    "list seal 1024 x 1000": "1 to 2 M/s",
    "list seal 1024 x 100000": "1 to 2 M/s",
}
"""Made before any device was at hand, for an H200."""


ABOUT_PAGE: Final = (
    "# What a GPU does",
    "",
    "Made by `python3 run.py bench gpu --write docs/gpu-results.md`, which measures everything anew. Medians, and",
    "beside them the least and the most of all rounds.",
    "",
)
ABOUT_KERNELS: Final = (
    "Kernels with everything in the device's memory, by the device's clock. AES alone is encrypt and decrypt (key",
    "expansion included), HMAC-SHA-512 alone is tag and verify; seal and open are all launches of the engine.",
)
ABOUT_PACKED: Final = (
    "From the host's memory and back, own keys, 32 bytes of associated data. *locked*: the messages lie in memory",
    "of `engine.lock`; *packed*: anywhere. Of PCIe: the time that the same bytes take at the rates above, as a",
    "part of the time taken.",
)


@dataclass(slots=True)
class Page:
    """The page as it grows."""

    say: Callable[[str], None]
    lines: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        """Add lines, and show them."""
        for line in lines:
            self.say(line)
        self.lines.extend(lines)

    def table(self, head: Sequence[str], body: Iterable[Sequence[str]]) -> None:
        """Add a table, line by line as it is measured."""
        self.add("", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}")
        for cells in body:
            self.add(f"| {' | '.join(cells)} |")
        self.add("")


def small_use() -> int:
    """Use every kernel once, on batches small enough for a tool that slows everything down a hundredfold."""
    engine = CudaEngine()
    keys = [bytes([i]) * 64 for i in range(70)]
    texts = [bytes([i]) * (37 * i % 500) for i in range(70)]
    associated = [bytes(i) for i in range(70)]
    sealed = engine.seal_list(keys, associated, texts)
    right = engine.open_list(keys, associated, sealed) == texts and engine.usable
    engine.close()
    return 0 if right else 1


def device_alone(page: Page, device: Device, quick: bool) -> Rates:
    """Measure copies, launches and kernels."""
    piece, rounds = (1 << 20, 3) if quick else (64 << 20, 9)
    copies, rates = measure_copies(device, piece, rounds)
    measured = [*copies, measure_launch(device, 10 if quick else 200, rounds)]
    head = "what", "measured", "least - most", "predicted"
    page.add("## The way to the device, and the kernels alone", "")
    page.table(head, map(_alone, measured))
    page.add(*ABOUT_KERNELS)
    cases = [(1024, 64), (65_536, 1)] if quick else KERNEL_CASES
    page.table(head, (_alone(row) for size, n in cases for row in measure_kernels(device, size, n, rounds)))
    return rates


def _alone(row: Row) -> tuple[str, str, str, str]:
    """Give a row of what the device does by itself: a rate, or a time where there is one thing alone."""
    label = f"{row.path} {row.operation}" + (f" {row.size} x {row.n}" if row.path == "kernel" else "")
    if row.path == "launch" or (row.n == 1 and row.path == "kernel"):
        figures = [f"{1e6 * seconds:.1f} us" for seconds in (row.seconds, row.fastest, row.slowest)]
    else:
        size = row.n * row.size / 1e9
        figures = [f"{size / seconds:.1f} GB/s" for seconds in (row.seconds, row.slowest, row.fastest)]
    return label, figures[0], f"{figures[1]} - {figures[2]}", PREDICTED.get(label, "")


def end_to_end(page: Page, engine: CudaEngine, rates: Rates, quick: bool) -> None:
    """Measure packed batches from the host's memory and back, from locked pages and from others."""
    cases = [(1024, 256)] if quick else END_TO_END
    area = engine.lock(max(n * sealed_bytes(size) for size, n in cases))
    page.add("## Packed batches, end to end", "", *ABOUT_PACKED)
    page.table(
        ("what", "messages/s", "GB/s", "of PCIe", "x loop", "least - most, messages/s"),
        (
            _whole(row, rates)
            for size, n in cases
            for operation in ("seal", "open")
            for row in _packed(engine, area, operation, size, n)
        ),
    )


def lists(page: Page, engine: CudaEngine, quick: bool) -> None:
    """Measure lists of bytes, as Python programs have them, and from how many on a GPU is worth it."""
    page.add("## Lists of messages", "")
    page.add("`seal_list` and `open_list`, own keys, 32 bytes of associated data.")
    page.table(
        ("what", "messages/s", "GB/s", "of PCIe", "x loop", "least - most, messages/s"),
        (
            _whole(row, None)
            for size, n in ([(200, 256)] if quick else LISTS)
            for operation in ("seal", "open")
            for row in _listed(engine, operation, size, n)
        ),
    )


def _packed(engine: CudaEngine, area: Bytes, operation: str, size: int, n: int) -> list[Row]:
    host = _host()
    it = _material(operation, size, n)
    area[: it.items.total_bytes] = it.items.buffer
    locked = Batch(area, it.items.offsets)
    runs: dict[Name, Callable[[], object]] = {LOOP: _loop(it, operation)}
    for name, one, items in ((ENGINE, engine, locked), (ENGINE, engine, it.items), (host.name, host, it.items)):
        path = "locked" if items is locked else "packed"
        if operation == "seal":
            runs[name, path] = partial(one.seal, it.keys, it.ivs, it.associated, items)
        else:
            runs[name, path] = partial(one.open, it.keys, it.associated, items)
    return _timed(runs, operation, size, n)


def _listed(engine: CudaEngine, operation: str, size: int, n: int) -> list[Row]:
    it = _material(operation, size, n)
    runs: dict[Name, Callable[[], object]] = {LOOP: _loop(it, operation)}
    for one in (engine, _host()):
        call = one.seal_list if operation == "seal" else one.open_list
        runs[one.name, "list"] = partial(call, it.key_list, it.associated_list, it.item_list)
    return _timed(runs, operation, size, n)


def _material(operation: str, size: int, n: int) -> Material:
    return make_texts(size, n) if operation == "seal" else make_sealed(size, n, _host())


def _host() -> Engine:
    return CpuEngine() if native.why_not() else NativeEngine()


def _loop(it: Material, operation: str) -> Callable[[], object]:
    return partial(loop_seal if operation == "seal" else loop_open, it.key_list, it.associated_list, it.item_list)


def _timed(runs: dict[Name, Callable[[], object]], operation: str, size: int, n: int) -> list[Row]:
    times = drive(turns(list(runs), CELL_S), {name: timer(run) for name, run in runs.items()})
    return [row for row in rows(times, operation, size, n) if row.name != LOOP]


def _whole(row: Row, rates: Rates | None) -> tuple[str, ...]:
    """Give a row of whole batches."""
    # The limit is that of packed batches, wherever they lie.
    limited = row if rates is None else with_limit(replace(row, path="packed"), rates)
    return (
        f"{row.operation} {row.size} x {row.n}, {row.engine} {row.path}",
        f"{row.n / row.seconds / 1e6:.2f} M",
        f"{row.rate / 1e9:.2f}",
        "" if limited.of_limit is None else f"{100 * limited.of_limit:.0f} %",
        f"{row.ratio:.1f}",
        f"{row.n / row.slowest / 1e6:.2f} M - {row.n / row.fastest / 1e6:.2f} M",
    )


def checks(page: Page, quick: bool) -> bool:
    """Run the contract on the device, and NVIDIA's tools where they are; tell whether all that ran passed."""
    page.add("## Checks on the device", "")
    tests = "tests.emulated.engine_cases" + (".DeviceTests" if quick else "")
    contract, said = _run([sys.executable, "-m", "twisted.trial", tests])
    page.add(f"- `python -m twisted.trial {tests}`: {_last(said)}")
    passed = contract == 0
    small = [sys.executable, __file__, "--use"]
    sanitizer = shutil.which("compute-sanitizer")
    for tool in ("memcheck", "racecheck", "synccheck") if sanitizer else ():
        status, said = _run([str(sanitizer), "--tool", tool, "--error-exitcode", "1", *small])
        page.add(f"- `compute-sanitizer --tool {tool}`, every kernel once: {_last(said)}")
        passed = passed and status == 0
    if sanitizer is None:
        page.add("- compute-sanitizer is not installed: not run")
    profiler = shutil.which("ncu")
    if profiler is None:
        page.add("- ncu is not installed: bank conflicts were not counted")
    else:
        status, said = _run([profiler, "--csv", "--metrics", CONFLICTS, *small])
        counted = [
            int(figure.replace(",", "")) for figure in re.findall(rf'"{CONFLICTS}","[^"]*","([\d,]+)"', said)
        ]
        page.add(f"- bank conflicts of lookups in shared memory (ncu, {len(counted)} launches): {sum(counted)}")
        passed = passed and status == 0 and bool(counted) and not sum(counted)
    return passed


def _run(command: Sequence[str]) -> tuple[int, str]:
    paths = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": paths},
            text=True,
            timeout=TOOL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return 1, f"not done after {TOOL_TIMEOUT_S} s"
    return done.returncode, done.stdout + done.stderr


def _last(said: str) -> str:
    lines = [line.strip(" =") for line in said.splitlines() if line.strip(" =")]
    return lines[-1] if lines else "it said nothing"


def measure(page: Page, quick: bool) -> bool:
    """Make the page; tell whether all checks passed. Raises DeviceUnavailable where there is no GPU."""
    with closing(open_pycuda()) as device:
        facts = device.facts
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        page.add(*ABOUT_PAGE)
        page.add(f"{today}: {facts.name} ({facts.architecture}, {facts.multiprocessors} multiprocessors), beside")
        page.add(f"{one_line(machine())}.", "")
        rates = device_alone(page, device, quick)
    engine = CudaEngine()
    try:
        end_to_end(page, engine, rates, quick)
        lists(page, engine, quick)
    finally:
        engine.close()
    return checks(page, quick)


def main(words: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", metavar="FILE", type=Path, help="put the page there as well")
    parser.add_argument("--quick", action="store_true", help="the least of everything, to see that it works")
    parser.add_argument("--use", action="store_true", help="only use every kernel once, for tools that watch")
    options = parser.parse_args(words)
    if options.use:
        return small_use()
    page = Page(lambda line: print(line, flush=True))
    try:
        passed = measure(page, options.quick)
    except DeviceUnavailable as error:
        print(f"nothing measured: {error.reason}", file=sys.stderr)
        return 1 if options.write else 0
    if options.write:
        options.write.write_text("\n".join(page.lines) + "\n", "utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
