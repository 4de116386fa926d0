"""The store: what was kept comes back, sealed it lies there, and nobody else's file is touched."""

from __future__ import annotations

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
from securechat.relay.directory import Owner
from securechat.relay.errors import NoRoomError, RelayError, StoreError
from securechat.relay.kept import KeptBans, KeptOwners, restore
from securechat.relay.lock import lock
from securechat.relay.log import RECENT_IDS, MemoryLog
from securechat.relay.records import (
    EntryTaken,
    KeyDrawn,
    KeyGone,
    KeyWaits,
    MessageTaken,
    OwnerChanged,
    Record,
    RoomEnded,
)
from securechat.relay.schema import lacks_room, truncate_log
from securechat.relay.spare import Spare
from securechat.relay.sqlite_store import SqliteStore, open_locked
from securechat.relay.storage_key import KEY_FILE, StorageKey, load_or_make
from securechat.relay.store import HOUR_MS, KEEP_HOURS, TIDY_ROWS, Kept, KeptRoom
from securechat.wire.messages import LAST_SEQ, Enter, Hand, Lookup, Post, Roster, SealedKey, Seen, SessionKey
from tests.relay.harness import acked, declined, of, only, post_id
from tests.relay.keeping import KEY, KeptCase, open_store, store_path
from tests.relay.people import CLOSED, NOW_MS, Chain, person

NAMES = st.sampled_from(["alice", "bob", "zoë"])
ROOMS = st.sampled_from(["#tea", "#cake", "@alice+bob"])
BYTES = st.binary(max_size=40)
SECRETS = st.binary(min_size=32, max_size=32)


def message(room: str, seq: int, sealed: bytes = b"sealed", time_ms: int = NOW_MS) -> MessageTaken:
    """A message of Alice's."""
    tag = KEY.tag("messages", room.encode(), b"alice", post_id(seq))
    return MessageTaken(room, seq, tag, "alice", post_id(seq), bytes(32), time_ms, sealed)


def founded(room: str) -> list[Record]:
    """What founds a room."""
    return [EntryTaken(room, 0, b"founding"), KeyDrawn(room, b"e" * 32, b"k" * 32, 1)]


