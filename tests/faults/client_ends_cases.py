"""What takes a minute or two: clients that are killed again and again."""

from __future__ import annotations

from tests.faults.client_ends import ClientEndCase


class ClientEndTests(ClientEndCase):
    """Three people who talk."""

    def test_killed(self) -> None:
        """What was acknowledged to clients that are killed, forty times over, is shown to the others, once."""
        self.kills(40)
