"""A small fuzzer: bytes that something takes are changed again and again, and nothing but its own errors may come.

What is taken although it was changed becomes something to change as well, so that changes add up. There is no
coverage to steer by.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final

MOST_S: Final = 0.1
"""No input may take longer."""
MOST_BYTES: Final = 65_536
KEPT: Final = 200
"""Samples of one decoder."""
NUMBERS: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1)
BYTES: Final = (0x00, 0x01, 0x7F, 0x80, 0x90, 0x91, 0x9F, 0xA1, 0xC0, 0xC6, 0xDD, 0xFF)
"""Some that mean something to msgpack."""


@dataclass
class Decoder:
    """Something that takes bytes of others, or raises one of its own errors."""

    name: str
    take: Callable[[bytes], object]
    samples: list[bytes]
    refusals: tuple[type[Exception], ...] = ()


@dataclass
class Findings:
    """What a fuzzer has found."""

    inputs: Counter[str] = field(default_factory=Counter)
    """How many there were, by decoder."""
    taken: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What was not refused as it should be, or took too long, with the input."""
    slowest: tuple[float, str] = 0.0, ""
    """The longest that any took, in seconds, and which."""


def changed(data: bytes, other: bytes, random: Random) -> bytes:
    """Some bytes, changed in one to four ways; `other` is what pieces are taken from."""
    found = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(found))
        end = min(len(found), at + random.choice((1, 1, 2, 4, 8, 32, 256)))
        match random.randrange(9):
            case 0 if at < len(found):
                found[at] ^= 1 << random.randrange(8)
            case 1 if at < len(found):
                found[at] = random.choice(BYTES)
            case 2:
                found[at : at + 4] = random.choice(NUMBERS).to_bytes(4, "big")
            case 3:
                found[at:at] = random.randbytes(end - at)
            case 4:
                del found[at:end]
            case 5:
                found[at:at] = found[at:end] * random.choice((1, 2, 50))
            case 6:
                start = random.randint(0, len(other))
                found[at:end] = other[start : start + end - at]
            case 7:
                del found[at:]
            case _:
                found[at:at] = bytes([random.choice(BYTES)]) * random.choice((1, 100, 10_000))
    return bytes(found[:MOST_BYTES])


def fuzz(decoders: list[Decoder], seconds: float, seed: int) -> Findings:
    """Give changed bytes to each of them in turn, for a while."""
    random, findings = Random(seed), Findings()
    for decoder, data in _inputs(decoders, random, seconds):
        began = time.perf_counter()
        try:
            decoder.take(data)
        except decoder.refusals:
            is_taken = False
        except Exception as wrong:
            is_taken = False
            findings.wrong.append(f"{decoder.name}: {wrong!r} for {data.hex()}")
        else:
            is_taken = True
        took = time.perf_counter() - began
        findings.inputs[decoder.name] += 1
        if is_taken:
            findings.taken[decoder.name] += 1
            if len(decoder.samples) < KEPT and data not in decoder.samples:
                decoder.samples.append(data)
        if took > MOST_S:
            took = min(took, *(_takes_s(decoder, data) for _ in range(3)))
            if took > MOST_S:
                findings.wrong.append(f"{decoder.name}: {took:.2f} s for {data.hex()}")
        findings.slowest = max(findings.slowest, (took, decoder.name))
    return findings


def _inputs(decoders: list[Decoder], random: Random, seconds: float) -> Iterator[tuple[Decoder, bytes]]:
    """The samples as they are, and then changed."""
    whole = [(decoder, sample) for decoder in decoders for sample in decoder.samples]
    yield from whole
    pool = [sample for _, sample in whole]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for decoder in decoders:
            own = random.choice(decoder.samples)
            yield (
                decoder,
                changed(own, random.choice((random.choice(decoder.samples), random.choice(pool))), random),
            )


def _takes_s(decoder: Decoder, data: bytes) -> float:
    """The processor's time for one input: what it takes on a machine that does nothing else."""
    began = time.thread_time()
    with suppress(Exception):
        decoder.take(data)
    return time.thread_time() - began
