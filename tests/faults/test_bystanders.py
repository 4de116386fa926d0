"""What those who do no harm notice of those who do: hardly anything."""

from __future__ import annotations

from tests.faults.bystanders import BystanderCase, SlowCase
from tests.faults.programs import MIB


class BystanderTests(BystanderCase):
    """Eight members who talk, and others."""

    def test_malformed(self) -> None:
        """Three thousand malformed frames, as fast as they go, are refused, and nobody else waits for long."""
        self.assertEqual(3_000, self.bystanders(10 * MIB, "malformed", 3_000))

    def test_half_open(self) -> None:
        """Two thousand connections that say nothing keep nobody out, and all of them are ended."""
        self.assertEqual(2_000, self.bystanders(16 * MIB, "half-open", 2_000))

    def test_floods(self) -> None:
        """Four clients that post as fast as they can are held to burst and rate, and nobody else waits for long."""
        acked = self.bystanders(16 * MIB, "flood", 4)
        self.assertGreater(acked, 4 * 500)
        self.assertLess(acked, 4 * (500 + 50 * 9 + 256))


class SlowTests(SlowCase):
    """Readers of a room in which much is said."""

    def test_slow(self) -> None:
        """For twenty who read a KiB a second little waits; others hear all, and are hardly slower."""
        self.slow(20, 8, 8 * MIB, 0.5)
