"""What a GPU and the way to it give at best: copies one way and both ways, and a launch and back.

Copies are of page-locked memory, several pieces in a row, timed by the device's own clock. From them comes
the limit of the cuda engine's rows: what the bytes of a batch, which have to cross whatever an engine does,
take at these rates, both ways at once as far as there is something to carry both ways.

Rows are of engine cuda and path pcie, operations in, out and duplex (each way, while the other goes on), or of
path launch: one kernel with nothing to do, and waiting for it, by the caller's clock.
"""

import mmap
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from securechat.bench.material import ASSOCIATED_BYTES
from securechat.bench.measure import LEAST_S, Clock
from securechat.bench.rows import PATHS, Row
from securechat.crypto.aead import IV_BYTES, KEY_BYTES, sealed_bytes
from securechat.crypto.batch import Bytes
from securechat.crypto.device import Address, Device, DeviceError, DeviceMemoryError, Stream

ENGINE: Final = "cuda"
PCIE: Final = "pcie"
PIECE_BYTES: Final = 64 << 20
PIECES: Final = 4
ROUNDS: Final = 9
LAUNCHES: Final = 200
"""So many launches make a round: one is too short for a clock."""
_PADDING_ARGUMENTS: Final = 4


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes in a second between the host's memory and the device's."""

    into: float
    out: float
    duplex: float
    """Each way, while as much goes the other way."""


@contextmanager
def pinned(device: Device, size: int) -> Iterator[Bytes]:
    """Lend page-locked memory of the host, which begins on a page and holds zeros."""
    array = np.frombuffer(mmap.mmap(-1, size), np.uint8)
    device.pin(array)
    with _in_the_end(partial(device.unpin, array)):
        yield array


@contextmanager
def allocated(device: Device, size: int) -> Iterator[Address]:
    """Lend memory of the device."""
    address = device.allocate(size)
    with _in_the_end(partial(device.free, address)):
        yield address


@contextmanager
def _in_the_end(give_back: Callable[[], None]) -> Iterator[None]:
    """Give something back, unless the device failed: it would refuse, and closing it takes all along."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, DeviceError) or isinstance(error, DeviceMemoryError):
            give_back()
        raise
    give_back()


def measure_copies(device: Device, piece_bytes: int = PIECE_BYTES, rounds: int = ROUNDS) -> list[Row]:
    """Time copies into the device, out of it, and both at once, in turns. May raise DeviceError."""
    here, there = device.stream(), device.stream()
    with (
        pinned(device, piece_bytes) as source,
        pinned(device, piece_bytes) as target,
        allocated(device, piece_bytes) as to,
        allocated(device, piece_bytes) as back,
    ):
        source[:] = np.arange(piece_bytes, dtype=np.uint8)

        def into(stream: Stream) -> None:
            device.copy_in(to, source, stream)

        def out(stream: Stream) -> None:
            device.copy_out(target, back, stream)

        work: dict[str, Sequence[tuple[Stream, Callable[[Stream], None]]]] = {
            "in": [(here, into)],
            "out": [(here, out)],
            "duplex": [(here, into), (there, out)],
        }
        times: dict[str, list[float]] = {name: [] for name in work}
        for number in range(rounds + 1):
            for name, queues in work.items():
                seconds = _timed(device, queues)
                if number:  # the first round touches everything for the first time
                    times[name].append(seconds)
    return [_row(PCIE, name, piece_bytes, 1, seconds) for name, seconds in times.items()]


def copy_rates(rows: Iterable[Row]) -> Rates | None:
    """Find the rates in the rows of `measure_copies`; None where it was not done."""
    found = {row.operation: row.rate for row in rows if row.path == PCIE}
    return Rates(found["in"], found["out"], found["duplex"]) if found else None


def measure_launch(
    device: Device, launches: int = LAUNCHES, rounds: int = ROUNDS, clock: Clock = time.perf_counter
) -> list[Row]:
    """Time a kernel that has nothing to do, and waiting for it. May raise DeviceError."""
    stream = device.stream()
    times = []
    with allocated(device, 16) as place:
        for number in range(rounds + 1):
            begun = clock()
            for _ in range(launches):
                device.launch("check_padding", 1, 32, stream, *[place] * _PADDING_ARGUMENTS, 0)
                device.wait(device.record(stream))
            if number:
                times.append(max((clock() - begun) / launches, LEAST_S))
    return [_row("launch", "round-trip", 0, 1, times)]


def with_limit(row: Row, rates: Rates) -> Row:
    """Give a row of the cuda engine its limit; other rows as they are."""
    if row.engine != ENGINE or row.path not in PATHS:
        return row
    seconds = limit_seconds(rates, *crossing_bytes(row))
    return replace(row, limit_seconds=seconds, of_limit=seconds / row.seconds)


def crossing_bytes(row: Row) -> tuple[int, int]:
    """Give the bytes that cross into the device and out of it: keys, ivs, associated data and messages.

    Offsets are not counted: another engine might do without.
    """
    keys = KEY_BYTES * (1 if row.path == "list-1key" else row.n)
    texts, sealed, associated = row.n * row.size, row.n * sealed_bytes(row.size), row.n * ASSOCIATED_BYTES
    if row.operation == "seal":
        return keys + associated + row.n * IV_BYTES + texts, sealed
    return keys + associated + sealed, texts


def limit_seconds(rates: Rates, into: int, out: int) -> float:
    """Give the least time for so many bytes: both ways at once for as long as there are both."""
    both = min(into, out)
    return both / rates.duplex + (into - both) / rates.into + (out - both) / rates.out


def _timed(device: Device, queues: Sequence[tuple[Stream, Callable[[Stream], None]]]) -> float:
    """Give the seconds of one piece on each stream, from the first one's begin to the last one's end."""
    begun = device.record(queues[0][0])
    for _ in range(PIECES):
        for stream, copy in queues:
            copy(stream)
    ends = [device.record(stream) for stream, _ in queues]
    device.wait(begun)
    for end in ends:
        device.wait(end)
    return max(*(device.seconds_between(begun, end) for end in ends), LEAST_S) / PIECES


def _row(path: str, operation: str, size: int, n: int, times: Sequence[float]) -> Row:
    return Row(ENGINE, path, operation, size, n, statistics.median(times), min(times), max(times), None)
