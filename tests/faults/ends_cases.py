"""What takes minutes: a relay that is killed, or told to stop, again and again."""

from __future__ import annotations

from tests.faults.ends import EndCase


class EndTests(EndCase):
    """Ends under load."""

    def test_killed(self) -> None:
        """After each of fifty kills everything acknowledged is there, once and in one order, and all go on."""
        self.kills(50)

    def test_stopped(self) -> None:
        """Six times it has ended within five seconds, everything acknowledged is there, and all go on."""
        self.stops(6)
