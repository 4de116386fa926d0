"""A store in memory, said once more and plainly: the model that any other store is held against.

What outlives a store lies on a `Shelf`; a store is a hand that reaches there. Nothing is sealed.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from securechat.relay.bans import Ban
from securechat.relay.directory import Owner
from securechat.relay.errors import NoRoomError, StoreError
from securechat.relay.log import RECENT_IDS
from securechat.relay.pages import PAGE_BYTES, PAGE_ROWS, Page, Told
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
from securechat.relay.store import HOUR_MS, KEEP_HOURS, NOBODY, TIDY_ROWS, Kept, KeptRoom

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass
class ModelMessage:
    """A message; `told` is None once it is too old, or everybody has seen it."""

    tag: bytes
    told: Told | None
    expires_hour: int


@dataclass
class ModelRoom:
    """A room."""

    entries: dict[int, bytes] = field(default_factory=dict)
    epochs: list[KeyDrawn] = field(default_factory=list)
    messages: dict[int, ModelMessage] = field(default_factory=dict)
    cursors: dict[bytes, int] = field(default_factory=dict)

    def texts(self) -> list[Told]:
        """The messages that are there, in order."""
        return [each.told for _, each in sorted(self.messages.items()) if each.told is not None]

    def has_ended(self, epoch: int) -> bool:
        """Whether one of its epochs is past, with no message of it left."""
        later = self.epochs[epoch + 1 :]
        if not later:
            return False
        span = range(self.epochs[epoch].from_seq, min(each.from_seq for each in later))
        return not any(told.seq in span for told in self.texts())


@dataclass
class Shelf:
    """What outlives a store."""

    owners: dict[tuple[str, bytes | None], Owner] = field(default_factory=dict)
    """By name, and for those who have lost it by their key as well."""
    bans: dict[tuple[str, str], Ban] = field(default_factory=dict)
    rooms: dict[str, ModelRoom] = field(default_factory=dict)
    ended: list[ModelRoom] = field(default_factory=list)
    waiting: dict[int, KeyWaits] = field(default_factory=dict)
    room_for: int | None = None
    """How many more messages there is room for; None for any number."""

    def put(self, other: Shelf) -> None:
        """Have on it what another one has."""
        self.__dict__.update(other.__dict__)

    def take(self, record: Record) -> None:
        """Change what a record says. Raises `KeyError` where that cannot be."""
        match record:
            case OwnerChanged(owner=owner):
                self.owners[_key(owner)] = owner
            case OwnerRemoved(owner=owner):
                self.owners.pop(_key(owner), None)
                former = replace(owner, is_former=True)
                self.owners[_key(former)] = former
            case Banned(ban=ban):
                self.bans[ban.kind, ban.value] = ban
            case Unbanned(ban=ban):
                self.bans.pop((ban.kind, ban.value), None)
            case EntryTaken(room=room, number=number, entry=entry):
                if number == 0:
                    _new(self.rooms, room, ModelRoom())
                _new(self.rooms[room].entries, number, entry)
            case KeyDrawn(room=room, from_seq=from_seq):
                epochs = [each for each in self.rooms[room].epochs if each.from_seq != from_seq]
                self.rooms[room].epochs = [*epochs, record]
            case RoomEnded(room=room):
                if room in self.rooms:
                    self.ended.append(self.rooms.pop(room))
            case CursorMoved(room=room, device=device, seq=seq):
                self.rooms[room].cursors[device] = seq
            case MessageTaken():
                self._take_message(record)
            case KeyWaits(serial=serial):
                _new(self.waiting, serial, record)
            case KeyGone(serial=serial):
                self.waiting.pop(serial, None)

    def _take_message(self, taken: MessageTaken) -> None:
        if self.room_for is not None:
            if not self.room_for:
                raise NoRoomError
            self.room_for -= 1
        told = Told(taken.seq, taken.sender, taken.time_ms, taken.epoch, taken.sealed)
        hours = taken.time_ms // HOUR_MS + max(KEEP_HOURS, taken.keep_days * 24)
        _new(self.rooms[taken.room].messages, taken.seq, ModelMessage(taken.tag, told, hours))

    def messages(self) -> Iterator[tuple[ModelRoom, int, ModelMessage]]:
        """All of them, with their rooms and numbers."""
        for room in [*self.rooms.values(), *self.ended]:
            for seq, message in list(room.messages.items()):
                yield room, seq, message


class ModelStore:
    """A store; see `store.Store` for what each verb does."""

    sealing_s = 0.0

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def load(self) -> Kept:
        """All but messages."""
        shelf = self._shelf
        rooms = [_kept(name, room) for name, room in shelf.rooms.items() if room.epochs]
        return Kept(list(shelf.owners.values()), rooms, _in_order(shelf.waiting), list(shelf.bans.values()))

    def commit(self, records: Sequence[Record]) -> int:
        """Change a copy, and put it where the shelf is."""
        changed: Shelf = _copy(self._shelf)
        gone = {each.serial for each in records if isinstance(each, KeyGone)}
        waits = {each.serial for each in records if isinstance(each, KeyWaits)}
        kept = [
            each for each in records if not isinstance(each, KeyWaits | KeyGone) or each.serial not in gone & waits
        ]
        try:
            for record in kept:
                changed.take(record)
        except KeyError as wrong:
            raise StoreError from wrong
        self._shelf.put(changed)
        return sum(not isinstance(each, Unbanned | RoomEnded | KeyGone) for each in kept)

    def scrub(self, records: Sequence[Record]) -> None:
        """Nothing is left anywhere."""

    def page(self, room: str, first: int) -> Page:
        """Messages with the keys that they need."""
        found = self._shelf.rooms.get(room, ModelRoom())
        rest = [told for told in found.texts() if told.seq >= first]
        messages = rest[:PAGE_ROWS]
        while len(messages) > 1 and sum(len(each.sealed) for each in messages) > PAGE_BYTES:
            messages.pop()
        if not messages:
            return Page([], {}, is_last=True)
        began = [each for each in found.epochs if each.from_seq <= messages[-1].seq]
        past = [number for number, each in enumerate(began) if each.from_seq <= messages[0].seq]
        needed = began[max(past, default=0) :]
        return Page(messages, {each.epoch: each.key for each in needed}, is_last=len(messages) == len(rest))

    def find(self, room: str, tag: bytes, after: int, up_to: int) -> int:
        """A number by its tag."""
        messages = self._shelf.rooms.get(room, ModelRoom()).messages
        return next((seq for seq, each in messages.items() if each.tag == tag and after < seq <= up_to), 0)

    def tidy(self, now_ms: int, seen: Mapping[str, int] = NOBODY) -> bool:
        """Delete some messages."""
        shelf = self._shelf
        most = 0
        for name, last in seen.items():
            room = shelf.rooms.get(name, ModelRoom())
            some = [told.seq for told in room.texts() if told.seq <= last][:TIDY_ROWS]
            most = max(most, len(some))
            for seq in some:
                room.messages[seq].told = None
        old = [each for each in shelf.messages() if each[2].expires_hour <= now_ms // HOUR_MS][:TIDY_ROWS]
        last_of = {id(room): max(room.messages) for room, _, _ in old}
        for room, seq, message in old:
            if seq <= last_of[id(room)] - RECENT_IDS:
                del room.messages[seq]
            else:
                message.told = None
                message.expires_hour += KEEP_HOURS
        ended = [(room, seq) for room in shelf.ended for seq in room.messages][:TIDY_ROWS]
        for room, seq in ended:
            del room.messages[seq]
        for room in shelf.rooms.values():
            room.epochs = [each for number, each in enumerate(room.epochs) if not room.has_ended(number)]
        return TIDY_ROWS in (most, len(old), len(ended))

    def usage(self, room: str) -> tuple[int, int]:
        """How many messages, and their bytes."""
        texts = self._shelf.rooms.get(room, ModelRoom()).texts()
        return len(texts), sum(len(told.sealed) for told in texts)

    def copy(self, path: Path, between: Callable[[int, int], None]) -> None:
        """Put the shelf into a file, in two steps that are one."""
        between(0, 1)
        path.write_bytes(pickle.dumps(self._shelf))
        between(1, 1)

    def close(self) -> None:
        """Let go of the shelf."""
        del self._shelf


def open_copy(path: Path) -> ModelStore:
    """What `ModelStore.copy` has made."""
    shelf = pickle.loads(path.read_bytes())
    assert isinstance(shelf, Shelf)
    return ModelStore(shelf)


def _kept(name: str, room: ModelRoom) -> KeptRoom:
    newest = room.epochs[-1]
    seqs = sorted(room.messages)
    ids: dict[Hashable, int] = {room.messages[seq].tag: seq for seq in seqs[-RECENT_IDS:]}
    last_seq = seqs[-1] if seqs else 0
    return KeptRoom(name, _in_order(room.entries), newest.epoch, newest.key, last_seq, ids, room.cursors)


def _key(owner: Owner) -> tuple[str, bytes | None]:
    return owner.name, owner.identity if owner.is_former else None


def _new(among: dict[Key, Value], key: Key, value: Value) -> None:
    if key in among:
        raise KeyError(key)
    among[key] = value


def _in_order(numbered: Mapping[int, Value]) -> list[Value]:
    return [numbered[number] for number in sorted(numbered)]


def _copy(shelf: Shelf) -> Shelf:
    copied = pickle.loads(pickle.dumps(shelf))
    assert isinstance(copied, Shelf)
    return copied
