"""What takes minutes: calm and harm by turns, so that it is not the moment that is measured."""

from __future__ import annotations

from statistics import median

from tests.faults.bystanders import BystanderCase, SlowCase
from tests.faults.programs import MIB


class BystanderTests(BystanderCase):
    """Eight members who talk, and others."""

    def test_malformed(self) -> None:
        """Beside ten thousand malformed frames, as fast as they go, nobody waits for much longer than in calm."""
        self.assertEqual(30_000, self.bystanders(16 * MIB, "malformed", 10_000, rounds=3))
        self.assert_calm()

    def test_half_open(self) -> None:
        """So it is beside two thousand connections that say nothing, which are opened at once."""
        self.assertEqual(6_000, self.bystanders(24 * MIB, "half-open", 2_000, rounds=3))
        self.assert_calm()

    def test_floods(self) -> None:
        """So it is beside four who post as fast as they can."""
        self.bystanders(24 * MIB, "flood", 4, rounds=3)
        self.assert_calm()

    def assert_calm(self) -> None:
        """In the median round the slowest hundredth waits three times as long at most; two are meant."""
        self.measured(f"p99 against calm, median of {len(self.times)} rounds: {median(self.times):.1f}x")
        self.assertLess(median(self.times), 3)


class SlowTests(SlowCase):
    """Readers of a room in which much is said."""

    def test_slow(self) -> None:
        """For two hundred who read a KiB a second, for a minute, no more than 50 MiB wait."""
        self.slow(200, 60, 50 * MIB, 0.8)
