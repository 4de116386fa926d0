"""Sealing and opening: what `securechat bench crypto` measures, and the worker beside it.

    python benchmarks/crypto.py [--quick] [--json] [--latency]

The rows of the loop and of the engines are those of securechat.bench, one key for all messages among them;
here two more take their turns, which need a real thread and reactor:

    cpu requests    CryptoWorker on CpuEngine, n requests made at once, own keys
    cpu many        CryptoWorker on CpuEngine, one request for n, own keys

With `--latency` there is another measurement: how late the reactor's timers are while the worker is kept
saturated with 200-byte messages, for several sizes of its largest batch.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Awaitable
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater, react

from securechat.bench.crypto import QUICK_COUNTS, QUICK_SIZES, SIZES, Cell, Run, Ways, grid, runs
from securechat.bench.facts import machine, one_line
from securechat.bench.material import make_sealed, make_texts
from securechat.bench.measure import Times, Turns, rows, turns
from securechat.bench.report import HEAD, as_json, line
from securechat.bench.rows import PATHS, Name, Row
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.engines import choose, survey
from securechat.crypto.worker import CryptoWorker

COUNTS: Final = (1, 16, 256, 4096)
MOST_BYTES: Final = 1 << 27
"""The worker takes so much at a time, and whoever asks holds as much again."""
CELL_S: Final = 2.0
QUICK_CELL_S: Final = 0.5


def worker_runs(cell: Cell, worker: CryptoWorker) -> dict[Name, Run]:
    """Make what is to be timed of the worker."""
    if cell.operation == "seal":
        texts = make_texts(cell.size, cell.n)
        to_seal = list(zip(texts.key_list, texts.associated_list, texts.item_list, strict=True))
        return {
            ("cpu", "requests"): lambda: last_of([worker.seal(*item) for item in to_seal]),
            ("cpu", "many"): lambda: worker.seal_many(to_seal),
        }
    sealed = make_sealed(cell.size, cell.n, CpuEngine())
    to_open = list(zip(sealed.key_list, sealed.associated_list, sealed.item_list, strict=True))
    return {
        ("cpu", "requests"): lambda: last_of([worker.open(*item) for item in to_open]),
        ("cpu", "many"): lambda: worker.open_many(to_open),
    }


def last_of(requests: list[Deferred[bytes]]) -> Deferred[bytes]:
    """Give the last of the worker's answers, which come in order. Only failures are looked at before."""
    for request in requests[:-1]:
        request.addCallback(len)
    return requests[-1]


async def timed(run: Run, times: int) -> float:
    """Give the seconds of one run, from several in a row. What is awaitable is part of the work."""
    begun = time.perf_counter()
    for _ in range(times):
        result = run()
        if isinstance(result, Awaitable):
            await result
    return (time.perf_counter() - begun) / times


async def drive(wanted: Turns, all_runs: dict[Name, Run]) -> Times:
    """Time every turn."""
    try:
        turn = next(wanted)
        while True:
            turn = wanted.send(await timed(all_runs[turn.name], turn.times))
    except StopIteration as end:
        times: Times = end.value
        return times


async def measure(cell: Cell, ways: Ways, worker: CryptoWorker, budget_s: float) -> list[Row]:
    """Time everything for one cell in turns."""
    all_runs = runs(cell, ways) | worker_runs(cell, worker)
    return rows(await drive(turns(list(all_runs), budget_s), all_runs), cell.operation, cell.size, cell.n)


async def latency(reactor: Any, batch_items: int, seconds: float) -> str:
    """Keep a worker saturated, and watch a timer of a millisecond."""
    worker = CryptoWorker(CpuEngine(), reactor, max_batch_items=batch_items)
    worker.startService()
    keys = [os.urandom(64) for _ in range(64)]
    associated, text = bytes(32), bytes(200)
    end = time.perf_counter() + seconds
    late: list[float] = []

    def ask(number: int) -> None:
        worker.seal(keys[number % 64], associated, text).addCallback(answered, number)

    def answered(_: bytes, number: int) -> None:
        if time.perf_counter() < end:
            ask(number)

    for number in range(2 * batch_items):
        ask(number)
    while (begun := time.perf_counter()) < end:
        await deferLater(reactor, 0.001)
        late.append(1e3 * (time.perf_counter() - begun - 0.001))
    await worker.stopService()
    late.sort()
    return (
        f"at most {batch_items:>4} a batch: {worker.stats.items / seconds:8.0f} messages/s, timers late by "
        f"{statistics.median(late):.2f} ms, p99 {late[int(0.99 * len(late))]:.2f} ms, most {late[-1]:.2f} ms"
    )


async def benchmark(reactor: Any, arguments: argparse.Namespace) -> None:
    """Measure and print. With --json standard output has the rows alone."""
    if arguments.latency:
        for batch_items in (1, 64, 128, 256, 1024):
            print(await latency(reactor, batch_items, 1 if arguments.quick else 4), flush=True)
        return
    surveyed = survey()
    table = sys.stderr if arguments.json else sys.stdout
    print(one_line(machine()), HEAD, sep="\n", file=table)
    for name, reason in surveyed.items():
        if reason is not None:
            print(f"no {name} engine: {reason}", file=sys.stderr)
    engines = {name: choose(name) for name, reason in surveyed.items() if reason is None}
    worker = CryptoWorker(CpuEngine(), reactor, max_bytes=1 << 30)
    worker.startService()
    sizes, counts = (QUICK_SIZES, QUICK_COUNTS) if arguments.quick else (SIZES, COUNTS)
    found = []
    for cell in grid(sizes, counts, MOST_BYTES)[0]:
        budget_s = QUICK_CELL_S if arguments.quick else CELL_S
        for row in await measure(cell, Ways(engines, {}, PATHS), worker, budget_s):
            found.append(row)
            print(line(row), file=table, flush=True)
    if arguments.json:
        print(as_json(found))
    await worker.stopService()
    for engine in engines.values():
        engine.close()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes, counts and rounds")
    parser.add_argument("--json", action="store_true", help="the rows as JSON; all else on stderr")
    parser.add_argument("--latency", action="store_true", help="the reactor's latency instead")
    arguments = parser.parse_args()

    def begin(reactor: Any) -> Deferred[None]:
        return ensureDeferred(benchmark(reactor, arguments))

    react(begin)


if __name__ == "__main__":
    main()
