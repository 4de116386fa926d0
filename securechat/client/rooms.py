"""Our rooms, and what the relay's words make of them: entered, left, refused, founded anew.

What the relay says of a room that we do not know is dropped, but for its log: somebody may have brought us in.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from random import random as any_fraction
from typing import Final

from securechat.client import events
from securechat.client.answers import Answers, Later
from securechat.client.archive import Archive
from securechat.client.events import Entered, Error, Event, Keyed, Left, Missed, NotEntered, NotSent
from securechat.client.following import Following
from securechat.client.hearing import Hearing
from securechat.client.membership import Membership
from securechat.client.people import People
from securechat.client.room import Room
from securechat.client.saying import Saying, other_of
from securechat.e2e.hpke import NoMlKemError
from securechat.e2e.outcomes import KeyTaken
from securechat.signed.certificates import Certificate
from securechat.signed.rights import Member
from securechat.signed.roster import Roster
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from securechat.wire.names import direct_pair, is_room

RACE_LEAST_S: Final = 0.1
RACE_MOST_S: Final = 10.0
"""How long whoever lost a race for a room's next entry waits at most, after the first one and after many.

Clients that a relay's new start brings back together would otherwise lose one race for each of the others, and ask
and append so often that the relay takes it for a flood.
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """What works on rooms."""

    people: People
    following: Following
    membership: Membership
    saying: Saying
    hearing: Hearing
    answers: Answers
    archive: Archive