class StoreMachine(RuleBasedStateMachine):
    """A store beside dictionaries; batches of any records, and the store is opened anew at any time."""

    path: Path

    def __init__(self) -> None:
        super().__init__()
        self.owners: dict[str, Owner] = {}
        self.rooms: dict[str, KeptRoom] = {}
        self.waiting: dict[int, KeyWaits] = {}
        self.serial = 0
        self.batch: list[Record] = []

    @initialize()
    def begin(self) -> None:
        """A new store."""
        for path in self.path.parent.iterdir():
            path.unlink()
        self.store = open_store(self.path)

    def teardown(self) -> None:
        """Close it."""
        self.store.close()

    @rule(name=NAMES, secret=BYTES)
    def owner(self, name: str, secret: bytes) -> None:
        """Somebody is new, or something of them is."""
        self.owners[name] = Owner(name, name.encode(), secret, secret + b"c", secret + b"p", NOW_MS)
        self.batch.append(OwnerChanged(self.owners[name]))

    @rule(room=ROOMS, entry=BYTES, key=SECRETS)
    def entry(self, room: str, entry: bytes, key: bytes) -> None:
        """A room is founded, or its log grows; there is a key."""
        before = self.rooms.get(room, KeptRoom(room, [], b"", b"", 0, {}, {}))
        epoch = key[::-1]
        self.rooms[room] = before._replace(entries=[*before.entries, entry], epoch=epoch, key=key)
        self.batch += [
            EntryTaken(room, len(before.entries), entry),
            KeyDrawn(room, epoch, key, before.last_seq + 1),
        ]

    @precondition(lambda self: self.rooms)
    @rule(data=st.data(), sealed=BYTES)
    def post(self, data: st.DataObject, sealed: bytes) -> None:
        """Somebody posts."""
        room = self.rooms[data.draw(st.sampled_from(sorted(self.rooms)))]
        taken = message(room.name, room.last_seq + 1, sealed)
        self.rooms[room.name] = room._replace(last_seq=taken.seq, ids={**room.ids, taken.tag: taken.seq})
        self.batch.append(taken)

    @precondition(lambda self: self.rooms)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A room ends."""
        room = data.draw(st.sampled_from(sorted(self.rooms)))
        del self.rooms[room]
        self.batch.append(RoomEnded(room))

    @rule(device=BYTES, blob=BYTES)
    def hand(self, device: bytes, blob: bytes) -> None:
        """A key waits."""
        self.serial += 1
        self.waiting[self.serial] = KeyWaits(self.serial, device, "#tea", b"d", "alice", blob, NOW_MS)
        self.batch.append(self.waiting[self.serial])

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        """A key waits no more."""
        serial = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[serial]
        self.batch.append(KeyGone(serial))

    @rule()
    def commit(self) -> None:
        """Keep the batch."""
        self.store.commit(self.batch)
        self.store.scrub(self.batch)
        self.batch = []

    @rule()
    def tidy(self) -> None:
        """Messages go when they are old; their numbers and ids stay, and what ended goes."""
        self.commit()
        self.store.tidy(NOW_MS + (KEEP_HOURS + 1) * HOUR_MS)

    @precondition(lambda self: not self.batch)
    @rule()
    def reopen(self) -> None:
        """Close the store and open it again."""
        self.store.close()
        self.store = open_store(self.path)

    @invariant()
    def same(self) -> None:
        """What is kept is what the dictionaries have."""
        if hasattr(self, "store") and not self.batch:
            kept = self.store.load()
            assert {each.name: each for each in kept.owners} == self.owners
            assert {each.name: each for each in kept.rooms} == self.rooms
            assert kept.waiting == [self.waiting[serial] for serial in sorted(self.waiting)]


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
        """Whatever is kept in whatever batches is there again, and nothing else."""
        path = self.path.with_name("model") / "relay.db"
        path.parent.mkdir()
        machine: Any = type("Machine", (StoreMachine,), {"path": path})
        quick = settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        )
        machine.TestCase.settings = quick
        machine.TestCase("runTest").debug()

    def test_all_or_nothing(self) -> None:
        """A batch with something in it that cannot be kept is not kept at all."""
        broken: Sequence[Record] = [*founded("#tea"), message("#nowhere", 1)]
        with self.assertRaises(StoreError):
            self.store.commit(broken)
        self.assertEqual([], self.reopened().rooms)

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

    def test_a_key_handed_on_at_once(self) -> None:
        """A sealed key that came and went in one batch is never written."""
        waits = KeyWaits(1, b"d", "#tea", b"e", "alice", b"blob", NOW_MS)
        self.store.commit([waits, KeyGone(1), KeyWaits(2, b"d", "#tea", b"e", "alice", b"blob", NOW_MS)])
        self.assertEqual([2], [each.serial for each in self.store.load().waiting])

    def test_messages(self) -> None:
        """A message's row has all that will be asked of it one day, and opens under its tag."""
        self.store.commit([*founded("#tea"), message("#tea", 1, b"text")])
        ((tag, row),) = self.all("SELECT post_tag, row FROM messages")
        (text,) = self.store._open([b"\x01messages\0" + tag + bytes(4)], [row])
        for part in (b"alice", post_id(1), b"text"):
            self.assertIn(part, text)

    def test_tidy(self) -> None:
        """After 14 days messages go, 500 at a time, and numbers and recent ids stay."""
        count = RECENT_IDS + TIDY_ROWS + 10
        self.store.commit([*founded("#tea"), *(message("#tea", seq) for seq in range(1, count + 1))])
        self.assertFalse(self.store.tidy(NOW_MS + (KEEP_HOURS - 1) * HOUR_MS))
        self.assertEqual([(count,)], self.all("SELECT count(row) FROM messages"))
        later = NOW_MS + (KEEP_HOURS + 1) * HOUR_MS
        self.assertTrue(self.store.tidy(later))
        self.assertEqual([(count - TIDY_ROWS,)], self.all("SELECT count(row) FROM messages"))
        rounds = 1
        while self.store.tidy(later):
            rounds += 1
        self.assertEqual(count // TIDY_ROWS, rounds)
        self.assertEqual([(0, RECENT_IDS)], self.all("SELECT count(row), count(*) FROM messages"))
        (room,) = self.reopened().rooms
        self.assertEqual((count, RECENT_IDS), (room.last_seq, len(room.ids)))

    def test_full(self) -> None:
        """A batch for which there is no room leaves nothing, and can be kept again when there is."""
        self.store.commit(founded("#tea"))
        ((pages,),) = self.all("PRAGMA page_count")
        self.all(f"PRAGMA max_page_count={pages}")
        batch = [message("#tea", seq) for seq in range(1, 201)]
        self.assertRaises(NoRoomError, self.store.commit, batch)
        self.assertEqual([(0,)], self.all("SELECT count(*) FROM messages"))
        self.all("PRAGMA max_page_count=1000000")
        self.store.commit(batch)
        self.assertEqual([200], [room.last_seq for room in self.reopened().rooms])

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

    def test_tidy_after_a_room(self) -> None:
        """The messages of a room that has ended go as well, and a new room of its name has none of them."""
        count = TIDY_ROWS + 10
        self.store.commit([*founded("#tea"), *(message("#tea", seq) for seq in range(1, count + 1))])
        self.store.commit([RoomEnded("#tea"), *founded("#tea"), message("#tea", 1)])
        self.assertTrue(self.store.tidy(NOW_MS))
        self.assertFalse(self.store.tidy(NOW_MS))
        self.assertEqual([(1, 1)], self.all("SELECT count(*), count(DISTINCT room) FROM messages"))
        self.assertEqual([(1,)], self.all("SELECT count(*) FROM rooms"))
        self.assertEqual([1], [room.last_seq for room in self.reopened().rooms])


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


class RestartTests(KeptCase):
    """A relay that ends without a word, and another on its store."""

    def setUp(self) -> None:
        """Alice and Bob drink tea behind a closed door, and something was said."""
        self.path = store_path(self)
        self.stores: list[SqliteStore] = []
        self.here = self.start()
        self.alice, self.bob = self.here.room("#tea", "alice", "bob", policy=CLOSED)
        self.ids = self.alice.post(
            "#tea", b"unmistakable text", b"more of it", ids=[b"unmistakable id.", b"another long id."]
        )
        self.heard = self.alice.hears()

    def start(self) -> Any:
        """A relay on what the file has now, whatever the one before holds in memory."""
        store = open_store(self.path)
        self.stores.append(store)
        self.addCleanup(store.close)
        return self.kept_relay(store)

    def test_names(self) -> None:
        """A name is still its owner's, with the newest certificate and prekey, and others do not get it."""
        here = self.start()
        (alice,) = here.login("alice")
        self.assertEqual(self.bob.me.certificate.packed, only_found(alice.does(Lookup("bob"))))
        thief = here.connect()
        thief.login(person("bob", 1))
        self.assertEqual("name-owned", thief.code())

    def test_rooms(self) -> None:
        """Rooms, their logs, their keys and their numbers are there, and go on."""
        here = self.start()
        (alice,) = here.login("alice")
        heard = alice.does(Enter("#tea", 0, LAST_SEQ))
        self.assertEqual(self.here.log_of("#tea").packed, only(Roster, heard).entries)
        self.assertEqual(2, only(Roster, heard).last_seq)
        self.assertEqual(self.alice.key("#tea"), only(SessionKey, heard))
        alice.post("#tea", b"third", ids=[post_id(9)])
        self.assertEqual([(post_id(9), 3)], acked(alice.hears()))
        only(Roster, alice.remove("#tea", self.bob.me))
        self.assertEqual(
            2, len(only(Roster, self.start().login("alice")[0].does(Enter("#tea", 0, LAST_SEQ))).entries) - 1
        )

    def test_repeated_posts(self) -> None:
        """A post that was acknowledged is acknowledged again with its number, and delivered to nobody."""
        here = self.start()
        alice, bob = here.login("alice", "bob")
        key = only(SessionKey, alice.does(Enter("#tea", 0, LAST_SEQ)))
        bob.does(Enter("#tea", 0, LAST_SEQ))
        alice.does(Post("#tea", key.epoch, [(each, b"again") for each in [*self.ids, post_id(9)]]))
        self.assertEqual([*acked(self.heard), (post_id(9), 3)], acked(alice.heard))
        self.assertEqual([], declined(alice.heard))
        (delivery,) = [each for each in bob.hears() if hasattr(each, "first_seq")]
        self.assertEqual((3, 1), (delivery.first_seq, len(delivery.items)))

    def test_waiting_keys(self) -> None:
        """A sealed key that waits for somebody waits on, until they have stored it."""
        self.bob.transport.lose()
        self.here.turn()
        self.alice.does(Hand("#tea", [(self.bob.me.device.public, b"unmistakable blob")]))
        here = self.start()
        (bob,) = here.login("bob")
        self.assertEqual(
            [("alice", b"unmistakable blob")], only(SealedKey, bob.does(Enter("#tea", 0, LAST_SEQ))).items
        )
        bob.does(Seen([("#tea", 0, 1)]))
        here.clock.advance(1)
        (again,) = self.start().login("bob")
        self.assertEqual([], of(SealedKey, again.does(Enter("#tea", 0, LAST_SEQ))))

    def test_rooms_that_ended(self) -> None:
        """A room that all have left is no more, and its name is free for a new one."""
        self.bob.leave("#tea")
        self.alice.leave("#tea")
        here = self.start()
        (alice,) = here.login("alice")
        self.assertEqual(["no-such-room"], declined(alice.does(Enter("#tea", 0, LAST_SEQ))))
        only(SessionKey, alice.does(Chain("#tea").found(alice.me)))
        self.assertEqual(["#tea"], [room.name for room in self.stores[-1].load().rooms])

    def test_damage(self) -> None:
        """A log that does not hold, or a key that is of another epoch than its log, is damage and no room."""
        kept = self.stores[-1].load()
        (room,) = kept.rooms
        log = MemoryLog()
        here = self.kept_relay()
        for wrong in (
            room._replace(epoch=bytes(32)),
            room._replace(entries=room.entries[:1]),
            room._replace(entries=room.entries[1:]),
            room._replace(entries=[]),
            room._replace(name="#cake"),
        ):
            with self.assertRaises(RelayError):
                restore(
                    kept._replace(rooms=[wrong]),
                    KeptOwners(here.journal),
                    KeptBans(here.journal),
                    log,
                    here.factory.rooms.memberships,
                )

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


def only_found(messages: Sequence[Any]) -> bytes:
    """The certificate in the only answer."""
    (found,) = [each.certificate for each in messages if hasattr(each, "certificate")]
    assert isinstance(found, bytes)
    return found
