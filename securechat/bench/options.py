"""The options of `securechat bench crypto`, and what they ask for."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from securechat.bench.crypto import COUNTS, MEMORY_BYTES, QUICK_COUNTS, QUICK_SIZES, SIZES
from securechat.bench.rows import PATHS
from securechat.bench.units import parse_count, parse_size, size_name

ENGINES: Final = ("cpu", "native", "cuda")
YARDSTICKS: Final = ("ipsec-mb", "openssl")
DEFAULT_PATHS: Final = ("list", "packed")
SECONDS: Final = 120.0
QUICK_SECONDS: Final = 6.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be measured."""

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    engines: tuple[str, ...]
    demanded: bool
    """Whether the engines were named: then each must be usable."""
    paths: tuple[str, ...]
    yardsticks: tuple[str, ...]
    seconds: float
    """For the whole grid, about."""
    most_bytes: int | None
    """The most text in one batch; None leaves it to the machine."""
    json: bool
    plot: Path | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options. All are words here; `read` says what is wrong with them in one line."""
    sizes, counts = ",".join(map(size_word, SIZES)), ",".join(map(str, COUNTS))
    parser.add_argument("--sizes", metavar="LIST", help=f"bytes of a text (default {sizes})")
    parser.add_argument("--counts", metavar="LIST", help=f"messages in one call (default {counts})")
    parser.add_argument("--engines", metavar="LIST", help=f"of {','.join(ENGINES)} (default: those usable here)")
    parser.add_argument("--paths", metavar="LIST", help=f"of {','.join(PATHS)} (default {','.join(DEFAULT_PATHS)})")
    parser.add_argument(
        "--yardsticks", metavar="LIST", help=f"of {','.join(YARDSTICKS)}, or none (default: those that are there)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer sizes, counts and rounds: some 15 seconds")
    parser.add_argument(
        "--seconds",
        metavar="S",
        help=f"about how long the grid may take (default {SECONDS:g}); large batches take their time all the same, "
        "as each way is timed at least three times",
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help=f"the most text in one batch, of which some six copies exist (default {size_word(MEMORY_BYTES)}, or "
        "an eighth of the free memory if that is less); larger batches are left out",
    )
    parser.add_argument("--json", action="store_true", help="a list of rows on standard output, all else on stderr")
    parser.add_argument("--plot", metavar="FILE.svg", help="draw the rows as well")


def read(options: argparse.Namespace) -> Wish:
    """Understand the options. Raises ValueError, in one line that begins with the option's name."""
    if options.plot is not None and not options.plot.lower().endswith(".svg"):
        raise ValueError(f"--plot: {options.plot!r} does not end in .svg, the one kind of picture there is")
    none = options.yardsticks == "none"
    return Wish(
        sizes=_list("--sizes", options.sizes, parse_size, QUICK_SIZES if options.quick else SIZES),
        counts=_list("--counts", options.counts, parse_count, QUICK_COUNTS if options.quick else COUNTS),
        engines=_chosen("--engines", options.engines, ENGINES, ENGINES),
        demanded=options.engines is not None,
        paths=_chosen("--paths", options.paths, PATHS, DEFAULT_PATHS),
        yardsticks=() if none else _chosen("--yardsticks", options.yardsticks, YARDSTICKS, YARDSTICKS),
        seconds=_seconds(options.seconds, QUICK_SECONDS if options.quick else SECONDS),
        most_bytes=_size("--memory", options.memory),
        json=options.json,
        plot=None if options.plot is None else Path(options.plot),
    )


def size_word(size: int) -> str:
    """Give a size as `--sizes` takes it without quoting."""
    return size_name(size).replace(" ", "").removesuffix("B") if size < 1024 else size_name(size).replace(" ", "")


def _list(option: str, text: str | None, parse: Callable[[str], T], otherwise: Sequence[T]) -> tuple[T, ...]:
    """Read words between commas, each counting once."""
    if text is None:
        return tuple(otherwise)
    try:
        return tuple(dict.fromkeys(parse(word.strip()) for word in text.split(",")))
    except ValueError as wrong:
        raise ValueError(f"{option}: {wrong}") from None


def _chosen(option: str, text: str | None, known: Sequence[str], otherwise: Sequence[str]) -> tuple[str, ...]:
    """Read words between commas that must be known; give them in the order in which they are known."""

    def parse(word: str) -> str:
        if word not in known:
            raise ValueError(f"{word!r} is none of {', '.join(known)}")
        return word

    chosen = _list(option, text, parse, otherwise)
    return tuple(word for word in known if word in chosen)


def _size(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text)
    except ValueError as wrong:
        raise ValueError(f"{option}: {wrong}") from None


def _seconds(text: str | None, otherwise: float) -> float:
    if text is None:
        return otherwise
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"--seconds: {text!r} is no number of seconds above 0")
    return seconds
