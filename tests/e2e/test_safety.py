"""Pins and prekey rings: what is remembered, for how long, and over a restart. Attacks have their own module."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e import safety
from securechat.e2e.hpke import best_suite
from securechat.e2e.prekeys import RING_KEYS, ROTATE_MS, PrekeyRing, read_ring
from securechat.e2e.safety import DIGITS, Pins, Standing, read_pins, safety_number
from securechat.signed.prekeys import KEEP_MS
from securechat.signed.suites import Suite
from tests.e2e.scene import DAY, NOW, someone

ALICE, BOB, CAROL = (someone(name) for name in ("alice", "bob", "carol"))


class NumberTests(SynchronousTestCase):
    """Safety numbers; Signal's own vector stands among the published ones."""

    def test_number(self) -> None:
        """It is 60 digits, the same from both sides, and another for another name or key."""
        numbers = {
            safety_number(b"alice", ALICE.identity, b"bob", BOB.identity),
            safety_number(b"bob", BOB.identity, b"alice", ALICE.identity),
            safety_number(b"alice", ALICE.identity, b"bob2", BOB.identity),
            safety_number(b"alice", ALICE.identity, b"bob", CAROL.identity),
        }
        self.assertEqual(len(numbers), 3)
        self.assertTrue(all(len(each) == DIGITS and each.isdecimal() for each in numbers))


class PinTests(SynchronousTestCase):
    """The keys that we remember."""

    def test_first_use(self) -> None:
        """The first key under a name is pinned, and nothing blocks it."""
        pins = Pins()
        self.assertIs(pins.standing("bob", BOB.identity), Standing.FIRST)
        self.assertTrue(pins.is_blocked("bob", BOB.identity))
        self.assertIs(pins.meet("bob", BOB.identity), Standing.FIRST)
        self.assertIs(pins.meet("bob", BOB.identity), Standing.PINNED)
        self.assertFalse(pins.is_blocked("bob", BOB.identity))
        self.assertEqual(list(pins), ["bob"])

    def test_a_full_memory(self) -> None:
        """Who cannot be remembered is not sent anything."""
        self.patch(safety, "MAX_PINS", 1)
        pins = Pins()
        for each in (BOB, CAROL):
            pins.meet(each.person.name, each.identity)
        self.assertTrue(pins.is_blocked("carol", CAROL.identity))

    def test_round_trip(self) -> None:
        """Pins, verifications, undecided changes and used prekeys survive a restart."""
        pins = Pins()
        for each in (ALICE, BOB, CAROL):
            pins.meet(each.person.name, each.identity)
        pins.verify("bob", BOB.identity)
        pins.use("bob", BOB.device, BOB.prekey())
        pins.meet("carol", BOB.identity)
        again = read_pins(pins.packed)
        self.assertEqual(again.packed, pins.packed)
        self.assertEqual({name: again.pin(name) for name in again}, {name: pins.pin(name) for name in pins})
        self.assertIs(again.standing("bob", BOB.identity), Standing.VERIFIED)
        self.assertTrue(again.is_blocked("carol", CAROL.identity))


class RingTests(SynchronousTestCase):
    """Our own prekeys."""

    def setUp(self) -> None:
        """Begin with an empty ring."""
        self.ring = PrekeyRing(ALICE.person.device)

    def test_rotation(self) -> None:
        """There is a new one every 24 hours, and when the clock went back."""
        self.assertIsNone(self.ring.newest)
        first = self.ring.rotate(NOW)
        self.assertIs(self.ring.newest, first)
        self.assertIsNone(self.ring.rotate(NOW + ROTATE_MS - 1))
        self.assertIsNotNone(self.ring.rotate(NOW + ROTATE_MS))
        self.assertIsNotNone(self.ring.rotate(NOW))
        self.assertEqual(len(self.ring), 3)

    def test_suite(self) -> None:
        """It is of the best suite that there is."""
        record = self.ring.rotate(NOW)
        assert record is not None
        self.assertIs(record.suite, best_suite())

    def test_deletion(self) -> None:
        """A private half is kept for two weeks, and then gone."""
        first = self.ring.rotate(NOW, Suite.X25519)
        assert first is not None
        for day in range(1, 14):
            self.ring.rotate(NOW + day * DAY, Suite.X25519)
        self.ring.rotate(NOW + KEEP_MS - 1, Suite.X25519)
        private = self.ring.private(first.prekey_id)
        assert private is not None
        self.ring.rotate(NOW + KEEP_MS, Suite.X25519)
        self.assertIsNone(self.ring.private(first.prekey_id))
        self.assertNotIn(private[1], self.ring.packed)
        self.assertEqual(len(self.ring), 14)

    def test_bounded(self) -> None:
        """A clock that jumps does not fill the memory."""
        for step in range(RING_KEYS + 5):
            self.ring.rotate(NOW - step, Suite.X25519)
        self.assertEqual(len(self.ring), RING_KEYS)

    def test_round_trip(self) -> None:
        """A ring survives a restart, with what is over, until it is rotated."""
        for day in range(3):
            self.ring.rotate(NOW + day * DAY)
        again = read_ring(self.ring.packed, ALICE.person.device)
        self.assertEqual(again.packed, self.ring.packed)
        assert again.newest is not None
        self.assertEqual(again.private(again.newest.prekey_id), self.ring.private(again.newest.prekey_id))
        self.assertIsNone(again.private(b"12345678"))
