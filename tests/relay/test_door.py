"""Strangers at the door: listened to in turn, so many a second, and what becomes of those who wait."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final, cast

from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.door import FIRST_BYTES, Stranger
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.listening import ACCEPTED_AT_ONCE, Protection, accept_few_at_once, listener
from securechat.relay.log import MemoryLog
from securechat.relay.protocol import STRANGER_FRAME_BYTES
from securechat.relay.turns import AT_ONCE, Turns
from securechat.wire.codes import Code
from securechat.wire.framing import frame
from securechat.wire.messages import Ping, Pong, Refused
from tests.relay.people import NOW_MS
from tests.relay.process import RelayProcess, Talker
from tests.wire.harness import MemoryTransport, nothing_left

PEER: Final = IPv4Address("TCP", "127.0.0.1", 1)
PING: Final = frame(Ping())


class TurnsTests(SynchronousTestCase):
    """The line."""

    def setUp(self) -> None:
        """Eight turns a second; whoever waits is written down when it is their turn."""
        self.clock = Clock()
        self.turns = Turns(self.clock, 8.0)
        self.had: list[int] = []
        self.addCleanup(lambda: self.assertEqual([], self.clock.getDelayedCalls()))

    def come(self, number: int) -> bool:
        """Somebody comes: whether it is their turn at once."""
        return self.turns.take(lambda: self.had.append(number))

    def test_rate(self) -> None:
        """A few are listened to at once, everybody else in the order in which they came, so many a second."""
        self.assertEqual([True] * AT_ONCE + [False] * 20, [self.come(number) for number in range(AT_ONCE + 20)])
        for count in range(1, 21):
            self.clock.advance(0.125 - 2**-10)
            self.assertEqual(count - 1, len(self.had))
            self.clock.advance(2**-10)
            self.assertEqual(count, len(self.had))
        self.assertEqual([*range(AT_ONCE, AT_ONCE + 20)], self.had)

    def test_never_ahead(self) -> None:
        """Nobody is listened to before those who wait, however late the timer is."""
        for number in range(AT_ONCE + 2):
            self.come(number)
        self.clock.rightNow += 5.0
        self.assertFalse(self.come(99))
        for _ in range(3):
            self.clock.advance(0)
        self.assertEqual([AT_ONCE, AT_ONCE + 1, 99], self.had)

    def test_after_a_while(self) -> None:
        """After a long calm there are as many at once as in the beginning, and no more."""
        for _ in range(2):
            self.clock.advance(1_000.0)
            self.assertEqual([True] * AT_ONCE + [False], [self.come(0) for _ in range(AT_ONCE + 1)])
            self.clock.advance(0.125)
            self.assertEqual([0], self.had)
            self.had.clear()

    def test_gone(self) -> None:
        """Who is gone takes nobody's turn, and of an empty line no timer is left."""
        for number in range(AT_ONCE):
            self.come(number)
        calls = [lambda number=number: self.had.append(number) for number in range(3)]
        for call in calls:
            self.assertFalse(self.turns.take(call))
        self.turns.leave(calls[0])
        self.turns.leave(calls[0])
        self.clock.advance(0.125)
        self.assertEqual([1], self.had)
        self.turns.leave(calls[2])
        self.assertEqual(0, len(self.turns))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_no_bound(self) -> None:
        """A rate of 0 makes nobody wait."""
        self.turns = Turns(self.clock, 0.0)
        self.assertEqual([True] * 1_000, [self.come(number) for number in range(1_000)])


