"""ipsec-mb as a yardstick: built where it is installed, and the same messages as everybody's."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.bench.crypto import NoYardstick
from securechat.bench.ipsec_mb import MOST_ASSOCIATED, NO_COMPILER, NO_LIBRARY, NO_PROCESSOR, IpsecMb, build
from securechat.bench.material import ASSOCIATED_BYTES, random_batch, random_rows
from securechat.crypto.batch import Batch
from securechat.crypto.cpu import CpuEngine


class _Function:
    """A function of a library that gives nothing."""

    def __call__(self, *_: object) -> int:
        """Give a null pointer."""
        return 0


class _Strange:
    """A library on a processor that it does not know."""

    def __init__(self) -> None:
        """Have all its functions."""
        self.state_new = self.state_free = self.seal = self.open_records = _Function()


class BuildTests(SynchronousTestCase):
    """Why there is none."""

    def test_no_compiler(self) -> None:
        """Without a C compiler that is the reason."""
        with self.assertRaises(NoYardstick) as caught:
            build(Path(self.mktemp()), path=os.devnull)
        self.assertEqual(str(caught.exception), NO_COMPILER)

    def test_no_library(self) -> None:
        """Where it does not compile, the library is missing, and the reason names Debian's package."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "cc").write_text("#!/bin/sh\necho 'fatal error: intel-ipsec-mb.h' >&2; exit 1\n")
        (folder / "cc").chmod(0o755)
        with self.assertRaises(NoYardstick) as caught:
            build(folder, path=str(folder))
        self.assertEqual(str(caught.exception), NO_LIBRARY)

    def test_no_processor(self) -> None:
        """A library that gives no state does not know the processor; closing what never opened is not needed."""
        with self.assertRaises(NoYardstick) as caught:
            IpsecMb(_Strange())
        self.assertEqual(str(caught.exception), NO_PROCESSOR)


class IpsecMbTests(SynchronousTestCase):
    """The yardstick where it is installed."""

    def setUp(self) -> None:
        """Build it."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        try:
            self.yardstick = build(Path(folder.name))
        except NoYardstick as reason:
            raise SkipTest(str(reason)) from None
        self.addCleanup(self.yardstick.close)
        self.engine = CpuEngine()

    def test_agrees(self) -> None:
        """It seals to the bytes of the reference and opens them, for every padding and for more than it holds."""
        for size, n in (
            (0, 1),
            (1, 3),
            (15, 2),
            (16, 2),
            (64, 1),
            (200, 700),
            (16384, 5),
            (self.yardstick.longest_text, 3),
        ):
            keys, ivs = random_rows(n, 64), random_rows(n, 16)
            associated, texts = random_batch(n, ASSOCIATED_BYTES), random_batch(n, size)
            sealed = self.yardstick.seal(keys, ivs, associated, texts)
            self.assertEqual(sealed.split(), self.engine.seal(keys, ivs, associated, texts).split(), (size, n))
            opened, ok = self.yardstick.open(keys, associated, sealed)
            self.assertTrue(ok.all())
            self.assertEqual(opened.split(), texts.split())

    def test_refuses(self) -> None:
        """A message that was changed comes back empty, and its neighbours as they are."""
        keys, ivs = random_rows(5, 64), random_rows(5, 16)
        associated, texts = random_batch(5, ASSOCIATED_BYTES), random_batch(5, 20)
        sealed = self.yardstick.seal(keys, ivs, associated, texts)
        changed = sealed.buffer.copy()
        changed[[int(sealed.offsets[1]), int(sealed.offsets[4]) - 1]] ^= 1
        opened, ok = self.yardstick.open(keys, associated, Batch(changed, sealed.offsets))
        self.assertEqual(ok.tolist(), [True, False, True, False, True])
        wanted = [text if good else b"" for text, good in zip(texts.split(), ok, strict=True)]
        self.assertEqual(opened.split(), wanted)

    def test_no_messages(self) -> None:
        """No messages are none."""
        none, keys = random_batch(0, 16), random_rows(0, 64)
        self.assertEqual(len(self.yardstick.seal(keys, random_rows(0, 16), none, none)), 0)

    def test_unequal_lengths(self) -> None:
        """Items of different lengths, too long ones, and impossible sealed ones are a ValueError."""
        keys, ivs, associated = random_rows(2, 64), random_rows(2, 16), random_batch(2, 32)
        for texts in (Batch.join([b"1", b"22"]), random_batch(2, self.yardstick.longest_text + 1)):
            with self.assertRaises(ValueError):
                self.yardstick.seal(keys, ivs, associated, texts)
        for sealed in (random_batch(2, 63), random_batch(2, 48), random_batch(2, 70_016)):
            with self.assertRaises(ValueError):
                self.yardstick.open(keys, associated, sealed)
        for long in (random_batch(2, MOST_ASSOCIATED + 1), Batch.join([b"1", b"22"])):
            with self.assertRaises(ValueError):
                self.yardstick.seal(keys, ivs, long, random_batch(2, 16))
            with self.assertRaises(ValueError):
                self.yardstick.open(keys, long, random_batch(2, 64))

    def test_the_longest(self) -> None:
        """The longest text fits beside the longest associated data."""
        keys, ivs = random_rows(20, 64), random_rows(20, 16)
        associated, texts = random_batch(20, MOST_ASSOCIATED), random_batch(20, self.yardstick.longest_text)
        sealed = self.yardstick.seal(keys, ivs, associated, texts)
        self.assertEqual(sealed.split(), self.engine.seal(keys, ivs, associated, texts).split())
        self.assertEqual(self.yardstick.open(keys, associated, sealed)[0].split(), texts.split())

    def test_parts_of_a_batch(self) -> None:
        """A batch may begin anywhere in its buffer."""
        keys, ivs = random_rows(2, 64), random_rows(2, 16)
        associated, texts = random_batch(4, 32)[2:], random_batch(4, 33)[2:]
        sealed = self.yardstick.seal(keys, ivs, associated, texts)
        self.assertEqual(sealed.split(), self.engine.seal(keys, ivs, associated, texts).split())
        self.assertEqual(int(sealed.offsets[0]), 0)
        self.assertTrue(np.array_equal(sealed.lengths, [96, 96]))

    def test_closing_twice(self) -> None:
        """It may be closed twice."""
        self.yardstick.close()
        self.yardstick.close()
