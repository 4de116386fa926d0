"""README.md is true, as far as a program can tell."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

README: Final = Path(__file__).resolve().parents[2] / "README.md"
BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class ReadmeTests(SynchronousTestCase):
    """What README.md shows works when it is copied out."""

    def test_python_examples_run(self) -> None:
        """Every Python example runs to its end without an error or a word on stderr."""
        blocks = BLOCK.findall(README.read_text(encoding="utf-8"))
        self.assertEqual(len(blocks), 3)
        for block in blocks:
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c", block],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""), block)

    def test_links_lead_somewhere(self) -> None:
        """Every file that README.md links to is there."""
        links = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))
        self.assertGreater(len(links), 3)
        for link in links:
            self.assertTrue((README.parent / link).exists(), link)
