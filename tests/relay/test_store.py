"""The store: what was kept comes back, sealed it lies there, and nobody else's file is touched."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.cpu import CpuEngine
from securechat.relay import schema
from securechat.relay import sqlite_store as store_module
from securechat.relay.bans import Ban, Kind
from securechat.relay.directory import Owner
from securechat.relay.errors import RelayError, StoreError
from securechat.relay.lock import lock
from securechat.relay.log import RECENT_IDS
from securechat.relay.records import (
    Banned,
    CursorMoved,
    EntryTaken,
    KeyDrawn,
    KeyGone,
    KeyWaits,
    OwnerChanged,
    OwnerRemoved,
    Record,
    RoomEnded,
    Unbanned,
)
from securechat.relay.schema import lacks_room, truncate_log
from securechat.relay.spare import Spare
from securechat.relay.sqlite_store import SqliteStore, open_locked
from securechat.relay.storage_key import KEY_FILE, StorageKey, load_or_make
from securechat.relay.store import HOUR_MS, KEEP_HOURS, TIDY_ROWS, Kept, Store
from securechat.wire.messages import Hand
from tests.relay import store_contract
from tests.relay.harness import post_id
from tests.relay.keeping import KEY, open_store, store_path
from tests.relay.model_store import ModelRoom, ModelStore, Shelf
from tests.relay.people import NOW_MS
from tests.relay.store_contract import founded, message

NAMES = st.sampled_from(["alice", "bob", "zoë"])
ROOMS = st.sampled_from(["#tea", "#cake", "@alice+bob"])
BYTES = st.binary(max_size=40)
SECRETS = st.binary(min_size=32, max_size=32)


class StoreMachine(RuleBasedStateMachine):
    """A store beside its model: the same batches for both, which are closed, left as they are and opened anew."""

    path: Path

    def __init__(self) -> None:
        super().__init__()
        self.batch: list[Record] = []
        self.serial = 0
        self.store: Store | None = None
        self.left: list[Store] = []
        """Stores that were never closed, as after a crash."""

    @initialize()
    def begin(self) -> None:
        """A new store, and a new model."""
        for path in self.path.parent.iterdir():
            path.unlink()
        self.store = open_store(self.path)
        self.shelf = Shelf()
        self.model = ModelStore(self.shelf)
        self.ahead = Shelf()
        """What there is when the batch has been kept."""

    def teardown(self) -> None:
        """Close what is open."""
        for store in [*self.left, *([self.store] if self.store else [])]:
            store.close()

    def take(self, *records: Record) -> None:
        """Something happens."""
        self.batch += records
        for record in records:
            self.ahead.take(record)

    def room(self, data: st.DataObject) -> str:
        """One of the rooms."""
        return data.draw(st.sampled_from(sorted(self.ahead.rooms)))

    @rule(name=NAMES, identity=BYTES, secret=BYTES)
    def owner(self, name: str, identity: bytes, secret: bytes) -> None:
        """Somebody is new, or something of them is."""
        self.take(OwnerChanged(Owner(name, identity, secret, secret + b"c", secret + b"p", NOW_MS)))

    @precondition(lambda self: any(not each.is_former for each in self.ahead.owners.values()))
    @rule(data=st.data())
    def name_taken_away(self, data: st.DataObject) -> None:
        """An owner loses their name."""
        owners = [each for each in self.ahead.owners.values() if not each.is_former]
        self.take(OwnerRemoved(data.draw(st.sampled_from(owners))))

    @rule(kind=st.sampled_from(Kind), value=NAMES, name=NAMES, is_lifted=st.booleans())
    def ban(self, kind: Kind, value: str, name: str, is_lifted: bool) -> None:
        """Something is banned, or is no more."""
        ban = Ban(kind, value, NOW_MS, name)
        self.take(Unbanned(ban) if is_lifted else Banned(ban))

    @rule(room=ROOMS, entry=BYTES, key=SECRETS)
    def entry(self, room: str, entry: bytes, key: bytes) -> None:
        """A room is founded, or its log grows; there is a key."""
        before = self.ahead.rooms.get(room, ModelRoom())
        self.take(
            EntryTaken(room, len(before.entries), entry),
            KeyDrawn(room, key[::-1], key, max(before.messages, default=0) + 1),
        )

    @precondition(lambda self: self.ahead.rooms)
    @rule(data=st.data(), sealed=BYTES, hours=st.integers(0, 30), keep_days=st.sampled_from([0, 30]))
    def post(self, data: st.DataObject, sealed: bytes, hours: int, keep_days: int) -> None:
        """Somebody posts."""
        room = self.room(data)
        seq = max(self.ahead.rooms[room].messages, default=0) + 1
        epoch = self.ahead.rooms[room].epochs[-1].epoch
        self.take(message(room, seq, sealed, NOW_MS + hours * HOUR_MS, keep_days, epoch))

    @precondition(lambda self: self.ahead.rooms)
    @rule(data=st.data(), device=BYTES, seq=st.integers(0, 20))
    def seen(self, data: st.DataObject, device: bytes, seq: int) -> None:
        """Somebody has seen something."""
        self.take(CursorMoved(self.room(data), device, seq))

    @precondition(lambda self: self.ahead.rooms)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A room ends."""
        self.take(RoomEnded(self.room(data)))

    @rule(device=BYTES, blob=BYTES)
    def hand(self, device: bytes, blob: bytes) -> None:
        """A key waits."""
        self.serial += 1
        self.take(KeyWaits(self.serial, device, "#tea", b"d", "alice", blob, NOW_MS))

    @precondition(lambda self: self.ahead.waiting)
    @rule(data=st.data())
    def stored(self, data: st.DataObject) -> None:
        """A key waits no more."""
        self.take(KeyGone(data.draw(st.sampled_from(sorted(self.ahead.waiting)))))

    @rule()
    def commit(self) -> None:
        """Keep the batch."""
        for store in self.both():
            store.commit(self.batch)
            store.scrub(self.batch)
        self.batch = []

    def both(self) -> list[Store]:
        """The store and the model."""
        assert self.store is not None
        return [self.store, self.model]

    @rule()
    def refused(self) -> None:
        """The batch has something in it that cannot be; without that it can be kept later."""
        for store in self.both():
            try:
                store.commit([*self.batch, message("#nowhere", 1)])
            except StoreError:
                continue
            raise AssertionError("kept")

    @rule(days=st.sampled_from([0, 13, 15, 29, 31]), seen=st.dictionaries(ROOMS, st.integers(0, 20)))
    def tidy(self, days: int, seen: dict[str, int]) -> None:
        """Messages go when they are old or seen; their numbers and ids stay, and what ended goes."""
        self.commit()
        more = [store.tidy(NOW_MS + days * 24 * HOUR_MS, seen) for store in self.both()]
        assert more == [False, False]
        self.ahead = pickle.loads(pickle.dumps(self.shelf))

    @precondition(lambda self: not self.batch)
    @rule(crashes=st.booleans())
    def reopen(self, crashes: bool) -> None:
        """Close the store, or leave it as it is, and open it again."""
        assert self.store is not None
        if crashes:
            self.left.append(self.store)
        else:
            self.store.close()
        self.store = open_store(self.path)
        self.model = ModelStore(self.shelf)

    @invariant()
    def same(self) -> None:
        """What is kept is what the model has: all that is read at the start, pages, and how much it is."""
        if self.store is None or self.batch:
            return
        assert self.store.load() == self.model.load()
        for name in (*self.shelf.rooms, "#nowhere"):
            count, size = self.model.usage(name)
            found, bytes_found = self.store.usage(name)
            assert (found, bytes_found > size) == (count, count > 0)
            for first in range(1, 4):
                assert self.store.page(name, first) == self.model.page(name, first)
                tag = message(name, first).tag
                assert self.store.find(name, tag, 1, 2) == self.model.find(name, tag, 1, 2)


