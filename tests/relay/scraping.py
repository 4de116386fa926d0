"""Reading metrics as Prometheus reads them."""

from __future__ import annotations

import re
from typing import Final

_FAMILY: Final = re.compile(r"# HELP (\w+) (.+)\n# TYPE (\w+) (counter|gauge)\n((?:[^#\n].*\n)*)")
_SAMPLE: Final = re.compile(r'(\w+)((?:\{\w+="[^"\\]*"\})?) ([-+.0-9e]+)')


def parsed(text: bytes) -> dict[str, float]:
    """The samples by name and labels. All of the text must be in order: help, type, then samples of that name."""
    found: dict[str, float] = {}
    left = text.decode()
    while left:
        family = _FAMILY.match(left)
        assert family, left
        left = left[family.end() :]
        name = family[1]
        assert family[3] == name, family[0]
        assert (family[4] == "counter") == name.endswith("_total"), family[0]
        for line in family[5].splitlines():
            sample = _SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] == name, line
            assert name + sample[2] not in found, line
            found[name + sample[2]] = float(sample[3])
    return found


def names(text: bytes) -> set[str]:
    """The names of the metrics."""
    return {key.partition("{")[0] for key in parsed(text)}
