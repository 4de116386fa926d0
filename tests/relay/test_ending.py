"""The end of a relay whose disk does not answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.durable import HANG_S, Durable
from securechat.relay.store import Kept


class Disk:
    """A writer and a journal that come to their end when a test says so."""

    def __init__(self) -> None:
        self.emptied: Deferred[None] = Deferred()
        self.stopped = 0

    def start(self) -> Kept:
        """There is nothing."""
        return Kept([], [], [], [])

    def tidy(self, *_: object) -> None:
        """There is nothing to delete."""

    def finish(self) -> Deferred[None]:
        """Fires when the test says so."""
        return self.emptied

    def stop(self) -> Deferred[None]:
        """The store is closed."""
        self.stopped += 1
        return succeed(None)


class EndingTests(SynchronousTestCase):
    """SIGTERM."""

    def setUp(self) -> None:
        """A relay that runs."""
        self.clock, self.disk = Clock(), Disk()
        self.gave_up = 0
        relay: Any = Service()
        relay.factory = SimpleNamespace(rooms=SimpleNamespace(done_with=dict), wall=SimpleNamespace(now_ms=int))
        disk: Any = self.disk
        self.durable = Durable(self.clock, disk, disk, relay, lambda _: None, self.give_up)
        self.durable.startService()

    def give_up(self) -> None:
        """Count."""
        self.gave_up += 1

    def stop(self) -> list[object]:
        """Stop it; what comes when that is done."""
        ended: list[object] = []
        stopping: Any = self.durable.stopService()
        stopping.addCallback(ended.append)
        return ended

    def test_in_order(self) -> None:
        """When everything is kept the store is closed, and nothing is left to wait for."""
        ended = self.stop()
        self.clock.advance(HANG_S / 2)
        self.assertEqual([], ended)
        self.disk.emptied.callback(None)
        self.assertEqual(([None], 1, 0, []), (ended, self.disk.stopped, self.gave_up, self.clock.getDelayedCalls()))

    def test_hangs(self) -> None:
        """A disk that does not answer keeps it for three seconds; then it gives up, and leaves the store."""
        ended = self.stop()
        self.clock.advance(HANG_S)
        self.assertEqual(([None], 0, 1), (ended, self.disk.stopped, self.gave_up))
