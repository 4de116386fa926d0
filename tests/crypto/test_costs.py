"""The model of what batches cost: fitting, crossover, and the way to JSON and back."""

import json
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.calibration import SHAPES
from securechat.crypto.costs import (
    Costs,
    EngineCosts,
    Line,
    Sample,
    Shape,
    costs_from_json,
    crossover,
    engine_costs_from_json,
    fit,
)
from tests.crypto import strategies

C_ENGINE = Line(1e-6, 8e-7, 1.6e-9, 0.0)
GPU = Line(50e-6, 3.5e-7, 2e-11, 6e-8)
MEASURED = [Shape.even(count, each) for count, each in SHAPES]


def samples(costs: Costs | Line) -> list[Sample]:
    """Give what a calibration would measure of these costs, if nothing disturbed it."""
    return [Sample(shape, costs.seconds(shape)) for shape in MEASURED]


class FitTests(SynchronousTestCase):
    """What is found in samples."""

    def assert_near(self, found: Costs, true: Costs | Line, share: float, shapes: list[Shape]) -> None:
        """Expect predictions within a share of the truth."""
        for shape in shapes:
            ratio = found.seconds(shape) / true.seconds(shape)
            self.assertLess(abs(ratio - 1), share, shape)

    def test_recovers_coefficients(self) -> None:
        """Undisturbed samples of one line give its coefficients back, those that are 0 included."""
        for true in (C_ENGINE, GPU):
            (found,) = fit(samples(true)).lines
            for name in Line.__slots__:
                expected = getattr(true, name)
                self.assertLessEqual(abs(getattr(found, name) - expected), 1e-3 * expected, name)

    @settings(deadline=None)
    @given(strategies.lines(), st.randoms(use_true_random=False))
    def test_recovers_any_line(self, true: Line, random: Random) -> None:
        """Undisturbed samples of any line, in any order, predict every batch of the sizes measured."""
        shuffled = samples(true)
        random.shuffle(shuffled)
        inside = [Shape.even(count, each) for count in (3, 50, 2_000) for each in (300, 900)]
        self.assert_near(fit(shuffled), true, 0.01, [*MEASURED, *inside])

    @settings(deadline=None)
    @given(strategies.lines(), st.lists(st.floats(0.5, 2.0), min_size=len(SHAPES), max_size=len(SHAPES)))
    def test_any_disturbance_gives_costs(self, true: Line, factors: list[float]) -> None:
        """However far off samples are, what comes of them never says that a larger batch is cheaper."""
        disturbed = [Sample(each.shape, each.seconds * by) for each, by in zip(samples(true), factors, strict=True)]
        found = fit(disturbed)
        sizes = [found.seconds(Shape.even(1 << power, 1_000)) for power in range(20)]
        self.assertEqual(sizes, sorted(sizes))
        self.assertGreater(sizes[-1], 0)

    def test_outliers(self) -> None:
        """Of several samples of a shape the shortest counts, however long the others are."""
        disturbed = [Sample(each.shape, each.seconds * by) for each in samples(GPU) for by in (30.0, 1.0, 3.0)]
        self.assert_near(fit(disturbed), GPU, 0.001, MEASURED)

    def test_threads(self) -> None:
        """An engine that takes more threads for large batches gets a line for them, and is predicted by both."""
        threads = Line(300e-6, 0.5e-7, 1e-10, 0.0)
        true = Costs((C_ENGINE, threads))
        found = fit(samples(true))
        self.assertEqual(len(found.lines), 2)
        self.assert_near(found, true, 0.05, MEASURED)
        self.assert_near(found, true, 0.1, [Shape.even(65_536, 1_000)])

    def test_small_disturbances_give_one_line(self) -> None:
        """Samples that lie near one line are one line: the second is not for following the noise."""
        random = Random(1)
        near = [Sample(each.shape, each.seconds * random.uniform(0.95, 1.05)) for each in samples(C_ENGINE)]
        self.assertEqual(len(fit(near).lines), 1)

    def test_nearly_one_line(self) -> None:
        """So is an engine whose two lines differ by so little that one can stand for both."""
        flatter = Line(50e-6, 7.6e-7, 1.5e-9, 0.0)
        self.assertEqual(len(fit(samples(Costs((C_ENGINE, flatter)))).lines), 1)

    def test_few_samples(self) -> None:
        """One shape alone is enough for costs that are right about it."""
        only = Sample(Shape.even(10, 100), 0.5)
        self.assertAlmostEqual(fit([only]).seconds(only.shape), 0.5)

    def test_no_time(self) -> None:
        """Samples of no time, by a clock too coarse, are passed over; if there are only such, that is an error."""
        none = Sample(Shape.even(1, 1), 0.0)
        self.assert_near(fit([none, *samples(GPU)]), GPU, 0.001, MEASURED)
        for wrong in ([], [none]):
            with self.assertRaises(ValueError):
                fit(wrong)


