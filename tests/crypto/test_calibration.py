"""Timing an engine, by a clock that the engine moves."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.calibration import BUDGET_S, SHAPES, calibrate
from securechat.crypto.costs import Costs, EngineCosts, Line, Shape
from tests.crypto.auto_fakes import TimedEngine
from tests.crypto.fakes import HandClock


class CalibrateTests(SynchronousTestCase):
    """What it finds, and how long it takes."""

    def setUp(self) -> None:
        """Make an engine as slow as `cryptography`, so that the tests' own sealing is quickly over."""
        self.clock = HandClock()
        costs = EngineCosts(Costs((Line(2e-5, 2e-5, 2e-9, 1e-9),)), Costs((Line(1e-5, 1e-5, 1e-9, 1e-8),)))
        self.engine = TimedEngine("timed", costs, self.clock)

    def test_finds_costs(self) -> None:
        """The costs come out by which the engine's time passes, for each operation its own."""
        found = calibrate(self.engine, self.clock.seconds, budget_s=1.0)
        for operation in ("seal", "open"):
            for count, each in ((1, 200), (100, 200), (1_000, 1_000)):
                shape = Shape.even(count, each)
                ratio = found.of(operation).seconds(shape) / self.engine.costs.of(operation).seconds(shape)
                self.assertLess(abs(ratio - 1), 0.05, (operation, shape))

    def test_warming_up_does_not_count(self) -> None:
        """What the first batch takes longer than others leaves no trace."""
        expected = calibrate(self.engine, self.clock.seconds)

        class Cold(TimedEngine):
            def _pass(self, what: str, items: object) -> None:
                if len(self.asked) < 2:
                    self.clock.now_s += 0.01
                super()._pass(what, items)  # type: ignore[arg-type]

        found = calibrate(Cold("cold", self.engine.costs, self.clock), self.clock.seconds)
        for shape in (Shape.even(1, 200), Shape.even(256, 200)):
            self.assertAlmostEqual(found.seal.seconds(shape) / expected.seal.seconds(shape), 1.0, 2)

    def test_budget(self) -> None:
        """However slow the engine is, the budget is hardly exceeded; one message is sealed and opened anyway."""
        for slowness, most_s in ((0.2, BUDGET_S), (1.0, BUDGET_S), (10.0, BUDGET_S), (1e4, 1e4 * 1e-4)):
            self.engine.slowness = slowness
            begun = self.clock.now_s
            calibrate(self.engine, self.clock.seconds)
            self.assertLessEqual(self.clock.now_s - begun, most_s * 1.1, slowness)
            self.assertGreaterEqual(self.clock.now_s - begun, BUDGET_S * 0.7, slowness)

    def test_small_before_large(self) -> None:
        """An engine too slow for all shapes is measured by the small ones."""
        self.engine.slowness = 10.0
        calibrate(self.engine, self.clock.seconds)
        counts = {count for _, count in self.engine.asked}
        self.assertLessEqual({1, 8, 16, 64}, counts)
        self.assertNotIn(SHAPES[-1][0], counts)

    def test_stopped(self) -> None:
        """Told to stop, it begins no other batch."""
        calibrate(self.engine, self.clock.seconds, stopped=lambda: len(self.engine.asked) >= 6)
        self.assertEqual(len(self.engine.asked), 6)

    def test_no_time(self) -> None:
        """Where the clock stands still there is nothing to be found, which is an error."""
        with self.assertRaises(ValueError):
            calibrate(self.engine, lambda: 0.0, stopped=lambda: len(self.engine.asked) >= 6)
