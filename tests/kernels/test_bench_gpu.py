"""What `securechat bench crypto` measures of a GPU, on the device made of the host-built kernels."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.__main__ import main
from securechat.bench import command
from securechat.bench.command import Surroundings
from securechat.bench.crypto import BenchError, Yardstick
from securechat.bench.gpu import (
    PIECES,
    Rates,
    Watch,
    crossing_bytes,
    limit_seconds,
    measure_copies,
    measure_launch,
    with_limit,
)
from securechat.bench.gpu_kernels import STEPS, Resident, measure_kernels
from securechat.bench.ipsec_mb import NoYardstick
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.cuda import CudaEngine
from securechat.crypto.device import DeviceMemoryError, DeviceUnavailable
from securechat.crypto.engine import Engine
from tests.bench.fakes import HandClock, row
from tests.kernels.builds import built
from tests.kernels.host import NO_COMPILER, Mutation, have_compiler
from tests.kernels.host_device import HostDevice

PIECE = 4096
OPERATIONS = {"seal", "encrypt", "tag", "open", "verify", "decrypt"}


class DeviceCase(SynchronousTestCase):
    """Has a device, and sees that everything is given back."""

    def setUp(self) -> None:
        """Open it."""
        if not have_compiler():
            raise SkipTest(NO_COMPILER)
        self.device = HostDevice(built())

    def assert_given_back(self) -> None:
        """Fail where memory of the device, or locked pages, were kept."""
        self.assertEqual((self.device.memory, self.device.locked), ({}, {}))


class CopiesTests(DeviceCase):
    """Copies and launches."""

    def test_rows(self) -> None:
        """There is a row for each way and for both at once, of one piece each."""
        rows, _ = measure_copies(self.device, PIECE, 2)
        self.assertEqual([row.name for row in rows], [("cuda", "pcie")] * 3)
        self.assertEqual([(row.operation, row.size, row.n) for row in rows], [
            ("in", PIECE, 1), ("out", PIECE, 1), ("duplex", PIECE, 1),
        ])  # fmt: skip
        self.assertEqual({row.ratio for row in rows}, {None})

    def test_rates(self) -> None:
        """The rates are the bytes of a piece by its time, which is the device's own."""
        rows, rates = measure_copies(self.device, PIECE, 2)
        self.assertAlmostEqual(rates.into, PIECE / rows[0].seconds)
        self.assertAlmostEqual(rows[0].seconds, 1e-6)  # the host's device takes a microsecond for each operation

    def test_how_often(self) -> None:
        """Each round, and one before that is no result, copies some pieces each way, and both at once."""
        measure_copies(self.device, PIECE, 2)
        self.assertEqual(self.device.counts["copy_in"], 3 * 2 * PIECES)
        self.assertEqual(self.device.counts["copy_out"], 3 * 2 * PIECES)

    def test_duplex_takes_two_streams(self) -> None:
        """Both ways at once are two streams: one stream does one thing after the other."""
        measure_copies(self.device, PIECE, 1)
        self.assertEqual(len([stream for stream in self.device.streams if stream.queue]), 2)

    def test_gives_back(self) -> None:
        """Afterwards, and after a failure, nothing of the device is kept."""
        measure_copies(self.device, PIECE, 1)
        self.assert_given_back()
        self.device.lock_limit = PIECE
        self.assertRaises(DeviceMemoryError, measure_copies, self.device, PIECE, 1)
        self.assert_given_back()

    def test_launch(self) -> None:
        """A launch and waiting for it is timed by the clock that is given."""
        found = measure_launch(self.device, 4, 3, HandClock(step=0.5))
        self.assertEqual((found.name, found.operation), (("cuda", "launch"), "round-trip"))
        self.assertEqual(found.seconds, 0.125)
        self.assertEqual(self.device.counts["launch"], 4 * 4)
        self.assert_given_back()


