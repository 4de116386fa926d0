"""AutoEngine: the contract, and what it does while an accelerator opens, works, gets slow, is lost or closed.

Both engines are the CPU's. Time is a clock that they move, and the thread beside is moved by hand, but for one
case with real ones.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from twisted.internet import reactor
from twisted.logger import LogEvent, LogLevel
from twisted.trial.unittest import SynchronousTestCase, TestCase

from securechat.crypto import aead
from securechat.crypto.auto import LARGE_ITEMS, LEAST_ITEMS, AutoEngine
from securechat.crypto.batch import Batch
from securechat.crypto.cost_cache import CostCache, cost_key
from securechat.crypto.costs import EngineCosts, Line
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.device import DeviceUnavailable
from securechat.crypto.engine import Engine
from securechat.crypto.figures import AcceleratorState, lines
from securechat.crypto.opening import LOST
from securechat.crypto.worker import CryptoWorker
from tests.crypto.auto_fakes import ACCELERATOR, HOST, TimedEngine, both, log_into
from tests.crypto.contract import EngineContract, rows
from tests.crypto.fakes import FinishingLane, HandClock, Rig

KEY = bytes(range(64))
SECRET = b"a text that nobody may read"
SLOW = both(Line(1e-3, 2e-5, 0.0, 0.0))
"""Slow enough for the tests' own sealing to take no longer than the time that is told."""
PATIENCE_S = 20.0


class AutoRig:
    """An AutoEngine and everything around it."""

    def __init__(
        self,
        folder: Path,
        host: EngineCosts = HOST,
        accelerator: EngineCosts = ACCELERATOR,
        kept: bool = True,
        open_accelerator: Callable[[], Engine] | None = None,
    ) -> None:
        """Make it, with these costs kept in the folder already, so that nothing is measured; or not.

        `open_accelerator` opens another one than a TimedEngine.
        """
        self.clock = HandClock()
        self.costs = {"host": host, "accelerator": accelerator}
        self.made: list[TimedEngine] = []
        self.lane = FinishingLane()
        self.events: list[LogEvent] = []
        self.refusal: BaseException | None = None
        self.cache = CostCache(folder / "costs.json")
        for name, costs in self.costs.items() if kept else ():
            self.cache.keep(cost_key(name), costs)
        self.engine = AutoEngine(
            lambda: self._made("host"),
            self._opened if open_accelerator is None else open_accelerator,
            cache=self.cache,
            lane=self.lane,
            seconds=self.clock.seconds,
            log=log_into(self.events),
        )

    def _made(self, name: str) -> TimedEngine:
        self.made.append(TimedEngine(name, self.costs[name], self.clock))
        return self.made[-1]

    def _opened(self) -> Engine:
        if self.refusal is not None:
            raise self.refusal
        return self._made("accelerator")

    @property
    def host(self) -> TimedEngine:
        """The host's engine that is at work."""
        return self.made[0]

    @property
    def accelerator(self) -> TimedEngine:
        """The accelerator that was opened last."""
        return [each for each in self.made if each.name == "accelerator"][-1]

    def opened(self) -> "AutoRig":
        """Open the accelerator, and give the rig."""
        self.engine.prepare()
        return self

    def seal(self, count: int, text: bytes = b"text") -> None:
        """Seal so many messages, and see that this was done right."""
        sealed = self.engine.seal_list(KEY, [b"a"] * count, [text] * count)
        assert [aead.open(KEY, b"a", each) for each in sealed] == [text] * count

    def done(self) -> dict[str, int]:
        """Tell how many batches each engine has done."""
        return {each.name: each.batches for each in self.engine.stats.engines}

    def told(self) -> list[str]:
        """Tell what stands in the log, a line for each event."""
        return [str(event["log_format"]).format(**event) for event in self.events]


class AutoTestCase(SynchronousTestCase):
    """A case whose rigs have a folder each."""

    def rig(self, **arguments: Any) -> AutoRig:
        """Make one, whose engine is closed at the end, and the thread beside it then has ended."""
        rig = AutoRig(Path(self.mktemp()), **arguments)

        def close() -> None:
            for each in rig.made:
                each.failure = None
            rig.engine.close()
            self.assertFalse(rig.lane.running)

        self.addCleanup(close)
        return rig


