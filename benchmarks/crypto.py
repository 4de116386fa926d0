"""Sealing and opening: one by one with `cryptography`, against the engines and the worker.

    python benchmarks/crypto.py [--quick] [--json] [--latency]

Every variant seals and opens the same n messages with 32 bytes of associated data. Variants take turns,
round by round, so that a machine that slows down slows all of them; the ratio to the loop is the median
of the rounds' ratios, the spread that of the rounds' times. Timing the loop itself twice (`again`) shows how
much a ratio means.

    loop        what one writes with `cryptography` alone: Cipher, padding and HMAC objects per message
    again       the same once more
    list        CpuEngine.seal_list and open_list, each message under its own key
    list-1key   the same, one key for all
    packed      CpuEngine.seal and open on batches in one buffer, own keys
    requests    CryptoWorker, n requests made at once, own keys; a real thread and reactor
    many        CryptoWorker, one request for n, own keys

    native list, native list-1key, native packed: the same by NativeEngine, where its extension was built

With `--latency` there is another measurement: how late the reactor's timers are while the worker is kept
saturated with 200-byte messages, for several sizes of its largest batch.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives import constant_time, hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater, react

from securechat.crypto.batch import Batch
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.native import NativeEngine, why_not
from securechat.crypto.worker import CryptoWorker

SIZES = (64, 200, 1024, 4096, 16384)
COUNTS = (1, 16, 256, 4096)
QUICK_SIZES = (200, 4096)
QUICK_COUNTS = (1, 16, 256)
ASSOCIATED_BYTES = 32
MIN_TIMED_S = 0.01

Run = Callable[[], object]
"""Does all n messages once. May give an awaitable, which is part of the work."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result."""

    engine: str
    path: str
    operation: str
    size: int
    n: int
    seconds: float
    """Per call of n messages, median of the rounds."""
    fastest: float
    slowest: float
    ratio: float
    """How many times as fast as the loop of the same round, median of the rounds."""


def loop_seal(keys: Sequence[bytes], associated: Sequence[bytes], texts: Sequence[bytes]) -> list[bytes]:
    """Seal one by one."""
    sealed = []
    for key, additional, text in zip(keys, associated, texts, strict=True):
        iv = os.urandom(16)
        padder = padding.PKCS7(128).padder()
        padded = padder.update(text) + padder.finalize()
        encryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).encryptor()
        ciphertext = encryptor.update(padded) + encryptor.finalize()
        mac = HMAC(key[:32], hashes.SHA512())
        mac.update(additional + iv + ciphertext + (8 * len(additional)).to_bytes(8, "big"))
        sealed.append(iv + ciphertext + mac.finalize()[:32])
    return sealed


def loop_open(keys: Sequence[bytes], associated: Sequence[bytes], sealed: Sequence[bytes]) -> list[bytes]:
    """Open one by one."""
    texts = []
    for key, additional, message in zip(keys, associated, sealed, strict=True):
        iv, ciphertext, tag = message[:16], message[16:-32], message[-32:]
        mac = HMAC(key[:32], hashes.SHA512())
        mac.update(additional + iv + ciphertext + (8 * len(additional)).to_bytes(8, "big"))
        if not constant_time.bytes_eq(mac.finalize()[:32], tag):
            raise ValueError("forged")
        decryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        unpadder = padding.PKCS7(128).unpadder()
        texts.append(unpadder.update(padded) + unpadder.finalize())
    return texts


def variants(size: int, count: int, worker: CryptoWorker) -> dict[str, dict[tuple[str, str], Run]]:
    """Make everything to be timed for n messages of one size: operation, then (engine, path)."""
    engine = CpuEngine()
    keys = [os.urandom(64) for _ in range(count)]
    associated = [os.urandom(ASSOCIATED_BYTES) for _ in range(count)]
    texts = [os.urandom(size) for _ in range(count)]
    sealed = loop_seal(keys, associated, texts)
    one = keys[0]
    sealed_one = loop_seal([one] * count, associated, texts)
    packed_keys = np.frombuffer(b"".join(keys), np.uint8).reshape(count, 64)
    packed_ivs = np.frombuffer(os.urandom(16 * count), np.uint8).reshape(count, 16)
    packed_associated, packed_texts, packed_sealed = map(Batch.join, (associated, texts, sealed))
    to_seal = list(zip(keys, associated, texts, strict=True))
    to_open = list(zip(keys, associated, sealed, strict=True))
    if engine.open_list(keys, associated, sealed) != texts:
        raise SystemExit("the engine does not open what the loop sealed")
    runs: dict[str, dict[tuple[str, str], Run]] = {
        "seal": {
            ("cryptography", "loop"): lambda: loop_seal(keys, associated, texts),
            ("cryptography", "again"): lambda: loop_seal(keys, associated, texts),
            ("cpu", "list"): lambda: engine.seal_list(keys, associated, texts),
            ("cpu", "list-1key"): lambda: engine.seal_list(one, associated, texts),
            ("cpu", "packed"): lambda: engine.seal(packed_keys, packed_ivs, packed_associated, packed_texts),
            ("cpu", "requests"): lambda: last_of([worker.seal(*item) for item in to_seal]),
            ("cpu", "many"): lambda: worker.seal_many(to_seal),
        },
        "open": {
            ("cryptography", "loop"): lambda: loop_open(keys, associated, sealed),
            ("cryptography", "again"): lambda: loop_open(keys, associated, sealed),
            ("cpu", "list"): lambda: engine.open_list(keys, associated, sealed),
            ("cpu", "list-1key"): lambda: engine.open_list(one, associated, sealed_one),
            ("cpu", "packed"): lambda: engine.open(packed_keys, packed_associated, packed_sealed),
            ("cpu", "requests"): lambda: last_of([worker.open(*item) for item in to_open]),
            ("cpu", "many"): lambda: worker.open_many(to_open),
        },
    }
    if why_not() is None:
        native = NativeEngine()
        runs["seal"] |= {
            ("native", "list"): lambda: native.seal_list(keys, associated, texts),
            ("native", "list-1key"): lambda: native.seal_list(one, associated, texts),
            ("native", "packed"): lambda: native.seal(packed_keys, packed_ivs, packed_associated, packed_texts),
        }
        runs["open"] |= {
            ("native", "list"): lambda: native.open_list(keys, associated, sealed),
            ("native", "list-1key"): lambda: native.open_list(one, associated, sealed_one),
            ("native", "packed"): lambda: native.open(packed_keys, packed_associated, packed_sealed),
        }
    return runs


