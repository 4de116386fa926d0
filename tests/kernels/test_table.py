"""The table of kernels is what the sources say."""

import re

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import device
from securechat.crypto.device import KERNELS, SLACK_BYTES, TABLE_BYTES
from tests.kernels.host import SOURCES

ENTRY = re.compile(r'extern "C" __global__ void __launch_bounds__\(MAX_THREADS\)\s+(\w+)\((.*?)\)\s*\{', re.DOTALL)


class TableTests(SynchronousTestCase):
    """securechat.crypto.device against the .cu files."""

    def test_arguments(self) -> None:
        """Every kernel of the sources stands there with its arguments: P for a pointer, I for a u32."""
        found = {}
        for path in SOURCES.glob("*.cu"):
            for name, arguments in ENTRY.findall(path.read_text("utf-8")):
                words = [" ".join(argument.split()) for argument in arguments.split(",")]
                found[name] = "".join("P" if "*" in word else "I" for word in words)
                self.assertTrue(all("*" in word or word.startswith("u32 ") for word in words), words)
        self.assertEqual(found, {name: kernel.arguments for name, kernel in KERNELS.items()})

    def test_shared_memory(self) -> None:
        """Exactly the kernels that declare dynamic shared memory are given it."""
        for path in SOURCES.glob("*.cu"):
            text = path.read_text("utf-8")
            for name, _ in ENTRY.findall(text):
                self.assertEqual(KERNELS[name].shared_bytes, TABLE_BYTES * ("DYNAMIC_SHARED(" in text), name)

    def test_constants(self) -> None:
        """MAX_THREADS and SLACK_BYTES are those of common.cu."""
        common = (SOURCES / "common.cu").read_text("utf-8")
        self.assertIn(f"#define MAX_THREADS {device.MAX_THREADS}\n", common)
        self.assertIn(f"#define SLACK_BYTES {SLACK_BYTES}\n", common)