class AlternatingContractTests(EngineContract):
    """The contract, with an accelerator at hand that every batch of three messages or more goes to."""

    def make_engine(self) -> Engine:
        """Give an engine whose accelerator is open."""
        self.rig = AutoRig(Path(self.mktemp()), accelerator=both(Line(3e-6, 1e-8, 0.0, 0.0))).opened()
        return self.rig.engine

    def test_both_have_worked(self) -> None:
        """Batches of all sizes in turn agree with the reference, and each engine has done some of them."""
        for count in (1, 40, 1, 2, 40, 3, 1):
            self.assert_agrees(count, 100)
        stats = self.rig.engine.stats
        self.assertGreater(min(each.batches for each in stats.engines), 5)
        self.assertGreater(stats.switches, 5)


class HostContractTests(EngineContract):
    """The contract, while the accelerator is being opened the whole time."""

    def make_engine(self) -> Engine:
        """Give an engine whose thread beside gets no time before it is closed."""
        rig = AutoRig(Path(self.mktemp()))
        rig.seal(LEAST_ITEMS)
        self.assertEqual(len(rig.lane.jobs), 1)
        return rig.engine


class RealContractTests(EngineContract):
    """The contract with a real thread and clock, on costs that are measured while the first batches are done."""

    def make_engine(self) -> Engine:
        """Give an engine whose accelerator is being opened."""
        engine = AutoEngine(CpuEngine, CpuEngine, budget_s=0.01, log=log_into([]))
        engine.seal_list(KEY, [b""] * LEAST_ITEMS, [b""] * LEAST_ITEMS)
        return engine


# Trial would run the contract itself, which has no engine.
del EngineContract


class OpeningTests(AutoTestCase):
    """When the accelerator is opened, and what happens meanwhile."""

    def test_few_messages_open_nothing(self) -> None:
        """Batches of fewer messages than ever pay open no accelerator, however many there are; one more does."""
        rig = self.rig()
        for _ in range(50):
            rig.seal(1)
            rig.seal(LEAST_ITEMS - 1)
        self.assertEqual((rig.lane.submitted, rig.engine.stats.state), (0, AcceleratorState.CLOSED))
        rig.seal(LEAST_ITEMS)
        self.assertEqual((rig.lane.submitted, rig.engine.stats.state), (1, AcceleratorState.OPENING))

    def test_host_meanwhile(self) -> None:
        """While it is being opened the host does all batches, and what is opened is used from the next one on."""
        rig = self.rig()
        for _ in range(3):
            rig.seal(1_000)
        self.assertEqual((rig.done(), len(rig.made), rig.lane.submitted), ({"host": 3}, 1, 1))
        rig.lane.run()
        self.assertEqual((rig.engine.stats.state, rig.events), (AcceleratorState.OPENING, []))
        rig.seal(1_000)
        self.assertEqual(rig.done(), {"host": 3, "accelerator": 1})
        self.assertEqual(rig.engine.stats.state, AcceleratorState.USABLE)
        self.assertFalse(rig.lane.running)
        rig.seal(1)
        self.assertEqual(rig.done(), {"host": 4, "accelerator": 1})
        self.assertEqual(rig.told(), ["the accelerator engine is open beside host, and pays from 33 messages on"])

    def test_prepare(self) -> None:
        """Whoever asks for it can have it opened now and wait; asking again, or while it is opened, is the same."""
        rig = self.rig()
        rig.engine.prepare()
        rig.engine.prepare()
        self.assertEqual((rig.engine.stats.state, rig.lane.submitted), (AcceleratorState.USABLE, 1))
        other = self.rig()
        other.seal(LEAST_ITEMS)
        other.engine.prepare()
        self.assertEqual((other.engine.stats.state, other.lane.submitted), (AcceleratorState.USABLE, 1))

    def test_own_host_for_measuring(self) -> None:
        """Costs are measured on a host engine of its own, since the one at work is for one thread, and kept."""
        rig = self.rig(host=both(Line(1e-4, 2e-5, 0.0, 0.0)), accelerator=SLOW, kept=False)
        begun = rig.clock.now_s
        rig.engine.prepare()
        self.assertLess(rig.clock.now_s - begun, 0.3)
        at_work, accelerator, measured = rig.made
        self.assertEqual((at_work.asked, measured.closed, accelerator.closed), ([], 1, 0))
        self.assertGreater(min(len(measured.asked), len(accelerator.asked)), 10)
        for name, costs in rig.costs.items():
            kept = rig.cache.find(cost_key(name))
            assert kept is not None
            self.assertAlmostEqual(kept.seal.lines[0].fixed / costs.seal.lines[0].fixed, 1.0, 2)
        asked = len(accelerator.asked)
        rig.engine.close()
        rig.engine.prepare()
        self.assertEqual((len(accelerator.asked), rig.accelerator.asked), (asked, []))

    def test_without_a_cache(self) -> None:
        """Without a cache costs are measured at every opening."""
        clock = HandClock()
        made = [TimedEngine("accelerator", SLOW, clock) for _ in range(2)]
        rest = iter(made)
        engine = AutoEngine(
            lambda: TimedEngine("host", SLOW, clock),
            lambda: next(rest),
            lane=FinishingLane(),
            seconds=clock.seconds,
            budget_s=0.01,
            log=log_into([]),
        )
        for _ in made:
            engine.prepare()
            engine.close()
        self.assertGreater(min(len(each.asked) for each in made), 3)