class LimitTests(SynchronousTestCase):
    """The ratio to what PCIe allows."""

    rates = Rates(into=100.0, out=50.0, duplex=25.0)

    def test_both_ways(self) -> None:
        """Bytes cross both ways at once as long as there are both, the rest one way at its own rate."""
        self.assertEqual(limit_seconds(self.rates, 100, 100), 4.0)
        self.assertEqual(limit_seconds(self.rates, 300, 100), 4.0 + 2.0)
        self.assertEqual(limit_seconds(self.rates, 100, 300), 4.0 + 4.0)

    def test_bytes(self) -> None:
        """Keys, ivs, associated data and texts go in to be sealed, and sealed messages come out."""
        self.assertEqual(crossing_bytes(row("cuda", "packed", 2, 1.0, None)), (2 * (64 + 16 + 32 + 200), 2 * 256))
        opening = row("cuda", "packed", 2, 1.0, None, operation="open")
        self.assertEqual(crossing_bytes(opening), (2 * (64 + 32 + 256), 2 * 200))
        self.assertEqual(crossing_bytes(row("cuda", "list-1key", 2, 1.0, None))[0], 64 + 2 * (16 + 32 + 200))

    def test_row(self) -> None:
        """An end-to-end row of the cuda engine gets the limit and its part of it."""
        found = with_limit(row("cuda", "list", 1, 1e6 * 2 * 12.8, 5.0), self.rates)
        self.assertAlmostEqual(found.limit_seconds or 0, 256 / 25 + 56 / 100)
        self.assertAlmostEqual(found.of_limit or 0, (256 / 25 + 56 / 100) / 25.6)

    def test_other_rows(self) -> None:
        """Other engines, and kernels whose bytes are there already, have no such limit."""
        for name in (("native", "list"), ("cuda", "kernel")):
            self.assertIsNone(with_limit(row(*name, 1, 1.0, 5.0), self.rates).of_limit)


class KernelsTests(DeviceCase):
    """Kernels on messages that are on the device."""

    def test_rows(self) -> None:
        """There is a row for each operation, of the size and count asked for."""
        rows = measure_kernels(self.device, 100, 33, 2)
        self.assertEqual({row.operation for row in rows}, OPERATIONS)
        self.assertEqual({(*row.name, row.size, row.n) for row in rows}, {("cuda", "kernel", 100, 33)})

    def test_device_time(self) -> None:
        """The time is the device's own for all launches of the operation."""
        rows = measure_kernels(self.device, 100, 2, 2)
        found = {row.operation: round(1e6 * row.seconds) for row in rows}
        self.assertEqual(found, {operation: len(kernels) for operation, kernels in STEPS.items()})

    def test_shapes_are_told(self) -> None:
        """The fastest launch of each kernel is told."""
        told: list[str] = []
        measure_kernels(self.device, 100, 2, 1, told.append)
        (shapes,) = told
        for kernel in ("cbc_encrypt", "hmac_tag", "hmac_verify", "cbc_decrypt", "pack_texts"):
            self.assertIn(f"{kernel} 128 threads x 1", shapes)

    def test_sizes(self) -> None:
        """Texts with and without a whole last block, and one long one, come back as they were."""
        for size, n in ((1, 1), (16, 3), (100, 40), (4096, 1)):
            with Resident(self.device, size, n) as resident:
                resident.check()

    def test_wrong_kernels(self) -> None:
        """Kernels that give wrong bytes are not measured."""
        for change in (
            Mutation("hmac.cu", "0x80000000u", "0x80000001u"),
            Mutation("pack_texts.cu", "out_at[", "1 + out_at["),
        ):
            device = HostDevice(built(change))
            self.assertRaises(BenchError, measure_kernels, device, 100, 2, 1)

    def test_gives_back(self) -> None:
        """Afterwards, and where memory is short, nothing of the device is kept."""
        measure_kernels(self.device, 100, 2, 1)
        self.assert_given_back()
        self.device.memory_limit = 10_000
        self.assertRaises(DeviceMemoryError, measure_kernels, self.device, 4096, 2, 1)
        self.assert_given_back()


class WatchTests(DeviceCase):
    """The cuda engine has others do what the device cannot do; that is no row of it."""

    def engine(self, **settings: int) -> CudaEngine:
        """Give an engine on the device."""
        engine = CudaEngine(lambda: self.device, CpuEngine(), **settings)
        self.addCleanup(engine.close)
        return engine

    def seal(self, engine: Engine, size: int) -> None:
        """Have one message sealed."""
        engine.seal_list(bytes(64), [b""], [bytes(size)])

    def test_all_on_the_device(self) -> None:
        """Where the device did everything there is nothing to say."""
        engine = self.engine()
        watch = Watch(engine)
        self.seal(engine, 100)
        self.assertIsNone(watch.why_elsewhere())

    def test_other_engines(self) -> None:
        """Other engines, and none, have nothing to say."""
        self.assertIsNone(Watch(CpuEngine()).why_elsewhere())
        self.assertIsNone(Watch(None).why_elsewhere())

    def test_long_messages(self) -> None:
        """Messages that are too long for the device are told, and forgotten at the next question."""
        engine = self.engine(max_item_bytes=100)
        watch = Watch(engine)
        self.seal(engine, 101)
        self.assertEqual(watch.why_elsewhere(), "the engine gives so long messages to the CPU")
        self.seal(engine, 100)
        self.assertIsNone(watch.why_elsewhere())

    def test_lost_device(self) -> None:
        """A device that failed is told for good."""
        engine = self.engine()
        watch = Watch(engine)
        self.device.broken = True
        self.seal(engine, 100)
        self.flushLoggedErrors()
        for _ in range(2):
            self.assertIn("the device is out of use", watch.why_elsewhere() or "")


