"""One SQLite file beside the key store, for what must be on the disk before it is told.

Its rows are sealed, and what they are found by is tagged, under keys that are made of the identity key: without the
key store the file tells how many rows there are and how long they are.

Changes are collected, and written together by `flush`. One process at a time has the file open (see `keys`), and
one thread. Its schema is counted in `user_version`; each number has its migration, and a higher one is refused.
"""

import hmac
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from securechat.client.errors import ClientError, Exit
from securechat.crypto import aead

APPLICATION_ID: Final = 0x53434C31
"""SQLite's mark for whose file this is: "SCL1"."""

TAG_BYTES: Final = 16

_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "trusted_schema=OFF")

_MIGRATIONS: Final = (
    (
        "CREATE TABLE said (id INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
        "CREATE TABLE told (room BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (room, seq)) STRICT",
    ),
    (
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, room BLOB NOT NULL, log BLOB NOT NULL, "
        "place BLOB NOT NULL UNIQUE, day INTEGER NOT NULL, days INTEGER NOT NULL, row BLOB NOT NULL) STRICT",
        "CREATE INDEX messages_of_room ON messages (room, id)",
    ),
)
VERSION: Final = len(_MIGRATIONS)


class SealedFile:
    """The file, open."""

    def __init__(self, path: Path, seed: bytes) -> None:
        """Open or make it, under keys that are made of a 32-byte secret. Raises `ClientError`."""
        self._path = path
        self._row_key = aead.message_key(seed, b"securechat/1 client ledger rows")
        self._index_key = aead.message_key(seed, b"securechat/1 client ledger index")[: aead.MAC_KEY_BYTES]
        self._work: list[tuple[str, tuple[object, ...]]] = []
        self._wipes = False
        mask = os.umask(0o077)
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._check()
        except sqlite3.Error as wrong:
            raise self._unusable(wrong) from wrong
        finally:
            os.umask(mask)

    def tag(self, what: bytes) -> bytes:
        """What a row is found by."""
        return hmac.digest(self._index_key, what, "sha256")[:TAG_BYTES]

    def seal(self, bound_to: bytes, text: bytes) -> bytes:
        """A row, bound to its table and what it is found by."""
        return aead.seal(self._row_key, bound_to, text)

    def open(self, bound_to: bytes, row: bytes) -> bytes:
        """What `seal` was given. Raises `ClientError`."""
        try:
            return aead.open(self._row_key, bound_to, row)
        except aead.OpenError:
            raise self.damaged() from None

    def damaged(self) -> ClientError:
        """What to raise where a row is none of ours."""
        return self._trouble("is damaged, or of other keys")

    def put(self, statement: str, *parameters: object) -> None:
        """Have something changed with the next `flush`."""
        self._work.append((statement, parameters))

    def forget(self, statement: str, *parameters: object) -> None:
        """The same, and SQLite's own log, too, has nothing of what is deleted."""
        self.put(statement, *parameters)
        self._wipes = True

    def read(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What the file has, with all that was put. Raises `ClientError`."""
        self.flush()
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as wrong:
            raise self._unusable(wrong) from wrong

    def flush(self) -> None:
        """Have on the disk what was put, all of it at once. Raises `ClientError`."""
        work, self._work = self._work, []
        wipes, self._wipes = self._wipes, False
        if not work:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement, parameters in work:
                self._connection.execute(statement, parameters)
            self._connection.execute("COMMIT")
            if wipes:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as wrong:
            raise self._trouble(f"cannot be written ({_name(wrong)})") from wrong

    def close(self) -> None:
        """Let go of it, without what was put and not written."""
        self._connection.close()

    def _check(self) -> None:
        version, application = (self._number(each) for each in ("user_version", "application_id"))
        if application not in (0, APPLICATION_ID):
            raise self._trouble("is something else")
        if version > VERSION:
            raise self._trouble("was made by a newer version")
        for pragma in _PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        for number, statements in enumerate(_MIGRATIONS[version:], version + 1):
            marks = (f"PRAGMA application_id={APPLICATION_ID}", f"PRAGMA user_version={number}")
            for statement in ("BEGIN EXCLUSIVE", *statements, *marks, "COMMIT"):
                self._connection.execute(statement)

    def _number(self, pragma: str) -> int:
        found: int = self._connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        return found

    def _unusable(self, wrong: sqlite3.Error) -> ClientError:
        return self._trouble(f"cannot be used ({_name(wrong)})")

    def _trouble(self, what: str) -> ClientError:
        return ClientError(f"{self._path} {what}; remove it to begin a new one", Exit.FAILED)


def _name(wrong: sqlite3.Error) -> str:
    return getattr(wrong, "sqlite_errorname", type(wrong).__name__)
