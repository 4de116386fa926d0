"""Sizes and counts as people write and read them."""

import re
from typing import Final

_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB)?")
_COUNT: Final = re.compile(r"([0-9]{1,15}) ?(k)?")
_UNITS: Final = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_size(text: str) -> int:
    """Read a number of bytes: 200, 200B, 1KiB, 64MiB, 1GiB. Raises ValueError for anything else, and for 0."""
    found = _SIZE.fullmatch(text)
    if not found or not int(found[1]):
        raise ValueError(f"{text!r} is no size; sizes look like 200, 1KiB or 1MiB")
    return int(found[1]) * _UNITS[found[2]]


def parse_count(text: str) -> int:
    """Read a number of messages: 16, or 4k for 4,096. Raises ValueError for anything else, and for 0."""
    found = _COUNT.fullmatch(text)
    if not found or not int(found[1]):
        raise ValueError(f"{text!r} is no number of messages; they look like 1, 256 or 4k")
    return int(found[1]) * (1024 if found[2] else 1)


def size_name(size: int) -> str:
    """Give a number of bytes as people write it, exactly."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def count_name(n: int) -> str:
    """Give a number of messages: 4 k is 4,096."""
    return f"{n // 1024} k" if n and n % 1024 == 0 else str(n)
