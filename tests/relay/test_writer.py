"""The store's thread, and how the relay's service begins and ends with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.crypto.cpu import CpuEngine
from securechat.relay.errors import NoRoomError, RelayError, StoreError
from securechat.relay.records import Record
from securechat.relay.space import LOOK_S, RESERVE_BYTES, Space, free_bytes
from securechat.relay.spare import Spare
from securechat.relay.sqlite_store import SqliteStore
from securechat.relay.store import HOUR_MS, KEEP_HOURS, NOBODY, TIDY_ROWS, Store
from securechat.relay.writer import EndedError, Writer
from tests.relay.keeping import KEY, store_path
from tests.relay.people import NOW_MS
from tests.relay.store_contract import founded, message

REACTOR: Any = reactor


class WatchedStore(SqliteStore):
    """A store that remembers who used it, and fails when it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), KEY, CpuEngine())
        self.users: set[object] = {current_thread()}
        self.commits = 0
        self.fails: Exception | None = None
        self.fails_tidying: Exception | None = None
        self.tidied = 0
        self.closed = False

    def commit(self, records: Any) -> int:
        """Keep records, or fail."""
        self.users.add(current_thread())
        self.commits += 1
        if self.fails is not None:
            raise self.fails
        return super().commit(records)

    def tidy(self, now_ms: int, seen: Mapping[str, int] = NOBODY) -> bool:
        """Delete some messages."""
        self.tidied += 1
        if self.fails_tidying is not None:
            raise self.fails_tidying
        return super().tidy(now_ms, seen)

    def close(self) -> None:
        """Close it."""
        self.closed = True
        super().close()