class FailingTests(AutoTestCase):
    """An accelerator that can't be opened, fails, or loses its device."""

    def assert_host_alone(self, rig: AutoRig, reason: str) -> None:
        """Expect that the host does everything from now on, for a reason that is kept, and told in one line."""
        before = rig.done()
        submitted = rig.lane.submitted
        for count in (1, 1_000, 20_000):
            rig.seal(count)
        self.assertEqual(rig.done()["host"], before["host"] + 3)
        self.assertEqual(rig.done().get("accelerator"), before.get("accelerator"))
        stats = rig.engine.stats
        self.assertEqual((stats.state, stats.reason), (AcceleratorState.UNUSABLE, reason))
        self.assertEqual((rig.engine.preferred_items, rig.lane.submitted), (0, submitted))
        refusals = [event for event in rig.events if "staying" in str(event["log_format"])]
        self.assertEqual([event["log_level"] for event in refusals], [LogLevel.info])
        self.assertEqual(rig.told()[-1], f"staying with the host engine: {reason}")
        for shown in (*rig.told(), *lines(stats)):
            self.assertNotIn(SECRET.decode(), shown)
            self.assertNotIn("\n", shown)

    def test_cannot_be_opened(self) -> None:
        """Where it can't be opened the host goes on alone, and the reason is the error's, in one line."""
        rig = self.rig()
        rig.refusal = DeviceUnavailable("no\n  such device")
        rig.seal(100)
        rig.lane.run()
        self.assert_host_alone(rig, "no such device")

    def test_opening_fails_in_any_way(self) -> None:
        """Of an error that is none of ours only kind and place are told, whatever its text says."""
        for refusal in (RuntimeError(SECRET), KeyboardInterrupt(SECRET), SystemExit(1)):
            rig = self.rig()
            rig.refusal = refusal
            rig.engine.prepare()
            reason = rig.engine.stats.reason or ""
            self.assertRegex(reason, rf"^{type(refusal).__name__} at test_auto\.py:\d+$")
            self.assert_host_alone(rig, reason)

    def test_measuring_fails(self) -> None:
        """An accelerator that fails while it is measured is closed, and a failing close is told as well."""
        for closes in (True, False):
            failing = FailingEngine(closes)
            rig = self.rig(open_accelerator=lambda failing=failing: failing)
            rig.engine.prepare()
            more = "" if closes else r"; then OSError at test_auto\.py:\d+"
            self.assertRegex(rig.engine.stats.reason or "", rf"^RuntimeError at test_auto\.py:\d+{more}$")
            self.assert_host_alone(rig, rig.engine.stats.reason or "")
            self.assertEqual(failing.closed, 1)
            self.assertIsNone(rig.cache.find(cost_key("failing")))

    def test_lost_while_it_is_opened(self) -> None:
        """One that loses its device before it was used is closed and never used."""
        lost = TimedEngine("accelerator", ACCELERATOR, HandClock())
        lost.usable = False
        rig = self.rig(open_accelerator=lambda: lost)
        rig.engine.prepare()
        self.assert_host_alone(rig, LOST)
        self.assertEqual(lost.closed, 1)

    def test_lost_later(self) -> None:
        """One that loses its device is not asked again from the next batch on, not even after closing."""
        rig = self.rig().opened()
        rig.seal(1_000)
        rig.accelerator.usable = False
        rig.seal(1_000, SECRET)
        self.assertEqual(rig.engine.stats.state, AcceleratorState.UNUSABLE)
        self.assert_host_alone(rig, LOST)
        self.assertEqual((rig.done()["accelerator"], rig.accelerator.closed), (2, 0))
        rig.engine.close()
        self.assertEqual(rig.accelerator.closed, 1)
        self.assert_host_alone(rig, LOST)

    def test_raises(self) -> None:
        """A batch for which it raises an error is done by the host, whole; so is every one after that."""
        rig = self.rig().opened()
        rig.accelerator.failure = RuntimeError(SECRET)
        rig.seal(1_000, SECRET)
        reason = rig.engine.stats.reason or ""
        self.assertRegex(reason, r"^RuntimeError at auto_fakes\.py:\d+$")
        self.assert_host_alone(rig, reason)
        self.assertEqual(rig.done()["accelerator"], 0)

    def test_callers_mistakes(self) -> None:
        """What the host refuses as well was the caller's mistake: the accelerator stays in use."""
        rig = self.rig().opened()
        with self.assertRaisesRegex(ValueError, "^keys: "):
            rig.engine.seal_list(bytes(63), [b""] * 1_000, [b""] * 1_000)
        self.assertEqual(rig.engine.stats.state, AcceleratorState.USABLE)
        rig.seal(1_000)
        self.assertEqual(rig.done(), {"host": 0, "accelerator": 1})

    def test_host_raises(self) -> None:
        """An error of the host's engine is the caller's to see: nothing is tried in its place, or once more."""
        rig = self.rig().opened()

        class FailingOnce(TimedEngine):
            def seal_list(self, *_: object) -> list[bytes]:
                self.__class__ = TimedEngine  # type: ignore[assignment]
                raise RuntimeError("no")

        rig.host.__class__ = FailingOnce
        with self.assertRaisesRegex(RuntimeError, "no"):
            rig.seal(1)
        self.assertEqual((rig.accelerator.asked, rig.engine.stats.state), ([], AcceleratorState.USABLE))


