"""TABLE.md against the tests: what it names exists, and every module of tests is in it."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

HERE: Final = Path(__file__).parent
NAMED: Final = re.compile(r"`((?:test_\w+|\w+_cases)(?:\.\w+)*)`")


class TableTests(SynchronousTestCase):
    """The table."""

    def setUp(self) -> None:
        """What it names."""
        self.named = NAMED.findall((HERE / "TABLE.md").read_text(encoding="utf-8"))

    def test_exists(self) -> None:
        """Every test, class and module that it names is there."""
        self.assertGreater(len(self.named), 20)
        for name in self.named:
            module, *parts = name.split(".")
            found: object = import_module(f"tests.faults.{module}")
            for part in parts:
                found = getattr(found, part)

    def test_complete(self) -> None:
        """It names every module of tests but those of its tools."""
        modules = {path.stem for pattern in ("test_*.py", "*_cases.py") for path in HERE.glob(pattern)}
        named = {name.partition(".")[0] for name in self.named}
        self.assertEqual(set(), modules - named - {"test_ackcheck", "test_proxy", "test_table"})
