"""Prometheus' text: byte for byte what its format asks for."""

from __future__ import annotations

import math

from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.exposition import Family, exposition, single


class ExpositionTests(SynchronousTestCase):
    """The text of some families."""

    def test_plain(self) -> None:
        """A metric of one number is a line of help, one of type and one with the number."""
        text = exposition(
            [single("posts_total", "counter", "Posts.", 7), single("late_seconds", "gauge", "Late.", 0.25)]
        )
        self.assertEqual(
            b"# HELP posts_total Posts.\n# TYPE posts_total counter\nposts_total 7\n"
            b"# HELP late_seconds Late.\n# TYPE late_seconds gauge\nlate_seconds 0.25\n",
            text,
        )

    def test_labels(self) -> None:
        """Each sample has its labels in braces, in their order, under one head."""
        family = Family("a", "counter", "A.", [({"x": "1", "y": "2"}, 3), ({"x": "4", "y": "5"}, 6)])
        self.assertEqual(
            b'# HELP a A.\n# TYPE a counter\na{x="1",y="2"} 3\na{x="4",y="5"} 6\n', exposition([family])
        )

    def test_escaping(self) -> None:
        """Backslashes and line feeds are escaped in help and labels, quotes in labels only."""
        family = Family("a", "gauge", 'b\\c\nd"e', [({"x": 'b\\n\nd"e'}, 1)])
        self.assertEqual(
            b'# HELP a b\\\\c\\nd"e\n# TYPE a gauge\na{x="b\\\\n\\nd\\"e"} 1\n',
            exposition([family]),
        )

    def test_numbers(self) -> None:
        """Numbers that are none are spelt as the format spells them, large ones exactly."""
        values = [math.inf, -math.inf, math.nan, 10**15 + 1, 1e-07]
        lines = exposition([single("a", "gauge", "A.", value) for value in values]).decode().splitlines()
        self.assertEqual(
            ["+Inf", "-Inf", "NaN", "1000000000000001", "1e-07"], [each.split()[1] for each in lines[2::3]]
        )

    def test_nothing(self) -> None:
        """No families are no text, and a family without samples has its head alone."""
        self.assertEqual(b"", exposition([]))
        self.assertEqual(2, exposition([Family("a", "gauge", "A.", [])]).count(b"\n"))