class WriterTests(TestCase):
    """A writer with a store that is watched."""

    timeout = 60

    def setUp(self) -> None:
        """Start it."""
        self.path = store_path(self)
        self.failures: list[str] = []
        self.stores: list[WatchedStore] = []
        self.writer = self.started()

    def started(self) -> Writer:
        """A writer whose store has been read."""
        writer = Writer(REACTOR, self.open, self.failures.append)
        self.kept = writer.start()
        self.addCleanup(writer.stop)
        return writer

    def open(self) -> WatchedStore:
        """Open the store."""
        self.stores.append(WatchedStore(self.path))
        return self.stores[-1]

    def write(self, records: list[Record]) -> Deferred[None]:
        """Fires when a batch is kept."""
        kept: Deferred[None] = Deferred()

        def back() -> None:
            self.assertIs(main_thread(), current_thread())
            kept.callback(None)

        self.writer.write(records, back)
        return kept

    async def test_one_thread(self) -> None:
        """The store is opened and used by one thread, which is not the reactor's; the answer comes there."""
        await self.write(founded("#tea"))
        await self.write([message("#tea", 1)])
        (user,) = self.stores[0].users
        self.assertIsNot(main_thread(), user)

    async def test_counted(self) -> None:
        """Batches count when they are kept, with the rows that were sealed for them, and how long that took."""
        works = self.stores[0]._engine.seal_list

        def slowly(key: bytes, bound: Sequence[bytes], texts: Sequence[bytes]) -> list[bytes]:
            time.sleep(0.02)
            return works(key, bound, texts)

        self.patch(self.stores[0]._engine, "seal_list", slowly)
        self.assertEqual((0, 0, 0.0), (self.writer.batches, self.writer.items, self.writer.sealing_s))
        await self.write(founded("#tea"))
        await self.write([message("#tea", 1)])
        self.assertEqual((2, 4), (self.writer.batches, self.writer.items))
        self.assertGreaterEqual(self.writer.sealing_s, 0.04)

    async def test_stop(self) -> None:
        """What was asked for before the end is done, and then the store is closed and can be opened again."""
        kept = self.write(founded("#tea"))
        await self.writer.stop()
        self.assertTrue(kept.called)
        self.assertTrue(self.stores[0].closed)
        self.started()
        self.assertEqual(["#tea"], [room.name for room in self.kept.rooms])

    async def test_stop_twice(self) -> None:
        """One that was never started, or is stopped, has nothing to stop."""
        await Writer(REACTOR, self.open, self.failures.append).stop()
        await self.writer.stop()
        await self.writer.stop()

    async def test_failure(self) -> None:
        """After a failure nothing is written or answered any more, and it is told once, without what was in it."""
        self.stores[0].fails = OSError("unmistakable")
        kept = [self.write(founded("#tea")), self.write(founded("#cake"))]
        self.writer.tidy(NOW_MS)
        await self.writer.stop()
        self.assertEqual([False, False], [each.called for each in kept])
        self.assertEqual((1, 0, False), (self.stores[0].commits, self.stores[0].tidied, self.stores[0].closed))
        (words,) = self.failures
        self.assertIn("OSError", words)
        self.assertNotIn("unmistakable", words)
        self.started()
        self.assertEqual([], self.kept.rooms)

    def fill(self, store: WatchedStore) -> None:
        """From now on the store has no room for another page."""
        ((pages,),) = store._all("PRAGMA page_count")
        store._all(f"PRAGMA max_page_count={pages}")

    async def full(self, make_room: Callable[[], bool]) -> list[Record]:
        """A writer that can make room somehow, or not, and whose store is full; a batch that does not fit."""
        await self.writer.stop()
        self.writer = Writer(REACTOR, self.open, self.failures.append, make_room)
        self.writer.start()
        self.addCleanup(self.writer.stop)
        await self.write(founded("#tea"))
        filled: Deferred[None] = Deferred()

        def fill(store: Store) -> None:
            self.fill(self.stores[-1])
            REACTOR.callFromThread(filled.callback, None)

        self.writer._put(0, fill)
        await filled
        return [message("#tea", seq) for seq in range(1, 201)]

    async def test_room_is_made(self) -> None:
        """A batch that finds no room is kept in the room that is made for it, once."""

        def make_room() -> bool:
            self.stores[-1]._all("PRAGMA max_page_count=1000000")
            return True

        batch = await self.full(make_room)
        await self.write(batch)
        await self.write([message("#tea", 201)])
        await self.writer.stop()
        self.assertEqual([], self.failures)
        self.started()
        self.assertEqual([201], [len(room.ids) for room in self.kept.rooms])

    async def test_no_room_can_be_made(self) -> None:
        """Where no room can be made nothing is answered any more."""
        await self.assert_ends(lambda: False, 2)

    async def test_too_little_room_is_made(self) -> None:
        """Where too little room was made nothing is answered any more, and nothing is tried a third time."""
        await self.assert_ends(lambda: True, 3)

    async def assert_ends(self, make_room: Callable[[], bool], commits: int) -> None:
        """A batch is tried, of so many in all, and not kept."""
        kept = self.write(await self.full(make_room))
        await self.writer.stop()
        self.assertFalse(kept.called)
        self.assertEqual(commits, self.stores[-1].commits)
        (words,) = self.failures
        self.assertIn("SQLITE_FULL", words)

    async def test_broken_is_not_full(self) -> None:
        """No room is made for a disk that fails, and nothing is tried again."""
        made: list[bool] = []

        def make_room() -> bool:
            made.append(True)
            return True

        batch = await self.full(make_room)
        self.stores[-1].fails = StoreError("SQLITE_IOERR_FSYNC")
        self.write(batch)
        await self.writer.stop()
        self.assertEqual(([], 2), (made, self.stores[-1].commits))
        self.assertIn("SQLITE_IOERR_FSYNC", self.failures.pop())

    async def test_no_room_to_tidy(self) -> None:
        """What is old stays where there is no room for deleting it, and the store goes on."""
        await self.full(lambda: False)
        store = self.stores[-1]
        store.fails_tidying = NoRoomError("SQLITE_FULL")
        self.writer.tidy(NOW_MS)
        await self.writer.use(lambda _: None)
        self.assertEqual(1, store.tidied)
        store.fails_tidying = StoreError()
        self.writer.tidy(NOW_MS)
        await self.writer.stop()
        self.assertEqual(1, len(self.failures))

    async def test_tidy_between_batches(self) -> None:
        """What is old goes some at a time, and a batch that comes meanwhile does not wait for all of it."""
        await self.write([*founded("#tea"), *(message("#tea", seq) for seq in range(1, 3 * TIDY_ROWS + 1))])
        self.writer.tidy(NOW_MS + (KEEP_HOURS + 1) * HOUR_MS)
        await self.write([message("#tea", 3 * TIDY_ROWS + 1)])
        self.assertLessEqual(self.stores[0].tidied, 2)
        while self.stores[0].tidied < 4:
            await deferLater(REACTOR, 0.01)
        self.assertEqual([], self.failures)

    async def test_use(self) -> None:
        """The store is read on its thread between batches; what goes wrong with that is no failure of the store."""
        await self.write(founded("#tea"))
        self.assertEqual(
            ["#tea"], [room.name for room in (await self.writer.use(lambda store: store.load())).rooms]
        )

        def wrong(store: Store) -> None:
            raise KeyError

        with self.assertRaises(KeyError):
            await self.writer.use(wrong)
        await self.write([message("#tea", 1)])
        self.assertEqual([], self.failures)

    async def test_copy(self) -> None:
        """A copy has all that was kept before it began, and batches that come meanwhile are kept at once."""
        await self.write([*founded("#tea"), *(message("#tea", seq, bytes(2_000)) for seq in range(1, 1_001))])
        path = self.path.with_name("copy")
        told: list[tuple[int, int]] = []
        answered: list[bool] = []
        copying = Deferred[None]()

        def tell(done: int, total: int) -> None:
            told.append((done, total))
            if len(told) <= 3:
                kept = self.write([message("#tea", 1_000 + len(told))])
                kept.addCallback(lambda _: answered.append(copying.called))

        self.writer.copy(path, tell, lambda: True).chainDeferred(copying)
        await copying
        while len(answered) < 3:
            await deferLater(REACTOR, 0.01)
        self.assertEqual(False, answered[0])
        self.assertEqual(told[-1][0], told[-1][1])
        self.assertEqual(sorted(told), told)
        store = SqliteStore(str(path), KEY, CpuEngine())
        self.addCleanup(store.close)
        count, _ = store.usage("#tea")
        self.assertGreaterEqual(count, 1_000)
        self.assertEqual([("ok",)], store._all("PRAGMA integrity_check"))

    async def test_copy_that_nobody_wants(self) -> None:
        """A copy ends when nobody waits for it, and the store goes on."""
        await self.write([*founded("#tea"), *(message("#tea", seq, bytes(2_000)) for seq in range(1, 1_001))])
        told: list[int] = []
        with self.assertRaises(EndedError):
            await self.writer.copy(self.path.with_name("copy"), lambda done, _: told.append(done), lambda: False)
        self.assertEqual(1, len(told))
        await self.write([message("#tea", 1_001)])

    async def test_stop_while_copying(self) -> None:
        """The end does not wait for a copy; what was asked for before it is done."""
        await self.write([*founded("#tea"), *(message("#tea", seq, bytes(2_000)) for seq in range(1, 1_001))])
        wanted = Event()

        def is_wanted() -> bool:
            # Until the rest has been asked for.
            return wanted.wait(20)

        copied = self.writer.copy(self.path.with_name("copy"), lambda *_: None, is_wanted)
        kept = self.write([message("#tea", 1_001)])
        stopped = self.writer.stop()
        wanted.set()
        await stopped
        self.assertTrue(kept.called)
        self.failureResultOf(copied, EndedError)
        self.assertTrue(self.stores[0].closed)

    async def test_failure_while_copying(self) -> None:
        """A batch that cannot be kept while the store is copied ends the copy and is told, as always."""
        await self.write([*founded("#tea"), *(message("#tea", seq, bytes(2_000)) for seq in range(1, 1_001))])
        self.stores[0].fails = OSError()
        began, wanted = Event(), Event()

        def is_wanted() -> bool:
            began.set()
            return wanted.wait(20)

        copied = self.writer.copy(self.path.with_name("copy"), lambda *_: None, is_wanted)
        # A batch that comes before the copy has begun goes before it.
        self.assertTrue(began.wait(20))
        kept = self.write([message("#tea", 1_001)])
        wanted.set()
        with self.assertRaises(EndedError):
            await copied
        self.assertFalse(kept.called)
        self.assertEqual(1, len(self.failures))

    async def test_cannot_be_opened(self) -> None:
        """What keeps the store from being opened is raised where it was to start, and there is no thread left."""
        await self.writer.stop()

        def refuse() -> Store:
            raise RelayError("no")

        self.assertRaises(RelayError, Writer(REACTOR, refuse, self.failures.append).start)
        self.assertEqual([], self.failures)


