"""The CUDA engine through PyCUDA: contract, faults, every reason why there is no engine, and how a process ends."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from random import Random

from twisted.internet import reactor
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SkipTest, TestCase

from securechat.crypto import aead, kernel_build, pycuda_device
from securechat.crypto.batch import Batch
from securechat.crypto.cache import Cache
from securechat.crypto.cuda import CudaEngine, open_pycuda
from securechat.crypto.device import Device, DeviceError, DeviceMemoryError, DeviceUnavailable
from securechat.crypto.engine import Engine
from securechat.crypto.kernel_build import module_for
from securechat.crypto.pipeline import MIN_SLOT_BYTES
from securechat.crypto.pycuda_device import open_device
from securechat.crypto.worker import CryptoWorker
from tests.crypto import vectors
from tests.crypto.contract import EngineContract, rows
from tests.emulated.emulation import IS_EMULATED, NOTHING_LEFT, EmulatedTestCase, configure, count, reset

PROCESS_TIMEOUT_S = 60


class PycudaContractTests(EngineContract):
    """The contract of the engines, on unmodified PyCUDA."""

    def make_engine(self) -> Engine:
        """Give an engine on the first device, which has to leave nothing there."""
        reset()
        self.addCleanup(self.assert_nothing_left)
        return CudaEngine()

    def assert_nothing_left(self) -> None:
        """Look for what a closed engine left."""
        if IS_EMULATED:
            self.assertEqual([count(name) for name in (*NOTHING_LEFT, "misuses")], [0] * (len(NOTHING_LEFT) + 1))


# Trial would run the contract itself, which has no engine.
del EngineContract


class EngineTestCase(EmulatedTestCase):
    """Some messages; a process whose GPU never failed."""

    def setUp(self) -> None:
        """Make messages that are the same in every run."""
        super().setUp()
        self.patch(pycuda_device, "_lost", None)
        random = Random(5)
        self.texts = vectors.ragged(random, 4_000, 900)
        self.associated = vectors.ragged(random, 4_000, 60)
        self.keys = [random.randbytes(64) for _ in self.texts]
        self.ivs = [random.randbytes(16) for _ in self.texts]
        self.sealed = list(map(aead.seal, self.keys, self.associated, self.texts, self.ivs))
        self.opened: list[bytes | None] = list(self.texts)
        self.forged = list(self.sealed)
        for i in range(0, len(self.texts), 3):
            self.opened[i] = None
            self.forged[i] = self.sealed[i][:-1] + bytes([self.sealed[i][-1] ^ 1])

    def engine(self) -> CudaEngine:
        """Open the device, until the end of the test."""
        engine = CudaEngine()
        self.addCleanup(engine.close)
        return engine

    def assert_right(self, engine: CudaEngine) -> None:
        """Expect the messages to seal and open as the reference does it."""
        self.assertEqual(engine.seal_list(self.keys, self.associated, self.texts, self.ivs), self.sealed)
        self.assertEqual(engine.open_list(self.keys, self.associated, self.forged), self.opened)

    def reason(self) -> str:
        """Open in vain; the reason, which is one line."""
        with self.assertRaises(DeviceUnavailable) as caught:
            CudaEngine()
        reason: str = caught.exception.reason
        self.assertNotIn("\n", reason)
        return reason


class FaultTests(EngineTestCase):
    """Faults of the device."""

    def assert_survives(self, **fault: int) -> None:
        """Expect right results whatever happens, and the device out of use for good."""
        self.patch(pycuda_device, "_lost", None)
        engine = self.engine()
        configure(**fault)
        with capturedLogs() as logged:
            self.assert_right(engine)
            self.assertFalse(engine.usable, fault)
            self.assert_right(engine)
        self.assertEqual(len([event for event in logged if event["log_level"] is LogLevel.error]), 1)
        self.assertEqual(engine.stats.redone_batches, 1)
        self.assertIn("failed earlier in this process", self.reason())
        engine.close()

    def test_launches(self) -> None:
        """A launch that fails, at once or later, costs no message; no device is opened in this process again."""
        for k in (1, 2, 5, 9):
            self.assert_survives(fail_launch=k)
            self.assert_survives(refuse_launch=k)

    def test_copies(self) -> None:
        """So it is with a copy."""
        for k in (1, 3, 8):
            self.assert_survives(fail_copy=k)

    def test_waiting(self) -> None:
        """So it is with waiting."""
        for k in (1, 3):
            self.assert_survives(fail_synchronize=k)

    def test_little_memory(self) -> None:
        """With little memory on the device, or little that the host may lock, slots are halved."""
        for setting in ("memory_bytes", "pinnable_bytes"):
            configure(**{setting: 4 * MIN_SLOT_BYTES})
            engine = self.engine()
            self.assert_right(engine)
            self.assertEqual((engine.usable, engine.stats.redone_batches), (True, 0))
            self.assertGreater(engine.stats.halvings, 0)
            engine.close()
            configure(**{setting: 1 << 30})

    def test_no_memory(self) -> None:
        """Without memory a batch goes to the CPU, and the device stays in use."""
        engine = self.engine()
        configure(memory_bytes=0)
        self.assert_right(engine)
        self.assertEqual((engine.usable, engine.stats.redone_batches), (True, 2))
        configure(memory_bytes=1 << 30)
        self.assert_right(engine)
        self.assertEqual(engine.stats.batches, 2)

    def test_nothing_unlocked_is_copied(self) -> None:
        """Every copy is from or to locked pages, so that it overlaps with work."""
        self.assert_right(self.engine())
        self.assertGreater(count("copies"), 6)
        self.assertEqual(count("unpinned_copies"), 0)

    def test_closing_gives_all_back(self) -> None:
        """Closing leaves no context, stream, event or module."""
        engine = self.engine()
        self.assert_right(engine)
        engine.close()
        for what in ("contexts", "streams", "events", "modules", "bytes", "pinned_bytes"):
            self.assertEqual(count(f"live_{what}"), 0, what)


class ReasonTests(EngineTestCase):
    """Why there is no engine."""

    def test_no_device(self) -> None:
        """A driver without a device is a reason."""
        configure(devices=0)
        self.assertIn("no usable GPU: ", self.reason())

    def test_no_context(self) -> None:
        """So is a device that gives no context, or fails before it was used."""
        configure(fail_launch=1)
        self.assertIn("failed", self.reason())

    def test_unknown_architecture(self) -> None:
        """So is a device that nvcc does not know, in nvcc's words."""
        if kernel_build.find_compiler() is None:
            raise SkipTest("nvcc is not installed")
        configure(capability=35)
        self.assertIn("compiling its kernels failed for sm_35: ", self.reason())

    def test_no_compiler(self) -> None:
        """So is a missing nvcc, where the kernels were not compiled before."""
        with self.assertRaises(DeviceUnavailable) as caught:
            self.patch(kernel_build, "find_compiler", lambda: None)
            open_device(Cache(Path(self.mktemp())))
        self.assertIn("nvcc (CUDA toolkit) is not installed", caught.exception.reason)

    def test_module_for_nothing(self) -> None:
        """So is a kept module that the driver does not take."""
        folder = Path(self.mktemp())
        cache = Cache(folder)
        module_for("sm_90", cache)
        (path,) = folder.iterdir()
        path.write_bytes(hashlib.sha256(b"rubbish").digest() + b"rubbish")
        with self.assertRaises(DeviceUnavailable) as caught:
            open_device(cache)
        self.assertIn("the driver does not take its kernels", caught.exception.reason)

    def test_module_without_a_kernel(self) -> None:
        """So is one in which a kernel is missing."""
        folder = Path(self.mktemp())
        cache = Cache(folder)
        data = module_for("sm_90", cache).replace(b"pack_texts", b"pack_boxes")
        (path,) = folder.iterdir()
        path.write_bytes(hashlib.sha256(data).digest() + data)
        with self.assertRaises(DeviceUnavailable) as caught:
            open_device(cache)
        self.assertIn("the driver does not take its kernels", caught.exception.reason)


