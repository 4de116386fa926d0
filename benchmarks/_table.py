"""Ways of doing something beside each other, timed in turns: the figures, and how they are printed.

The first way of a `Work` is its baseline. A ratio says how many times as long as the baseline something took, for
one message, member or whatever is counted: what it costs, and not how fast it is.
"""

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from securechat.bench.measure import Timer, drive, turns

_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
_LEAST_S: Final = 1e-9
_DASH: Final = "\N{EN DASH}"
_TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Way:
    """One way, with what does it, and how many things it does each time."""

    name: str
    by: str
    timer: Timer
    n: int = 1


@dataclass(frozen=True, slots=True)
class Work:
    """Ways that take turns; the first is the baseline."""

    part: str
    """The heading under which it stands."""
    name: str
    ways: Sequence[Way]


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the result. These are the keys of `--json` too."""

    part: str
    work: str
    way: str
    by: str
    n: int
    """How many things were done each time."""
    seconds: float
    """For all n of them: the median of the rounds."""
    fastest: float
    slowest: float
    ratio: float
    """How many times as long as the baseline's time one took: the median of the rounds' own ratios."""


def measured(work: Work, budget_s: float) -> list[Result]:
    """Time all ways of a work in turns, for about so long."""
    # The number tells ways apart that have one name, and keeps the order.
    names = {(f"{number}", way.name): way for number, way in enumerate(work.ways)}
    times = drive(turns(list(names), budget_s), {name: way.timer for name, way in names.items()})
    base_name, base = next(iter(names.items()))
    results = []
    for name, way in names.items():
        rounds = zip(times[base_name], times[name], strict=True)
        ratio = statistics.median((mine / way.n) / max(its / base.n, _LEAST_S) for its, mine in rounds)
        found = times[name]
        middle = statistics.median(found)
        results.append(Result(work.part, work.name, way.name, way.by, way.n, middle, min(found), max(found), ratio))
    return results


def _unit(seconds: float) -> tuple[float, str]:
    return next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cells(result: Result) -> tuple[str, str, str, str]:
    """One's time and its spread, in one unit, its ratio, and the time of all."""
    size, unit = _unit(result.seconds / result.n)
    one, fastest, slowest = (
        _digits(each / result.n / size) for each in (result.seconds, result.fastest, result.slowest)
    )
    whole = ""
    if result.n > 1:
        size, whole_unit = _unit(result.seconds)
        whole = f"{_digits(result.seconds / size)} {whole_unit}"
    return f"{one} {unit}", f"{fastest}-{slowest}", _digits(result.ratio), whole


def lines(results: Sequence[Result]) -> Iterator[str]:
    """Give the lines of one work, for people at a terminal."""
    yield f"\n{results[0].part}: {results[0].work}"
    yield f"{'':63}{'by':<14}{'one':>9}{'fastest-slowest':>18}{'x base':>8}  all"
    for result in results:
        one, between, ratio, whole = _cells(result)
        way = result.way.replace("**", "")
        shown = f"{result.n:,}: {whole}" if whole else ""
        yield f"  {way:<61}{result.by:<14}{one:>9}{between:>18}{ratio:>8}  {shown}".rstrip()


def as_markdown(results: Sequence[Result]) -> str:
    """Give all results as they stand in docs/performance.md: a table for each part, a column for each of its works.

    A place has the time of one, the fastest and the slowest, the ratio to the first line's, and the time of all.
    """
    shown: list[str] = []
    for part in dict.fromkeys(result.part for result in results):
        mine = [result for result in results if result.part == part]
        works = list(dict.fromkeys(result.work for result in mine))
        places = {(result.way, result.by, result.work): result for result in mine}
        shown += ["", f"### {part}", "", f"| | by | {' | '.join(works)} |", "|---|" + "---|" * (1 + len(works))]
        for way, by in dict.fromkeys((result.way, result.by) for result in mine):
            row = [_place(places.get((way, by, work))) for work in works]
            shown.append(f"| {way} | {by} | {' | '.join(row)} |")
    return "\n".join(shown[1:])


def _place(result: Result | None) -> str:
    if result is None:
        return _DASH
    one, between, ratio, whole = _cells(result)
    all_of_them = f"; all: {whole}" if whole else ""
    return f"{one} ({between.replace('-', _DASH)}), {_TIMES} {ratio}{all_of_them}".replace("us", "µs")


def as_json(facts: dict[str, str | int], results: Iterable[Result]) -> str:
    """Give the machine and the results for programs."""
    return json.dumps({"about": facts, "rows": [asdict(result) for result in results]}, indent=1)
