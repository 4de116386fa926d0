"""Too much to do: when it begins and when it ends, and what it means for who is there and who comes."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.limits import RelayLimits
from securechat.relay.load import (
    CALM,
    CALM_LOOKS,
    COMMITTING_S,
    EVERY_S,
    FULLNESS,
    LATE_LOOKS,
    LATE_S,
    Load,
)
from securechat.relay.memory import Memory
from securechat.wire.codes import Code
from tests.relay.harness import Relay, RelayCase, declined, texts
from tests.relay.people import hello, person

ROOM = "#tea"


class LoadTests(SynchronousTestCase):
    """The judgment."""

    def setUp(self) -> None:
        """Nothing is to be done."""
        self.clock = Clock()
        self.committing_s = 0.0
        self.memory = Memory(RelayLimits(outboxes_bytes=1_000), tuple)
        self.load = Load(self.clock, lambda: self.committing_s, self.memory)
        self.load.startService()
        self.addCleanup(lambda: self.assertEqual([], self.clock.getDelayedCalls()))
        self.addCleanup(self.load.stopService)

    def look(self, times: int = 1, late_s: float = 0.0) -> bool:
        """So many times, so late; whether there is too much to do then."""
        for _ in range(times):
            self.clock.advance(EVERY_S + late_s)
        return self.load.is_too_much()

    def test_late(self) -> None:
        """Timers that are late all the time are too much, one stall is not, however long."""
        self.assertFalse(self.look(20))
        self.assertFalse(self.look(1, 100.0))
        self.assertFalse(self.look(1))
        self.assertFalse(self.look(LATE_LOOKS - 1, LATE_S))
        self.assertTrue(self.look(1, LATE_S))
        self.assertEqual(1, self.load.times)

    def test_almost_late(self) -> None:
        """What is a little less never is."""
        self.assertFalse(self.look(100, LATE_S - 0.01))

    def test_calm(self) -> None:
        """It ends after calm for a while; in between nothing changes."""
        self.look(LATE_LOOKS, LATE_S)
        between = LATE_S * CALM + 0.01
        self.assertTrue(self.look(100, between))
        self.assertTrue(self.look(CALM_LOOKS - 1))
        self.assertTrue(self.look(LATE_LOOKS, between))
        self.assertTrue(self.look(CALM_LOOKS - 1))
        self.assertFalse(self.look(1))
        self.assertFalse(self.look(100, between))
        self.assertEqual(1, self.load.times)

    def test_store(self) -> None:
        """So is a commit that takes long, at once."""
        self.committing_s = COMMITTING_S - 0.1
        self.assertFalse(self.look(10))
        self.committing_s = COMMITTING_S
        self.assertTrue(self.look())
        self.committing_s = 0.0
        self.assertTrue(self.look(CALM_LOOKS - 1))
        self.assertFalse(self.look())

    def test_memory(self) -> None:
        """So is memory that is nearly taken."""
        held = 0

        class One:
            """Somebody for whom something waits."""

            unread_bytes = 0

            @property
            def held_bytes(self) -> int:
                """How much."""
                return held

            def leave_behind(self) -> None:
                """Not here."""
                raise AssertionError

            turn_away = leave_behind

        self.memory._connections = lambda: [One()]
        held = int(1_000 * FULLNESS) - 1
        self.assertFalse(self.look(10))
        held += 1
        self.assertTrue(self.look())
        held = 500
        self.assertTrue(self.look(20))
        held = 100
        self.assertFalse(self.look(CALM_LOOKS))

    def test_stopped(self) -> None:
        """It can be stopped before it has begun, and twice."""
        self.load.stopService()
        self.load.stopService()


class BusyTests(RelayCase):
    """A relay with too much to do."""

    def too_much(self, relay: Relay) -> None:
        """It has, from now on."""
        relay.factory.load.startService()
        self.addCleanup(relay.factory.load.stopService)
        for _ in range(LATE_LOOKS):
            relay.clock.advance(EVERY_S + LATE_S)
        self.assertTrue(relay.factory.load.is_too_much())

    def test_logins(self) -> None:
        """Nobody is let in, known or not; who is there goes on; afterwards everybody is let in."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.transport.lose()
        bob = relay.login("bob")[0]
        bob.enter(ROOM)
        self.too_much(relay)
        for name in ("alice", "carol"):
            newcomer = relay.connect()
            newcomer.send(hello(person(name), newcomer.nonce()))
            self.assertEqual(Code.BUSY, newcomer.code())
            newcomer.transport.lose()
        self.assertEqual(2, relay.factory.logins[Code.BUSY])
        alice.post(ROOM, b"we go on")
        self.assertEqual([b"we go on"], texts(bob.hears()))
        relay.clock.pump([EVERY_S] * CALM_LOOKS)
        relay.login("carol")

    def test_rooms(self) -> None:
        """No room is founded; those that are there change as before."""
        relay = self.relay()
        alice, carol = relay.login("alice", "carol")
        alice.found(ROOM)
        self.too_much(relay)
        carol.hears()
        with self.assertRaises(ValueError):
            carol.found("#new")
        self.assertEqual([Code.BUSY], declined(carol.heard))
        self.assertEqual(1, relay.factory.rooms.declined[Code.BUSY])
        self.assertEqual([], declined(alice.add(ROOM, carol.me)))
        self.assertEqual(2, len(relay.log_of(ROOM).members))
        relay.clock.pump([EVERY_S] * CALM_LOOKS)
        carol.found("#new")

    def test_nothing_is_checked(self) -> None:
        """A login that is turned away counts neither as one that failed, nor for a name."""
        relay = self.relay()
        self.too_much(relay)
        for _ in range(10):
            newcomer = relay.connect("192.0.2.1")
            newcomer.send(hello(person("dave"), bytes(32)))
            self.assertEqual(Code.BUSY, newcomer.code())
            newcomer.transport.lose()
        self.assertFalse(relay.factory._attempts.must_wait("dave", "192.0.2.1"))
        self.assertEqual(0, len(relay.factory.owners))
