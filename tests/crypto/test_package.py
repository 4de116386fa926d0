"""What importing the package does, and does not."""

import ast
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from securechat import crypto

HEAVY = ("numpy", "pycuda", "twisted", "cryptography")


def loaded_after(statement: str) -> set[str]:
    """Tell which of the heavy modules a new interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(Path(crypto.__file__).resolve().parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60, env=environment)
    return set(done.stdout.split())


class PackageTests(SynchronousTestCase):
    """The package's face."""

    def test_public_names(self) -> None:
        """Every public name can be had, and the list of them is sorted."""
        for name in crypto.__all__:
            self.assertEqual(getattr(crypto, name).__name__, name)
        self.assertEqual(crypto.__all__, sorted(crypto.__all__))

    def test_no_other_names(self) -> None:
        """Another name is an AttributeError."""
        package: Any = crypto
        with self.assertRaisesRegex(AttributeError, "no attribute 'Nothing'"):
            package.Nothing  # noqa: B018

    def test_light_import(self) -> None:
        """Importing the package loads nothing heavy; sealing one message needs no numpy and no Twisted."""
        self.assertEqual(loaded_after("import securechat.crypto"), set())
        self.assertEqual(loaded_after("import securechat.crypto.aead"), {"cryptography"})

    def test_pycuda_is_never_loaded_unasked(self) -> None:
        """Neither choosing an engine nor asking for CUDA where it cannot be used loads PyCUDA."""
        statement = (
            "from securechat.crypto import *; choose('auto'); import securechat.crypto.cuda as c; c.why_not()"
        )
        self.assertNotIn("pycuda", loaded_after(statement))

    def test_imports_nothing_else_of_ours(self) -> None:
        """No module of the package imports from elsewhere in securechat."""
        found: set[str] = set()
        for path in files(crypto).iterdir():
            if path.name.endswith(".py"):
                for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                    if isinstance(node, ast.Import):
                        found.update(alias.name for alias in node.names)
                    elif isinstance(node, ast.ImportFrom):
                        self.assertEqual(node.level, 0)
                        found.add(f"{node.module}.")
        ours = {name for name in found if name.startswith("securechat")}
        self.assertEqual({name for name in ours if not name.startswith("securechat.crypto.")}, set())
