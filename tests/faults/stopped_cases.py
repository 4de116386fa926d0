"""The same with more readers, and more to read."""

from __future__ import annotations

from tests.faults.programs import MIB
from tests.faults.stopped import StoppedCase


class LongStoppedTests(StoppedCase):
    """One who talks, and fifty who read, of whom one stops."""

    def test_stopped(self) -> None:
        """100 MiB pass a reader that is stopped: the relay hardly grows, all others hear it, and it does later."""
        # 1.5 is what is meant.
        self.assertLess(self.stops(50, 100 * MIB), 3)