class DeviceTests(EmulatedTestCase):
    """The adapter itself."""

    def setUp(self) -> None:
        """Open a device on this thread."""
        super().setUp()
        self.patch(pycuda_device, "_lost", None)
        self.device: Device = open_pycuda()

    def tearDown(self) -> None:
        """Give it back first."""
        self.device.close()
        super().tearDown()

    def test_facts(self) -> None:
        """It says what the device is."""
        facts = self.device.facts
        self.assertRegex(facts.architecture, r"^sm_\d+$")
        self.assertGreater(min(facts.multiprocessors, facts.memory_bytes), 0)
        self.assertTrue(facts.name)

    def test_time(self) -> None:
        """Time between two marks is given in seconds, and is not negative."""
        stream = self.device.stream()
        start, end = self.device.record(stream), self.device.record(stream)
        self.device.wait(end)
        self.assertGreaterEqual(self.device.seconds_between(start, end), 0)
        self.assertLess(self.device.seconds_between(start, end), 1)

    def test_pinning(self) -> None:
        """Pages that can't be locked are want of memory; unlocking what was not locked is a failure."""
        pages = rows([bytes(4096)] * 2, 4096).reshape(-1)
        if not IS_EMULATED:
            raise SkipTest("a real device refuses in ways of its own")
        configure(pinnable_bytes=4096)
        with self.assertRaises(DeviceMemoryError):
            self.device.pin(pages)
        with self.assertRaises(DeviceError) as caught:
            self.device.unpin(pages)
        self.assertNotIsInstance(caught.exception, DeviceMemoryError)


