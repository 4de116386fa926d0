"""Records as rows: the statement that keeps each, what stands in the clear beside it, and what is sealed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from securechat.relay.records import (
    Banned,
    CursorMoved,
    EntryTaken,
    KeyDrawn,
    KeyGone,
    KeyWaits,
    MessageTaken,
    OwnerChanged,
    OwnerRemoved,
    Record,
    RoomEnded,
    Unbanned,
)
from securechat.relay.storage_key import KEY_ID, StorageKey
from securechat.relay.store import HOUR_MS, KEEP_HOURS
from securechat.relay.tags import ban_tag, cursor_tag, owner_tag, room_tag
from securechat.signed.encoding import u32

_PUT_OWNER: Final = (
    "INSERT INTO owners (name_tag, row) VALUES (?1, ?2) ON CONFLICT (name_tag) DO UPDATE SET row = excluded.row"
)
_DROP_OWNER: Final = "DELETE FROM owners WHERE name_tag = ?1"
_PUT_BAN: Final = (
    "INSERT INTO bans (ban_tag, row) VALUES (?1, ?2) ON CONFLICT (ban_tag) DO UPDATE SET row = excluded.row"
)
_DROP_BAN: Final = "DELETE FROM bans WHERE ban_tag = ?1"
_PUT_ROOM: Final = "INSERT INTO rooms (room_tag, row) VALUES (?1, ?2)"
_PUT_ENTRY: Final = "INSERT INTO entries (room, n, row) VALUES ((SELECT id FROM rooms WHERE room_tag = ?1), ?2, ?3)"
# A key that nobody has posted under is of no use any more once there is another.
_DROP_EPOCH: Final = "DELETE FROM epochs WHERE room = (SELECT id FROM rooms WHERE room_tag = ?1) AND from_seq = ?2"
_PUT_EPOCH: Final = (
    "INSERT INTO epochs (room, from_seq, row) VALUES ((SELECT id FROM rooms WHERE room_tag = ?1), ?2, ?3)"
)
_PUT_CURSOR: Final = (
    "INSERT INTO cursors (room, cursor_tag, seen_seq, row) "
    "VALUES ((SELECT id FROM rooms WHERE room_tag = ?1), ?2, ?3, ?4) "
    "ON CONFLICT (cursor_tag) DO UPDATE SET seen_seq = excluded.seen_seq"
)
_PUT_MESSAGE: Final = (
    "INSERT INTO messages (room, seq, post_tag, expires_hour, row) "
    "VALUES ((SELECT id FROM rooms WHERE room_tag = ?1), ?2, ?3, ?4, ?5)"
)
_PUT_HANDOUT: Final = "INSERT INTO handouts (id, row) VALUES (?1, ?2)"
_DROP_HANDOUT: Final = "DELETE FROM handouts WHERE id = ?1"
_END_ROOM: Final = (
    "DELETE FROM epochs WHERE room = (SELECT id FROM rooms WHERE room_tag = ?1)",
    "DELETE FROM cursors WHERE room = (SELECT id FROM rooms WHERE room_tag = ?1)",
    "DELETE FROM entries WHERE room = (SELECT id FROM rooms WHERE room_tag = ?1)",
    "UPDATE rooms SET room_tag = NULL, row = x'' WHERE room_tag = ?1",
)

_encode: Final = msgspec.msgpack.Encoder().encode


class Row(NamedTuple):
    """One statement to execute; a row that is sealed is its last parameter."""

    statement: str
    clear: tuple[Any, ...]
    associated: bytes = b""
    text: bytes | None = None
    """What is sealed, where there is something."""


def associated(table: str, tag: bytes = b"", number: int = 0) -> bytes:
    """What a row is bound to: its key, its table, the tag by which it is found and its place among equals."""
    return b"".join((KEY_ID, table.encode(), b"\0", tag, u32(number)))


def drops_keys(records: Sequence[Record]) -> bool:
    """Whether session keys are deleted by these records, so that no copy of them may be left."""
    return any(isinstance(record, KeyDrawn | RoomEnded) for record in records)


def rows(records: Sequence[Record], key: StorageKey) -> Iterator[Row]:
    """The statements for records, in their order."""
    gone = {record.serial for record in records if isinstance(record, KeyGone)}
    waits = {record.serial for record in records if isinstance(record, KeyWaits)}
    # Most records of a batch are of few rooms.
    tag_of = cache(lambda room: room_tag(key, room))
    for record in records:
        match record:
            case OwnerChanged(owner=owner):
                tag = owner_tag(key, owner)
                yield Row(_PUT_OWNER, (tag,), associated("owners", tag), _encode(owner))
            case OwnerRemoved(owner=owner):
                yield Row(_DROP_OWNER, (owner_tag(key, owner),))
                former = replace(owner, is_former=True)
                tag = owner_tag(key, former)
                yield Row(_PUT_OWNER, (tag,), associated("owners", tag), _encode(former))
            case Banned(ban=ban):
                tag = ban_tag(key, ban)
                yield Row(_PUT_BAN, (tag,), associated("bans", tag), _encode(ban))
            case Unbanned(ban=ban):
                yield Row(_DROP_BAN, (ban_tag(key, ban),))
            case EntryTaken(room=room, number=number, entry=entry):
                tag = tag_of(room)
                if number == 0:
                    yield Row(_PUT_ROOM, (tag,), associated("rooms", tag), room.encode())
                yield Row(_PUT_ENTRY, (tag, number), associated("entries", tag, number), entry)
            case KeyDrawn():
                tag = tag_of(record.room)
                yield Row(_DROP_EPOCH, (tag, record.from_seq))
                clear = (tag, record.from_seq)
                yield Row(_PUT_EPOCH, clear, associated("epochs", tag), record.epoch + record.key)
            case RoomEnded():
                tag = tag_of(record.room)
                yield from (Row(statement, (tag,)) for statement in _END_ROOM)
            case MessageTaken(seq=seq, tag=post_tag, time_ms=time_ms):
                tag = tag_of(record.room)
                expires_hour = time_ms // HOUR_MS + max(KEEP_HOURS, record.keep_days * 24)
                text = _encode((record.sender, record.post_id, record.epoch, time_ms, record.sealed))
                yield Row(_PUT_MESSAGE, (tag, seq, post_tag, expires_hour), associated("messages", post_tag), text)
            case CursorMoved(room=room, device=device, seq=seq):
                tag = cursor_tag(key, room, device)
                yield Row(_PUT_CURSOR, (tag_of(room), tag, seq), associated("cursors", tag), device)
            case KeyWaits(serial=serial):
                # One that was handed on at once leaves no trace.
                if serial not in gone:
                    yield Row(_PUT_HANDOUT, (serial,), associated("handouts"), _encode(record))
            case KeyGone(serial=serial):
                if serial not in waits:
                    yield Row(_DROP_HANDOUT, (serial,))
