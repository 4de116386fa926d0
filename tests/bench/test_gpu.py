"""What a GPU gives at best, on a device of the host: copies, launches, the limit of PCIe, kernels alone."""

from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench import gpu
from securechat.bench.crypto import BenchError
from securechat.bench.gpu import Rates, copy_rates, crossing_bytes, limit_seconds, with_limit
from securechat.bench.gpu_kernels import CASES, SHAPES, STEPS, Resident, measure_kernels
from securechat.crypto.device import KERNELS, MAX_THREADS, DeviceError, DeviceMemoryError
from tests.bench.harness import HandClock, row
from tests.kernels.builds import built
from tests.kernels.host import NO_COMPILER, have_compiler
from tests.kernels.host_device import HostDevice, HostEvent

PIECE = 1 << 16


class LimitTests(SynchronousTestCase):
    """The least time for the bytes of a batch."""

    def test_crossing_bytes(self) -> None:
        """Keys, ivs, associated data and texts go in to be sealed; what is sealed goes in to be opened."""
        sealed = 64 + 16 + 16 + 32
        self.assertEqual(crossing_bytes(row(n=10)), (10 * (64 + 32 + 16 + 64), 10 * sealed))
        self.assertEqual(crossing_bytes(row(n=10, operation="open")), (10 * (64 + 32 + sealed), 10 * 64))

    def test_one_key(self) -> None:
        """Under one key that crosses once."""
        self.assertEqual(crossing_bytes(row(("cuda", "list-1key"), 10))[0], 64 + 10 * (32 + 16 + 64))

    def test_both_ways_at_once(self) -> None:
        """As long as there is something both ways the duplex rate counts, and for the rest that of one way."""
        rates = Rates(into=10.0, out=20.0, duplex=5.0)
        self.assertEqual(limit_seconds(rates, 100, 100), 20.0)
        self.assertEqual(limit_seconds(rates, 150, 100), 25.0)
        self.assertEqual(limit_seconds(rates, 100, 160), 23.0)

    def test_of_limit(self) -> None:
        """A row of the GPU's engine gets the limit and the part of its rate that was reached."""
        found = with_limit(row(("cuda", "packed"), 10, 4.0), Rates(1760.0, 1.0, 1280.0))
        self.assertEqual(found.limit_seconds, 1.0 + 480 / 1760)
        self.assertEqual(found.of_limit, (1.0 + 480 / 1760) / 4)

    def test_other_rows(self) -> None:
        """Rows of others, and of kernels alone, cross nothing."""
        for name in (("cpu", "packed"), ("cuda", "kernel"), ("cuda", "pcie")):
            self.assertEqual(with_limit(row(name), Rates(1, 1, 1)), row(name))


class DeviceTestCase(SynchronousTestCase):
    """A case with a device that must have everything back in the end."""

    if not have_compiler():
        skip = NO_COMPILER

    def setUp(self) -> None:
        """Make a device."""
        self.device = HostDevice(built())

    def assert_nothing_left(self) -> None:
        """Expect all memory to be given back, on both sides."""
        self.assertEqual((self.device.memory, self.device.locked), ({}, {}))


class CopyTests(DeviceTestCase):
    """Copies and launches."""

    def test_rows(self) -> None:
        """There is a row for each way and one for both at once, of the bytes of one piece."""
        rows = gpu.measure_copies(self.device, PIECE, 3)
        self.assertEqual([one.operation for one in rows], ["in", "out", "duplex"])
        self.assertEqual(
            {(*one.name, one.size, one.n, one.ratio) for one in rows}, {("cuda", "pcie", PIECE, 1, None)}
        )
        self.assert_nothing_left()

    def test_times(self) -> None:
        """A time is the device's own for one piece: here a microsecond for each operation between two marks."""
        rows = gpu.measure_copies(self.device, PIECE, 3)
        for one in rows:
            self.assertAlmostEqual(one.seconds, 1e-6)
            self.assertEqual((one.fastest, one.slowest), (one.seconds, one.seconds))

    def test_really_both_ways(self) -> None:
        """For one round of each, a piece is copied as often as both ways alone and both together need."""
        gpu.measure_copies(self.device, PIECE, 1)
        self.assertEqual(self.device.counts["copy_in"], 2 * 2 * gpu.PIECES)
        self.assertEqual(self.device.counts["copy_out"], 2 * 2 * gpu.PIECES)
        self.assertEqual(len(self.device.streams), 2)

    def test_rates(self) -> None:
        """Rates are bytes in a second, from the medians; without such rows there are none."""
        pcie = [row(("cuda", "pcie"), 1, seconds, None, operation=way, size=100) for way, seconds in
                (("in", 1.0), ("out", 2.0), ("duplex", 4.0))]  # fmt: skip
        self.assertEqual(copy_rates([row(), *pcie]), Rates(100.0, 50.0, 25.0))
        self.assertIsNone(copy_rates([row()]))

    def test_launch(self) -> None:
        """A launch and back is timed by the caller's clock, many in a row."""
        clock = HandClock()
        wait = self.device.wait

        def slow_wait(event: HostEvent) -> None:
            clock.work(3e-6)()
            wait(event)

        with patch.object(self.device, "wait", slow_wait):
            (found,) = gpu.measure_launch(self.device, 5, 3, clock)
        self.assertEqual((*found.name, found.operation), ("cuda", "launch", "round-trip"))
        self.assertAlmostEqual(found.seconds, 3e-6)
        self.assertEqual(self.device.launched, ["check_padding"] * 20)
        self.assert_nothing_left()

    def test_failure(self) -> None:
        """A device that fails in the middle is a DeviceError."""
        for call in ("copy_in", "copy_out", "wait", "record", "stream"):
            with self.assertRaises(DeviceError):
                gpu.measure_copies(HostDevice(built(), fail_at=call, fail_after=1), PIECE, 1)

    def test_no_memory(self) -> None:
        """A device, or a host, without memory for a piece says so, and keeps nothing."""
        for of_device, of_host in ((PIECE, 1 << 30), (1 << 30, PIECE)):
            self.device = HostDevice(built(), memory_limit=of_device, lock_limit=of_host)
            with self.assertRaises(DeviceMemoryError):
                gpu.measure_copies(self.device, PIECE, 1)
            self.assert_nothing_left()


