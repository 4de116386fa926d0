"""Whole programs on the CUDA engine: demo, relay and clients behave as with every other engine."""

import subprocess
import sys
from pathlib import Path

from tests.emulated.emulation import EmulatedTestCase
from tests.system import programs, test_engine_option
from tests.system.programs import environment

KEPT = (*programs.KEPT, "PYTHONPATH", "LD_LIBRARY_PATH")
"""PyCUDA and the driver are found by these."""


class CudaOptionTests(test_engine_option.EngineOptionTests):
    """The tests of `--engine`, with cuda among the engines and an `auto` that has a GPU to choose."""

    def setUp(self) -> None:
        """Put cuda among the engines."""
        super().setUp()
        self.patch(programs, "KEPT", KEPT)
        self.patch(test_engine_option, "USABLE", ("auto", "cpu", "cuda"))


class EnginesCommandTests(EmulatedTestCase):
    """`securechat engines`."""

    def setUp(self) -> None:
        """Let programs find PyCUDA."""
        super().setUp()
        self.patch(programs, "KEPT", KEPT)

    def printed(self, *words: str, **settings: str) -> list[str]:
        """Run it to its end; its lines."""
        home = Path(self.mktemp())
        home.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "securechat", "engines", *words],
            capture_output=True,
            check=True,
            env={**environment(home), **settings},
            text=True,
            timeout=60,
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.splitlines()

    def test_usable(self) -> None:
        """With a device cuda is usable, and auto takes it where it is faster; -v says what auto knows of it."""
        lines = self.printed("-v")
        self.assertIn("cuda    usable", lines)
        self.assertTrue(any("a GPU where that is faster" in line for line in lines), lines)
        self.assertGreater(len(lines), 8)

    def test_no_device(self) -> None:
        """Without a device the reason stands there, and auto says what it takes all the same."""
        lines = self.printed(EMULATED_DEVICES="0")
        (cuda,) = [line for line in lines if line.startswith("cuda")]
        self.assertTrue(cuda.startswith("cuda    not usable: no usable GPU: "), cuda)
