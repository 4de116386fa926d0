"""Endpoints: which get TLS, which may go without, and what is printed for people to use."""

from __future__ import annotations

import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.certificate import load_or_make, tls_options
from securechat.relay.door import Stranger
from securechat.relay.errors import RelayError
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.listening import (
    BACKLOG,
    DEFAULT_LISTEN,
    Protection,
    bound_send_buffer,
    cannot_listen,
    check_protection,
    deepen_backlog,
    is_local,
    listener,
    public_address,
)
from securechat.relay.log import MemoryLog
from securechat.relay.protocol import RelayProtocol
from securechat.wire.address import parse

NOWHERE: Final = IPv4Address("TCP", "192.0.2.1", 12345)
LOOPBACK: Final = IPv4Address("TCP", "127.0.0.1", 12345)
PLAIN: Final = Protection(None, "")
ANYWHERE: Final = Protection(None, "", anywhere=True)


class EndpointTests(SynchronousTestCase):
    """Endpoint strings."""

    def setUp(self) -> None:
        """A reactor in memory, and a key for `ssl:`."""
        self.reactor: Any = MemoryReactorClock()
        directory = Path(self.mktemp())
        key, certificate = load_or_make(directory, datetime.now(UTC))
        self.tls = Protection(tls_options(key, certificate), "ab" * 32)
        self.factory = RelayFactory(Clock(), lambda: 0, MemoryLog(), RelayLimits())
        self.ssl = f"ssl:0:privateKey={directory}/relay.key:certKey={directory}/relay.crt"

    def wrapped(self, description: str, protection: Protection) -> bool:
        """Whether we put TLS around a listener."""
        protocol: Any = (
            listener(self.reactor, description).factory(self.factory, protection).buildProtocol(LOOPBACK)
        )
        while not isinstance(protocol, RelayProtocol | TLSMemoryBIOProtocol):
            protocol = protocol.inner if isinstance(protocol, Stranger) else protocol.wrappedProtocol
        return isinstance(protocol, TLSMemoryBIOProtocol)

    def test_tls_around(self) -> None:
        """TCP in all its forms gets TLS; Unix sockets and endpoints that bring their own do not."""
        for description, expected in [
            (DEFAULT_LISTEN, True),
            ("tcp:0", True),
            ("tcp6:0", True),
            ("haproxy:tcp:0", True),
            ("systemd:domain=INET:index=0", True),
            ("systemd:domain=UNIX:index=0", False),
            ("unix:/run/x", False),
            (self.ssl, False),
        ]:
            if description.startswith("systemd"):
                self.patch_systemd()
            self.assertEqual(expected, self.wrapped(description, self.tls), description)
            self.assertFalse(self.wrapped(description, PLAIN), description)

    def patch_systemd(self) -> None:
        """Pretend that systemd has handed us a socket."""
        from twisted.internet.endpoints import _SystemdParser
        from twisted.python.systemd import ListenFDs

        self.patch(_SystemdParser, "_sddaemon", ListenFDs([3]))

    def check(self, description: str, host: Any, protection: Protection) -> bool:
        """Whether a listener may listen there."""
        try:
            check_protection(listener(self.reactor, description), host, protection)
        except RelayError as wrong:
            self.assertIn(description, str(wrong))
            self.assertNotIn("\n", str(wrong))
            return False
        return True

    def test_plaintext(self) -> None:
        """Without TLS only loopback and Unix sockets pass, by where they really are, unless insisted."""
        no_address: Any = object()
        for host, local in [
            (LOOPBACK, True),
            (IPv4Address("TCP", "127.9.9.9", 1), True),
            (IPv6Address("TCP", "::1", 1), True),
            (UNIXAddress("/run/x"), True),
            (NOWHERE, False),
            (IPv4Address("TCP", "0.0.0.0", 1), False),
            (IPv6Address("TCP", "::", 1), False),
            (HostnameAddress(b"localhost", 1), False),
            (no_address, False),
        ]:
            self.assertEqual(local, is_local(host), host)
            self.assertEqual(local, self.check("tcp:0:interface=127.0.0.1", host, PLAIN), host)
            self.assertTrue(self.check("tcp:0", host, ANYWHERE))
            self.assertTrue(self.check("tcp:0", host, self.tls))
            self.assertTrue(self.check(self.ssl, host, PLAIN))

    def test_unix_string_with_tcp_socket(self) -> None:
        """A socket from systemd that was called UNIX but is reachable is found out, with TLS on, too."""
        self.patch_systemd()
        self.assertFalse(self.check("systemd:domain=UNIX:index=0", NOWHERE, self.tls))

    def test_one_too_many(self) -> None:
        """A connection too many of an address is closed as it is accepted, with TLS or without."""
        for protection in (PLAIN, self.tls):
            factory = RelayFactory(Clock(), lambda: 0, MemoryLog(), RelayLimits(per_address=1))
            counted = listener(self.reactor, "tcp:0").factory(factory, protection)
            self.assertEqual([True, False, False], [counted.buildProtocol(NOWHERE) is not None for _ in range(3)])
            self.assertEqual(2, factory.refused_addresses)

    def test_bad_strings(self) -> None:
        """What is no endpoint is an error of one line that names it."""
        for description in ["", "nonsense", "tcp", "tcp:port", "udp:1", "ssl:0:privateKey=/nowhere", "haproxy",
                            "haproxy:", "systemd:domain=INET:index=7", "tcp:0:colour=red"]:  # fmt: skip
            with self.assertRaises(RelayError, msg=description) as caught:
                listener(self.reactor, description)
            self.assertIn(f"--listen {description}:", str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def printed(self, description: str, host: Any, protection: Protection, name: str | None = None) -> str:
        """The printed address, which must be one that clients can read."""
        address = public_address(listener(self.reactor, description), host, protection, name)
        self.assertEqual(address, parse(str(address)))
        return str(address)

    def test_printed(self) -> None:
        """The address says host, port and key; `--host` names it; without TLS there is no key to expect."""
        print_it = self.printed
        self.assertEqual(f"securechat://127.0.0.1:12345/#{'ab' * 32}", print_it(DEFAULT_LISTEN, LOOPBACK, self.tls))
        self.assertEqual("securechat+tcp://127.0.0.1:12345", print_it(DEFAULT_LISTEN, LOOPBACK, PLAIN))
        self.assertEqual(
            f"securechat://chat.example:12345/#{'ab' * 32}",
            print_it("tcp:0", NOWHERE, self.tls, "chat.example"),
        )
        self.assertEqual("securechat://192.0.2.1:12345", print_it(self.ssl, NOWHERE, self.tls))
        self.assertEqual(
            f"securechat://[2001:db8::1]:7/#{'ab' * 32}",
            print_it("tcp6:0", IPv6Address("TCP", "2001:db8::1", 7), self.tls),
        )
        self.assertEqual("securechat+unix:///run/x", print_it("unix:/run/x", UNIXAddress(b"/run/x"), self.tls))

    def test_printed_anywhere(self) -> None:
        """A listener on all addresses is printed with this machine's name."""
        for host in (IPv4Address("TCP", "0.0.0.0", 7), IPv6Address("TCP", "::", 7)):
            self.assertIn(f"://{socket.gethostname()}:7", self.printed("tcp:0", host, ANYWHERE))

    def test_printed_relative_path(self) -> None:
        """A Unix socket given by a relative path is printed with its whole path."""
        self.assertEqual(f"securechat+unix://{Path.cwd()}/x", self.printed("unix:x", UNIXAddress("x"), PLAIN))

    def test_cannot_listen(self) -> None:
        """The error for a busy port is one line with the system's own words."""
        busy = CannotListenError("", 1, OSError(98, "Address already in use"))
        self.assertEqual("cannot listen on tcp:1: Address already in use", str(cannot_listen("tcp:1", busy)))
        for other in (ValueError("two\nlines"), KeyError(), None):
            self.assertNotIn("\n", str(cannot_listen("tcp:1", other)))

    def test_backlog(self) -> None:
        """The kernel holds more connections that wait for us than Twisted asks for; `backlog=` has its way."""

        class Port:
            """A listening port with a socket, as Twisted makes it."""

            def __init__(self) -> None:
                self.socket = socket.create_server(("127.0.0.1", 0), backlog=50)

            def backlog(self) -> int:
                """What the kernel holds: `tcpi_sacked` of a socket that listens."""
                info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                return int.from_bytes(info[28:32], sys.byteorder)

        most = int(Path("/proc/sys/net/core/somaxconn").read_text())
        for description, expected in [("tcp:1", min(most, BACKLOG)), ("tcp:1:backlog=50", 50)]:
            port: Any = Port()
            self.addCleanup(port.socket.close)
            deepen_backlog(port, description)
            self.assertEqual(expected, port.backlog())
        deepen_backlog(object(), "tcp:1")  # type: ignore[arg-type]

    def test_send_buffer(self) -> None:
        """The kernel is asked to hold no more than the bound for the connections of a port."""

        class Port:
            """A listening port with a socket."""

            def __init__(self) -> None:
                self.socket = socket.socket()

        port = Port()
        self.addCleanup(port.socket.close)
        bound_send_buffer(port, 65536)  # type: ignore[arg-type]
        # Linux doubles what it is asked for, for its own bookkeeping.
        self.assertIn(port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), (65536, 131072))
        bound_send_buffer(object(), 65536)  # type: ignore[arg-type]
