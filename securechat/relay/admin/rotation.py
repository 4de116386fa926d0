"""A new storage key: every row sealed anew, and every tag that rows are found by made anew.

The relay is stopped. A copy of the store is resealed, some rows at a time, checked, and put in the store's place;
then the new key, which has lain beside the old one as `storage.key.new`, takes its place. Each step leaves a store
and a key that fit: whoever finds a new key beside the old one looks which of them opens the store (`settle`).
So it can be cut off at any moment, and is begun anew. In place it would save the room for the copy, but leave rows
of two keys in one file, and old rows in what was freed.

The tags of messages that are too old to be there cannot be made anew, as nothing says any more whose they were;
they become random. So their ids are forgotten: one that is repeated after more than 14 days counts as new.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from os import urandom
from pathlib import Path
from typing import Final

import msgspec

from securechat.crypto.aead import SECRET_BYTES
from securechat.crypto.cpu import CpuEngine
from securechat.disk.whole import flush, flush_directory, write_whole
from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.admin.place import Place
from securechat.relay.admin.verifying import reading, verify
from securechat.relay.bans import Ban
from securechat.relay.directory import Owner
from securechat.relay.errors import DamagedError, RelayError, WrongKeyError
from securechat.relay.lock import locked
from securechat.relay.rows import associated
from securechat.relay.sealed_rows import PAGE, SealedRow, SealedTable, count, pages, present
from securechat.relay.sqlite_store import PROOF, SqliteStore, beside, lock_file
from securechat.relay.storage_key import KEY_ID, TAG_BYTES, StorageKey, load
from securechat.relay.tags import ban_tag, cursor_tag, owner_tag, post_tag, room_tag

Tell = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and of how much."""

_read_owner: Final = msgspec.msgpack.Decoder(Owner).decode
_read_ban: Final = msgspec.msgpack.Decoder(Ban).decode
_read_message: Final = msgspec.msgpack.Decoder(tuple[str, bytes, msgspec.Raw, msgspec.Raw, msgspec.Raw]).decode


def new_key_path(key_path: Path) -> Path:
    """Where the new key is until the store is sealed under it."""
    return key_path.with_name(f"{key_path.name}.new")


def rotate(place: Place, kept_key: Path | None, tell: Tell) -> bool:
    """Make a new storage key and seal the store under it; the old one is kept in `kept_key`, or gone.

    False where nothing was left to do but to put a new key in its place, as an earlier rotation was cut off.
    Raises `AdminError`, `RelayError`, `sqlite3.Error` and `OSError`; the old key is good then.
    """
    if not place.store.exists():
        raise AdminError(f"there is no store in {place.directory}", Exit.NO_SUCH)
    with locked(lock_file(place.store)):
        place.give(lock_file(place.store))
        if settle(place.store, place.key_path):
            return False
        old = place.key()
        if not _opens(place.store, old):
            raise WrongKeyError(f"the storage key is not the one that {place.store} was made with")
        if kept_key is not None:
            _keep(place.key_path, kept_key)
        part = _part(place.store)
        try:
            new = _make_key(place.key_path)
            _copy(place.store, old, part, tell)
            for done, total in resealed(part, old, new):
                tell("sealed", done, total)
            verify(part, new, lambda done, total: tell("verified", done, total))
            flush(part)
            place.give(part)
        except BaseException:
            _drop(part)
            new_key_path(place.key_path).unlink(missing_ok=True)
            raise
        _swap(place, part)
    return True


def settle(store: Path, key_path: Path) -> bool:
    """Put a new key in its place where a rotation was cut off just before; whether that was so.

    The caller has the lock. Raises `RelayError`, `sqlite3.Error` and `OSError`.
    """
    new_path = new_key_path(key_path)
    if not new_path.exists():
        return False
    _drop(_part(store))
    if _opens(store, load(key_path.parent, key_path)):
        # The store is as it was before the rotation.
        new_path.unlink()
        return False
    if not _opens(store, load(key_path.parent, new_path)):
        raise WrongKeyError(f"neither {key_path} nor {new_path} is the key that {store} was made with")
    new_path.replace(key_path)
    flush_directory(key_path.parent)
    return True


def _opens(store: Path, key: StorageKey) -> bool:
    with reading(store) as connection:
        (row,) = connection.execute("SELECT row FROM keys").fetchone()
    return CpuEngine().open_list(key.row_key, [associated("keys")], [row[len(KEY_ID) :]]) == [PROOF]


def _keep(key_path: Path, kept_key: Path) -> None:
    """Keep a key in another file as well, which may have it from a rotation that was cut off."""
    secret = key_path.read_bytes()
    if not kept_key.exists():
        write_whole(kept_key, secret, 0o600)
    elif kept_key.read_bytes() != secret:
        raise AdminError(f"{kept_key} is there already, and another key", Exit.EXISTS)


def _make_key(key_path: Path) -> StorageKey:
    """A new key beside the old one, for whoever can read that one."""
    path = new_key_path(key_path)
    secret = urandom(SECRET_BYTES)
    try:
        write_whole(path, secret, 0o600)
        before = key_path.stat()
        if os.geteuid() == 0:
            os.chown(path, before.st_uid, before.st_gid)
        path.chmod(before.st_mode & 0o777)
    except OSError as wrong:
        raise AdminError(
            f"cannot write beside {key_path}: {wrong.strerror}; what systemd hands over is a copy: give the file "
            "that it is made of as --storage-key",
            Exit.NOT_PERMITTED,
        ) from wrong
    return StorageKey(secret)


