"""`securechat bench crypto`, with a clock that is moved by hand and no program started."""

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from securechat.__main__ import main
from securechat.bench import command
from securechat.bench.command import Surroundings
from securechat.bench.crypto import Yardstick
from securechat.bench.ipsec_mb import NoYardstick
from securechat.bench.rows import Row
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.engine import Engine
from securechat.crypto.engines import EngineUnavailable
from tests.bench.fakes import HandClock

SMALL = ("--sizes", "200", "--counts", "1,2", "--seconds", "0.01")


class Closing(CpuEngine):
    """Notes that it was closed."""

    closed = 0

    def close(self) -> None:
        """See Engine."""
        self.closed += 1


class Wrong(CpuEngine):
    """Seals nonsense."""

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        return Batch.join([bytes(64)] * len(plaintext))


class CommandTests(SynchronousTestCase):
    """What it prints where, and how it ends."""

    def setUp(self) -> None:
        """Put the command where only the cpu engine is, and a clock that ticks when it is read."""
        self.reasons: dict[str, str | None] = {"cpu": None, "native": "not built", "cuda": "no card"}
        self.engine: Engine = Closing()
        self.clock = HandClock(step=0.5)
        self.patch(command, "Surroundings", self.surroundings)

    def surroundings(self) -> Surroundings:
        """Give what the command finds."""
        return Surroundings(lambda: self.reasons, self.choose, self.no_ipsec_mb, self.speed, clock=self.clock)

    def choose(self, name: str) -> Engine:
        """Give the engine, or say that it is gone."""
        if name == "cpu":
            return self.engine
        raise EngineUnavailable(name, "the card fell out")

    def no_ipsec_mb(self, folder: Path) -> Yardstick:
        """Be not installed."""
        raise NoYardstick("not here")

    def speed(self, arguments: Sequence[str]) -> str:
        """Give a rate."""
        return "+F:1:it:1000000\n"

    def run_it(self, *words: str) -> tuple[int, str, str]:
        """Run the command; its status, and what it printed on both ways."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["bench", "crypto", *words])
        return status, out.getvalue(), err.getvalue()

    def test_table(self) -> None:
        """The table has the machine, a heading, a line for each row, and the crossovers."""
        status, out, _ = self.run_it(*SMALL)
        self.assertEqual(status, 0)
        lines = out.splitlines()
        self.assertTrue(lines[0].startswith("cpu "))
        self.assertIn("us per message", lines[1])
        ways = [line for line in lines[2:] if " cpu list " in line and "faster" not in line]
        self.assertEqual(len(ways), 4)
        self.assertIn("seal 200 B: cpu list is faster than the loop from n = 1 on", lines)

    def test_json(self) -> None:
        """--json prints exactly a list of rows; the machine and the table go to stderr."""
        status, out, err = self.run_it(*SMALL, "--json")
        rows = [Row(**found) for found in json.loads(out)]
        self.assertEqual(status, 0)
        self.assertEqual(
            {row.name for row in rows},
            {
                ("cryptography", "loop"),
                ("cryptography", "again"),
                ("cpu", "list"),
                ("cpu", "packed"),
                ("openssl", "estimate"),
            },
        )
        self.assertIn("us per message", err)

    def test_reasons(self) -> None:
        """What is not there is named on stderr, each with its reason, and nothing fails."""
        status, out, err = self.run_it(*SMALL)
        self.assertEqual(status, 0)
        for reason in ("no native engine: not built", "no cuda engine: no card", "no ipsec-mb: not here"):
            self.assertIn(reason, err.splitlines())
            self.assertNotIn(reason, out)

    def test_no_openssl(self) -> None:
        """Without openssl there are no estimates, and the reason why."""

        def missing(arguments: Sequence[str]) -> str:
            raise NoYardstick("gone")

        self.patch(self, "speed", missing)
        status, out, err = self.run_it(*SMALL)
        self.assertEqual(status, 0)
        self.assertNotIn("estimate", out)
        self.assertIn("no openssl speed: gone", err)

    def test_estimates_have_a_ratio(self) -> None:
        """The rows of openssl are compared with the loop of the same run."""
        _, out, _ = self.run_it(*SMALL, "--json")
        loops = {row["operation"]: row for row in json.loads(out) if row["path"] == "loop" and row["n"] == 2}
        for row in json.loads(out):
            if row["path"] == "estimate":
                self.assertAlmostEqual(row["ratio"], loops[row["operation"]]["seconds"] / row["seconds"])

    def test_engine_by_name(self) -> None:
        """An engine that was named and is not usable ends the command with one line and 1."""
        status, out, err = self.run_it(*SMALL, "--engines", "cpu,cuda")
        self.assertEqual((status, out, err), (1, "", "securechat: no cuda engine: no card\n"))

    def test_engine_that_goes(self) -> None:
        """One that seemed usable and is not is named with its reason, and the others are measured."""
        self.reasons["native"] = None
        status, _, err = self.run_it(*SMALL)
        self.assertEqual(status, 0)
        self.assertIn("no native engine: the card fell out", err)

    def test_no_engine(self) -> None:
        """Without any engine there is nothing to measure: 1."""
        self.reasons["cpu"] = "gone"
        self.assertEqual(self.run_it(*SMALL)[0], 1)

    def test_engines_are_closed(self) -> None:
        """An engine is closed at the end, and also when the command is stopped."""
        engine = Closing()
        self.engine = engine
        self.run_it(*SMALL)
        self.assertEqual(engine.closed, 1)
        self.patch(command, "measure_cell", self.interrupted)
        self.assertEqual(self.run_it(*SMALL)[0], 130)
        self.assertEqual(engine.closed, 2)

    def test_wrong_engine(self) -> None:
        """An engine that gives wrong bytes is not measured: one line, and 1."""
        self.engine = Wrong()
        status, _, err = self.run_it(*SMALL)
        self.assertEqual(status, 1)
        self.assertIn("securechat: the loop does not open what cpu sealed (200 B)", err)

    def test_too_large(self) -> None:
        """Batches over the bound are left out with a line; where nothing is left it ends with 1."""
        status, _, err = self.run_it("--sizes", "1KiB", "--counts", "1,64", "--memory", "32KiB", "--seconds", "1")
        self.assertEqual(status, 0)
        self.assertIn("left out: 64 x 1 KiB: more than 32 KiB of text at once", err)
        status, _, err = self.run_it("--sizes", "1KiB", "--counts", "64", "--memory", "32KiB")
        self.assertEqual((status, err.splitlines()[-1]), (1, "securechat: nothing is left to measure"))

    def test_wrong_option(self) -> None:
        """A wrong value ends the command with one line and 2, before anything is measured."""
        status, out, err = self.run_it("--sizes", "big")
        self.assertEqual((status, out), (2, ""))
        self.assertEqual(err, "securechat: --sizes: 'big' is no size; sizes look like 200, 1KiB or 1MiB\n")

    def test_plot(self) -> None:
        """--plot draws what was measured, with the machine."""
        path = Path(self.mktemp() + ".svg")
        status, out, _ = self.run_it(*SMALL, "--plot", str(path))
        self.assertEqual(status, 0)
        words = [found.text for found in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("seal, 200 B", words)
        self.assertIn(out.splitlines()[0], words)

    def test_plot_that_cannot_be_written(self) -> None:
        """A file that cannot be written is one line and 1, before anything is measured."""
        path = Path(self.mktemp()) / "it.svg"
        status, out, err = self.run_it(*SMALL, "--plot", str(path))
        self.assertEqual((status, out, err), (1, "", f"securechat: {path}: No such file or directory\n"))

    def interrupted(self, *_: object) -> None:
        """Be stopped by Ctrl-C."""
        raise KeyboardInterrupt

    def test_interrupted(self) -> None:
        """Ctrl-C ends it with 130, leaves no empty picture, and an older one as it was."""
        self.patch(command, "measure_cell", self.interrupted)
        new, old = Path(self.mktemp() + ".svg"), Path(self.mktemp() + ".svg")
        old.write_text("<svg/>")
        for path in (new, old):
            self.assertEqual(self.run_it(*SMALL, "--plot", str(path))[0], 130)
        self.assertEqual((new.exists(), old.read_text()), (False, "<svg/>"))

    def test_no_memory(self) -> None:
        """Too little memory is one line that says what helps, and 1."""

        def no_memory(*_: object) -> None:
            raise MemoryError

        self.patch(command, "measure_cell", no_memory)
        status, _, err = self.run_it(*SMALL)
        self.assertEqual(status, 1)
        self.assertIn("--memory", err.splitlines()[-1])
