"""The worker: gathering, order, bounds, stopping and failing, with a thread moved by hand and with a real one."""

import threading
import traceback
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.crypto import aead
from securechat.crypto.aead import OpenError
from securechat.crypto.auto import AutoEngine
from securechat.crypto.engines import choose, survey
from securechat.crypto.gathering import Item
from securechat.crypto.lane import ThreadLane
from securechat.crypto.worker import BacklogFull, CryptoWorker, WorkerStopped
from tests.crypto import vectors
from tests.crypto.fakes import HandReactor, Rig, WatchedEngine

KEY = bytes(range(64))
OTHER_KEY = bytes(range(64, 128))


class GatheringTests(SynchronousTestCase):
    """What becomes one batch."""

    def test_idle_starts_at_once(self) -> None:
        """A request to an idle worker is in the thread's hands before the call returns, alone."""
        rig = Rig.new()
        done = rig.worker.seal(KEY, b"a", b"text")
        self.assertEqual(len(rig.lane.jobs), 1)
        self.assertNoResult(done)
        rig.one_batch()
        self.assertEqual(aead.open(KEY, b"a", self.successResultOf(done)), b"text")
        self.assertEqual(rig.engine.asked, [("seal", 1)])

    def test_busy_gathers_one_batch(self) -> None:
        """All that is asked for while the thread is busy is the next batch: one hop in, one call back."""
        rig = Rig.new()
        first = rig.worker.seal(KEY, b"", b"0")
        later = [rig.worker.seal(KEY, b"", b"%d" % i) for i in range(1, 100)]
        self.assertEqual(rig.lane.submitted, 1)
        rig.one_batch()
        self.successResultOf(first)
        self.assertEqual(rig.lane.submitted, 2)
        rig.one_batch()
        texts = [aead.open(KEY, b"", self.successResultOf(done)) for done in later]
        self.assertEqual(texts, [b"%d" % i for i in range(1, 100)])
        self.assertEqual((rig.lane.submitted, rig.reactor.came_back), (2, 2))
        self.assertEqual(rig.engine.asked, [("seal", 1), ("seal", 99)])
        self.assertEqual(rig.lane.jobs, [])

    def test_next_batch_before_results(self) -> None:
        """The next batch is with the thread already when the first result is given out."""
        rig = Rig.new()
        seen: list[int] = []
        rig.worker.seal(KEY, b"", b"0").addCallback(lambda _: seen.append(len(rig.lane.jobs)))
        rig.worker.seal(KEY, b"", b"1")
        rig.one_batch()
        self.assertEqual(seen, [1])
        rig.all_batches()

    def test_seals_and_opens_mixed(self) -> None:
        """Seals and opens under different keys share a batch and fire in the order of the requests."""
        rig = Rig.new()
        order: list[str] = []

        def ask(name: str, done: "Deferred[Any]") -> "Deferred[Any]":
            def answered(result: object) -> object:
                order.append(name)
                return result

            done.addBoth(answered)
            return done

        ask("busy", rig.worker.seal(KEY, b"", b""))
        sealed = aead.seal(OTHER_KEY, b"a", b"one")
        one = ask("open", rig.worker.open(OTHER_KEY, b"a", sealed))
        two = ask("seal", rig.worker.seal(KEY, b"b", b"two"))
        bad = ask("bad", rig.worker.open(KEY, b"a", sealed))
        many = ask("open many", rig.worker.open_many([(OTHER_KEY, b"a", sealed), (KEY, b"a", sealed)]))
        none = ask("nothing", rig.worker.seal_many([]))
        more = ask("seal many", rig.worker.seal_many([(KEY, b"", b"x"), (OTHER_KEY, b"", b"y")]))
        rig.all_batches()
        self.assertEqual(self.successResultOf(one), b"one")
        self.assertEqual(aead.open(KEY, b"b", self.successResultOf(two)), b"two")
        self.failureResultOf(bad, OpenError)
        self.assertEqual(self.successResultOf(many), [b"one", None])
        self.assertEqual(self.successResultOf(none), [])
        x, y = self.successResultOf(more)
        self.assertEqual((aead.open(KEY, b"", x), aead.open(OTHER_KEY, b"", y)), (b"x", b"y"))
        self.assertEqual(order, ["busy", "open", "seal", "bad", "open many", "nothing", "seal many"])
        self.assertEqual((rig.lane.submitted, rig.reactor.came_back), (2, 2))

    def test_one_key_object_is_one_key(self) -> None:
        """The engine gets one key where all items share an object, and a list where they do not."""
        rig = Rig.new()
        rig.worker.seal(KEY, b"", b"")
        rig.worker.seal_many([(KEY, b"", b"x")] * 5)
        rig.one_batch()
        rig.worker.seal_many([(KEY, b"", b"x"), (OTHER_KEY, b"", b"y")])
        rig.all_batches()
        self.assertEqual(rig.engine.keys, [KEY, KEY, [KEY, OTHER_KEY]])

    def test_batch_of_at_most_so_many_items(self) -> None:
        """A batch ends at its largest number of items, and a long request goes on in the next."""
        rig = Rig.new(max_batch_items=4)
        many = rig.worker.seal_many([(KEY, b"", b"%d" % i) for i in range(10)])
        single = rig.worker.seal(KEY, b"", b"10")
        rig.one_batch()
        rig.one_batch()
        self.assertNoResult(many)
        rig.one_batch()
        texts = [aead.open(KEY, b"", sealed) for sealed in self.successResultOf(many)]
        self.assertEqual(texts, [b"%d" % i for i in range(10)])
        self.assertEqual(aead.open(KEY, b"", self.successResultOf(single)), b"10")
        self.assertEqual(rig.engine.asked, [("seal", 4), ("seal", 4), ("seal", 3)])
        self.assertEqual(rig.worker.stats.held_items, 0)

    def test_batch_of_at_most_so_many_bytes(self) -> None:
        """A batch ends at its largest number of bytes; an item beyond that goes alone."""
        rig = Rig.new(max_batch_bytes=100)
        sizes = [10, 60, 40, 1, 500, 30, 70, 1]
        many = rig.worker.seal_many([(KEY, b"", bytes(size)) for size in sizes])
        rig.all_batches()
        lengths = [len(aead.open(KEY, b"", sealed)) for sealed in self.successResultOf(many)]
        self.assertEqual(lengths, sizes)
        self.assertEqual([count for _, count in rig.engine.asked], [2, 2, 1, 2, 1])

    def test_waits_for_the_start(self) -> None:
        """Requests made before the start run when it comes."""
        rig = Rig.new(start=False)
        done = [rig.worker.seal(KEY, b"", b"text") for _ in range(3)]
        self.assertEqual(rig.lane.jobs, [])
        rig.worker.startService()
        rig.all_batches()
        for each in done:
            self.successResultOf(each)
        self.assertEqual(rig.engine.asked, [("seal", 3)])

    def test_asking_from_a_callback(self) -> None:
        """A callback may ask for more; that comes after all that was asked before."""
        rig = Rig.new()
        order: list[str] = []
        rig.worker.seal(KEY, b"", b"").addCallback(
            lambda _: rig.worker.seal(KEY, b"", b"").addCallback(lambda _: order.append("from callback"))
        )
        rig.worker.seal(KEY, b"", b"").addCallback(lambda _: order.append("before"))
        rig.all_batches()
        self.assertEqual(order, ["before", "from callback"])


