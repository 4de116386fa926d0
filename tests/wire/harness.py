"""Links in memory: a clock, a transport that keeps what was written, and a protocol that keeps what it received."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import ClassVar, Final

import msgspec
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat.wire.codes import Code
from securechat.wire.framing import MessageDecoder, MessageProtocol, names_of
from securechat.wire.messages import LAST_SEQ, Enter, FromClient, FromRelay, Goodbye, Message, Refused
from securechat.wire.outbox import LinkTransport, Turn

PREFIX: Final = Struct("!I")
from_client: Final[msgspec.msgpack.Decoder[FromClient]] = msgspec.msgpack.Decoder(FromClient)
from_relay: Final[msgspec.msgpack.Decoder[FromRelay]] = msgspec.msgpack.Decoder(FromRelay)


def framed(body: bytes) -> bytes:
    """Any bytes as a frame."""
    return PREFIX.pack(len(body)) + body


def bodies(data: bytes) -> list[bytes]:
    """The frames' bodies in what was written, which holds whole frames only."""
    found = []
    at = 0
    while at < len(data):
        (length,) = PREFIX.unpack_from(data, at)
        at += PREFIX.size
        assert at + length <= len(data), "half a frame was written"
        found.append(data[at : at + length])
        at += length
    return found


@implementer(LinkTransport)
class MemoryTransport(StringTransport):
    """A TCP connection in memory: it can be half closed, and an abort ends it in the reactor's next turn."""

    def __init__(self, clock: Clock, protocol: MessageProtocol, peer: IAddress | None = None) -> None:
        super().__init__(peerAddress=peer)
        self.half_closed = False
        self.aborted = False
        self.lost = False
        self.writes: list[bytes] = []
        self.resumed = 0
        self._clock = clock
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        """Keep what is written, until the sending side is closed."""
        if not (self.half_closed or self.disconnecting):
            self.writes.append(data)
            super().write(data)

    def resumeProducing(self) -> None:
        """Count how often reading was resumed."""
        self.resumed += 1
        super().resumeProducing()

    def loseWriteConnection(self) -> None:
        """Close the sending side."""
        self.half_closed = True

    def abortConnection(self) -> None:
        """End the connection; the protocol hears of it in the next turn."""
        if not self.aborted and not self.lost:
            self.aborted = True
            super().abortConnection()
            self._clock.callLater(0, self.lose, Failure(ConnectionAborted()))

    def lose(self, reason: Failure | None = None) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost = True
            self.connected = False
            if self.producer is not None:
                self.producer.stopProducing()
            self._protocol.connectionLost(reason or Failure(ConnectionDone()))

    def said(self) -> list[Message]:
        """What the protocol has said to its peer, as either side may say it."""
        return [decode_any(body) for body in bodies(self.value())]


def decode_any(body: bytes) -> Message:
    """A message of either direction."""
    try:
        return from_relay.decode(body)
    except msgspec.ValidationError:
        return from_client.decode(body)


class Recorder(MessageProtocol):
    """Receives what clients send and keeps it; `react` is what a test makes of a message."""

    receives: ClassVar[MessageDecoder] = from_client
    receives_names = names_of(FromClient)

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, Turn(clock))
        self.received: list[Message] = []
        self.lost: list[Failure] = []
        self.closings = 0
        self.pings = 0
        self.react: Callable[[Message], object] = lambda message: None

    def message_received(self, message: Message) -> None:
        """Keep a message."""
        self.received.append(message)
        self.react(message)

    def link_closing(self) -> None:
        """Count."""
        self.closings += 1

    def link_lost(self, reason: Failure) -> None:
        """Keep the reason."""
        self.lost.append(reason)

    def pinged(self) -> None:
        """Count."""
        self.pings += 1


def connected() -> tuple[Clock, Recorder, MemoryTransport]:
    """A clock, a link that is up, and its transport."""
    clock = Clock()
    link = Recorder(clock)
    transport = MemoryTransport(clock, link)
    link.makeConnection(transport)
    return clock, link, transport


def last_code(transport: MemoryTransport) -> Code:
    """The code of the last thing said, which ends the link."""
    last = transport.said()[-1]
    assert isinstance(last, Refused | Goodbye), last
    return last.code


def nothing_left(case: SynchronousTestCase, clock: Clock, *transports: MemoryTransport) -> None:
    """End the connections and see that no call is left on the clock."""
    for transport in transports:
        transport.lose()
    clock.advance(0)
    case.assertEqual([], clock.getDelayedCalls())


def rooms(*names: str) -> list[Message]:
    """Some messages that differ."""
    return [Enter(name, 0, LAST_SEQ) for name in names]


class LinkCase(SynchronousTestCase):
    """A case with a link that is up; at its end no call may be left."""

    def setUp(self) -> None:
        """Connect."""
        self.clock, self.link, self.transport = connected()
        self.addCleanup(lambda: nothing_left(self, self.clock, self.transport))
