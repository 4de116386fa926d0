"""One connection: bytes become inputs of a session, and the limits of a connection hold.

The relay speaks first: `Greeting`. From its connection a client has ten seconds, the TLS handshake included, to
log in by `Hello`, which answers the nonce in the greeting.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from securechat.relay.binding import Binding, binding_of
from securechat.relay.limits import RelayLimits
from securechat.relay.session import ClientLink, Session
from securechat.wire.codes import Code
from securechat.wire.framing import MessageProtocol, farewell, names_of
from securechat.wire.messages import FRAME_BYTES, FromClient, Greeting, Message
from securechat.wire.outbox import Gate

STRANGER_FRAME_BYTES: Final = 4_096
"""The body of a frame before the login; a `Hello` is half as long at most."""


class Hub(Protocol):
    """What a connection needs of the relay that it belongs to."""

    clock: IReactorTime

    @property
    def gate(self) -> Gate:
        """What frames leave through."""

    limits: RelayLimits

    def greeting(self) -> Greeting:
        """The first message of a connection."""

    def new_session(self, link: ClientLink, nonce: bytes) -> Session:
        """A session for a new connection, which was greeted with a nonce."""

    def connected(self, link: "RelayProtocol") -> None:
        """A connection was made."""

    def logged_in(self, link: "RelayProtocol") -> None:
        """A connection has become a client."""

    def lost(self, link: "RelayProtocol", last_word: Code | None) -> None:
        """A connection is gone, and why where the relay ended it."""


class RelayProtocol(MessageProtocol):
    """The relay's end of one link. `network` is what the connection counts under, None for nothing."""

    receives = msgspec.msgpack.Decoder(FromClient)
    receives_names = names_of(FromClient)

    def __init__(self, hub: Hub, network: str | None) -> None:
        super().__init__(hub.clock, hub.gate)
        limits = hub.limits
        self.network = network
        self.is_in_line = False
        """Whether it is we who let it wait, having something to listen to."""
        self.MAX_LENGTH = STRANGER_FRAME_BYTES
        self.ping_s = limits.ping_s
        self.outbox_bytes = limits.outbox_bytes
        self.outbox_frames = limits.outbox_frames
        self._hub = hub
        self._greeting = hub.greeting()
        self._session = hub.new_session(self, self._greeting.nonce)
        self._handshake_call: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Greet, and give the client its time to log in."""
        super().connectionMade()
        self._handshake_call = self.clock.callLater(self._hub.limits.handshake_s, self._too_late)
        self._hub.connected(self)
        self.send(self._greeting)

    def binding(self) -> Binding:
        """What a login on this link is bound to."""
        return binding_of(self.transport)

    def is_from(self, bars: Callable[[IAddress | None], bool]) -> bool:
        """Whether the client's address is one that `bars` says yes to."""
        return self.transport is not None and bars(self.transport.getPeer())

    def logged_in(self) -> None:
        """The session has a name."""
        self._stop_handshake()
        self.MAX_LENGTH = FRAME_BYTES
        self._hub.logged_in(self)

    def message_received(self, message: Message) -> None:
        """Hand a message to the session."""
        # Not a `cast`, which is a call, once for each message.
        self._session.received(message)  # type: ignore[arg-type]

    def turn_away(self) -> None:
        """There is too much to do, and this link has most of it."""
        self.drop(farewell(Code.BUSY))

    def pinged(self) -> None:
        """`Ping` and `Pong` count as requests, so that they cannot flood."""
        self._session.asked()

    def link_closing(self) -> None:
        """The rooms are told at once, however long the client takes to close."""
        self._stop_handshake()
        self._session.ended()

    def link_lost(self, reason: Failure) -> None:
        """The link is gone."""
        self._stop_handshake()
        self._session.ended()
        # It knows us as well: links that come and go are no work for the garbage collector.
        del self._session
        self._hub.lost(self, self.last_word)

    def _too_late(self) -> None:
        self._handshake_call = None
        self.refuse(Code.TIMED_OUT)

    def _stop_handshake(self) -> None:
        if self._handshake_call is not None:
            self._handshake_call.cancel()
            self._handshake_call = None
