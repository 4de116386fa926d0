"""Clients that come by way of a proxy: whose word counts, and the limits by their own addresses."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_network
from typing import Any, Final

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.bans import Ban, Kind
from securechat.relay.building import build_relay
from securechat.relay.factory import RelayFactory, Unwelcome
from securechat.relay.limits import RelayLimits
from securechat.relay.listening import Protection, listener
from securechat.relay.log import MemoryLog
from securechat.relay.options import Options
from securechat.wire.framing import frame
from securechat.wire.messages import Greeting, Ping
from tests.relay.people import NOW_MS
from tests.relay.process import RelayProcess, Talker
from tests.wire.harness import MemoryTransport, nothing_left

PROXY: Final = IPv4Address("TCP", "192.0.2.200", 1)
LOCAL: Final = IPv4Address("TCP", "127.0.0.1", 1)
PING: Final = frame(Ping())


def first(host: str) -> bytes:
    """The header of the first version for a client."""
    return f"PROXY TCP4 {host} 192.0.2.100 40000 12345\r\n".encode()


def second(host: str) -> bytes:
    """The header of the second version."""
    addresses = socket.inet_aton(host) + socket.inet_aton("192.0.2.100") + struct.pack("!HH", 40000, 12345)
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(addresses)) + addresses


class ProxiedTests(SynchronousTestCase):
    """A relay in memory behind `haproxy:`."""

    def begin(self, **limits: Any) -> None:
        """A relay that trusts one proxy."""
        limits.setdefault("strangers_per_s", 0)
        self.reactor = MemoryReactorClock()
        self.factory = RelayFactory(self.reactor, lambda: NOW_MS, MemoryLog(), RelayLimits(**limits))
        found = listener(self.reactor, "haproxy:tcp:0", [ip_network("192.0.2.200/31")])
        found.endpoint.listen(found.factory(self.factory, Protection(None, "")))
        self.listening: Any = self.reactor.tcpServers[0][1]
        self.transports: list[MemoryTransport] = []

    def connect(self, *data: bytes, proxy: IAddress = PROXY) -> MemoryTransport:
        """A connection of a proxy, and what comes on it."""
        protocol = self.listening.buildProtocol(proxy)
        transport = MemoryTransport(self.reactor, protocol, proxy)
        protocol.makeConnection(transport)
        self.transports.append(transport)
        for piece in data:
            if not transport.aborted:
                protocol.dataReceived(piece)
        self.reactor.advance(0)
        return transport

    def tearDown(self) -> None:
        """Nothing is left of them, nor of what is counted by address."""
        for transport in self.transports:
            transport.lose()
        nothing_left(self, self.reactor)
        self.assertEqual((0, {}), (self.factory.connections, self.factory._addresses._open))

    def test_trusted(self) -> None:
        """A proxy that is listed, loopback and Unix sockets are trusted; anybody else is cut off at once."""
        self.begin()
        for proxy, trusted in [
            (PROXY, True),
            (IPv4Address("TCP", "192.0.2.201", 9), True),
            (LOCAL, True),
            (UNIXAddress("/run/x"), True),
            (IPv4Address("TCP", "192.0.2.202", 1), False),
            (IPv4Address("TCP", "198.51.100.1", 1), False),
        ]:
            self.assertEqual(trusted, not self.connect(first("198.51.100.7"), PING, proxy=proxy).aborted, proxy)
        self.assertEqual(2, self.factory.refused_addresses)

    def test_own_address(self) -> None:
        """Clients count by their own addresses, in both versions of the header; others go on."""
        self.begin(per_address=2)
        for header in (first, second):
            self.assertEqual(
                [False, False, True], [self.connect(header("198.51.100.7"), PING).aborted for _ in range(3)]
            )
            self.assertFalse(self.connect(header("198.51.100.8") + PING).aborted)
            self.assertEqual(1, self.factory.refused_addresses)
            self.tearDown()
            self.factory.refused_addresses = 0
            self.transports = []
            self.reactor.advance(60)

    def test_comes_again(self) -> None:
        """A connection that is gone does not count any more."""
        self.begin(per_address=1)
        for _ in range(5):
            transport = self.connect(first("198.51.100.7"), PING)
            self.assertFalse(transport.aborted)
            transport.lose()

    def test_banned(self) -> None:
        """A network that is banned is cut off behind a proxy, too."""
        self.begin()
        self.factory.bans.add(Ban(Kind.NETWORK, "198.51.100.0/24", NOW_MS))
        self.assertTrue(self.connect(first("198.51.100.7"), PING).aborted)
        self.assertFalse(self.connect(first("203.0.113.7"), PING).aborted)

    def test_no_address(self) -> None:
        """A proxy that looks whether we are there says no address, and is counted under none."""
        self.begin(per_address=1)
        for header in [b"PROXY UNKNOWN ::1 ::2 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"] * 3:
            transport = self.connect(header, PING)
            self.assertEqual((False, False), (transport.aborted, transport.disconnecting), header)

    def test_silent(self) -> None:
        """Who sends no header, or nothing behind it, has as much time as anybody else."""
        self.begin()
        silent = [self.connect(), self.connect(first("198.51.100.7"))]
        self.reactor.pump([1.0] * 13)
        self.assertEqual([True, True], [transport.aborted for transport in silent])

    def test_as_many_as_there_may_be(self) -> None:
        """A connection over what the system allows is cut off."""
        self.begin()
        self.factory._most_connections = 1
        self.connect()
        self.assertIsInstance(self.listening.buildProtocol(PROXY).wrappedProtocol, Unwelcome)
        self.assertEqual(1, self.factory.refused_for_all)


class OptionTests(SynchronousTestCase):
    """`--trust-proxy`."""

    def test_option(self) -> None:
        """What it names is trusted, each time that it is given; what is no address is refused in one line."""
        reactor = MemoryReactorClock()
        options = Options()
        words = "--insecure-plaintext --in-memory --engine cpu --listen haproxy:tcp:0 --trust-proxy 192.0.2.1"
        options.parseOptions([*words.split(), "--trust-proxy", "2001:db8::/64"])
        _, relay = build_relay(reactor, options)
        relay.privilegedStartService()
        listening: Any = reactor.tcpServers[0][1]
        for peer, trusted in [("192.0.2.1", True), ("192.0.2.2", False), ("2001:db8::9", True)]:
            protocol = listening.buildProtocol(IPv4Address("TCP", peer, 1))
            self.assertEqual(trusted, not isinstance(protocol.wrappedProtocol, Unwelcome), peer)
        for wrong in ("proxy", "192.0.2.1/24", "192.0.2.0/33", ""):
            with self.assertRaises(UsageError) as caught:
                Options().parseOptions(["--trust-proxy", wrong])
            self.assertIn("--trust-proxy: ", str(caught.exception))


class RealTests(SynchronousTestCase):
    """A real relay, a proxy on loopback, TLS."""

    def test_limits(self) -> None:
        """Of one client's connections sixteen are let in, before TLS; those of another are."""
        relay = RelayProcess(self, listen="haproxy:tcp:0:interface=127.0.0.1")
        talkers = [Talker(self, relay.address, before=first("192.0.2.7")) for _ in range(16)]
        talkers[0].login("alice")
        with self.assertRaises(OSError):
            Talker(self, relay.address, before=first("192.0.2.7"))
        other = Talker(self, relay.address, before=first("192.0.2.8"))
        other.until(Greeting)
