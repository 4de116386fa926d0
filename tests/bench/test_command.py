"""`securechat bench crypto`: what it measures, says and returns, on machines that a test makes up."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import fromstring

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.command import Surroundings
from securechat.bench.measure import TURN_S
from securechat.bench.report import HEAD
from securechat.bench.rows import Row
from securechat.bench.watch import NO_MEMORY
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.cuda import CudaEngine
from securechat.crypto.device import Device, DeviceUnavailable
from securechat.crypto.engines import EngineUnavailable
from tests.bench.harness import GONE, TINY, CpuYardstick, HandClock, Machine, WatchedEngine, WrongOpen, bench
from tests.kernels.builds import built
from tests.kernels.host import NO_COMPILER, have_compiler
from tests.kernels.host_device import HostDevice

FAILED, USAGE = 1, 2
BEFORE_THE_GRID = 14
"""The launches of a CUDA engine's test of itself and of the benchmark's: two for sealing and five for opening."""
SPEED = "+F:1:x:1000000.00\n"


class OutputTests(SynchronousTestCase):
    """What goes where."""

    def test_table(self) -> None:
        """Standard output has machine, table and crossovers, standard error what is missing, and why."""
        ran = bench(Machine(), *TINY)
        self.assertEqual(ran.status, 0)
        lines = ran.out.splitlines()
        self.assertTrue(lines[0].startswith("cpu "), lines[0])
        self.assertEqual(lines[1], HEAD)
        ways = ["cryptography loop", "cryptography again", "cpu list", "cpu packed"]
        for at, way in enumerate([*ways, *ways]):
            self.assertIn(f" {way} ", lines[2 + at])
        self.assertEqual([line.split(":")[0] for line in lines[10:]], ["seal 64 B"] * 2 + ["open 64 B"] * 2)
        self.assertEqual(
            ran.err.splitlines(),
            [f"no {what}: {GONE}" for what in ("native engine", "cuda engine", "ipsec-mb", "openssl speed")],
        )

    def test_json(self) -> None:
        """With --json standard output has the rows and nothing else, and standard error the table as well."""
        ran = bench(Machine(), *TINY, "--json")
        rows = [Row(**one) for one in json.loads(ran.out)]
        ways = [("cryptography", "loop"), ("cryptography", "again"), ("cpu", "list"), ("cpu", "packed")]
        self.assertEqual([row.name for row in rows], ways * 2)
        self.assertEqual([row.operation for row in rows], ["seal"] * 4 + ["open"] * 4)
        self.assertEqual({(row.size, row.n) for row in rows}, {(64, 1)})
        self.assertEqual({row.ratio for row in rows if row.path == "loop"}, {1.0})
        self.assertTrue(all(row.ratio and row.fastest <= row.seconds <= row.slowest for row in rows))
        self.assertIn(HEAD, ran.err)

    def test_yardsticks(self) -> None:
        """Yardsticks have rows: ipsec-mb where it takes such texts, openssl's estimate for each size."""
        yardstick = CpuYardstick()
        machine = Machine(ipsec_mb=yardstick, speed=lambda _: SPEED)
        words = ("--sizes", "64,200", "--counts", "1,2", "--seconds", "0.001", "--json")
        rows = [Row(**one) for one in json.loads(bench(machine, *words).out)]
        found = [
            (row.engine, row.operation, row.size, row.n) for row in rows if row.engine in ("ipsec-mb", "openssl")
        ]
        packed = [("ipsec-mb", operation, 64, n) for n in (1, 2) for operation in ("seal", "open")]
        estimates = [("openssl", operation, size, 2) for size in (64, 200) for operation in ("seal", "open")]
        self.assertEqual(found, packed + estimates)
        self.assertTrue(yardstick.closed)
        self.assertTrue(all(row.ratio for row in rows))

    def test_no_yardsticks(self) -> None:
        """With --yardsticks none nobody looks for them; ipsec-mb needs packed batches."""
        machine = Machine(ipsec_mb=CpuYardstick())
        self.assertNotIn("ipsec-mb", bench(machine, *TINY, "--yardsticks", "none").out)
        ran = bench(machine, *TINY, "--paths", "list", "--yardsticks", "ipsec-mb")
        self.assertNotIn("ipsec-mb", ran.out + ran.err)

    def test_plot(self) -> None:
        """--plot writes the picture, in place of whatever was there."""
        path = Path(self.mktemp() + ".svg")
        path.write_text("an older one")
        self.assertEqual(bench(Machine(), *TINY, "--plot", str(path)).status, 0)
        self.assertTrue(fromstring(path.read_text(encoding="utf-8")).tag.endswith("}svg"))


