"""The status pages: what they answer, and what bad requests and idle connections come to."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat.relay.errors import RelayError
from securechat.relay.exposition import Family, single
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.log import MemoryLog
from securechat.relay.status import (
    CONNECTION_S,
    MOST_CONNECTIONS,
    Pages,
    Probe,
    StatusChannel,
    StatusFactory,
    StatusService,
    status_service,
)

HOST = "127.0.0.78"


class Peer(StringTransport):
    """A connection in memory, closed and cut off as a real one is."""

    def __init__(self, channel: StatusChannel, clock: MemoryReactorClock) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", HOST, 40_000))
        self.lost = False
        self._channel = channel
        self._clock = clock

    def loseConnection(self) -> None:
        """Close it."""
        super().loseConnection()
        self._clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self) -> None:
        """Cut it off."""
        super().abortConnection()
        self._clock.callLater(0, self.lose, ConnectionAborted())

    def lose(self, why: Exception) -> None:
        """It is gone."""
        if not self.lost:
            self.lost = True
            self._channel.connectionLost(Failure(why))


class StatusCase(SynchronousTestCase):
    """A case with pages, whose log is kept."""

    def setUp(self) -> None:
        """Make pages with two probes and one metric."""
        self.clock = MemoryReactorClock()
        self.down: set[str] = set()
        self.scrapes = 0
        probes = [Probe(word, self.probe(word)) for word in ("stopping", "storing")]
        self.factory = StatusFactory(self.clock, Pages(probes, self.families))
        self.logged: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.logged.append(eventAsText(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def probe(self, word: str) -> Any:
        """Whether something is not down."""
        return lambda: word not in self.down

    def families(self) -> list[Family]:
        """One metric."""
        self.scrapes += 1
        return [single("scrapes_total", "counter", "Times.", self.scrapes)]

    def connect(self) -> Peer:
        """A connection."""
        channel: Any = self.factory.buildProtocol(None)
        peer = Peer(channel, self.clock)
        channel.makeConnection(peer)
        self.clock.advance(0)
        return peer

    def send(self, peer: Peer, data: bytes) -> bytes:
        """Send something; what is answered."""
        if not peer.lost:
            peer._channel.dataReceived(data)
        self.clock.advance(0)
        answer: bytes = peer.value()
        return answer

    def ask(self, path: str, method: str = "GET", more: str = "") -> tuple[str, dict[str, str], str]:
        """Make a request; the status line, the headers and the content of the answer, which ends the connection."""
        peer = self.connect()
        answer = self.send(peer, f"{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()).decode()
        self.assertTrue(peer.lost)
        head, _, body = answer.partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        return status, dict(line.split(": ", 1) for line in lines), body

    def tearDown(self) -> None:
        """No timer and no connection is left, and nothing was logged of who asked."""
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual({}, self.factory._channels)
        self.assertEqual([], [line for line in self.logged if HOST in line])


class AnswerTests(StatusCase):
    """Requests in good order, and those for what there is not."""

    def test_live(self) -> None:
        """/live is 200, whatever is down, and asks nothing."""
        self.down = {"stopping", "storing"}
        status, headers, body = self.ask("/live")
        self.assertEqual(("HTTP/1.1 200 OK", "live\n"), (status, body))
        self.assertEqual(("close", "5"), (headers["Connection"], headers["Content-Length"]))
        self.assertEqual(0, self.scrapes)

    def test_ready(self) -> None:
        """/ready is 200 while all probes hold."""
        self.assertEqual(("HTTP/1.1 200 OK", "ready\n"), self.ask("/ready")[::2])

    def test_not_ready(self) -> None:
        """/ready is 503 with the word of the first probe that does not hold."""
        self.down = {"storing"}
        self.assertEqual(("HTTP/1.1 503 Service Unavailable", "storing\n"), self.ask("/ready")[::2])
        self.down = {"storing", "stopping"}
        self.assertEqual("stopping\n", self.ask("/ready")[2])

    def test_metrics(self) -> None:
        """/metrics is the text of the metrics, as of now, in its own content type."""
        for times in (1, 2):
            status, headers, body = self.ask("/metrics")
            self.assertEqual("HTTP/1.1 200 OK", status)
            self.assertEqual("text/plain; version=0.0.4; charset=utf-8", headers["Content-Type"])
            self.assertTrue(body.endswith(f"scrapes_total {times}\n"))

    def test_query(self) -> None:
        """What stands behind a question mark changes nothing."""
        self.assertEqual("live\n", self.ask("/live?a=b")[2])

    def test_head(self) -> None:
        """HEAD is answered without content, with its length."""
        status, headers, body = self.ask("/live", "HEAD")
        self.assertEqual(("HTTP/1.1 200 OK", "5", ""), (status, headers["Content-Length"], body))

    def test_unknown(self) -> None:
        """Any other path is 404, and is not repeated."""
        for path in ("/", "/live/", "/LIVE", "//live", "/metrics/x", "/%6cive", "*", "/../live"):
            for method in ("GET", "POST"):
                status, _, body = self.ask(path, method)
                self.assertEqual(("HTTP/1.1 404 Not Found", "not found\n"), (status, body), path)

    def test_methods(self) -> None:
        """Any method but GET and HEAD is 405, and told which go."""
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "NONSENSE"):
            status, headers, _ = self.ask("/live", method)
            self.assertEqual(("HTTP/1.1 405 Method Not Allowed", "GET, HEAD"), (status, headers["Allow"]), method)

    def test_http_1_0(self) -> None:
        """A client of HTTP/1.0 is answered too."""
        self.assertTrue(self.send(self.connect(), b"GET /live HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nlive\n"))

    def test_no_access_log(self) -> None:
        """Nothing is logged of requests, and no timer keeps the time for it."""
        self.factory.doStart()
        self.addCleanup(self.factory.doStop)
        self.logged.clear()  # Twisted's own line about the start
        self.ask("/live")
        self.ask("/nothing")
        self.assertEqual(([], []), (self.logged, self.clock.getDelayedCalls()))

    def test_failing_page(self) -> None:
        """A mistake of ours is 500 and one line that says where, not what; /live goes on."""

        def fail() -> list[Family]:
            raise RuntimeError(f"secret {HOST}")

        self.factory.pages._families = fail
        self.assertEqual(("HTTP/1.1 500 Internal Server Error", "failed\n"), self.ask("/metrics")[::2])
        self.assertEqual(1, len(self.logged))
        self.assertIn("RuntimeError at test_status.py", self.logged[0])
        self.assertNotIn("secret", self.logged[0])
        self.assertEqual("live\n", self.ask("/live")[2])


class BadRequestTests(StatusCase):
    """Requests that are none, or too much."""

    def refused(self, data: bytes) -> None:
        """Nothing but a 400 comes of something, and the connection ends."""
        peer = self.connect()
        answer = self.send(peer, data)
        self.assertTrue(peer.lost, data[:50])
        self.assertIn(answer, (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"), data[:50])
        self.assertEqual([], self.logged)

    def test_garbage(self) -> None:
        """What is no request is refused."""
        for garbage in (b"\x16\x03\x01\x02\x00\r\n", b"\xff" * 100 + b"\r\n", b"GET /live\r\n", b"a b c d\r\n"):
            self.refused(garbage)

    def test_huge(self) -> None:
        """A request line or headers without end are refused."""
        self.refused(b"GET /" + b"a" * 20_000)
        self.refused(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n")
        self.refused(b"GET /live HTTP/1.1\r\n" + b"a: b\r\n" * 5_000 + b"\r\n")
        self.refused(b"GET /live HTTP/1.1\r\na: " + b"b" * 17_000)

    def test_lengths(self) -> None:
        """Lengths that are none, or of thousands of digits, which Python refuses to read, are refused."""
        for length in (b"x", b"-1", b"1" * 5_000):
            self.refused(b"GET /live HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\n")
        self.refused(b"GET /live HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n")

    def test_body(self) -> None:
        """Megabytes that come with a request are thrown away as they come, and its answer is the same."""
        peer = self.connect()
        self.send(peer, b"POST /live HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n")
        (request,) = peer._channel.requests
        for _ in range(99):
            self.send(peer, bytes(100_000))
            self.assertEqual(b"", request.content.getvalue())
        self.send(peer, bytes(100_000))
        self.assertIn(b" 405 ", peer.value())

    def test_form(self) -> None:
        """A form is not read."""
        peer = self.connect()
        head = b"POST /live HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 4\r\n\r\n"
        answer = self.send(peer, head + b"--x\r")
        self.assertTrue(peer.lost)
        self.assertIn(answer[9:12], (b"400", b"405"))

    def test_pipelined(self) -> None:
        """A second request on a connection is not answered."""
        answer = self.send(self.connect(), b"GET /live HTTP/1.1\r\n\r\n" * 2)
        self.assertEqual(1, answer.count(b"HTTP/1.1"))


class ConnectionTests(StatusCase):
    """Connections that stay."""

    def test_idle(self) -> None:
        """A connection that sends nothing is cut off after ten seconds."""
        peer = self.connect()
        self.clock.advance(CONNECTION_S - 0.1)
        self.assertFalse(peer.lost)
        self.clock.pump([0.1, 0])
        self.assertTrue(peer.lost)

    def test_dripping(self) -> None:
        """One that sends a byte each second gets no longer."""
        peer = self.connect()
        for byte in b"GET /live HTTP/1.1\r\nx:":
            self.send(peer, bytes([byte]))
            self.clock.advance(1)
        self.clock.advance(0)
        self.assertTrue(peer.lost)
        self.assertEqual(b"", peer.value())

    def test_many(self) -> None:
        """A thousand idle ones are bounded, the oldest of them making room, and an honest request is answered."""
        peers = [self.connect() for _ in range(1_000)]
        open_ones = [peer for peer in peers if not peer.lost]
        self.assertEqual(peers[-MOST_CONNECTIONS:], open_ones)
        self.assertEqual("live\n", self.ask("/live")[2])
        self.clock.pump([CONNECTION_S, 0])
        self.assertTrue(all(peer.lost for peer in peers))

    def test_many_in_one_turn(self) -> None:
        """The bound holds as well where many come before any of the oldest is gone."""
        channels: list[Any] = [self.factory.buildProtocol(None) for _ in range(MOST_CONNECTIONS * 3)]
        peers = [Peer(channel, self.clock) for channel in channels]
        for channel, peer in zip(channels, peers, strict=True):
            channel.makeConnection(peer)
            self.assertLessEqual(len(self.factory._channels), MOST_CONNECTIONS)
        self.clock.advance(0)
        self.assertEqual(peers[-MOST_CONNECTIONS:], [peer for peer in peers if not peer.lost])
        self.factory.cut_off()
        self.clock.advance(0)


class ServiceTests(SynchronousTestCase):
    """Where it listens, and until when."""

    def setUp(self) -> None:
        """Make a relay's factory."""
        self.reactor: Any = MemoryReactorClock()
        self.relay = RelayFactory(self.reactor, lambda: 0, MemoryLog(), RelayLimits())
        self.drained: Deferred[None] = succeed(None)

    def service(self, host: IAddress, description: str = "tcp:1") -> StatusService:
        """A service whose port turns out to be somewhere."""
        self.closed: list[IAddress] = []
        closed = self.closed

        class Port:
            """A port."""

            def getHost(self) -> IAddress:
                """Where."""
                return host

            def stopListening(self) -> None:
                """Close."""
                closed.append(host)

        class Endpoint:
            """An endpoint."""

            def listen(self, factory: Factory) -> Deferred[Any]:
                """Listen at once."""
                return succeed(Port())

        factory = StatusFactory(self.reactor, Pages([], list))
        return StatusService(description, Endpoint(), factory, lambda: self.drained)  # type: ignore[arg-type]

    def test_this_machine_only(self) -> None:
        """An address that other machines reach ends the program with one line, whatever the string said."""
        for host in ("0.0.0.0", "192.0.2.1", "::", "2001:db8::1"):
            with self.assertRaises(SystemExit) as caught:
                self.service(IPv4Address("TCP", host, 1)).privilegedStartService()
            self.assertIn("--status tcp:1 can be reached from other machines", str(caught.exception.code))
            self.assertNotIn("\n", str(caught.exception.code))

    def test_local(self) -> None:
        """Loopback and Unix sockets are taken."""
        for host in (IPv4Address("TCP", "127.0.0.1", 1), IPv4Address("TCP", "::1", 1), UNIXAddress(b"/run/x")):
            self.service(host).privilegedStartService()

    def test_busy(self) -> None:
        """A busy port ends the program with one line."""

        def busy(*args: object, **more: object) -> IListeningPort:
            raise CannotListenError("", 1, OSError(98, "Address already in use"))

        self.patch(self.reactor, "listenTCP", busy)
        service = status_service(self.reactor, "tcp:1", self.relay, lambda: None, None, [])
        with self.assertRaises(SystemExit) as caught:
            service.privilegedStartService()
        self.assertEqual(
            "securechat: cannot listen on --status tcp:1: Address already in use", caught.exception.code
        )

    def test_no_endpoint(self) -> None:
        """What is no endpoint is an error of one line."""
        for description in ("nonsense:1", "tcp", "tcp:x", "", "unix"):
            with self.assertRaises(RelayError) as caught:
                status_service(self.reactor, description, self.relay, lambda: None, None, [])
            self.assertIn(f"--status {description}: ", str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_stops_after_the_relay(self) -> None:
        """It answers until the relay has drained, and then closes its port and what is left."""
        self.drained = Deferred()
        service = self.service(IPv4Address("TCP", "127.0.0.1", 1))
        service.privilegedStartService()
        service.startService()
        channel: Any = service._factory.buildProtocol(None)
        peer = Peer(channel, self.reactor)
        channel.makeConnection(peer)
        stopped = service.stopService()
        self.reactor.advance(1)
        self.assertNoResult(stopped)
        self.assertEqual(([], False), (self.closed, peer.lost))
        self.drained.callback(None)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((1, True), (len(self.closed), peer.lost))
        self.assertEqual([], self.reactor.getDelayedCalls())
