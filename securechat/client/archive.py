"""What was said in a room, to be read again: as long as the room's policy lets it, and no text at all where it has
no history (SC1 §10).

Messages stand here before they are told, and ours with their acknowledgement, in the sealed file that the ledger is
in; its `flush` writes both. In the clear are the day on which each came and for how many days it is kept: by these
it goes.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from securechat.client.events import Message
from securechat.client.sealed_file import SealedFile
from securechat.signed.encoding import lp, u64
from securechat.signed.roster import Roster

DAY_MS: Final = 24 * 3600 * 1000
HISTORY: Final = 50
"""How many messages are shown again, where nobody says how many."""
MOST: Final = 1_000
"""How many at the most."""


class Archive(Protocol):
    """What a conversation can read again."""

    def keep(self, log: Roster, messages: Sequence[Message], now_ms: int) -> None:
        """Messages of a room are about to be told; they are on the disk with the next `flush`."""

    def last(self, room: str, count: int) -> list[Message]:
        """The last messages of a room, in the order in which they were told. Raises `ClientError`."""

    def limit(self, log: Roster, now_ms: int) -> None:
        """A room's policy may be another one now: what it does not let us keep goes with the next `flush`."""

    def expire(self, now_ms: int) -> None:
        """Let go of what was kept for long enough, with the next `flush`."""


class NoArchive:
    """That of a client that keeps no text."""

    def keep(self, log: Roster, messages: Sequence[Message], now_ms: int) -> None:
        """Nothing is kept."""

    def last(self, room: str, count: int) -> list[Message]:
        """There is nothing."""
        return []

    def limit(self, log: Roster, now_ms: int) -> None:
        """Nothing was kept."""

    def expire(self, now_ms: int) -> None:
        """Nothing was kept."""


class DiskArchive:
    """An archive in a file."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file
        self._limits: dict[bytes, int] = {}
        """For how many days each room's policy lets us keep, as far as that was carried out."""

    def keep(self, log: Roster, messages: Sequence[Message], now_ms: int) -> None:
        """Messages of a room are about to be told; they are on the disk with the next `flush`.

        One that comes a second time, by its number, is kept once. Days are counted from when it came here: when it
        was said is the relay's word alone.
        """
        days = log.policy.history_days
        if not days:
            return
        room, whole = self._room(log.name), self._file.tag(log.room_id)
        for message in messages:
            place = self._file.tag(lp(b"message", log.room_id, u64(message.seq)))
            row = self._file.seal(b"messages" + place, _encode(message))
            self._file.put(
                "INSERT OR IGNORE INTO messages (room, log, place, day, days, row) VALUES (?, ?, ?, ?, ?, ?)",
                *(room, whole, place, now_ms // DAY_MS, days, row),
            )

    def last(self, room: str, count: int) -> list[Message]:
        """The last messages of a room, in the order in which they were told. Raises `ClientError`."""
        rows = self._file.read(
            "SELECT place, row FROM messages WHERE room = ? ORDER BY id DESC LIMIT ?", self._room(room), count
        )
        return [self._message(place, row) for place, row in reversed(rows)]

    def limit(self, log: Roster, now_ms: int) -> None:
        """A room's policy may be another one now: what it does not let us keep goes with the next `flush`.

        It is the policy of one log: another room under that name has no say in what was said in this one.
        """
        days = log.policy.history_days
        if self._limits.get(log.room_id) != days:
            self._limits[log.room_id] = days
            whole = self._file.tag(log.room_id)
            self._file.put("UPDATE messages SET days = ? WHERE log = ? AND days > ?", days, whole, days)
            self.expire(now_ms)

    def expire(self, now_ms: int) -> None:
        """Let go of what was kept for long enough, with the next `flush`."""
        self._file.forget("DELETE FROM messages WHERE days = 0 OR day + days < ?", now_ms // DAY_MS)

    def _room(self, name: str) -> bytes:
        return self._file.tag(lp(b"room", name.encode()))

    def _message(self, place: bytes, row: bytes) -> Message:
        try:
            return _decode(self._file.open(b"messages" + place, row))
        except msgspec.MsgspecError:
            raise self._file.damaged() from None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Message).decode
