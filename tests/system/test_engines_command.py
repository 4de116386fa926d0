"""`securechat engines`."""

from contextlib import redirect_stdout
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from securechat.__main__ import main
from securechat.crypto import engines
from securechat.crypto.cost_cache import CostCache, cache_file, cost_key
from securechat.crypto.device import DeviceUnavailable
from securechat.crypto.engine import Engine
from tests.crypto.auto_fakes import ACCELERATOR, HOST, TimedEngine, log_into
from tests.crypto.fakes import HandClock


def no_device() -> Engine:
    """Find none."""
    raise DeviceUnavailable("no usable GPU: none was found")


class EnginesCommandTests(SynchronousTestCase):
    """What it prints."""

    def printed(self, *options: str) -> list[str]:
        """Run it; its lines."""
        output = StringIO()
        with redirect_stdout(output):
            self.assertEqual(main(["engines", *options]), 0)
        return output.getvalue().splitlines()

    def put(self, chooser: engines.EngineChooser) -> None:
        """Have it ask this chooser."""
        self.patch(engines, "survey", chooser.survey)
        self.patch(engines, "choose", chooser.choose)

    def test_every_engine(self) -> None:
        """It lists every engine that --engine takes, and what auto stands for."""
        self.assertEqual([line.split()[0] for line in self.printed()], ["cpu", "native", "cuda", "auto"])

    def test_reasons(self) -> None:
        """An engine that cannot be used stands there with its reason, and auto takes what is left."""
        self.put(engines.EngineChooser(lambda: "no card", log_into([]), lambda: "not built"))
        expected = [
            "cpu     usable",
            "native  not usable: not built",
            "cuda    not usable: no card",
            "auto    takes cpu",
        ]
        self.assertEqual(self.printed(), expected)
        more = "        always: without a GPU there is nothing to choose between, and nothing was measured"
        self.assertEqual(self.printed("-v"), [*expected, more])

    def test_with_a_gpu(self) -> None:
        """With a GPU auto takes it beside the host's engine; -v tells the costs of both and where they cross."""
        environ = {"SECURECHAT_HOME": self.mktemp()}
        cache = CostCache(cache_file(environ))
        cache.keep(cost_key("cpu"), HOST)
        cache.keep(cost_key("cuda"), ACCELERATOR)
        opened: list[TimedEngine] = []

        def open_cuda() -> Engine:
            opened.append(TimedEngine("cuda", ACCELERATOR, HandClock()))
            return opened[-1]

        self.put(engines.EngineChooser(lambda: None, log_into([]), lambda: "not built", open_cuda, environ))
        expected = [
            "cpu     usable",
            "native  not usable: not built",
            "cuda    usable",
            "auto    takes cpu, and a GPU where that is faster",
        ]
        self.assertEqual(self.printed(), expected)
        self.assertEqual(len(opened), 1)
        shown = self.printed("--verbose")
        self.assertEqual(shown[:4], expected)
        costs = "us + {}/message + 0.000 ns/byte + 0.00 ns/byte of the longest; of late 1.00 times that"
        models = [
            line
            for operation in ("seal", "open")
            for line in (
                f"{operation} by host: 1.0 {costs.format('1.000 us')}",
                f"{operation} by accelerator: 30.0 {costs.format('0.100 us')}",
                f"{operation} of 200 B messages: the accelerator pays from 33 of them on",
                f"{operation} of 1024 B messages: the accelerator pays from 33 of them on",
            )
        ]
        self.assertEqual(
            [line.strip() for line in shown[4:]],
            [
                "accelerator: usable",
                "cpu: 0 batches, 0 items, 0 bytes, 0.000 s",
                "cuda: 0 batches, 0 items, 0 bytes, 0.000 s",
                *models,
                "switches: 0",
            ],
        )
        self.assertEqual([each.closed for each in opened], [1, 1, 1])

    def test_without_a_device_after_all(self) -> None:
        """Where there may be a GPU and opening finds none, auto is said to take the host's engine; -v says why."""
        self.put(engines.EngineChooser(lambda: None, log_into([]), lambda: "not built", no_device))
        shown = self.printed("-v")
        self.assertEqual(
            shown[2:],
            [
                "cuda    not usable: no usable GPU: none was found",
                "auto    takes cpu",
                "        accelerator: not usable (no usable GPU: none was found)",
                "        cpu: 0 batches, 0 items, 0 bytes, 0.000 s",
            ],
        )
