"""One client's session: what it may send when, and what that does.

The life of a session is a machine: *greeting* until a `Hello` is taken, then *logged in*, then *ended*, which is
as soon as the link closes for whatever reason, so that a room is told at once. `Post` does not pass through the
machine: a flag says whether posts are welcome now.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from automat import TypeMachineBuilder

from securechat.relay.allowance import Allowances
from securechat.relay.attempts import Attempts
from securechat.relay.binding import Binding
from securechat.relay.directory import Directory, Owner
from securechat.relay.inflight import InFlight
from securechat.relay.journal import Keeping
from securechat.relay.limits import RelayLimits
from securechat.relay.login import claimed_name, who_says
from securechat.relay.rooms import Rooms
from securechat.signed.errors import NotAuthentic
from securechat.signed.prekeys import read_prekey
from securechat.wire.codes import Code
from securechat.wire.framing import farewell, frame
from securechat.wire.messages import (
    VERSION,
    Append,
    Ask,
    Enter,
    Found,
    FromClient,
    Goodbye,
    Hand,
    Hello,
    Limits,
    Lookup,
    Message,
    Post,
    Prekeys,
    Refused,
    Renew,
    Repost,
    Seen,
    Want,
    Welcome,
)

Request = Renew | Enter | Append | Want | Lookup | Hand | Ask | Seen
"""What only clients that are logged in may ask for."""

_PREKEYS_A_FRAME = 30
"""As many of the longest prekeys as fit a `Prekeys`."""


class ClientLink(Protocol):
    """What a session can do to its link."""

    network: str | None
    """What its address counts under, None for an address that does not count."""

    def binding(self) -> Binding:
        """What a login on this link is bound to."""

    def logged_in(self) -> None:
        """The client has a name now."""

    def send(self, message: Message) -> None:
        """Send a message."""

    def put(self, data: bytes) -> None:
        """Send a frame."""

    def offer(self, data: bytes) -> bool:
        """Send a frame that can be sent later as well; False where too much waits."""

    def stream(self, frames: Iterator[bytes]) -> None:
        """Send many frames, as fast as they are read."""

    def refuse(self, code: Code) -> None:
        """End the link because of what came."""

    def drop(self, last: Refused | Goodbye) -> None:
        """End the link with a last word."""

    def pause_reading(self, seconds: float) -> None:
        """Read nothing for a while."""

    def hold_reading(self) -> None:
        """Read nothing until `read_on`."""

    def read_on(self) -> None:
        """Read again, unless it is paused."""


class _Life(Protocol):
    """What can happen to a session."""

    def hello(self, hello: Hello) -> None:
        """The client says who it is."""

    def admitted(self, owner: Owner) -> None:
        """The client is who it says."""

    def request(self, message: Request) -> None:
        """The client asks for something that only clients with a name may ask for."""

    def ended(self) -> None:
        """The link closes or is gone."""


@dataclass(slots=True, eq=False)
class _Core:
    """What the session's states share."""

    link: ClientLink
    session: "Session"
    nonce: bytes
    now_ms: Callable[[], int]
    directory: "Directory[Session]"
    rooms: Rooms
    limits: RelayLimits
    attempts: Attempts
    is_busy: Callable[[], bool]
    """Whether nobody new should be let in."""


