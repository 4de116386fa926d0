"""Metrics as text, in version 0.0.4 of Prometheus' format.

A family is one name with a sentence about it and its samples, of which each has labels of its own or the only one
has none.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


class Family(NamedTuple):
    """One metric: what it is called and means, and its samples by their labels."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[tuple[Mapping[str, str], float]]


def single(name: str, kind: Literal["counter", "gauge"], about: str, value: float) -> Family:
    """A metric of one number without labels."""
    return Family(name, kind, about, [({}, value)])


def exposition(families: Iterable[Family]) -> bytes:
    """The text, with a line feed at the end of every line, the last one too."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines.extend(f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in family.samples)
    return "".join(f"{line}\n" for line in lines).encode()


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
