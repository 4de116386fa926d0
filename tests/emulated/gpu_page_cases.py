"""The page of a GPU's figures on the emulated driver: every part of it works, and no figure means anything."""

import os
import subprocess
import sys
from pathlib import Path

from tests.emulated.build import CHECKOUT
from tests.emulated.emulation import EmulatedTestCase

PROGRAM_TIMEOUT_S = 120


class PageTests(EmulatedTestCase):
    """`python benchmarks/gpu.py`."""

    def run_program(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        command = [sys.executable, str(CHECKOUT / "benchmarks" / "gpu.py"), *words]
        return subprocess.run(
            command,
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONPATH": f"{CHECKOUT}:{os.environ['PYTHONPATH']}", **environment},
            text=True,
            timeout=PROGRAM_TIMEOUT_S,
        )

    def test_page(self) -> None:
        """It names the device, measures every part, and has the contract run."""
        path = Path(self.mktemp()).resolve()
        done = self.run_program("--quick", "--write", str(path))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        page = path.read_text("utf-8")
        self.assertEqual(page, done.stdout)
        for part in (
            ": Emulated GPU (sm_90, 2 multiprocessors)",
            "| pcie duplex |",
            "| launch round-trip |",
            "| kernel seal 1024 x 64 |",
            "| kernel tag 65536 x 1 |",
            "| seal 1024 x 256, cuda locked |",
            "| open 1024 x 256, cuda packed |",
            "| open 200 x 256, cuda list |",
            "PASSED",
        ):
            self.assertIn(part, page)

    def test_no_gpu(self) -> None:
        """Without a GPU it says so and writes nothing; that is a failure where it was to write."""
        path = Path(self.mktemp()).resolve()
        for words, status in ((["--write", str(path)], 1), ([], 0)):
            done = self.run_program(*words, EMULATED_DEVICES="0")
            self.assertEqual((done.returncode, done.stdout), (status, ""))
            self.assertTrue(done.stderr.startswith("nothing measured: no usable GPU: "), done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)
        self.assertFalse(path.exists())

    def test_use(self) -> None:
        """What sanitizer and profiler watch uses every kernel, and tells by its status that it was right."""
        self.assertEqual(self.run_program("--use").returncode, 0)
        self.assertNotEqual(self.run_program("--use", EMULATED_FAIL_LAUNCH="9").returncode, 0)