class FailingEngine(TimedEngine):
    """One that fails whatever it is asked, and perhaps to close."""

    def __init__(self, closes: bool) -> None:
        """Take whether it closes."""
        super().__init__("failing", ACCELERATOR, HandClock())
        self.closes = closes

    def seal_list(self, *arguments: object) -> list[bytes]:
        """Fail, with a text in the error."""
        raise RuntimeError(SECRET)

    def close(self) -> None:
        """Count, and perhaps fail."""
        super().close()
        if not self.closes:
            raise OSError(SECRET)


class ClosingTests(AutoTestCase):
    """Closing, and using it again."""

    def test_unused(self) -> None:
        """One that was never used closes its host's engine, and has opened nothing."""
        rig = self.rig()
        rig.engine.close()
        self.assertEqual((rig.host.closed, len(rig.made), rig.lane.submitted), (1, 1, 0))

    def test_both(self) -> None:
        """Closing closes both, once; used again, it opens an accelerator again, with the costs that are kept."""
        rig = self.rig().opened()
        first = rig.accelerator
        rig.engine.close()
        rig.engine.close()
        self.assertEqual((rig.host.closed, first.closed), (2, 1))
        self.assertEqual((rig.engine.stats.state, rig.engine.preferred_items), (AcceleratorState.CLOSED, 0))
        rig.seal(1_000)
        rig.lane.run()
        rig.seal(1_000)
        self.assertIsNot(rig.accelerator, first)
        self.assertEqual((rig.done(), first.asked), ({"host": 1, "accelerator": 1}, []))

    def test_while_it_is_opened(self) -> None:
        """Closed while an accelerator is being opened, it waits for that and closes what comes of it."""
        rig = self.rig()
        rig.seal(LEAST_ITEMS)
        rig.engine.close()
        self.assertEqual(rig.accelerator.closed, 1)
        self.assertEqual((rig.engine.stats.state, rig.events), (AcceleratorState.CLOSED, []))
        rig.seal(1_000)
        rig.lane.run()
        rig.seal(1_000)
        self.assertEqual(rig.done(), {"host": 2, "accelerator": 1})

    def test_between_opening_and_use(self) -> None:
        """So it is where it was opened and not used yet."""
        rig = self.rig()
        rig.seal(LEAST_ITEMS)
        rig.lane.run()
        rig.engine.close()
        self.assertEqual((rig.accelerator.closed, rig.engine.stats.reason), (1, None))

    def test_measuring_is_cut_short(self) -> None:
        """Closing does not wait for costs to be measured to the end; what was measured by half is not kept."""
        rig = self.rig(host=SLOW, accelerator=SLOW, kept=False)
        rig.seal(LEAST_ITEMS)
        rig.engine.close()
        self.assertLessEqual(len(rig.made[-1].asked), 4)
        self.assertEqual((rig.accelerator.closed, rig.engine.stats.reason, rig.events), (1, None, []))
        self.assertIsNone(rig.cache.find(cost_key("host")))
        rig.engine.prepare()
        self.assertEqual(rig.engine.stats.state, AcceleratorState.USABLE)

    def test_end_of_the_process(self) -> None:
        """A process that ends without closing while it is opened waits for that, and closes what comes of it."""
        program = (
            "import threading\n"
            "from securechat.crypto.auto import LEAST_ITEMS, AutoEngine\n"
            "from securechat.crypto.cpu import CpuEngine\n"
            "class Accelerator(CpuEngine):\n"
            "    def __init__(self):\n"
            "        threading.main_thread().join()\n"
            "        print('opened')\n"
            "    def close(self):\n"
            "        print('closed')\n"
            "engine = AutoEngine(CpuEngine, Accelerator)\n"
            "engine.seal_list(bytes(64), [b''] * LEAST_ITEMS, [b''] * LEAST_ITEMS)\n"
            "print('end')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=False, text=True, timeout=PATIENCE_S
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "end\nopened\nclosed\n", ""))

    def test_accelerator_fails_to_close(self) -> None:
        """If the accelerator fails to close, the host's engine is closed all the same, and the error comes out."""
        rig = self.rig().opened()
        rig.accelerator.failure = RuntimeError("stuck")
        with self.assertRaisesRegex(RuntimeError, "stuck"):
            rig.engine.close()
        self.assertEqual((rig.host.closed, rig.engine.stats.state), (1, AcceleratorState.CLOSED))


