"""Rows in words and in JSON, crossovers, the machine."""

import json
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.crossover import Crossover, crossovers, first_ahead
from securechat.bench.facts import machine, one_line
from securechat.bench.report import HEAD, as_json, crossover_line, line
from securechat.bench.rows import LOOP, Row, beside_loop
from tests.bench import fakes
from tests.bench.fakes import row

TYPES = {
    "engine": str,
    "path": str,
    "operation": str,
    "size": int,
    "n": int,
    "seconds": float,
    "fastest": float,
    "slowest": float,
    "ratio": float,
    "limit_seconds": type(None),
    "of_limit": type(None),
}


class JsonTests(SynchronousTestCase):
    """`--json`."""

    def test_keys_and_types(self) -> None:
        """It is a list of objects, each with the same keys in the same order, and their types."""
        found = json.loads(as_json([row("cpu", "list", 16, 5.0, 2.0), row("native", "packed", 16, 2.0, 5.0)]))
        self.assertIsInstance(found, list)
        for one in found:
            self.assertEqual({key: type(value) for key, value in one.items()}, TYPES)

    def test_nothing_to_compare(self) -> None:
        """Where there is no loop to compare with, the ratio is null."""
        self.assertIsNone(json.loads(as_json([row("cuda", "pcie", 1, 5.0, None)]))[0]["ratio"])

    def test_no_rows(self) -> None:
        """No rows are an empty list."""
        self.assertEqual(json.loads(as_json([])), [])


class TableTests(SynchronousTestCase):
    """The lines for people."""

    def test_line(self) -> None:
        """A line has microseconds for each message, the spread, the ratio and megabytes in a second."""
        words = line(row("native", "list", 4096, 2.0, 5.25)).split()
        self.assertEqual(
            words, ["seal", "200", "B", "x", "4", "k", "native", "list", "2.00", "1.80-2.20", "5.25", "100"]
        )

    def test_empty_places(self) -> None:
        """What does not apply stays empty."""
        self.assertEqual(line(row("openssl", "estimate", 1, 2.0, None)).split()[-2:], ["1.80-2.20", "100"])

    def test_limit(self) -> None:
        """A row with a limit says how much of it was reached."""
        limited = replace(row("cuda", "list", 16, 2.0, 5.0), limit_seconds=8e-6, of_limit=0.25)
        self.assertTrue(line(limited).endswith(" 25 %"))

    def test_columns(self) -> None:
        """Lines are as wide as their heading, so that columns stand below their names."""
        limited = replace(row("cuda", "list", 16, 2.0, 5.0), limit_seconds=8e-6, of_limit=0.25)
        self.assertEqual(len(line(limited)), len(HEAD))


class BesideLoopTests(SynchronousTestCase):
    """Rows that were measured by themselves."""

    def test_ratio_per_message(self) -> None:
        """They are compared with the largest loop of their operation and size, message by message."""
        loops = [row(*LOOP, 1, 20.0, 1.0), row(*LOOP, 256, 10.0, 1.0), row(*LOOP, 999, 77.0, 1.0, size=64)]
        self.assertAlmostEqual(beside_loop(row("openssl", "estimate", 4, 2.0, None), loops).ratio or 0, 5.0)

    def test_without_a_loop(self) -> None:
        """Without such a loop they have no ratio."""
        loops = [row(*LOOP, 1, 20.0, 1.0, operation="open")]
        self.assertIsNone(beside_loop(row("openssl", "estimate", 4, 2.0, None), loops).ratio)


class CrossoverTests(SynchronousTestCase):
    """From how many messages on something is ahead."""

    def of(self, *lines: list[Row]) -> list[Crossover]:
        """Find the crossovers of these lines and a loop of 10 us."""
        loop = fakes.line(*LOOP, {1: 10.0, 16: 10.0, 256: 10.0})
        return crossovers([found for one in (loop, *lines) for found in one])

    def test_between_two_counts(self) -> None:
        """Between two counts the place lies where straight lines on logarithmic axes cross."""
        n, inside = first_ahead([(1, 0.5), (4, 2.0)])
        self.assertAlmostEqual(n or 0, 2.0)
        self.assertTrue(inside)

    def test_ahead_from_the_start(self) -> None:
        """What is ahead everywhere is so from the least n on, and crosses nothing."""
        self.assertEqual(first_ahead([(1, 1.0), (4, 2.0)]), (1.0, False))

    def test_never(self) -> None:
        """What falls behind at the largest n is not ahead, whatever it was before."""
        self.assertEqual(first_ahead([(1, 2.0), (4, 0.9)]), (None, False))

    def test_last_crossing_counts(self) -> None:
        """Where lines cross twice, the last place is it."""
        n, _ = first_ahead([(1, 2.0), (4, 0.5), (16, 2.0)])
        self.assertAlmostEqual(n or 0, 8.0)

    def test_pairs(self) -> None:
        """Each path of an engine is compared with the loop, and with the same path of the engine before."""
        ways = {1: 20.0, 16: 5.0}
        found = self.of(
            fakes.line("cpu", "list", ways), fakes.line("cuda", "list", ways), fakes.line("cuda", "packed", ways)
        )
        pairs = [(one.ahead, one.behind) for one in found]
        self.assertEqual(
            pairs,
            [
                (("cpu", "list"), LOOP),
                (("cuda", "list"), LOOP),
                (("cuda", "list"), ("cpu", "list")),
                (("cuda", "packed"), LOOP),
            ],
        )

    def test_others_are_left_out(self) -> None:
        """Yardsticks and what a device does alone cross nothing."""
        self.assertEqual(
            self.of(fakes.line("ipsec-mb", "packed", {1: 1.0}), fakes.line("cuda", "kernel", {1: 1.0})), []
        )

    def test_words(self) -> None:
        """A crossover is a sentence, with or without a place."""
        ahead, behind = ("cuda", "list"), ("native", "list")
        inside = Crossover("seal", 1024, ahead, behind, 41.6, True)
        self.assertEqual(
            crossover_line(inside), "seal 1 KiB: cuda list is faster than native list from n = about 41.6 on"
        )
        never = Crossover("open", 64, ahead, LOOP, None, False)
        self.assertEqual(crossover_line(never), "open 64 B: cuda list is not faster than the loop in the end")


class FactsTests(SynchronousTestCase):
    """What it ran on."""

    def test_what_is_told(self) -> None:
        """The processor, its cores and the versions of what does the work are told, in one line."""
        found = machine()
        for name in ("cpu", "cores", "system", "python", "openssl", "cryptography", "numpy"):
            self.assertIn(name, found)
            self.assertIn(f"{name} {found[name]}", one_line(found))

    def test_processor(self) -> None:
        """The processor's name is that of the system's own list."""
        path = Path(self.mktemp())
        path.write_text("processor\t: 0\nmodel name\t: Abacus 3000\nmodel name\t: Other\n")
        self.assertEqual(machine(path)["cpu"], "Abacus 3000")

    def test_no_list(self) -> None:
        """Where there is no such list something is told all the same."""
        self.assertTrue(machine(Path(self.mktemp()))["cpu"])