class ContractTests(store_contract.StoreContract):
    """What it promises as every store does."""

    def setUp(self) -> None:
        """Have a place for it."""
        self.path = store_path(self)
        super().setUp()

    def open(self) -> SqliteStore:
        """Open what is there."""
        self.opened = open_store(self.path)
        return self.opened

    def open_copy(self, path: Path) -> SqliteStore:
        """Open a file."""
        return open_store(path)

    def fill(self) -> None:
        """From now on the file may not grow."""
        ((pages,),) = self.opened._all("PRAGMA page_count")
        self.opened._all(f"PRAGMA max_page_count={pages}")

    def make_room(self) -> None:
        """It may grow again."""
        self.opened._all("PRAGMA max_page_count=1000000")


class StoreTests(SynchronousTestCase):
    """A store in a file."""

    def setUp(self) -> None:
        """Make it."""
        self.path = store_path(self)
        self.store = open_store(self.path)
        self.addCleanup(lambda: self.store.close())

    def reopened(self) -> Kept:
        """What a new look at the file finds."""
        self.store.close()
        self.store = open_store(self.path)
        return self.store.load()

    def all(self, statement: str) -> list[Any]:
        """Rows of the file, past the store."""
        return self.store._connection.execute(statement).fetchall()

    def test_model(self) -> None:
        """Whatever is kept in whatever batches is there as in the model, and nothing else."""
        path = self.path.with_name("model") / "relay.db"
        path.parent.mkdir()
        machine: Any = type("Machine", (StoreMachine,), {"path": path})
        quick = settings(
            max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        )
        machine.TestCase.settings = quick
        machine.TestCase("runTest").debug()

    def test_pragmas(self) -> None:
        """Commits are flushed, what is deleted is overwritten, and the file can shrink."""
        for pragma, value in [
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("secure_delete", 1),
            ("foreign_keys", 1),
            ("auto_vacuum", 2),
            ("trusted_schema", 0),
            ("application_id", schema.APPLICATION_ID),
            ("user_version", len(schema.MIGRATIONS)),
        ]:
            self.assertEqual([(value,)], self.all(f"PRAGMA {pragma}"), pragma)

    def test_newer_schema(self) -> None:
        """A store of a newer version is refused in one line, and left as it is."""
        self.store._connection.execute("PRAGMA user_version=99")
        self.store.close()
        before = self.path.read_bytes()
        with self.assertRaises(RelayError) as refused:
            open_store(self.path)
        self.assertIn("was made by a newer version (schema 99", str(refused.exception))
        self.assertEqual(before, self.path.read_bytes())
        connection = sqlite3.connect(self.path)
        connection.execute(f"PRAGMA user_version={len(schema.MIGRATIONS)}")
        connection.close()
        self.store = open_store(self.path)

    def test_somebody_elses(self) -> None:
        """A database of another program, and a file that is none, are refused and left as they are."""
        other = self.path.with_name("other.db")
        connection = sqlite3.connect(other)
        connection.execute("CREATE TABLE things (id INTEGER)")
        connection.commit()
        connection.close()
        text = self.path.with_name("letter.txt")
        text.write_text("Dear Alice, " * 1_000)
        for path in (other, text):
            before = path.read_bytes()
            self.assertRaises(RelayError, open_store, path)
            self.assertEqual(before, path.read_bytes())

    def test_migration_breaks(self) -> None:
        """A migration that fails half way leaves nothing of itself."""
        path = self.path.with_name("new.db")
        self.patch(schema, "MIGRATIONS", ((*schema.MIGRATIONS[0], "nonsense"),))
        self.assertRaises(RelayError, open_store, path)
        self.patch(schema, "MIGRATIONS", (schema.MIGRATIONS[0][:-1],))
        open_store(path).close()

    def test_another_key(self) -> None:
        """With another storage key a store is refused, and not damaged."""
        self.store.commit(founded("#tea"))
        with self.assertRaises(RelayError) as refused:
            open_store(self.path, StorageKey(b"x" * 32))
        self.assertIn("storage key", str(refused.exception))
        self.assertEqual(["#tea"], [room.name for room in self.reopened().rooms])

    def test_rows_in_each_others_place(self) -> None:
        """A row that stands where another should, or was changed, is damage."""
        self.store.commit([*founded("#tea"), EntryTaken("#tea", 1, b"second"), *founded("#cake")])
        for statement in (
            "UPDATE entries SET row = (SELECT row FROM entries WHERE n = 1) WHERE n = 0",
            "UPDATE rooms SET row = (SELECT max(row) FROM rooms)",
            "UPDATE epochs SET row = (SELECT max(row) FROM epochs)",
            "UPDATE epochs SET row = zeroblob(200)",
            "UPDATE rooms SET row = CAST(x'02' || substr(row, 2) AS BLOB)",
        ):
            self.store._connection.execute("SAVEPOINT before")
            self.store._connection.execute(statement)
            self.assertRaises(RelayError, self.store.load)
            self.store._connection.execute("ROLLBACK TO before")
        self.assertEqual(2, len(self.store.load().rooms))

    def test_old_keys_are_gone(self) -> None:
        """Nothing of a session key's row is left in any file once there is another, or the room has ended."""
        for then in (KeyDrawn("#tea", b"f" * 32, b"l" * 32, 1), RoomEnded("#tea")):
            if not self.all("SELECT 1 FROM rooms"):
                self.store.commit(founded("#tea"))
            ((row,),) = self.all("SELECT row FROM epochs")
            self.assertTrue(self.files_with(row[-32:]))
            self.store.commit([then])
            self.store.scrub([then])
            self.assertEqual([], self.files_with(row[-32:]))

    def files_with(self, text: bytes) -> list[str]:
        """The names of the store's files with some bytes in them."""
        return [path.name for path in self.path.parent.iterdir() if text in path.read_bytes()]

    def test_one_batch_is_sealed(self) -> None:
        """All rows of a commit are one batch of the engine."""
        sealed: list[int] = []
        works = self.store._engine.seal_list

        def seal_list(key: bytes, bound: Sequence[bytes], texts: Sequence[bytes]) -> list[bytes]:
            sealed.append(len(texts))
            return works(key, bound, texts)

        self.patch(self.store._engine, "seal_list", seal_list)
        self.store.commit([*founded("#tea"), *(message("#tea", seq) for seq in range(1, 51))])
        self.assertEqual([53], sealed)

    def test_messages(self) -> None:
        """A message's row has all that will be asked of it one day, and opens under its tag."""
        self.store.commit([*founded("#tea"), message("#tea", 1, b"text")])
        ((tag, row),) = self.all("SELECT post_tag, row FROM messages")
        (text,) = self.store._open([b"\x01messages\0" + tag + bytes(4)], [row])
        for part in (b"alice", post_id(1), b"text"):
            self.assertIn(part, text)

    def test_tidied_rows_are_gone(self) -> None:
        """Of messages that are too old there are as many rows left as ids are remembered, and no text."""
        count = RECENT_IDS + TIDY_ROWS + 10
        self.store.commit([*founded("#tea"), *(message("#tea", seq) for seq in range(1, count + 1))])
        while self.store.tidy(NOW_MS + (KEEP_HOURS + 1) * HOUR_MS):
            pass
        self.assertEqual([(0, RECENT_IDS)], self.all("SELECT count(row), count(*) FROM messages"))

    def test_rows_of_a_room_that_ended_are_gone(self) -> None:
        """The messages of a room that has ended go, and its own row; those of a new room of its name stay."""
        self.store.commit([*founded("#tea"), *(message("#tea", seq) for seq in range(1, TIDY_ROWS + 11))])
        self.store.commit([RoomEnded("#tea"), *founded("#tea"), message("#tea", 1)])
        while self.store.tidy(NOW_MS):
            pass
        self.assertEqual([(1, 1)], self.all("SELECT count(*), count(DISTINCT room) FROM messages"))
        self.assertEqual([(1,)], self.all("SELECT count(*) FROM rooms"))

    def test_other_errors_are_not_fullness(self) -> None:
        """What SQLite says about a broken disk, or Python of a mistake, is something else."""
        for name in ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_WRITE", "SQLITE_CORRUPT"):
            wrong = sqlite3.OperationalError()
            wrong.sqlite_errorname = name
            self.assertFalse(lacks_room(wrong))
        self.assertFalse(lacks_room(sqlite3.ProgrammingError("closed")))

    def test_log_stays(self) -> None:
        """A log that finds no room in the store stays as it is, and whatever else goes wrong with it is told."""
        for name, is_told in (("SQLITE_FULL", False), ("SQLITE_IOERR_FSYNC", True)):
            wrong = sqlite3.OperationalError()
            wrong.sqlite_errorname = name
            connection = Mock(execute=Mock(side_effect=wrong))
            if is_told:
                self.assertRaises(sqlite3.OperationalError, truncate_log, connection)
            else:
                self.assertFalse(truncate_log(connection))

    def test_scrubbed_later(self) -> None:
        """Where the log finds no room in the store, what was deleted goes from it as soon as there is some."""
        self.store.commit([*founded("#tea"), message("#tea", 1)])
        self.patch(store_module, "truncate_log", lambda _: False)
        ended = [RoomEnded("#tea")]
        self.store.commit(ended)
        self.store.scrub(ended)
        tried: list[sqlite3.Connection] = []

        def truncate(connection: sqlite3.Connection) -> bool:
            tried.append(connection)
            return True

        self.patch(store_module, "truncate_log", truncate)
        others = [message("#tea", 2)]
        self.store.scrub(others)
        self.store.scrub(others)
        self.assertEqual(1, len(tried))