class BoundsTests(SynchronousTestCase):
    """How much may wait."""

    def test_items(self) -> None:
        """Beyond so many items a request fails at once, and there is room again once some are done."""
        rig = Rig.new(max_items=3)
        done = [rig.worker.seal(KEY, b"", b"12345") for _ in range(3)]
        failure = self.failureResultOf(rig.worker.seal(KEY, b"", b""), BacklogFull)
        self.assertEqual((failure.value.held_items, failure.value.held_bytes), (3, 15))
        self.assertIn("3 items of 15 bytes", str(failure.value))
        rig.one_batch()
        self.successResultOf(done[0])
        done.append(rig.worker.seal(KEY, b"", b""))
        self.failureResultOf(rig.worker.seal(KEY, b"", b""), BacklogFull)
        rig.all_batches()
        for each in done[1:]:
            self.successResultOf(each)
        self.assertEqual(rig.worker.stats.items, 4)

    def test_bytes(self) -> None:
        """So it is beyond so many bytes, associated data included."""
        rig = Rig.new(max_bytes=100)
        rig.worker.seal(KEY, bytes(20), bytes(30))
        self.failureResultOf(rig.worker.open(KEY, bytes(1), bytes(50)), BacklogFull)
        rig.worker.seal(KEY, bytes(25), bytes(25))
        self.failureResultOf(rig.worker.seal(KEY, b"", b"x"), BacklogFull)
        rig.all_batches()
        self.assertEqual((rig.worker.stats.held_items, rig.worker.stats.held_bytes), (0, 0))

    def test_nothing_is_half_accepted(self) -> None:
        """A request for many that does not fit leaves nothing behind."""
        rig = Rig.new(max_items=5)
        rig.worker.seal_many([(KEY, b"", b"x")] * 3)
        self.failureResultOf(rig.worker.seal_many([(KEY, b"", b"y")] * 3), BacklogFull)
        self.assertEqual(rig.worker.stats.held_items, 3)
        rig.worker.seal_many([(KEY, b"", b"z")] * 2)
        rig.all_batches()
        self.assertEqual(rig.engine.asked, [("seal", 3), ("seal", 2)])

    def test_bounds_are_positive(self) -> None:
        """A bound of nothing is refused."""
        for name in ("max_items", "max_bytes", "max_batch_items", "max_batch_bytes"):
            with self.assertRaises(ValueError):
                CryptoWorker(WatchedEngine(), HandReactor(), **{name: 0})  # type: ignore[arg-type]

    def test_wrong_arguments(self) -> None:
        """Wrong arguments fail the request's own Deferred, by name, and nothing else."""
        rig = Rig.new()
        text: Any = "text"
        good = rig.worker.seal(KEY, b"", b"text")
        failures = [
            self.failureResultOf(rig.worker.seal(bytes(32), b"", b""), ValueError),
            self.failureResultOf(rig.worker.seal(text, b"", b""), TypeError),
            self.failureResultOf(rig.worker.seal(KEY, text, b""), TypeError),
            self.failureResultOf(rig.worker.seal(KEY, b"", text), TypeError),
            self.failureResultOf(rig.worker.open(KEY, b"", text), TypeError),
        ]
        names = [str(failure.value).partition(":")[0] for failure in failures]
        self.assertEqual(names, ["key", "key", "associated", "plaintext", "sealed"])
        wrong: list[Any] = [(KEY, b"", b""), (KEY, b"")]
        self.failureResultOf(rig.worker.seal_many(wrong), ValueError)
        rig.all_batches()
        self.successResultOf(good)
        self.assertEqual(rig.worker.stats.items, 1)

    def test_takes_views(self) -> None:
        """Bytearrays and memoryviews are taken as they are at the time of the request."""
        rig = Rig.new()
        key, text = bytearray(KEY), bytearray(b"text")
        views: Any = (key, memoryview(b"a"), text)
        done = rig.worker.seal(*views)
        key[0] ^= 1
        text[:] = b"xxxx"
        rig.all_batches()
        self.assertEqual(aead.open(KEY, b"a", self.successResultOf(done)), b"text")


