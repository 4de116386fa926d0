"""What only real sockets show: the way straight to the socket, the last word, and TLS peers that do not close."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from pathlib import Path
from subprocess import run
from typing import Any, Final

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.wire.codes import Code
from securechat.wire.framing import LINGER_S, frame
from securechat.wire.messages import Message, Refused
from securechat.wire.outbox import straight_to_socket
from tests.wire.harness import MemoryTransport, Recorder, bodies, connected, decode_any, rooms

reactor: Final[Any] = the_reactor
ROOMS: Final = rooms("#one", "#two")


class StraightToSocketTests(SynchronousTestCase):
    """Writes that try the socket first: on these rests that we know Twisted's buffers."""

    def setUp(self) -> None:
        """Make a real socket pair, one end under Twisted's Connection without a running reactor."""
        ours, self.peer = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.peer.setblocking(False)
        self.memory_reactor = MemoryReactor()
        self.transport = Connection(ours, Protocol(), self.memory_reactor)
        self.transport.connected = 1
        self.write = straight_to_socket(self.transport)
        self.addCleanup(ours.close)
        self.addCleanup(self.peer.close)

    def arrived(self) -> bytes:
        """What the peer can read now."""
        data = b""
        while True:
            try:
                piece = self.peer.recv(1 << 20)
            except BlockingIOError:
                return data
            if not piece:
                return data
            data += piece

    def queued(self) -> bytes:
        """What Twisted holds."""
        rest: bytes = self.transport.dataBuffer[self.transport.offset :]
        return rest + b"".join(self.transport._tempDataBuffer)

    def test_idle(self) -> None:
        """While Twisted holds nothing a write is in the socket at once, and the poller is not asked."""
        self.write(b"one")
        self.assertEqual(b"one", self.arrived())
        self.assertEqual((b"", set()), (self.queued(), set(self.memory_reactor.writers)))

    def test_behind_what_is_queued(self) -> None:
        """While Twisted holds something a write goes behind it."""
        self.transport.write(b"one")
        self.write(b"two")
        self.assertEqual((b"", b"onetwo"), (self.arrived(), self.queued()))
        self.transport.doWrite()
        self.write(b"three")
        self.assertEqual((b"onetwothree", b""), (self.arrived(), self.queued()))

    def test_partly_sent(self) -> None:
        """What the socket does not take is left to Twisted, and all arrives in order."""
        data = bytes(range(256)) * 1024
        self.write(data)
        self.assertNotIn(len(self.queued()), (0, len(data)))
        self.assertIn(self.transport, self.memory_reactor.writers)
        self.write(b"after")
        arrived = self.arrived()
        while self.queued():
            # In between Twisted has moved its list to its buffer and sent a part of that.
            self.transport.doWrite()
            self.write(b"!")
            arrived += self.arrived()
        self.assertEqual(data + b"after", arrived.rstrip(b"!"))

    def test_full(self) -> None:
        """A socket that takes nothing leaves the whole write to Twisted."""
        self.write(bytes(1 << 20))
        self.transport.dataBuffer, self.transport.offset = b"", 0
        self.transport._tempDataBuffer, self.transport._tempDataLen = [], 0
        self.write(b"one")
        self.assertEqual(b"one", self.queued())

    def test_pauses_the_producer(self) -> None:
        """A producer is paused when what is left fills Twisted's buffer."""
        clock, link, _ = connected()
        memory = MemoryTransport(clock, link)
        self.transport.registerProducer(memory, True)
        self.write(bytes(1 << 20))
        self.assertEqual("paused", memory.producerState)
        self.transport.unregisterProducer()

    def test_lost(self) -> None:
        """A write to a link that is gone raises nothing and is left to Twisted, which finds out."""
        self.peer.close()
        self.write(b"one")
        self.assertEqual(b"one", self.queued())
        self.assertIsInstance(self.transport.doWrite(), Exception)

    def test_closing(self) -> None:
        """A write after loseConnection does not overtake the close."""
        self.transport.write(b"one")
        self.transport.loseConnection()
        self.transport.doWrite()
        self.write(b"two")
        self.assertEqual(b"one", self.arrived())

    def test_other_transports(self) -> None:
        """A transport that is no plain socket gets its own write."""
        clock, link, _ = connected()
        transport = MemoryTransport(clock, link)
        straight_to_socket(transport)(b"one")
        self.assertEqual([b"one"], transport.writes)