class FilesTests(SynchronousTestCase):
    """The files of a store."""

    def setUp(self) -> None:
        """Somewhere to be."""
        self.path = store_path(self)
        self.spare = Spare(self.path.with_name("relay.db.spare"), 4_096)

    def key(self, elsewhere: Path | None = None) -> StorageKey:
        """The storage key as a relay finds or makes it."""
        return load_or_make(self.path.parent, elsewhere, self.path)

    def test_one_relay(self) -> None:
        """A store that is open is refused to others, and is free again when it was closed."""
        first = open_locked(self.path, KEY, CpuEngine(), self.spare)
        with self.assertRaises(RelayError) as refused:
            open_locked(self.path, KEY, CpuEngine(), self.spare)
        self.assertIn("another relay uses", str(refused.exception))
        first.close()
        open_locked(self.path, KEY, CpuEngine(), self.spare).close()

    def test_full_disk(self) -> None:
        """What the last run has left for a full disk makes way for opening, but never another relay's."""
        self.spare.make()
        first = open_locked(self.path, KEY, CpuEngine(), Spare(self.path.with_name("relay.db.spare")))
        self.assertFalse(self.path.with_name("relay.db.spare").exists())
        self.spare.make()
        another = Spare(self.path.with_name("relay.db.spare"))
        self.assertRaises(RelayError, open_locked, self.path, KEY, CpuEngine(), another)
        self.assertTrue(self.path.with_name("relay.db.spare").exists())
        first.close()

    def test_lock_ends_with_a_failure(self) -> None:
        """A store that could not be opened is not locked."""
        self.path.write_text("nonsense " * 1_000)
        self.assertRaises(RelayError, open_locked, self.path, KEY, CpuEngine(), self.spare)
        lock(self.path.with_name("relay.db.lock"))

    def test_modes(self) -> None:
        """Nobody else can read any of it."""
        self.key()
        store = open_locked(self.path, KEY, CpuEngine(), self.spare)
        store.commit(founded("#tea"))
        files = {path.name: path.stat().st_mode & 0o077 for path in self.path.parent.iterdir()}
        store.close()
        self.assertEqual(
            dict.fromkeys(["relay.db", "relay.db-shm", "relay.db-wal", "relay.db.lock", KEY_FILE], 0), files
        )

    def test_key_is_kept(self) -> None:
        """The key is made once; one from elsewhere is taken as it is."""
        made = self.key()
        self.assertEqual(made.row_key, self.key().row_key)
        elsewhere = self.path.with_name("credential")
        elsewhere.write_bytes(b"x" * 32)
        elsewhere.chmod(0o440)
        self.assertEqual(StorageKey(b"x" * 32).row_key, self.key(elsewhere).row_key)

    def test_bad_keys(self) -> None:
        """A key that is missing, too short or there for all is refused in one line."""
        path = self.path.with_name(KEY_FILE)
        self.path.touch()
        for words, data, mode in [
            ("is missing", b"", 0),
            ("32 bytes", b"x" * 31, 0o600),
            ("read", b"x" * 32, 0o640),
        ]:
            if mode:
                path.write_bytes(data)
                path.chmod(mode)
            with self.assertRaises(RelayError) as refused:
                self.key()
            self.assertIn(words, str(refused.exception))
        for elsewhere in ("nowhere", "readable"):
            Path(self.path.with_name("readable")).write_bytes(b"x" * 32)
            self.path.with_name("readable").chmod(0o644)
            self.assertRaises(RelayError, self.key, self.path.with_name(elsewhere))