class DoorTests(SynchronousTestCase):
    """Connections in memory, behind an endpoint."""

    def begin(self, **limits: Any) -> None:
        """A relay that listens to ten strangers a second, and has listened to the first few."""
        self.reactor = MemoryReactorClock()
        self.factory = RelayFactory(
            self.reactor, lambda: NOW_MS, MemoryLog(), RelayLimits(strangers_per_s=10.0, **limits)
        )
        self.door = listener(self.reactor, "tcp:0").factory(self.factory, Protection(None, ""))
        self.transports: list[MemoryTransport] = []
        for _ in range(AT_ONCE):
            self.connect(PING)

    def connect(self, data: bytes = b"") -> MemoryTransport:
        """A connection, and what is said on it at once."""
        protocol = self.door.buildProtocol(PEER)
        assert isinstance(protocol, Stranger)
        transport = MemoryTransport(self.reactor, cast(Any, protocol), PEER)
        protocol.makeConnection(transport)
        self.transports.append(transport)
        if data and not transport.aborted:
            protocol.dataReceived(data)
        self.reactor.advance(0)
        return transport

    def tearDown(self) -> None:
        """Nothing is left."""
        for transport in self.transports:
            transport.lose()
        nothing_left(self, self.reactor)
        self.assertEqual(0, self.factory.connections)

    def answered(self, transport: MemoryTransport) -> bool:
        """Whether somebody has been listened to."""
        return any(isinstance(each, Pong | Refused) for each in transport.said())

    def test_waits(self) -> None:
        """What a stranger has said is handled in their turn, and until then nothing more is read of them."""
        self.begin()
        first, second = self.connect(PING), self.connect(PING)
        self.assertEqual(["paused"] * 2, [each.producerState for each in (first, second)])
        self.assertEqual((False, False), (self.answered(first), self.answered(second)))
        self.reactor.advance(0.1001)
        self.assertEqual(("producing", "paused"), (first.producerState, second.producerState))
        self.assertEqual((True, False), (self.answered(first), self.answered(second)))
        self.reactor.advance(0.1)
        self.assertTrue(self.answered(second))

    def test_little_is_held(self) -> None:
        """Little is read of a stranger at once, and as much as of anybody when they have been listened to."""
        self.begin()
        waiting: Any = self.connect(PING)
        self.assertEqual(FIRST_BYTES, waiting.bufferSize)
        self.assertGreaterEqual(FIRST_BYTES, 2 * STRANGER_FRAME_BYTES)
        self.reactor.advance(0.1001)
        self.assertNotIn("bufferSize", vars(waiting))
        self.assertEqual(65_536, tcp.Connection.bufferSize)

    def test_only_the_first_time(self) -> None:
        """Who has been listened to waits no more, and nothing stands between any more."""
        self.begin()
        known = self.transports[0]
        self.connect(PING)
        protocol = cast(Any, known)._protocol
        self.assertEqual(protocol.inner.dataReceived, protocol.dataReceived)
        protocol.dataReceived(PING)
        self.reactor.advance(0)
        self.assertEqual(2, sum(isinstance(each, Pong) for each in known.said()))

    def test_silence_takes_no_turn(self) -> None:
        """However many say nothing, whoever says something is listened to at once."""
        self.begin()
        self.reactor.advance(5.0)
        for _ in range(100):
            self.connect()
        self.assertTrue(self.answered(self.connect(PING)))

    def test_too_many(self) -> None:
        """Those who say nothing make room before anybody who waits in line; the newest does if all of them wait."""
        self.begin(handshakes=AT_ONCE + 4)
        silent = [self.connect(), self.connect()]
        waiting = [self.connect(PING) for _ in range(3)]
        # The first few have been listened to, and are the oldest.
        for count in range(AT_ONCE - 1):
            self.assertEqual(count + 1, sum(each.aborted for each in self.transports))
            waiting.append(self.connect(PING))
        self.assertEqual([False, False], [each.aborted for each in silent])
        waiting += [self.connect(PING), self.connect(PING)]
        self.assertEqual([True, True], [each.aborted for each in silent])
        self.assertEqual([], [each for each in waiting if each.aborted])
        self.assertTrue(self.connect(PING).aborted)
        self.assertEqual([], [each for each in waiting if each.aborted])
        # Who has been listened to and still has not logged in makes room as well.
        self.reactor.advance(0.1001)
        self.assertTrue(self.answered(waiting[0]))
        self.connect()
        self.assertEqual([waiting[0]], [each for each in waiting if each.aborted])

    def test_gone_while_waiting(self) -> None:
        """Who is gone has left the line, also when the time for a login is over."""
        self.begin(handshake_s=1.0)
        first, second = self.connect(PING), self.connect(PING)
        first.lose()
        self.reactor.advance(0.1001)
        self.assertTrue(self.answered(second))
        for _ in range(30):
            self.connect(PING)
        late = self.connect()
        self.reactor.advance(1.0)
        cast(Any, late)._protocol.dataReceived(PING)
        self.assertFalse(late.producerState == "paused")
        self.reactor.advance(10.0)
        self.assertEqual(0, len(self.factory.turns))

    def test_malformed(self) -> None:
        """What is malformed is refused with its code, however long it is and however long it has waited."""
        self.begin()
        bad = self.connect((STRANGER_FRAME_BYTES + 1).to_bytes(4, "big") + bytes(60_000))
        self.reactor.advance(0.1001)
        refused = bad.said()[-1]
        assert isinstance(refused, Refused)
        self.assertEqual(Code.OVERSIZED_FRAME, refused.code)

    def test_default(self) -> None:
        """It is three hundred a second."""
        self.assertEqual(300.0, RelayLimits().strangers_per_s)
        self.begin()


class AcceptTests(SynchronousTestCase):
    """Accepting connections."""

    def test_few_at_once(self) -> None:
        """However many were taken the last time, so many are the most the next time."""

        class Port:
            """A port that accepts as Twisted's does."""

            numberAccepts = 100

            def __init__(self) -> None:
                self.accepted: list[int] = []

            def doRead(self) -> None:
                """Accept as many as it may, and more the next time."""
                self.accepted.append(self.numberAccepts)
                self.numberAccepts += 20

        port: Any = Port()
        accept_few_at_once(port)
        port.doRead()
        port.doRead()
        self.assertEqual([ACCEPTED_AT_ONCE] * 2, port.accepted)
        accept_few_at_once(object())  # type: ignore[arg-type]

    def test_real(self) -> None:
        """At a real relay those who talk first wait for their turn, and all are greeted; TLS does so as well."""
        for protection in ((), ("--plaintext",)):
            relay = RelayProcess(self, "--in-memory", "--engine", "cpu", "--stranger-rate", "10", *protection)
            began = monotonic()
            for number in range(AT_ONCE + 5):
                Talker(self, relay.address).login(f"name{number}")
            self.assertGreater(monotonic() - began, 0.4)
            self.assertEqual(not protection, relay.address.tls)
            relay.terminate()
            relay.wait()
