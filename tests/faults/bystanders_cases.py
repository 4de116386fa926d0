"""What takes half a minute: harm at a pace at which it is not the machine that is measured."""

from __future__ import annotations

from tests.faults.bystanders import BystanderCase, SlowCase
from tests.faults.programs import MIB


class BystanderTests(BystanderCase):
    """Eight members who talk, and others."""

    def test_malformed(self) -> None:
        """Beside ten thousand malformed frames, 500 a second, nobody waits for much longer than in calm."""
        self.assertEqual(10_000, self.bystanders(8 * MIB, "malformed", 10_000, 500))
        self.assertLess(self.times, 4)


class SlowTests(SlowCase):
    """Readers of a room in which much is said."""

    def test_slow(self) -> None:
        """For two hundred who read a KiB a second, for a minute, no more than 50 MiB wait."""
        self.slow(200, 60, 50 * MIB)