class ChoosingTests(AutoTestCase):
    """Which batches go where, and what is learnt from them."""

    def test_by_size(self) -> None:
        """Small batches are the host's and large ones the accelerator's; between, the one before it counts."""
        rig = self.rig().opened()
        for count, engine in ((1, "host"), (43, "host"), (50, "accelerator"), (25, "accelerator"), (20, "host")):
            before = rig.done()[engine]
            rig.seal(count)
            self.assertEqual(rig.done()[engine], before + 1, count)
        self.assertEqual(rig.engine.stats.switches, 2)

    def test_every_way_in(self) -> None:
        """Packed batches and lists, sealed and opened, with and without associated data, all go by their size."""
        rig = self.rig().opened()
        for count, engine in ((100, 1), (1, 0)):
            keys, ivs = rows([KEY] * count, 64), np.zeros((count, 16), np.uint8)
            texts, none = Batch.join([b"text"] * count), Batch.join([b""] * count)
            before = rig.engine.stats.engines[engine].batches
            sealed = rig.engine.seal(keys, ivs, none, texts)
            self.assertTrue(rig.engine.open(keys, none, sealed)[1].all())
            encrypted = rig.engine.encrypt(keys[:, :32], ivs, texts)
            self.assertTrue(rig.engine.decrypt(keys[:, :32], ivs, encrypted)[1].all())
            self.assertEqual(rig.engine.open_list(KEY, [b""] * count, sealed.split()), [b"text"] * count)
            self.assertEqual(rig.engine.stats.engines[engine].batches, before + 5)

    def test_learns(self) -> None:
        """Where the accelerator has become slow, the host gets its batches, without being told."""
        rig = self.rig().opened()
        rig.accelerator.slowness = 50.0
        for _ in range(60):
            rig.seal(1_000)
        done = rig.done()
        self.assertGreater(done["accelerator"], 5)
        self.assertGreater(done["host"], 5)
        seal, opened = rig.engine.stats.models
        self.assertGreater(seal.accelerator_factor, 2.0)
        self.assertEqual((opened.accelerator_factor, opened.host_factor), (1.0, 1.0))
        self.assertEqual((seal.host, seal.accelerator), (HOST.seal, ACCELERATOR.seal))

    def test_packed_batches_teach_nothing(self) -> None:
        """Packed batches cost less than the lists that costs are of, and so don't change what is known of those."""
        rig = self.rig().opened()
        count = 1_000
        keys, ivs = rows([KEY], 64), np.zeros((count, 16), np.uint8)
        texts = Batch.join([b"text"] * count)

        class Slow(TimedEngine):
            def seal(self, *arguments: Any) -> Batch:
                self.clock.now_s += 1.0
                return super().seal(*arguments)

        rig.accelerator.__class__ = Slow
        rig.engine.seal(keys, ivs, texts, texts)
        self.assertEqual(rig.engine.stats.engines[1].seconds, 1.0)
        self.assertEqual(rig.engine.stats.models[0].accelerator_factor, 1.0)

    def test_preferred_items(self) -> None:
        """Many items are wanted while there is an accelerator that pays for some number of them, and only then."""
        rig = self.rig()
        self.assertEqual(rig.engine.preferred_items, 0)
        self.assertEqual(rig.opened().engine.preferred_items, LARGE_ITEMS)
        rig.engine.close()
        self.assertEqual(rig.engine.preferred_items, 0)
        never = self.rig(accelerator=both(Line(1e-6, 2e-6, 0.0, 0.0))).opened()
        self.assertEqual(never.engine.preferred_items, 0)
        self.assertEqual(never.told(), ["the accelerator engine is open beside host, and never pays"])
        late = self.rig(accelerator=both(Line(1e-6 * (LARGE_ITEMS + 2), 1e-9, 0.0, 0.0))).opened()
        self.assertEqual(late.engine.preferred_items, 0)

    def test_stats(self) -> None:
        """The figures tell batches, items, bytes and time of each engine, models, crossovers and switches."""
        rig = self.rig()
        self.assertEqual(rig.engine.stats.models, ())
        rig.opened()
        rig.seal(1)
        rig.seal(100)
        host, accelerator = rig.engine.stats.engines
        self.assertEqual((host.name, host.batches, host.items, host.bytes), ("host", 1, 1, 5))
        self.assertEqual((accelerator.batches, accelerator.items, accelerator.bytes), (1, 100, 500))
        self.assertAlmostEqual(host.seconds, 2e-6, 9)
        self.assertAlmostEqual(accelerator.seconds, 40e-6, 9)
        self.assertEqual(rig.engine.host, "host")
        seal, opened = rig.engine.stats.models
        self.assertEqual((seal.operation, opened.operation), ("seal", "open"))
        self.assertEqual(seal.crossovers, ((200, 33), (1_024, 33)))
        shown = list(lines(rig.engine.stats))
        self.assertEqual(shown[0], "accelerator: usable")
        self.assertIn("host: 1 batches, 1 items, 5 bytes, 0.000 s", shown)
        self.assertIn("seal of 200 B messages: the accelerator pays from 33 of them on", shown)
        self.assertEqual(shown[-1], "switches: 1")

    def test_nothing_is_not_counted(self) -> None:
        """Batches of nothing are the host's, open no accelerator and are not counted."""
        rig = self.rig()
        self.assertEqual(rig.engine.seal_list(KEY, [], []), [])
        none = Batch.join([])
        self.assertEqual(len(rig.engine.seal(rows([KEY], 64), np.zeros((0, 16), np.uint8), none, none)), 0)
        self.assertEqual((rig.done(), rig.lane.submitted), ({"host": 0}, 0))