class Rooms:
    """All rooms of one client. `by_name` is for reading, but for a room that something is said in first."""

    def __init__(
        self,
        name: str,
        parts: Parts,
        send: Callable[[wire.FromClient], None],
        tell: Callable[[Event], None],
        keep: Callable[[], None],
        later: Later,
        now_ms: Callable[[], int],
        history_days: int,
        jitter: Callable[[], float] = any_fraction,
    ) -> None:
        """Take our name, what works on rooms, what sends to the relay, where events go, and the clock.

        `keep` hears of new secrets. `history_days` is for rooms that we found.
        """
        self.by_name: dict[str, Room] = {}
        self.is_up = False
        self.name = name
        self._people = parts.people
        self._following = parts.following
        self._membership = parts.membership
        self._saying = parts.saying
        self._hearing = parts.hearing
        self._answers = parts.answers
        self._archive = parts.archive
        self._send = send
        self._tell = tell
        self._keep = keep
        self._later = later
        self._now_ms = now_ms
        self._history_days = history_days
        self._jitter = jitter
        self._links = 0

    def link_up(self, names: list[str]) -> None:
        """We are logged in, and a member of these rooms: enter them again, and those where we want to be."""
        self.is_up = True
        self._links += 1
        for name in names:
            if is_room(name):
                self.by_name.setdefault(name, Room(name, stay=True, is_open=False))
        for room in self.by_name.values():
            self.ask(room)

    def link_down(self) -> None:
        """The link is gone."""
        self.is_up = False
        self._people.link_down()
        self._saying.link_down(list(self.by_name.values()))
        for room in self.by_name.values():
            self._membership.link_down(room)
            room.entered = room.asking = room.calling = room.catches_up = False
            room.seen, room.told_key = (0, 0), b""
            room.present.clear()

    def received(self, message: wire.FromRelay) -> None:
        """A message of the relay."""
        if isinstance(message, wire.Found):
            self._people.found(message)
        elif isinstance(message, wire.Prekeys):
            self._saying.prekeys(list(self.by_name.values()), message.items)
        elif isinstance(message, wire.Roster):
            self._roster(message)
        elif isinstance(message, wire.Ack | wire.Declined):
            # Counted also for a room that was left meanwhile: the window is that of all rooms.
            self._saying.answered(len(message.items if isinstance(message, wire.Ack) else message.ids))
            self._in_room(message)
            self.post_everywhere()
        else:
            self._in_room(message)

    def _in_room(self, message: wire.FromRelay) -> None:
        room = self.by_name.get(getattr(message, "room", ""))
        if room is None:
            return
        if isinstance(message, wire.Delivery):
            self._hearing.delivered(message, room)
        elif isinstance(message, wire.Gap):
            self._gap(room, message)
        elif isinstance(message, wire.Ack):
            self._answers.acknowledged(room, message)
        elif isinstance(message, wire.SessionKey):
            self._keyed(room, message)
        elif isinstance(message, wire.SealedKey):
            self._sealed_keys(room, message)
        elif isinstance(message, wire.Asked):
            self._saying.asked(room, message.device, message.sid)
        elif isinstance(message, wire.Present):
            self._present(room, message)
        elif isinstance(message, wire.Presence):
            self._presence(room, message)
        elif isinstance(message, wire.Declined):
            self._declined(room, message)

    def enter(self, name: str, *, is_open: bool) -> None:
        """We want to be in a room, and found it so where there is none."""
        if not is_room(name):
            self._tell(Error(REASONS[Code.BAD_ROOM]))
            return
        room = self.by_name.setdefault(name, Room(name))
        room.stay, room.is_open = True, is_open
        if room.leaving:
            # Changed our mind; where the entry is on its way we join again after it.
            room.leaving = False
            if room.wishes and room.wishes[-1].entry is None:
                room.wishes.pop()
        self.ask(room)

    def ask(self, room: Room) -> None:
        """Ask the relay for a room, if there is a link."""
        if self.is_up:
            self._following.ask(room)

    def _roster(self, roster: wire.Roster) -> None:
        room = self.by_name.get(roster.room)
        if room is None:
            # Somebody has brought us in; if nobody has, the log says so.
            room = self.by_name[roster.room] = Room(roster.room, is_open=False)
        was_member = room.entered
        was_asked = room.asking
        self._membership.happened(room, self._following.roster(room, roster))
        if not room.whole or room.fault is not None or room.secure is None:
            return
        self._archive.limit(room.secure.roster, self._now_ms())
        if self._membership.is_member(room):
            room.catches_up = was_asked
            self._membership.add_guests(room)
            self._retry(room)
            if room.entered:
                self._membership.go_on(room)
        elif was_member or room.leaving or (room.outbox and not room.stay and direct_pair(room.name) is None):
            self.left(room)
        elif room.stay:
            if room.secure.roster.policy.is_open:
                self._membership.join(room)
            else:
                self._refused(room, Code.NOT_PERMITTED)
        elif not room.outbox:
            del self.by_name[room.name]

    def _present(self, room: Room, present: wire.Present) -> None:
        if room.secure is None or room.fault is not None or not self._membership.is_member(room):
            return
        room.present = members_of(room.secure.roster, present.names)
        again, room.entered = room.entered, True
        if not again:
            room.races = 0
            self._hearing.ask_again(room)
            days = room.secure.roster.policy.history_days
            self._tell(Entered(room.name, sorted(room.present), days))
            if not room.catches_up or room.last_seq < room.numbers.top:
                missed = room.numbers.begin(room.last_seq)
                if missed is not None:
                    self._tell(Missed(room.name, *missed, REASONS[Code.EXPIRED]))
        self._membership.go_on(room)
        self.call_in(room)
        self._saying.post(room)

    def _presence(self, room: Room, presence: wire.Presence) -> None:
        if presence.here == (presence.name in room.present) or self.member(room.name, presence.name) is None:
            return
        if presence.here:
            room.present.add(presence.name)
            self._hearing.ask_again(room, presence.name)
            self._tell(events.Came(room.name, presence.name))
        else:
            room.present.discard(presence.name)
            self._tell(events.Gone(room.name, presence.name))
        self._saying.post(room)

    def call_in(self, room: Room) -> None:
        """Something waits in a room: into one of two the other one, who has left it, is brought again."""
        other = other_of(room.name, self.name)
        if other is None or not room.outbox or self.member(room.name, other) is not None:
            return
        if not room.guests and not room.calling:
            room.calling = True
            self._people.look_up(other, lambda certificate, _: self._called(room, certificate))

    def _called(self, room: Room, certificate: Certificate | None) -> None:
        room.calling = False
        why = self._why_not(room, certificate)
        if why is not None:
            self._saying.give_up(room, why)
        elif certificate is not None:
            room.guests = [certificate]
            self._membership.add_guests(room)

    def _why_not(self, room: Room, certificate: Certificate | None) -> str | None:
        """Why the other one of a room of two cannot be talked to now, or None."""
        other = other_of(room.name, self.name)
        if certificate is None:
            return f"nobody is called {other} here"
        if not self._people.meet(room.name, certificate):
            return f"the key of {other} changed, and nobody has accepted the new one"
        return None

    def left(self, room: Room) -> None:
        """We are out of a room: by our own wish, or put out."""
        self._forget(room, "you left the room before it was sent")
        self._following.let_go(room.name)
        self._tell(Left(room.name, self.name))

    def _refused(self, room: Room, code: Code) -> None:
        self._tell(NotEntered(room.name, REASONS[code]))
        self._forget(room, REASONS[code])

    def _forget(self, room: Room, why: str) -> None:
        # Out of the books first: whoever is told may ask what is left.
        given_up = list(room.outbox.values())
        room.outbox.clear()
        self.by_name.pop(room.name, None)
        self._following.remember(room)
        self._keep()
        for pending in given_up:
            self._tell(NotSent(room.name, why, pending.text, pending.label))

    def _keyed(self, room: Room, message: wire.SessionKey) -> None:
        if room.secure is None:
            room.keys.append((message.epoch, message.key))
            return
        room.secure.take_session_key(message.epoch, message.key)
        if message.epoch != room.secure.roster.epoch:
            # To read what was said before; nothing is said under it any more.
            self._retry(room)
            return
        if message.key != room.told_key:
            room.told_key = message.key
            self._tell(Keyed(room.name, sha256(message.key).hexdigest()[:16], len(message.key)))
        # Every `Ack` of the epoch before has come by now, so whatever is left of it was declined or will be.
        self._saying.again(room, message.epoch)
        self._retry(room)

    def _sealed_keys(self, room: Room, message: wire.SealedKey) -> None:
        if room.secure is None:
            return
        taken = False
        for sender, blob in message.items:
            room.blobs += 1
            try:
                taken = isinstance(room.secure.sealed_key(room.blobs, sender, blob), KeyTaken) or taken
            except NoMlKemError as wrong:
                self._tell(Error(f"{room.name}: {wrong}"))
        if not room.secure.holds_keys:
            room.handed = message.handed
        self._keep()
        if taken:
            self._hearing.retry(room)

    def _retry(self, room: Room) -> None:
        if room.secure is not None:
            if any(isinstance(outcome, KeyTaken) for outcome in room.secure.retry_keys()):
                self._keep()
            self._hearing.retry(room)
            self._saying.post(room)

    def _gap(self, room: Room, gap: wire.Gap) -> None:
        """The relay has nothing for us under some numbers."""
        was_here = room.numbers.known > 0
        room.dropped.gone(gap.first, gap.last)
        missed = room.numbers.passed(gap.first, gap.last)
        if missed is not None and was_here and gap.code is not Code.NOT_A_MEMBER:
            room.absence.add(*missed, REASONS[gap.code])
            self._answers.tell_missed(room)

    def stored(self) -> None:
        """What was last put into the secrets is stored: the relay need not keep it for us any more."""
        items = []
        for room in self.by_name.values():
            if room.entered and room.place != room.seen:
                room.seen = room.place
                items.append((room.name, *room.place))
        for at in range(0, len(items), wire.BUNDLE_ITEMS):
            self._send(wire.Seen(items[at : at + wire.BUNDLE_ITEMS]))

    def _declined(self, room: Room, declined: wire.Declined) -> None:
        if declined.ids:
            self._answers.declined(room, declined)
        else:
            self._not_carried_out(room, declined.code)
            self._answers.tell_missed(room)

    def _not_carried_out(self, room: Room, code: Code) -> None:
        room.asking = False
        if code is Code.NO_SUCH_ROOM:
            if not self._following.begin_anew(room):
                return
            if room.stay or room.outbox:
                self._found_room(room)
            else:
                self._refused(room, code)
        elif self._membership.declined(room, code) or code is Code.STALE_ENTRY:
            # The log has gone on, or will have when the answer is here.
            self._race_again(room)
        elif room.entered:
            self._tell(Error(f"{room.name}: {REASONS[code]}"))
        else:
            self._refused(room, code)

    def _race_again(self, room: Room) -> None:
        """Look at the log once more, after a while that is another one for everybody."""
        if room.racing:
            return
        most = min(RACE_MOST_S, RACE_LEAST_S * 2.0 ** min(room.races, 16))
        room.races, room.racing = room.races + 1, True
        link = self._links

        def again() -> None:
            room.racing = False
            if link == self._links and self.by_name.get(room.name) is room:
                self.ask(room)

        self._later(self._jitter() * most, again)

    def _found_room(self, room: Room) -> None:
        other = other_of(room.name, self.name)
        if other is None:
            self._membership.found(room, self._history_days)
        else:
            self._people.look_up(other, lambda certificate, _: self._found_direct(room, certificate))

    def _found_direct(self, room: Room, certificate: Certificate | None) -> None:
        why = self._why_not(room, certificate)
        if why is not None:
            self._forget(room, why)
        elif certificate is not None:
            room.guests = [certificate]
            room.is_open = False
            self._membership.found(room, self._history_days)

    def member(self, room: str, name: str) -> Member | None:
        """The member of a room who is called so."""
        state = self.by_name.get(room)
        return None if state is None or state.secure is None else state.secure.roster.named(name)

    def post_everywhere(self) -> None:
        """Part of the window may be free, on which every room has waited."""
        for room in list(self.by_name.values()):
            if room.outbox:
                self._saying.post(room)


def members_of(log: Roster, names: Iterable[str]) -> set[str]:
    """Those of whom the relay says that they are here who are members: that is the log's to say."""
    return {each.name for each in log.members.values()}.intersection(names)
