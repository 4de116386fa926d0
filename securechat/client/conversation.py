"""The rooms as their user sees them: commands and messages of the wire in, events out. No socket, screen or clock.

What is said in a room waits in that room's outbox until the relay has acknowledged it, and survives the loss of a
link: on a new link, and for a new epoch, it is sealed and posted again under the same id, in the same order.
Events come out in the order of what caused them, also where a message must be opened first.
"""

from collections.abc import Callable
from hashlib import sha256
from os import urandom
from random import random as any_fraction
from typing import Final, Protocol

from securechat.client import events
from securechat.client.events import (
    Entered,
    Error,
    Event,
    Info,
    Keyed,
    Left,
    Link,
    Missed,
    Motd,
    NotEntered,
    NotSent,
    Sent,
)
from securechat.client.hearing import Hearing, Opener
from securechat.client.membership import Membership, key_id
from securechat.client.ordered import InOrder
from securechat.client.room import Pending, Room
from securechat.client.saying import Saying, Sealer, other_of
from securechat.e2e.body import BodyError, check_text
from securechat.e2e.hpke import NoMlKemError
from securechat.e2e.keystore import MAX_ROOMS, Secrets
from securechat.e2e.outcomes import KeyTaken
from securechat.e2e.safety import ChangedKeyError, Standing, safety_number
from securechat.signed.certificates import Certificate, read_certificate
from securechat.signed.errors import NotAuthentic
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from securechat.wire.names import direct_pair, direct_room, is_room, name_refusal

RACE_LEAST_S: Final = 0.1
RACE_MOST_S: Final = 10.0
"""How long whoever lost a race for a room's next entry waits at most, after the first one and after many.

Clients that a relay's new start brings back together would otherwise lose one race for each of the others.
"""

_STANDING = {
    Standing.FIRST: "not met before",
    Standing.PINNED: "the one that we remember, not verified",
    Standing.VERIFIED: "verified",
    Standing.CHANGED: "ANOTHER than before",
}


class Worker(Opener, Sealer, Protocol):
    """Seals and opens batches off the reactor's thread; `CryptoWorker` does."""


