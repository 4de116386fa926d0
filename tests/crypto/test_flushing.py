"""The flush deadline: when an idle worker starts a batch that could still grow."""

from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.worker import CryptoWorker, WorkerStopped
from tests.crypto.fakes import HandLane, HandReactor, Rig, WatchedEngine

KEY = bytes(range(64))


class FlushTests(SynchronousTestCase):
    """A worker that waits for three items, but for none longer than a second."""

    def setUp(self) -> None:
        """Make the worker, whose timers must all be gone at the end."""
        self.rig = Rig.new(flush_items=3, flush_s=1.0)
        self.addCleanup(lambda: self.assertEqual(self.rig.timers(), []))

    def stop(self) -> None:
        """Stop it, and expect that to end."""
        stopped = self.rig.worker.stopService()
        self.rig.all_batches()
        self.successResultOf(stopped)

    def test_waits_for_enough(self) -> None:
        """Requests at an idle worker wait until there are enough items, which then start at once."""
        done = [self.rig.worker.seal(KEY, b"", b"text") for _ in range(2)]
        self.assertEqual(self.rig.lane.jobs, [])
        done.append(self.rig.worker.seal(KEY, b"", b"text"))
        self.assertEqual(len(self.rig.lane.jobs), 1)
        self.assertEqual(self.rig.timers(), [])
        self.rig.all_batches()
        for each in done:
            self.successResultOf(each)
        self.assertEqual(self.rig.engine.asked, [("seal", 3)])

    def test_a_request_of_many_is_enough(self) -> None:
        """It is items that are counted: one request for enough of them starts at once."""
        self.rig.worker.seal_many([(KEY, b"", b"text")] * 3)
        self.assertEqual(len(self.rig.lane.jobs), 1)
        self.rig.all_batches()

    def test_deadline(self) -> None:
        """The first request waits for the deadline and no longer, and takes along what came after it."""
        self.rig.worker.seal(KEY, b"", b"text")
        self.rig.pass_time(0.75)
        self.rig.worker.seal(KEY, b"", b"text")
        self.assertEqual((self.rig.lane.jobs, self.rig.timers()), ([], [0.25]))
        self.rig.pass_time(0.25)
        self.assertEqual(len(self.rig.lane.jobs), 1)
        self.rig.all_batches()
        self.assertEqual(self.rig.engine.asked, [("seal", 2)])

    def test_deadline_counts_from_the_request(self) -> None:
        """What waited while the engine was busy has waited: behind the batch its deadline is that much closer."""
        self.rig.worker.seal_many([(KEY, b"", b"text")] * 3)
        self.rig.pass_time(0.5)
        self.rig.worker.seal(KEY, b"", b"text")
        self.rig.pass_time(0.25)
        self.assertEqual(self.rig.timers(), [])
        self.rig.one_batch()
        self.assertEqual((self.rig.lane.jobs, self.rig.timers()), ([], [0.75]))
        self.rig.pass_time(0.75)
        self.rig.all_batches()
        self.assertEqual(self.rig.engine.asked, [("seal", 3), ("seal", 1)])

    def test_overdue_behind_a_batch(self) -> None:
        """What has waited longer than that behind a batch starts as soon as the thread is free."""
        self.rig.worker.seal_many([(KEY, b"", b"text")] * 3)
        self.rig.worker.seal(KEY, b"", b"text")
        self.rig.pass_time(1.5)
        self.rig.one_batch()
        self.assertEqual(len(self.rig.lane.jobs), 1)
        self.rig.all_batches()

    def test_rest_of_a_long_request(self) -> None:
        """The rest of a request that did not fit into its batch does not wait for company."""
        rig = Rig.new(flush_items=3, flush_s=1.0, max_batch_items=4)
        rig.worker.seal_many([(KEY, b"", b"text")] * 5)
        rig.all_batches()
        self.assertEqual(rig.engine.asked, [("seal", 4), ("seal", 1)])
        self.assertEqual(rig.timers(), [])

    def test_request_for_nothing(self) -> None:
        """A request for no items is answered by the deadline as well."""
        done = self.rig.worker.seal_many([])
        self.rig.pass_time(1.0)
        self.rig.all_batches()
        self.assertEqual(self.successResultOf(done), [])

    def test_cancelled_oldest(self) -> None:
        """When the request is cancelled that the deadline was for, it becomes that of the next one."""
        first = self.rig.worker.seal(KEY, b"", b"text")
        self.rig.pass_time(0.5)
        self.rig.worker.seal(KEY, b"", b"text")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.rig.timers(), [1.0])
        self.rig.pass_time(1.0)
        self.rig.all_batches()
        self.assertEqual(self.rig.engine.asked, [("seal", 1)])

    def test_cancelled_all(self) -> None:
        """When all that waited is cancelled, no timer is left, and the count begins anew."""
        for done in [self.rig.worker.seal(KEY, b"", b"text") for _ in range(2)]:
            done.cancel()
            self.failureResultOf(done, CancelledError)
        self.assertEqual(self.rig.timers(), [])
        self.rig.worker.seal(KEY, b"", b"text")
        self.assertEqual(self.rig.lane.jobs, [])
        self.stop()

    def test_stopping(self) -> None:
        """Stopping starts what waits at once, and leaves no timer."""
        done = self.rig.worker.seal(KEY, b"", b"text")
        stopped = self.rig.worker.stopService()
        self.assertEqual((len(self.rig.lane.jobs), self.rig.timers()), (1, []))
        self.rig.all_batches()
        self.successResultOf(done)
        self.successResultOf(stopped)

    def test_not_started(self) -> None:
        """A worker that has not started makes no timer, and stopping it fails what waited."""
        rig = Rig.new(start=False, flush_items=3, flush_s=1.0)
        done = rig.worker.seal(KEY, b"", b"text")
        self.assertEqual(rig.timers(), [])
        self.successResultOf(rig.worker.stopService())
        self.failureResultOf(done, WorkerStopped)

    def test_overdue_before_the_start(self) -> None:
        """What has waited longer than that for the start is started by it."""
        rig = Rig.new(start=False, flush_items=3, flush_s=1.0)
        rig.worker.seal(KEY, b"", b"text")
        rig.pass_time(2.0)
        rig.worker.startService()
        self.assertEqual(len(rig.lane.jobs), 1)
        rig.all_batches()

    def test_failing(self) -> None:
        """After a batch that failed the deadline is kept for what waits."""
        self.rig.worker.seal_many([(KEY, b"", b"text")] * 3).addErrback(lambda _: None)
        after = self.rig.worker.seal(KEY, b"", b"text")
        self.rig.engine.failure = RuntimeError("no")
        with capturedLogs():
            self.rig.one_batch()
        self.rig.engine.failure = None
        self.assertEqual(self.rig.timers(), [1.0])
        self.rig.pass_time(1.0)
        self.rig.all_batches()
        self.successResultOf(after)

    def test_no_timer_by_default(self) -> None:
        """Without a deadline nothing waits, whatever number was asked for, and no timer is ever made."""

        class NoTimers(HandReactor):
            def callLater(self, *_: object) -> object:
                raise AssertionError("a timer was made")

        for flush_items in (1, 100):
            lane = HandLane()
            worker = CryptoWorker(WatchedEngine(), NoTimers(), lane=lane, flush_items=flush_items)
            worker.startService()
            worker.seal(KEY, b"", b"text")
            self.assertEqual(len(lane.jobs), 1)

    def test_bounds(self) -> None:
        """Less than one item, and times that are negative, endless or no number are refused."""
        for name, value in (
            ("flush_items", 0),
            ("flush_s", -1.0),
            ("flush_s", float("inf")),
            ("flush_s", float("nan")),
        ):
            with self.assertRaisesRegex(ValueError, "flush_items, flush_s"):
                CryptoWorker(WatchedEngine(), HandReactor(), **{name: value})  # type: ignore[arg-type]
