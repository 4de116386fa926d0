"""AutoEngine: opening beside, choosing, losing the accelerator, closing, figures."""

import threading

import numpy as np
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import native
from securechat.crypto.auto import LARGE_ITEMS, AutoEngine
from securechat.crypto.batch import Batch
from securechat.crypto.costs import Line
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.device import DeviceUnavailable
from securechat.crypto.engine import Engine
from securechat.crypto.figures import AcceleratorState, lines
from securechat.crypto.lane import ThreadLane
from securechat.crypto.native import NativeEngine
from securechat.crypto.opening import LOST
from tests.crypto import contract
from tests.crypto.auto_fakes import ACCELERATOR, BUDGET_S, HOST, AutoRig, KnownCosts, TimedEngine, both
from tests.crypto.fakes import HandClock, Rig

KEY = bytes(range(64))


class AutoContractTests(contract.EngineContract):
    """The contract of all engines, with the accelerator open: large batches go one way and small ones the other."""

    def make_engine(self) -> Engine:
        """Put two engines of this machine together, as if the second one were far away."""

        class Far(CpuEngine):
            name = "far"

        make_host = CpuEngine if native.why_not() else NativeEngine
        engine = AutoEngine(make_host, Far, cache=KnownCosts(**{make_host.name: HOST, "far": ACCELERATOR}))
        engine.prepare()
        self.assertIs(engine.stats.state, AcceleratorState.USABLE)
        return engine

    def test_both_work(self) -> None:
        """Small batches are done by one and large ones by the other, packed, raw and as lists."""
        assert isinstance(self.engine, AutoEngine)
        done = []
        for count in (1, 1_000):
            keys, ivs = np.zeros((count, 64), np.uint8), np.zeros((count, 16), np.uint8)
            texts = Batch.join([b"text"] * count)
            sealed = self.engine.seal(keys, ivs, texts, texts)
            self.assertTrue(self.engine.open(keys, texts, sealed)[1].all())
            encrypted = self.engine.encrypt(keys[:, :32], ivs, texts)
            self.assertTrue(self.engine.decrypt(keys[:, :32], ivs, encrypted)[1].all())
            self.engine.open_list(KEY, [b""] * count, self.engine.seal_list(KEY, [b""] * count, [b""] * count))
            done.append([each.batches for each in self.engine.stats.engines])
        self.assertEqual(done, [[6, 0], [6, 6]])