def _copy(path: Path, key: StorageKey, part: Path, tell: Tell) -> None:
    """Copy the store, which is closed then, with nothing left beside it."""
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(SqliteStore(str(path), key, CpuEngine())) as store:
        # What rooms have left that have ended, as nothing says what they were called.
        while store.tidy(0):
            pass
        store.copy(part, lambda done, total: tell("copied", done, total))
    if any(each.exists() for each in beside(path)):
        raise RelayError(f"{path} cannot be closed")


def resealed(part: Path, old: StorageKey, new: StorageKey) -> Iterator[tuple[int, int]]:
    """Seal every row of a closed store anew; yields how many are done, and of how many, after each transaction."""
    with closing(sqlite3.connect(part, isolation_level=None)) as connection:
        # A copy that is cut off is of no use, and a journal would hold old rows.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "secure_delete=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        resealing = _Resealing(connection, old, new)
        # Other tables are bound to the old tags of their rooms.
        tables = sorted(present(connection), key=lambda table: table.name == "rooms")
        done, total = 0, sum(count(connection, table) for table in tables)
        for table in tables:
            for some in pages(connection, table):
                resealing.reseal(table, some)
                done += len(some)
                yield done, total
        while resealing.forget_some():
            yield done, total


class _Resealing:
    """From one key to another."""

    def __init__(self, connection: sqlite3.Connection, old: StorageKey, new: StorageKey) -> None:
        self._connection = connection
        self._old = old
        self._new = new
        self._engine = CpuEngine()
        self._rooms: dict[int, str] = {}
        (rooms,) = (table for table in present(connection) if table.name == "rooms")
        for some in pages(connection, rooms):
            names = self._opened(rooms, some)
            self._rooms.update((each.id, name.decode()) for each, name in zip(some, names, strict=True))
        self._forgotten = -1

    def _opened(self, table: SealedTable, some: list[SealedRow]) -> list[bytes]:
        bound = [each.bound_to(table) for each in some]
        sealed = [each.row[len(KEY_ID) :] for each in some]
        texts = self._engine.open_list(self._old.row_key, bound, sealed)
        opened = [text for text in texts if text is not None]
        if len(opened) < len(some):
            raise DamagedError(f"the store is damaged: not every row of {table.name} opens")
        return opened

    def reseal(self, table: SealedTable, some: list[SealedRow]) -> None:
        """Seal rows of one table anew."""
        texts = self._opened(table, some)
        tags = [self._tag(table, each, text) for each, text in zip(some, texts, strict=True)]
        bound = [associated(table.name, tag, each.number) for each, tag in zip(some, tags, strict=True)]
        rows = [KEY_ID + sealed for sealed in self._engine.seal_list(self._new.row_key, bound, texts)]
        own = f", {table.tag} = ?2" if table.is_own else ""
        self._connection.execute("BEGIN")
        self._connection.executemany(
            f"UPDATE {table.name} SET row = ?1{own} WHERE id = ?3",  # noqa: S608 - constants
            [(row, tag, each.id) for row, tag, each in zip(rows, tags, some, strict=True)],
        )
        self._connection.execute("COMMIT")

    def _tag(self, table: SealedTable, row: SealedRow, text: bytes) -> bytes:
        match table.name:
            case "owners":
                return owner_tag(self._new, _read_owner(text))
            case "bans":
                return ban_tag(self._new, _read_ban(text))
            case "messages":
                sender, post_id, *_ = _read_message(text)
                return post_tag(self._new, self._rooms[row.room], sender, post_id)
            case "cursors":
                return cursor_tag(self._new, self._rooms[row.room], text)
            case "rooms" | "entries" | "epochs":
                return room_tag(self._new, self._rooms[row.room])
            case "keys" | "handouts":
                return b""
        raise AssertionError(f"nobody has said what {table.name} is found by")

    def forget_some(self) -> bool:
        """Give some messages that are not there any more random tags; whether there may be others."""
        found = self._connection.execute(
            "SELECT id FROM messages WHERE row IS NULL AND id > ? ORDER BY id LIMIT ?", (self._forgotten, PAGE)
        ).fetchall()
        if not found:
            return False
        self._forgotten = found[-1][0]
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "UPDATE messages SET post_tag = ? WHERE id = ?", [(urandom(TAG_BYTES), each) for (each,) in found]
        )
        self._connection.execute("COMMIT")
        return True


def _swap(place: Place, part: Path) -> None:
    """Put store and key in their places, the store first, and overwrite those that were there."""
    with place.store.open("rb+") as old_store, place.key_path.open("rb+") as old_key:
        part.replace(place.store)
        flush_directory(place.directory)
        new_key_path(place.key_path).replace(place.key_path)
        flush_directory(place.key_path.parent)
        for file in (old_key, old_store):
            _overwrite(file.fileno())


def _overwrite(descriptor: int) -> None:
    left = os.fstat(descriptor).st_size
    while left:
        left -= os.write(descriptor, bytes(min(left, 1 << 20)))
    os.fsync(descriptor)


def _part(store: Path) -> Path:
    """Where the copy is made."""
    return store.with_name(f"{store.name}.rotated")


def _drop(part: Path) -> None:
    for path in (part, *beside(part)):
        path.unlink(missing_ok=True)
