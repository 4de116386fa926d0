"""The options of `securechat bench crypto`."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.crypto import COUNTS, QUICK_COUNTS, QUICK_SIZES, SIZES
from securechat.bench.options import QUICK_SECONDS, SECONDS, read
from tests.bench.harness import parsed


class ReadTests(SynchronousTestCase):
    """What options ask for."""

    def test_nothing_said(self) -> None:
        """Without options it is the whole grid, with every engine and yardstick, by list and packed."""
        wish = read(parsed())
        self.assertEqual((wish.sizes, wish.counts, wish.seconds), (SIZES, COUNTS, SECONDS))
        self.assertEqual((wish.engines, wish.demanded), (("cpu", "native", "cuda"), False))
        self.assertEqual((wish.paths, wish.yardsticks), (("list", "packed"), ("ipsec-mb", "openssl")))
        self.assertEqual((wish.most_bytes, wish.json, wish.plot), (None, False, None))

    def test_the_whole_grid(self) -> None:
        """The grid is 64 B to 16 KiB times 1 to 64 k messages."""
        self.assertEqual(SIZES, (64, 200, 1024, 4096, 16384))
        self.assertEqual(COUNTS, (1, 16, 256, 4096, 65536))

    def test_quick(self) -> None:
        """--quick takes a smaller grid and less time, where nothing else is said."""
        wish = read(parsed("--quick", "--sizes", "1KiB"))
        self.assertEqual((wish.sizes, wish.counts, wish.seconds), ((1024,), QUICK_COUNTS, QUICK_SECONDS))
        self.assertEqual(read(parsed("--quick")).sizes, QUICK_SIZES)

    def test_everything_said(self) -> None:
        """Lists are read word by word; spaces and repetitions do not matter."""
        wish = read(
            parsed(
                "--sizes=64, 1KiB,64", "--counts=4k,1", "--engines=cuda,cpu", "--paths=list-1key,list",
                "--yardsticks=openssl", "--seconds=2.5", "--memory=64MiB", "--json", "--plot=x/y.SVG",
            )
        )  # fmt: skip
        self.assertEqual((wish.sizes, wish.counts, wish.seconds), ((64, 1024), (4096, 1), 2.5))
        self.assertEqual((wish.engines, wish.demanded), (("cpu", "cuda"), True))
        self.assertEqual((wish.paths, wish.yardsticks), (("list", "list-1key"), ("openssl",)))
        self.assertEqual((wish.most_bytes, wish.json, wish.plot), (64 << 20, True, Path("x/y.SVG")))

    def test_no_yardsticks(self) -> None:
        """--yardsticks none leaves them out."""
        self.assertEqual(read(parsed("--yardsticks", "none")).yardsticks, ())

    def test_bad_values(self) -> None:
        """What is not understood is a ValueError of one line that begins with the option and quotes the word."""
        for option, word in (
            ("--sizes", "1KB"),
            ("--sizes", ""),
            ("--sizes", "none"),
            ("--counts", "0"),
            ("--counts", "many"),
            ("--engines", "gpu"),
            ("--engines", "auto"),
            ("--paths", "lists"),
            ("--yardsticks", "gpg"),
            ("--seconds", "0"),
            ("--seconds", "-1"),
            ("--seconds", "nan"),
            ("--seconds", "1e999"),
            ("--seconds", "soon"),
            ("--memory", "much"),
            ("--memory", "1MiB,2MiB"),
            ("--plot", "picture.png"),
            ("--plot", ""),
        ):
            with self.assertRaises(ValueError) as caught:
                read(parsed(f"{option}={word}"))
            text = str(caught.exception)
            self.assertTrue(text.startswith(f"{option}: "), text)
            self.assertNotIn("\n", text)
            self.assertIn(repr(word), text)

    def test_bad_word_in_a_list(self) -> None:
        """In a list it is the one bad word that is quoted."""
        for option, words, bad in (("--sizes", "64,,200", ""), ("--yardsticks", "openssl,none", "none")):
            with self.assertRaisesRegex(ValueError, f"^{option}: '{bad}' is n"):
                read(parsed(f"{option}={words}"))
