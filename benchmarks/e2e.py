"""What end-to-end encryption costs a client: messages, joining a large room, and keeping the keys.

    python benchmarks/e2e.py [--quick] [--json | --markdown] [--only PART] [--folder FOLDER]

Everything is done by securechat.e2e and an engine as a client does it, but without its reactor, its worker's
thread or a relay. Beside each work stands what it is held against: the same text sealed or opened with
`cryptography` under one key for ever, one signature verified, the same bytes written to the disk. They take turns
in one run, and each result is looked at, so that no wrong work is timed.

`--markdown` prints the tables of docs/performance.md.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from _large_room import large_room
from _messages import SHORT, bursts, one_message
from _stores import key_store
from _table import Result, Work, as_json, as_markdown, lines, measured

from securechat.bench.facts import machine, one_line
from securechat.crypto.engine import Engine
from securechat.crypto.engines import choose, survey

ENGINES: Final = ("native", "cpu")
"""Those that a client may have without a GPU, the best first: a GPU is nothing for so few messages."""
BURSTS: Final = ((1, 1000), (1, 250), (1, 64), (10, 1000))
QUICK_BURSTS: Final = ((1, 250), (10, 250))


def works(engines: dict[str, Engine], folder: Path, quick: bool) -> Iterator[Work]:
    """Make what is to be timed, one after the other."""
    best = next(iter(engines.values()))
    return chain(
        one_message(engines, (SHORT,) if quick else (SHORT, 2048)),
        bursts(engines, QUICK_BURSTS if quick else BURSTS),
        large_room(100 if quick else 1000),
        key_store(folder, best, (20,) if quick else (20, 256)),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds, a smaller room")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="rows for programs; all else on stderr")
    form.add_argument("--markdown", action="store_true", help="tables for a page; all else on stderr")
    parser.add_argument("--only", default="", help="only the works whose part or name has this in it")
    parser.add_argument("--folder", type=Path, help="where key stores are written, on the disk that is meant")
    options = parser.parse_args()
    table = sys.stderr if options.json or options.markdown else sys.stdout
    facts = machine()
    print(one_line(facts), file=table)
    reasons = survey()
    engines = {name: choose(name) for name in ENGINES if reasons[name] is None}
    results: list[Result] = []
    with TemporaryDirectory(dir=options.folder) as folder:
        for work in works(engines, Path(folder), options.quick):
            if options.only not in f"{work.part}: {work.name}":
                continue
            found = measured(work, 0.8 if options.quick else 8.0)
            print(*lines(found), sep="\n", file=table, flush=True)
            results += found
    if options.json:
        print(as_json(facts, results))
    if options.markdown:
        print(as_markdown(results))
    for engine in engines.values():
        engine.close()


if __name__ == "__main__":
    main()
