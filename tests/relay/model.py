"""What rooms should do, said once more and without frames, links or signatures: actions in, events out.

An event is what one session hears: a tuple that begins with its kind. Epochs are numbered; entries are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from securechat.wire.codes import Code

Event = tuple[Any, ...]
Session = tuple[str, int]
"""Somebody's name, and which of their links it is."""


@dataclass
class ModelRoom:
    """A room: its log, its members with whether they own it, who is here with which session, what was said."""

    entries: list[bytes] = field(default_factory=list)
    members: dict[str, bool] = field(default_factory=dict)
    here: dict[str, Session] = field(default_factory=dict)
    epoch: int = 0
    last_seq: int = 0
    kept: dict[tuple[str, bytes], int] = field(default_factory=dict)
    # What was not told yet.
    told_entries: int = 0
    authors: list[Session] = field(default_factory=list)
    comers: dict[Session, int] = field(default_factory=dict)
    hungry: list[Session] = field(default_factory=list)
    changed: bool = False


@dataclass
class Model:
    """Every room; `now` is everybody's session at the end of the turn."""

    rooms: dict[str, ModelRoom] = field(default_factory=dict)
    now: dict[str, Session] = field(default_factory=dict)
    waiting: dict[str, list[tuple[str, str, bytes]]] = field(default_factory=dict)
    """Sealed keys: for each name the rooms, senders and blobs. Nobody says that they have stored any."""
    fed: dict[Session, list[tuple[str, str, bytes]]] = field(default_factory=dict)
    """What was given on a link since its room was last entered."""
    news: dict[str, None] = field(default_factory=dict)
    """The rooms of which something was not told yet."""
    feeding: list[tuple[Session, str]] = field(default_factory=list)
    epochs: int = 0
    told: dict[Session, list[Event]] = field(default_factory=dict)
    answered: dict[Session, list[Event]] = field(default_factory=dict)

    def tell(self, session: Session, *event: Any) -> None:
        """Something that a session hears, in order."""
        self.told.setdefault(session, []).append(event)

    def answer(self, session: Session, *event: Any) -> None:
        """Something that a session hears, in whatever order."""
        self.answered.setdefault(session, []).append(event)

    def rooms_of(self, name: str) -> tuple[str, ...]:
        """The rooms that somebody is a member of."""
        return tuple(sorted(room for room, each in self.rooms.items() if name in each.members))

    # Telling.

    def tell_entries(self, name: str) -> None:
        """Tell who is here of the new entries, and let in those whom they made members."""
        room = self.rooms[name]
        if room.told_entries == len(room.entries):
            return
        here = list(room.here.values())
        others = [each for each in room.authors if each not in here and each not in room.comers]
        for session in [*here, *dict.fromkeys(others)]:
            self.roster(session, name, room.told_entries)
        for comer, first in room.comers.items():
            self.roster(comer, name, first)
            for session in here:
                self.tell(session, "presence", name, comer[0], True)
            room.here[comer[0]] = comer
        for comer in room.comers:
            self.tell(comer, "present", name, tuple(room.here))
        room.hungry += room.comers
        room.comers, room.authors, room.told_entries = {}, [], len(room.entries)

    def roster(self, session: Session, name: str, first: int) -> None:
        """Tell a session the log from an entry on."""
        room = self.rooms[name]
        self.tell(session, "roster", name, first, tuple(room.entries[first:]), room.last_seq)

    def tell_room(self, name: str) -> None:
        """Tell all that is new of a room, the key of a new epoch after its entries."""
        room = self.rooms[name]
        self.news.pop(name, None)
        self.tell_entries(name)
        if room.changed:
            self.epochs += 1
            room.epoch, room.changed = self.epochs, False
            for session in room.here.values():
                self.tell(session, "key", name, room.epoch)
        for session in room.hungry:
            self.feed(session, name)
        room.hungry = []

    def tell_all(self) -> None:
        """Tell all that is new, in the order in which it began to be."""
        for name in list(self.news):
            self.tell_room(name)

    def feed(self, session: Session, name: str) -> None:
        """Let a session have what waits for it in a room, when frames leave next."""
        self.feeding.append((session, name))

    def feed_all(self) -> None:
        """Frames leave: what is fed goes with them, where the link is not lost."""
        for session, name in self.feeding:
            if self.now.get(session[0]) == session:
                fed = self.fed.setdefault(session, [])
                for each in self.waiting.get(session[0], []):
                    if each[0] == name and each not in fed:
                        self.answer(session, "sealed", *each)
                        fed.append(each)
        self.feeding = []

    # Actions.

    def enter(self, session: Session, name: str, have: int) -> None:
        """Somebody enters."""
        room = self.rooms.get(name)
        if room is None:
            self.answer(session, "declined", name, None, Code.NO_SUCH_ROOM)
            return
        self.tell_room(name)
        self.roster(session, name, min(have, len(room.entries)))
        if session[0] not in room.members:
            return
        if room.here.get(session[0]) != session:
            for each in room.here.values():
                self.tell(each, "presence", name, session[0], True)
            room.here[session[0]] = session
        self.tell(session, "present", name, tuple(room.here))
        self.tell(session, "key", name, room.epoch)
        self.fed[session] = [each for each in self.fed.get(session, []) if each[0] != name]
        self.feed(session, name)

    def append(self, session: Session, name: str, op: str, subject: str, entry: bytes, before: bytes) -> None:
        """Somebody hands in an entry that is to follow another one (nothing: the first)."""
        room = self.rooms.get(name)
        last = room.entries[-1] if room is not None else b""
        if before != last:
            refusal = Code.STALE_ENTRY
        elif not self.is_right(room, op, session[0], subject):
            refusal = Code.BAD_ENTRY
        else:
            self.take(session, self.rooms.setdefault(name, ModelRoom()), name, op, subject, entry)
            return
        if room is not None:
            self.tell_room(name)
        self.answer(session, "declined", name, None, refusal)

    def is_right(self, room: ModelRoom | None, op: str, actor: str, subject: str) -> bool:
        """Whether somebody may do that to somebody in an open room."""
        if room is None:
            return op == "create"
        is_member, has_point = actor in room.members, (subject in room.members) != (op in ("join", "add"))
        right = {
            "create": False,
            "join": not is_member,
            "add": is_member,
            "remove": room.members.get(actor, False) and not room.members.get(subject, False),
            "leave": is_member,
        }
        return right[op] and has_point

    def take(self, session: Session, room: ModelRoom, name: str, op: str, subject: str, entry: bytes) -> None:
        """An entry is the next of a log."""
        self.news[name] = None
        room.entries.append(entry)
        room.authors.append(session)
        room.changed = True
        if op in ("create", "join", "add"):
            room.members[subject] = op == "create"
            comer = self.now.get(subject)
            if comer is not None:
                room.comers[comer] = len(room.entries) - 1 if comer == session else 0
            return
        self.tell_entries(name)
        del room.members[subject]
        gone = room.here.pop(subject, None)
        room.hungry = [each for each in room.hungry if each != gone]
        self.waiting[subject] = [each for each in self.waiting.get(subject, []) if each[0] != name]
        if not room.members:
            del self.rooms[name], self.news[name]

    def hand(self, session: Session, name: str, subject: str, blob: bytes) -> None:
        """Somebody hands a sealed key to somebody's device."""
        room = self.rooms.get(name)
        if room is not None and session[0] in room.members and subject in room.members:
            self.waiting.setdefault(subject, []).append((name, session[0], blob))
            if subject in room.here:
                self.feed(room.here[subject], name)

    def vanish(self, session: Session) -> None:
        """A link is lost."""
        for room in self.rooms.values():
            room.comers.pop(session, None)
            room.hungry = [each for each in room.hungry if each != session]
        for name, room in sorted(self.rooms.items()):
            if room.here.get(session[0]) == session:
                del room.here[session[0]]
                for each in room.here.values():
                    self.tell(each, "presence", name, session[0], False)

    def posts(self, batch: list[tuple[Session, str, int, bytes, bytes]]) -> None:
        """Posts that nothing stands between: session, room, epoch, id, text."""
        said: dict[str, list[tuple[int, str, bytes]]] = {}
        for session, name, epoch, ident, text in batch:
            room = self.rooms.get(name)
            who = session[0]
            if room is not None and (who, ident) in room.kept:
                self.answer(session, "ack", name, ident, room.kept[who, ident])
            elif room is None or who not in room.members:
                self.answer(session, "declined", name, ident, Code.NOT_A_MEMBER)
            elif epoch != room.epoch:
                self.answer(session, "declined", name, ident, Code.STALE_EPOCH)
            else:
                room.last_seq += 1
                room.kept[who, ident] = room.last_seq
                self.answer(session, "ack", name, ident, room.last_seq)
                said.setdefault(name, []).append((room.last_seq, who, text))
        for name, messages in said.items():
            for each, session in self.rooms[name].here.items():
                for seq, sender, text in messages:
                    if sender != each:
                        self.tell(session, "message", name, seq, sender, text)
