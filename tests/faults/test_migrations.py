"""A relay is killed while it brings an older store up to date: the store is of one version or of another, whole."""

from __future__ import annotations

from securechat.relay.schema import MIGRATIONS
from tests.faults.migrations import MigrationCase


class MigrationTests(MigrationCase):
    """A store with thousands of rooms."""

    def test_killed(self) -> None:
        """Killed five times at any moment the latest but one has all its rows, in the old schema or the new."""
        self.killed(len(MIGRATIONS) - 1, 5)
