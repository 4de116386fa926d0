"""The client's link over real TLS: whose key it takes and remembers, and that nobody else hears a byte."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from securechat.client import link as link_module
from securechat.client.errors import ClientError, Exit
from securechat.client.home import Pins
from securechat.client.link import Link
from securechat.relay.certificate import load_or_make, tls_options
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.listening import TLSFactory
from securechat.relay.log import MemoryLog
from securechat.wire import messages as wire
from securechat.wire.address import Address, fingerprint
from securechat.wire.framing import frame
from tests.client.link_harness import GREETING, Listener, login_of
from tests.relay.people import NOW_MS, person

reactor: Any = the_reactor


class Told(Listener):
    """A listener that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.up: Deferred[None] = Deferred()

    def link_up(self, welcome: wire.Welcome, relay: str, motd: str) -> None:
        """Logged in."""
        super().link_up(welcome, relay, motd)
        if not self.up.called:
            self.up.callback(None)


class Recorder(Protocol):
    """Speaks first, as told, and remembers every byte that it hears."""

    heard: bytearray
    first: bytes
    lost: Deferred[None]

    def connectionMade(self) -> None:
        """Speak."""
        assert self.transport is not None
        self.transport.write(self.first)

    def dataReceived(self, data: bytes) -> None:
        """Remember."""
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        if not self.lost.called:
            self.lost.callback(None)


class TLSCase(TestCase):
    """A case with servers on 127.0.0.1 and links to them; all is closed at its end."""

    timeout = 30

    def setUp(self) -> None:
        """Make a relay's key."""
        self.key, self.certificate = load_or_make(Path(self.mktemp()), datetime.now(UTC))
        self.fingerprint = fingerprint(self.certificate)
        self.home = Path(self.mktemp())
        self.pins = Pins(self.home)
        self.listener = Told()
        self.heard = bytearray()
        self.client_gone: Deferred[None] = Deferred()
        self.relay = RelayFactory(reactor, lambda: NOW_MS, MemoryLog(), RelayLimits(handshake_s=0.3))
        self.addCleanup(self.relay.when_empty)

    def listen(self, factory: IProtocolFactory, *, tls: bool = True, at_most: TLSVersion | None = None) -> int:
        """Listen with the relay's key, or without TLS; the port."""
        if tls:
            options = tls_options(self.key, self.certificate)
            if at_most is not None:
                options = CertificateOptions(
                    privateKey=options.privateKey,
                    certificate=options.certificate,
                    lowerMaximumSecurityTo=at_most,
                    insecurelyLowerMinimumTo=TLSVersion.TLSv1_2,
                )
            factory = TLSFactory(options, False, factory)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def recorder(self, first: bytes = b"") -> Factory[Any]:
        """A server that is no relay: what it hears comes to `heard`."""
        factory: Factory[Any] = Factory()
        factory.noisy = False
        found = {"heard": self.heard, "first": first, "lost": self.client_gone}
        factory.protocol = type("ThisRecorder", (Recorder,), found)
        return factory

    def start(
        self, port: int, name: str = "alice", listener: Told | None = None, number: int = 0, **address: Any
    ) -> Deferred[Any]:
        """Start the link of that person of the name; fires with the error that it gives up with."""
        given_up: Deferred[ClientError] = Deferred()
        where = Address(**{"host": "127.0.0.1", "port": port, **address})
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", port)
        self.link = Link(
            endpoint, where, login_of(person(name, number), lambda: NOW_MS), reactor, self.pins, given_up.callback
        )
        self.link.start(listener or self.listener)
        self.addCleanup(self.link.stop)
        return given_up

    async def error(self, given_up: Deferred[Any], *words: str) -> ClientError:
        """The error that a link gave up with: one line, with these words."""
        error = await given_up
        assert isinstance(error, ClientError)
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        return error

    def place(self, port: int) -> str:
        """Where keys of a relay are remembered."""
        return f"127.0.0.1:{port}"


