"""Which rooms there are, who is a member, and who of them is here.

A room is its log of signed entries, which the relay puts in order and cannot write (`signed.roster` says who may do
what). A member stays one while away. Who is here has *entered*: by `Enter` on this link, or because an entry made
them a member while they were logged in, in which case they are told everything as if they had asked.

What changes in a turn is told at its end: to everybody who has entered the new entries in one `Roster`, then, where
the members changed, one `SessionKey` with the new epoch. A member who was put out hears that entry at once and
nothing after it, least of all the key.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from os import urandom
from typing import Final, Protocol

from securechat.relay.behind import Behind
from securechat.relay.cursors import Cursors
from securechat.relay.hands import Hands
from securechat.relay.limits import RelayLimits
from securechat.relay.records import EntryTaken, KeyDrawn, Recorder, RoomEnded
from securechat.relay.room import Client, Room, roster_frames
from securechat.relay.space import never
from securechat.signed.entries import Entry, Op, read_entry
from securechat.signed.errors import NotAuthentic
from securechat.signed.rights import Fault, Member, RosterError
from securechat.signed.roster import MAX_ENTRIES
from securechat.signed.roster import Roster as Log
from securechat.wire.codes import Code
from securechat.wire.framing import frame
from securechat.wire.messages import ROOM_MEMBERS, Append, Enter, Presence, Present, Seen
from securechat.wire.names import is_room

LAST_ENTRIES: Final = ROOM_MEMBERS
"""So many entries of a log are left for leaving and removing: nobody is caught in a room whose log is full."""

_COMES: Final = frozenset({Op.CREATE, Op.JOIN, Op.ADD})
_GOES: Final = frozenset({Op.LEAVE, Op.REMOVE})


class People(Protocol):
    """What rooms ask of the directory."""

    def find(self, identity: bytes) -> Client | None:
        """The session of somebody who is logged in."""

    def certificate(self, identity: bytes) -> bytes:
        """The newest certificate of an identity key, empty where there is none."""


class Numbers(Protocol):
    """What rooms ask of the log of messages."""

    def last_seq(self, room: str) -> int:
        """The number of the room's last message."""

    def forget(self, room: str) -> None:
        """The room is no more."""


@dataclass(slots=True, eq=False)
class _News:
    """What has not been told of a room yet."""

    first: int
    """The first entry that the others have not been told of."""
    authors: dict[Client, None] = field(default_factory=dict)
    comers: dict[Client, int] = field(default_factory=dict)
    """Who is to enter, with the first entry that they have to be told of."""
    hungry: dict[Client, None] = field(default_factory=dict)
    """Who has entered and gets what waits for them after the key."""
    is_epoch: bool = False
    """Whether the members changed."""


