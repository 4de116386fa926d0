"""Rows for people, and rows for programs."""

import json
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.crossover import crossovers
from securechat.bench.report import HEAD, as_json, crossover_line, line
from tests.bench.harness import row

PACKED = row(("native", "packed"), 4096, 0.004096, 7.254, size=1024, fastest=0.002048, slowest=0.008192)


class LineTests(SynchronousTestCase):
    """The table."""

    def test_line(self) -> None:
        """A line has microseconds for each message, the spread, the ratio and megabytes of text in a second."""
        expected = ["seal", "1", "KiB", "x", "4", "k", "native", "packed", "1.00", "0.50-2.00", "7.25", "1024"]
        self.assertEqual(line(PACKED).split(), expected)

    def test_columns(self) -> None:
        """Lines end below the names of their columns, as far as they go."""
        for name, text in (("x loop", "7.25"), ("MB/s", "1024"), ("fastest-slowest", "0.50-2.00")):
            at = HEAD.index(name) + len(name)
            self.assertEqual(line(PACKED)[:at][-len(text) :], text)

    def test_no_ratio(self) -> None:
        """Where there is no ratio its column is empty."""
        self.assertNotIn("None", line(replace(PACKED, ratio=None)))
        self.assertEqual(len(line(replace(PACKED, ratio=None))), len(line(PACKED)))

    def test_limit(self) -> None:
        """Where there is a limit the line ends with the part of it that was reached."""
        found = line(replace(PACKED, of_limit=0.874))
        self.assertTrue(found.endswith(" 87 %"), found)
        self.assertEqual(len(found), len(HEAD))

    def test_crossover(self) -> None:
        """A crossover is told with its operation and size."""
        rows = [row(size=4096), row(("cpu", "list"), 1, 0.5, 2.0, size=4096)]
        (found,) = crossovers(rows)
        self.assertEqual(crossover_line(found), "seal 4 KiB: cpu list is faster than the loop from n = 1 on")


class JsonTests(SynchronousTestCase):
    """--json."""

    def test_keys_and_types(self) -> None:
        """It is a list of objects, one a line, with the keys of Row, whose values keep their types."""
        text = as_json([PACKED, row(ratio=None)])
        self.assertEqual(len(text.splitlines()), 4)
        first, second = json.loads(text)
        self.assertEqual(
            first,
            {
                "engine": "native",
                "path": "packed",
                "operation": "seal",
                "size": 1024,
                "n": 4096,
                "seconds": 0.004096,
                "fastest": 0.002048,
                "slowest": 0.008192,
                "ratio": 7.254,
                "limit_seconds": None,
                "of_limit": None,
            },
        )
        self.assertIsNone(second["ratio"])
        kinds = [str, str, str, int, int, float, float, float, float]
        self.assertEqual([type(value) for value in first.values()][:9], kinds)

    def test_nothing(self) -> None:
        """Without rows it is an empty list."""
        self.assertEqual(json.loads(as_json([])), [])
