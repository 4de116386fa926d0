"""Rows for people, and rows for programs."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

from securechat.bench.crossover import Crossover
from securechat.bench.rows import Row
from securechat.bench.units import count_name, size_name

HEAD: Final = (
    f"{'':25}{'':26}{'us per message':>14}{'fastest-slowest':>20}{'x loop':>8}{'MB/s':>9}{'of PCIe':>9}".rstrip()
)
"""What stands above the table's lines."""


def line(row: Row) -> str:
    """Give one line of the table: each of n messages in microseconds, the spread, ratio and rate."""
    each = 1e6 / row.n
    spread = f"{row.fastest * each:.2f}-{row.slowest * each:.2f}"
    place = f"{row.operation:<10}{size_name(row.size):>6} x{count_name(row.n):>5}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    limit = "" if row.of_limit is None else f"{100 * row.of_limit:.0f} %"
    return (
        f"{place:<25}{row.engine + ' ' + row.path:<26}{row.seconds * each:14.2f}{spread:>20}"
        f"{ratio:>8}{row.rate / 1e6:9.0f}{limit:>9}"
    ).rstrip()


def crossover_line(found: Crossover) -> str:
    """Give one line about a crossover."""
    return f"{found.operation} {size_name(found.size)}: {found}"


def as_json(rows: Iterable[Row]) -> str:
    """Give the rows as a JSON list of objects, one a line, whose keys are the fields of Row."""
    return "[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]"
