"""Which engine a batch goes to, as numbers."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.costs import Costs, EngineCosts, Line, Shape
from securechat.crypto.policy import HYSTERESIS, LEAST_S, Correction, Policy
from tests.crypto import strategies


def engine_costs(fixed: float, per_item: float) -> EngineCosts:
    """Give costs that are the same for both operations and all sizes of messages."""
    costs = Costs((Line(fixed, per_item, 0.0, 0.0),))
    return EngineCosts(costs, costs)


HOST = engine_costs(0.0, 1e-6)
FAR = engine_costs(1e-3, 1e-7)
"""Crosses HOST at 1,112 messages; 1.3 times as fast from 1,495 on, as slow up to 833."""


def messages(count: int) -> Shape:
    """Give a batch of so many."""
    return Shape.even(count, 200)


class ChoiceTests(SynchronousTestCase):
    """Without corrections."""

    def test_small_and_large(self) -> None:
        """Small batches stay with the host, large ones go to the accelerator, in any order."""
        policy = Policy(HOST, FAR)
        sizes = [1, 5_000, 1, 1, 100_000, 5_000, 1]
        self.assertEqual(
            [policy.accelerates("seal", messages(size)) for size in sizes], [size > 1 for size in sizes]
        )
        self.assertEqual(policy.switches, 4)

    def test_hysteresis(self) -> None:
        """Between the two bounds a batch goes where the one before it went."""
        policy = Policy(HOST, FAR)
        for size, expected in (
            (1_494, False),
            (1_496, True),
            (1_112, True),
            (834, True),
            (832, False),
            (1_494, False),
        ):
            self.assertIs(policy.accelerates("seal", messages(size)), expected, size)

    def test_operations_are_apart(self) -> None:
        """Sealing and opening have engines at work of their own."""
        policy = Policy(HOST, FAR)
        self.assertTrue(policy.accelerates("seal", messages(5_000)))
        self.assertFalse(policy.accelerates("open", messages(1_200)))
        self.assertTrue(policy.accelerates("seal", messages(1_200)))

    @given(strategies.engine_costs(), strategies.engine_costs(), strategies.shapes())
    def test_no_flapping_on_one_size(self, host: EngineCosts, accelerator: EngineCosts, shape: Shape) -> None:
        """Batches of one size change the engine once at most, and then for one that is so much faster."""
        policy = Policy(host, accelerator)
        choices = [policy.accelerates("open", shape) for _ in range(5)]
        self.assertEqual(choices, choices[:1] * 5)
        self.assertEqual(policy.switches, int(choices[0]))
        gain = host.open.seconds(shape) / accelerator.open.seconds(shape)
        self.assertEqual(choices[0], gain > HYSTERESIS)

    @given(
        strategies.engine_costs(), strategies.engine_costs(), st.lists(strategies.shapes(), min_size=1, max_size=20)
    )
    def test_never_much_slower(self, host: EngineCosts, accelerator: EngineCosts, shapes: list[Shape]) -> None:
        """Whatever came before, no batch goes where it is predicted to take over 1.3 times as long."""
        policy = Policy(host, accelerator)
        for shape in shapes:
            times = [host.seal.seconds(shape), accelerator.seal.seconds(shape)]
            taken = times[policy.accelerates("seal", shape)]
            self.assertLessEqual(taken, min(times) * HYSTERESIS * (1 + 1e-9))

    @given(
        strategies.lines(),
        strategies.lines(),
        st.integers(0, 20_000),
        st.integers(1, 60_000),
        st.integers(1, 1_000),
    )
    def test_monotone(self, host: Line, gpu: Line, each: int, count: int, more: int) -> None:
        """Where the accelerator has the higher fixed cost, whoever sends it a batch sends it a larger one too."""
        host_costs, gpu_costs = (EngineCosts(Costs((line,)), Costs((line,))) for line in (host, gpu))
        if gpu.fixed + gpu.per_longest * each >= host.fixed + host.per_longest * each:
            small = Policy(host_costs, gpu_costs).accelerates("seal", Shape.even(count, each))
            large = Policy(host_costs, gpu_costs).accelerates("seal", Shape.even(count + more, each))
            self.assertLessEqual(small, large)


class CorrectionTests(SynchronousTestCase):
    """How predictions follow what is measured."""

    def test_follows(self) -> None:
        """A factor comes near to what is measured again and again, slowly."""
        correction = Correction()
        correction.measured(0.001, 0.0015)
        self.assertLess(correction.factor, 1.03)
        for _ in range(100):
            correction.measured(0.001, 0.0015)
        self.assertAlmostEqual(correction.factor, 1.5, 2)

    def test_outlier(self) -> None:
        """One batch that took a thousand times as long, or as short, moves it by less than 5 percent."""
        for factor in (1e3, 1e-3):
            correction = Correction()
            correction.measured(1.0, factor)
            self.assertLess(max(correction.factor, 1 / correction.factor), 1.05)

    def test_bounds(self) -> None:
        """It never leaves a sixteenth to sixteen times."""
        for factor, bound in ((1e3, 16.0), (1e-3, 1 / 16)):
            correction = Correction()
            for _ in range(1_000):
                correction.measured(1.0, factor)
            self.assertAlmostEqual(correction.factor, bound)

    def test_short_batches_do_not_count(self) -> None:
        """What was over in less than 100 us is not measured by, nor what was predicted to take no time."""
        correction = Correction()
        correction.measured(LEAST_S / 10, LEAST_S * 0.99)
        correction.measured(0.0, 1.0)
        self.assertEqual(correction.factor, 1.0)

    def test_forgets(self) -> None:
        """Passed over, it is half as far off after 180 batches."""
        correction = Correction()
        for _ in range(1_000):
            correction.measured(1.0, 4.0)
        self.assertAlmostEqual(correction.factor, 4.0)
        for _ in range(180):
            correction.passed_over()
        self.assertAlmostEqual(correction.factor, 2.0, 1)


class LearningTests(SynchronousTestCase):
    """What corrections do to choices."""

    def test_slow_accelerator_is_left_and_tried_again(self) -> None:
        """An accelerator that got slow is left soon, and tried again now and then; once it is fast, it stays."""
        policy, shape, slowness = Policy(HOST, FAR), messages(5_000), 10.0
        taken = []

        def batch() -> None:
            accelerated = policy.accelerates("seal", shape)
            taken.append(accelerated)
            truth = (FAR if accelerated else HOST).seal.seconds(shape) * (slowness if accelerated else 1.0)
            policy.learn("seal", accelerated, shape, truth)

        for _ in range(1_000):
            batch()
        self.assertTrue(taken[0])
        self.assertLess(sum(taken[:100]), 40)
        self.assertTrue(any(taken[200:]))
        self.assertLess(sum(taken[200:]), 100)
        slowness = 1.0
        for _ in range(1_000):
            batch()
        self.assertTrue(all(taken[-500:]))

    def test_factors(self) -> None:
        """Each engine and operation is corrected by its own batches."""
        policy, shape = Policy(HOST, FAR), messages(5_000)
        policy.learn("open", True, shape, 1.0)
        factors = {(op, at): policy.factor(op, at) for op in ("seal", "open") for at in (False, True)}
        self.assertEqual([key for key, factor in factors.items() if factor != 1.0], [("open", True)])
        expected = FAR.open.seconds(shape) * policy.factor("open", True)
        self.assertEqual(policy.seconds("open", True, shape), expected)

    def test_crossover_is_of_the_fitted_costs(self) -> None:
        """The crossover that is told is that of the costs as they were measured at first."""
        policy = Policy(HOST, FAR)
        policy.learn("seal", True, messages(5_000), 1.0)
        self.assertEqual(policy.crossover("seal", 200), 1_112)
