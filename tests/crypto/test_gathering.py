"""Batches for an engine that wants many items at once."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.crypto.fakes import Rig, WatchedEngine

KEY = bytes(range(64))


class PreferringEngine(WatchedEngine):
    """An engine that wants so many items in a batch."""

    preferred_items = 1_000


class PreferredItemsTests(SynchronousTestCase):
    """A worker whose batches hold two items, on an engine that wants a thousand."""

    def setUp(self) -> None:
        """Make the worker."""
        self.engine = PreferringEngine()
        self.rig = Rig.new(engine=self.engine, max_batch_items=2)

    def sizes(self, *counts: int, size: int = 4) -> list[int]:
        """Ask for so many items each, 0 meaning a request for a single one; give the batches that come of it."""
        text = bytes(size)
        for count in counts:
            done: Deferred[Any] = (
                self.rig.worker.seal_many([(KEY, b"", text)] * count)
                if count
                else self.rig.worker.seal(KEY, b"", text)
            )
            done.addCallback(lambda _: None)
        self.rig.all_batches()
        self.assertEqual(self.rig.worker.stats.held_items, 0)
        return [count for _, count in self.engine.asked]

    def test_many(self) -> None:
        """A request for many items is one batch, up to what the engine wants."""
        self.assertEqual(self.sizes(2_500), [1_000, 1_000, 500])

    def test_singles(self) -> None:
        """Of single requests, each of which is answered by itself, no more are taken than ever."""
        self.assertEqual(self.sizes(0, 0, 0, 0, 0), [1, 2, 2])

    def test_requests_are_counted(self) -> None:
        """It is requests that stay few: a single one and one for many may share a batch, a third may not."""
        self.assertEqual(self.sizes(0, 0, 300, 0), [1, 301, 1])

    def test_bytes(self) -> None:
        """Such a batch may have a KiB for each item that is wanted, and not more."""
        self.rig = Rig.new(engine=self.engine, max_batch_items=2, max_batch_bytes=1)
        self.assertEqual(self.sizes(250, size=10_240), [100, 100, 50])

    def test_asked_for_each_batch(self) -> None:
        """What the engine wants is asked for each batch anew."""
        self.engine.preferred_items = 0
        self.assertEqual(self.sizes(4), [2, 2])
        self.engine.preferred_items = 3
        self.assertEqual(self.sizes(4), [2, 2, 3, 1])

    def test_less_than_the_bound(self) -> None:
        """An engine that wants fewer than the worker's own bound does not make batches smaller."""
        self.engine.preferred_items = 1
        self.assertEqual(self.sizes(4), [2, 2])
