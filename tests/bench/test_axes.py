"""Logarithmic axes."""

from hypothesis import given
from hypothesis.strategies import floats
from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.axes import Axis


class AxisTests(SynchronousTestCase):
    """Where values stand, and which carry a name."""

    def test_places(self) -> None:
        """Equal factors are equal distances, in either direction of the picture."""
        self.assertEqual([Axis(1, 100, 0, 10).at(value) for value in (1, 10, 100)], [0, 5, 10])
        self.assertEqual([Axis(1, 100, 10, 0).at(value) for value in (1, 10, 100)], [10, 5, 0])

    def test_one_value(self) -> None:
        """A single value stands in the middle."""
        self.assertEqual(Axis(16, 16, 0, 10).at(16), 5)

    def test_rounded(self) -> None:
        """Ends are rounded outwards to 1, 2 or 5 times a power of ten, and such numbers stay."""
        self.assertEqual(Axis(0.3, 70, 0, 1).rounded(), Axis(0.2, 100, 0, 1))
        self.assertEqual(Axis(0.2, 50, 0, 1).rounded(), Axis(0.2, 50, 0, 1))

    @given(floats(1e-6, 1e9), floats(1, 1e6))
    def test_named_values(self, least: float, factor: float) -> None:
        """Whatever the ends, named values lie between them, in order and not too many for a picture."""
        axis = Axis(least, least * factor, 0, 1).rounded()
        self.assertLessEqual(axis.least, least * 1.00001)
        self.assertGreaterEqual(axis.most, least * factor * 0.99999)
        values = axis.decades()
        self.assertEqual(values, sorted(set(values)))
        self.assertTrue(1 <= len(values) <= 10, values)
