"""What must survive a client that is killed: what was said and not acknowledged, and what was told already.

A line is on the disk before it is posted, and goes with its acknowledgement; the next run of the program says it
again under the same id, so that the relay takes it once. The number of a message is on the disk before it is shown,
and goes when the key store has been written: that goes back by a second when the program is killed, and what came
in that second comes again. Nobody knows whether it was shown, so it is shown, and marked.

One SQLite file beside the key store. Its rows are sealed, and what they are found by is tagged, under keys that are
made of the identity key: without the key store the file tells how many lines there are and how long they are.
"""

import hmac
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from securechat.client.errors import ClientError, Exit
from securechat.crypto import aead

VERSION: Final = 1
APPLICATION_ID: Final = 0x53434C31
"""SQLite's mark for whose file this is: "SCL1"."""

_SCHEMA: Final = (
    "CREATE TABLE said (id INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
    "CREATE TABLE told (room BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (room, seq)) STRICT",
)
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "trusted_schema=OFF")


class Line(NamedTuple):
    """Something that was said and is not acknowledged."""

    post_id: bytes
    room: str
    text: str
    label: str | None
    said_ms: int


class Ledger(Protocol):
    """What a conversation writes down at once."""

    def say(self, line: Line) -> None:
        """Somebody has said something."""

    def keep_only(self, post_ids: Iterable[bytes]) -> None:
        """Of what was said, only this is not acknowledged or given up."""

    def unsent(self) -> list[Line]:
        """What the last run of the program has left, in its order."""

    def tell(self, room_id: bytes, seqs: Sequence[int]) -> None:
        """Messages are about to be told."""

    def was_told(self, room_id: bytes, seq: int) -> bool:
        """Whether a message was told before."""

    def stored(self, room_id: bytes, known: int) -> None:
        """The key store has what was told up to a number."""

    def flush(self) -> None:
        """Have it all on the disk. Raises `ClientError`."""


class NoLedger:
    """That of a client that remembers nothing of what it says."""

    def say(self, line: Line) -> None:
        """Nothing is kept."""

    def keep_only(self, post_ids: Iterable[bytes]) -> None:
        """Nothing is kept."""

    def unsent(self) -> list[Line]:
        """Nothing is left."""
        return []

    def tell(self, room_id: bytes, seqs: Sequence[int]) -> None:
        """Nothing is kept."""

    def was_told(self, room_id: bytes, seq: int) -> bool:
        """Nobody knows."""
        return False

    def stored(self, room_id: bytes, known: int) -> None:
        """Nothing is kept."""

    def flush(self) -> None:
        """Nothing is kept."""


class DiskLedger:
    """A ledger in a file, which one process at a time has open (see `keys`)."""

    def __init__(self, path: Path, seed: bytes) -> None:
        """Open or make it, under keys that are made of a 32-byte secret. Raises `ClientError`."""
        self._path = path
        self._row_key = aead.message_key(seed, b"securechat/1 client ledger rows")
        self._index_key = aead.message_key(seed, b"securechat/1 client ledger index")[: aead.MAC_KEY_BYTES]
        self._work: list[tuple[str, tuple[object, ...]]] = []
        self._said: dict[bytes, int] = {}
        """The rows of what was said, by id."""
        self._told: dict[bytes, set[int]] = {}
        mask = os.umask(0o077)
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._check()
            self._lines = self._read()
        except sqlite3.Error as wrong:
            raise self._trouble(f"cannot be used ({_name(wrong)})") from wrong
        finally:
            os.umask(mask)
        self._next = max(self._said.values(), default=0) + 1

    def _check(self) -> None:
        version, application = (self._number(each) for each in ("user_version", "application_id"))
        if application not in (0, APPLICATION_ID):
            raise self._trouble("is something else")
        if version > VERSION:
            raise self._trouble("was made by a newer version")
        for pragma in _PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        if not version:
            self._connection.execute("BEGIN EXCLUSIVE")
            for statement in (
                *_SCHEMA,
                f"PRAGMA application_id={APPLICATION_ID}",
                f"PRAGMA user_version={VERSION}",
                "COMMIT",
            ):
                self._connection.execute(statement)

    def _number(self, pragma: str) -> int:
        found: int = self._connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        return found

    def _read(self) -> list[Line]:
        for tag, seq in self._connection.execute("SELECT room, seq FROM told"):
            self._told.setdefault(tag, set()).add(seq)
        lines = []
        for number, row in self._connection.execute("SELECT id, row FROM said ORDER BY id"):
            try:
                line = _read_line(aead.open(self._row_key, b"said", row))
            except (aead.OpenError, msgspec.MsgspecError):
                raise self._trouble("is damaged, or of other keys") from None
            self._said[line.post_id] = number
            lines.append(line)
        return lines

    def say(self, line: Line) -> None:
        """Somebody has said something."""
        self._said[line.post_id] = self._next
        row = aead.seal(self._row_key, b"said", msgspec.msgpack.encode(line))
        self._work.append(("INSERT INTO said (id, row) VALUES (?, ?)", (self._next, row)))
        self._next += 1

    def keep_only(self, post_ids: Iterable[bytes]) -> None:
        """Of what was said, only this is not acknowledged or given up."""
        for post_id in self._said.keys() - set(post_ids):
            self._work.append(("DELETE FROM said WHERE id = ?", (self._said.pop(post_id),)))

    def unsent(self) -> list[Line]:
        """What the last run of the program has left, in its order."""
        return self._lines

    def tell(self, room_id: bytes, seqs: Sequence[int]) -> None:
        """Messages are about to be told."""
        tag = self._tag(room_id)
        self._told.setdefault(tag, set()).update(seqs)
        self._work += (("INSERT OR IGNORE INTO told (room, seq) VALUES (?, ?)", (tag, seq)) for seq in seqs)

    def was_told(self, room_id: bytes, seq: int) -> bool:
        """Whether a message was told before."""
        return bool(self._told) and seq in self._told.get(self._tag(room_id), ())

    def stored(self, room_id: bytes, known: int) -> None:
        """The key store has what was told up to a number."""
        tag = self._tag(room_id)
        told = self._told.get(tag)
        if told:
            self._told[tag] = {seq for seq in told if seq > known}
            self._work.append(("DELETE FROM told WHERE room = ? AND seq <= ?", (tag, known)))

    def flush(self) -> None:
        """Have it all on the disk. Raises `ClientError`."""
        work, self._work = self._work, []
        if not work:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement, parameters in work:
                self._connection.execute(statement, parameters)
            self._connection.execute("COMMIT")
        except sqlite3.Error as wrong:
            raise self._trouble(f"cannot be written ({_name(wrong)})") from wrong

    def close(self) -> None:
        """Let go of it at the end of a run, when all that was not sent has been told so. Raises `ClientError`."""
        with closing(self._connection):
            self.keep_only(())
            self.flush()
            self._told.clear()

    def _tag(self, room_id: bytes) -> bytes:
        return hmac.digest(self._index_key, room_id, "sha256")[:16]

    def _trouble(self, what: str) -> ClientError:
        return ClientError(f"{self._path} {what}; remove it to begin a new one", Exit.FAILED)


_read_line: Final = msgspec.msgpack.Decoder(Line).decode


def _name(wrong: sqlite3.Error) -> str:
    return getattr(wrong, "sqlite_errorname", type(wrong).__name__)
