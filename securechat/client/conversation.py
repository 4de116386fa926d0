"""The rooms as their user sees them: commands and messages of the wire in, events out. No socket, screen or clock.

What is said in a room waits in that room's outbox until the relay has acknowledged it, and survives the loss of a
link: on a new link, and for a new epoch, it is sealed and posted again under the same id, in the same order.
Events come out in the order of what caused them, also where a message must be opened first.
"""

from collections.abc import Callable
from os import urandom
from typing import Final, Protocol

from securechat.client.answers import Answers, Later
from securechat.client.archive import HISTORY, MOST, Archive, NoArchive
from securechat.client.errors import ClientError
from securechat.client.events import (
    Error,
    Event,
    History,
    Info,
    Link,
    Message,
    Motd,
    NotSent,
)
from securechat.client.following import Following
from securechat.client.hearing import Hearing, Opener
from securechat.client.ledger import Ledger, Line, NoLedger
from securechat.client.lines import Lines
from securechat.client.membership import Membership
from securechat.client.ordered import InOrder
from securechat.client.people import People, Then, why_no_name
from securechat.client.room import Pending, Room
from securechat.client.rooms import Parts, Rooms
from securechat.client.saying import Saying, Sealer, other_of
from securechat.e2e.body import BodyError, check_text
from securechat.e2e.keystore import Secrets
from securechat.signed.certificates import Certificate
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from securechat.wire.names import direct_pair, direct_room, is_room, name_refusal

LINE_MS: Final = 14 * 24 * 3600 * 1000
"""For how long something that was said is said again by later runs: as long as a relay keeps what was said."""

