"""The options of `securechat bench crypto`."""

import argparse
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.crypto import COUNTS, MEMORY_BYTES, QUICK_COUNTS, QUICK_SIZES, SIZES
from securechat.bench.options import Wish, add_options, memory_default, physical_bytes, read, size_word
from securechat.bench.units import parse_size


def wish(*words: str) -> Wish:
    """Read these words of a command line."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return read(parser.parse_args(words))


class OptionsTests(SynchronousTestCase):
    """What they ask for."""

    def test_defaults(self) -> None:
        """Without options everything that is usable is measured on the whole grid, by list and packed."""
        found = wish()
        self.assertEqual((found.sizes, found.counts), (SIZES, COUNTS))
        self.assertEqual((found.engines, found.demanded), (("cpu", "native", "cuda"), False))
        self.assertEqual((found.paths, found.yardsticks), (("list", "packed"), ("ipsec-mb", "openssl")))
        self.assertEqual((found.json, found.plot), (False, None))

    def test_quick(self) -> None:
        """--quick takes a smaller grid and less time, and gives way to what is named."""
        found = wish("--quick")
        self.assertEqual((found.sizes, found.counts), (QUICK_SIZES, QUICK_COUNTS))
        self.assertLess(found.seconds, wish().seconds)
        self.assertEqual(wish("--quick", "--sizes", "1KiB", "--seconds", "99").sizes, (1024,))

    def test_lists(self) -> None:
        """Words stand between commas; one that comes twice counts once."""
        found = wish("--sizes", "200, 1KiB,200", "--counts", "1,4k", "--engines", "native,cpu", "--paths", "packed")
        self.assertEqual((found.sizes, found.counts), ((200, 1024), (1, 4096)))
        self.assertEqual((found.engines, found.demanded, found.paths), (("cpu", "native"), True, ("packed",)))

    def test_no_yardsticks(self) -> None:
        """--yardsticks none measures none."""
        self.assertEqual(wish("--yardsticks", "none").yardsticks, ())

    def test_rest(self) -> None:
        """Seconds, memory, JSON and the picture are as they were asked for."""
        found = wish("--seconds", "2.5", "--memory", "64MiB", "--json", "--plot", "docs/it.svg")
        self.assertEqual((found.seconds, found.most_bytes), (2.5, 64 << 20))
        self.assertEqual((found.json, found.plot), (True, Path("docs/it.svg")))

    def test_wrong_words(self) -> None:
        """A wrong word is refused in one line that names the option and the word."""
        for option, word in (
            ("--sizes", "1kb"),
            ("--sizes", ""),
            ("--counts", "0"),
            ("--engines", "gpu"),
            ("--paths", "tuple"),
            ("--yardsticks", "libressl"),
            ("--seconds", "0"),
            ("--seconds", "nan"),
            ("--seconds", "inf"),
            ("--seconds", "soon"),
            ("--memory", "all"),
            ("--plot", "it.png"),
        ):
            said = str(self.assertRaises(ValueError, wish, option, word))
            self.assertTrue(said.startswith(f"{option}: {word!r} "), said)
            self.assertNotIn("\n", said)

    def test_memory_default(self) -> None:
        """Batches are bounded by a fixed size, and on small machines by an eighth of the memory."""
        self.assertEqual(memory_default(lambda: 1 << 40), MEMORY_BYTES)
        self.assertEqual(memory_default(lambda: 4 << 30), 512 << 20)
        self.assertGreater(physical_bytes(), 1 << 20)

    def test_help_can_be_copied(self) -> None:
        """The sizes that the help shows are such that the option takes."""
        self.assertEqual([parse_size(size_word(size)) for size in (1, 200, *SIZES)], [1, 200, *SIZES])