class RefusalTests(SynchronousTestCase):
    """What ends it early: one line on standard error, and no traceback."""

    def assert_refused(self, status: int, text: str, machine: Machine, *words: str) -> None:
        """Expect this status, and this line as the last one."""
        ran = bench(machine, *words)
        self.assertEqual(ran.status, status)
        self.assertEqual(ran.err.splitlines()[-1], f"securechat: {text}")

    def test_bad_options(self) -> None:
        """Options that are not understood are status 2, before anything is looked at."""
        text = "--sizes: '1KB' is no size; sizes look like 200, 1KiB or 1MiB"
        self.assert_refused(USAGE, text, Machine(engines={}), "--sizes", "1KB")

    def test_missing_engine(self) -> None:
        """An engine that was asked for by name has to be there."""
        self.assert_refused(FAILED, f"no cuda engine: {GONE}", Machine(), *TINY, "--engines", "cpu,cuda")

    def test_engine_that_cannot_be_made(self) -> None:
        """So it is with one that looked usable and is not; unasked for, it is only said."""

        class Late(Machine):
            def choose(self, name: str) -> CpuEngine:
                raise EngineUnavailable(name, "it was taken away")

        self.assert_refused(FAILED, "no cpu engine: it was taken away", Late(), *TINY, "--engines", "cpu")
        self.assert_refused(FAILED, "there is no engine to measure", Late(), *TINY)

    def test_wrong_engine(self) -> None:
        """An engine that gives something else than the loop is not measured."""
        machine = Machine(engines={"cpu": WrongOpen()})
        self.assert_refused(FAILED, "cpu does not open what the loop sealed (64 B)", machine, *TINY)

    def test_memory_bound(self) -> None:
        """Batches without room are left out, each with a line; without any left there is no result."""
        words = ("--counts", "1,4k", "--sizes", "1KiB", "--seconds", "0.001", "--memory", "1MiB")
        ran = bench(Machine(), *words)
        self.assertEqual(ran.status, 0)
        line = "left out: 4 k x 1 KiB: more than 1 MiB at once, which --memory bounds"
        self.assertEqual(ran.err.splitlines()[0], line)
        self.assertNotIn("x  4 k", ran.out)
        self.assert_refused(
            FAILED, "nothing is left to measure", Machine(), "--memory", "1KiB", *TINY[:2], "--counts=3"
        )

    def test_memory_of_the_machine(self) -> None:
        """Without --memory a batch may hold an eighth of the free memory, 1 GiB where that is more or unknown."""
        words = ("--counts", "1,1025", "--sizes", "1MiB", "--seconds", "0.001", "--yardsticks", "none")
        for free, bound in ((80 << 20, "10 MiB"), (1 << 50, "1 GiB"), (None, "1 GiB")):
            err = bench(Machine(free_bytes=free), *words).err
            self.assertIn(f"left out: 1025 x 1 MiB: more than {bound} at once", err)
        self.assertIn("more than 1 MiB at once", bench(Machine(free_bytes=1), *words).err)

    def test_too_little_memory_after_all(self) -> None:
        """Memory that is not there after all is one line too."""

        def spoil() -> None:
            raise MemoryError

        machine = Machine(engines={"cpu": WatchedEngine(spoil)})
        text = "the memory is not enough; --memory leaves large batches out"
        self.assert_refused(FAILED, text, machine, *TINY)

    def test_unwritable_picture(self) -> None:
        """A picture that cannot be written is noticed before anything is measured."""
        path = f"{self.mktemp()}/no/such.svg"
        self.assert_refused(
            FAILED, f"{path}: No such file or directory", Machine(engines={}), *TINY, "--plot", path
        )
        folder = Path(self.mktemp() + ".svg")
        folder.mkdir()
        self.assert_refused(FAILED, f"{folder}: Is a directory", Machine(engines={}), *TINY, "--plot", str(folder))

    def test_picture_of_nothing(self) -> None:
        """A run that fails leaves no empty picture, and leaves an older one alone."""
        new, old = Path(self.mktemp() + ".svg"), Path(self.mktemp() + ".svg")
        old.write_text("an older one")
        for path in (new, old):
            self.assertEqual(bench(Machine(engines={"cpu": GONE}), *TINY, "--plot", str(path)).status, FAILED)
        self.assertFalse(new.exists())
        self.assertEqual(old.read_text(), "an older one")

    def test_interrupted(self) -> None:
        """Ctrl-C is the caller's; engines and yardsticks are closed, and no empty picture stays."""

        def spoil() -> None:
            raise KeyboardInterrupt

        engine, yardstick, path = WatchedEngine(spoil), CpuYardstick(), Path(self.mktemp() + ".svg")
        with self.assertRaises(KeyboardInterrupt):
            bench(Machine(engines={"cpu": engine}, ipsec_mb=yardstick), *TINY, "--plot", str(path))
        self.assertEqual((engine.closed, yardstick.closed, path.exists()), (1, True, False))

    def test_engines_are_closed(self) -> None:
        """Engines are closed once in the end."""
        engine = WatchedEngine()
        bench(Machine(engines={"cpu": engine}), *TINY)
        self.assertEqual(engine.closed, 1)