def last_of(requests: list[Deferred[bytes]]) -> Deferred[bytes]:
    """Give the last of the worker's answers, which come in order. Only failures are looked at before."""
    for request in requests[:-1]:
        request.addCallback(len)
    return requests[-1]


async def timed(run: Run, times: int) -> float:
    """Give the seconds of one run, from several in a row."""
    begun = time.perf_counter()
    for _ in range(times):
        result = run()
        if isinstance(result, Awaitable):
            await result
    return (time.perf_counter() - begun) / times


async def measure(
    operation: str, size: int, count: int, runs: dict[tuple[str, str], Run], rounds: int
) -> list[Row]:
    """Time all variants of one operation in turns."""
    repeats = {name: max(1, int(MIN_TIMED_S / await timed(run, 1))) for name, run in runs.items()}
    times: dict[tuple[str, str], list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(await timed(run, repeats[name]))
    loop = times["cryptography", "loop"]
    return [
        Row(
            engine,
            path,
            operation,
            size,
            count,
            statistics.median(found),
            min(found),
            max(found),
            statistics.median(a / b for a, b in zip(loop, found, strict=True)),
        )
        for (engine, path), found in times.items()
    ]


async def latency(reactor: Any, batch_items: int, seconds: float) -> str:
    """Keep a worker saturated, and watch a timer of a millisecond."""
    worker = CryptoWorker(CpuEngine(), reactor, max_batch_items=batch_items)
    worker.startService()
    keys = [os.urandom(64) for _ in range(64)]
    associated, text = bytes(ASSOCIATED_BYTES), bytes(200)
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


def machine() -> dict[str, str | int | None]:
    """Tell what this ran on."""
    cpu = platform.processor()
    details = Path("/proc/cpuinfo")
    if details.exists():
        names = [line for line in details.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "openssl": backend.openssl_version_text(),
        **{name: version(name) for name in ("cryptography", "numpy", "twisted")},
    }


async def benchmark(reactor: Any, arguments: argparse.Namespace) -> None:
    """Measure and print."""
    if arguments.latency:
        for batch_items in (1, 64, 128, 256, 1024):
            print(await latency(reactor, batch_items, 1 if arguments.quick else 4), flush=True)
        return
    worker = CryptoWorker(CpuEngine(), reactor, max_bytes=1 << 30)
    worker.startService()
    facts = machine()
    if not arguments.json:
        print(", ".join(f"{name} {value}" for name, value in facts.items()))
        if (reason := why_not()) is not None:
            print(f"no native engine: {reason}")
        print(f"{'':34}{'us per message':>16}{'fastest-slowest':>18}{'x loop':>8}")
    rows = []
    for size in QUICK_SIZES if arguments.quick else SIZES:
        for count in QUICK_COUNTS if arguments.quick else COUNTS:
            for operation, runs in variants(size, count, worker).items():
                found = await measure(operation, size, count, runs, 3 if arguments.quick else 9)
                rows.extend(found)
                if not arguments.json:
                    print("\n".join(map(line, found)), flush=True)
    if arguments.json:
        json.dump({"machine": facts, "rows": [asdict(row) for row in rows]}, sys.stdout, indent=1)
        print()
    await worker.stopService()


def line(row: Row) -> str:
    """Give a row for people."""
    each = 1e6 / row.n
    label = f"native {row.path}" if row.engine == "native" else row.path
    return (
        f"{row.operation} {row.size:>6} B x {row.n:<5} {label:<18}{row.seconds * each:10.2f}"
        f"{f'{row.fastest * each:.2f}-{row.slowest * each:.2f}':>18}{row.ratio:8.2f}"
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes, counts and rounds")
    parser.add_argument("--json", action="store_true", help="machine and rows as JSON")
    parser.add_argument("--latency", action="store_true", help="the reactor's latency instead")
    arguments = parser.parse_args()

    def begin(reactor: Any) -> Deferred[None]:
        return ensureDeferred(benchmark(reactor, arguments))

    react(begin)


if __name__ == "__main__":
    main()
