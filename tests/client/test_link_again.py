"""The client's link once it was up: tried again after a loss, held while nobody can take more, and stopped."""

from __future__ import annotations

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import ConnectionCompleter, IOPump
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.errors import ClientError, Exit
from securechat.client.link import LOGIN_S, Link
from securechat.client.retry import FORGIVEN_S
from securechat.e2e.identity import new_person
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.log import MemoryLog
from securechat.wire import messages as wire
from securechat.wire.address import Address
from securechat.wire.codes import Code
from securechat.wire.framing import farewell
from securechat.wire.messages import LAST_SEQ, Enter
from tests.client.link_harness import (
    FAREWELLS,
    GREETING,
    WELCOME,
    HandPins,
    LinkCase,
    Listener,
    login_of,
)
from tests.relay.people import NOW_MS

PASSING = {Code.FULL, Code.BUSY, Code.TOO_MANY_LOGINS, Code.TIMED_OUT, *FAREWELLS} - {Code.QUIT, Code.REPLACED}


class AgainTests(LinkCase):
    """A link that was up is tried again."""

    def test_backoff(self) -> None:
        """With all the jitter there is, waits double from half a second to thirty; each is told once."""
        self.log_in()
        self.jitter = 1.0
        self.transport.lose()
        expected = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        for attempt, wait in enumerate(expected, 1):
            self.assertEqual(len(self.listener.downs), attempt)
            self.assertEqual(self.listener.downs[-1][1], wait)
            self.clock.advance(wait - 0.01)
            self.assertEqual(self.endpoint.attempts, attempt)
            self.clock.advance(0.02)
            self.assertEqual(self.endpoint.attempts, attempt + 1)
            self.endpoint.fail(ConnectionRefusedError())
        self.assertIn("nothing listens", self.listener.downs[-1][0])
        self.assertEqual(self.errors, [])

    def test_begins_afresh(self) -> None:
        """After a link that lasted the waits begin at their shortest again; after a brief one they go on."""
        self.log_in()
        self.jitter = 1.0
        self.transport.lose()
        for wait in (0.5, 1.0, 2.0):
            self.clock.advance(wait)
            self.endpoint.fail(ConnectionRefusedError())
        self.clock.advance(4.0)
        self.log_in()
        self.transport.lose()
        self.assertEqual(self.listener.downs[-1], ("the connection broke", 8.0))
        self.clock.advance(8.0)
        self.log_in()
        self.clock.advance(5 * FORGIVEN_S)
        self.transport.lose()
        self.assertEqual(self.listener.downs[-1], ("the connection broke", 0.5))
        self.assertEqual(len(self.listener.ups), 3)

    def test_time_away_is_not_time_up(self) -> None:
        """What counts for the next wait is how long a link was up, not for how long it was tried for."""
        self.log_in()
        self.jitter = 1.0
        self.clock.advance(5 * FORGIVEN_S)
        self.transport.lose()
        for wait in (0.5, 1.0, 2.0, 4.0, 8.0):
            self.clock.advance(wait)
            self.endpoint.fail(ConnectionRefusedError())
        self.assertEqual(self.listener.downs[-1][1], 16.0)

    def test_ping_span_of_relay(self) -> None:
        """The relay says in `Welcome` after how much silence it is pinged."""
        self.open()
        self.hears(GREETING, wire.Welcome("alice", [], wire.Limits(256, 200, 40)))
        self.transport.clear()
        self.clock.advance(15)
        self.clock.advance(24)
        self.assertEqual(self.said(), [])
        self.clock.advance(1)
        self.assertEqual(self.said(), [wire.Ping()])

    def test_silent_relay(self) -> None:
        """A relay that was not heard for three spans is told goodbye and cut off, and the link is tried again."""
        self.log_in()
        for _ in range(5):
            self.clock.advance(15)
        self.assertEqual(self.said()[-1], farewell(Code.SILENT))
        self.clock.pump([2, 0])
        self.assertEqual(self.listener.downs, [("the relay does not answer", 0.25)])

    def test_login_takes_too_long_again(self) -> None:
        """A relay that does not welcome us back in time is tried again."""
        self.log_in()
        self.lose()
        self.open()
        self.clock.advance(LOGIN_S)
        self.clock.advance(0)
        self.assertEqual(len(self.listener.downs), 2)
        self.assertIn("does not answer in time", self.listener.downs[-1][0])

    def test_send_while_down(self) -> None:
        """What is sent while there is no link is dropped and is not said on the next one."""
        self.log_in()
        self.transport.lose()
        self.link.send(Enter("#lobby", 0, LAST_SEQ))
        self.clock.advance(0.5)
        self.log_in()
        self.clock.advance(0)
        self.assertEqual(self.said(), [])


