"""The logs of our rooms as the relay shows them, followed entry by entry, and held against what we know (SC1 §3).

A log only grows. We ask for it from our last entry on, so that the answer shows whether it is still the same; where
it is not, or ends earlier, we ask how it begins. Another beginning is another room: a relay that has lost its
memory is an accident, after which an open room, or one of two, is taken anew; into a closed room it would let
whoever founded the other one, so that is a fault, over a start of the program too. The same beginning is a fault in
any case: members are shown different logs, or somebody's removal is kept from us. A fault stays until the room is
left.
"""

from collections.abc import Callable, Sequence
from typing import Final

from securechat.client import events
from securechat.client.dropped import Dropped
from securechat.client.events import Event
from securechat.client.numbers import Numbers
from securechat.client.people import People
from securechat.client.room import Room
from securechat.e2e.keystore import MAX_ROOMS, Place, Secrets
from securechat.e2e.room import SecureRoom, guarded_name, unguarded
from securechat.signed.entries import Entry, Op
from securechat.signed.errors import NotAuthentic, SignedError
from securechat.signed.roster import Roster
from securechat.wire import messages as wire
from securechat.wire.names import direct_pair

_SWAPPED: Final = "the relay has lost it, or shows another room in its place"


class Following:
    """Follows all rooms."""

    def __init__(
        self,
        secrets: Secrets,
        people: People,
        send: Callable[[wire.FromClient], None],
        tell: Callable[[Event], None],
        keep: Callable[[], None],
        keep_now: Callable[[], None],
    ) -> None:
        """Take our keys, whom we know, what sends to the relay, where events go, and what stores the keys."""
        self._secrets = secrets
        self._people = people
        self._send = send
        self._tell = tell
        self._keep = keep
        self._keep_now = keep_now
        self._guarded: dict[str, bytes] = {}
        """The closed rooms in which we are: which one belongs under which name."""
        for room_id, packed in secrets.rooms.items():
            name = _guarded_name(packed)
            if name is not None:
                self._guarded[name] = room_id

    def ask(self, room: Room) -> None:
        """Ask the relay for a room, and for its log from our last entry on."""
        if not room.asking:
            room.asking = True
            known = 0 if room.secure is None or room.from_start else len(room.secure.roster) - 1
            if room.secure is None and room.name in self._secrets.places:
                place = self._secrets.places[room.name]
                room.numbers.go_on(place.known)
                room.told_up_to = place.top
            self._send(wire.Enter(room.name, known, room.dropped.fetch(room.numbers.known)))

    def roster(self, room: Room, roster: wire.Roster) -> list[Entry]:
        """Entries of a room's log came; gives those that are new."""
        room.total, room.last_seq = roster.total, roster.last_seq
        if room.fault is not None or not self._goes_on(room, roster):
            return []
        pinned = self._secrets.pins.changes
        try:
            new = self._followed(room, roster.first, roster.entries)
        except SignedError as wrong:
            self.fault(room, str(wrong))
            new = []
        if self._secrets.pins.changes != pinned:
            # Before anything is told: after a crash another key would be taken for the first one.
            self._keep_now()
        if room.secure is None or room.fault is not None:
            return []
        if room.entered:
            for entry in new:
                self._tell_entry(room, room.secure.roster, entry)
        room.names.update({each.identity: each.name for each in room.secure.roster.members.values()})
        self._people.withheld(room.name, room.secure.withheld)
        if room.whole:
            room.asking = room.from_start = False
            self._keep()
        return new

    def remember(self, room: Room) -> None:
        """Put what is to be stored of a room into the secrets: as long as we are in it, and when we leave it.

        Rooms that were left stay until a thousand others have come: their messages must not come a second time to
        who enters them again. The same goes for a room with a fault, of which we have what was good up to that.
        """
        if room.secure is None or not room.restored:
            return
        stored = self._secrets.rooms
        room_id = room.secure.roster.room_id
        stored.pop(room_id, None)
        stored[room_id] = packed = room.secure.packed
        known, top = room.known, max(room.numbers.top, room.told_up_to)
        self._secrets.places.pop(room.name, None)
        self._secrets.places[room.name] = Place(room_id, known, top)
        room.place = known, room.handed
        if guarded_name(packed) is not None:
            self._guarded[room.name] = room_id
        elif self._guarded.get(room.name) == room_id:
            del self._guarded[room.name]
        while len(stored) > MAX_ROOMS:
            del stored[next(iter(stored))]
        places = self._secrets.places
        while len(places) > MAX_ROOMS:
            del places[next(iter(places))]

    def let_go(self, name: str) -> None:
        """Its user leaves a room: whatever is shown under its name from now on may be another one."""
        self._secrets.places.pop(name, None)
        room_id = self._guarded.pop(name, None)
        if room_id is not None and room_id in self._secrets.rooms:
            self._secrets.rooms[room_id] = unguarded(self._secrets.rooms[room_id])

    def fault(self, room: Room, reason: str) -> None:
        """What the relay shows of a room does not hold: nothing is said or taken there any more."""
        room.fault = reason
        self._tell(events.Fault(room.name, reason))

    def begin_anew(self, room: Room) -> bool:
        """The relay does not know a room any more, or has another one of its name; gives whether that may be."""
        if not self._is_replaceable(room):
            self.fault(room, _SWAPPED)
            return False
        if room.secure is None:
            return True
        self.remember(room)
        self._secrets.places.pop(room.name, None)
        room.secure, room.entered, room.restored, room.from_start = None, False, False, False
        room.keys.clear()
        room.wanted.clear()
        room.arrived.clear()
        room.numbers, room.dropped, room.told_up_to, room.handed = Numbers(), Dropped(), 0, 0
        for pending in room.outbox.values():
            pending.posted, pending.job = False, None
        self._tell(events.Info([f"The relay has forgotten {room.name}; it begins anew."]))
        return True

    def _is_replaceable(self, room: Room) -> bool:
        """Whether another room may stand in for one that we know: not where it is closed, and more than two's."""
        if room.secure is None:
            return room.name not in self._guarded
        return room.secure.roster.policy.is_open or direct_pair(room.name) is not None

    def _is_ours(self, log: Roster) -> bool:
        """Whether a log is the one that belongs under its name, where one does."""
        return self._guarded.get(log.name, log.room_id) == log.room_id

    def _goes_on(self, room: Room, roster: wire.Roster) -> bool:
        """Whether entries may be followed: they go on with our log, or are all of another one that may be."""
        if room.secure is None or not _differs(room.secure.roster, roster):
            return True
        if roster.first or not roster.entries:
            if room.from_start:
                self.fault(room, "the relay does not show how its log begins")
            else:
                room.from_start, room.asking = True, False
                self.ask(room)
            return False
        if room.secure.roster.part(0, 1) == roster.entries[:1]:
            self.fault(room, "its log ends earlier than it did")
            return False
        return self.begin_anew(room)

    def _followed(self, room: Room, first: int, run: Sequence[bytes]) -> list[Entry]:
        entries = list(run)
        if room.secure is None:
            if first or not entries:
                return []
            log = Roster(entries.pop(0), room.name)
            if not self._is_ours(log):
                self.fault(room, _SWAPPED)
                return []
            room.secure = SecureRoom(self._secrets.person, self._secrets.ring, log, self._secrets.pins)
            for epoch, key in room.keys:
                room.secure.take_session_key(epoch, key)
            room.keys.clear()
        new = room.secure.follow(entries)
        if room.whole and not room.restored:
            stored = self._secrets.rooms.get(room.secure.roster.room_id)
            if stored is not None:
                room.secure.restore(stored)
            room.restored = True
            place = self._secrets.places.pop(room.name, None)
            if place is not None and place.room_id != room.secure.roster.room_id:
                # Another room of that name, of which we know nothing.
                room.numbers, room.told_up_to, room.asking = Numbers(), 0, False
                self.ask(room)
        return new

    def _tell_entry(self, room: Room, log: Roster, entry: Entry) -> None:
        ours = self._secrets.person.identity.public
        if entry.op in (Op.JOIN, Op.ADD):
            subject = log.members.get(entry.subject)
            if subject is not None and subject.identity != ours:
                self._tell(events.Joined(room.name, subject.name))
        elif entry.op in (Op.REMOVE, Op.LEAVE):
            name = room.names.get(entry.subject)
            if name is not None and entry.subject != ours:
                room.present.discard(name)
                self._tell(events.Left(room.name, name))
        elif entry.op is Op.POLICY:
            name = room.names.get(entry.subject, "")
            self._tell(events.Policy(room.name, name, log.policy.is_open, log.policy.history_days))


def _guarded_name(packed: bytes) -> str | None:
    try:
        return guarded_name(packed)
    except NotAuthentic:
        # The store was whole, so another version wrote this; the room says so when its turn comes.
        return None


def _differs(log: Roster, roster: wire.Roster) -> bool:
    """Whether a log that the relay shows cannot be ours as it goes on: it is shorter, or other where it begins."""
    if roster.total < len(log):
        return True
    return roster.first < len(log) and roster.entries[:1] not in ([], log.part(roster.first, roster.first + 1))
