"""Choosing an engine, and the reasons why there is no better one."""

from pathlib import Path
from typing import cast

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import cuda, native
from securechat.crypto.aead import CryptoError
from securechat.crypto.auto import AutoEngine
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.device import DeviceUnavailable
from securechat.crypto.engine import Engine
from securechat.crypto.engines import NAMES, EngineChooser, EngineUnavailable, choose, open_cuda
from securechat.crypto.native import NativeEngine
from tests.crypto.fakes import WatchedEngine


def not_loadable(name: str) -> object:
    """Load a library that is not there."""
    raise OSError(f"{name}: cannot open shared object file")


class ChooseTests(SynchronousTestCase):
    """What a name gives."""

    def setUp(self) -> None:
        """Make a chooser whose log is a list."""
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        self.why_not_native: str | None = "no compiler"
        self.why_not_cuda: str | None = "no driver"
        self.opened: list[WatchedEngine] = []
        self.no_device: str | None = None
        self.home = self.mktemp()
        self.chooser = EngineChooser(
            lambda: self.why_not_cuda,
            Logger(observer=observer),
            lambda: self.why_not_native,
            self.open_cuda,
            {"SECURECHAT_HOME": self.home},
        )

    def open_cuda(self) -> Engine:
        """Open a GPU, or find that there is none."""
        if self.no_device is not None:
            raise DeviceUnavailable(self.no_device)
        self.opened.append(WatchedEngine())
        return self.opened[-1]

    def test_cpu(self) -> None:
        """The CPU engine comes for its name, in silence."""
        self.assertIsInstance(self.chooser.choose("cpu"), CpuEngine)
        self.assertEqual(self.events, [])

    def test_auto_falls_back_and_says_so_once(self) -> None:
        """Without CUDA and native code, auto gives the CPU engine and one line at info, ask as one may."""
        for _ in range(3):
            self.assertIsInstance(self.chooser.choose("auto"), CpuEngine)
        self.assertEqual(len(self.events), 1)
        self.assertEqual(self.events[0]["log_level"], LogLevel.info)
        self.assertEqual(self.events[0]["engine"], "cpu")
        self.assertEqual(self.events[0]["reason"], "not cuda: no driver; not native: no compiler")

    def test_auto_takes_native(self) -> None:
        """Where native code was built, auto gives that engine, and one line that names it and only CUDA."""
        self.patch(native, "why_not", lambda: None)
        self.why_not_native = None
        for _ in range(3):
            self.assertIsInstance(self.chooser.choose("auto"), NativeEngine)
        self.assertEqual([event["engine"] for event in self.events], ["native"])
        self.assertEqual(self.events[0]["reason"], "not cuda: no driver")

    def test_native_by_name(self) -> None:
        """The native engine comes for its name in silence, or with one error that has the reason."""
        with self.assertRaises(EngineUnavailable) as caught:
            self.chooser.choose("native")
        self.assertEqual(str(caught.exception), "engine 'native' is not available: no compiler")
        self.patch(native, "why_not", lambda: None)
        self.why_not_native = None
        self.assertIsInstance(self.chooser.choose("native"), NativeEngine)
        self.assertEqual(self.events, [])

    def test_cuda_says_why_not(self) -> None:
        """Asked for CUDA by name, there is an error of one line with the reason, and no fallback."""
        with self.assertRaises(EngineUnavailable) as caught:
            self.chooser.choose("cuda")
        self.assertEqual((caught.exception.name, caught.exception.reason), ("cuda", "no driver"))
        self.assertEqual(str(caught.exception), "engine 'cuda' is not available: no driver")
        self.assertIsInstance(caught.exception, CryptoError)
        self.assertEqual((self.events, self.opened), ([], []))

    def test_cuda_that_does_not_open(self) -> None:
        """Where everything seems to be there and no device is, that is the reason."""
        self.why_not_cuda, self.no_device = None, "no device"
        with self.assertRaises(EngineUnavailable) as caught:
            self.chooser.choose("cuda")
        self.assertEqual((caught.exception.name, caught.exception.reason), ("cuda", "no device"))

    def test_cuda_by_name(self) -> None:
        """The CUDA engine comes for its name, alone and in silence."""
        self.why_not_cuda = None
        self.assertIs(self.chooser.choose("cuda"), self.opened[0])
        self.assertEqual(self.events, [])

    def test_auto_with_cuda(self) -> None:
        """Where there may be a GPU, auto is an engine that chooses; choosing it opens and writes nothing."""
        self.why_not_cuda = None
        for why_not_native, host in (("no compiler", "cpu"), (None, "native")):
            self.why_not_native = why_not_native
            self.patch(native, "why_not", lambda: None)
            engine = self.chooser.choose("auto")
            self.assertIsInstance(engine, AutoEngine)
            assert isinstance(engine, AutoEngine)
            self.assertEqual((engine.name, engine.host), ("auto", host))
        self.assertEqual((self.opened, Path(self.home).exists()), ([], False))
        reasons = [event["reason"] for event in self.events]
        self.assertEqual(reasons, ["cuda for large batches, once it is open; not native: no compiler"])

    def test_auto_keeps_costs(self) -> None:
        """Once it has opened the GPU, what both engines cost is in the user's folder."""
        self.why_not_cuda = None
        engine = self.chooser.choose("auto")
        self.addCleanup(engine.close)
        assert isinstance(engine, AutoEngine)
        engine.prepare()
        self.assertTrue((Path(self.home) / "engine-costs.json").exists())
        self.assertEqual(len(self.opened), 1)

    def test_survey(self) -> None:
        """The survey opens a GPU to be sure, and closes it; there are the reasons of whichever step failed."""
        found = {"cpu": None, "native": "no compiler"}
        self.assertEqual(self.chooser.survey(), {**found, "cuda": "no driver"})
        self.why_not_cuda = None
        self.assertEqual(self.chooser.survey(), {**found, "cuda": None})
        self.assertEqual([engine.closed for engine in self.opened], [1])
        self.no_device = "no device"
        self.assertEqual(self.chooser.survey(), {**found, "cuda": "no device"})

    def test_check(self) -> None:
        """Checking a name raises what choosing it would, and makes or opens nothing."""
        for name in ("auto", "cpu"):
            self.chooser.check(name)
        for name in ("native", "cuda"):
            with self.assertRaises(EngineUnavailable) as caught:
                self.chooser.check(name)
            self.assertEqual(caught.exception.name, name)
        with self.assertRaisesRegex(ValueError, "^name: "):
            self.chooser.check("gpu")

        def open_cuda() -> Engine:
            raise AssertionError("it was opened")

        EngineChooser(lambda: None, None, lambda: None, open_cuda).check("cuda")

    def test_unknown_name(self) -> None:
        """Another name is refused with the names there are."""
        for name in ("", "gpu", "CPU"):
            with self.assertRaisesRegex(ValueError, "^name: expected one of auto, cpu, native, cuda"):
                self.chooser.choose(name)

    def test_here(self) -> None:
        """On this machine, whatever it has: auto works, native or not, and cuda works or gives one line."""
        engine = choose("auto")
        engine.close()
        host = engine.host if isinstance(engine, AutoEngine) else engine.name
        self.assertEqual(host, "cpu" if native.why_not() else "native")
        self.assertEqual(NAMES, ("auto", "cpu", "native", "cuda"))
        try:
            choose("cuda").close()
        except EngineUnavailable as error:
            self.assertNotIn("\n", str(error))

    def test_opens_the_cuda_engine(self) -> None:
        """What is opened, unless a test brings something else, is the engine of the module cuda."""
        self.patch(cuda, "CudaEngine", WatchedEngine)
        self.assertIsInstance(open_cuda(), WatchedEngine)


class WhyNotTests(SynchronousTestCase):
    """The reasons."""

    def test_no_pycuda(self) -> None:
        """Without PyCUDA that is the reason, and no driver is looked for."""
        self.assertEqual(cuda.why_not(lambda name: None, not_loadable), cuda.NO_PYCUDA)

    def test_no_driver(self) -> None:
        """With PyCUDA and without a driver, the reason names the library that is missing."""
        reason = cuda.why_not(lambda name: name, not_loadable, "linux")
        self.assertEqual(reason, "no NVIDIA driver: libcuda.so.1 cannot be loaded")

    def test_no_driver_on_windows(self) -> None:
        """There, the library has another name."""
        self.assertIn("nvcuda.dll", cuda.why_not(lambda name: name, not_loadable, "win32") or "")

    def test_both(self) -> None:
        """With both there may be a device: only opening it tells."""
        self.assertIsNone(cuda.why_not(lambda name: name, lambda name: name))