class WorkerTests(AutoTestCase):
    """The worker on it."""

    def test_batches_grow(self) -> None:
        """Once the accelerator is there a request for thousands is one batch; the worker has its figures."""
        auto = self.rig()
        engine: Any = auto.engine
        rig = Rig.new(engine=engine)

        def seal_many(count: int) -> list[int]:
            before = rig.worker.stats.batches
            done = rig.worker.seal_many([(KEY, b"", b"text")] * count)
            rig.all_batches()
            self.assertEqual(len(self.successResultOf(done)), count)
            return [rig.worker.stats.batches - before, rig.worker.stats.items]

        self.assertEqual(seal_many(1_000), [8, 1_000])
        auto.lane.run()
        seal_many(1_000)
        self.assertEqual(seal_many(10_000), [1, 12_000])
        stats = rig.worker.engine_stats
        assert stats is not None
        self.assertEqual(
            (stats.state, [each.name for each in stats.engines]), (AcceleratorState.USABLE, ["host", "accelerator"])
        )
        self.assertEqual(sum(each.items for each in stats.engines), 12_000)
        stopped = rig.worker.stopService()
        rig.all_batches()
        self.successResultOf(stopped)
        self.assertEqual((auto.host.closed, auto.accelerator.closed), (1, 1))


class SlowOpening:
    """Opens an engine when it is told to, in whatever thread."""

    def __init__(self) -> None:
        """Begin shut."""
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.threads: list[str] = []

    def __call__(self) -> Engine:
        """Wait, and open."""
        self.threads.append(threading.current_thread().name)
        self.begun.set()
        assert self.go_on.wait(PATIENCE_S)
        return NamedEngine()