class CommandTests(DeviceCase):
    """`securechat bench crypto` with a GPU."""

    def run_it(self, *words: str, cuda: Engine | None = None, limit: int = 1 << 30) -> tuple[int, str, str]:
        """Run the command where there is a GPU; its status, and what it printed on both ways."""

        def choose(name: str) -> Engine:
            return CpuEngine() if name == "cpu" else cuda or CudaEngine(lambda: HostDevice(built()), CpuEngine())

        def no_ipsec_mb(folder: Path) -> Yardstick:
            raise NoYardstick("not here")

        def open_gpu() -> HostDevice:
            if not limit:
                raise DeviceUnavailable("the card fell out")
            self.device.memory_limit = limit
            return self.device

        self.patch(
            command,
            "Surroundings",
            lambda: Surroundings(
                lambda: {"cpu": None, "cuda": None}, choose, no_ipsec_mb, open_gpu=open_gpu,
                gpu_cases=((200, 2),), piece_bytes=PIECE, clock=HandClock(step=0.5),
            ),
        )  # fmt: skip
        out, err = io.StringIO(), io.StringIO()
        fixed = ("--sizes", "200", "--counts", "2", "--seconds", "0.01", "--yardsticks", "none", "--json")
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["bench", "crypto", *fixed, *words])
        return status, out.getvalue(), err.getvalue()

    def test_everything_in_one_run(self) -> None:
        """Copies, a launch and kernels are measured in the same run as the engine, and the device is closed."""
        status, out, err = self.run_it()
        self.assertEqual(status, 0, err)
        found = {(one["path"], one["operation"]) for one in json.loads(out) if one["engine"] == "cuda"}
        ours = {(path, operation) for path in ("list", "packed") for operation in ("seal", "open")}
        alone = {("pcie", "in"), ("pcie", "out"), ("pcie", "duplex"), ("launch", "round-trip")}
        self.assertEqual(found, ours | alone | {("kernel", operation) for operation in OPERATIONS})
        self.assertTrue(self.device.closed)
        self.assertIn("gpu host (1 GiB)", err)

    def test_limits(self) -> None:
        """Rows of the engine have their part of PCIe's limit in the same run; those of others have none."""
        _, out, _ = self.run_it()
        for one in json.loads(out):
            limited = one["engine"] == "cuda" and one["path"] in ("list", "packed")
            self.assertEqual(one["of_limit"] is not None, limited, one)

    def test_kernels_beside_the_loop(self) -> None:
        """Sealing and opening by kernels have a ratio to the loop, parts of it have none."""
        _, out, _ = self.run_it()
        for one in json.loads(out):
            if one["path"] == "kernel":
                self.assertEqual(one["ratio"] is not None, one["operation"] in ("seal", "open"), one)

    def test_device_that_goes(self) -> None:
        """Where the device alone cannot be measured the reason is told, and the engines are all the same."""
        for limit, reason in ((0, "the card fell out"), (100, "out of memory")):
            self.device = HostDevice(built())
            status, out, err = self.run_it(limit=limit)
            self.assertEqual(status, 0)
            self.assertIn(f"no figures of the GPU alone: {reason}", err)
            self.assertIn(("cuda", "list"), {(one["engine"], one["path"]) for one in json.loads(out)})

    def test_work_done_elsewhere(self) -> None:
        """What the engine gave to the CPU is left out, with the reason."""
        engine = CudaEngine(lambda: HostDevice(built()), CpuEngine(), max_item_bytes=100)
        status, out, err = self.run_it(cuda=engine)
        self.assertEqual(status, 0)
        self.assertIn("no cuda seal of 2 x 200 B: the engine gives so long messages to the CPU", err)
        self.assertNotIn(("cuda", "list"), {(one["engine"], one["path"]) for one in json.loads(out)})

    def test_without_cuda(self) -> None:
        """Where the cuda engine is not asked for the GPU is left alone."""
        status, _, _ = self.run_it("--engines", "cpu")
        self.assertEqual((status, self.device.counts), (0, {}))

    def test_failing_device(self) -> None:
        """A device that fails while it is measured is closed, and told."""
        self.device.fail_at, self.device.fail_after = "launch", 3
        status, _, err = self.run_it()
        self.assertEqual(status, 0)
        self.assertIn("not all of the GPU alone: launch failed", err)
        self.assertTrue(self.device.closed)
