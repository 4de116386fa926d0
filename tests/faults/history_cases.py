"""The same in full."""

from __future__ import annotations

from tests.faults.histories import HistoryCase


class HistoryTests(HistoryCase):
    """A week of many rooms, and a long absence."""

    def test_week(self) -> None:
        """A relay with 200,000 messages in 50 rooms serves soon, and gives all of a room to who comes back."""
        self.week(200_000)

    def test_returns(self) -> None:
        """A client that comes back to ten thousand messages gets all of them, in order and once."""
        self.returns(10_000)
