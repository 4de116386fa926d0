"""From how many messages on one way is faster than another."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.crossover import crossovers, first_ahead
from securechat.bench.rows import LOOP
from tests.bench.harness import curve, row

LOOPS = curve(LOOP, {1: 1.0, 16: 1.0, 256: 1.0})


class FirstAheadTests(SynchronousTestCase):
    """The least n from which on a gain stays at 1 or above."""

    def test_from_the_start(self) -> None:
        """What is ahead everywhere is so from the least n on, and crosses nowhere."""
        self.assertEqual(first_ahead([(1, 1.0), (16, 2.0)]), (1.0, False))

    def test_between(self) -> None:
        """Between two n the gain is a straight line on logarithmic axes."""
        n, inside = first_ahead([(1, 0.25), (16, 4.0)])
        assert n is not None
        self.assertAlmostEqual(n, 4.0)
        self.assertTrue(inside)

    def test_not_in_the_end(self) -> None:
        """What is behind at the largest n is ahead of nothing, wherever it was ahead before."""
        self.assertEqual(first_ahead([(1, 2.0), (16, 0.9)]), (None, False))

    def test_the_last_crossing_counts(self) -> None:
        """A lead that is lost again does not count."""
        n, _ = first_ahead([(1, 2.0), (16, 0.5), (256, 2.0)])
        assert n is not None
        self.assertAlmostEqual(n, 64.0)


class CrossoverTests(SynchronousTestCase):
    """Who is compared with whom."""

    def test_pairs(self) -> None:
        """Each engine is compared with the loop, and by the same path with the nearest engine in front of it."""
        rows = [
            *LOOPS,
            *curve(("cpu", "list"), {1: 1.0}),
            *curve(("native", "list"), {1: 2.0}),
            *curve(("cuda", "list"), {1: 3.0}),
            *curve(("cuda", "packed"), {1: 3.0}),
            *curve(("cryptography", "again"), {1: 1.0}),
            *curve(("ipsec-mb", "packed"), {1: 4.0}),
            *curve(("cuda", "kernel"), {1: 5.0}),
        ]
        self.assertEqual(
            [(found.ahead, found.behind) for found in crossovers(rows)],
            [
                (("cpu", "list"), LOOP),
                (("native", "list"), LOOP),
                (("native", "list"), ("cpu", "list")),
                (("cuda", "list"), LOOP),
                (("cuda", "list"), ("native", "list")),
                (("cuda", "packed"), LOOP),
            ],
        )

    def test_operations_and_sizes_apart(self) -> None:
        """Each operation and size is looked at by itself."""
        rows = [
            made
            for operation, size, gain in (("seal", 64, 2.0), ("open", 64, 0.5), ("seal", 200, 3.0))
            for name, ratio in ((LOOP, 1.0), (("cpu", "list"), gain))
            for made in curve(name, {1: ratio}, operation=operation, size=size)
        ]
        found = [(one.operation, one.size, one.n) for one in crossovers(rows)]
        self.assertEqual(found, [("seal", 64, 1.0), ("open", 64, None), ("seal", 200, 1.0)])

    def test_by_ratios(self) -> None:
        """Two engines are compared by their ratios, whatever their times say of another moment."""
        rows = [row(), row(("cpu", "list"), 1, 9.0, 2.0), row(("native", "list"), 1, 10.0, 3.0)]
        self.assertEqual([found.n for found in crossovers(rows)], [1.0, 1.0, 1.0])

    def test_only_what_both_have(self) -> None:
        """Only n at which both were measured count; without one there is no crossover."""
        rows = [*LOOPS, *curve(("cpu", "list"), {1: 2.0}), *curve(("native", "list"), {16: 1.0})]
        self.assertEqual([found.behind for found in crossovers(rows)], [LOOP, LOOP])

    def test_no_loop(self) -> None:
        """Without the loop nothing is said."""
        self.assertEqual(crossovers(curve(("cpu", "list"), {1: 2.0})), [])

    def test_in_words(self) -> None:
        """Words tell a crossing from a lead that was there from the start, and from none."""
        rows = [
            *LOOPS,
            *curve(("cpu", "list"), {1: 0.25, 16: 4.0}),
            *curve(("native", "list"), {1: 9.0, 16: 9.0}),
            *curve(("cuda", "packed"), {1: 0.1, 16: 0.2}),
        ]
        self.assertEqual(
            [str(found) for found in crossovers(rows)],
            [
                "cpu list is faster than the loop from n = about 4 on",
                "native list is faster than the loop from n = 1 on",
                "native list is faster than cpu list from n = 1 on",
                "cuda packed is not faster than the loop in the end",
            ],
        )
