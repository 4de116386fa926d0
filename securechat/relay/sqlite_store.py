"""The store that is one SQLite file whose rows are sealed; `store` says what it promises.

A batch of records is one transaction, and its rows are sealed as one batch of an engine.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from time import monotonic
from typing import Any, Final

import msgspec
from twisted.logger import Logger

from securechat.crypto.engine import Engine
from securechat.relay.bans import Ban
from securechat.relay.copying import copy_store
from securechat.relay.directory import Owner
from securechat.relay.errors import DamagedError, NoRoomError, RelayError, StoreError, WrongKeyError
from securechat.relay.lock import lock
from securechat.relay.log import RECENT_IDS
from securechat.relay.pages import PAGE_BYTES, PAGE_ROWS, Page, Told
from securechat.relay.records import KeyWaits, Record
from securechat.relay.rows import associated, drops_keys, rows
from securechat.relay.schema import connect, lacks_room, truncate_log
from securechat.relay.spare import Spare
from securechat.relay.storage_key import KEY_ID, StorageKey
from securechat.relay.store import HOUR_MS, KEEP_HOURS, NOBODY, TIDY_ROWS, Kept, KeptRoom
from securechat.relay.tags import room_tag

PROOF: Final = b"the storage key is the right one"
"""What the row of `keys` says under the key that a store was made with."""

_EPOCH_BYTES: Final = 32

_PAGE: Final = (
    "SELECT seq, post_tag, row FROM messages WHERE room = (SELECT id FROM rooms WHERE room_tag = ?1) "
    "AND seq >= ?2 AND row IS NOT NULL ORDER BY seq LIMIT ?3"
)
_PAGE_KEYS: Final = (
    "WITH of_room AS (SELECT id, from_seq, row FROM epochs "
    "WHERE room = (SELECT id FROM rooms WHERE room_tag = ?1) AND from_seq <= ?3) "
    "SELECT row FROM of_room WHERE id >= (SELECT coalesce(max(id), 0) FROM of_room WHERE from_seq <= ?2)"
)
# By the numbers: an index of the tags would double what it costs to keep a message.
_FIND: Final = (
    "SELECT seq FROM messages WHERE room = (SELECT id FROM rooms WHERE room_tag = ?1) "
    "AND seq > ?2 AND seq <= ?3 AND post_tag = ?4"
)
_CLEAR_SEEN: Final = (
    "UPDATE messages SET row = NULL WHERE id IN (SELECT id FROM messages "
    "WHERE room = (SELECT id FROM rooms WHERE room_tag = ?1) AND seq <= ?2 AND row IS NOT NULL LIMIT ?3)"
)
_DROP_PAST_EPOCHS: Final = (
    "DELETE FROM epochs WHERE id < (SELECT max(id) FROM epochs AS all_of WHERE all_of.room = epochs.room) "
    "AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.room = epochs.room AND messages.row IS NOT NULL "
    "AND seq >= epochs.from_seq AND seq < (SELECT min(later.from_seq) FROM epochs AS later "
    "WHERE later.room = epochs.room AND later.id > epochs.id))"
)
_read_owner: Final = msgspec.msgpack.Decoder(Owner).decode
_read_ban: Final = msgspec.msgpack.Decoder(Ban).decode
_read_message: Final = msgspec.msgpack.Decoder(tuple[str, bytes, bytes, int, bytes]).decode
_read_waiting: Final = msgspec.msgpack.Decoder(KeyWaits).decode


@contextmanager
def _as_store_errors() -> Iterator[None]:
    """Whatever goes wrong in SQLite, as what a store raises."""
    try:
        yield
    except sqlite3.Error as wrong:
        kind = NoRoomError if lacks_room(wrong) else StoreError
        raise kind(getattr(wrong, "sqlite_errorname", "")) from wrong


class SqliteStore:
    """A store that is open."""

    _log = Logger()

    def __init__(self, path: str, key: StorageKey, engine: Engine, locked: int | None = None) -> None:
        """Open or make the store. Raises `RelayError`."""
        self._key = key
        self._engine = engine
        self._path = path
        self._locked = locked
        self.sealing_s = 0.0
        """How long the engine has sealed rows for batches."""
        self._may_hold_deleted = False
        """Whether the log may still have what was to be gone."""
        try:
            self._connection = connect(path)
        except sqlite3.Error as wrong:
            raise RelayError(f"cannot use {path}: {wrong}") from wrong
        try:
            self._check_key()
        except BaseException:
            self._connection.close()
            raise
        self._log.debug("SQLite {version}", version=sqlite3.sqlite_version)

    def _check_key(self) -> None:
        found = self._all("SELECT row FROM keys")
        if not found:
            (row,) = self._seal([associated("keys")], [PROOF])
            self._connection.execute("INSERT INTO keys (id, row) VALUES (1, ?)", (row,))
        elif self._engine.open_list(self._key.row_key, [associated("keys")], [found[0][0][1:]]) != [PROOF]:
            raise WrongKeyError(f"the storage key is not the one that {self._path} was made with")

    # Writing.

    @_as_store_errors()
    def commit(self, records: Sequence[Record]) -> int:
        """Keep records, all or none; gives how many rows were sealed for them."""
        batch = list(rows(records, self._key))
        secret = [row for row in batch if row.text is not None]
        began = monotonic()
        sealed = iter(self._seal([row.associated for row in secret], [row.text or b"" for row in secret]))
        self.sealing_s += monotonic() - began
        work = [(row.statement, row.clear if row.text is None else (*row.clear, next(sealed))) for row in batch]
        with self._transaction() as connection:
            for statement, group in groupby(work, itemgetter(0)):
                connection.executemany(statement, [parameters for _, parameters in group])
        return len(secret)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, whatever goes wrong."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # For some errors SQLite has done so by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @_as_store_errors()
    def scrub(self, records: Sequence[Record]) -> None:
        """Leave no copy of what these records, which are kept, have deleted; while there is no room, later."""
        self._may_hold_deleted |= drops_keys(records)
        if self._may_hold_deleted:
            self._may_hold_deleted = not truncate_log(self._connection)

    @_as_store_errors()
    def tidy(self, now_ms: int, seen: Mapping[str, int] = NOBODY) -> bool:
        """Delete some messages that are too old, whose room has ended, or that everybody has seen.

        `seen` has rooms without a history, and up to where everybody has seen what was said in them. The session
        keys of epochs of which there is no message any more go as well. Gives whether there may be more.
        """
        most = 0
        with self._transaction() as connection:
            for room, seq in seen.items():
                most = max(
                    most, connection.execute(_CLEAR_SEEN, (room_tag(self._key, room), seq, TIDY_ROWS)).rowcount
                )
            old = self._all(
                "SELECT id, "
                "seq <= (SELECT max(seq) FROM messages AS latest WHERE latest.room = messages.room) - ?2 "
                "FROM messages WHERE expires_hour <= ?1 LIMIT ?3",
                (now_ms // HOUR_MS, RECENT_IDS, TIDY_ROWS),
            )
            connection.executemany("DELETE FROM messages WHERE id = ?", [(each,) for each, done in old if done])
            connection.executemany(
                "UPDATE messages SET row = NULL, expires_hour = expires_hour + ? WHERE id = ?",
                [(KEEP_HOURS, each) for each, done in old if not done],
            )
            ended = connection.execute(
                "DELETE FROM messages WHERE id IN (SELECT messages.id FROM rooms JOIN messages "
                "ON messages.room = rooms.id WHERE rooms.room_tag IS NULL LIMIT ?)",
                (TIDY_ROWS,),
            ).rowcount
            connection.execute(
                "DELETE FROM rooms WHERE room_tag IS NULL "
                "AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.room = rooms.id)"
            )
            keys = connection.execute(_DROP_PAST_EPOCHS).rowcount
        if keys:
            self._may_hold_deleted = True
            self.scrub([])
        self._connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()
        return TIDY_ROWS in (len(old), ended, most)

    @_as_store_errors()
    def copy(self, path: Path, between: Callable[[int, int], None]) -> None:
        """Copy all of it, see `copying`; `between` may commit."""
        copy_store(self._connection, path, between)

    @_as_store_errors()
    def usage(self, room: str) -> tuple[int, int]:
        """How many messages of a room are kept, and the bytes of their rows."""
        ((count, size),) = self._all(
            "SELECT count(row), coalesce(sum(length(row)), 0) FROM messages "
            "WHERE room = (SELECT id FROM rooms WHERE room_tag = ?)",
            (room_tag(self._key, room),),
        )
        return count, size

    @_as_store_errors()
    def close(self) -> None:
        """Close it."""
        self._connection.close()
        self._engine.close()
        if self._locked is not None:
            os.close(self._locked)

    # Reading.

    def load(self) -> Kept:
        """All that is kept. Raises `RelayError` where it is damaged."""
        try:
            return Kept(self._owners(), self._rooms(), self._waiting(), self._bans())
        except (sqlite3.Error, msgspec.MsgspecError, ValueError) as wrong:
            raise DamagedError(f"{self._path} is damaged") from wrong

    def _owners(self) -> list[Owner]:
        found = self._all("SELECT name_tag, row FROM owners ORDER BY id")
        texts = self._open([associated("owners", tag) for tag, _ in found], [row for _, row in found])
        return [_read_owner(text) for text in texts]

    def _rooms(self) -> list[KeptRoom]:
        found = self._all(
            "SELECT rooms.id, room_tag, rooms.row, epochs.row FROM rooms JOIN epochs "
            "ON epochs.id = (SELECT max(id) FROM epochs WHERE room = rooms.id) "
            "WHERE room_tag IS NOT NULL ORDER BY rooms.id"
        )
        names = self._open([associated("rooms", tag) for _, tag, _, _ in found], [row for _, _, row, _ in found])
        keys = self._open([associated("epochs", tag) for _, tag, _, _ in found], [row for _, _, _, row in found])
        return [
            self._room(each[0], each[1], name.decode(), key)
            for each, name, key in zip(found, names, keys, strict=True)
        ]

    def _room(self, number: int, tag: bytes, name: str, key: bytes) -> KeptRoom:
        found = self._all("SELECT n, row FROM entries WHERE room = ? ORDER BY n", (number,))
        entries = self._open([associated("entries", tag, n) for n, _ in found], [row for _, row in found])
        ids = self._all(
            "SELECT post_tag, seq FROM messages WHERE room = ? ORDER BY seq DESC LIMIT ?", (number, RECENT_IDS)
        )
        last_seq = ids[0][1] if ids else 0
        cursors = self._all("SELECT cursor_tag, seen_seq, row FROM cursors WHERE room = ?", (number,))
        devices = self._open([associated("cursors", tag) for tag, _, _ in cursors], [row for _, _, row in cursors])
        return KeptRoom(
            name,
            entries,
            key[:_EPOCH_BYTES],
            key[_EPOCH_BYTES:],
            last_seq,
            dict(reversed(ids)),
            {device: seq for device, (_, seq, _) in zip(devices, cursors, strict=True)},
        )

    @_as_store_errors()
    def page(self, room: str, first: int) -> Page:
        """The next messages of a room from a number on."""
        try:
            return self._page(room, first)
        except (msgspec.MsgspecError, ValueError) as wrong:
            raise DamagedError(f"{self._path} is damaged") from wrong

    def _page(self, room: str, first: int) -> Page:
        tag = room_tag(self._key, room)
        found = self._all(_PAGE, (tag, first, PAGE_ROWS + 1))
        size = 0
        for count, (_, _, row) in enumerate(found):
            size += len(row)
            if count == PAGE_ROWS or (count and size > PAGE_BYTES):
                found = found[:count]
                is_last = False
                break
        else:
            is_last = True
        if not found:
            return Page([], {}, is_last)
        texts = self._open([associated("messages", each) for _, each, _ in found], [row for _, _, row in found])
        messages = [_told(seq, text) for (seq, _, _), text in zip(found, texts, strict=True)]
        keys = self._all(_PAGE_KEYS, (tag, messages[0].seq, messages[-1].seq))
        opened = self._open([associated("epochs", tag)] * len(keys), [row for (row,) in keys])
        return Page(messages, {each[:_EPOCH_BYTES]: each[_EPOCH_BYTES:] for each in opened}, is_last)

    @_as_store_errors()
    def find(self, room: str, tag: bytes, after: int, up_to: int) -> int:
        """The number of a room's message with this tag, above a number and up to another; 0 where there is none."""
        found = self._all(_FIND, (room_tag(self._key, room), after, up_to, tag))
        return int(found[0][0]) if found else 0

    def _waiting(self) -> list[KeyWaits]:
        found = self._all("SELECT row FROM handouts ORDER BY id")
        texts = self._open([associated("handouts")] * len(found), [row for (row,) in found])
        return [_read_waiting(text) for text in texts]

    def _bans(self) -> list[Ban]:
        found = self._all("SELECT ban_tag, row FROM bans ORDER BY id")
        texts = self._open([associated("bans", tag) for tag, _ in found], [row for _, row in found])
        return [_read_ban(text) for text in texts]

    def _all(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        return self._connection.execute(statement, parameters).fetchall()

    # Sealing.

    def _seal(self, bound: Sequence[bytes], texts: Sequence[bytes]) -> list[bytes]:
        return [KEY_ID + sealed for sealed in self._engine.seal_list(self._key.row_key, bound, texts)]

    def _open(self, bound: Sequence[bytes], sealed: Sequence[bytes]) -> list[bytes]:
        texts = self._engine.open_list(self._key.row_key, bound, [row[len(KEY_ID) :] for row in sealed])
        if None in texts or not all(row.startswith(KEY_ID) for row in sealed):
            raise ValueError
        return [text for text in texts if text is not None]


def _told(seq: int, text: bytes) -> Told:
    sender, _, epoch, time_ms, sealed = _read_message(text)
    return Told(seq, sender, time_ms, epoch, sealed)


def lock_file(path: Path) -> Path:
    """What is locked by whoever uses a store."""
    return path.with_name(f"{path.name}.lock")


def beside(path: Path) -> list[Path]:
    """What SQLite may put beside a store."""
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]


def open_locked(path: Path, key: StorageKey, engine: Engine, spare: Spare | None = None) -> SqliteStore:
    """Open or make a store that nobody else can open until it is closed. Raises `RelayError`.

    On a disk that is full the spare file that the last run has left makes room for opening it.
    """
    try:
        locked = lock(lock_file(path))
    except OSError as wrong:
        raise RelayError(f"cannot use {path}: {wrong.strerror}") from wrong
    # SQLite makes its files with what the mask leaves of 0644.
    mask = os.umask(0o077)
    try:
        if spare is not None:
            spare.give_up()
        return SqliteStore(str(path), key, engine, locked)
    except BaseException:
        os.close(locked)
        raise
    finally:
        os.umask(mask)