class GpuTests(SynchronousTestCase):
    """With a GPU, which is the host here."""

    if not have_compiler():
        skip = NO_COMPILER

    def machine(
        self,
        engine: Callable[[], Device] = lambda: HostDevice(built()),
        alone: Callable[[], Device] = lambda: HostDevice(built()),
    ) -> Machine:
        """Make a machine with a GPU; devices for the engine, and for being measured alone."""
        cuda = CudaEngine(engine, CpuEngine())
        return Machine(
            engines={"cpu": CpuEngine(), "cuda": cuda},
            open_gpu=alone,
            # By this clock all work takes as long as a turn, so that how often it is done is always the same.
            others={"gpu_cases": ((64, 3), (100, 1)), "piece_bytes": 4096, "clock": HandClock(step=2 * TURN_S)},
        )

    def test_rows(self) -> None:
        """There are rows of the engine with their limit, of PCIe, of a launch, and of kernels."""
        device = HostDevice(built())
        ran = bench(self.machine(alone=lambda: device), *TINY, "--json")
        self.assertEqual(ran.status, 0)
        rows = [Row(**one) for one in json.loads(ran.out)]
        cuda = [(row.path, row.operation, row.size, row.n) for row in rows if row.engine == "cuda"]
        engine = [(path, operation, 64, 1) for operation in ("seal", "open") for path in ("list", "packed")]
        pcie = [("pcie", way, 4096, 1) for way in ("in", "out", "duplex")]
        operations = ("seal", "encrypt", "tag", "open", "verify", "decrypt")
        kernels = [("kernel", operation, size, n) for size, n in ((64, 3), (100, 1)) for operation in operations]
        self.assertEqual(cuda, [*engine, *pcie, ("launch", "round-trip", 0, 1), *kernels])
        for row in rows:
            on_the_way = row.engine == "cuda" and row.path in ("list", "packed")
            self.assertEqual(row.limit_seconds is not None, on_the_way)
            if row.limit_seconds is not None:
                self.assertEqual(row.of_limit, row.limit_seconds / row.seconds)
            with_loop = row.size == 64 and row.operation in ("seal", "open")
            self.assertEqual(row.ratio is not None, with_loop, row)
        self.assertTrue(device.closed)

    def test_facts(self) -> None:
        """The GPU stands among the facts."""
        self.assertIn(", gpu host (1 GiB)", bench(self.machine(), *TINY).out.splitlines()[0])

    def test_not_wanted(self) -> None:
        """Where its engine is not wanted the GPU is left alone."""

        def open_gpu() -> Device:
            raise AssertionError

        self.assertEqual(bench(self.machine(alone=open_gpu), *TINY, "--engines", "cpu").status, 0)

    def test_alone_not_to_be_had(self) -> None:
        """A GPU that cannot be opened alone has no figures of its own, and the rest goes on."""

        def open_gpu() -> Device:
            raise DeviceUnavailable("somebody has it")

        ran = bench(self.machine(alone=open_gpu), *TINY, "--json")
        self.assertIn("no figures of the GPU alone: somebody has it", ran.err.splitlines())
        rows = [Row(**one) for one in json.loads(ran.out)]
        self.assertEqual({row.path for row in rows if row.engine == "cuda"}, {"list", "packed"})
        self.assertEqual({row.limit_seconds for row in rows}, {None})

    def test_alone_fails_midway(self) -> None:
        """Where the device fails while it is measured alone, what was measured before stays."""
        device = HostDevice(built(), fail_at="launch")
        ran = bench(self.machine(alone=lambda: device), *TINY, "--json")
        self.assertEqual(ran.status, 0)
        self.assertIn("not all of the GPU alone: launch failed", ran.err.splitlines())
        rows = [Row(**one) for one in json.loads(ran.out)]
        self.assertEqual({row.path for row in rows if row.engine == "cuda"}, {"list", "packed", "pcie"})
        self.assertTrue(device.closed)

    def test_little_memory(self) -> None:
        """A part for which the device has no memory is left out, the others not."""
        device = HostDevice(built(), memory_limit=8191)
        ran = bench(self.machine(alone=lambda: device), *TINY, "--json")
        self.assertIn("no copies of the GPU alone: out of memory", ran.err.splitlines())
        self.assertIn("kernel", {one["path"] for one in json.loads(ran.out)})
        self.assertNotIn("pcie", {one["path"] for one in json.loads(ran.out)})

    def test_engine_fails_midway(self) -> None:
        """Once the engine's device failed, what the CPU does in its place is not shown as the GPU's."""
        words = ("--sizes", "64", "--counts", "1,2", "--seconds", "0.001", "--yardsticks", "none")
        devices: list[HostDevice] = []

        def failing() -> Device:
            devices.append(HostDevice(built(), fail_at="launch", fail_after=BEFORE_THE_GRID + 3))
            return devices[-1]

        ran = bench(self.machine(engine=failing), *words, "--json")
        self.assertEqual(ran.status, 0)
        rows = [Row(**one) for one in json.loads(ran.out)]
        told = [line for line in ran.err.splitlines() if "no cuda engine at" in line]
        self.assertEqual(told, ["no cuda engine at seal 64 B x 1: it failed: launch failed"])
        self.assertNotIn(("cuda", "list"), {row.name for row in rows})
        self.assertEqual({row.n for row in rows if row.engine == "cpu"}, {1, 2})
        self.flushLoggedErrors()

    def test_demanded_engine_fails_midway(self) -> None:
        """Where the engine was asked for by name that ends the run."""
        failing = self.machine(engine=lambda: HostDevice(built(), fail_at="launch", fail_after=BEFORE_THE_GRID + 3))
        ran = bench(failing, *TINY, "--engines", "cpu,cuda")
        self.assertEqual(ran.status, FAILED)
        self.assertEqual(
            ran.err.splitlines()[-1], "securechat: no cuda engine at seal 64 B x 1: it failed: launch failed"
        )
        self.flushLoggedErrors()

    def test_engine_without_memory(self) -> None:
        """A cell for which the device has no memory has no rows of its engine, even if it was asked for by name."""
        devices: list[HostDevice] = []

        def open_device() -> Device:
            devices.append(HostDevice(built()))
            return devices[-1]

        machine = self.machine(engine=open_device)
        devices[0].memory_limit = 0
        words = ("--sizes", "16KiB", "--counts", "1,256", "--seconds", "0.001", "--engines", "cpu,cuda", "--json")
        ran = bench(machine, *words)
        self.assertEqual(ran.status, 0)
        self.assertIn(f"no cuda engine at seal 16 KiB x 256: {NO_MEMORY}", ran.err.splitlines())
        self.assertNotIn(("cuda", 256), {(one["engine"], one["n"]) for one in json.loads(ran.out)})


class SurroundingsTests(SynchronousTestCase):
    """The real machine."""

    def test_defaults(self) -> None:
        """Unless a test brings its own, everything is the machine's."""
        around = Surroundings()
        self.assertIn("cpu", around.survey())
        self.assertEqual(around.choose("cpu").name, "cpu")
        self.assertGreater(around.clock(), 0)
