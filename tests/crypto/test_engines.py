"""Choosing an engine, and the reasons why there is no better one."""

from pathlib import Path
from typing import cast

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import cuda, native
from securechat.crypto.aead import CryptoError
from securechat.crypto.auto import AutoEngine
from securechat.crypto.cost_cache import CostCache, cost_key
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.device import DeviceUnavailable
from securechat.crypto.engine import Engine
from securechat.crypto.engines import NAMES, EngineChooser, EngineUnavailable, choose
from securechat.crypto.figures import AcceleratorState
from securechat.crypto.native import NativeEngine
from tests.crypto.auto_fakes import ACCELERATOR, HOST, TimedEngine, log_into
from tests.crypto.fakes import HandClock


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
        self.chooser = EngineChooser(lambda: "no device", Logger(observer=observer), lambda: self.why_not_native)

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
        self.assertEqual(self.events[0]["reason"], "not cuda: no device; not native: no compiler")

    def test_auto_takes_native(self) -> None:
        """Where native code was built, auto gives that engine, and one line that names it and only CUDA."""
        self.patch(native, "why_not", lambda: None)
        self.why_not_native = None
        for _ in range(3):
            self.assertIsInstance(self.chooser.choose("auto"), NativeEngine)
        self.assertEqual([event["engine"] for event in self.events], ["native"])
        self.assertEqual(self.events[0]["reason"], "not cuda: no device")

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
        self.assertEqual((caught.exception.name, caught.exception.reason), ("cuda", "no device"))
        self.assertEqual(str(caught.exception), "engine 'cuda' is not available: no device")
        self.assertIsInstance(caught.exception, CryptoError)
        self.assertEqual(self.events, [])

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
        """On this machine, whatever it has: auto works, native or not, and cuda gives one line."""
        engine = choose("auto")
        engine.close()
        self.assertEqual(engine.name, "cpu" if native.why_not() else "native")
        self.assertEqual(NAMES, ("auto", "cpu", "native", "cuda"))
        with self.assertRaises(EngineUnavailable) as caught:
            choose("cuda")
        self.assertNotIn("\n", str(caught.exception))


class AutoChoiceTests(SynchronousTestCase):
    """What auto gives where there may be a GPU."""

    def setUp(self) -> None:
        """Make a chooser that believes in one; the accelerator that it opens is a CPU engine under its name."""
        self.events: list[LogEvent] = []
        self.home = self.mktemp()
        self.opened: list[Engine] = []
        self.chooser = EngineChooser(
            lambda: None,
            log_into(self.events),
            lambda: "no compiler",
            open_cuda=self.open_cuda,
            environ={"SECURECHAT_HOME": self.home},
        )

    def open_cuda(self) -> Engine:
        """Open the stand-in, which takes a moment for each batch."""
        self.opened.append(TimedEngine("cuda", ACCELERATOR, HandClock()))
        return self.opened[-1]

    def refuse(self) -> Engine:
        """Find no device."""
        raise DeviceUnavailable("no usable GPU: none was found")

    def auto(self) -> AutoEngine:
        """Choose auto."""
        engine = self.chooser.choose("auto")
        self.addCleanup(engine.close)
        assert isinstance(engine, AutoEngine)
        return engine

    def test_auto(self) -> None:
        """It is an AutoEngine on the host's best engine, which opens no GPU before it is used, and says so once."""
        for _ in range(2):
            self.assertEqual(self.auto().host, "cpu")
        self.assertEqual((len(self.events), self.opened), (1, []))
        self.assertEqual(
            self.events[0]["reason"], "cuda for large batches, once it is open; not native: no compiler"
        )

    def test_costs_are_kept(self) -> None:
        """What engines cost is kept in the user's cache folder, from which it comes the next time."""
        cache = CostCache(Path(self.home) / "engine-costs.json")
        cache.keep(cost_key("cpu"), HOST)
        cache.keep(cost_key("cuda"), ACCELERATOR)
        engine = self.auto()
        engine.prepare()
        self.assertEqual([model.host for model in engine.stats.models], [HOST.seal, HOST.open])
        self.assertEqual([model.accelerator for model in engine.stats.models], [ACCELERATOR.seal] * 2)

    def test_no_device_after_all(self) -> None:
        """Where opening then finds no device, the host's engine goes on, with the reason."""
        self.chooser = EngineChooser(lambda: None, log_into(self.events), lambda: None, self.refuse)
        engine = self.auto()
        engine.prepare()
        stats = engine.stats
        self.assertEqual((stats.state, stats.reason), (AcceleratorState.UNUSABLE, "no usable GPU: none was found"))
        self.assertEqual(self.events[0]["reason"], "cuda for large batches, once it is open")
        self.assertEqual(len(self.events), 2)

    def test_forced(self) -> None:
        """Forced by its name the GPU is opened at once, and where that fails there is one error with the reason."""
        self.assertIs(self.chooser.choose("cuda"), self.opened[0])
        self.chooser = EngineChooser(lambda: None, log_into(self.events), lambda: None, self.refuse)
        with self.assertRaises(EngineUnavailable) as caught:
            self.chooser.choose("cuda")
        self.assertEqual(str(caught.exception), "engine 'cuda' is not available: no usable GPU: none was found")
        self.assertEqual(self.events, [])

    def test_survey(self) -> None:
        """Whether a GPU is usable is found out by opening it; it is closed again."""
        self.assertEqual(self.chooser.survey(), {"cpu": None, "native": "no compiler", "cuda": None})
        self.assertEqual([each.closed for each in self.opened if isinstance(each, TimedEngine)], [1])
        self.chooser = EngineChooser(lambda: None, None, lambda: None, self.refuse)
        self.assertEqual(self.chooser.survey()["cuda"], "no usable GPU: none was found")


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
