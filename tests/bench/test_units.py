"""Sizes and counts in words."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.units import count_name, parse_count, parse_size, size_name


class UnitsTests(SynchronousTestCase):
    """What is read, and what is written."""

    def test_sizes(self) -> None:
        """Sizes are read with and without units."""
        read = [parse_size(text) for text in ("200", "64B", "1KiB", "4 KiB", "2MiB", "1GiB")]
        self.assertEqual(read, [200, 64, 1024, 4096, 2 << 20, 1 << 30])

    def test_no_sizes(self) -> None:
        """Anything else, 0 and other people's units among them, is refused by its own word."""
        for text in ("", "0", "-1", "1.5KiB", "1kb", "KiB", "200,", "1e3", "9" * 30, "٣"):
            with self.assertRaisesRegex(ValueError, "is no size"):
                parse_size(text)

    def test_counts(self) -> None:
        """Counts are read as numbers, and with the k of 1,024."""
        self.assertEqual([parse_count(text) for text in ("1", "256", "4k", "64 k")], [1, 256, 4096, 65536])

    def test_no_counts(self) -> None:
        """Anything else and 0 are refused by their own word."""
        for text in ("", "0", "-1", "k", "4K", "1.0", "4096B"):
            with self.assertRaisesRegex(ValueError, "is no number of messages"):
                parse_count(text)

    def test_names_are_exact(self) -> None:
        """A name stands for exactly its number, in the largest unit that allows it."""
        self.assertEqual([size_name(n) for n in (0, 64, 1000, 1024, 1536, 1 << 20, 1 << 30)], [
            "0 B", "64 B", "1000 B", "1 KiB", "1536 B", "1 MiB", "1 GiB",
        ])  # fmt: skip
        self.assertEqual([count_name(n) for n in (1, 1000, 4096, 65536)], ["1", "1000", "4 k", "64 k"])