class NamedEngine(CpuEngine):
    """The CPU engine under another name."""

    name = "accelerator"


class RealThreadTests(TestCase):
    """With a real thread beside, real time and a real reactor."""

    timeout = 60

    async def test_requests_do_not_wait_for_opening(self) -> None:
        """While an accelerator takes its time to open the worker goes on; then it is used; then all threads end."""
        before = threading.active_count()
        opening = SlowOpening()
        engine = AutoEngine(CpuEngine, opening, budget_s=0.01, log=log_into([]))
        real: Any = reactor
        worker = CryptoWorker(engine, real)
        worker.startService()
        texts = [Random(i).randbytes(50) for i in range(500)]
        items = [(KEY, b"", text) for text in texts]
        for _ in range(2):
            sealed = await worker.seal_many(items)
            opened: Sequence[bytes | None] = await worker.open_many([(KEY, b"", each) for each in sealed])
            self.assertEqual(opened, texts)
        self.assertTrue(opening.begun.wait(PATIENCE_S))
        self.assertIs(engine.stats.state, AcceleratorState.OPENING)
        opening.go_on.set()
        deadline = time.monotonic() + PATIENCE_S
        while engine.stats.state is AcceleratorState.OPENING and time.monotonic() < deadline:
            await worker.seal_many(items)
        self.assertIs(engine.stats.state, AcceleratorState.USABLE)
        self.assertEqual(opening.threads, ["accelerator"])
        await worker.stopService()
        self.assertEqual(threading.active_count(), before)

    async def test_stopping_while_it_is_opened(self) -> None:
        """A worker that is stopped meanwhile leaves no thread behind, and nothing opened."""
        before = threading.active_count()
        opening = SlowOpening()
        real: Any = reactor
        worker = CryptoWorker(AutoEngine(CpuEngine, opening, budget_s=0.01, log=log_into([])), real)
        worker.startService()
        await worker.seal_many([(KEY, b"", b"text")] * LEAST_ITEMS)
        self.assertTrue(opening.begun.wait(PATIENCE_S))
        stopped = worker.stopService()
        opening.go_on.set()
        await stopped
        self.assertEqual(threading.active_count(), before)
