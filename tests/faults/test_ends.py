"""Relays that are killed, or told to stop, in the middle of everything: what was acknowledged is there."""

from __future__ import annotations

from tests.faults.ends import EndCase


class KillTests(EndCase):
    """`kill -9`."""

    def test_killed(self) -> None:
        """After each of five kills everything acknowledged is there, once and in one order, and all go on."""
        self.kills(5)


class StopTests(EndCase):
    """SIGTERM."""

    def test_stopped(self) -> None:
        """Twice it has ended within five seconds, everything acknowledged is there, and all go on by themselves."""
        self.stops(2)