class SpaceTests(SynchronousTestCase):
    """Whether there is room."""

    def setUp(self) -> None:
        """A store of 1,000 bytes, a log of 500 and a spare file beside it, and much that is free."""
        self.path = store_path(self)
        self.clock = Clock()
        self.free = RESERVE_BYTES
        self.path.write_bytes(bytes(1_000))
        self.path.with_name("relay.db-wal").write_bytes(bytes(500))
        self.spare = Spare(self.path.with_name("relay.db.spare"), 2_000)
        self.spare.make()

    def space(self, limit: int, free: Callable[[Path], int] | None = None) -> Space:
        """Room for so many bytes."""
        return Space(self.clock, self.path, limit, self.spare, free=free or (lambda directory: self.free))

    def test_limit(self) -> None:
        """Store and log count together."""
        self.assertEqual([False, True], [self.space(limit).is_full() for limit in (1_501, 1_500)])

    def test_reserve(self) -> None:
        """A disk that has less than the reserve is full."""
        self.free = RESERVE_BYTES - 1
        self.assertTrue(self.space(10_000).is_full())

    def test_once_a_second(self) -> None:
        """It is looked at once a second at most, so that what is asked for each message costs nothing."""
        space = self.space(10_000)
        self.assertFalse(space.is_full())
        self.free = 0
        self.clock.advance(LOOK_S / 2)
        self.assertFalse(space.is_full())
        self.clock.advance(LOOK_S / 2)
        self.assertTrue(space.is_full())
        self.free = RESERVE_BYTES
        self.clock.advance(LOOK_S)
        self.assertFalse(space.is_full())

    def test_another_reserve(self) -> None:
        """The operator says how much stays free."""
        self.free = 3_000
        space = [
            Space(self.clock, self.path, 10_000, self.spare, reserve, lambda _: self.free)
            for reserve in (3_000, 3_001)
        ]
        self.assertEqual([False, True], [each.is_full() for each in space])

    def test_spare(self) -> None:
        """Once the spare file was given up it is full at once, until there is room for another one."""
        space = Space(self.clock, self.path, 10_000, self.spare, 0, lambda _: self.free)
        self.assertFalse(space.is_full())
        self.spare.give_up()
        self.assertTrue(space.is_full())
        self.free = self.spare.size - 1
        self.clock.advance(LOOK_S)
        self.assertEqual((True, False), (space.is_full(), self.spare.is_there))
        self.free = self.spare.size
        self.assertTrue(space.is_full())
        self.clock.advance(LOOK_S)
        self.assertEqual((False, True), (space.is_full(), self.spare.is_there))

    def test_told(self) -> None:
        """The operator is told once that there is no room, and once that there is some again."""
        space = self.space(10_000)
        with capturedLogs() as logged:
            for free in (RESERVE_BYTES, 0, 0, RESERVE_BYTES, RESERVE_BYTES):
                self.free = free
                self.clock.advance(LOOK_S)
                space.is_full()
        told = [event["log_format"] for event in logged]
        self.assertEqual(2, len(told))
        self.assertIn("no room", told[0])
        self.assertIn("room again", told[1])

    def test_real_disk(self) -> None:
        """What is free on a real disk is some number of bytes; a store that is not there yet is small."""
        self.assertGreater(free_bytes(self.path.parent), 0)
        self.path.unlink()
        self.assertFalse(self.space(501).is_full())