class OpeningTests(SynchronousTestCase):
    """The thread beside."""

    def test_nothing_happens_unasked(self) -> None:
        """Until the first batch no thread is started and nothing opened; a batch of nothing is none."""
        rig = AutoRig()
        self.assertEqual(rig.engine.seal_list(KEY, [], []), [])
        self.assertFalse(rig.lane.running)
        self.assertIs(rig.engine.stats.state, AcceleratorState.CLOSED)
        rig.seal(1)
        self.assertEqual((len(rig.lane.jobs), rig.accelerators), (1, []))
        self.assertIs(rig.engine.stats.state, AcceleratorState.OPENING)

    def test_host_meanwhile(self) -> None:
        """While the accelerator is being opened, the host does every batch; then large ones go there."""
        rig = AutoRig()
        self.assertEqual([rig.seal(count) for count in (1, 10_000)], ["host", "host"])
        self.assertEqual(rig.lane.submitted, 1)
        rig.lane.run()
        self.assertEqual([rig.seal(count) for count in (10_000, 1, 10_000)], ["far", "host", "far"])
        self.assertFalse(rig.lane.running)
        self.assertEqual(rig.said(), ["the far engine is open beside host, and pays from 33 messages on"])
        self.assertEqual(rig.events[0]["log_level"], LogLevel.info)

    def test_measures_what_is_not_known(self) -> None:
        """Engines whose costs are in no cache are measured, the host on an engine of its own, and kept there."""
        rig = AutoRig({})
        rig.seal(1)
        begun = rig.clock.now_s
        rig.lane.run()
        self.assertLess(rig.clock.now_s - begun, 2 * BUDGET_S * 1.1)
        self.assertEqual([key.partition(";")[0] for key in rig.cache.kept], ["host", "far"])
        self.assertEqual([rig.seal(count) for count in (10_000, 1)], ["far", "host"])
        self.assertEqual(len(rig.hosts[0].asked), 2)
        self.assertEqual([host.closed for host in rig.hosts], [0, 1])
        self.assertEqual(rig.engine.stats.models[0].crossovers[0], (200, 33))

    def test_known_costs_are_not_measured(self) -> None:
        """With costs in the cache nothing is timed."""
        rig = AutoRig()
        rig.open()
        self.assertEqual((rig.cache.kept, rig.accelerators[0].asked), ([], []))

    def test_cannot_be_opened(self) -> None:
        """Where there is no device the host goes on alone; the reason is kept, and logged once at info."""
        rig = AutoRig()
        rig.cannot = DeviceUnavailable("no card")
        rig.seal(1)
        rig.lane.run()
        self.assertEqual([rig.seal(10_000) for _ in range(3)], ["host"] * 3)
        self.assertEqual(rig.said(), ["staying with the host engine: no card"])
        self.assertEqual(rig.events[0]["log_level"], LogLevel.info)
        stats = rig.engine.stats
        self.assertEqual((stats.state, stats.reason), (AcceleratorState.UNUSABLE, "no card"))
        self.assertEqual(rig.lane.submitted, 1)

    def test_any_error_is_a_reason(self) -> None:
        """An error that nobody foresaw is a reason as well, by its kind and place and without its text."""
        for error in (RuntimeError("secret text"), SystemExit("secret text")):
            rig = AutoRig()
            rig.cannot = error
            rig.seal(1)
            rig.lane.run()
            self.assertEqual(rig.seal(10_000), "host")
            self.assertRegex(str(rig.engine.stats.reason), rf"^{type(error).__name__} at auto_fakes.py:\d+$")
            self.assertNotIn("secret", repr(rig.events))

    def test_fails_when_measured(self) -> None:
        """An accelerator that opens and then can't work is closed, and is a reason."""
        for close_failure, expected in (
            (None, "no device"),
            (OSError(), "no device; then OSError at auto_fakes.py"),
        ):
            rig = AutoRig({})

            def break_it(far: TimedEngine, close_failure: BaseException | None = close_failure) -> None:
                far.failure, far.close_failure = DeviceUnavailable("no device"), close_failure

            rig.configure = break_it
            rig.seal(1)
            rig.lane.run()
            self.assertEqual(rig.seal(10_000), "host")
            self.assertEqual(str(rig.engine.stats.reason).rpartition(":")[0] or rig.engine.stats.reason, expected)
            self.assertEqual((rig.accelerators[0].closed, len(rig.cache.kept)), (1, 1))

    def test_lost_when_measured(self) -> None:
        """One that loses its device while it is measured is not used, and its costs are not kept."""
        rig = AutoRig({})
        rig.configure = lambda far: setattr(far, "loses_device", True)
        rig.seal(1)
        rig.lane.run()
        self.assertEqual(rig.seal(10_000), "host")
        self.assertEqual((rig.engine.stats.reason, len(rig.cache.kept), rig.accelerators[0].closed), (LOST, 1, 1))

    def test_facts_are_in_the_key(self) -> None:
        """Costs are kept for the device that the accelerator says it has."""
        rig = AutoRig({})
        rig.configure = lambda far: setattr(far, "facts", "a card of 2031")
        rig.seal(1)
        rig.lane.run()
        self.assertIn("far; a card of 2031; ", rig.cache.kept[1])

    def test_prepare(self) -> None:
        """Who wants figures can have it opened at once and wait for that."""
        clock = HandClock()
        engine = AutoEngine(
            lambda: TimedEngine("host", HOST, clock),
            lambda: TimedEngine("far", ACCELERATOR, clock),
            cache=KnownCosts(host=HOST, far=ACCELERATOR),
            seconds=clock.seconds,
        )
        self.addCleanup(engine.close)
        for _ in range(2):
            engine.prepare()
            self.assertIs(engine.stats.state, AcceleratorState.USABLE)