class StoppingTests(SynchronousTestCase):
    """How it ends."""

    def test_delivers_everything_first(self) -> None:
        """Stopping takes no more, delivers all that waits, closes the engine, ends the thread, then fires."""
        rig = Rig.new(max_batch_items=2)
        done = [rig.worker.seal(KEY, b"", b"text") for _ in range(5)]
        stopped = rig.worker.stopService()
        self.failureResultOf(rig.worker.seal(KEY, b"", b""), WorkerStopped)
        for _ in range(3):
            rig.one_batch()
        for each in done:
            self.successResultOf(each)
        self.assertNoResult(stopped)
        self.assertTrue(rig.lane.running)
        rig.one_batch()
        self.assertIs(self.successResultOf(stopped), None)
        self.assertEqual((rig.engine.closed, rig.lane.running, rig.lane.jobs), (1, False, []))
        failure = self.failureResultOf(rig.worker.open(KEY, b"", b""), WorkerStopped)
        self.assertEqual(str(failure.value), "the crypto worker has stopped")

    def test_idle(self) -> None:
        """Stopping an idle worker closes the engine in the thread and ends it."""
        rig = Rig.new()
        stopped = rig.worker.stopService()
        self.assertEqual(rig.engine.closed, 0)
        rig.all_batches()
        self.successResultOf(stopped)
        self.assertEqual((rig.engine.closed, rig.lane.running), (1, False))

    def test_twice(self) -> None:
        """Stopping twice, while stopping or after, fires both and closes once."""
        rig = Rig.new()
        rig.worker.seal(KEY, b"", b"")
        stopped = [rig.worker.stopService(), rig.worker.stopService()]
        rig.all_batches()
        for each in [*stopped, rig.worker.stopService()]:
            self.successResultOf(each)
        self.assertEqual(rig.engine.closed, 1)

    def test_never_started(self) -> None:
        """Stopped without a start, it fails what waited, clearly."""
        rig = Rig.new(start=False)
        done = rig.worker.seal(KEY, b"", b"")
        self.successResultOf(rig.worker.stopService())
        self.failureResultOf(done, WorkerStopped)
        self.assertEqual(rig.worker.stats.held_items, 0)

    def test_from_a_callback(self) -> None:
        """A callback may stop it; the requests after its own are delivered all the same."""
        rig = Rig.new()
        rig.worker.seal(KEY, b"", b"")
        stopped: list[Deferred[None]] = []
        rig.worker.seal(KEY, b"", b"").addCallback(lambda _: stopped.append(rig.worker.stopService()))
        later = rig.worker.seal(KEY, b"", b"")
        rig.all_batches()
        self.successResultOf(later)
        self.successResultOf(stopped[0])

    def test_again(self) -> None:
        """A stopped worker can be started again; one that is stopping cannot."""
        rig = Rig.new()
        rig.worker.stopService()
        with self.assertRaises(RuntimeError):
            rig.worker.startService()
        rig.all_batches()
        rig.worker.startService()
        rig.worker.startService()
        done = rig.worker.seal(KEY, b"", b"")
        rig.all_batches()
        self.successResultOf(done)

    def test_engine_fails_to_close(self) -> None:
        """An engine that fails to close is logged, and the stop goes on."""
        rig = Rig.new()
        rig.engine.failure = RuntimeError("secret")
        stopped = rig.worker.stopService()
        with capturedLogs() as events:
            rig.all_batches()
        self.successResultOf(stopped)
        self.assertEqual([event["kind"] for event in events], ["RuntimeError"])


