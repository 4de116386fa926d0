"""`securechat bench crypto` as a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree.ElementTree import fromstring

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.report import HEAD

WAIT_S = 60.0
COMMAND = (sys.executable, "-m", "securechat", "bench", "crypto")
SMALL = ("--sizes", "64", "--counts", "1,2", "--engines", "cpu", "--seconds", "0.01", "--yardsticks", "none")


class ProcessTests(SynchronousTestCase):
    """The command, its output and its status."""

    def ended(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=WAIT_S, check=False)

    def started(self, *words: str) -> "subprocess.Popen[str]":
        """Start it, and wait until it measures."""
        process = subprocess.Popen(
            [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.addCleanup(self.end, process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.rstrip("\n") == HEAD:
                return process
        raise AssertionError("it did not begin to measure")

    def end(self, process: "subprocess.Popen[str]") -> None:
        """End it, whatever it does."""
        process.kill()
        process.communicate()

    def test_json_and_plot(self) -> None:
        """Its rows are parsed as they come, ratios being to the loop, and the picture is written beside them."""
        picture = Path(self.mktemp() + ".svg")
        done = self.ended(*SMALL, "--json", "--plot", str(picture))
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(done.stdout)
        found = {(row["engine"], row["path"], row["operation"], row["size"], row["n"]) for row in rows}
        ways = [("cryptography", "loop"), ("cryptography", "again"), ("cpu", "list"), ("cpu", "packed")]
        self.assertEqual(found, {(*way, of, 64, n) for way in ways for of in ("seal", "open") for n in (1, 2)})
        self.assertTrue(all(row["ratio"] == 1 for row in rows if row["path"] == "loop"))
        self.assertTrue(all(row["seconds"] > 0 for row in rows))
        fromstring(picture.read_text(encoding="utf-8"))

    def test_bad_option(self) -> None:
        """A bad value is status 2, with one line and no traceback."""
        done = self.ended("--counts", "0")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(
            done.stderr, "securechat: --counts: '0' is no number of messages; they look like 1, 256 or 4k\n"
        )

    def test_no_subject(self) -> None:
        """`securechat bench` alone is status 2 and names what there is."""
        done = subprocess.run([*COMMAND[:-1]], capture_output=True, text=True, timeout=WAIT_S, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("SUBJECT", done.stderr)

    def test_help(self) -> None:
        """--help names every option."""
        shown = self.ended("--help").stdout
        options = (
            "sizes",
            "counts",
            "engines",
            "paths",
            "yardsticks",
            "quick",
            "seconds",
            "memory",
            "json",
            "plot",
        )
        for option in options:
            self.assertIn(f"--{option}", shown)

    def test_interrupt(self) -> None:
        """Ctrl-C while it measures is status 130, in silence, and leaves no empty picture."""
        picture = Path(self.mktemp() + ".svg")
        process = self.started(*SMALL[:6], "--counts", "16k", "--yardsticks", "none", "--plot", str(picture))
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
        self.assertEqual((process.returncode, err, picture.exists()), (130, "", False))

    def test_reader_that_leaves(self) -> None:
        """A reader that has seen enough, as `head`, ends it in silence."""
        process = self.started(*SMALL)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        self.assertEqual(process.wait(WAIT_S), 141)
        self.assertEqual(process.stderr.read(), "")
        process.stderr.close()
        process.stdout = process.stderr = None

    def test_nothing_heavy_for_others(self) -> None:
        """Other commands do not load what only measuring needs."""
        code = (
            "import sys; from securechat.__main__ import main\n"
            "try: main(['--help'])\nexcept SystemExit: pass\n"
            "print(*sorted(name for name in sys.modules if name.startswith('securechat.bench')), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=True
        )
        self.assertNotIn("securechat.bench.command", done.stderr.split())
        self.assertNotIn("securechat.bench.plot", done.stderr.split())
