"""Backup, verify and restore of a stopped relay, by their commands."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from signal import SIG_IGN, SIGXFSZ, signal

from securechat.crypto.cpu import CpuEngine
from securechat.relay import schema
from securechat.relay.admin import copies
from securechat.relay.admin.errors import Exit
from securechat.relay.lock import locked
from securechat.relay.records import OwnerChanged
from securechat.relay.sqlite_store import lock_file, open_locked
from securechat.relay.storage_key import KEY_FILE, StorageKey
from tests.relay.admin.stores import OLD_POSTS, POSTS, SECRET, DataCase, owner

COUNTS = f"4 owners, 2 rooms, 3 entries, 2 epochs, {POSTS + 1} messages, 1 cursors, 1 handouts, 2 bans"


class CopyCase(DataCase):
    """A data directory, and a place for a backup."""

    def setUp(self) -> None:
        """Make both."""
        super().setUp()
        self.backup = self.data.with_name(f"{self.data.name}-elsewhere") / "backup"
        self.backup.parent.mkdir()

    def backed_up(self) -> Path:
        """A backup."""
        result = self.run_command("backup", self.backup)
        self.assertEqual((0, ""), (result.status, result.err))
        return self.backup

    def change(self) -> None:
        """Somebody new comes."""
        store = open_locked(self.place.store, StorageKey(SECRET), CpuEngine())
        store.commit([OwnerChanged(owner("dora"))])
        store.close()


class BackupTests(CopyCase):
    """`backup`."""

    def test_backup(self) -> None:
        """All is in one file, for its owner alone, which is told by counts; nothing else is left anywhere."""
        before = self.files()
        result = self.run_command("backup", self.backup)
        self.assertEqual((0, f"{self.backup}: {COUNTS}\n", ""), result)
        self.assertEqual(0o600, self.backup.stat().st_mode & 0o777)
        self.assertEqual([self.backup], list(self.backup.parent.iterdir()))
        self.assertEqual(before, self.files())
        self.assertEqual(self.kept, self.read(self.backup))

    def test_nothing_is_legible(self) -> None:
        """Without the key no name, room, key, message or network stands in a backup."""
        data = self.backed_up().read_bytes()
        self.assertNotIn(b"unmistakable", data)
        self.assertNotIn(b"192.0.2", data)
        self.assertNotIn(b"alice", data)

    def test_exists(self) -> None:
        """A file that is there is left alone, unless it is to be replaced."""
        self.backup.write_text("mine")
        self.refused(Exit.EXISTS, "--force", "backup", self.backup)
        self.assertEqual("mine", self.backup.read_text())
        self.assertEqual(0, self.run_command("backup", self.backup, "--force").status)
        self.assertEqual(self.kept, self.read(self.backup))

    def test_older_store(self) -> None:
        """The store of an older version is copied as it is, and stays what it was."""
        self.patch(
            schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT",))
        )
        version = len(schema.MIGRATIONS) - 1
        for path in (self.backed_up(), self.place.store):
            connection = sqlite3.connect(path)
            self.assertEqual((version,), connection.execute("PRAGMA user_version").fetchone())
            connection.close()

    def test_damaged(self) -> None:
        """A store that is damaged is not given out for a backup, and an older backup stays."""
        before = self.backed_up().read_bytes()
        connection = sqlite3.connect(self.place.store)
        connection.execute("UPDATE messages SET row = zeroblob(200) WHERE seq = 1000")
        connection.commit()
        connection.close()
        self.refused(Exit.DAMAGED, "not every row of messages opens", "backup", self.backup, "--force")
        self.assertEqual(before, self.backup.read_bytes())
        self.assertEqual([self.backup], list(self.backup.parent.iterdir()))

    def test_no_store(self) -> None:
        """Where there is no store there is nothing to copy."""
        self.place.store.unlink()
        self.refused(Exit.NO_SUCH, "no store", "backup", self.backup)

    def test_locked(self) -> None:
        """A store that somebody uses without an admin socket is left alone."""
        with locked(lock_file(self.place.store)):
            self.refused(Exit.RUNNING, "stop it first", "backup", self.backup)

    def test_no_place(self) -> None:
        """A directory that is not there is told by its name."""
        self.refused(Exit.FAILED, "nowhere", "backup", self.data / "nowhere" / "backup")

    def test_no_space(self) -> None:
        """A disk that is full leaves no half of a backup."""
        before = signal(SIGXFSZ, SIG_IGN)
        self.addCleanup(signal, SIGXFSZ, before)
        limits = getrlimit(RLIMIT_FSIZE)
        setrlimit(RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            result = self.run_command("backup", self.backup)
        finally:
            setrlimit(RLIMIT_FSIZE, limits)
        self.assertNotEqual(0, result.status)
        self.assertEqual(1, len(result.err.splitlines()))
        self.assertEqual([], list(self.backup.parent.iterdir()))

    def test_full(self) -> None:
        """A full disk has a status of its own, whoever finds it."""

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(copies, "flush", refuse)
        self.refused(Exit.NO_SPACE, "No space left on device", "backup", self.backup)
        failed = sqlite3.OperationalError("database or disk is full")
        failed.sqlite_errorname = "SQLITE_FULL"

        def full(*_: object) -> None:
            raise failed

        self.patch(copies, "copy_store", full)
        self.refused(Exit.NO_SPACE, "database or disk is full", "backup", self.backup)
        self.assertEqual([], list(self.backup.parent.iterdir()))

    def test_not_permitted(self) -> None:
        """Where one may not write that is told. (Root may write anywhere, so the refusal is made up.)"""

        def refuse(path: object, *_: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        self.patch(os, "open", refuse)
        self.refused(Exit.NOT_PERMITTED, "backup.part: Permission denied", "backup", self.backup)


class VerifyTests(CopyCase):
    """`verify`."""

    def test_whole(self) -> None:
        """A backup and a stopped relay's store are whole, and neither is changed by looking."""
        before = self.files()
        for path in (self.backed_up(), self.place.store):
            data = path.read_bytes()
            self.assertEqual((0, f"{path} is whole: {COUNTS}\n", ""), self.run_command("verify", path))
            self.assertEqual(data, path.read_bytes())
        self.assertEqual(before, self.files())
        self.assertEqual([self.backup], list(self.backup.parent.iterdir()))

    def test_read_only(self) -> None:
        """A backup that may only be read, in a directory that may only be read, is checked as well."""
        self.backed_up().chmod(0o400)
        self.backup.parent.chmod(0o500)
        self.addCleanup(self.backup.parent.chmod, 0o700)
        self.assertEqual(0, self.run_command("verify", self.backup).status)

    def test_every_row(self) -> None:
        """A row that was changed, or stands in another's place, in whatever table, is found."""
        tables = ["owners", "rooms", "entries", "epochs", "messages", "cursors", "handouts", "bans"]
        data = self.backed_up().read_bytes()
        for table in tables:
            where = f"SELECT max(id) FROM {table} WHERE length(row) > 0"
            other = "iif(substr(row, 41, 1) = x'00', x'01', x'00')"
            for change in (f"substr(row, 1, 40) || {other} || substr(row, 42)", "x'02' || substr(row, 2)"):
                self.backup.write_bytes(data)
                connection = sqlite3.connect(self.backup)
                connection.execute(f"UPDATE {table} SET row = CAST({change} AS BLOB) WHERE id = ({where})")
                connection.commit()
                connection.close()
                self.refused(Exit.DAMAGED, f"not every row of {table} opens", "verify", self.backup)
        for table, column in (
            ("owners", "name_tag"),
            ("rooms", "room_tag"),
            ("messages", "post_tag"),
            ("cursors", "cursor_tag"),
            ("bans", "ban_tag"),
        ):
            self.backup.write_bytes(data)
            connection = sqlite3.connect(self.backup)
            where = f"SELECT max(id) FROM {table} WHERE length(row) > 0"
            connection.execute(f"UPDATE {table} SET {column} = randomblob(16) WHERE id = ({where})")
            connection.commit()
            connection.close()
            self.refused(Exit.DAMAGED, "opens", "verify", self.backup)

    def test_pages(self) -> None:
        """Bytes that were changed anywhere in the pages in use are found, and so is a file that was cut."""
        data = bytearray(self.backed_up().read_bytes())
        for at in range(20, len(data), len(data) // 40):
            if not any(data[at : at + 64]):
                # Nothing is there.
                continue
            broken = bytearray(data)
            broken[at : at + 64] = bytes(each ^ 0xFF for each in broken[at : at + 64])
            self.backup.write_bytes(broken)
            result = self.run_command("verify", self.backup)
            self.assertIn(result.status, (Exit.DAMAGED, Exit.NEWER), f"{at}: {result}")
            self.assertEqual(1, len(result.err.splitlines()))
        for size in (0, 100, 4_096, len(data) - 4_096):
            self.backup.write_bytes(data[:size])
            self.refused(Exit.DAMAGED, "", "verify", self.backup)

    def test_what_is_no_store(self) -> None:
        """Other files, other programs' databases, and stores with more tables in them are none."""
        self.backup.write_text("Dear Alice, " * 1_000)
        self.refused(Exit.DAMAGED, "not a database", "verify", self.backup)
        self.backup.unlink()
        connection = sqlite3.connect(self.backup)
        connection.execute("CREATE TABLE things (id INTEGER)")
        connection.commit()
        connection.close()
        self.refused(Exit.DAMAGED, "no store of a relay", "verify", self.backup)
        self.backup.unlink()
        connection = sqlite3.connect(self.backed_up())
        connection.execute("CREATE TRIGGER t AFTER DELETE ON owners BEGIN DELETE FROM bans; END")
        connection.commit()
        connection.close()
        self.refused(Exit.DAMAGED, "its tables are not those", "verify", self.backup)

    def test_missing(self) -> None:
        """A file that is not there is told by its name."""
        self.refused(Exit.FAILED, "backup: No such file", "verify", self.backup)

    def test_another_key(self) -> None:
        """With another key it is said that it is another, and not that there is damage; and so without one."""
        self.backed_up()
        (self.data / KEY_FILE).write_bytes(b"x" * 32)
        self.refused(Exit.WRONG_KEY, "the storage key is not the one", "verify", self.backup)
        (self.data / KEY_FILE).unlink()
        self.refused(Exit.WRONG_KEY, "there is no storage key", "verify", self.backup)
        elsewhere = self.backup.with_name("key")
        elsewhere.write_bytes(SECRET)
        elsewhere.chmod(0o600)
        self.assertEqual(0, self.run_command("verify", self.backup, "--storage-key", elsewhere).status)
        elsewhere.chmod(0o644)
        self.refused(Exit.FAILED, "others can read", "verify", self.backup, "--storage-key", elsewhere)

    def test_newer(self) -> None:
        """A backup of a newer version is not for this one to judge."""
        connection = sqlite3.connect(self.backed_up())
        connection.execute("PRAGMA user_version=99")
        connection.close()
        self.refused(Exit.NEWER, "newer version", "verify", self.backup)

    def test_running(self) -> None:
        """A store in use is not read past its relay."""
        with locked(lock_file(self.place.store)):
            self.refused(Exit.RUNNING, "stop it first", "verify", self.place.store)


class RestoreTests(CopyCase):
    """`restore`."""

    def test_restore(self) -> None:
        """The store is what it was when the backup was made, and the one before is kept whole beside it."""
        self.backed_up()
        self.change()
        changed = self.read()
        self.assertNotEqual(self.kept, changed)
        before = set(self.files())
        result = self.run_command("restore", self.backup)
        kept = self.data / "relay.db.before-restore-1"
        self.assertEqual(
            (0, f"{self.place.store} is what {self.backup} was; the store before is {kept}\n", ""), result
        )
        self.assertEqual({kept.name}, set(self.files()) - before)
        self.assertEqual((self.kept, changed), (self.read(), self.read(kept)))
        self.assertEqual(0o600, self.place.store.stat().st_mode & 0o777)

    def test_again(self) -> None:
        """Each restore keeps what was there under a name of its own."""
        self.backed_up()
        for _ in range(3):
            self.assertEqual(0, self.run_command("restore", self.backup).status)
        self.assertEqual(3, len([name for name in self.files() if "before-restore" in name]))

    def test_after_a_crash(self) -> None:
        """What a killed relay had not yet written into its store is in what is kept, and not in the new one."""
        self.backed_up()
        self.crash()
        self.assertIn("relay.db-wal", self.files())
        self.assertEqual(0, self.run_command("restore", self.backup).status)
        self.assertNotIn("relay.db-wal", self.files())
        self.assertEqual(self.kept, self.read())
        old = self.read(self.data / "relay.db.before-restore-1")
        self.assertIn("dora", [owner.name for owner in old.owners])

    def crash(self) -> None:
        """A relay is killed with something in the log of its store."""
        store = open_locked(self.place.store, StorageKey(SECRET), CpuEngine())
        store.commit([OwnerChanged(owner("dora"))])
        files = {path: path.read_bytes() for path in self.data.iterdir() if path.name.startswith("relay.db")}
        store.close()
        for path, data in files.items():
            path.write_bytes(data)

    def test_over_damage(self) -> None:
        """A store that cannot be opened, with a log, is put aside all the same, and its log with it."""
        self.backed_up()
        self.crash()
        self.place.store.write_bytes(b"nonsense" * 1_000)
        self.assertEqual(0, self.run_command("restore", self.backup).status)
        self.assertEqual(self.kept, self.read())
        kept = self.data / "relay.db.before-restore-1"
        self.assertEqual(b"nonsense" * 1_000, kept.read_bytes())
        self.assertTrue(kept.with_name(f"{kept.name}-wal").exists())

    def test_on_an_empty_machine(self) -> None:
        """Where there is no store yet the key alone is needed; without it nothing is done."""
        self.backed_up()
        key = (self.data / KEY_FILE).read_bytes()
        self.crash()
        log = (self.data / "relay.db-wal").read_bytes()
        for path in self.data.iterdir():
            path.unlink()
        self.refused(Exit.WRONG_KEY, "there is no storage key", "restore", self.backup)
        self.assertEqual([], self.files())
        (self.data / KEY_FILE).write_bytes(key)
        (self.data / KEY_FILE).chmod(0o600)
        # Of a relay whose store somebody has deleted.
        (self.data / "relay.db-wal").write_bytes(log)
        self.assertEqual(
            (0, f"{self.place.store} is what {self.backup} was\n", ""), self.run_command("restore", self.backup)
        )
        self.assertEqual(self.kept, self.read())

    def test_no_directory(self) -> None:
        """A directory that is not there is not made: it would be another relay's."""
        self.backed_up()
        self.data = self.data / "nowhere"
        self.refused(Exit.NO_SUCH, "no directory", "restore", self.backup)

    def test_refused(self) -> None:
        """What is damaged, sealed under another key, missing, or while a relay runs, changes nothing."""
        data = self.backed_up().read_bytes()
        before = self.files(), self.place.store.read_bytes()
        self.backup.write_bytes(data[:-4_096])
        self.refused(Exit.DAMAGED, "", "restore", self.backup)
        self.refused(Exit.FAILED, "No such file", "restore", self.backup.with_name("nowhere"))
        self.backup.write_bytes(data)
        with locked(lock_file(self.place.store)):
            self.refused(Exit.RUNNING, "stop it first", "restore", self.backup)
        (self.data / KEY_FILE).write_bytes(b"x" * 32)
        self.refused(Exit.WRONG_KEY, "put that key back first", "restore", self.backup)
        (self.data / KEY_FILE).write_bytes(SECRET)
        self.assertEqual(before, (self.files(), self.place.store.read_bytes()))

    def test_no_backup(self) -> None:
        """Files of a store that was not closed are no backup: half of it may be in the other one."""
        self.crash()
        for path in self.data.glob("relay.db*"):
            (self.backup.parent / path.name).write_bytes(path.read_bytes())
        self.refused(Exit.DAMAGED, "no backup", "restore", self.backup.with_name("relay.db"))

    def test_cut_off(self) -> None:
        """However far it came, there is a whole store in its place: the old one or the new one."""
        self.backed_up()
        self.change()
        changed = self.read()
        steps = 0
        done = False
        while not done:
            steps += 1
            self.assertLess(steps, 20)
            done = self.stopped_at(steps)
            self.assertIn(self.read(), (changed, self.kept))
            if done:
                self.assertEqual(self.kept, self.read())
        self.assertGreater(steps, 4)

    def stopped_at(self, step: int) -> bool:
        """A restore whose step of this number fails; whether there are no more steps."""
        left = step

        def counted(function: object) -> object:
            def count(*arguments: object, **named: object) -> object:
                nonlocal left
                left -= 1
                if left == 0:
                    raise OSError(5, "Input/output error")
                return function(*arguments, **named)  # type: ignore[operator]

            return count

        steps = [
            (os, "link"),
            (Path, "replace"),
            (shutil, "copyfile"),
            (copies, "verify"),
            (copies, "flush"),
            (copies, "flush_directory"),
        ]
        patches = [self.patch(where, name, counted(getattr(where, name))) for where, name in steps]
        result = self.run_command("restore", self.backup)
        for patch in patches:
            patch.restore()
        return result.status == 0


class OldPostsTests(DataCase):
    """What the fixture is meant to hold."""

    def test_fixture(self) -> None:
        """Old messages have lost their rows and kept their numbers, and there are rows of every table."""
        (cake, tea) = sorted(self.kept.rooms)
        self.assertEqual(OLD_POSTS + POSTS, tea.last_seq)
        self.assertEqual(["#cake", "#unmistakable-tea"], [cake.name, tea.name])
