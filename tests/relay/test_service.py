"""The relay as a service: it starts on all its listeners or not at all, and stops within a bound."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.listening import ACCEPTED_AT_ONCE, Protection, listener
from securechat.relay.log import MemoryLog
from securechat.relay.protocol import RelayProtocol
from securechat.relay.service import RelayService
from securechat.wire.codes import Code
from securechat.wire.framing import LINGER_S, farewell, frame
from securechat.wire.messages import Greeting
from tests.relay.people import NOW_MS, hello, person
from tests.wire.harness import MemoryTransport, last_code, nothing_left


class ServiceTests(SynchronousTestCase):
    """A service in a reactor in memory."""

    def setUp(self) -> None:
        """Make a factory."""
        self.reactor = MemoryReactorClock()
        self.factory = RelayFactory(self.reactor, lambda: NOW_MS, MemoryLog(), RelayLimits())
        self.gave_up = 0

    def service(self, *descriptions: str, anywhere: bool = True) -> RelayService:
        """A service with plain listeners."""
        listeners = [listener(self.reactor, each) for each in descriptions]
        return RelayService(self.reactor, self.factory, listeners, Protection(None, "", anywhere), self.give_up)

    def give_up(self) -> None:
        """Count."""
        self.gave_up += 1

    def connect(self) -> MemoryTransport:
        """A connection that the relay has taken."""
        link = self.factory.buildProtocol(None)
        assert isinstance(link, RelayProtocol)
        transport = MemoryTransport(self.reactor, link)
        link.makeConnection(transport)
        self.reactor.advance(0)
        return transport

    def test_listens(self) -> None:
        """It listens on every endpoint and knows their addresses."""
        service = self.service("tcp:1", "tcp:2")
        service.privilegedStartService()
        service.startService()
        self.assertEqual([1, 2], [each[0] for each in self.reactor.tcpServers])
        self.assertEqual(2, len(service.addresses))

    def test_accepts_few_at_once(self) -> None:
        """On every endpoint few connections are accepted in one turn, however many Twisted would."""
        listen = self.reactor.listenTCP
        ports: list[Any] = []

        def listening(*args: Any, **more: Any) -> IListeningPort:
            port: Any = listen(*args, **more)
            port.numberAccepts, port.accepted = 100, []
            port.doRead = lambda: port.accepted.append(port.numberAccepts)
            ports.append(port)
            return port  # type: ignore[no-any-return]

        self.patch(self.reactor, "listenTCP", listening)
        self.service("tcp:1", "tcp:2").privilegedStartService()
        for port in ports:
            port.doRead()
        self.assertEqual([[ACCEPTED_AT_ONCE]] * 2, [port.accepted for port in ports])

    def test_port_is_busy(self) -> None:
        """An endpoint that cannot listen ends the program with one line."""
        service = self.service("tcp:1")

        def busy(*args: object, **more: object) -> IListeningPort:
            raise CannotListenError("", 1, OSError(98, "Address already in use"))

        self.patch(self.reactor, "listenTCP", busy)
        with self.assertRaises(SystemExit) as caught:
            service.privilegedStartService()
        self.assertEqual("securechat: cannot listen on tcp:1: Address already in use", caught.exception.code)

    def test_plaintext_refused(self) -> None:
        """A plain listener that other machines reach ends the program with one line."""
        with self.assertRaises(SystemExit) as caught:
            self.service("tcp:1", anywhere=False).privilegedStartService()
        self.assertIn("--insecure-plaintext", str(caught.exception.code))
        self.assertNotIn("\n", str(caught.exception.code))

    def test_stop_without_clients(self) -> None:
        """With nobody there it stops at once."""
        service = self.service("tcp:1")
        service.privilegedStartService()
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_stop(self) -> None:
        """Clients and strangers are told; it has stopped as soon as they all have left."""
        service = self.service("tcp:1")
        service.privilegedStartService()
        service.startService()
        stranger, client = self.connect(), self.connect()
        (greeting,) = client.said()
        assert isinstance(greeting, Greeting)
        client._protocol.dataReceived(frame(hello(person("alice"), greeting.nonce)))
        self.assertEqual(1, self.factory.clients)
        stopped = service.stopService()
        for transport in (stranger, client):
            self.assertEqual(Code.SHUTDOWN, last_code(transport))
            self.assertNoResult(stopped)
            transport.lose()
        self.successResultOf(stopped)
        self.assertEqual(2, self.factory.closed[Code.SHUTDOWN])
        nothing_left(self, self.reactor)

    def test_stop_with_a_silent_peer(self) -> None:
        """A peer that does not leave is cut off, and it has stopped within the bound."""
        service = self.service("tcp:1")
        service.privilegedStartService()
        service.startService()
        transport = self.connect()
        stopped = service.stopService()
        self.reactor.advance(LINGER_S)
        self.reactor.advance(0)
        self.assertTrue(transport.aborted)
        self.successResultOf(stopped)
        nothing_left(self, self.reactor)

    def test_last_resort(self) -> None:
        """Whoever is still there stop_s seconds after the stop began is cut off, whatever became of its timer."""
        service = self.service("tcp:1")
        service.privilegedStartService()
        service.startService()
        transport = self.connect()
        # Closed an instant before by something that forgot to watch over it.
        transport._protocol.drop(farewell(Code.QUIT))
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        stopped = service.stopService()
        self.reactor.advance(RelayLimits().stop_s - 0.1)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.reactor.advance(0)
        self.assertTrue(transport.aborted)
        self.successResultOf(stopped)
