"""What takes longer: a larger crowd than in `test_load`."""

from __future__ import annotations

from tests.faults.crowds import CrowdCase
from tests.faults.programs import MIB


class LongCrowdTests(CrowdCase):
    """Very many at once."""

    def test_idle(self) -> None:
        """Two thousand who are logged in and say nothing cost a bounded lot of memory."""
        self.assertLess(self.idle(2_000), 40 * 1024)

    def test_idle_tls(self) -> None:
        """So do three hundred with TLS."""
        self.assertLess(self.idle_tls(300), 80 * 1024)

    def test_stopped(self) -> None:
        """For two hundred who have stopped no more waits than what may for all, and others hear everything."""
        grown, waiting = self.stopped(200, "--outboxes-bytes", str(8 * MIB), gone=100)
        self.assertLessEqual(waiting, 8 * MIB)
        self.assertLess(grown, 32 * MIB)

    def test_stopped_within_the_bound(self) -> None:
        """With the bound as it is nobody of two hundred is dropped, and what they cost is bounded all the same."""
        grown, waiting = self.stopped(200, gone=0)
        self.assertLessEqual(waiting, 200 * 256 * 1024)
        self.assertLess(grown, 64 * MIB)