class Watched(Recorder):
    """A link whose end can be waited for."""

    def __init__(self) -> None:
        super().__init__(reactor)
        self.ended: Deferred[None] = Deferred()

    def link_lost(self, reason: Failure) -> None:
        """Tell who waits."""
        super().link_lost(reason)
        self.ended.callback(None)


class OneLink(Factory):
    """Builds the one link of a test."""

    noisy = False

    def __init__(self) -> None:
        self.link = Watched()

    def buildProtocol(self, addr: IAddress | None) -> Watched:
        """The link."""
        return self.link


def read_all(connection: socket.socket) -> bytes:
    """What comes until the peer closes."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


class RealLinkTests(TestCase):
    """Links over loopback."""

    timeout = 20

    def setUp(self) -> None:
        """Prepare the one link."""
        self.factory = OneLink()

    def listen(self, tls: bool) -> tuple[str, int]:
        """Listen on a free port."""
        if tls:
            folder = Path(self.mktemp())
            folder.mkdir()
            run(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=t "
                f"-keyout {folder}/key -out {folder}/crt",
                shell=True,
                check=True,
                capture_output=True,
            )
            context = DefaultOpenSSLContextFactory(f"{folder}/key", f"{folder}/crt")
            port = reactor.listenSSL(0, self.factory, context, interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return ("127.0.0.1", port.getHost().port)

    def last_words(self, data: bytes) -> list[Message]:
        """What the link said."""
        return [decode_any(body) for body in bodies(data)]

    @inlineCallbacks
    def test_last_word_arrives(self) -> Generator[Deferred[Any], Any, None]:
        """A TCP peer that has much more on its way when it is refused still reads why."""
        place = self.listen(tls=False)

        def peer() -> bytes:
            with socket.create_connection(place, 10) as connection:
                connection.sendall(b"\xff\xff\xff\xff" + bytes(700_000))
                return read_all(connection)

        data = yield deferToThread(peer)
        yield self.factory.link.ended
        words = self.last_words(data)
        self.assertEqual([Code.OVERSIZED_FRAME], [word.code for word in words if isinstance(word, Refused)])

    @inlineCallbacks
    def test_tcp_no_delay(self) -> Generator[Deferred[Any], Any, None]:
        """Nagle's algorithm is off on TCP."""
        place = self.listen(tls=False)
        link = self.factory.link

        def peer() -> bytes:
            with socket.create_connection(place, 10) as connection:
                connection.sendall(frame(ROOMS[0]) + bytes(4))
                return read_all(connection)

        off: list[bool] = []
        link.react = lambda message: off.append(bool(link.transport.getTcpNoDelay()))  # type: ignore[union-attr]
        yield deferToThread(peer)
        yield link.ended
        self.assertEqual([True], off)

    @inlineCallbacks
    def test_tls_peer_ignores_close(self) -> Generator[Deferred[Any], Any, None]:
        """A TLS peer that answers no close and sends on gets the reason, is not handled, and is cut off."""
        place = self.listen(tls=True)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        released: list[socket.socket] = []

        def peer() -> bytes:
            raw = socket.create_connection(place, 10)
            connection = context.wrap_socket(raw, suppress_ragged_eofs=True)
            released.append(connection)
            connection.sendall(frame(ROOMS[0]) + bytes(4))
            said = connection.recv(65536)
            # No unwrap: close_notify stays without an answer, and frames keep coming.
            connection.sendall(frame(ROOMS[1]) * 100)
            return said

        data = yield deferToThread(peer)
        began = reactor.seconds()
        yield self.factory.link.ended
        self.assertLess(reactor.seconds() - began, LINGER_S + 8)
        self.assertEqual(ROOMS[:1], self.factory.link.received)
        self.assertEqual(Code.EMPTY_FRAME, self.factory.link.last_word)
        self.assertEqual(1, len(self.last_words(data)))
        released[0].close()