class CrossoverTests(SynchronousTestCase):
    """From how many messages on the accelerator is faster."""

    def test_lines(self) -> None:
        """Two lines cross at the fixed costs' difference over the slopes' difference."""
        host, far = Costs((Line(0.0, 2**-20, 0.0, 0.0),)), Costs((Line(2**-10, 2**-21, 0.0, 0.0),))
        self.assertEqual(crossover(host, far, 200), 2_048)
        self.assertIs(crossover(far, far, 200), 1)
        self.assertIs(crossover(host, far, 200, most=2_047), None)

    def test_never(self) -> None:
        """There is none where the accelerator is slower for each message."""
        host, slow = Costs((Line(0.0, 1e-6, 0.0, 0.0),)), Costs((Line(1e-3, 1e-6, 0.0, 0.0),))
        self.assertIs(crossover(host, slow, 200), None)
        self.assertIs(crossover(host, Costs((Line(1e-3, 2e-6, 0.0, 0.0),)), 200), None)

    def test_size_matters(self) -> None:
        """The longer the messages, the more a chain of one message costs before many of them make up for it."""
        host = Costs((C_ENGINE,))
        found = [crossover(host, Costs((GPU,)), each) for each in (200, 4_096)]
        self.assertEqual(found, [80, 43])

    @given(strategies.costs(), strategies.costs(), st.integers(0, 20_000))
    def test_least(self, host: Costs, accelerator: Costs, each: int) -> None:
        """At the crossover the accelerator costs no more, at all powers of two and at the number below it more."""
        found = crossover(host, accelerator, each)
        near = 1e-6

        def gain(items: int) -> float:
            shape = Shape.even(items, each)
            return host.seconds(shape) / accelerator.seconds(shape)

        if found is not None:
            self.assertGreaterEqual(gain(found), 1 - near)
        below = [1 << power for power in range(21) if found is None or 1 << power < found]
        for items in [*below, *([found - 1] if found is not None and found > 1 else [])]:
            self.assertLessEqual(gain(items), 1 + near)


class JsonTests(SynchronousTestCase):
    """Costs as JSON."""

    @given(strategies.engine_costs())
    def test_round_trip(self, costs: EngineCosts) -> None:
        """Costs come back from JSON as they went."""
        self.assertEqual(engine_costs_from_json(json.loads(json.dumps(costs.as_json()))), costs)

    def test_refused(self) -> None:
        """Anything that costs don't become is refused, with a ValueError and nothing else."""
        good = [[1e-6, 1e-6, 0, 0]]
        huge = 10**400
        wrong: list[Any] = [None, 1, "x", {}, [], [[]], [None], [[1, 2, 3]], [[1, 2, 3, 4, 5]], good * 3]
        bad: list[Any] = [-1e-9, float("nan"), float("inf"), True, "1", None, [], 1e4, huge]
        wrong += [[[*good[0][:3], each]] for each in bad]
        wrong += [[[0, 0, 0, 0]], [good]]
        for each in wrong:
            with self.assertRaises(ValueError, msg=repr(each)[:100]):
                costs_from_json(each)
            with self.assertRaises(ValueError, msg=repr(each)[:100]):
                engine_costs_from_json({"seal": good, "open": each})
        for each in (good, {}, {"seal": good}, {"seal": good, "open": good, "more": good}, None):
            with self.assertRaises(ValueError):
                engine_costs_from_json(each)
