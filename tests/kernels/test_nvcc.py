"""The kernels compile for every architecture that is promised, and no register spills."""

import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.device import KERNELS
from tests.kernels.host import SOURCES

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
MAX_REGISTERS = {"cbc_encrypt": 96, "decrypt_keys": 64, "cbc_decrypt": 64, "check_padding": 64, "pack_texts": 64}
REGISTERS_OF_A_BLOCK = 65_536
MAX_THREADS = 512
COMPILE_TIMEOUT_S = 120

EXPANSION_LOOKUPS = 13 * 4
BLOCK_LOOKUPS = 14 * 16
LOOKUPS = {
    "cbc_encrypt": EXPANSION_LOOKUPS + BLOCK_LOOKUPS,
    "decrypt_keys": EXPANSION_LOOKUPS,
    "cbc_decrypt": BLOCK_LOOKUPS,
}
"""What AES needs: the S-box on 13 words of a key, and on 16 bytes in each of 14 rounds."""

ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)'.*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill "
    r"stores, (?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


class NvccTests(SynchronousTestCase):
    """What nvcc makes of the module. The machine code is not run."""

    if shutil.which("nvcc") is None:
        skip = "nvcc is not installed: the kernels cannot be compiled for a device"

    def test_no_spills(self) -> None:
        """For each architecture every kernel keeps all its variables in registers, of which there are enough."""
        for architecture in ARCHITECTURES:
            cubin = Path(self.mktemp())
            command = ["nvcc", "-std=c++17", f"-arch={architecture}", "-cubin", "-Xptxas", "-v"]
            command += ["-Werror", "all-warnings", "-o", str(cubin), str(SOURCES / "module.cu")]
            done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=COMPILE_TIMEOUT_S)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertGreater(cubin.stat().st_size, 0)
            entries = {found["kernel"]: found for found in ENTRY.finditer(done.stderr)}
            self.assertEqual(set(entries), set(KERNELS), architecture)
            for kernel, found in entries.items():
                spilled = [int(found[what]) for what in ("stack", "stores", "loads")]
                self.assertEqual(spilled, [0, 0, 0], (architecture, kernel))
                limit = MAX_REGISTERS.get(kernel, REGISTERS_OF_A_BLOCK // MAX_THREADS)
                self.assertLessEqual(int(found["registers"]), limit, (architecture, kernel))

    def test_lookups(self) -> None:
        """All lookups of the cipher, and nothing else, read shared memory, and none became a local array's."""
        ptx = Path(self.mktemp())
        command = ["nvcc", "-std=c++17", "-arch=sm_90", "-ptx", "-o", str(ptx), str(SOURCES / "module.cu")]
        subprocess.run(command, capture_output=True, check=True, timeout=COMPILE_TIMEOUT_S)
        kernels = dict(re.findall(r"\.entry (\w+)\((.*?)\n}", ptx.read_text("utf-8"), re.DOTALL))
        self.assertEqual(set(kernels), set(KERNELS))
        for kernel, code in kernels.items():
            self.assertEqual(code.count("ld.shared.u32"), LOOKUPS.get(kernel, 0), kernel)
            self.assertEqual(code.count("ld.shared"), LOOKUPS.get(kernel, 0), kernel)
            self.assertNotIn("ld.local", code, kernel)
