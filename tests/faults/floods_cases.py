"""What takes longer: more strangers than in `test_floods`."""

from __future__ import annotations

from tests.faults.strangers import StrangerCase


class LongStrangerTests(StrangerCase):
    """Connections that come and do not log in."""

    def test_loiterers(self) -> None:
        """500 links that say nothing or a byte now and then end after ten seconds; an honest login goes on."""
        self.loiterers(500)

    def test_many_connections(self) -> None:
        """Of 5,000 connections of one address sixteen are let in at most; others log in at once."""
        self.many_connections(5_000)

    def test_few_descriptors(self) -> None:
        """Connections never take all descriptors, however few there are, and users get in all the same."""
        self.few_descriptors(2_000)