class Conversation:
    """Everything that one user says and hears over one relay."""

    def __init__(
        self,
        secrets: Secrets,
        worker: Worker,
        send: Callable[[wire.FromClient], None],
        tell: Callable[[Event], None],
        now_ms: Callable[[], int],
        keep: Callable[[], None] = lambda: None,
        random: Callable[[int], bytes] = urandom,
        later: Callable[[float, Callable[[], None]], object] = lambda _, call: call(),
        jitter: Callable[[], float] = any_fraction,
    ) -> None:
        """Take our keys, the worker, what sends to the relay, where events go, and the clock (wall time).

        `keep` hears whenever something changed that the key store must have; `later` calls after some seconds.
        """
        self.name = secrets.person.name
        self._secrets = secrets
        self._send = send
        self._random = random
        self._keep = keep
        self._later = later
        self._jitter = jitter
        in_order = InOrder(tell)
        self._tell = in_order.tell
        self._hearing = Hearing(self.name, worker, in_order, send, now_ms, keep)
        self._saying = Saying(worker, send, self._tell, now_ms, keep, self._post_everywhere)
        self._membership = Membership(secrets, send, self._tell, now_ms, keep)
        self._rooms: dict[str, Room] = {}
        self._leaving: set[str] = set()
        """Rooms that we have left as far as our user is told, and whose log does not say so yet."""
        self._lookups: dict[str, list[tuple[Callable[[Certificate | None, bool], None], bool]]] = {}
        """What to do with each answer to come, and whether our user asked for it."""
        self._links = 0
        self._is_up = False

    # Commands. Each answers by events; what is impossible at once is an `Error` or a `NotSent`.

    def say(self, room: str, text: str, label: str | None = None) -> None:
        """Say something in a room; `label` is what the caller calls it in `Sent` and `NotSent`."""
        try:
            check_text(text)
        except BodyError as wrong:
            self._tell(NotSent(room, str(wrong), text, label))
            return
        if not is_room(room):
            self._tell(NotSent(room, REASONS[Code.BAD_ROOM], text, label))
            return
        state = self._rooms.get(room)
        if state is None and other_of(room, self.name) is None:
            self._tell(NotSent(room, REASONS[Code.NOT_A_MEMBER], text, label))
            return
        if state is None:
            self._leaving.discard(room)
            state = self._rooms[room] = Room(room, is_open=False)
        if state.fault is not None:
            self._tell(NotSent(room, state.fault, text, label))
            return
        pending = Pending(self._random(16), text, label)
        state.outbox[pending.post_id] = pending
        if not state.entered:
            self._ask(state)
        elif self._away(state) is not None:
            self._not_here(state)
        self._saying.post(state)

    def direct(self, name: str, text: str, label: str | None = None) -> None:
        """Say something to one person alone."""
        room = self.direct_room(name)
        if room is None:
            self._tell(NotSent(f"@{name}", self._no_direct(name), text, label))
        else:
            self.say(room, text, label)

    def direct_room(self, name: str) -> str | None:
        """The room of us and one other; None where `name` is no name or our own."""
        if name == self.name or name_refusal(name) is not None:
            return None
        return direct_room(self.name, name)

    def _no_direct(self, name: str) -> str:
        return "this is your own name" if name == self.name else REASONS[name_refusal(name) or Code.BAD_NAME]

    def enter(self, room: str) -> None:
        """Enter a room, now and on every new link: found it where there is none, join it where it is open."""
        self._enter(room, is_open=direct_pair(room) is None)

    def found_closed(self, room: str) -> None:
        """Found a room that only those enter whom we add."""
        self._enter(room, is_open=False)

    def leave(self, room: str) -> None:
        """Leave a room for good; what was said in it and not acknowledged is given up."""
        state = self._rooms.get(room)
        if state is None:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
            return
        state.stay = False
        if self._is_up and state.whole and self._membership.is_member(state) and state.fault is None:
            self._membership.leave(state)
        else:
            self._left(state)
            if state.fault is None:
                self._leaving.add(room)

    def invite(self, room: str, name: str) -> None:
        """Bring somebody into a room."""
        self._look_up(name, lambda certificate, _: self._invited(room, name, certificate))

    def remove(self, room: str, name: str) -> None:
        """Put somebody out of a room."""
        state = self._rooms.get(room)
        if state is None or not state.entered:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
        else:
            self._membership.remove(state, name)

    def rekey(self, room: str) -> None:
        """Begin a new session with the next message."""
        state = self._rooms.get(room)
        if state is None or state.secure is None:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
        else:
            self._saying.rekey(state)
            self._tell(Info([f"The next message in {room} begins a new session."]))

    def safety(self, name: str) -> None:
        """Tell the safety number of us and somebody whom we have met."""
        pin = self._secrets.pins.pin(name)
        if pin is None:
            self._tell(Error(f"you have not met {name}"))
            return
        number = safety_number(
            self.name.encode(), self._secrets.person.identity.public, name.encode(), pin.identity
        )
        groups = [number[at : at + 5] for at in range(0, len(number), 5)]
        self._tell(
            Info(
                [
                    f"Compare with {name}, not over this chat:",
                    " ".join(groups[:6]),
                    " ".join(groups[6:]),
                    f"If they are the same: /verify {name} yes",
                ]
            )
        )

    def verify(self, name: str) -> None:
        """Mark somebody as verified: the safety numbers were compared."""
        pin = self._secrets.pins.pin(name)
        try:
            if pin is None:
                raise ChangedKeyError(f"you have not met {name}")
            self._secrets.pins.verify(name, pin.identity)
        except ChangedKeyError as wrong:
            self._tell(Error(str(wrong)))
            return
        self._keep()
        self._tell(Info([f"{name} is verified."]))

    def trust(self, name: str) -> None:
        """Accept the new key of somebody whose key changed."""
        pin = self._secrets.pins.pin(name)
        if pin is None or not pin.changed_to:
            self._tell(Error(f"the key of {name} has not changed"))
            return
        self._secrets.pins.accept(name, pin.changed_to)
        self._keep()
        for room in self._rooms.values():
            room.changed.discard(name)
        self._tell(Info([f"The new key of {name} is accepted; it is not verified."]))
        self._post_everywhere()

    def whois(self, name: str) -> None:
        """Tell what is known of somebody."""
        self._look_up(name, lambda certificate, online: self._told_who(name, certificate, online))

    @property
    def rooms(self) -> list[str]:
        """The rooms that we are in, in the order in which we came to them."""
        return [room.name for room in self._rooms.values() if room.entered]

    def members(self, room: str) -> list[str]:
        """Who is a member of a room that we are in; empty for any other."""
        state = self._rooms.get(room)
        if state is None or state.secure is None or not state.entered:
            return []
        return [each.name for each in state.secure.roster.members.values()]

    def present(self, room: str) -> list[str]:
        """Which members of a room that we are in are there now."""
        state = self._rooms.get(room)
        return sorted(state.present) if state is not None and state.entered else []

    def mark(self, room: str, name: str) -> str:
        """What is known of a member's key: verified, changed, or nothing special."""
        state = self._rooms.get(room)
        member = None if state is None or state.secure is None else state.secure.roster.named(name)
        if member is None:
            return ""
        if self._secrets.pins.is_blocked(name, member.identity):
            return "changed"
        return "verified" if self._secrets.pins.standing(name, member.identity) is Standing.VERIFIED else ""

    @property
    def changed(self) -> list[str]:
        """Whose key is another than before, and nobody has decided which is right."""
        return sorted({name for room in self._rooms.values() for name in room.changed})

    @property
    def opening(self) -> int:
        """How many messages came that are not opened yet."""
        return self._hearing.opening

    @property
    def unacknowledged(self) -> int:
        """How many messages the relay has not acknowledged."""
        return sum(len(room.outbox) for room in self._rooms.values())

    def pack(self) -> None:
        """Put the sessions of others into the secrets, which are about to be stored; not while one is in use."""
        if self.opening:
            return
        for room in self._rooms.values():
            if room.secure is not None and room.whole and room.fault is None:
                # The last ones that were packed are the last to be forgotten: a store takes so many and no more.
                self._secrets.rooms.pop(room.secure.roster.room_id, None)
                self._secrets.rooms[room.secure.roster.room_id] = room.secure.packed
        while len(self._secrets.rooms) > MAX_ROOMS:
            del self._secrets.rooms[next(iter(self._secrets.rooms))]

    # What the link tells.

    def link_up(self, welcome: wire.Welcome, relay: str, motd: str) -> None:
        """We are logged in: enter again where we are members, and say again what was not acknowledged."""
        self._links += 1
        self._is_up = True
        self._saying.link_up(self._links, welcome.limits.window)
        self._tell(Link(True, relay))
        if motd:
            self._tell(Motd(motd))
        self._leaving.intersection_update(welcome.rooms)
        for name in welcome.rooms:
            if is_room(name):
                self._rooms.setdefault(name, Room(name, stay=True, is_open=False))
        for room in self._rooms.values():
            self._ask(room)

    def link_down(self, relay: str, reason: str, retry_s: float | None) -> None:
        """The link is gone, and will be tried again in a while, or not."""
        if self._is_up:
            self._is_up = False
            lookups, self._lookups = self._lookups, {}
            for name, waiting in lookups.items():
                if any(by_user for _, by_user in waiting):
                    self._tell(Error(f"the link was lost before the relay had said who {name} is"))
            self._saying.link_down(list(self._rooms.values()))
            for room in self._rooms.values():
                room.entered = room.asking = room.appending = room.racing = False
                room.present.clear()
                if room.fault is not None:
                    self._saying.give_up(room, room.fault)
        self._tell(Link(False, relay, reason, retry_s))

    def received(self, message: wire.FromRelay) -> None:
        """A message of the relay."""
        if isinstance(message, wire.Found):
            self._found(message)
        elif isinstance(message, wire.Prekeys):
            self._saying.prekeys(list(self._rooms.values()), message.items)
        elif isinstance(message, wire.Roster):
            self._roster(message)
        else:
            room = self._rooms.get(getattr(message, "room", ""))
            if room is not None:
                self._in_room(room, message)
            elif isinstance(message, wire.Declined | wire.Ack):
                self._answered_late(message)

    def _answered_late(self, answer: wire.Declined | wire.Ack) -> None:
        """An answer in a room that we have left: its part of the window is free."""
        if isinstance(answer, wire.Ack):
            self._saying.answered(len(answer.items))
        else:
            self._saying.answered(len(answer.ids))
            if not answer.ids:
                self._leaving.discard(answer.room)  # we did not come so far as to be a member
        self._post_everywhere()

    def _in_room(self, room: Room, message: wire.FromRelay) -> None:
        if isinstance(message, wire.Delivery):
            self._hearing.delivered(message, room)
        elif isinstance(message, wire.Ack):
            self._acknowledged(room, message)
        elif isinstance(message, wire.SessionKey):
            self._keyed(room, message)
        elif isinstance(message, wire.SealedKey):
            self._sealed_keys(room, message)
        elif isinstance(message, wire.Asked):
            self._saying.asked(room, message.device)
        elif isinstance(message, wire.Present):
            self._present(room, message)
        elif isinstance(message, wire.Presence):
            self._presence(room, message)
        elif isinstance(message, wire.Declined):
            self._declined(room, message)

    # Rooms.

    def _enter(self, name: str, is_open: bool) -> None:
        if not is_room(name):
            self._tell(Error(REASONS[Code.BAD_ROOM]))
            return
        self._leaving.discard(name)
        room = self._rooms.setdefault(name, Room(name))
        room.stay, room.is_open = True, is_open
        self._ask(room)

    def _ask(self, room: Room) -> None:
        if self._is_up:
            self._membership.ask(room)

    def _roster(self, roster: wire.Roster) -> None:
        room = self._rooms.get(roster.room)
        if room is None:
            # Somebody has brought us in; if nobody has, the log says so.
            room = self._rooms[roster.room] = Room(roster.room, is_open=False)
        before = room.secure
        was_member = room.entered or self._membership.is_member(room)
        self._membership.roster(room, roster)
        was_member = was_member and room.secure is before
        if room.fault is not None:
            self._saying.give_up(room, room.fault)
        if not room.whole or room.fault is not None:
            return
        if self._membership.is_member(room):
            if room.name in self._leaving:
                self._membership.leave(room)
            self._membership.add_guests(room)
            self._membership.carry_out(room)
            if self._is_alone(room):
                self._call_back(room)
            self._retry(room)
        elif was_member or (room.outbox and not room.stay and direct_pair(room.name) is None):
            self._left(room)
        elif room.stay:
            assert room.secure is not None
            if room.secure.roster.policy.is_open:
                self._membership.join(room)
            else:
                self._refused(room, Code.NOT_PERMITTED)
        elif not room.outbox:
            self._leaving.discard(room.name)
            del self._rooms[room.name]

    def _present(self, room: Room, present: wire.Present) -> None:
        if not room.whole or room.fault is not None or not self._membership.is_member(room):
            return  # no relay says this of a room whose log it has not shown
        if room.name in self._leaving:
            return
        room.present = set(present.names)
        again, room.entered = room.entered, True
        if not again:
            room.races = 0
            self._hearing.ask_again(room)
            missed = room.numbers.entered(room.last_seq)
            self._tell(Entered(room.name, sorted(room.present)))
            if missed is not None:
                self._tell(Missed(room.name, *missed))
        if self._away(room) is not None:
            self._not_here(room)
        self._saying.post(room)

    def _presence(self, room: Room, presence: wire.Presence) -> None:
        if presence.here == (presence.name in room.present):
            return
        if presence.here:
            room.present.add(presence.name)
            self._tell(events.Came(room.name, presence.name))
            self._hearing.ask_again(room, presence.name)
        else:
            room.present.discard(presence.name)
            self._tell(events.Gone(room.name, presence.name))
            if self._away(room) is not None:
                self._not_here(room)
        self._saying.post(room)

    def _away(self, room: Room) -> str | None:
        """The other one of a direct room, where they are not there; None for any other room."""
        other = other_of(room.name, self.name)
        return other if other is not None and room.entered and other not in room.present else None

    def _not_here(self, room: Room) -> None:
        """Nothing is kept for who is away: what is not posted yet is not sent."""
        if self._is_alone(room):
            self._call_back(room)
        else:
            self._not_said(room)

    def _is_alone(self, room: Room) -> bool:
        """Whether the other one of a direct room that we are in has left it."""
        other = other_of(room.name, self.name)
        return other is not None and room.entered and other not in self.members(room.name)

    def _call_back(self, room: Room) -> None:
        """Who has left, is here and is spoken to comes back."""
        other = other_of(room.name, self.name)
        if other is not None and room.outbox:
            self._look_up(other, lambda certificate, online: self._bring_back(room, certificate, online), False)

    def _bring_back(self, room: Room, certificate: Certificate | None, online: bool) -> None:
        if certificate is None or not online:
            self._not_said(room)
        elif room.secure is not None and certificate.identity not in room.secure.roster.members:
            self._membership.add(room, certificate)

    def _not_said(self, room: Room) -> None:
        for pending in [each for each in room.outbox.values() if not each.posted]:
            del room.outbox[pending.post_id]
            why = f"{other_of(room.name, self.name)} is not here"
            self._tell(NotSent(room.name, why, pending.text, pending.label))

    def _left(self, room: Room) -> None:
        self._forget(room, "you are not in the room any more")
        if room.name in self._leaving:
            self._leaving.discard(room.name)  # it was told when it was asked for
        else:
            self._tell(Left(room.name, self.name))

    def _refused(self, room: Room, code: Code) -> None:
        self._tell(NotEntered(room.name, REASONS[code]))
        self._forget(room, REASONS[code])

    def _forget(self, room: Room, why: str) -> None:
        # Out of the books first: whoever is told may ask what is left.
        given_up = list(room.outbox.values())
        room.outbox.clear()
        self._rooms.pop(room.name, None)
        for pending in given_up:
            self._tell(NotSent(room.name, why, pending.text, pending.label))

    def _keyed(self, room: Room, message: wire.SessionKey) -> None:
        if room.secure is None:
            room.keys.append((message.epoch, message.key))
            return
        room.secure.take_session_key(message.epoch, message.key)
        self._tell(Keyed(room.name, sha256(message.key).hexdigest()[:16], len(message.key)))
        # Every `Ack` of the epoch before has come by now, so whatever is left was declined or will be.
        self._saying.again(room, but=message.epoch)
        if self._is_alone(room):
            self._call_back(room)
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
        if taken:
            self._keep()
            self._hearing.retry(room)

    def _retry(self, room: Room) -> None:
        if room.secure is not None:
            room.secure.retry_keys()
            self._hearing.retry(room)
            self._saying.post(room)

    # Answers.

    def _acknowledged(self, room: Room, ack: wire.Ack) -> None:
        self._saying.answered(len(ack.items))
        for post_id, seq in ack.items:
            pending = room.outbox.pop(post_id, None)
            room.numbers.own(seq)
            if pending is not None:
                self._tell(Sent(room.name, seq, pending.text, pending.label))
        self._post_everywhere()

    def _declined(self, room: Room, declined: wire.Declined) -> None:
        self._saying.answered(len(declined.ids))
        code = declined.code
        if not declined.ids:
            self._not_carried_out(room, code)
        elif code is not Code.STALE_EPOCH:
            for post_id in declined.ids:
                pending = room.outbox.pop(post_id, None)
                if pending is not None:
                    if pending.job is not None and room.secure is not None:
                        room.secure.void(pending.job)
                    self._tell(NotSent(room.name, REASONS[code], pending.text, pending.label))
        # A stale epoch needs no answer: its new key comes, or has come, and posts them again.
        self._post_everywhere()

    def _not_carried_out(self, room: Room, code: Code) -> None:
        if code in (Code.NO_SUCH_ROOM, Code.NOT_PERMITTED):
            room.asking = False
        else:
            self._membership.declined(room, code)
        if code is Code.NO_SUCH_ROOM and (room.stay or room.outbox):
            if self._membership.begin_anew(room):
                self._found_room(room)
            elif room.fault is not None:
                self._saying.give_up(room, room.fault)
        elif code in (Code.NO_SUCH_ROOM, Code.NOT_PERMITTED) and self._membership.is_member(room):
            self._left(room)  # while we were away
        elif code is Code.STALE_ENTRY:
            self._race_again(room)
        elif room.entered:
            self._tell(Error(f"{room.name}: {REASONS[code]}"))
            if self._is_alone(room):
                self._not_said(room)
        else:
            self._refused(room, code)

    def _race_again(self, room: Room) -> None:
        most = min(RACE_MOST_S, RACE_LEAST_S * 2.0 ** min(room.races, 16))
        room.races += 1
        link = self._links

        def again() -> None:
            if link == self._links and self._rooms.get(room.name) is room:
                room.racing = False
                if self._is_up:
                    self._membership.ask_again(room)

        if not room.racing:
            room.racing = True
            self._later(self._jitter() * most, again)

    def _found_room(self, room: Room) -> None:
        other = other_of(room.name, self.name)
        if other is None:
            self._membership.found(room)
        else:
            self._look_up(other, lambda certificate, online: self._found_direct(room, certificate, online), False)

    def _found_direct(self, room: Room, certificate: Certificate | None, online: bool) -> None:
        other = other_of(room.name, self.name)
        if certificate is None or not online:
            self._forget(room, f"{other} is not here")
            return
        room.guests = [certificate]
        room.is_open = False
        self._membership.found(room)

    # People.

    def _look_up(self, name: str, then: Callable[[Certificate | None, bool], None], by_user: bool = True) -> None:
        if name_refusal(name) is not None:
            self._tell(Error(REASONS[name_refusal(name) or Code.BAD_NAME]))
        elif not self._is_up:
            self._tell(Error("there is no link to the relay now"))
        else:
            self._lookups.setdefault(name, []).append((then, by_user))
            self._send(wire.Lookup(name))

    def _found(self, found: wire.Found) -> None:
        certificate = None
        try:
            certificate = read_certificate(found.certificate) if found.certificate else None
        except NotAuthentic:
            self._tell(Error(f"the relay's word on {found.name} is not authentic"))
        if certificate is not None and certificate.name != found.name:
            certificate = None
        waiting = self._lookups.get(found.name)
        if waiting:
            then, _ = waiting.pop(0)
            then(certificate, found.online)

    def _invited(self, room: str, name: str, certificate: Certificate | None) -> None:
        state = self._rooms.get(room)
        if state is None or not state.entered:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
        elif certificate is None:
            self._tell(Error(f"nobody is called {name} here"))
        else:
            self._membership.add(state, certificate)

    def _told_who(self, name: str, certificate: Certificate | None, online: bool) -> None:
        if certificate is None:
            self._tell(Info([f"Nobody is called {name} here."]))
            return
        standing = self._secrets.pins.standing(name, certificate.identity)
        lines = [f"{name} is {'here' if online else 'away'}.", f"Key: {key_id(certificate.identity)}"]
        self._tell(Info([*lines, f"This key is {_STANDING[standing]}."]))

    def _post_everywhere(self) -> None:
        """Part of the window may be free, on which every room has waited."""
        for room in list(self._rooms.values()):
            if room.outbox:
                self._saying.post(room)
