"""Clients that are killed in the middle of a sentence: nothing acknowledged is lost, and nothing shown twice."""

from __future__ import annotations

from tests.faults.client_ends import ClientEndCase


class ClientEndTests(ClientEndCase):
    """Three people who talk."""

    def test_killed(self) -> None:
        """What was acknowledged to a client that is killed, four times over, is shown to the others, once."""
        self.kills(4)