_TOO_OLD: Final = "it was said more than 14 days ago, and nobody knows whether it was heard"


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
        keep_now: Callable[[], None] = lambda: None,
        later: Later = lambda _, call: call(),
        ledger: Ledger | None = None,
        archive: Archive | None = None,
        failed: Callable[[ClientError], None] = lambda _: None,
        history_days: int = 0,
        is_taken: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take our keys, the worker, what sends to the relay, where events go, and the clock (wall time).

        `keep` hears whenever something changed that the key store must have some time, `keep_now` when it must have
        it before anything else is told or sent: see `keeping`. `later` calls something after so many seconds.
        `failed` hears of a `ledger`, and of an `archive` beside it, that cannot be written or read.
        `history_days` is for how long what is said in the rooms that we found is kept, `is_taken` says whether what
        was told is out of our hands.
        """
        self.name = secrets.person.name
        self._random = random
        self._ledger = NoLedger() if ledger is None else ledger
        self._archive = NoArchive() if archive is None else archive
        self._failed = failed
        self._secrets = secrets
        self._later = later
        self._now_ms = now_ms
        in_order = InOrder(tell)
        self._tell = in_order.tell
        self._lines = Lines(self._ledger, in_order, is_taken, self._flush_soon)
        self._hearing = Hearing(
            self.name,
            worker,
            in_order,
            send,
            now_ms,
            keep,
            self._ledger,
            self._archive,
            self._flush,
            lambda room: self._rooms.ask(room),
        )
        self._saying = Saying(
            worker, send, self._tell, now_ms, keep, lambda: self._rooms.post_everywhere(), self._flush
        )
        self._people = People(secrets, send, self._tell, keep_now)
        self._following = Following(secrets, self._people, send, self._tell, keep, keep_now)
        self._membership = Membership(secrets.person, self._people, send, self._tell, now_ms)
        answers = Answers(
            self.name, self._saying, self._archive, self._tell, later, now_ms, posts_again=ledger is not None
        )
        parts = Parts(
            self._people, self._following, self._membership, self._saying, self._hearing, answers, self._archive
        )
        self._rooms = Rooms(self.name, parts, send, self._tell, keep, later, now_ms, history_days)
        self._links = 0
        self._is_lost_told = False
        self._flushing = False

    def begin(self) -> None:
        """What the last run of the program could not say to the end is said by this one."""
        for line in self._ledger.unsent():
            if self._now_ms() - line.said_ms > LINE_MS:
                self._tell(NotSent(line.room, _TOO_OLD, line.text, line.label))
                continue
            is_direct = direct_pair(line.room) is not None
            room = self._rooms.by_name.setdefault(line.room, Room(line.room, stay=not is_direct, is_open=False))
            room.outbox[line.post_id] = Pending(
                line.post_id, line.text, line.label, after=line.after, repeated=True
            )

    def expire(self) -> None:
        """Some time has passed: what was kept for long enough goes."""
        self._archive.expire(self._now_ms())
        self._flush()

    def _flush(self) -> None:
        """Have on the disk what was said, and what is about to be told."""
        self._lines.keep_only(each for room in self._rooms.by_name.values() for each in room.outbox)
        try:
            self._ledger.flush()
        except ClientError as wrong:
            self._failed(wrong)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._later(0, self._flushed)

    def _flushed(self) -> None:
        self._flushing = False
        self._flush()

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
        state = self._rooms.by_name.get(room)
        if (state is None and other_of(room, self.name) is None) or (state is not None and state.leaving):
            self._tell(NotSent(room, REASONS[Code.NOT_A_MEMBER], text, label))
            return
        if state is None:
            state = self._rooms.by_name[room] = Room(room, is_open=False)
        if state.fault is not None:
            self._tell(NotSent(room, state.fault, text, label))
            return
        pending = Pending(self._random(16), text, label, after=state.numbers.known)
        state.outbox[pending.post_id] = pending
        self._ledger.say(Line(pending.post_id, room, text, label, self._now_ms(), pending.after))
        self._flush_soon()
        if not state.entered:
            self._rooms.ask(state)
        else:
            self._rooms.call_in(state)
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
        self._rooms.enter(room, is_open=direct_pair(room) is None)

    def found_closed(self, room: str) -> None:
        """Found a room that only those enter whom we add."""
        self._rooms.enter(room, is_open=False)

    def leave(self, room: str) -> None:
        """Leave a room for good; what was said in it and not acknowledged is given up."""
        state = self._rooms.by_name.get(room)
        if state is None or state.leaving:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
            return
        state.stay = False
        if state.fault is not None or not self._membership.is_member(state):
            self._rooms.left(state)
            return
        state.leaving = True
        self._membership.leave(state)
        if not self._rooms.is_up:
            self._tell(Info([f"{room} will be left when there is a connection."]))

    def invite(self, room: str, name: str) -> None:
        """Bring somebody into a room."""
        self._look_up(name, lambda certificate, _: self._invited(room, name, certificate))

    def remove(self, room: str, name: str) -> None:
        """Put somebody out of a room."""
        state = self._rooms.by_name.get(room)
        if state is None or not state.entered:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
        else:
            self._membership.remove(state, name)

    def rekey(self, room: str) -> None:
        """Begin a new session with the next message."""
        state = self._rooms.by_name.get(room)
        if state is None or state.secure is None:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
        else:
            self._saying.rekey(state)
            self._tell(Info([f"The next message in {room} begins a new session."]))

    def safety(self, name: str) -> None:
        """Tell the safety number of us and somebody whom we have met."""
        self._people.safety(name)

    def verify(self, name: str) -> None:
        """Mark somebody as verified: the safety numbers were compared."""
        self._people.verify(name)

    def trust(self, name: str) -> None:
        """Accept the new key of somebody whose key changed."""
        if self._people.trust(name):
            self._rooms.post_everywhere()

    def whois(self, name: str) -> None:
        """Tell what is known of somebody."""
        if self._can_ask(name):
            self._people.whois(name)

    def history(self, room: str, count: int = HISTORY) -> None:
        """Tell the last messages of a room, or with "@name" of one person, that were kept, and for how long."""
        if direct_pair(room) is None and room.startswith("@"):
            room = self.direct_room(room[1:]) or room
        state = self._rooms.by_name.get(room)
        days = None
        if state is not None and state.secure is not None and state.whole:
            days = state.secure.roster.policy.history_days
        self._tell(History(room, self.past(room, count), days))

    def past(self, room: str, count: int) -> list[Message]:
        """The last messages of a room that were kept, at most 1,000, in the order in which they were told."""
        try:
            return self._archive.last(room, min(count, MOST))
        except ClientError as wrong:
            self._failed(wrong)
            return []

    @property
    def remembered(self) -> list[str]:
        """The rooms in which the last run of the program was, or one before it."""
        return list(self._secrets.places)

    def keep_history(self, room: str, days: int) -> None:
        """Have what is said in a room from now on be kept for so many days, or not at all."""
        state = self._rooms.by_name.get(room)
        if state is None or not state.entered or state.leaving:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
        else:
            self._membership.keep_history(state, days)

    @property
    def rooms(self) -> list[str]:
        """The rooms that we are in, in the order in which we came to them."""
        return [room.name for room in self._rooms.by_name.values() if room.entered]

    def members(self, room: str) -> list[str]:
        """Who is a member of a room that we are in; empty for any other."""
        state = self._rooms.by_name.get(room)
        if state is None or state.secure is None or not state.entered:
            return []
        return [each.name for each in state.secure.roster.members.values()]

    def present(self, room: str) -> list[str]:
        """Which members of a room that we are in are there now."""
        state = self._rooms.by_name.get(room)
        return sorted(state.present) if state is not None and state.entered else []

    def mark(self, room: str, name: str) -> str:
        """What is known of a member's key: verified, changed, or nothing special."""
        member = self._rooms.member(room, name)
        if member is None or member.name == self.name:
            return ""
        if self._people.is_blocked(member):
            return "changed"
        return "verified" if self._people.is_verified(member) else ""

    @property
    def changed(self) -> list[str]:
        """Whose key is another than before, and nobody has decided which is right."""
        return self._people.changed

    @property
    def opening(self) -> int:
        """How many messages came that are not opened yet."""
        return self._hearing.opening

    @property
    def unacknowledged(self) -> int:
        """How many messages the relay has not acknowledged."""
        return sum(len(room.outbox) for room in self._rooms.by_name.values())

    def pack(self) -> None:
        """Put the sessions of others into the secrets, which are about to be stored; not while one is in use."""
        if not self.opening:
            for room in self._rooms.by_name.values():
                self._following.remember(room)

    def stored(self) -> None:
        """The secrets are stored as `pack` left them."""
        self._rooms.stored()
        for room in self._rooms.by_name.values():
            if room.secure is not None:
                self._ledger.stored(room.secure.roster.room_id, room.place[0])
        self._flush()

    # What the link tells.

    def link_up(self, welcome: wire.Welcome, relay: str, motd: str) -> None:
        """We are logged in: enter again where we are members, and say again what was not acknowledged."""
        self._links += 1
        self._is_lost_told = False
        self._saying.link_up(self._links, welcome.limits.window)
        self._tell(Link(True, relay))
        if motd:
            self._tell(Motd(motd))
        self._rooms.link_up(welcome.rooms)

    def link_down(self, relay: str, reason: str, retry_s: float | None) -> None:
        """The link is gone, and will be tried again in a while, or not; told once, however often that fails."""
        if self._rooms.is_up:
            self._rooms.link_down()
        if not self._is_lost_told:
            self._is_lost_told = True
            self._tell(Link(False, relay, reason, retry_s))

    def received(self, message: wire.FromRelay) -> None:
        """A message of the relay."""
        self._rooms.received(message)

    # People.

    def _look_up(self, name: str, then: Then) -> None:
        if self._can_ask(name):
            self._people.look_up(name, then)

    def _can_ask(self, name: str) -> bool:
        """Whether the relay can be asked for somebody now; if not, that is told."""
        why = why_no_name(name) or (None if self._rooms.is_up else "there is no link to the relay now")
        if why is not None:
            self._tell(Error(why))
        return why is None

    def _invited(self, room: str, name: str, certificate: Certificate | None) -> None:
        state = self._rooms.by_name.get(room)
        if state is None or not state.entered:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
        elif certificate is None:
            self._tell(Error(f"nobody is called {name} here"))
        else:
            self._membership.add(state, certificate)
