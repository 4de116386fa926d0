"""The time by which things expire, whatever is done to the clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.durable import TIDY_S, Durable
from securechat.relay.limits import RelayLimits
from securechat.relay.wall import DOUBT_S, STEP_MS, Wall
from securechat.wire.messages import LAST_SEQ, Enter, Hand, SealedKey
from tests.relay.harness import RelayCase, of
from tests.relay.people import NOW_MS
from tests.relay.test_ending import Disk

HOUR_S: Final = 3600.0


class SteppedCase(SynchronousTestCase):
    """A clock that can be set."""

    def setUp(self) -> None:
        """Two clocks that go alike."""
        self.clock = Clock()
        self.step_ms = 0
        self.wall = Wall(self.clock, self.real_ms)

    def real_ms(self) -> int:
        """What the wall clock says."""
        return NOW_MS + self.step_ms + round(self.clock.seconds() * 1_000)


class WallTests(SteppedCase):
    """Steps of a clock."""

    def after(self, seconds: float) -> int:
        """What is believed later, in milliseconds since the beginning."""
        self.clock.advance(seconds)
        return self.wall.now_ms() - NOW_MS

    def test_no_step(self) -> None:
        """A clock that goes on is believed, one that is set a little, too."""
        self.assertEqual(3_600_000, self.after(HOUR_S))
        self.step_ms = STEP_MS
        self.assertEqual(2 * 3_600_000 + STEP_MS, self.after(HOUR_S))

    def test_forward(self) -> None:
        """A clock that is set far forward is believed when a day has gone by; until then time goes on as before."""
        self.step_ms = 10 * 365 * 24 * 3_600_000
        for hours in range(1, 25):
            self.assertEqual(hours * 3_600_000, self.after(HOUR_S))
        self.assertEqual(self.step_ms + 25 * 3_600_000, self.after(HOUR_S))
        self.assertEqual(self.step_ms + 26 * 3_600_000, self.after(HOUR_S))

    def test_forward_and_back(self) -> None:
        """One that is set right again is believed at once, and the next step is doubted for a whole day again."""
        self.step_ms = STEP_MS + 1
        self.assertEqual(23 * 3_600_000, self.after(HOUR_S) + 22 * 3_600_000)
        self.clock.advance(22 * HOUR_S)
        self.step_ms = 0
        self.assertEqual(23 * 3_600_000, self.after(0))
        self.step_ms = 5 * STEP_MS
        self.assertEqual(23 * 3_600_000, self.after(0))
        self.assertEqual(46 * 3_600_000, self.after(23 * HOUR_S))
        self.assertEqual(47 * 3_600_000 + 5 * STEP_MS, self.after(DOUBT_S - 23 * HOUR_S))

    def test_back(self) -> None:
        """A clock that is set back is believed at once."""
        self.step_ms = -5 * STEP_MS
        self.assertEqual(3_600_000 - 5 * STEP_MS, self.after(HOUR_S))


class TidyDisk(Disk):
    """It remembers by which time it was told to delete what is too old."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []

    def tidy(self, *arguments: Any) -> None:
        """Take the time."""
        self.told.append(arguments[0] - NOW_MS)


class TidyingTests(SteppedCase):
    """What is deleted from a store."""

    def test_deleted_by_it(self) -> None:
        """A day long nothing is deleted from the store by a clock that was set ten years forward."""
        disk: Any = TidyDisk()
        relay: Any = Service()
        relay.factory = SimpleNamespace(rooms=SimpleNamespace(done_with=dict), wall=self.wall)
        durable = Durable(self.clock, disk, disk, relay, lambda _: None, lambda: None)
        durable.startService()
        self.step_ms = 10 * 365 * 24 * 3_600_000
        self.clock.pump([TIDY_S] * 24)
        self.assertEqual([hours * 3_600_000 for hours in range(25)], disk.told)
        self.clock.advance(TIDY_S)
        self.assertEqual(self.step_ms + 25 * 3_600_000, disk.told[-1])


class WaitingTests(RelayCase):
    """What waits at a relay whose clock is set."""

    def test_keys_wait_on(self) -> None:
        """Sealed keys do not expire when the clock is set forward by more than they would wait."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        bob.transport.lose()
        alice.does(Hand("#tea", [(bob.me.device.public, b"key")]))
        relay.skip(2 * int(RelayLimits().waiting_s * 1_000))
        alice.does(Hand("#tea", [(bob.me.device.public, b"another")]))
        self.assertEqual(2, len(relay.factory.rooms.memberships.hands.waiting))
        (back,) = relay.connections[-1:]
        self.assertEqual([], of(SealedKey, back.does(Enter("#tea", 0, LAST_SEQ))))
