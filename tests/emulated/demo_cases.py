"""Whole programs on the CUDA engine: demo, relay and clients behave as with every other engine."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from securechat.wire.address import parse
from securechat.wire.messages import Greeting
from tests.emulated.emulation import EmulatedTestCase
from tests.relay.process import TWISTD, Talker
from tests.system import programs, test_engine_option
from tests.system.programs import environment

KEPT = (*programs.KEPT, "PYTHONPATH", "LD_LIBRARY_PATH")
"""PyCUDA and the driver are found by these."""

PATIENCE_S: Final = 60.0


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


class DaemonTests(EmulatedTestCase):
    """A relay that twistd puts into the background."""

    def setUp(self) -> None:
        """Make a home for it, and let it find PyCUDA."""
        super().setUp()
        self.patch(programs, "KEPT", KEPT)
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir()

    def test_stops(self) -> None:
        """With --engine cuda it starts, opens the GPU after it has forked, and stops when it is told to."""
        pid_file, log = self.home / "pid", self.home / "log"
        command = [TWISTD, f"--pidfile={pid_file}", f"--logfile={log}", f"--rundir={self.home}", "securechat"]
        options = ["--plaintext", "--listen", "tcp:0:interface=127.0.0.1", "--engine", "cuda"]
        done = subprocess.run(
            [*command, *options],
            capture_output=True,
            check=False,
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE_S,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        pid = int(pid_file.read_text())
        self.addCleanup(self.kill, pid_file, pid)
        address = re.search(r"relay listens at (securechat\S+)", log.read_text())
        assert address
        # Its greeting shows that the reactor runs, which takes the signal.
        Talker(self, parse(address[1])).until(Greeting)
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_S
        # Nobody is told of a daemon's end: it takes its file away as the last thing it does.
        while pid_file.exists():
            self.assertLess(time.monotonic(), deadline, "the daemon does not stop")
            time.sleep(0.05)
        self.assertIn("relay stopped", log.read_text())
        self.assertNotIn("Traceback", log.read_text())

    def kill(self, pid_file: Path, pid: int) -> None:
        """End a daemon that did not stop."""
        if pid_file.exists():
            os.kill(pid, signal.SIGKILL)