class ChoosingTests(SynchronousTestCase):
    """With the accelerator open."""

    def setUp(self) -> None:
        """Open it."""
        self.rig = AutoRig()
        self.far = self.rig.open()

    def test_hysteresis(self) -> None:
        """Sizes near the crossover stay where the size before them went."""
        found = [self.rig.seal(count) for count in (40, 60, 40, 26, 20, 26, 40)]
        self.assertEqual(found, ["host", "far", "far", "far", "host", "host", "host"])

    def test_follows_what_is_measured(self) -> None:
        """An accelerator that turns out far slower than it was measured is left."""
        self.far.slowness = 100.0
        found = [self.rig.seal(2_000) for _ in range(60)]
        self.assertEqual((found[0], found[-1]), ("far", "host"))
        self.assertGreater(self.rig.engine.stats.models[0].accelerator_factor, 2.0)

    def test_packed_batches_teach_nothing(self) -> None:
        """What packed batches take is not compared with costs that are those of lists."""
        self.far.slowness = 100.0
        keys, ivs = np.zeros((2_000, 64), np.uint8), np.zeros((2_000, 16), np.uint8)
        texts = Batch.join([b"text"] * 2_000)
        begun = self.rig.clock.now_s
        self.rig.engine.seal(keys, ivs, texts, texts)
        self.assertGreater(self.rig.clock.now_s - begun, 0.01)
        self.assertEqual(self.rig.engine.stats.models[0].accelerator_factor, 1.0)

    def test_lost_device(self) -> None:
        """An accelerator that has lost its device gets no more batches; that is logged once, and final."""
        self.assertEqual(self.rig.seal(10_000), "far")
        self.far.usable = False
        self.assertEqual([self.rig.seal(10_000) for _ in range(3)], ["host"] * 3)
        self.assertEqual(self.rig.said()[1:], [f"staying with the host engine: {LOST}"])
        self.assertEqual((self.rig.engine.preferred_items, self.rig.engine.stats.reason), (0, LOST))
        self.rig.engine.close()
        self.assertEqual(self.far.closed, 1)
        self.assertEqual(self.rig.seal(10_000), "host")
        self.assertEqual(self.rig.lane.submitted, 1)

    def test_says_why_it_was_lost(self) -> None:
        """Where the accelerator tells why it lost its device, that is part of the reason."""
        self.far.usable, self.far.why_lost = False, "fell off the bus"
        self.rig.seal(10_000)
        self.assertEqual(self.rig.engine.stats.reason, f"{LOST}: fell off the bus")

    def test_batch_of_the_loss_teaches_nothing(self) -> None:
        """What the batch took in which the device was lost says nothing of the device."""
        self.far.slowness, self.far.loses_device = 1e3, True
        self.assertEqual(self.rig.seal(10_000), "far")
        self.assertEqual(self.rig.engine.stats.models[0].accelerator_factor, 1.0)

    def test_errors_pass(self) -> None:
        """An error of the engine in use is the caller's, and that batch is not counted."""
        before = self.rig.engine.stats
        self.far.failure = MemoryError()
        with self.assertRaises(MemoryError):
            self.rig.seal(10_000)
        self.far.failure = None
        self.assertEqual(self.rig.engine.stats.engines, before.engines)
        self.assertEqual(self.rig.seal(10_000), "far")


class ClosingTests(SynchronousTestCase):
    """How it ends."""

    def test_closes_both(self) -> None:
        """Closing closes both engines, twice does no harm, and a later batch opens the accelerator again."""
        rig = AutoRig()
        far = rig.open()
        for _ in range(2):
            rig.engine.close()
        self.assertEqual((far.closed, rig.hosts[0].closed), (1, 2))
        self.assertIs(rig.engine.stats.state, AcceleratorState.CLOSED)
        self.assertIsNot(rig.open(), far)
        self.assertEqual(rig.seal(10_000), "far")

    def test_host_is_closed_anyway(self) -> None:
        """An accelerator that fails to close does not keep the host from closing."""
        rig = AutoRig()
        rig.open().close_failure = RuntimeError("no")
        with self.assertRaises(RuntimeError):
            rig.engine.close()
        self.assertEqual(rig.hosts[0].closed, 1)
        rig.engine.close()

    def test_opened_unnoticed(self) -> None:
        """An accelerator that was opened, with no batch since, is closed."""
        rig = AutoRig()
        rig.seal(1)
        rig.lane.run()
        rig.engine.close()
        self.assertEqual(rig.accelerators[0].closed, 1)
        self.assertEqual(rig.said(), [])

    def test_refused_unnoticed(self) -> None:
        """One that was refused, with no batch since, is tried anew by the next batch."""
        rig = AutoRig()
        rig.cannot = DeviceUnavailable("no card")
        rig.seal(1)
        rig.lane.run()
        rig.engine.close()
        rig.cannot = None
        rig.open()
        self.assertEqual(rig.seal(10_000), "far")

    def test_waits_for_the_opening(self) -> None:
        """Closing while the accelerator is being opened waits for that, measures nothing, and leaves none open."""
        clock, entered, go_on, ending = HandClock(), threading.Event(), threading.Event(), threading.Event()
        far = TimedEngine("far", ACCELERATOR, clock)

        def slowly() -> Engine:
            entered.set()
            self.assertTrue(go_on.wait(20))
            return far

        class Told(ThreadLane):
            def end(self) -> None:
                ending.set()
                super().end()

        cache = KnownCosts(host=HOST)
        engine = AutoEngine(
            lambda: TimedEngine("host", HOST, clock), slowly, cache=cache, lane=Told(), seconds=clock.seconds
        )
        before = threading.active_count()
        engine.seal_list(KEY, [b""], [b""])
        self.assertTrue(entered.wait(20))
        closing = threading.Thread(target=engine.close)
        closing.start()
        self.assertTrue(ending.wait(20))
        self.assertEqual(far.closed, 0)
        go_on.set()
        closing.join(20)
        self.assertFalse(closing.is_alive())
        self.assertEqual((far.closed, cache.kept), (1, []))
        self.assertLessEqual(len(far.asked), 4)
        self.assertEqual(threading.active_count(), before)


