"""One client's session: what it may send when, and what that does.

The life of a session is a machine: *greeting* until a `Hello` is taken, then *logged in*, then *ended*, which is
as soon as the link closes for whatever reason, so that a name is free and a room is told at once. `Post`
does not pass through the machine: a flag says whether posts are welcome now.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from automat import TypeMachineBuilder
from twisted.internet.interfaces import IReactorTime

from securechat.relay.buckets import TokenBucket
from securechat.relay.directory import Directory
from securechat.relay.limits import RelayLimits
from securechat.relay.rooms import Rooms
from securechat.wire.codes import Code
from securechat.wire.framing import farewell
from securechat.wire.messages import (
    VERSION,
    Enter,
    FromClient,
    Goodbye,
    Hello,
    Leave,
    Limits,
    Post,
    Refused,
    Welcome,
)


class ClientLink(Protocol):
    """What a session can do to its link."""

    def logged_in(self) -> None:
        """The client has a name now."""

    def send(self, message: Welcome) -> None:
        """Send a message."""

    def put(self, data: bytes) -> None:
        """Send a frame."""

    def refuse(self, code: Code) -> None:
        """End the link because of what came."""

    def drop(self, last: Refused | Goodbye) -> None:
        """End the link with a last word."""

    def challenge(self, seconds: float) -> None:
        """End the link unless the client gives a sign of life."""

    def pause_reading(self, seconds: float) -> None:
        """Read nothing for a while."""


class _Life(Protocol):
    """What can happen to a session."""

    def hello(self, hello: Hello) -> None:
        """The client asks for a name."""

    def admitted(self, name: str) -> None:
        """The name is the client's."""

    def request(self, message: Enter | Leave) -> None:
        """The client asks for something that only clients with a name may ask for."""

    def ended(self) -> None:
        """The link closes or is gone."""


@dataclass(slots=True, eq=False)
class _Core:
    """What the session's states share."""

    link: ClientLink
    session: "Session"
    directory: "Directory[Session]"
    rooms: Rooms
    limits: RelayLimits


def _machine() -> Callable[[_Core], _Life]:
    builder = TypeMachineBuilder(_Life, _Core)
    greeting = builder.state("greeting")
    logged_in = builder.state("logged in")
    ended = builder.state("ended")

    @greeting.upon(_Life.hello).loop()
    def decide(life: _Life, core: _Core, hello: Hello) -> None:
        refusal = Code.VERSION if hello.version != VERSION else core.directory.claim(hello.name, core.session)
        if refusal is None:
            life.admitted(hello.name)
            return
        if refusal is Code.NAME_TAKEN:
            # The holder may be a link that died unnoticed: it must answer, or the next attempt gets the name.
            holder = core.directory.find(hello.name)
            assert holder is not None
            holder.challenge()
        core.link.refuse(refusal)

    @greeting.upon(_Life.admitted).to(logged_in)
    def welcome(life: _Life, core: _Core, name: str) -> None:
        core.session.name = name
        # The outbox itself, by now: a fan-out calls this a hundred thousand times a second.
        core.session.put = core.link.put
        core.session.may_post = True
        core.link.logged_in()
        limits = core.limits
        core.link.send(Welcome(name, Limits(limits.window, limits.rooms, int(limits.ping_s))))

    @greeting.upon(_Life.request).loop()
    def too_early(life: _Life, core: _Core, message: Enter | Leave) -> None:
        core.link.refuse(Code.OUT_OF_ORDER)

    @logged_in.upon(_Life.hello).loop()
    def again(life: _Life, core: _Core, hello: Hello) -> None:
        core.link.refuse(Code.OUT_OF_ORDER)

    @logged_in.upon(_Life.request).loop()
    def carry_out(life: _Life, core: _Core, message: Enter | Leave) -> None:
        if isinstance(message, Enter):
            core.rooms.enter(core.session, message.room)
        else:
            assert isinstance(message, Leave)
            core.rooms.leave(core.session, message.room)

    @logged_in.upon(_Life.ended).to(ended)
    def clear_up(life: _Life, core: _Core) -> None:
        core.session.may_post = False
        core.rooms.leave_all(core.session)
        core.directory.release(core.session.name)

    greeting.upon(_Life.ended).to(ended).returns(None)
    ended.upon(_Life.ended).loop().returns(None)
    ended.upon(_Life.hello).loop().returns(None)
    ended.upon(_Life.request).loop().returns(None)
    return builder.build()


_new_life = _machine()


class Session:
    """One client, from its connection to its end; a `rooms.Member` while it is logged in."""

    def __init__(
        self,
        link: ClientLink,
        clock: IReactorTime,
        directory: "Directory[Session]",
        rooms: Rooms,
        limits: RelayLimits,
    ) -> None:
        self.name = ""
        self.may_post = False
        self.put = link.put
        self._link = link
        self._clock = clock
        self._rooms = rooms
        self._limits = limits
        self._unanswered = 0
        now = clock.seconds()
        self._posts = TokenBucket(limits.posts_per_s, limits.posts_burst, now) if limits.posts_per_s else None
        self._bytes = TokenBucket(limits.bytes_per_s, limits.bytes_burst, now) if limits.bytes_per_s else None
        self._requests = TokenBucket(limits.requests_per_s, limits.requests_burst, now)
        self._life = _new_life(_Core(link, self, directory, rooms, limits))

    def received(self, message: FromClient) -> None:
        """A message came from the client."""
        if isinstance(message, Post):
            self._post(message)
        elif isinstance(message, Goodbye):
            self._link.drop(farewell(Code.QUIT))
        elif isinstance(message, Hello):
            self._life.hello(message)
        elif isinstance(message, Enter | Leave) and self.asked():
            self._life.request(message)

    def asked(self) -> bool:
        """Count a request; False where it was one too many and the link has been ended."""
        within = self._requests.take(1, self._clock.seconds()) == 0
        if not within:
            self._link.refuse(Code.FLOOD)
        return within

    def _post(self, post: Post) -> None:
        if not self.may_post:
            self._link.refuse(Code.OUT_OF_ORDER)
            return
        count = len(post.items)
        self._unanswered += count
        if self._unanswered > self._limits.window:
            self._link.refuse(Code.FLOOD)
            return
        if self._posts is not None or self._bytes is not None:
            now = self._clock.seconds()
            wait = self._posts.take(count, now) if self._posts is not None else 0.0
            if self._bytes is not None:
                wait = max(wait, self._bytes.take(sum(len(sealed) for _, sealed in post.items), now))
            if wait:
                self._link.pause_reading(wait)
        self._rooms.post(self, post)

    def answered(self, posts: int) -> None:
        """So many posts were acknowledged or declined."""
        self._unanswered -= posts

    def challenge(self) -> None:
        """Somebody else asks for this session's name."""
        self._link.challenge(self._limits.ghost_s)

    def ended(self) -> None:
        """The link closes or is gone."""
        self._life.ended()