def _machine() -> Callable[[_Core], _Life]:
    builder = TypeMachineBuilder(_Life, _Core)
    greeting = builder.state("greeting")
    logged_in = builder.state("logged in")
    ended = builder.state("ended")

    @greeting.upon(_Life.hello).loop()
    def decide(life: _Life, core: _Core, hello: Hello) -> None:
        if hello.version != VERSION:
            core.link.refuse(Code.VERSION)
            return
        if core.is_busy():
            # Before anything of it is checked: that would be the most that a login costs.
            core.link.refuse(Code.BUSY)
            return
        name, network = claimed_name(hello), core.link.network
        if core.attempts.must_wait(name, network) and not core.directory.is_known(name, hello.certificate):
            core.link.refuse(Code.TOO_MANY_LOGINS)
            return
        try:
            owner = who_says(hello, core.link.binding(), core.nonce, core.now_ms())
        except NotAuthentic:
            core.attempts.failed(name, network)
            core.link.refuse(Code.BAD_CERTIFICATE)
            return
        refusal = core.directory.claim(owner, core.session)
        if refusal is None:
            core.attempts.held(name, network)
            life.admitted(owner)
            return
        if refusal in (Code.NAME_OWNED, Code.BAD_CERTIFICATE):
            core.attempts.failed(name, network)
        core.link.refuse(refusal)

    @greeting.upon(_Life.admitted).to(logged_in)
    def welcome(life: _Life, core: _Core, owner: Owner) -> None:
        session, limits = core.session, core.limits
        session.name, session.identity, session.device = owner.name, owner.identity, owner.device
        # The outbox itself, by now: a fan-out calls this a hundred thousand times a second.
        session.put, session.offer = core.link.put, core.link.offer
        session.begin_allowance()
        session.may_post = True
        core.link.logged_in()
        rooms = core.rooms.memberships.rooms_of(owner.identity)
        core.link.send(Welcome(owner.name, rooms, Limits(limits.window, limits.rooms, int(limits.ping_s))))

    @greeting.upon(_Life.request).loop()
    def too_early(life: _Life, core: _Core, message: Request) -> None:
        core.link.refuse(Code.OUT_OF_ORDER)

    @logged_in.upon(_Life.hello).loop()
    def again(life: _Life, core: _Core, hello: Hello) -> None:
        core.link.refuse(Code.OUT_OF_ORDER)

    @logged_in.upon(_Life.request).loop()
    def carry_out(life: _Life, core: _Core, message: Request) -> None:
        if isinstance(message, Renew):
            _renew(core, message)
        elif isinstance(message, Want):
            core.link.stream(_prekeys(core, message))
        elif isinstance(message, Lookup):
            core.link.send(Found(message.name, *core.directory.look_up(message.name)))
        else:
            core.rooms.ask(core.session, message)

    @logged_in.upon(_Life.ended).to(ended)
    def clear_up(life: _Life, core: _Core) -> None:
        core.session.may_post = False
        core.rooms.gone(core.session)
        core.directory.release(core.session.identity)

    greeting.upon(_Life.ended).to(ended).returns(None)
    return builder.build()


def _renew(core: _Core, renew: Renew) -> None:
    try:
        record = read_prekey(renew.prekey, core.session.device, core.now_ms())
    except NotAuthentic:
        core.link.refuse(Code.BAD_CERTIFICATE)
        return
    core.directory.renew(core.session.identity, renew.prekey, record.not_after_ms)


def _prekeys(core: _Core, want: Want) -> Iterator[bytes]:
    """The answer to `Want`, in frames that are built when they can be sent."""
    now_ms = core.now_ms()
    for at in range(0, len(want.devices), _PREKEYS_A_FRAME):
        some = want.devices[at : at + _PREKEYS_A_FRAME]
        yield frame(Prekeys([(device, core.directory.prekey(device, now_ms)) for device in some]))


_new_life = _machine()


class _Over:
    """A life that has ended. It knows no session, so that one that is over is not kept by its own life."""

    def hello(self, hello: Hello) -> None:
        """Too late."""

    def admitted(self, owner: Owner) -> None:
        """Too late."""

    def request(self, message: Request) -> None:
        """Too late."""

    def ended(self) -> None:
        """It has."""


