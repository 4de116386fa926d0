"""What must survive a client that is killed: what was said and not acknowledged, and what was told already.

A line is on the disk before it is posted, and goes when its acknowledgement has been told; the next run of the
program says it again under the same id, so that the relay takes it once. The number of a message is on the disk
before it is shown, and goes when the key store has been written: that goes back by a second when the program is
killed, and what came in that second comes again. Nobody knows whether it was shown, so it is shown, and marked.
"""

from collections.abc import Iterable, Sequence, Set
from contextlib import closing
from typing import Final, NamedTuple, Protocol

import msgspec

from securechat.client.sealed_file import SealedFile

_SAID: Final = b"said"


class Line(NamedTuple):
    """Something that was said and is not acknowledged."""

    post_id: bytes
    room: str
    text: str
    label: str | None
    said_ms: int
    after: int = 0
    """Up to where all messages of the room were known then."""


class Ledger(Protocol):
    """What a conversation writes down at once."""

    def say(self, line: Line) -> None:
        """Somebody has said something."""

    @property
    def lines(self) -> Set[bytes]:
        """The ids of what was said and not forgotten."""

    def forget(self, post_ids: Iterable[bytes]) -> None:
        """It has been told what became of these."""

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

    @property
    def lines(self) -> Set[bytes]:
        """Nothing is kept."""
        return frozenset()

    def forget(self, post_ids: Iterable[bytes]) -> None:
        """Nothing was kept."""

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
    """A ledger in a file."""

    def __init__(self, file: SealedFile) -> None:
        """Take up what the last run has left. Raises `ClientError`."""
        self._file = file
        self._said: dict[bytes, int] = {}
        """The rows of what was said, by id."""
        self._told: dict[bytes, set[int]] = {}
        self._lines = self._read()
        self._next = max(self._said.values(), default=0) + 1

    def _read(self) -> list[Line]:
        for tag, seq in self._file.read("SELECT room, seq FROM told"):
            self._told.setdefault(tag, set()).add(seq)
        lines = []
        for number, row in self._file.read("SELECT id, row FROM said ORDER BY id"):
            try:
                line = _read_line(self._file.open(_SAID, row))
            except msgspec.MsgspecError:
                raise self._file.damaged() from None
            self._said[line.post_id] = number
            lines.append(line)
        return lines

    def say(self, line: Line) -> None:
        """Somebody has said something."""
        self._said[line.post_id] = self._next
        row = self._file.seal(_SAID, msgspec.msgpack.encode(line))
        self._file.put("INSERT INTO said (id, row) VALUES (?, ?)", self._next, row)
        self._next += 1

    @property
    def lines(self) -> Set[bytes]:
        """The ids of what was said and not forgotten."""
        return self._said.keys()

    def forget(self, post_ids: Iterable[bytes]) -> None:
        """It has been told what became of these."""
        for post_id in post_ids:
            self._file.put("DELETE FROM said WHERE id = ?", self._said.pop(post_id))

    def unsent(self) -> list[Line]:
        """What the last run of the program has left, in its order."""
        return self._lines

    def tell(self, room_id: bytes, seqs: Sequence[int]) -> None:
        """Messages are about to be told."""
        tag = self._file.tag(room_id)
        self._told.setdefault(tag, set()).update(seqs)
        for seq in seqs:
            self._file.put("INSERT OR IGNORE INTO told (room, seq) VALUES (?, ?)", tag, seq)

    def was_told(self, room_id: bytes, seq: int) -> bool:
        """Whether a message was told before."""
        return bool(self._told) and seq in self._told.get(self._file.tag(room_id), ())

    def stored(self, room_id: bytes, known: int) -> None:
        """The key store has what was told up to a number."""
        tag = self._file.tag(room_id)
        told = self._told.get(tag)
        if told:
            self._told[tag] = {seq for seq in told if seq > known}
            self._file.put("DELETE FROM told WHERE room = ? AND seq <= ?", tag, known)

    def flush(self) -> None:
        """Have it all on the disk. Raises `ClientError`."""
        self._file.flush()

    def close(self) -> None:
        """Let go of it at the end of a run, when all that was not sent has been told so. Raises `ClientError`."""
        with closing(self._file):
            self.forget(list(self._said))
            self.flush()
            self._told.clear()


_read_line: Final = msgspec.msgpack.Decoder(Line).decode
