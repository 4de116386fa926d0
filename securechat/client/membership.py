"""What we change in a room: founding it, joining and leaving it, bringing others in and putting them out (SC1 §3).

Every change is an entry that we sign and the relay puts in its place; it counts when the relay has shown it.
Changes of one room go one after the other. One that lost a race for its place is declined, and made anew for the
log as it then is; one whose link was lost is made again where it is still missing.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from securechat.client.events import Error, Event
from securechat.client.people import People
from securechat.client.room import Room, Wish
from securechat.e2e.identity import Person
from securechat.signed.certificates import Certificate
from securechat.signed.entries import Entry, Policy
from securechat.signed.rights import Fault, RosterError
from securechat.signed.roster import Roster, found
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code

MOST_RACES: Final = 64
"""So often a change may lose its place before its user is told: a relay must not keep us trying for ever."""


class Membership:
    """What is to change in all rooms."""

    def __init__(
        self,
        person: Person,
        people: People,
        send: Callable[[wire.FromClient], None],
        tell: Callable[[Event], None],
        now_ms: Callable[[], int],
    ) -> None:
        """Take our keys, whom we know, what sends to the relay, where events go, and the clock."""
        self._person = person
        self._people = people
        self._send = send
        self._tell = tell
        self._now_ms = now_ms

    def is_member(self, room: Room) -> bool:
        """Whether we are a member, as far as the log is known."""
        return room.secure is not None and self._person.identity.public in room.secure.roster.members

    def found(self, room: Room, history_days: int) -> None:
        """Found a room that there is not yet; add the guests of a direct one at once."""
        now_ms = self._now_ms()
        first = found(self._person, room.name, Policy(room.is_open, history_days), now_ms)
        self._send(wire.Append(room.name, first))
        log = Roster(first, room.name)
        for certificate in room.guests:
            entry = log.add(self._person, certificate, now_ms)
            log.append(entry)
            self._send(wire.Append(room.name, entry))

    def join(self, room: Room) -> None:
        """Join an open room. What is declined is tried again with the next look at the log."""
        assert room.secure is not None
        try:
            entry = room.secure.roster.join(self._person, self._now_ms())
        except RosterError as wrong:
            self._tell(Error(f"{room.name}: {wrong.fault}"))
        else:
            self._send(wire.Append(room.name, entry))

    def leave(self, room: Room) -> None:
        """Leave a room."""
        identity = self._person.identity.public
        self._wish(room, identity, lambda log: log.leave(self._person, self._now_ms()))

    def add(self, room: Room, certificate: Certificate) -> None:
        """Bring somebody in, if their key is the one that we know."""
        if self._people.meet(room.name, certificate):
            identity = certificate.identity
            self._wish(room, identity, lambda log: log.add(self._person, certificate, self._now_ms()))

    def add_guests(self, room: Room) -> None:
        """Bring in those for whom the room is, where they are not in it and not on their way."""
        assert room.secure is not None
        members = room.secure.roster.members
        room.guests = [each for each in room.guests if each.identity not in members]
        on_their_way = [wish.subject for wish in room.wishes]
        for certificate in room.guests:
            if certificate.identity not in on_their_way:
                self.add(room, certificate)

    def remove(self, room: Room, name: str) -> None:
        """Put somebody out."""
        member = None if room.secure is None else room.secure.roster.named(name)
        if member is None:
            self._tell(Error(f"{name} is no member of {room.name}"))
            return
        self._wish(room, member.identity, lambda log: log.remove(self._person, member.identity, self._now_ms()))

    def keep_history(self, room: Room, days: int) -> None:
        """Change for how many days what is said can be read again."""

        def draft(log: Roster) -> bytes:
            return log.change_policy(self._person, replace(log.policy, history_days=days), self._now_ms())

        self._wish(room, self._person.identity.public, draft)

    # From a wish to its entry.

    def go_on(self, room: Room) -> None:
        """The log is whole, and we are a member: make the next change of those that are wished for."""
        while room.wishes and room.wishes[0].entry is None and room.secure is not None:
            wish = room.wishes[0]
            try:
                wish.entry = wish.draft(room.secure.roster)
            except RosterError as wrong:
                room.wishes.popleft()
                # What was sent before may have been carried out all the same, or by somebody else.
                if wish.tries == 0 or wrong.fault is not Fault.POINTLESS:
                    self._tell(Error(f"{room.name}: {wrong.fault}"))
            else:
                wish.tries += 1
                self._send(wire.Append(room.name, wish.entry))

    def happened(self, room: Room, entries: list[Entry]) -> None:
        """New entries were shown; ours may be among them."""
        if room.wishes and any(entry.packed == room.wishes[0].entry for entry in entries):
            room.wishes.popleft()

    def declined(self, room: Room, code: Code) -> bool:
        """An entry may have been declined; gives whether it was one that was wished for here."""
        if not room.wishes or room.wishes[0].entry is None:
            return False
        wish = room.wishes[0]
        wish.entry = None
        if code is not Code.STALE_ENTRY or wish.tries >= MOST_RACES:
            room.wishes.popleft()
            self._tell(Error(f"{room.name}: {REASONS[code]}"))
        return True

    def link_down(self, room: Room) -> None:
        """What was sent is uncertain."""
        for wish in room.wishes:
            wish.entry = None

    def _wish(self, room: Room, subject: bytes, draft: Callable[[Roster], bytes]) -> None:
        room.wishes.append(Wish(subject, draft))
        if room.entered and room.whole:
            self.go_on(room)