class FailureTests(SynchronousTestCase):
    """What can go wrong."""

    def test_engine_error(self) -> None:
        """An engine's error fails the requests of that batch, is logged once, and the next batch works."""
        for error in (MemoryError("secret text"), SystemExit("secret text")):
            rig = Rig.new()
            rig.engine.failure = error
            first = rig.worker.seal(KEY, b"", b"text")
            rest = [rig.worker.seal(KEY, b"", b"text"), rig.worker.open_many([(KEY, b"", b"")])]
            with capturedLogs() as events:
                rig.one_batch()
                rig.lane.run()
                rig.engine.failure = None
                next_batch = rig.worker.seal(KEY, b"", b"text")
                rig.reactor.turn()
                rig.one_batch()
            for done in [first, *rest]:
                self.assertIs(self.failureResultOf(done).value, error)
            self.successResultOf(next_batch)
            self.assertEqual(len(events), 2)
            for event, items in zip(events, (1, 2), strict=True):
                self.assertEqual((event["kind"], event["items"]), (type(error).__name__, items))
                self.assertIn("fakes.py:", event["place"])
                self.assertNotIn("secret", repr(event))
            stats = rig.worker.stats
            self.assertEqual((stats.batches, stats.failed_batches, stats.held_items), (3, 2, 0))

    def test_engine_error_in_a_long_request(self) -> None:
        """A long request fails with the batch that failed, once, and what was left of it is not done."""
        rig = Rig.new(max_batch_items=2)
        many = rig.worker.seal_many([(KEY, b"", b"x")] * 7)
        after = rig.worker.seal(KEY, b"", b"after")
        rig.one_batch()
        rig.engine.failure = ValueError("no")
        with capturedLogs():
            rig.lane.run()
            rig.engine.failure = None
            rig.reactor.turn()
        self.failureResultOf(many, ValueError)
        rig.all_batches()
        self.successResultOf(after)
        self.assertEqual(rig.engine.asked, [("seal", 2), ("seal", 2), ("seal", 1)])
        self.assertEqual((rig.worker.stats.held_items, rig.worker.stats.held_bytes), (0, 0))

    def test_engine_error_after_cancelling(self) -> None:
        """A long request cancelled while part of it is in a batch that then fails is counted out once."""
        rig = Rig.new(max_batch_items=2)
        many = rig.worker.seal_many([(KEY, b"", b"x")] * 7)
        other = rig.worker.seal(KEY, b"", b"other")
        rig.engine.failure = ValueError("no")
        with capturedLogs():
            rig.lane.run()
            rig.engine.failure = None
            many.cancel()
            rig.reactor.turn()
        self.failureResultOf(many, CancelledError)
        self.assertEqual((rig.worker.stats.held_items, rig.worker.stats.held_bytes), (1, 5))
        rig.all_batches()
        self.successResultOf(other)

    def test_engine_error_holds_no_contents(self) -> None:
        """The error that requests fail with keeps its traceback, but no variables of the engine's frames."""
        rig = Rig.new()
        rig.engine.failure = RuntimeError("no")
        done = rig.worker.seal(KEY, b"", b"secret text")
        with capturedLogs():
            rig.all_batches()
        trace = self.failureResultOf(done).value.__traceback__
        frames = [frame for frame, _ in traceback.walk_tb(trace)]
        self.assertIn("seal_list", [frame.f_code.co_name for frame in frames])
        self.assertEqual([frame.f_locals for frame in frames], [{}] * len(frames))

    def test_wrong_number_of_results(self) -> None:
        """An engine that loses a result fails the batch; no result goes to the wrong request."""
        rig = Rig.new()
        rig.worker.seal(KEY, b"", b"")
        done = [rig.worker.seal(KEY, b"", b"%d" % i) for i in range(3)]
        rig.one_batch()
        rig.engine.drop = 1
        with capturedLogs():
            rig.one_batch()
        for each in done:
            self.failureResultOf(each, RuntimeError)

    def test_callback_that_raises(self) -> None:
        """A callback that raises hurts its own Deferred only."""
        rig = Rig.new()
        rig.worker.seal(KEY, b"", b"")
        bad = rig.worker.seal(KEY, b"", b"").addCallback(lambda _: 1 // 0)
        good = rig.worker.seal(KEY, b"", b"")
        rig.all_batches()
        self.failureResultOf(bad, ZeroDivisionError)
        self.successResultOf(good)
        self.successResultOf(self.later(rig))

    def test_cancelled_while_waiting(self) -> None:
        """A request cancelled while it waits never reaches the engine, and makes room at once."""
        rig = Rig.new(max_items=3)
        first = rig.worker.seal(KEY, b"", b"")
        waiting = rig.worker.seal_many([(KEY, b"", b"x")] * 2)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        after = rig.worker.seal_many([(KEY, b"", b"y")] * 2)
        rig.all_batches()
        self.successResultOf(first)
        self.successResultOf(after)
        self.assertEqual(rig.engine.asked, [("seal", 1), ("seal", 2)])
        self.assertEqual((rig.worker.stats.held_items, rig.worker.stats.held_bytes), (0, 0))

    def test_cancelled_while_worked_on(self) -> None:
        """A request cancelled while it is worked on does not break its batch, nor what waits."""
        rig = Rig.new(max_batch_items=3)
        rig.worker.seal(KEY, b"", b"")
        one = rig.worker.seal(KEY, b"", b"one")
        many = rig.worker.seal_many([(KEY, b"", b"x")] * 4)
        two = rig.worker.seal(KEY, b"", b"two")
        rig.one_batch()
        rig.lane.run()
        many.cancel()
        rig.all_batches()
        self.failureResultOf(many, CancelledError)
        self.assertEqual(aead.open(KEY, b"", self.successResultOf(one)), b"one")
        self.assertEqual(aead.open(KEY, b"", self.successResultOf(two)), b"two")
        self.assertEqual(rig.engine.asked, [("seal", 1), ("seal", 3), ("seal", 1)])
        self.assertEqual((rig.worker.stats.held_items, rig.worker.stats.held_bytes), (0, 0))

    def test_all_cancelled(self) -> None:
        """Where all that waited was cancelled, nothing goes to the thread, and stopping works."""
        rig = Rig.new()
        rig.worker.seal(KEY, b"", b"")
        waiting = [rig.worker.seal(KEY, b"", b"") for _ in range(3)]
        for done in waiting:
            done.cancel()
            self.failureResultOf(done, CancelledError)
        rig.one_batch()
        self.assertEqual(rig.lane.jobs, [])
        stopped = rig.worker.stopService()
        rig.all_batches()
        self.successResultOf(stopped)

    def later(self, rig: Rig) -> "Deferred[bytes]":
        """Ask for one more, to see that all goes on."""
        done = rig.worker.seal(KEY, b"", b"")
        rig.all_batches()
        return done


class StatsTests(SynchronousTestCase):
    """The counters."""

    def test_counts(self) -> None:
        """Batches, items, bytes and sizes are counted as batches come back."""
        rig = Rig.new()
        self.assertEqual((rig.worker.stats.batches, rig.worker.stats.histogram), (0, ()))
        rig.worker.seal(KEY, bytes(5), bytes(10))
        rig.worker.seal_many([(KEY, b"", bytes(2))] * 7)
        before = rig.worker.stats
        self.assertEqual((before.batches, before.held_items, before.held_bytes), (0, 8, 29))
        rig.one_batch()
        rig.worker.open_many([(KEY, b"", bytes(64))] * 3)
        rig.all_batches()
        stats = rig.worker.stats
        self.assertEqual((stats.batches, stats.items, stats.bytes), (3, 11, 29 + 192))
        self.assertEqual(stats.histogram, (1, 1, 1))
        self.assertEqual((stats.failed_batches, stats.held_items, stats.held_bytes), (0, 0, 0))
        self.assertEqual((before.batches, rig.worker.engine), (0, "cpu"))

    def test_engine_stats(self) -> None:
        """An engine that chooses between others has its figures told; what another one counts for itself is not."""
        auto = AutoEngine(WatchedEngine, WatchedEngine)
        self.assertEqual(CryptoWorker(auto, HandReactor()).engine_stats, auto.stats)
        self.assertIsNone(Rig.new().worker.engine_stats)

        class Counting(WatchedEngine):
            stats = "something"

        self.assertIsNone(Rig.new(engine=Counting()).worker.engine_stats)

    def test_wait(self) -> None:
        """A request's wait ends when its first item goes to the thread."""
        rig = Rig.new(max_batch_items=2)
        rig.worker.seal(KEY, b"", b"")
        rig.clock.now_s += 1
        rig.worker.seal_many([(KEY, b"", b"")] * 3)
        rig.clock.now_s += 2
        rig.worker.seal(KEY, b"", b"")
        rig.clock.now_s += 4
        rig.all_batches()
        self.assertEqual((rig.worker.stats.wait_s, rig.worker.stats.wait_max_s), (0 + 6 + 4, 6))


class InterleavingTests(SynchronousTestCase):
    """Any order of events."""

    @settings(deadline=None)
    @given(st.data())
    def test_any_interleaving(self, data: st.DataObject) -> None:
        """Whatever is asked, cancelled and done in whatever order, each answer is right and in its turn."""
        rig = Rig.new(
            start=data.draw(st.booleans()),
            max_items=12,
            max_batch_items=3,
            max_batch_bytes=80,
            flush_items=data.draw(st.integers(1, 6)),
            flush_s=data.draw(st.sampled_from([0.0, 1.0])),
        )
        expected: dict[int, object] = {}
        answers: dict[int, object] = {}
        order: list[int] = []
        asked: dict[int, Deferred[Any]] = {}

        def answered(result: object, number: int) -> None:
            answers[number] = result
            order.append(number)

        def ask() -> None:
            number = len(asked)
            many, sealing = data.draw(st.booleans()), data.draw(st.booleans())
            count = data.draw(st.integers(0, 5)) if many else 1
            texts = [b"%d/%d " % (number, i) * data.draw(st.integers(0, 9)) for i in range(count)]
            key = data.draw(st.sampled_from([KEY, OTHER_KEY]))
            good = [data.draw(st.booleans()) for _ in texts]
            sealed = [aead.seal(key if ok else KEY[::-1], b"", t) for ok, t in zip(good, texts, strict=True)]
            items: list[Item] = [(key, b"", each) for each in (texts if sealing else sealed)]
            expected[number] = (
                [(key, t) for t in texts]
                if sealing
                else [t if ok else None for ok, t in zip(good, texts, strict=True)]
            )
            worker = rig.worker
            if many:
                done: Deferred[Any] = worker.seal_many(items) if sealing else worker.open_many(items)
            else:
                done = worker.seal(*items[0]) if sealing else worker.open(*items[0])
            asked[number] = done
            done.addBoth(answered, number)

        def cancel() -> None:
            waiting = [number for number in asked if number not in answers]
            if waiting:
                asked[data.draw(st.sampled_from(waiting))].cancel()

        def run() -> None:
            if rig.lane.jobs:
                rig.lane.run()

        def wait() -> None:
            rig.pass_time(data.draw(st.sampled_from([0.1, 0.5, 1.0])))

        actions = [ask, ask, ask, cancel, rig.reactor.turn, run, wait]
        for action in data.draw(st.lists(st.sampled_from(actions), max_size=40)):
            action()
        rig.worker.startService()
        stopped = rig.worker.stopService()
        rig.all_batches()
        self.successResultOf(stopped)

        self.assertEqual(sorted(answers), list(asked))
        in_turn = []
        for number in order:
            answer = answers[number]
            if isinstance(answer, Failure) and answer.check(BacklogFull, CancelledError):
                continue
            in_turn.append(number)
            found = answer if isinstance(answer, list) else [answer]
            for each, wanted in zip(found, expected[number], strict=True):  # type: ignore[call-overload]
                if isinstance(wanted, tuple):
                    self.assertEqual(aead.open(wanted[0], b"", each), wanted[1])
                elif wanted is None and isinstance(each, Failure):
                    each.trap(OpenError)
                else:
                    self.assertEqual(each, wanted)
        self.assertEqual(in_turn, sorted(in_turn))
        self.assertEqual(rig.lane.submitted, rig.reactor.came_back)
        self.assertEqual((rig.worker.stats.held_items, rig.worker.stats.held_bytes), (0, 0))
        self.assertEqual(rig.timers(), [])


class RealThreadTests(TestCase):
    """With a real thread and a real reactor."""

    timeout = 60

    def setUp(self) -> None:
        """Start a worker, and count its calls back."""
        self.engine = WatchedEngine()
        self.came_back = 0
        self.worker = CryptoWorker(self.engine, self)
        self.worker.startService()
        self.addCleanup(self.worker.stopService)

    def callFromThread(self, callable: Any, *args: object) -> None:
        """Pass on to the reactor."""
        self.came_back += 1
        real: Any = reactor
        real.callFromThread(callable, *args)

    def callLater(self, delay: float, callable: Any, *args: object) -> Any:
        """Pass on to the reactor."""
        real: Any = reactor
        return real.callLater(delay, callable, *args)

    async def test_many_requests(self) -> None:
        """A thousand requests, made at once, come back right, with one call back per batch."""
        random = Random(1)
        texts = vectors.ragged(random, 1_000, 2_000)
        keys = [random.randbytes(64) for _ in texts]
        sealed = await gatherResults(
            [self.worker.seal(key, b"a", text) for key, text in zip(keys, texts, strict=True)]
        )
        opened = await self.worker.open_many(
            [(key, b"a", message) for key, message in zip(keys, sealed, strict=True)]
        )
        self.assertTrue(opened == texts)
        self.assertTrue(sealed[0] == aead.seal(keys[0], b"a", texts[0], sealed[0][:16]))
        stats = self.worker.stats
        self.assertEqual((stats.items, stats.batches), (2_000, self.came_back))
        self.assertLess(stats.batches, 40)

    async def test_runs_in_its_own_thread(self) -> None:
        """The engine works and is closed in the worker's thread, and results come in the reactor's."""
        seen: list[threading.Thread] = []

        class Telling(WatchedEngine):
            def close(self) -> None:
                seen.append(threading.current_thread())

            def _ask(self, *args: object) -> None:
                seen.append(threading.current_thread())

        worker = CryptoWorker(Telling(), self, lane=ThreadLane("telling"))
        worker.startService()
        await worker.seal(KEY, b"", b"text")
        here = threading.current_thread()
        await worker.stopService()
        self.assertEqual([thread.name for thread in seen], ["telling"] * 2)
        self.assertIsNot(seen[0], here)
        self.assertFalse(seen[0].is_alive())

    async def test_stop_while_busy(self) -> None:
        """Stopped with thousands of items pending, it delivers them all, and leaves no thread behind."""
        before = threading.active_count()
        worker = CryptoWorker(WatchedEngine(), self)
        worker.startService()
        self.assertEqual(threading.active_count(), before + 1)
        done = [worker.seal_many([(KEY, b"", bytes(500))] * 1_000) for _ in range(3)]
        await worker.stopService()
        self.assertEqual(threading.active_count(), before)
        self.assertEqual([len(self.successResultOf(each)) for each in done], [1_000] * 3)

    async def test_engine_error(self) -> None:
        """After an engine's error the same thread does the next batch."""
        self.engine.failure = RuntimeError("no")
        with capturedLogs():
            await self.assertFailure(self.worker.seal(KEY, b"", b""), RuntimeError)
        self.engine.failure = None
        self.assertEqual(len(await self.worker.seal(KEY, b"", b"")), 64)

    async def test_every_engine(self) -> None:
        """It works on every engine that can be used here, and on auto, the same way."""
        texts = vectors.ragged(Random(2), 300, 500)
        for name in ("auto", *[name for name, reason in survey().items() if reason is None]):
            worker = CryptoWorker(choose(name), self)
            worker.startService()
            sealed = await worker.seal_many([(KEY, b"a", text) for text in texts])
            self.assertEqual([aead.open(KEY, b"a", each) for each in sealed], texts, name)
            forged = [*sealed[:-1], sealed[-1][:-1]]
            opened = await worker.open_many([(KEY, b"a", each) for each in forged])
            self.assertEqual(opened, [*texts[:-1], None], name)
            self.assertEqual((worker.stats.items, worker.stats.failed_batches), (600, 0), name)
            await worker.stopService()

    async def test_start_stop_start(self) -> None:
        """Stopped and started again, it has a new thread and works."""
        await self.worker.stopService()
        self.worker.startService()
        self.assertEqual(len(await self.worker.seal(KEY, b"", b"")), 64)


class LaneTests(SynchronousTestCase):
    """The thread by itself."""

    def test_order_and_end(self) -> None:
        """Jobs run in their order, in one thread, which has ended when `end` returns."""
        lane, done = ThreadLane(), list[tuple[int, threading.Thread]]()
        lane.end()
        lane.start()
        for i in range(100):
            lane.submit(lambda i=i: done.append((i, threading.current_thread())))  # type: ignore[misc]
        lane.end()
        self.assertEqual([i for i, _ in done], list(range(100)))
        self.assertEqual(len({thread for _, thread in done}), 1)
        self.assertFalse(done[0][1].is_alive())
        lane.end()

    def test_hand_reactor_is_later(self) -> None:
        """The tests' reactor calls nothing at once, which the worker relies on."""
        hand, called = HandReactor(), list[int]()
        hand.callFromThread(called.append, 1)
        self.assertEqual(called, [])
        hand.turn()
        self.assertEqual(called, [1])
