"""Eight ways to spoil a frame: each gives what is malformed for certain, and the codes by which it is refused."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from securechat.relay.protocol import STRANGER_FRAME_BYTES
from securechat.wire.messages import FRAME_BYTES
from tests.wire.harness import framed

GOOD: Final[tuple[list[Any], ...]] = (
    ["Hello", 3, b"c" * 100, b"p" * 100, b"s" * 64],
    ["Renew", b"p" * 100],
    ["Enter", "#tea", 0, 0],
    ["Append", "#tea", b"e" * 200],
    ["Want", [b"d" * 32]],
    ["Lookup", "alice"],
    ["Hand", "#tea", [[b"d" * 32, b"b" * 300]]],
    ["Ask", "#tea", b"d" * 32, b"s" * 16],
    ["Post", "#tea", b"e" * 32, [[b"i" * 16, b"x" * 344]]],
    ["Repost", "#tea", b"e" * 32, 0, b"i" * 16, b"x" * 344],
    ["Seen", [["#tea", 1, 1]]],
    ["Ping"],
    ["Pong"],
    ["Goodbye", "quit", ""],
)
"""What every message of a client looks like."""
WORSE: Final[dict[str, list[Any]]] = {
    "Hello": [-1, b"", b"", b"s" * 63],
    "Renew": [b"p" * 2_049],
    "Enter": ["#", -1, 2**63],
    "Append": ["x" * 67, b"e" * 4_097],
    "Want": [[b"d" * 33]],
    "Lookup": ["x" * 33],
    "Hand": ["#", [[b"d" * 31, b"b"]]],
    "Ask": ["", b"d", b"s" * 17],
    "Post": ["#", b"e" * 31, [[b"i" * 15, b""]]],
    "Repost": ["#", b"e" * 31, -1, b"i" * 15, b""],
    "Seen": [[["#tea", 1, -1]]],
    "Goodbye": ["bye", "x" * 201],
}
"""For each field of each message a value of its type that is out of bounds."""
NOT_THESE: Final[tuple[object, ...]] = (None, 1.5, True, {}, {"a": 1}, [[[]]], [None] * 3, 2**64 - 1, -(2**63))
"""Values that no field takes."""

Mutator = Callable[[Random], tuple[bytes, frozenset[str]]]
_packed = msgspec.msgpack.encode
_BAD_FIELD: Final = frozenset({"bad-field"})
_NO_MESSAGE: Final = frozenset({"not-a-message"})


def cut_short(random: Random) -> tuple[bytes, frozenset[str]]:
    """An array that ends too early."""
    body = _packed(random.choice(GOOD))
    return framed(body[: random.randrange(1, len(body))]), _NO_MESSAGE


def too_long(random: Random) -> tuple[bytes, frozenset[str]]:
    """Something behind the array."""
    return framed(_packed(random.choice(GOOD)) + random.randbytes(random.randint(1, 50))), _NO_MESSAGE


def wrong_length(random: Random) -> tuple[bytes, frozenset[str]]:
    """A length that no frame has, and something behind it."""
    if random.random() < 0.3:
        return bytes(4) + random.randbytes(20), frozenset({"empty-frame"})
    length = random.randint(FRAME_BYTES + 1, 2**32 - 1)
    return length.to_bytes(4, "big") + random.randbytes(random.randrange(2_000)), frozenset({"oversized-frame"})


def unknown_name(random: Random) -> tuple[bytes, frozenset[str]]:
    """A message of the other direction, or of none."""
    name = random.choice(["Delivery", "Welcome", "", "hello", "Ping\0", "\N{PEDESTRIAN}", "x" * 60_000])
    return framed(_packed([name, *random.choice(GOOD)[1:]])), frozenset({"unknown-message"})


def wrong_count(random: Random) -> tuple[bytes, frozenset[str]]:
    """A field too many, or too few."""
    message = list(random.choice(GOOD))
    if len(message) > 1 and random.random() < 0.5:
        message.pop()
    else:
        message += [0] * random.choice([1, 2, 1_000])
    return framed(_packed(message)), _BAD_FIELD


def wrong_type(random: Random) -> tuple[bytes, frozenset[str]]:
    """A field of another type."""
    message = list(random.choice([each for each in GOOD if len(each) > 1]))
    message[random.randrange(1, len(message))] = random.choice(NOT_THESE)
    return framed(_packed(message)), _BAD_FIELD


def out_of_bounds(random: Random) -> tuple[bytes, frozenset[str]]:
    """A field of the right type that is too short, too long, too small or of no form."""
    message = list(random.choice([each for each in GOOD if each[0] in WORSE]))
    at = random.randrange(1, len(message))
    message[at] = WORSE[message[0]][at - 1]
    return framed(_packed(message)), _BAD_FIELD


def no_array(random: Random) -> tuple[bytes, frozenset[str]]:
    """Noise, arrays in arrays without end, a string that is no UTF-8."""
    kind = random.randrange(4)
    if kind == 0:
        # What begins so is anything but an array.
        return framed(bytes([random.randrange(0x80)]) + random.randbytes(random.randrange(3_000))), _NO_MESSAGE
    if kind == 1:
        return framed(b"\x91" * random.randint(2, FRAME_BYTES)), _NO_MESSAGE
    if kind == 2:
        return framed(b"\x92\xa5Enter" + b"\x91" * random.randint(2, 60_000)), _NO_MESSAGE | _BAD_FIELD
    return framed(b"\x93\xa5Enter\xa2\xff\xfe\x00"), _NO_MESSAGE | _BAD_FIELD


MUTATORS: Final[tuple[Mutator, ...]] = (
    cut_short,
    too_long,
    wrong_length,
    unknown_name,
    wrong_count,
    wrong_type,
    out_of_bounds,
    no_array,
)


def codes_of_stranger(data: bytes, codes: frozenset[str]) -> frozenset[str]:
    """The codes by which it is refused of whoever has not logged in: their frames are short."""
    length = int.from_bytes(data[:4], "big")
    return frozenset({"oversized-frame"}) if length > STRANGER_FRAME_BYTES else codes
