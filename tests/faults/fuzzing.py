"""Decoders under the fuzzer, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

from tests.faults.programs import LONG_S, MIB, FaultCase

MOST_MEMORY: Final = 256 * MIB


class DecoderCase(FaultCase):
    """Everything that reads bytes of others."""

    def fuzzed(self, seconds: float, seed: int) -> None:
        """Whatever it is given, everything takes it or raises one of its own errors, soon and in little memory."""
        command = [sys.executable, "-m", "tests.faults.decoders", str(seconds), str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + LONG_S, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        found = json.loads(done.stdout)
        slowest_s, slowest = found["slowest"]
        self.measured(
            f"seed {seed}: {sum(found['inputs'].values()):,} inputs for {len(found['inputs'])} decoders, "
            f"{sum(found['taken'].values()):,} taken, {slowest_s * 1e3:.0f} ms at most ({slowest}), "
            f"{found['memory'] / MIB:.0f} MiB"
        )
        self.assertEqual([], found["wrong"])
        # What takes nothing was given no sample of what it reads.
        self.assertEqual(found["inputs"].keys(), found["taken"].keys())
        self.assertLess(found["memory"], MOST_MEMORY)
