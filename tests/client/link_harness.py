"""A client's link in memory: an endpoint opened by hand, a relay whose bytes a test writes, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat.client.errors import ClientError
from securechat.client.link import ClientProtocol, Link
from securechat.client.login import Login
from securechat.client.retry import Retry
from securechat.e2e.identity import Person
from securechat.e2e.keystore import Secrets
from securechat.e2e.prekeys import PrekeyRing
from securechat.wire import messages as wire
from securechat.wire.address import Address
from securechat.wire.codes import Code
from securechat.wire.framing import frame
from tests.wire.harness import MemoryTransport

NONCE = bytes(32)
GREETING = wire.Greeting(wire.VERSION, NONCE, "welcome")
WELCOME = wire.Welcome("alice", [], wire.Limits(256, 200, 15))
HELLO = wire.Hello(wire.VERSION, b"alice", b"prekey", bytes(64))
PLAIN = Address("relay.example", 12345, tls=False)


class LinkTransport(MemoryTransport):
    """A connection in memory that knows its protocol."""

    def __init__(self, clock: Clock, protocol: ClientProtocol) -> None:
        super().__init__(clock, protocol)
        self.link = protocol


@implementer(IStreamClientEndpoint)
class HandEndpoint:
    """Connects when told to; remembers what was asked of it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.attempts = 0
        self.cancelled = 0
        self.asked: tuple[IProtocolFactory, Deferred[IProtocol]] | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        """Ask for a connection."""
        assert self.asked is None, "two attempts at once"
        self.attempts += 1
        done: Deferred[IProtocol] = Deferred(self._cancelled)
        self.asked = protocolFactory, done
        return done

    def _cancelled(self, _: Deferred[IProtocol]) -> None:
        self.cancelled += 1
        self.asked = None

    def open(self) -> LinkTransport:
        """Make the connection that was asked for."""
        assert self.asked is not None
        (factory, done), self.asked = self.asked, None
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        assert isinstance(protocol, ClientProtocol)
        transport = LinkTransport(self.clock, protocol)
        protocol.makeConnection(transport)
        done.callback(protocol)
        return transport

    def fail(self, error: Exception) -> None:
        """Refuse the connection that was asked for."""
        assert self.asked is not None
        (_, done), self.asked = self.asked, None
        done.errback(Failure(error))


@dataclass
class HandPins:
    """Known relays in memory, which may fail."""

    known: dict[str, str] = field(default_factory=dict)
    failure: ClientError | None = None

    def find(self, place: str) -> str | None:
        """The fingerprint remembered for a place."""
        if self.failure is not None:
            raise self.failure
        return self.known.get(place)

    def remember(self, place: str, fingerprint: str) -> None:
        """Remember one."""
        if self.failure is not None:
            raise self.failure
        self.known[place] = fingerprint


@dataclass
class HandLogin:
    """Says who we are by a certificate that nobody checks; what it was shown, and a prekey when it is time."""

    shown: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)
    renewals: list[wire.Renew] = field(default_factory=list)

    def hello(self, fingerprint: bytes, nonce: bytes, exporter: bytes) -> wire.Hello:
        """Answer a greeting."""
        self.shown.append((fingerprint, nonce, exporter))
        return HELLO

    def renewal(self) -> wire.Renew | None:
        """Renew where a test says so."""
        return self.renewals.pop(0) if self.renewals else None


def login_of(who: Person, now_ms: Callable[[], int]) -> Login:
    """A real login, which writes its keys nowhere."""
    return Login(Secrets(who, PrekeyRing(who.device)), now_ms, lambda: None)


@dataclass
class Listener:
    """Remembers what a link tells."""

    ups: list[tuple[wire.Welcome, str, str]] = field(default_factory=list)
    downs: list[tuple[str, float | None]] = field(default_factory=list)
    received_messages: list[wire.FromRelay] = field(default_factory=list)

    def link_up(self, welcome: wire.Welcome, relay: str, motd: str) -> None:
        """Logged in."""
        self.ups.append((welcome, relay, motd))

    def link_down(self, relay: str, reason: str, retry_s: float | None) -> None:
        """The link is lost."""
        self.downs.append((reason, retry_s))

    def received(self, message: wire.FromRelay) -> None:
        """A message came."""
        self.received_messages.append(message)


class LinkCase(SynchronousTestCase):
    """A case with a link that was started; at its end it is stopped, and no call is left."""

    address = PLAIN

    def setUp(self) -> None:
        """Start."""
        self.clock = Clock()
        self.endpoint = HandEndpoint(self.clock)
        self.pins = HandPins()
        self.listener = Listener()
        self.login = HandLogin()
        self.errors: list[ClientError] = []
        self.jitter = 0.0
        retry = Retry(jitter=lambda: self.jitter)
        self.link = Link(self.endpoint, self.address, self.login, self.clock, self.pins, self.errors.append, retry)
        self.transport: LinkTransport
        self.link.start(self.listener)
        # A test may start several, one after the other.
        self.addCleanup(self.stop, self.link, self.clock, self.endpoint)

    def stop(self, link: Link, clock: Clock, endpoint: HandEndpoint) -> None:
        """Stop, and see that it stops."""
        stopped = link.stop()
        clock.pump([0, 1, 1, 1])
        self.successResultOf(stopped)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertIsNone(endpoint.asked)

    def open(self) -> None:
        """Let the connection be made."""
        self.transport = self.endpoint.open()

    def hears(self, *messages: wire.FromRelay) -> None:
        """Let the relay say something, in one chunk."""
        self.hears_bytes(b"".join(frame(message) for message in messages))

    def hears_bytes(self, data: bytes) -> None:
        """Let whatever is at the other end say something."""
        self.transport.link.dataReceived(data)
        self.clock.advance(0)

    def log_in(self) -> None:
        """Come as far as `Welcome`."""
        self.open()
        self.hears(GREETING, WELCOME)
        self.transport.clear()

    def lose(self, seconds: float = 0.5) -> None:
        """Lose the link, and wait until it is tried again."""
        self.transport.lose()
        self.clock.advance(seconds)

    def said(self) -> list[wire.Message]:
        """What the client has said on this connection."""
        return self.transport.said()

    def error(self) -> ClientError:
        """The one error that it gave up with."""
        self.assertEqual(len(self.errors), 1)
        self.assertNotIn("\n", str(self.errors[0]))
        return self.errors[0]


FAREWELLS = [Code.QUIT, Code.REPLACED, Code.BANNED, Code.SHUTDOWN, Code.SLOW, Code.SILENT, Code.FAILED]
"""Codes that may come in `Goodbye`."""

REFUSALS = [code for code in Code if code not in FAREWELLS or code is Code.BANNED]
"""Codes that may come in `Refused`."""