class HoldTests(LinkCase):
    """The link is not read while somebody cannot take more."""

    def state(self) -> str:
        """Whether the transport reads."""
        return self.transport.producerState

    def test_hold(self) -> None:
        """The link is read again once every hold has been released."""
        self.log_in()
        for why in ("output", "worker", "output"):
            self.link.hold(why)
        self.assertEqual(self.state(), "paused")
        self.link.release("output")
        self.clock.advance(0)
        self.assertEqual(self.state(), "paused")
        self.link.release("worker")
        self.clock.advance(0)
        self.assertEqual(self.state(), "producing")

    def test_frames_here_already(self) -> None:
        """What had come already when the link was held is handled after its release, once and in order."""
        self.log_in()
        rosters = [wire.Roster(f"#{n}", 0, [], 0, 0) for n in range(5)]
        received = self.listener.received

        def hold_after_two(message: wire.FromRelay) -> None:
            received(message)
            if len(self.listener.received_messages) == 2:
                self.link.hold("output")

        self.patch(self.listener, "received", hold_after_two)
        self.hears(*rosters)
        self.assertEqual(self.listener.received_messages, rosters[:2])
        self.link.release("output")
        self.clock.advance(0)
        self.assertEqual(self.listener.received_messages, rosters)

    def test_release_without_hold(self) -> None:
        """A release of what was never held does nothing, and costs no call on the clock."""
        self.log_in()
        before = len(self.clock.getDelayedCalls())
        self.link.release("worker")
        self.assertEqual(len(self.clock.getDelayedCalls()), before)

    def test_hold_before_login(self) -> None:
        """A login goes on while the link is held, and what comes after it waits."""
        self.open()
        self.link.hold("output")
        self.hears(GREETING)
        self.hears(WELCOME, wire.Roster("#a", 0, [], 0, 0))
        self.assertEqual((len(self.listener.ups), self.state()), (1, "paused"))
        self.assertEqual(self.listener.received_messages, [])
        self.link.release("output")
        self.clock.advance(0)
        self.assertEqual(len(self.listener.received_messages), 1)

    def test_hold_over_a_lost_link(self) -> None:
        """A hold outlives the link that it began on."""
        self.log_in()
        self.link.hold("output")
        self.lose()
        self.log_in()
        self.assertEqual(self.state(), "paused")
        self.link.release("output")
        self.transport.lose()
        self.clock.advance(0)

    def test_goodbye_while_held(self) -> None:
        """A held link can be stopped."""
        self.log_in()
        self.link.hold("output")
        stopped = self.link.stop()
        self.assertEqual(self.said(), [farewell(Code.QUIT)])
        self.transport.lose()
        self.successResultOf(stopped)


class StopTests(LinkCase):
    """`stop` ends the link wherever it is; the fixture sees that nothing is left."""

    def assert_stops(self) -> None:
        """The link stops, at the latest after a peer that does not follow was cut off."""
        stopped = self.link.stop()
        self.assertIs(self.link.stop(), stopped)
        self.clock.pump([0, 1, 1, 0])
        self.successResultOf(stopped)
        attempts = self.endpoint.attempts
        self.clock.advance(1_000)
        self.assertEqual((self.endpoint.attempts, self.errors), (attempts, []))

    def test_while_connecting(self) -> None:
        """An attempt to connect is cancelled."""
        self.assert_stops()
        self.assertEqual(self.endpoint.cancelled, 1)

    def test_before_the_greeting(self) -> None:
        """A connection on which nothing was said gets a goodbye and no name."""
        self.open()
        self.assert_stops()
        self.assertEqual(self.said(), [farewell(Code.QUIT)])

    def test_during_the_login(self) -> None:
        """A login is given up."""
        self.open()
        self.hears(GREETING)
        self.assert_stops()
        self.assertEqual(self.listener.ups, [])

    def test_logged_in(self) -> None:
        """A link that is up says goodbye, after what was sent before; its end is not told as a loss."""
        self.log_in()
        self.link.send(Enter("#lobby", 0, LAST_SEQ))
        self.assert_stops()
        self.assertEqual(self.said(), [Enter("#lobby", 0, LAST_SEQ), farewell(Code.QUIT)])
        self.assertEqual(self.listener.downs, [])

    def test_closed_by_the_relay_first(self) -> None:
        """Where the relay closes in answer, it is over at once."""
        self.log_in()
        stopped = self.link.stop()
        self.assertNoResult(stopped)
        self.transport.lose()
        self.successResultOf(stopped)

    def test_while_waiting(self) -> None:
        """The next attempt is cancelled."""
        self.log_in()
        self.transport.lose()
        self.assert_stops()

    def test_while_closing(self) -> None:
        """A link that is closing already is waited for."""
        self.log_in()
        self.hears(farewell(Code.SHUTDOWN))
        self.assert_stops()
        self.assertEqual(self.listener.downs, [])

    def test_after_giving_up(self) -> None:
        """Where there is nothing left to stop it has stopped."""
        self.endpoint.fail(ConnectionRefusedError())
        self.successResultOf(self.link.stop())


class RealRelayTests(SynchronousTestCase):
    """The link and the real relay, over connections in memory."""

    def test_login(self) -> None:
        """The link logs in, hears its message of the day, and its name is refused to a second one."""
        reactor = MemoryReactorClock()
        relay = RelayFactory(reactor, lambda: NOW_MS, MemoryLog(), RelayLimits(), "be kind")
        reactor.listenTCP(12345, relay)
        completer = ConnectionCompleter(reactor)
        listeners: list[Listener] = []
        errors: list[ClientError] = []
        links: list[Link] = []
        pumps: list[IOPump] = []
        for _ in range(2):
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", 12345)
            address = Address("127.0.0.1", 12345, tls=False)
            # Each has keys of their own, and wants the same name.
            login = login_of(new_person("alice", NOW_MS), lambda: NOW_MS)
            link = Link(endpoint, address, login, reactor, HandPins(), errors.append)
            listeners.append(Listener())
            links.append(link)
            link.start(listeners[-1])
            pump = completer.succeedOnce()
            assert pump is not None
            pumps.append(pump)
            pump.flush()
            pump.flush()
            # The relay waits two seconds for those that it refused to close; iosim knows no half-closed connection.
            reactor.advance(2)
            pump.flush()
        self.assertEqual([(up[0].name, up[2]) for up in listeners[0].ups], [("alice", "be kind")])
        self.assertEqual((listeners[1].ups, [error.status for error in errors]), ([], [Exit.NOT_PERMITTED]))
        self.assertEqual(relay.clients, 1)
        stopped = [link.stop() for link in links]
        for _ in range(4):
            reactor.advance(1)
            for pump in pumps:
                pump.flush()
        for each in stopped:
            self.successResultOf(each)
