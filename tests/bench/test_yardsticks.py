"""openssl speed and ipsec-mb."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.bench import ipsec_mb
from securechat.bench.crypto import check
from securechat.bench.ipsec_mb import NO_COMPILER, NO_LIBRARY, IpsecMb, NoYardstick, build
from securechat.bench.material import make_sealed, make_texts
from securechat.bench.openssl import DECRYPT, ENCRYPT, MAC, NO_PROGRAM, estimates, parse, run_speed
from securechat.crypto import aead
from securechat.crypto.batch import Batch
from securechat.crypto.cpu import CpuEngine

PRINTED = "+H:208\n+F:25:AES-256-CBC:1119742997.98\n"


def program(case: SynchronousTestCase, name: str, script: str) -> str:
    """Make a program in a folder of its own; give the folder."""
    folder = Path(case.mktemp())
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return str(folder.resolve())


class OpensslTests(SynchronousTestCase):
    """What is asked of it, and understood."""

    def test_parse(self) -> None:
        """The rate is the last field of the line that begins with +F."""
        self.assertEqual(parse(PRINTED), 1119742997.98)
        self.assertEqual(parse("+H:280\n+F:9:hmac(sha512):495831840.00\n"), 495831840.0)

    def test_not_understood(self) -> None:
        """Without such a line, with no number or none above 0 there is no figure."""
        for printed in ("", "+H:208\n", "+F:25:AES-256-CBC:fast\n", "+F:25:AES-256-CBC:0.00\n", "+R:1:x:1.0\n"):
            self.assertRaises(NoYardstick, parse, printed)

    def test_estimate(self) -> None:
        """A message takes the time of its cipher and the time of its MAC, one after the other."""
        rates = {ENCRYPT: 208.0, DECRYPT: 416.0, MAC: 132.0}

        def speed(arguments: Sequence[str]) -> str:
            return f"+F:1:it:{rates[tuple(arguments[5:])]}\n"

        sealing, opening = estimates([200], 3, speed)
        # 208 bytes of ciphertext, and 32 + 16 + 208 + 8 that are authenticated.
        self.assertEqual((sealing.operation, sealing.seconds), ("seal", 3 * (1.0 + 2.0)))
        self.assertEqual((opening.operation, opening.seconds), ("open", 3 * (0.5 + 2.0)))
        self.assertEqual((sealing.engine, sealing.path, sealing.size, sealing.n), ("openssl", "estimate", 200, 3))

    def test_sizes_asked(self) -> None:
        """It is asked for buffers just as long as the message's, in the form for machines, a second each."""
        asked: list[str] = []

        def speed(arguments: Sequence[str]) -> str:
            asked.append(" ".join(arguments))
            return PRINTED

        estimates([16], 1, speed)
        self.assertEqual(
            asked,
            [
                "-mr -seconds 1 -bytes 88 -hmac sha512",
                "-mr -seconds 1 -bytes 32 -evp aes-256-cbc",
                "-mr -seconds 1 -bytes 32 -decrypt -evp aes-256-cbc",
            ],
        )

    def test_runs_the_program(self) -> None:
        """The program gets the arguments behind `speed`, and what it prints comes back."""
        path = program(self, "openssl", 'echo "$@"')
        self.assertEqual(run_speed(["-mr", "-hmac", "sha512"], path), "speed -mr -hmac sha512\n")

    def test_no_program(self) -> None:
        """Without the program the reason is that."""
        self.assertEqual(str(self.assertRaises(NoYardstick, run_speed, [], "/nowhere")), NO_PROGRAM)

    def test_failing_program(self) -> None:
        """A program that does not know the options is a reason, and no failure."""
        wrong = self.assertRaises(NoYardstick, run_speed, ["-mr"], program(self, "openssl", "exit 1"))
        self.assertEqual(str(wrong), "`openssl speed -mr` failed")


