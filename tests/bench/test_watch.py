"""Noticing that an engine had its work done by another."""

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.watch import NO_MEMORY, TOO_LONG, is_usable, watch
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.cuda import CudaEngine
from tests.crypto import vectors
from tests.kernels.builds import built
from tests.kernels.host import NO_COMPILER, have_compiler
from tests.kernels.host_device import HostDevice


class WatchTests(SynchronousTestCase):
    """An engine on a device that does not always do what it is asked."""

    if not have_compiler():
        skip = NO_COMPILER

    def setUp(self) -> None:
        """Open an engine."""
        self.devices: list[HostDevice] = []
        self.engine = CudaEngine(self.open_device, CpuEngine())
        self.addCleanup(self.engine.close)
        self.texts = vectors.ragged(Random(1), 9, 100)

    def open_device(self) -> HostDevice:
        """Open a device, and remember it."""
        self.devices.append(HostDevice(built()))
        return self.devices[-1]

    def seal(self, texts: list[bytes]) -> None:
        """Seal texts with the engine."""
        self.engine.seal_list(bytes(64), [b""] * len(texts), texts)

    def test_own_work(self) -> None:
        """What the device did is the engine's own; so is whatever an engine without one does."""
        watches = [watch(self.engine), watch(CpuEngine())]
        self.seal(self.texts)
        self.assertEqual([one.why_not_own() for one in watches], [None, None])
        self.assertTrue(is_usable(self.engine))
        self.assertTrue(is_usable(CpuEngine()))

    def test_long_texts(self) -> None:
        """Texts that are too long for the device are not, and are forgotten by the next watch."""
        one = watch(self.engine)
        self.seal([*self.texts, bytes(20_000)])
        self.assertEqual(one.why_not_own(), TOO_LONG)
        self.assertIsNone(watch(self.engine).why_not_own())

    def test_no_memory(self) -> None:
        """A batch for which the device has no memory is not, and the engine stays usable."""
        self.devices[0].memory_limit = 0
        one = watch(self.engine)
        self.seal(self.texts * 4000)
        self.assertEqual(one.why_not_own(), NO_MEMORY)
        self.assertTrue(is_usable(self.engine))

    def test_failed(self) -> None:
        """Nothing is, once the device has failed, with its reason."""
        self.devices[0].fail_at, self.devices[0].fail_after = "launch", 0
        self.devices[0].counts.clear()
        one = watch(self.engine)
        self.seal(self.texts)
        self.assertEqual(one.why_not_own(), "it failed: launch failed")
        self.assertEqual(watch(self.engine).why_not_own(), "it failed: launch failed")
        self.assertFalse(is_usable(self.engine))
        self.flushLoggedErrors()
