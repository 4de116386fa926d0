"""`securechat engines`."""

from contextlib import redirect_stdout
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from securechat.__main__ import main
from securechat.crypto import engines
from securechat.crypto.cpu import CpuEngine


class EnginesCommandTests(SynchronousTestCase):
    """What it prints."""

    def printed(self) -> list[str]:
        """Run it; its lines."""
        output = StringIO()
        with redirect_stdout(output):
            self.assertEqual(main(["engines"]), 0)
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