class Memberships:
    """The rooms of a relay; `rooms` is for reading."""

    def __init__(
        self,
        people: People,
        numbers: Numbers,
        now_ms: Callable[[], int],
        limits: RelayLimits,
        records: Recorder,
        behind: Behind,
        random: Callable[[int], bytes] = urandom,
        is_full: Callable[[], bool] = never,
        is_busy: Callable[[], bool] = never,
    ) -> None:
        self.rooms: dict[str, Room] = {}
        self.hands = Hands(self.rooms, now_ms, limits, records)
        self.log_bytes = 0
        """The bytes of all entries of all rooms."""
        self._people = people
        self._numbers = numbers
        self._limits = limits
        self.cursors = Cursors(records)
        self._records = records
        self._behind = behind
        self._random = random
        self._is_full = is_full
        self._is_busy = is_busy
        self._rooms_of: dict[bytes, set[str]] = {}
        self._entered: dict[Client, set[str]] = {}
        self._news: dict[str, _News] = {}

    def rooms_of(self, identity: bytes) -> list[str]:
        """The rooms that somebody is a member of."""
        return sorted(self._rooms_of.get(identity, ()))

    def restore(self, room: Room) -> None:
        """Go on with a room that was kept."""
        self.rooms[room.name] = room
        self.log_bytes += sum(map(len, room.log.packed))
        for identity in room.log.members:
            self._rooms_of.setdefault(identity, set()).add(room.name)

    # What clients ask for. Each gives the reason where it is not done.

    def enter(self, client: Client, enter: Enter) -> Code | None:
        """Tell somebody of a room, and a member from now on of everything in it."""
        if not is_room(enter.room):
            return Code.BAD_ROOM
        room = self.rooms.get(enter.room)
        if room is None:
            return Code.NO_SUCH_ROOM
        is_member = room.has(client)
        if not is_member and not room.log.policy.is_open:
            return Code.NOT_PERMITTED
        # What others did in this turn comes first, so that nobody is told anything twice.
        self._tell_all(room)
        first = min(enter.have, len(room.log))
        client.stream(roster_frames(room, first, self._numbers.last_seq(room.name)))
        if is_member:
            if not room.is_here(client):
                _tell_presence(room.entered.values(), room.name, client.name, here=True)
                self._note_entered(room, client)
            client.put(frame(Present(room.name, list(room.entered))))
            client.put(room.key_frame)
            self.hands.feed_again(client, room)
            self._behind.begin(client, room, enter.after)
        return None

    def append(self, client: Client, append: Append) -> Code | None:
        """Give a room's log its next entry; told at the end of the turn."""
        if not is_room(append.room):
            return Code.BAD_ROOM
        room = self.rooms.get(append.room)
        going: Member | None = None
        try:
            entry = read_entry(append.entry)
            if room is not None and entry.op in _GOES:
                going = room.log.members.get(entry.subject)
            refusal = self._obstacle(client, room, entry, len(append.entry))
            if refusal is None:
                room = self._take(client, room, append)
        except (NotAuthentic, RosterError) as wrong:
            full = isinstance(wrong, RosterError) and wrong.fault is Fault.FULL
            refusal = Code.ROOM_FULL if full else Code.BAD_ENTRY
        if refusal is None:
            assert room is not None
            self.log_bytes += len(append.entry)
            self._records.add(EntryTaken(room.name, entry.number, append.entry))
            news = self._note(client, room, entry)
            if going is not None:
                self._tell_entries(room, news)
                self._put_out(room, news, going)
        elif room is not None:
            # Answers come in the order of what they answer.
            self._tell_all(room)
        return refusal

    def gone(self, client: Client) -> None:
        """A link is lost; its owner stays a member."""
        self.hands.gone(client)
        self._behind.gone(client)
        for news in self._news.values():
            news.comers.pop(client, None)
            news.hungry.pop(client, None)
        for name in sorted(self._entered.pop(client, ())):
            room = self.rooms[name]
            del room.entered[client.name]
            room.level.pop(client.name, None)
            room.joining.pop(client.name, None)
            _tell_presence(room.entered.values(), room.name, client.name, here=False)

    def seen(self, client: Client, seen: Seen) -> None:
        """A client has stored what it was told in some rooms; of others it says nothing that matters."""
        for name, seq, handed in seen.items:
            room = self.rooms.get(name)
            if room is not None and room.has(client):
                self.hands.stored(client, name, handed)
                self.cursors.moved(client, room, min(seq, self._numbers.last_seq(name)))

    # Taking entries.

    def _obstacle(self, client: Client, room: Room | None, entry: Entry, size: int) -> Code | None:
        """What stands against an entry besides what `signed.roster` finds."""
        count = 0 if room is None else len(room.log)
        if not is_last_known(entry, room):
            return Code.STALE_ENTRY
        if not is_by(client, entry) or not is_certified_here(entry, self._people):
            return Code.BAD_ENTRY
        if entry.op in _GOES:
            return None
        if count >= MAX_ENTRIES - LAST_ENTRIES:
            return Code.ROOM_FULL
        if room is None and self._is_busy():
            return Code.BUSY
        too_many = room is None and len(self.rooms) >= self._limits.all_rooms
        if too_many or self.log_bytes + size > self._limits.log_bytes or self._is_full():
            return Code.FULL
        if entry.op in _COMES:
            # Half of the rooms that one may be in stay for those that one asks for: strangers cannot fill them.
            most = self._limits.rooms if entry.subject == client.identity else (self._limits.rooms + 1) // 2
            if len(self._rooms_of.get(entry.subject, ())) >= most:
                return Code.TOO_MANY_ROOMS
        return None

    def _take(self, client: Client, room: Room | None, append: Append) -> Room:
        """Let the log judge an entry and take it. Raises `RosterError`."""
        if room is not None:
            room.log.append(append.entry)
            return room
        log = Log(append.entry, append.room)
        if not is_founded_by(client, log):
            raise RosterError(Fault.NO_RIGHT)
        room = self.rooms[append.room] = Room(append.room, log)
        return room

    def _note(self, client: Client, room: Room, entry: Entry) -> _News:
        """Remember whom to tell of an entry that was taken."""
        news = self._news.get(room.name)
        if news is None:
            news = self._news[room.name] = _News(entry.number)
        news.authors[client] = None
        news.is_epoch |= entry.op in _COMES or entry.op in _GOES
        if entry.op in _COMES:
            self._rooms_of.setdefault(entry.subject, set()).add(room.name)
            comer = self._people.find(entry.subject)
            if comer is not None:
                # An author knows the entries before, which their own one names.
                news.comers[comer] = entry.number if comer is client else 0
        return news

    def _put_out(self, room: Room, news: _News, member: Member) -> None:
        rooms = self._rooms_of[member.identity]
        rooms.discard(room.name)
        if not rooms:
            del self._rooms_of[member.identity]
        client = room.entered.pop(member.name, None)
        if client is not None:
            self._entered[client].discard(room.name)
            self._behind.end(client, room)
            news.hungry.pop(client, None)
        self.hands.put_out(room, member.device)
        if not room.log.members:
            self.log_bytes -= sum(map(len, room.log.packed))
            del self.rooms[room.name], self._news[room.name]
            self._numbers.forget(room.name)
            self.cursors.forget(room.name)
            self._records.add(RoomEnded(room.name))

    # Telling.

    def tell(self) -> None:
        """Tell everybody what changed in this turn."""
        for name in list(self._news):
            self._tell_all(self.rooms[name])

    def _tell_all(self, room: Room) -> None:
        news = self._news.get(room.name)
        if news is None:
            return
        self._tell_entries(room, news)
        del self._news[room.name]
        if news.is_epoch:
            key = self._random(32)
            room.begin_epoch(room.log.epoch, key)
            self._records.add(KeyDrawn(room.name, room.epoch, key, self._numbers.last_seq(room.name) + 1))
            for client in room.entered.values():
                client.put(room.key_frame)
        for client in news.hungry:
            self.hands.feed(client, room)

    def _tell_entries(self, room: Room, news: _News) -> None:
        """Tell who has entered, and the authors, of the new entries; let in those whom these made members."""
        if news.first == len(room.log):
            return
        last_seq = self._numbers.last_seq(room.name)
        frames = list(roster_frames(room, news.first, last_seq))
        here = list(room.entered.values())
        for client in [
            *here,
            *(each for each in news.authors if not room.is_here(each) and each not in news.comers),
        ]:
            for data in frames:
                client.put(data)
        for comer, first in news.comers.items():
            comer.stream(roster_frames(room, first, last_seq))
            _tell_presence(here, room.name, comer.name, here=True)
            self._note_entered(room, comer)
            self._behind.begin(comer, room, last_seq)
        for comer in news.comers:
            comer.put(frame(Present(room.name, list(room.entered))))
        news.hungry |= dict.fromkeys(news.comers)
        news.comers = {}
        news.authors = {}
        news.first = len(room.log)

    def _note_entered(self, room: Room, client: Client) -> None:
        room.entered[client.name] = client
        self._entered.setdefault(client, set()).add(room.name)


def is_last_known(entry: Entry, room: Room | None) -> bool:
    """Whether an entry is made for the log as it stands; None for a room that is not there yet."""
    if room is None:
        return entry.number == 0
    return entry.number == len(room.log) and entry.previous == room.log.last


def is_by(client: Client, entry: Entry) -> bool:
    """Whether an entry is of the device that its link has logged in with."""
    return entry.actor == client.device


def is_certified_here(entry: Entry, people: People) -> bool:
    """Whether who is brought in, if anybody is, has a name here, and comes by their newest certificate."""
    return entry.op not in (Op.JOIN, Op.ADD) or entry.detail == people.certificate(entry.subject)


def is_founded_by(client: Client, log: Log) -> bool:
    """Whether a room was founded by who sent that, under the name that they have here."""
    founder = log.members.get(client.identity)
    return founder is not None and founder.name == client.name


def _tell_presence(members: Iterable[Client], room: str, name: str, *, here: bool) -> None:
    presence = frame(Presence(room, name, here))
    for each in members:
        each.put(presence)