class RestartTests(store_contract.RestartContract):
    """Relays on a file."""

    def setUp(self) -> None:
        """Have a place for it."""
        self.path = store_path(self)
        super().setUp()

    def open(self) -> Store:
        """Open what is there."""
        return open_store(self.path)

    def test_nothing_is_legible(self) -> None:
        """No name, room, certificate, key, entry, message or sealed key stands in the clear in any file."""
        self.bob.transport.lose()
        self.here.turn()
        self.alice.does(Hand("#tea", [(self.bob.me.device.public, b"unmistakable blob")]))
        files = {path.name: path.read_bytes() for path in self.path.parent.iterdir()}
        self.assertEqual({"relay.db", "relay.db-wal", "relay.db-shm"}, set(files))
        who = [self.alice.me, self.bob.me]
        secrets = [
            b"alice",
            b"#tea",
            b"unmistakable",
            self.alice.key("#tea").key,
            self.alice.key("#tea").epoch,
            *self.ids,
            *(part for each in who for part in (each.identity.public, each.device.public)),
            *(each.certificate.packed[-32:] for each in who),
            *(entry[-32:] for entry in self.here.log_of("#tea").packed),
        ]
        for name, data in files.items():
            self.assertEqual([], [secret for secret in secrets if secret in data], name)