class KeyTests(TLSCase):
    """Whose key is taken."""

    async def test_first_meeting(self) -> None:
        """The key of a relay met for the first time is remembered when it welcomes us, and taken after that."""
        port = self.listen(self.relay)
        self.start(port)
        await self.listener.up
        self.assertEqual(self.pins.find(self.place(port)), self.fingerprint)
        await self.link.stop()
        again = Told()
        self.start(port, "bob", again)
        await again.up

    async def test_in_the_address(self) -> None:
        """The key that the address says is taken, and remembered over another one."""
        port = self.listen(self.relay)
        self.pins.remember(self.place(port), "0" * 64)
        self.start(port, fingerprint=self.fingerprint)
        await self.listener.up
        self.assertEqual(self.pins.find(self.place(port)), self.fingerprint)

    async def assert_refused(self, *words: str, **address: Any) -> None:
        """A relay is left without a byte being said to it, and with status 76."""
        port = self.listen(self.recorder(frame(GREETING)))
        self.pins.remember(self.place(port), "0" * 64)
        error = await self.error(self.start(port, **address), self.place(port), self.fingerprint, *words)
        self.assertEqual(error.status, Exit.PROTOCOL)
        await self.client_gone
        self.assertEqual(bytes(self.heard), b"")
        self.assertEqual(self.pins.find(self.place(port)), "0" * 64)
        self.assertEqual(self.listener.ups, [])

    async def test_changed(self) -> None:
        """A relay with another key than the one remembered hears nothing, not even our name."""
        await self.assert_refused("another key than when you first met it")

    async def test_other_than_the_address_says(self) -> None:
        """A relay with another key than the one in the address hears nothing, whatever is remembered."""
        await self.assert_refused("another key than the address says", fingerprint="1" * 64)

    async def test_changed_while_the_link_was_down(self) -> None:
        """The key is checked on every new link, and a changed one ends the program."""
        port = self.listen(self.relay)
        given_up = self.start(port)
        await self.listener.up
        self.pins.remember(self.place(port), "0" * 64)
        self.relay.cut_off()
        error = await self.error(given_up, "another key")
        self.assertEqual((error.status, len(self.listener.ups)), (Exit.PROTOCOL, 1))

    async def test_stopped_in_the_handshake(self) -> None:
        """A goodbye that waits for the handshake is not said to a relay with another key."""
        port = self.listen(self.recorder(frame(GREETING)))
        self.pins.remember(self.place(port), "0" * 64)
        self.start(port)
        stopping: list[Deferred[None]] = []
        connected: Callable[[Any], None] = self.link.connected

        def connected_and_stopped(protocol: Any) -> None:
            connected(protocol)
            reactor.callLater(0, lambda: stopping.append(self.link.stop()))

        self.patch(self.link, "connected", connected_and_stopped)
        await self.client_gone
        self.assertEqual(len(stopping), 1)
        await stopping[0]
        self.assertEqual(bytes(self.heard), b"")

    async def test_refused_is_not_remembered(self) -> None:
        """The key of a relay that does not take our login is not remembered."""
        port = self.listen(self.relay)
        self.start(port)
        await self.listener.up
        self.pins = Pins(Path(self.mktemp()))
        error = await self.error(self.start(port, listener=Told(), number=1), "belongs to somebody else")
        self.assertEqual(error.status, Exit.NOT_PERMITTED)
        self.assertIsNone(self.pins.find(self.place(port)))

    async def test_damaged_memory(self) -> None:
        """Where it cannot be read what is known, nobody is trusted and nothing is said."""
        self.home.mkdir()
        self.pins.path.write_text("what is this\n")
        port = self.listen(self.recorder(frame(GREETING)))
        error = await self.error(self.start(port), "line 1", "known_relays")
        self.assertEqual(error.status, Exit.PROTOCOL)
        await self.client_gone
        self.assertEqual(bytes(self.heard), b"")

    async def test_memory_that_cannot_be_written(self) -> None:
        """Where a key cannot be remembered the program ends instead of trusting it every time."""
        self.home.write_text("a file where the directory should be")
        self.patch(self.pins, "find", lambda place: None)
        error = await self.error(self.start(self.listen(self.relay)), str(self.home))
        self.assertEqual((error.status, self.listener.ups), (Exit.FAILED, []))

    async def test_certificate_of_no_relay(self) -> None:
        """A certificate that cannot be understood is no relay's: no traceback, and nothing is said."""

        def not_understood(certificate: object) -> str:
            raise ValueError("invalid version")

        self.patch(link_module, "fingerprint", not_understood)
        port = self.listen(self.recorder(frame(GREETING)))
        error = await self.error(self.start(port), "no securechat relay")
        self.assertEqual(error.status, Exit.PROTOCOL)
        await self.client_gone
        self.assertEqual(bytes(self.heard), b"")


class OtherServersTests(TLSCase):
    """What answers is something else."""

    async def test_tls_to_a_plain_relay(self) -> None:
        """A relay without TLS is told as that."""
        port = self.listen(self.relay, tls=False)
        error = await self.error(self.start(port), "does not speak TLS 1.3", f"securechat+tcp://127.0.0.1:{port}")
        self.assertEqual(error.status, Exit.UNREACHABLE)

    async def test_no_tls_to_a_relay(self) -> None:
        """A relay with TLS, which waits for us to begin, closes in the end; the line says how to reach it."""
        port = self.listen(self.relay)
        error = await self.error(self.start(port, tls=False), f"securechat://127.0.0.1:{port}")
        self.assertEqual(error.status, Exit.UNREACHABLE)

    async def test_older_tls(self) -> None:
        """A server that only speaks TLS 1.2 hears no name."""
        port = self.listen(self.recorder(frame(GREETING)), at_most=TLSVersion.TLSv1_2)
        error = await self.error(self.start(port), "does not speak TLS 1.3")
        self.assertEqual((error.status, bytes(self.heard)), (Exit.UNREACHABLE, b""))

    async def test_another_protocol_over_tls(self) -> None:
        """A server that says something else over TLS is no relay, and hears no name."""
        port = self.listen(self.recorder(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        error = await self.error(self.start(port), "no securechat relay")
        self.assertEqual(error.status, Exit.UNREACHABLE)
        self.assertNotIn(b"alice", self.heard)

    async def test_garbage_instead_of_tls(self) -> None:
        """A server that answers the handshake with garbage is told as one that does not speak TLS."""
        port = self.listen(self.recorder(b"\x00garbage" * 100), tls=False)
        error = await self.error(self.start(port), "does not speak TLS 1.3")
        self.assertEqual(error.status, Exit.UNREACHABLE)
        self.assertNotIn(b"alice", self.heard)

    async def test_silent_peer(self) -> None:
        """A server that never answers the handshake does not keep the link from stopping."""
        port = self.listen(self.recorder(), tls=False)
        self.start(port)
        connected: Deferred[None] = Deferred()
        reactor.callLater(0.1, connected.callback, None)
        await connected
        await self.link.stop()

    async def test_nothing_listens(self) -> None:
        """Where nothing listens that is told, with what starts a relay."""
        port = reactor.listenTCP(0, self.recorder(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        error = await self.error(self.start(number), "nothing listens", "twistd -n securechat")
        self.assertEqual(error.status, Exit.UNREACHABLE)