class MissingIpsecMbTests(SynchronousTestCase):
    """Where it cannot be had."""

    def reason(self, path: str) -> str:
        """Build with compilers from this path only; give the reason why not."""
        return str(self.assertRaises(NoYardstick, build, Path(self.mktemp()), path))

    def test_no_compiler(self) -> None:
        """Without a C compiler the reason is that."""
        self.assertEqual(self.reason("/nowhere"), NO_COMPILER)

    def test_no_library(self) -> None:
        """Where the compiler finds no header the reason names the package."""
        self.assertEqual(self.reason(program(self, "cc", "exit 1")), NO_LIBRARY)

    def test_not_loadable(self) -> None:
        """So it does where what was built cannot be loaded."""
        self.assertEqual(self.reason(program(self, "gcc", ":")), NO_LIBRARY)

    def test_unknown_processor(self) -> None:
        """Where the library does not work on this processor the reason is that."""

        class Function:
            def __call__(self, *_: object) -> None:
                return None

        class Library:
            state_new = state_free = seal = open_records = Function()

        self.assertEqual(str(self.assertRaises(NoYardstick, IpsecMb, Library())), ipsec_mb.NO_PROCESSOR)


class IpsecMbTests(SynchronousTestCase):
    """The real one, where it is installed."""

    def setUp(self) -> None:
        """Build it."""
        folder = Path(self.mktemp())
        folder.mkdir()
        try:
            self.it = build(folder, os.environ.get("PATH"))
        except NoYardstick as wrong:
            raise SkipTest(f"ipsec-mb: {wrong}") from None
        self.addCleanup(self.it.close)

    def test_agrees_with_the_loop(self) -> None:
        """It and the loop open each other's messages, at every remainder of a block and up to its limit."""
        for size in (*range(1, 34), 4096, self.it.longest_text):
            check("ipsec-mb", self.it, size)

    def test_same_bytes(self) -> None:
        """Under the same keys and ivs it gives the reference's bytes, more messages than it holds at once."""
        it = make_texts(100, 700)
        sealed = self.it.seal(it.keys, it.ivs, it.associated, it.items)
        ivs = [iv.tobytes() for iv in it.ivs]
        self.assertEqual(sealed.split(), list(map(aead.seal, it.key_list, it.associated_list, it.item_list, ivs)))

    def test_verifies(self) -> None:
        """It opens nothing whose tag or ciphertext was changed, and the neighbours all the same."""
        it = make_sealed(100, 3, CpuEngine())
        for at in (20, -1):
            items = list(it.item_list)
            changed = bytearray(items[1])
            changed[at] ^= 1
            items[1] = bytes(changed)
            texts, ok = self.it.open(it.keys, it.associated, Batch.join(items))
            self.assertEqual((ok.tolist(), list(map(len, texts.split()))), ([True, False, True], [100, 0, 100]))

    def test_a_run_of_a_batch(self) -> None:
        """A batch that begins inside its buffer is sealed from there."""
        it = make_texts(48, 4)
        sealed = self.it.seal(it.keys[2:], it.ivs[2:], it.associated[2:], it.items[2:])
        self.assertEqual(aead.open(it.key_list[2], it.associated_list[2], sealed[0]), it.item_list[2])

    def test_unequal_items(self) -> None:
        """Items of different lengths are refused before anything is read."""
        it = make_texts(48, 2)
        with self.assertRaises(ValueError):
            self.it.seal(it.keys, it.ivs, it.associated, Batch.join([b"1", b"22"]))
        with self.assertRaises(ValueError):
            self.it.open(it.keys, it.associated, Batch.join([bytes(63)] * 2))

    def test_long_items(self) -> None:
        """Texts and associated data that a job would not take are refused."""
        it = make_texts(48, 1)
        with self.assertRaises(ValueError):
            self.it.seal(it.keys, it.ivs, it.associated, Batch.join([bytes(self.it.longest_text + 1)]))
        with self.assertRaises(ValueError):
            self.it.seal(it.keys, it.ivs, Batch.join([bytes(257)]), it.items)

    def test_nothing(self) -> None:
        """An empty batch is an empty batch."""
        none = Batch.join([])
        sealed = self.it.seal(np.empty((0, 64), np.uint8), np.empty((0, 16), np.uint8), none, none)
        self.assertEqual(len(sealed), 0)

    def test_closed_twice(self) -> None:
        """It may be closed twice."""
        self.it.close()
        self.it.close()
