"""Migrations: stores of every older version come up to date, and one that is cut off leaves the old or the new."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.admin.verifying import verify
from securechat.relay.errors import RelayError
from securechat.relay.schema import APPLICATION_ID, MIGRATIONS, tables_of_version, tables_there
from securechat.relay.store import Kept
from tests.relay.keeping import KEY, open_store, store_path

DUMPS: Final = Path(__file__).with_name("schemas")
OLDER: Final = range(1, len(MIGRATIONS))

CUT_OFF: Final = """
import os, sqlite3, sys
from securechat.crypto.cpu import CpuEngine
from securechat.relay import schema
from securechat.relay.sqlite_store import SqliteStore
from tests.relay.keeping import KEY

left = int(sys.argv[1])
connect = sqlite3.connect

class Connection(sqlite3.Connection):
    def execute(self, *arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return super().execute(*arguments)

schema.sqlite3.connect = lambda *arguments, **named: connect(*arguments, **named, factory=Connection)
SqliteStore(sys.argv[2], KEY, CpuEngine())
"""


def version_of(path: Path) -> int:
    """The version of a store."""
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        assert isinstance(found, int)
        return found


class MigrationTests(SynchronousTestCase):
    """Stores of every older version."""

    def setUp(self) -> None:
        """Have a place."""
        self.path = store_path(self)

    def make(self, version: int) -> Path:
        """A store of a version, as its program has left it."""
        for path in self.path.parent.iterdir():
            path.unlink()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.executescript((DUMPS / f"{version}.sql").read_text())
        return self.path

    def read(self) -> Kept:
        """What a relay finds."""
        store = open_store(self.path)
        kept = store.load()
        store.close()
        return kept

    def check(self, kept: Kept) -> None:
        """All that every one of these stores has is there."""
        self.assertEqual(
            [("alice", b"i" * 32), ("bob", b"j" * 32)], [(each.name, each.identity) for each in kept.owners]
        )
        (tea,) = kept.rooms
        self.assertEqual(("#tea", [b"founding", b"second"]), (tea.name, tea.entries))
        self.assertEqual((b"e" * 32, b"k" * 32, 3), (tea.epoch, tea.key, tea.last_seq))
        tags = [KEY.tag("messages", b"#tea", b"alice", seq.to_bytes(16, "big")) for seq in (1, 2, 3)]
        self.assertEqual({tag: seq for seq, tag in enumerate(tags, 1)}, tea.ids)
        self.assertEqual([(5, b"blob")], [(each.serial, each.blob) for each in kept.waiting])

    def test_none_is_missing(self) -> None:
        """There is a store of each older version, and each is of the version that it is called by."""
        self.assertEqual(
            sorted(f"{version}.sql" for version in OLDER), sorted(path.name for path in DUMPS.glob("*.sql"))
        )
        for version in OLDER:
            self.assertEqual(version, version_of(self.make(version)))

    def test_history_is_not_rewritten(self) -> None:
        """The first migrations still make what they made when they were new."""
        for version in OLDER:
            with closing(sqlite3.connect(self.make(version))) as connection:
                self.assertEqual(tables_of_version(version), tables_there(connection), version)

    def test_up_to_date(self) -> None:
        """A store of any older version becomes what a new one is, with all that it held."""
        new = self.path.with_name("new.db")
        open_store(new).close()
        with closing(sqlite3.connect(new)) as connection:
            expected = self.shape(connection)
        for version in OLDER:
            self.make(version)
            self.check(self.read())
            with closing(sqlite3.connect(self.path)) as connection:
                self.assertEqual(expected, self.shape(connection), version)
            verify(self.path, KEY, lambda done, total: None)

    def shape(self, connection: sqlite3.Connection) -> object:
        """What a store is, without what it holds."""
        pragmas = ("user_version", "application_id", "auto_vacuum", "journal_mode")
        return tables_there(connection), [connection.execute(f"PRAGMA {each}").fetchone() for each in pragmas]

    def test_whole_as_they_were(self) -> None:
        """A backup of an older version is whole by the schema of that version, and is not changed by looking."""
        for version in OLDER:
            before = self.make(version).read_bytes()
            self.assertEqual(2, verify(self.path, KEY, lambda done, total: None)["owners"])
            self.assertEqual(before, self.path.read_bytes())

    def check_old_or_new(self, version: int) -> bool:
        """A store is of the old version or a newer one, with just the tables of that; whether it is up to date."""
        found = version_of(self.path)
        self.assertGreaterEqual(found, version)
        with closing(sqlite3.connect(self.path)) as connection:
            self.assertEqual(tables_of_version(found), tables_there(connection))
            self.assertEqual(("ok",), connection.execute("PRAGMA integrity_check").fetchone())
            if found:
                self.assertEqual((APPLICATION_ID,), connection.execute("PRAGMA application_id").fetchone())
        return found == len(MIGRATIONS)

    def test_killed(self) -> None:
        """Killed at any statement it is old or new, never between, and the next start finds all."""
        for version in OLDER:
            statement, was_new, was_old = 0, False, False
            while True:
                statement += 1
                self.make(version)
                done = subprocess.run(
                    [sys.executable, "-c", CUT_OFF, str(statement), str(self.path)], capture_output=True, timeout=60
                )
                self.assertIn(done.returncode, (0, -9), done.stderr)
                is_new = self.check_old_or_new(version)
                self.check(self.read())
                if done.returncode == 0:
                    break
                was_new |= is_new
                was_old |= not is_new
            self.assertTrue(was_new and was_old)
            self.assertGreater(statement, 12)

    def test_fails(self) -> None:
        """A statement that fails, whichever, leaves the old or the new as well; so in a new store."""
        for version in (0, *OLDER):
            statement = 0
            while self.failed_at(version, statement := statement + 1):
                if self.path.exists() and self.path.stat().st_size:
                    self.check_old_or_new(version)
                kept = self.read()
                if version:
                    self.check(kept)
            self.assertGreater(statement, 12)

    def failed_at(self, version: int, statement: int) -> bool:
        """Fail at a statement; False where there is none of that number."""
        if version:
            self.make(version)
        else:
            shutil.rmtree(self.path.parent)
            self.path.parent.mkdir()
        left = statement
        connect = sqlite3.connect

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                nonlocal left
                left -= 1
                if left == 0:
                    raise sqlite3.OperationalError("disk I/O error")
                return super().execute(*arguments)

        def connected(*arguments: Any, **named: Any) -> sqlite3.Connection:
            return connect(*arguments, **named, factory=Connection)

        patch = self.patch(sqlite3, "connect", connected)
        try:
            open_store(self.path).close()
        except (RelayError, sqlite3.Error):
            self.assertLessEqual(left, 0)
            return True
        finally:
            patch.restore()
        self.assertGreater(left, 0)
        return False

    def test_numbers(self) -> None:
        """Each migration makes or changes something, and a new store has the number of the last."""
        for version in range(1, len(MIGRATIONS) + 1):
            self.assertNotEqual(tables_of_version(version - 1), tables_of_version(version))
        open_store(self.path).close()
        self.assertEqual(len(MIGRATIONS), version_of(self.path))

    def test_strict(self) -> None:
        """Every table is strict and found by its row's number."""
        for name, sql in tables_of_version(len(MIGRATIONS)):
            if sql.startswith("CREATE TABLE"):
                self.assertTrue(re.fullmatch(r"CREATE TABLE .*\(id INTEGER PRIMARY KEY.*\) STRICT", sql), name)