class KernelTests(DeviceTestCase):
    """Kernels with everything in the device's memory."""

    def test_what_is_measured(self) -> None:
        """On a GPU it is 64 k messages of 4 KiB and of 1 KiB, and one of 64 KiB."""
        self.assertEqual(CASES, ((4096, 65536), (1024, 65536), (65536, 1)))

    def test_steps(self) -> None:
        """AES and HMAC are timed each alone and in a row, both ways, and every kernel belongs to some operation."""
        self.assertEqual(STEPS["encrypt"] + STEPS["tag"], STEPS["seal"])
        self.assertEqual(STEPS["verify"] + STEPS["decrypt"], STEPS["open"][:3])
        self.assertEqual({kernel for steps in STEPS.values() for kernel in steps}, set(KERNELS))

    def test_shapes(self) -> None:
        """Every shape can be launched."""
        for block, of_each in SHAPES:
            self.assertEqual((block % 32, block <= MAX_THREADS, of_each > 0), (0, True, True))

    def test_rows(self) -> None:
        """There is a row for every operation, and nothing stays on the device."""
        for size, n in ((100, 5), (16, 1), (2000, 1)):
            rows = measure_kernels(self.device, size, n, 2)
            self.assertEqual([one.operation for one in rows], list(STEPS))
            self.assertEqual({(*one.name, one.size, one.n) for one in rows}, {("cuda", "kernel", size, n)})
            self.assert_nothing_left()

    def test_times(self) -> None:
        """A time is the device's own from the first launch to the last: here a microsecond for each."""
        for one in measure_kernels(self.device, 64, 2, 2):
            self.assertAlmostEqual(one.seconds, 1e-6 * len(STEPS[one.operation]))

    def test_launched(self) -> None:
        """Each operation launches its kernels and no others."""
        with Resident(self.device, 64, 3) as resident:
            for kernels in STEPS.values():
                self.device.launched.clear()
                resident.seconds([(kernel, SHAPES[0]) for kernel in kernels])
                self.assertEqual(tuple(self.device.launched), kernels)

    def test_wrong_results(self) -> None:
        """Kernels that do not give what they have to are not timed."""
        with Resident(self.device, 64, 2) as resident:
            items, arguments = resident.launches["hmac_tag"]
            resident.launches["hmac_tag"] = items, (*arguments[:-1], 0)
            with self.assertRaises(BenchError):
                resident.check()

    def test_wrong_together(self) -> None:
        """Nor where sealing and opening agree with each other and with nobody else: here on another key."""
        with Resident(self.device, 64, 2) as resident:
            for kernel in ("cbc_encrypt", "decrypt_keys"):
                items, (keys, words, _, *others) = resident.launches[kernel]
                resident.launches[kernel] = items, (keys, words, 0, *others)
            with self.assertRaises(BenchError):
                resident.check()

    def test_wrong_opening(self) -> None:
        """Nor where only the way back is wrong."""
        with Resident(self.device, 64, 2) as resident:
            items, arguments = resident.launches["pack_texts"]
            resident.launches["pack_texts"] = items, (*arguments[:-1], 1)
            with self.assertRaises(BenchError):
                resident.check()

    def test_no_memory(self) -> None:
        """A device with too little memory says so, and gets back what was taken."""
        self.device.memory_limit = 1500
        with self.assertRaises(DeviceMemoryError):
            measure_kernels(self.device, 64, 8, 1)
        self.assert_nothing_left()

    def test_failure(self) -> None:
        """A device that fails in the middle is a DeviceError."""
        for call in ("launch", "copy_in", "copy_out", "clear", "wait", "record"):
            with self.assertRaises(DeviceError):
                measure_kernels(HostDevice(built(), fail_at=call, fail_after=0), 64, 2, 1)
