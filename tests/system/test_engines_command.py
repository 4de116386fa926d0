"""`securechat engines`."""

from contextlib import redirect_stdout
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from securechat.__main__ import main
from securechat.crypto import engines
from securechat.crypto.auto import AutoEngine
from securechat.crypto.cpu import CpuEngine
from tests.crypto.auto_fakes import AutoRig


class EnginesCommandTests(SynchronousTestCase):
    """What it prints."""

    def printed(self, *options: str) -> list[str]:
        """Run it; its lines."""
        output = StringIO()
        with redirect_stdout(output):
            self.assertEqual(main(["engines", *options]), 0)
        return output.getvalue().splitlines()

    def test_every_engine(self) -> None:
        """It lists every engine that --engine takes, and what auto stands for."""
        self.assertEqual([line.split()[0] for line in self.printed()], ["cpu", "native", "cuda", "auto"])

    def test_reasons(self) -> None:
        """An engine that cannot be used stands there with its reason, and auto takes what is left."""
        chooser = engines.EngineChooser(lambda: "no card", None, lambda: "not built")
        self.patch(engines, "survey", chooser.survey)
        self.patch(engines, "choose", lambda _: CpuEngine())
        self.assertEqual(
            self.printed(),
            ["cpu     usable", "native  not usable: not built", "cuda    not usable: no card", "auto    takes cpu"],
        )

    def test_verbose_without_a_gpu(self) -> None:
        """Asked for more where auto has no choice, it says so, and measures nothing."""
        self.patch(engines, "choose", lambda _: CpuEngine())
        *_, takes, more = self.printed("-v")
        self.assertEqual(takes, "auto    takes cpu")
        self.assertIn("nothing to choose between", more)

    def test_verbose(self) -> None:
        """Where there is a GPU, it says what both cost and from where on the GPU pays, as just measured."""
        rig = AutoRig()
        # With a real thread beside: the command waits for it.
        rig.engine = AutoEngine(rig.make_host, rig.open_accelerator, cache=rig.cache, seconds=rig.clock.seconds)
        self.patch(engines, "choose", lambda _: rig.engine)
        short = self.printed()
        self.assertEqual(short[-1], "auto    takes host, and a GPU where that is faster")
        self.assertEqual(rig.accelerators, [])
        long = self.printed("--verbose")
        self.assertEqual(long[: len(short)], short)
        self.assertIn("        seal of 200 B messages: the accelerator pays from 33 of them on", long)
        self.assertEqual([each.closed for each in rig.accelerators], [1])
