"""`openssl speed` as a yardstick."""

import os
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.bench.crypto import NoYardstick
from securechat.bench.openssl import NO_PROGRAM, estimates, parse, run_speed

PRINTED = """\
+DT:aes-256-cbc:1:208
+R:6138484:aes-256-cbc:1.000000
+H:208
+F:22:aes-256-cbc:1276804672.00
"""


class ParseTests(SynchronousTestCase):
    """Reading what it prints."""

    def test_rate(self) -> None:
        """The rate is the last field of the line of results."""
        self.assertEqual(parse(PRINTED), 1276804672.0)

    def test_something_else(self) -> None:
        """What has no such line, or no rate above 0 in it, is not understood."""
        for printed in ("", "speed: Unknown option -mr\n", "+F:22:x:fast\n", "+F:22:x:0.00\n", "+H:208\n", "+F:"):
            with self.assertRaisesRegex(NoYardstick, "is not understood"):
                parse(printed)


class EstimateTests(SynchronousTestCase):
    """What is made of it."""

    def test_sum_of_cipher_and_mac(self) -> None:
        """Sealing is one encryption and one MAC, opening one decryption and one MAC, for each message."""
        asked: list[Sequence[str]] = []

        def speed(arguments: Sequence[str]) -> str:
            asked.append(arguments)
            rate = {"sha512": 1000.0, "aes-256-cbc": 500.0}[arguments[-1]] * (2 if "-decrypt" in arguments else 1)
            return f"+F:1:{arguments[-1]}:{rate:.2f}"

        seal, opened = estimates({100: 16}, speed)
        # 100 bytes become 112 with padding; the MAC runs over 32 of associated data, an iv, them, and a length.
        self.assertEqual((seal.operation, seal.n, seal.seconds), ("seal", 16, 16 * (168 / 1000 + 112 / 500)))
        self.assertEqual((opened.operation, opened.n, opened.seconds), ("open", 16, 16 * (168 / 1000 + 112 / 1000)))
        self.assertEqual(
            {(row.engine, row.path, row.ratio) for row in (seal, opened)}, {("openssl", "estimate", None)}
        )
        self.assertEqual([words[words.index("-bytes") + 1] for words in asked], ["168", "112", "112"])


class RunTests(SynchronousTestCase):
    """The program itself."""

    def program(self, script: str) -> str:
        """Make a folder with an `openssl` that does this; its path."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "openssl").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "openssl").chmod(0o755)
        return str(folder)

    def test_not_installed(self) -> None:
        """Where there is no program, that is the reason."""
        with self.assertRaises(NoYardstick) as caught:
            run_speed(["-mr"], path=os.devnull)
        self.assertEqual(str(caught.exception), NO_PROGRAM)

    def test_fails(self) -> None:
        """Where it fails, the reason is one line with its arguments, whatever it printed."""
        with self.assertRaises(NoYardstick) as caught:
            run_speed(["-mr", "-hmac", "sha512"], self.program("echo no such thing; exit 1"))
        self.assertEqual(str(caught.exception), "`openssl speed -mr -hmac sha512` failed")

    def test_arguments(self) -> None:
        """It is called with `speed` and the arguments, and its output given back."""
        self.assertEqual(run_speed(["-mr", "x"], self.program('echo "$@"')), "speed -mr x\n")

    def test_the_real_one(self) -> None:
        """What the installed program prints is understood."""
        try:
            printed = run_speed(["-mr", "-seconds", "1", "-bytes", "64", "-hmac", "sha512"])
        except NoYardstick as reason:
            raise SkipTest(str(reason)) from None
        self.assertGreater(parse(printed), 0)
