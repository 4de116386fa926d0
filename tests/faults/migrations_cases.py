"""The same, more often, and with a store of every older version."""

from __future__ import annotations

from securechat.relay.schema import MIGRATIONS
from tests.faults.migrations import MigrationCase


class LongMigrationTests(MigrationCase):
    """Stores with thousands of rooms."""

    def test_killed(self) -> None:
        """Killed twenty times at any moment each has all its rows, in a schema that there has been or is."""
        for version in range(1, len(MIGRATIONS)):
            self.killed(version, 20)
