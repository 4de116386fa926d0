"""Relays that are killed while they bring an older store up to date."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from os import urandom
from pathlib import Path
from random import Random
from signal import SIGKILL
from typing import Final

from securechat.relay.admin.verifying import verify
from securechat.relay.place import STORE_FILE
from securechat.relay.records import EntryTaken, KeyDrawn, MessageTaken, Record
from securechat.relay.schema import APPLICATION_ID, MIGRATIONS
from securechat.relay.storage_key import load, load_or_make
from securechat.relay.tags import post_tag
from securechat.wire.messages import Delivery, Enter, Roster
from tests.faults.ends import FAST, EndCase
from tests.faults.programs import LONG_S, MIB, Relay
from tests.relay.keeping import open_store
from tests.relay.people import Chain, person
from tests.relay.process import TWISTD, Talker, fresh_directory

ROOMS: Final = 6_000
"""So many that a migration takes its time."""
EACH: Final = 100
"""Rooms of one member."""
VERSION_AT: Final = 60
"""Where a file of SQLite has its `user_version`, four bytes."""


def fill(directory: Path) -> None:
    """Make a store of this version in whose rooms their members have said something."""
    path = directory / STORE_FILE
    key = load_or_make(directory, None, path)
    store = open_store(path, key)
    now_ms = time.time_ns() // 1_000_000
    records: list[Record] = []
    for number in range(ROOMS):
        room, member, post_id = f"#room{number}", person(f"member{number // EACH}"), urandom(16)
        chain = Chain(room)
        records.append(EntryTaken(room, 0, chain.found(member).entry))
        records.append(KeyDrawn(room, chain.known.epoch, urandom(32), 1))
        tag, text = post_tag(key, room, member.name, post_id), f"said in {room}".encode()
        records.append(MessageTaken(room, 1, tag, member.name, post_id, chain.known.epoch, now_ms, text))
    store.commit(records)
    store.close()


def older(new: Path, version: int) -> Path:
    """A store of an older version with all of a new one that it has a place for."""
    path = new.with_name(f"{version}.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        for migration in MIGRATIONS[:version]:
            for statement in migration:
                connection.execute(statement)
        connection.execute("ATTACH ? AS new", (str(new),))
        tables = connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall()
        for (table,) in tables:
            columns = ", ".join(each[1] for each in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={version}")
    return path


def version_of(path: Path) -> int:
    """The version of a store that nobody uses."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


class MigrationCase(EndCase):
    """A store of an older version, again and again, and relays that are killed on it."""

    def setUp(self) -> None:
        """A store with much in it."""
        super().setUp()
        self.data.mkdir(mode=0o700)
        self.store = self.data / "relay.db"
        self.log = self.store.with_name("relay.db-wal")
        fill(self.data)
        self.key = load(self.data, None)
        self.new = self.store.rename(fresh_directory(self) / "new.db")
        self.counts = self.verified(self.new)
        self.assertEqual(3 * ROOMS, sum(self.counts[table] for table in ("rooms", "epochs", "messages")))

    def verified(self, path: Path) -> dict[str, int]:
        """How many rows of each table there are in a store that is whole: of one version, and every row opens."""
        return verify(path, self.key, lambda done, total: None)

    def opens(self, old: Path) -> subprocess.Popen[bytes]:
        """A relay that has just opened a copy of a store."""
        for path in self.data.glob("relay.db*"):
            path.unlink()
        shutil.copyfile(old, self.store)
        words = [
            "-n",
            "--pidfile=",
            "securechat",
            "--data",
            str(self.data),
            "--listen",
            f"tcp:{self.port}:interface=127.0.0.1",
        ]
        relay = subprocess.Popen(
            [TWISTD, *words, *FAST, "--engine", "cpu"], cwd=self.data, stdout=subprocess.DEVNULL
        )
        self.addCleanup(relay.wait)
        self.addCleanup(relay.kill)
        end = time.monotonic() + LONG_S
        while not self.log.exists():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.0005)
        return relay

    def is_done(self) -> bool:
        """Whether the file itself is of this version, and its log empty."""
        with self.store.open("rb") as file:
            file.seek(VERSION_AT)
            return int.from_bytes(file.read(4)) == len(MIGRATIONS) and not self.log.stat().st_size

    def takes_s(self, old: Path) -> float:
        """How long a migration takes that nothing disturbs."""
        relay = self.opens(old)
        began = time.monotonic()
        self.until(self.is_done, LONG_S)
        took = time.monotonic() - began
        relay.kill()
        relay.wait()
        return took

    def killed(self, version: int, times: int) -> None:
        """A relay is killed so many times while it migrates a store of a version; each time all is there."""
        random = Random(19)
        old = older(self.new, version)
        expected = {table: count for table, count in self.counts.items() if table in self.verified(old)}
        self.assertEqual(expected, self.verified(old))
        takes = self.takes_s(old)
        found = []
        for number in range(times):
            relay = self.opens(old)
            # At once, at any moment of its own span, and when all is done: there is an old one and a new one.
            if number == times - 1:
                self.until(self.is_done, LONG_S)
            elif number:
                time.sleep((number + random.random()) / times * takes)
            relay.kill()
            self.assertEqual(-SIGKILL, relay.wait())
            found.append(version_of(self.store))
            counts = self.verified(self.store)
            self.assertEqual(expected, {table: counts[table] for table in expected})
        self.measured(
            f"of version {version}, {old.stat().st_size / MIB:.1f} MiB, in {takes * 1e3:.0f} ms; killed it was of "
            f"{found}"
        )
        self.assertEqual({version, len(MIGRATIONS)}, {min(found), max(found)})
        self.finds_all()

    def finds_all(self) -> None:
        """A relay goes on with the store: what was said is there."""
        relay = Relay(self, "--data", str(self.data), *FAST)
        for number in (0, ROOMS - 1):
            room = f"#room{number}"
            talker = Talker(self, relay.address)
            talker.login(f"member{number // EACH}")
            talker.send(Enter(room, 0, 0))
            self.assertEqual(1, talker.until(Roster).last_seq)
            self.assertEqual(f"said in {room}".encode(), talker.until(Delivery).items[0][2])
        relay.ends()
        # Those two have logged in, and nothing else has changed.
        self.assertEqual({**self.counts, "owners": 2}, self.verified(self.store))
