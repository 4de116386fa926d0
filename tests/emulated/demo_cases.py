"""The programs on a GPU: the demo, the list of engines, a relay in the foreground and as a daemon."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.address import parse
from securechat.wire.messages import Greeting
from tests.relay.process import TWISTD, RelayProcess, Talker
from tests.system.demo import run_demo, sentences

PATIENCE_S: Final = 30.0
STOPPED: Final = (0, -signal.SIGTERM)


class ProgramTests(SynchronousTestCase):
    """Programs with a cache folder of their own."""

    def setUp(self) -> None:
        """Make the folder, and the environment that says so."""
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir()
        self.environ = {**os.environ, "SECURECHAT_HOME": str(self.home)}

    def ended(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a program that ends by itself."""
        return subprocess.run(
            command,
            capture_output=True,
            check=False,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE_S,
        )

    def test_demo(self) -> None:
        """The chat of the demo goes the same way on a GPU, forced or chosen by auto, as on the CPU."""
        told = {}
        for name in ("cpu", "cuda", "auto"):
            done = run_demo(name, self.environ)
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            self.assertIn(f"\n7. The engine in use is {name}.", done.stdout)
            told[name] = sentences(done.stdout)
        self.assertEqual(told, dict.fromkeys(told, told["cpu"]))

    def test_engines(self) -> None:
        """`securechat engines` lists the GPU as usable; -v measures it beside the host, and keeps the costs."""
        done = self.ended(sys.executable, "-m", "securechat", "engines", "-v")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        shown = [line.strip() for line in done.stdout.splitlines()]
        self.assertEqual(shown[2], "cuda    usable")
        self.assertRegex(shown[3], "^auto    takes (native|cpu), and a GPU where that is faster$")
        self.assertEqual(shown[4], "accelerator: usable")
        self.assertEqual(
            [line for line in shown if line.startswith("cuda: ")], ["cuda: 0 batches, 0 items, 0 bytes, 0.000 s"]
        )
        self.assertTrue((self.home / "engine-costs.json").exists())

    def test_relay(self) -> None:
        """A relay on the GPU starts, and stops when it is told to."""
        relay = RelayProcess(self, "--plaintext", "--engine", "cuda")
        Talker(self, relay.address).until(Greeting)
        relay.terminate()
        self.assertIn(relay.wait(), STOPPED)
        self.assertIn("relay stopped", relay.output)
        self.assertNotIn("Traceback", relay.output)

    def test_daemon(self) -> None:
        """So does one that becomes a daemon, which opens the GPU after it has forked."""
        pid_file, log = self.home / "pid", self.home / "log"
        command = [TWISTD, f"--pidfile={pid_file}", f"--logfile={log}", f"--rundir={self.home}", "securechat"]
        options = ["--plaintext", "--listen", "tcp:0:interface=127.0.0.1", "--engine", "cuda"]
        done = self.ended(*command, *options)
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
        text = log.read_text()
        self.assertIn("relay stopped", text)
        self.assertNotIn("Traceback", text)

    def kill(self, pid_file: Path, pid: int) -> None:
        """End a daemon that did not stop."""
        if pid_file.exists():
            os.kill(pid, signal.SIGKILL)
