"""A reader that stops in the middle of a lot, as a laptop does that is shut: it costs the relay next to nothing."""

from __future__ import annotations

from tests.faults.programs import MIB
from tests.faults.stopped import StoppedCase


class StoppedTests(StoppedCase):
    """One who talks, and twenty who read, of whom one stops."""

    def test_stopped(self) -> None:
        """20 MiB pass a reader that is stopped: the relay hardly grows, all others hear it, and it does later."""
        self.stops(20, 20 * MIB)
