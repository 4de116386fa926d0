"""Which rooms we are in: their logs followed, founded, joined and left, others added and removed (SC1 §3).

Every change is an entry that we sign and the relay puts in its place; it counts when the relay has shown it. An
entry that lost a race is declined, and made anew for the log as it then is.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from securechat.client import events
from securechat.client.events import Event
from securechat.client.numbers import Numbers
from securechat.client.room import Room, Wish
from securechat.e2e.keystore import Secrets
from securechat.e2e.room import SecureRoom
from securechat.signed.certificates import Certificate
from securechat.signed.entries import Entry, Op, Policy
from securechat.signed.errors import SignedError
from securechat.signed.roster import Roster, RosterError, found
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from securechat.wire.names import direct_pair

_CHANGES: Final = {Op.JOIN: True, Op.ADD: True, Op.REMOVE: False, Op.LEAVE: False}


class Membership:
    """The logs of all rooms."""

    def __init__(
        self,
        secrets: Secrets,
        send: Callable[[wire.FromClient], None],
        tell: Callable[[Event], None],
        now_ms: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        """Take our keys, what sends to the relay, where events go, the clock, and whom to tell of new secrets."""
        self._secrets = secrets
        self._person = secrets.person
        self._send = send
        self._tell = tell
        self._now_ms = now_ms
        self._changed = changed

    @property
    def name(self) -> str:
        """Our name."""
        return self._person.name

    def ask(self, room: Room) -> None:
        """Ask the relay for a room."""
        if not room.asking:
            room.asking = True
            self._send(wire.Enter(room.name, room.known))

    def roster(self, room: Room, roster: wire.Roster) -> None:
        """Entries of a room's log came."""
        room.total, room.last_seq = roster.total, roster.last_seq
        if room.fault is not None or (self._is_another(room, roster) and not self._taken_anew(room, roster)):
            return
        if room.secure is None and roster.first:
            self.ask(room)  # we had forgotten it when these were sent
            return
        try:
            entries = self._followed(room, roster)
        except SignedError as wrong:
            room.fault = str(wrong)
            self._tell(events.Fault(room.name, room.fault))
            return
        for entry in entries:
            self._told(room, entry)
        self._look_for_changed_keys(room)
        if room.whole:
            room.asking = False
            self._changed()

    def begin_anew(self, room: Room) -> bool:
        """The relay does not know a room any more: forget its log, unless only its members could have ended it.

        A relay that has lost its memory is an accident; that it says so must not let strangers into a closed room.
        """
        secure = room.secure
        if secure is None:
            return True
        if not secure.roster.policy.is_open and direct_pair(room.name) is None:
            room.fault = "the relay has lost it, or shows another room in its place"
            self._tell(events.Fault(room.name, room.fault))
            return False
        room.secure, room.entered, room.restored = None, False, False
        room.keys.clear()
        room.wanted.clear()
        room.wishes.clear()
        room.appending = False
        room.numbers = Numbers()
        for pending in room.outbox.values():
            pending.posted, pending.job = False, None
        self._tell(events.Info([f"The relay has forgotten {room.name}; it begins anew."]))
        return True

    def is_member(self, room: Room) -> bool:
        """Whether we are a member, as far as the log is known."""
        return room.secure is not None and self._person.identity.public in room.secure.roster.members

    def found(self, room: Room) -> None:
        """Found a room that there is not yet; add the guests of a direct one at once."""
        now_ms = self._now_ms()
        first = found(self._person, room.name, Policy(is_open=room.is_open), now_ms)
        self._send(wire.Append(room.name, first))
        log = Roster(first, room.name)
        for certificate in self._guests(room):
            entry = log.add(self._person, certificate, now_ms)
            log.append(entry)
            self._send(wire.Append(room.name, entry))

    def join(self, room: Room) -> None:
        """Join an open room."""
        self._append(room, lambda log: log.join(self._person, self._now_ms()))

    def leave(self, room: Room) -> None:
        """Leave a room."""
        ours = self._person.identity.public
        self._wish(
            room,
            ("leave", ours),
            lambda log: log.leave(self._person, self._now_ms()),
            lambda log: ours not in log.members,
        )

    def add(self, room: Room, certificate: Certificate) -> None:
        """Bring somebody in, whose key is the one that we know."""
        standing = self._secrets.pins.meet(certificate.name, certificate.identity)
        if self._secrets.pins.is_blocked(certificate.name, certificate.identity):
            self._tell(events.KeyChanged(room.name, certificate.name))
            return
        assert standing is not None
        self._wish(
            room,
            ("add", certificate.identity),
            lambda log: log.add(self._person, certificate, self._now_ms()),
            lambda log: certificate.identity in log.members,
        )

    def add_guests(self, room: Room) -> None:
        """Bring in those for whom the room is, once, where they are not in it."""
        guests = self._guests(room)
        room.guests = []
        for certificate in guests:
            self.add(room, certificate)

    def remove(self, room: Room, name: str) -> None:
        """Put somebody out."""
        assert room.secure is not None
        member = room.secure.roster.named(name)
        if member is None:
            self._tell(events.Error(f"{name} is no member of {room.name}"))
            return
        self._wish(
            room,
            ("remove", member.identity),
            lambda log: log.remove(self._person, member.identity, self._now_ms()),
            lambda log: member.identity not in log.members,
        )

    def carry_out(self, room: Room) -> None:
        """Make the entry of the next wish, for the log as it is now; one is on its way at a time."""
        log = None if room.secure is None else room.secure.roster
        while room.wishes and log is not None and room.whole and room.fault is None:
            wish = room.wishes[0]
            if wish.is_done(log):
                room.appending = False
                room.races = 0
            elif room.appending:
                return
            elif self._append(room, wish.draft):
                room.appending = True
                return
            room.wishes.pop(0)

    def declined(self, room: Room, code: Code) -> None:
        """An entry was not taken. One that lost a race is made anew later; any other is given up."""
        if room.appending and code is not Code.STALE_ENTRY:
            room.appending = False
            room.wishes.pop(0)

    def ask_again(self, room: Room) -> None:
        """Look at the log as it is now, and make the entry anew that lost a race."""
        room.appending = False
        self.ask(room)

    def _wish(
        self,
        room: Room,
        what: tuple[str, bytes],
        draft: Callable[[Roster], bytes],
        is_done: Callable[[Roster], bool],
    ) -> None:
        if room.secure is not None and is_done(room.secure.roster):
            self._append(room, draft)  # the log says why not
        elif what not in [each.what for each in room.wishes]:
            room.wishes.append(Wish(what, draft, is_done))
            self.carry_out(room)

    def _append(self, room: Room, draft: Callable[[Roster], bytes]) -> bool:
        assert room.secure is not None
        try:
            entry = draft(room.secure.roster)
        except RosterError as wrong:
            self._tell(events.Error(f"{room.name}: {wrong.fault}"))
            return False
        self._send(wire.Append(room.name, entry))
        return True

    def _guests(self, room: Room) -> list[Certificate]:
        members = {} if room.secure is None else room.secure.roster.members
        return [each for each in room.guests if each.identity not in members]

    def _is_another(self, room: Room, roster: wire.Roster) -> bool:
        """Whether the relay shows the log of another room under this name than the one that we know."""
        if room.secure is None:
            return False
        log = room.secure.roster
        first = roster.entries[0] if roster.entries and not roster.first else None
        return roster.total < len(log) or (first is not None and first != log.packed[0])

    def _taken_anew(self, room: Room, roster: wire.Roster) -> bool:
        """Begin with the log that the relay shows now; False where it is not taken, or not all of it is here."""
        if not self.begin_anew(room):
            return False
        if roster.first or not roster.entries:
            room.asking = False
            self.ask(room)
            return False
        return True

    def _followed(self, room: Room, roster: wire.Roster) -> list[Entry]:
        entries = list(roster.entries)
        if room.secure is None:
            if roster.first or not entries:
                return []
            log = Roster(entries.pop(0), room.name)
            room.secure = SecureRoom(self._person, self._secrets.ring, log, self._secrets.pins)
            for epoch, key in room.keys:
                room.secure.take_session_key(epoch, key)
            room.keys.clear()
        new = room.secure.follow(entries)
        stored = self._secrets.rooms.get(room.secure.roster.room_id)
        if stored is not None and room.whole and not room.restored:
            room.restored = True
            room.secure.restore(stored)
        return new if room.entered else []

    def _told(self, room: Room, entry: Entry) -> None:
        here = _CHANGES.get(entry.op)
        if here is None or room.secure is None:
            return
        roster = room.secure.roster
        subject = roster.members.get(entry.subject)
        if here and subject is not None and subject.name != self.name:
            self._tell(events.Joined(room.name, subject.name))
        elif not here:
            name = room.names.get(entry.subject)
            if name is not None and entry.subject != self._person.identity.public:
                room.present.discard(name)
                self._tell(events.Left(room.name, name))

    def _look_for_changed_keys(self, room: Room) -> None:
        if room.secure is None:
            return
        room.names.update({each.identity: each.name for each in room.secure.roster.members.values()})
        for member in room.secure.withheld:
            if member.name not in room.changed:
                room.changed.add(member.name)
                self._tell(events.KeyChanged(room.name, member.name))


def why_declined(code: Code) -> str:
    """One sentence on what the relay did not do."""
    return REASONS[code]


def key_id(identity: bytes) -> str:
    """How a key is shown: the beginning of its SHA-256, in groups."""
    digits = sha256(identity).hexdigest()[:32]
    return " ".join(digits[at : at + 4] for at in range(0, 32, 4))
