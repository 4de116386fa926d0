"""A week of history at the start, and somebody who comes back to what was said."""

from __future__ import annotations

from tests.faults.histories import HistoryCase


class HistoryTests(HistoryCase):
    """Both, small enough for every day."""

    def test_week(self) -> None:
        """A relay with 20,000 messages serves soon, and gives all of a room to who comes back."""
        self.week(20_000)

    def test_returns(self) -> None:
        """A client that comes back to a thousand messages gets all of them, in order and once."""
        self.returns(1_000)
