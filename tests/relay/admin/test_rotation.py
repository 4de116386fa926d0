"""A new storage key: all is there under it, nothing is left under the old one, and it may be cut off anywhere."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from securechat.crypto.cpu import CpuEngine
from securechat.relay import building, schema
from securechat.relay.admin import rotation
from securechat.relay.admin.errors import Exit
from securechat.relay.errors import RelayError
from securechat.relay.lock import locked
from securechat.relay.records import EntryTaken, OwnerChanged
from securechat.relay.sealed_rows import TABLES, pages, present
from securechat.relay.sqlite_store import lock_file, open_locked
from securechat.relay.storage_key import KEY_FILE, StorageKey
from securechat.relay.store import HOUR_MS, KEEP_HOURS, Kept
from tests.relay.admin.stores import OLD_POSTS, POSTS, SECRET, DataCase, owner
from tests.relay.people import NOW_MS

KILLED: Final = """
import os, sys
from securechat.relay.admin import rotation
from securechat.relay.admin.cli import main

left = int(sys.argv[1])

def counted(function):
    def count(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        return function(*arguments, **named)
    return count

for where, name in {steps}:
    setattr(where, name, counted(getattr(where, name)))
sys.exit(main(["rotate-key", "--data", sys.argv[2]]))
"""

STEPS: Final = (
    "[(rotation._Resealing, 'reseal'), (rotation._Resealing, 'forget_some'), (rotation.Path, 'replace'), "
    "(rotation.Path, 'unlink'), (rotation, 'write_whole'), (rotation, 'verify'), (rotation, 'flush'), "
    "(rotation, 'flush_directory'), (rotation, '_overwrite')]"
)


class RotationCase(DataCase):
    """A data directory whose key is to be changed."""

    def without_old_ids(self, kept: Kept) -> Kept:
        """What is left of the store: the ids of messages that have lost their rows are forgotten."""
        rooms = [
            room._replace(ids={seq: seq for tag, seq in room.ids.items() if seq > OLD_POSTS}) for room in kept.rooms
        ]
        return kept._replace(rooms=rooms)

    def key(self) -> bytes:
        """The storage key."""
        return (self.data / KEY_FILE).read_bytes()

    def sealed(self) -> list[bytes]:
        """All sealed rows of the store."""
        connection = sqlite3.connect(self.place.store)
        rows = [each.row for table in present(connection) for some in pages(connection, table) for each in some]
        connection.close()
        return rows

    def tags(self) -> set[bytes]:
        """All tags of the store."""
        connection = sqlite3.connect(self.place.store)
        found = {
            tag
            for table in present(connection)
            if table.is_own
            for (tag,) in connection.execute(f"SELECT {table.tag} FROM {table.name} WHERE {table.tag} IS NOT NULL")
        }
        connection.close()
        return found


class RotationTests(RotationCase):
    """`rotate-key`."""

    def test_all_is_there(self) -> None:
        """Under the new key the store is whole and holds what it held, and the old key opens it no more."""
        old = self.data.with_name("old-key")
        old.write_bytes(SECRET)
        old.chmod(0o600)
        result = self.run_command("rotate-key")
        self.assertEqual((0, ""), (result.status, result.err))
        self.assertIn("is new", result.out)
        self.assertNotEqual(SECRET, self.key())
        self.assertEqual(0o600, (self.data / KEY_FILE).stat().st_mode & 0o777)
        self.assertEqual(self.without_old_ids(self.kept), self.without_old_ids(self.read()))
        self.assertIn(f"{POSTS} messages", self.run_command("verify", self.place.store).out)
        self.refused(Exit.WRONG_KEY, "", "verify", self.place.store, "--storage-key", old)

    def test_numbers_stay(self) -> None:
        """Messages keep their numbers; those that are there are known by their ids, those that are not, no more."""
        (before,) = [room for room in self.kept.rooms if "tea" in room.name]
        self.run_command("rotate-key")
        (after,) = [room for room in self.read().rooms if "tea" in room.name]
        self.assertEqual(before.last_seq, after.last_seq)
        self.assertEqual(set(range(OLD_POSTS + 1, OLD_POSTS + POSTS + 1)), set(after.ids.values()))

    def test_nothing_old_is_left(self) -> None:
        """No row or tag of before stands in any file, nor does the old key."""
        rows, tags = self.sealed(), self.tags()
        self.assertGreater(len(rows), POSTS)
        self.assertGreater(len(tags), POSTS + OLD_POSTS)
        before = self.files()
        self.run_command("rotate-key")
        self.assertEqual(before, self.files())
        data = b"\n".join(path.read_bytes() for path in self.data.iterdir())
        self.assertEqual([], [row for row in rows if row[-32:] in data])
        self.assertEqual([], [tag for tag in tags if tag in data])
        self.assertNotIn(SECRET, data)
        self.assertEqual(set(), set(self.sealed()) & set(rows))

    def test_what_was_there_is_overwritten(self) -> None:
        """The old store and the old key are overwritten, not only unlinked."""
        store, key = self.data / "another name", self.data / "another key"
        os.link(self.place.store, store)
        os.link(self.data / KEY_FILE, key)
        self.run_command("rotate-key")
        self.assertEqual((0, 0), (max(store.read_bytes()), max(key.read_bytes())))

    def test_again(self) -> None:
        """It can be done again and again, and the store is written to between."""
        names = {each.name for each in self.kept.owners}
        for name in ("dora", "erin"):
            self.assertEqual(0, self.run_command("rotate-key").status)
            store = open_locked(self.place.store, StorageKey(self.key()), CpuEngine())
            store.commit([OwnerChanged(owner(name)), EntryTaken("#cake", 1 if name == "dora" else 2, b"entry")])
            store.close()
        kept = self.read()
        self.assertEqual({"dora", "erin"}, {each.name for each in kept.owners} - names)
        (cake,) = [room for room in kept.rooms if room.name == "#cake"]
        self.assertEqual(3, len(cake.entries))
        store = open_locked(self.place.store, StorageKey(self.key()), CpuEngine())
        store.tidy(NOW_MS + 30 * KEEP_HOURS * HOUR_MS)
        store.close()
        self.assertEqual(0, self.run_command("rotate-key").status)

    def test_keep_old(self) -> None:
        """The old key is kept where it is asked for, and opens old backups; no other file is replaced by it."""
        backup, old = self.data.with_name("backup-before"), self.data.with_name("old-key")
        self.run_command("backup", backup, "--force")
        old.unlink(missing_ok=True)
        self.assertEqual(0, self.run_command("rotate-key", "--keep-old", old).status)
        self.assertEqual((SECRET, 0o600), (old.read_bytes(), old.stat().st_mode & 0o777))
        self.refused(Exit.WRONG_KEY, "", "verify", backup)
        self.assertEqual(0, self.run_command("verify", backup, "--storage-key", old).status)
        self.refused(Exit.EXISTS, "is there already", "rotate-key", "--keep-old", old)

    def test_elsewhere(self) -> None:
        """A key elsewhere is replaced there, with its mode."""
        elsewhere = self.data / "etc" / "key"
        elsewhere.parent.mkdir()
        (self.data / KEY_FILE).rename(elsewhere)
        elsewhere.chmod(0o440)
        self.assertEqual(0, self.run_command("rotate-key", "--storage-key", elsewhere).status)
        self.assertEqual(0o440, elsewhere.stat().st_mode & 0o777)
        self.assertNotEqual(SECRET, elsewhere.read_bytes())
        self.assertEqual(["key"], [path.name for path in elsewhere.parent.iterdir()])
        self.assertEqual(0, self.run_command("verify", self.place.store, "--storage-key", elsewhere).status)

    def test_a_credential(self) -> None:
        """Where nothing can be written beside the key it is said what to do, and nothing is done."""

        def refuse(path: Path, *_: object) -> None:
            raise OSError(30, "Read-only file system")

        self.patch(rotation, "write_whole", refuse)
        self.refused(Exit.NOT_PERMITTED, "give the file that it is made of as --storage-key", "rotate-key")
        self.assertEqual((SECRET, self.kept), (self.key(), self.read()))

    def test_refused(self) -> None:
        """While a relay runs, without a store, with another key or a damaged store nothing is done."""
        before = self.files()
        with locked(lock_file(self.place.store)):
            self.refused(Exit.RUNNING, "stop it first", "rotate-key")
        (self.data / KEY_FILE).write_bytes(b"x" * 32)
        self.refused(Exit.WRONG_KEY, "the storage key is not the one", "rotate-key")
        (self.data / KEY_FILE).write_bytes(SECRET)
        connection = sqlite3.connect(self.place.store)
        connection.execute("UPDATE entries SET row = zeroblob(200) WHERE n = 1")
        connection.commit()
        connection.close()
        self.refused(Exit.DAMAGED, "is damaged", "rotate-key")
        self.assertEqual((SECRET, before), (self.key(), self.files()))
        self.place.store.unlink()
        self.refused(Exit.NO_SUCH, "no store", "rotate-key")

    def test_every_table(self) -> None:
        """Every table with sealed rows is known to what seals them anew and to what checks them."""
        tables = {name for name, sql in schema.tables_of_version(len(schema.MIGRATIONS)) if " row BLOB" in sql}
        self.assertEqual(tables, {table.name for table in TABLES})


class CutOffTests(RotationCase):
    """A rotation that ends at any of its steps."""

    def setUp(self) -> None:
        """Remember how it is."""
        super().setUp()
        self.original = self.data.with_name(f"{self.data.name}-original")
        shutil.copytree(self.data, self.original)

    def begin_again(self) -> None:
        """As if nothing had been."""
        shutil.rmtree(self.data)
        shutil.copytree(self.original, self.data)

    def relay_reads(self) -> Kept:
        """What a relay would find, which finishes what is left to do of a rotation before."""
        building._key(self.data, None, self.place.store)
        return self.without_old_ids(self.read())

    def check(self, step: int) -> None:
        """After a rotation that was cut off a relay finds all, and a rotation is done as if there had been none."""
        self.assertEqual(self.without_old_ids(self.kept), self.relay_reads(), step)
        self.assertFalse((self.data / "storage.key.new").exists())
        self.assertEqual((0, ""), self.run_command("rotate-key")[::2], step)
        self.assertEqual(self.without_old_ids(self.kept), self.relay_reads(), step)
        self.assertEqual(sorted([KEY_FILE, "relay.db", "relay.db.lock"]), self.files(), step)

    def test_fails(self) -> None:
        """Whichever step fails, there is a store that opens."""
        step = 0
        while self.failed_at(step := step + 1):
            self.check(step)
            self.begin_again()
        self.assertGreater(step, 15)

    def failed_at(self, step: int) -> bool:
        """Fail at a step; False where there is none of that number."""
        left = step

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def count(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    raise OSError(5, "Input/output error")
                return function(*arguments, **named)

            return count

        patches = [self.patch(where, name, counted(getattr(where, name))) for where, name in eval(STEPS)]
        result = self.run_command("rotate-key")
        for patch in patches:
            patch.restore()
        self.assertEqual(left <= 0, result.status != 0, result)
        return left <= 0

    def test_killed(self) -> None:
        """Killed at any of its steps it leaves a store that opens."""
        step = 0
        while self.killed_at(step := step + 1):
            self.check(step)
            self.begin_again()
        self.assertGreater(step, 15)

    def killed_at(self, step: int) -> bool:
        """Kill it at a step; False where there is none of that number."""
        done = subprocess.run(
            [sys.executable, "-c", KILLED.replace("{steps}", STEPS), str(step), str(self.data)],
            capture_output=True,
            timeout=60,
        )
        self.assertIn(done.returncode, (0, -9), done.stderr)
        return done.returncode == -9

    def test_finished_by_the_command(self) -> None:
        """A rotation that lacked only the key's last move is finished by the next, which says so."""
        self.patch(rotation, "_overwrite", lambda *_: None)
        replaced = Path.replace

        def replace(path: Path, target: Path) -> None:
            if path.name == "storage.key.new":
                raise OSError(5, "Input/output error")
            replaced(path, target)

        patch = self.patch(Path, "replace", replace)
        self.assertNotEqual(0, self.run_command("rotate-key").status)
        patch.restore()
        self.refused(Exit.WRONG_KEY, "", "verify", self.place.store)
        result = self.run_command("rotate-key")
        self.assertEqual(0, result.status)
        self.assertIn("is done", result.out)
        self.assertEqual(self.without_old_ids(self.kept), self.without_old_ids(self.read()))

    def test_neither_key(self) -> None:
        """Two keys of which none is the store's are told, and both are left."""
        for name in (KEY_FILE, "storage.key.new"):
            (self.data / name).write_bytes(name.encode().ljust(32))
            (self.data / name).chmod(0o600)
        self.refused(Exit.WRONG_KEY, "neither", "rotate-key")
        self.assertRaises(RelayError, building._key, self.data, None, self.place.store)
        self.assertTrue((self.data / "storage.key.new").exists())