class WorkerTests(EngineTestCase, TestCase):
    """The worker on the device."""

    async def test_worker(self) -> None:
        """CryptoWorker seals and opens on it, with a real thread and reactor, and gives the device back."""
        worker = CryptoWorker(CudaEngine(), reactor)  # type: ignore[arg-type]
        worker.startService()
        sealed = await worker.seal_many(list(zip(self.keys, self.associated, self.texts, strict=True)))
        self.assertEqual(list(map(aead.open, self.keys, self.associated, sealed)), self.texts)
        opened = await worker.open_many(list(zip(self.keys, self.associated, self.forged, strict=True)))
        self.assertEqual(opened, self.opened)
        await worker.stopService()


class ProcessTests(EmulatedTestCase):
    """How a process with an engine ends."""

    def ended(self, program: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end."""
        return subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", program],
            capture_output=True,
            check=False,
            env={**os.environ, **environment},
            text=True,
            timeout=PROCESS_TIMEOUT_S,
        )

    def test_without_closing(self) -> None:
        """A program that never closes its engine ends in silence, at its end, by an exception or by exit."""
        use = (
            "from securechat.crypto.cuda import CudaEngine\n"
            "engine = CudaEngine()\n"
            "sealed = engine.seal_list(bytes(64), [b''], [b'text'])\n"
            "assert engine.open_list(bytes(64), [b''], sealed) == [b'text']\n"
        )
        for end, status in (("", 0), ("raise SystemExit(3)", 3), ("import sys; sys.exit(0)", 0)):
            done = self.ended(use + end)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (status, "", ""), end)

    def test_busy_at_the_end(self) -> None:
        """So does one whose other thread goes on sealing on it to the end."""
        program = (
            "import threading\n"
            "from securechat.crypto.cuda import CudaEngine\n"
            "engine, done = CudaEngine(), threading.Semaphore(0)\n"
            "def work():\n"
            "    while True:\n"
            "        engine.seal_list(bytes(64), [b''] * 600, [bytes(600)] * 600)\n"
            "        done.release()\n"
            "threading.Thread(target=work, daemon=True).start()\n"
            "for _ in range({batches}): done.acquire()\n"
        )
        for batches in (0, 1, 2, 5, 9):
            done = self.ended(program.format(batches=batches))
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), batches)

    def test_opening_at_the_end(self) -> None:
        """So does one in which `auto` is still opening it, or timing it, or has just done so."""
        program = (
            "import time\n"
            "from securechat.crypto.engines import choose\n"
            "engine = choose('auto')\n"
            "engine.seal_list(bytes(64), [b''] * 100, [b'text'] * 100)\n"
            "begun = time.monotonic()\n"
            "while time.monotonic() < begun + {seconds}: pass\n"
        )
        for seconds in (0.0, 0.1, 0.2, 0.25, 0.3, 0.6):
            home = self.mktemp()
            done = self.ended(program.format(seconds=seconds), SECURECHAT_HOME=home)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), seconds)

    def test_results_after_closing(self) -> None:
        """What was given out can still be read after closing, and at the end of the process."""
        done = self.ended(
            "import numpy as np\n"
            "from securechat.crypto.batch import Batch\n"
            "from securechat.crypto.cuda import CudaEngine\n"
            "engine = CudaEngine()\n"
            "locked = engine.lock(1 << 21)\n"
            "text = Batch(locked, np.arange(0, (1 << 21) + 1, 1 << 13))\n"
            "none = Batch.join([b''] * 256)\n"
            "keys, ivs = np.zeros((1, 64), np.uint8), np.zeros((256, 16), np.uint8)\n"
            "sealed = engine.seal(keys, ivs, none, text)\n"
            "engine.close()\n"
            "locked[:] = 1\n"
            "assert len(sealed[255]) == 8192 + 64\n"
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_no_driver(self) -> None:
        """Without a driver library the reason says so, before PyCUDA is imported."""
        if not IS_EMULATED:
            raise SkipTest("this machine has a driver")
        done = self.ended("from securechat.crypto.cuda import why_not; print(why_not())", LD_LIBRARY_PATH="")
        self.assertEqual((done.stdout, done.stderr), ("no NVIDIA driver: libcuda.so.1 cannot be loaded\n", ""))

    def test_batches_of_nothing(self) -> None:
        """A batch without items needs no device."""
        engine = CudaEngine()
        self.addCleanup(engine.close)
        none = Batch.join([])
        sealed = engine.seal(rows([bytes(64)], 64), rows([], 16), none, none)
        self.assertEqual(len(sealed), 0)
