"""Sizes and counts as people write and read them."""

from hypothesis import given
from hypothesis.strategies import integers
from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.options import size_word
from securechat.bench.units import count_name, parse_count, parse_size, size_name


class UnitTests(SynchronousTestCase):
    """Both ways."""

    def test_sizes(self) -> None:
        """A size is a number of bytes, or one with a unit behind it."""
        words = {"200": 200, "200B": 200, "1KiB": 1024, "4 KiB": 4096, "64MiB": 64 << 20, "1GiB": 1 << 30}
        self.assertEqual({word: parse_size(word) for word in words}, words)

    def test_counts(self) -> None:
        """A count is a number, or thousands of 1,024 with a k behind them."""
        words = {"1": 1, "256": 256, "4k": 4096, "64 k": 65536}
        self.assertEqual({word: parse_count(word) for word in words}, words)

    def test_no_sizes(self) -> None:
        """Nothing, 0, signs, fractions, unknown units and absurd lengths are no sizes."""
        for word in ("", "0", "-1", "1.5", "1KB", "KiB", "1e3", "9" * 16, "1\n"):
            with self.assertRaisesRegex(ValueError, "is no size"):
                parse_size(word)

    def test_no_counts(self) -> None:
        """Nothing, 0, signs, fractions and unknown units are no counts."""
        for word in ("", "0", "0k", "-1", "1.5", "1M", "k", "9" * 16):
            with self.assertRaisesRegex(ValueError, "is no number of messages"):
                parse_count(word)

    def test_names(self) -> None:
        """The largest unit that leaves no fraction is taken."""
        names = {0: "0 B", 64: "64 B", 1024: "1 KiB", 1025: "1025 B", 3 << 20: "3 MiB", 1 << 30: "1 GiB"}
        self.assertEqual({size: size_name(size) for size in names}, names)
        counts = {0: "0", 1: "1", 1000: "1000", 1024: "1 k", 65536: "64 k"}
        self.assertEqual({n: count_name(n) for n in counts}, counts)

    @given(integers(1, 1 << 40))
    def test_round_trip(self, value: int) -> None:
        """What is written is read as the same, also without the space."""
        self.assertEqual(parse_size(size_name(value)), value)
        self.assertEqual(parse_size(size_word(value)), value)
        self.assertEqual(parse_count(count_name(value)), value)