class StatsTests(SynchronousTestCase):
    """The figures."""

    def test_counts(self) -> None:
        """Batches, items, bytes and seconds are counted for each engine, and switches."""
        rig = AutoRig()
        rig.seal(5)
        rig.lane.run()
        for count in (1, 10_000, 10_000):
            rig.seal(count)
        host, far = rig.engine.stats.engines
        self.assertEqual((host.name, host.batches, host.items, host.bytes), ("host", 2, 6, 24))
        self.assertEqual((far.name, far.batches, far.items, far.bytes), ("far", 2, 20_000, 80_000))
        self.assertAlmostEqual(host.seconds, 8e-6)
        self.assertAlmostEqual(far.seconds, 2 * (30e-6 + 1e-3))
        self.assertEqual(rig.engine.stats.switches, 1)

    def test_models(self) -> None:
        """Costs, crossovers for both sizes and factors are told for each operation."""
        rig = AutoRig()
        self.assertEqual(rig.engine.stats.models, ())
        rig.open()
        seal, opening = rig.engine.stats.models
        self.assertEqual((seal.operation, opening.operation), ("seal", "open"))
        self.assertEqual((seal.host, seal.accelerator), (HOST.seal, ACCELERATOR.seal))
        self.assertEqual(seal.crossovers, ((200, 33), (1_024, 33)))
        self.assertEqual((seal.host_factor, seal.accelerator_factor), (1.0, 1.0))

    def test_lines(self) -> None:
        """A person is told all of that, in lines."""
        rig = AutoRig()
        self.assertEqual(
            next(lines(rig.engine.stats)), "accelerator: not opened, for nothing was sealed or opened yet"
        )
        rig.open()
        text = "\n".join(lines(rig.engine.stats))
        for part in (
            "accelerator: usable",
            "host: 2 batches, 2 items, 8 bytes, 0.000 s",
            "far: 0 batches",
            "seal by host: 1.0 us + 1.000 us/message",
            "open by accelerator: 30.0 us + 0.100 us/message",
            "seal of 200 B messages: the accelerator pays from 33 of them on",
            "switches: 0",
        ):
            self.assertIn(part, text)
        without = AutoRig()
        without.cannot = DeviceUnavailable("no card")
        without.seal(1)
        without.lane.run()
        without.seal(1)
        self.assertEqual(next(lines(without.engine.stats)), "accelerator: not usable (no card)")

    def test_never_pays(self) -> None:
        """An accelerator that is never faster is told of as such, and wants no large batches."""
        rig = AutoRig({"host": HOST, "far": both(Line(1e-3, 2e-6, 0.0, 0.0))})
        rig.open()
        self.assertEqual(rig.said(), ["the far engine is open beside host, and never pays"])
        self.assertEqual(rig.engine.preferred_items, 0)
        self.assertIn("the accelerator never pays", "\n".join(lines(rig.engine.stats)))


class WorkerTests(SynchronousTestCase):
    """In a worker."""

    def test_preferred_items(self) -> None:
        """A worker gives it large batches as soon as the accelerator is open, and its figures."""
        auto = AutoRig()
        self.assertEqual(auto.engine.preferred_items, 0)
        rig = Rig.new(engine=auto.engine)
        rig.worker.seal_many([(KEY, b"", b"text")] * 200)
        rig.all_batches()
        auto.lane.run()
        rig.worker.seal_many([(KEY, b"", b"text")] * 200)
        rig.all_batches()
        self.assertEqual(auto.engine.preferred_items, LARGE_ITEMS)
        rig.worker.seal_many([(KEY, b"", b"text")] * 1_000)
        rig.all_batches()
        self.assertEqual([count for _, count in auto.accelerators[0].asked], [128, 72, 1_000])
        stats = rig.worker.engine_stats
        assert stats is not None
        self.assertEqual(stats.engines[1].items, 1_200)

    def test_no_figures(self) -> None:
        """Of an engine that does not choose there are none, even if it keeps figures of another kind."""
        rig = Rig.new()
        self.assertIs(rig.worker.engine_stats, None)
        rig.engine.stats = object()  # type: ignore[attr-defined]
        self.assertIs(rig.worker.engine_stats, None)