class Session:
    """One client, from its connection to its end; a `room.Client` while it is logged in."""

    def __init__(
        self,
        link: ClientLink,
        nonce: bytes,
        now_ms: Callable[[], int],
        directory: "Directory[Session]",
        rooms: Rooms,
        limits: RelayLimits,
        journal: Keeping,
        allowances: Allowances,
        attempts: Attempts,
        is_busy: Callable[[], bool],
        in_flight: InFlight,
    ) -> None:
        self.name = ""
        self.identity = b""
        self.device = b""
        self.may_post = False
        self.put = link.put
        self.offer = link.offer
        self.stream = link.stream
        self._link = link
        self._rooms = rooms
        self._journal = journal
        self._limits = limits
        self._unanswered = 0
        self._unanswered_bytes = 0
        self._in_flight = in_flight
        self._allowances = allowances
        self._allowance = allowances.new()
        self._life: _Life = _new_life(_Core(link, self, nonce, now_ms, directory, rooms, limits, attempts, is_busy))

    def begin_allowance(self) -> None:
        """From now on what the client sends counts as its identity's, and as its address's."""
        self._allowance = self._allowances.of(self.identity, self.name, self._link.network)

    def received(self, message: FromClient) -> None:
        """A message came from the client."""
        if isinstance(message, Post):
            self._post(message)
        elif isinstance(message, Repost):
            self._repost(message)
        elif isinstance(message, Goodbye):
            self._link.drop(farewell(Code.QUIT))
        elif isinstance(message, Hello):
            self._change(lambda: self._life.hello(message))
        elif isinstance(message, Request) and self._is_allowed(message):
            if isinstance(message, Renew):
                self._change(lambda: self._life.request(message))
            else:
                self._life.request(message)

    def _change(self, change: Callable[[], None]) -> None:
        """Carry out what changes the directory; that waits for the journal, and what comes behind it as well."""
        if self._journal.is_settled:
            self._carry_out(change)
            return

        def late() -> None:
            try:
                self._carry_out(change)
            finally:
                self._link.read_on()

        self._link.hold_reading()
        self._journal.when_settled(late)

    def _carry_out(self, change: Callable[[], None]) -> None:
        change()
        self._read_slowly(self._allowance.debt_s)

    def _is_allowed(self, message: Request) -> bool:
        """Whether a request is not one too many; the link has been ended where it is."""
        if isinstance(message, Hand):
            self._read_slowly(self._allowance.wait_for_keys([len(blob) for _, blob in message.items]))
            return True
        if isinstance(message, Append):
            return self._within(self._allowance.may_append())
        return self.asked()

    def asked(self) -> bool:
        """Count a request; False where it was one too many and the link has been ended."""
        return self._within(self._allowance.may_ask())

    def _within(self, within: bool) -> bool:
        if not within:
            self._link.refuse(Code.FLOOD)
        return within

    def _read_slowly(self, wait: float) -> None:
        if wait:
            self._link.pause_reading(wait)

    def _post(self, post: Post) -> None:
        if not self.may_post:
            self._link.refuse(Code.OUT_OF_ORDER)
            return
        count = len(post.items)
        if not self._is_in_window(count):
            self._link.refuse(Code.FLOOD)
            return
        size = 0
        # A loop, as most runs are of one message, for which `sum` takes thrice as long.
        for _, sealed in post.items:
            size += len(sealed)
        self._unanswered += count
        self._unanswered_bytes += size
        if not self._in_flight.take(size):
            self._link.hold_reading()
            self._in_flight.when_less(self._link.read_on)
        if self._allowance.bounds_posts:
            self._read_slowly(self._allowance.wait_for_posts(count, size))
        self._rooms.post(self, post)

    def _repost(self, repost: Repost) -> None:
        """Post what may have been taken before, once that is known; what comes behind it waits as well."""
        post = Post(repost.room, repost.epoch, [(repost.post_id, repost.sealed)])
        if not self.may_post or self._rooms.remembers(repost):
            self._post(post)
            return

        def recalled(is_known: bool) -> None:
            if is_known:
                self._post(post)
            else:
                # Whether it would be the second time nobody can say now.
                self.fail()
            self._link.read_on()

        self._link.hold_reading()
        self._rooms.recall(self, repost, recalled)

    def _is_in_window(self, more: int) -> bool:
        return self._unanswered + more <= self._limits.window

    def answered(self, posts: int) -> None:
        """So many posts were acknowledged or declined."""
        # As long as some are left the others count as long as they are on average.
        size = self._unanswered_bytes * posts // self._unanswered
        self._unanswered -= posts
        self._unanswered_bytes -= size
        self._in_flight.give(size)

    def fail(self) -> None:
        """Something has gone wrong here."""
        self._link.drop(farewell(Code.FAILED))

    def replaced(self) -> None:
        """The same identity has logged in again."""
        self._link.drop(farewell(Code.REPLACED))

    def banned(self) -> None:
        """The operator does not want this identity here."""
        self._link.drop(farewell(Code.BANNED))

    def ended(self) -> None:
        """The link closes or is gone."""
        self._life.ended()
        self._life = _Over()
