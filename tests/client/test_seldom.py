"""What others can make us do is bounded for each of them, and only for a while."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.seldom import CAUSES, SPAN_MS, Seldom

TIMES = 4


class SeldomTests(SynchronousTestCase):
    """So many times in a span, for each cause."""

    def test_so_many_times(self) -> None:
        """A cause has so many times in any span, whenever they are, and others have their own."""
        seldom = Seldom(TIMES)
        self.assertEqual([True] * TIMES + [False] * 3, [seldom.may("a", 0) for _ in range(TIMES + 3)])
        self.assertTrue(seldom.may("b", 0))
        self.assertFalse(seldom.may("a", SPAN_MS - 1))
        self.assertTrue(seldom.may("a", SPAN_MS))

    def test_clock_that_went_back(self) -> None:
        """A clock that was set back keeps nobody waiting."""
        seldom = Seldom(TIMES)
        for _ in range(TIMES + 1):
            seldom.may("a", 10**12)
        self.assertTrue(seldom.may("a", 0))

    def test_bounded(self) -> None:
        """However many causes there are, so many are remembered."""
        seldom = Seldom(TIMES)
        for number in range(CAUSES + 10):
            seldom.may(number, 0)
        self.assertEqual(CAUSES, len(seldom._times))
