"""Compiling the kernels once, and every way in which that fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.crypto import kernel_build
from securechat.crypto.cache import Cache
from securechat.crypto.device import KERNELS, DeviceUnavailable
from securechat.crypto.kernel_build import find_compiler, module_for

FAKE = """#!/bin/sh
echo "$@" >>"$0.log"
while [ $# -gt 1 ]; do
    if [ "$1" = -o ]; then echo "a module" >"$2"; fi
    shift
done
"""


class ModuleTests(SynchronousTestCase):
    """What `module_for` gives, with a compiler that only pretends."""

    def setUp(self) -> None:
        """Make a compiler and a cache."""
        self.folder = Path(self.mktemp()).resolve()
        self.cache = Cache(self.folder / "cache")
        self.folder.mkdir()
        self.compiler = self.folder / "nvcc"
        self.write(FAKE)

    def write(self, script: str) -> None:
        """Write the compiler."""
        self.compiler.write_text(script)
        self.compiler.chmod(0o700)

    def module(self, architecture: str = "sm_90") -> bytes:
        """Ask for a module."""
        return module_for(architecture, self.cache, lambda: str(self.compiler))

    def calls(self) -> list[str]:
        """What the compiler was called with."""
        log = Path(f"{self.compiler}.log")
        return log.read_text().splitlines() if log.exists() else []

    def kept(self) -> list[Path]:
        """The files of the cache."""
        return sorted((self.folder / "cache").iterdir())

    def reason(self, architecture: str = "sm_90") -> str:
        """Ask in vain; the reason."""
        with self.assertRaises(DeviceUnavailable) as caught:
            self.module(architecture)
        reason: str = caught.exception.reason
        self.assertNotIn("\n", reason)
        return reason

    def test_compiled_once(self) -> None:
        """A module is compiled for its architecture at the first call, and read at all later ones."""
        self.assertEqual([self.module(), self.module()], [b"a module\n"] * 2)
        self.assertEqual(len(self.calls()), 1)
        self.assertIn("-arch=sm_90 ", self.calls()[0])
        self.module("sm_75")
        self.assertEqual(len(self.calls()), 2)
        self.assertEqual(len(self.kept()), 2)

    def test_without_a_compiler_later(self) -> None:
        """Once compiled, no compiler is needed."""
        self.module()
        self.assertEqual(module_for("sm_90", self.cache, lambda: None), b"a module\n")

    def test_no_compiler(self) -> None:
        """Without nvcc and without a kept module, that is the reason."""
        with self.assertRaises(DeviceUnavailable) as caught:
            module_for("sm_90", self.cache, lambda: None)
        self.assertIn("not compiled for sm_90 yet, and nvcc", caught.exception.reason)

    def test_other_sources(self) -> None:
        """Changed kernels or flags are compiled anew."""
        self.module()
        self.patch(kernel_build, "FLAGS", (*kernel_build.FLAGS, "-lineinfo"))
        self.module()
        self.assertEqual(len(self.calls()), 2)

    def test_damaged(self) -> None:
        """A kept module with any byte changed, cut short, grown or emptied is compiled again."""
        whole = self.module()
        path = self.kept()[0]
        data = path.read_bytes()
        damages = [data[:-1], data + b"x", b"", data[:31], data[:32], data[:5] + b"?" + data[6:], b"?" + data[1:]]
        for number, damaged in enumerate(damages):
            path.write_bytes(damaged)
            self.assertEqual(self.module(), whole)
            self.assertEqual(len(self.calls()), 2 + number)
            self.assertEqual(path.read_bytes(), data)

    def test_damaged_without_a_compiler(self) -> None:
        """Without nvcc a damaged module is none."""
        self.module()
        self.kept()[0].write_bytes(b"garbage")
        with self.assertRaises(DeviceUnavailable):
            module_for("sm_90", self.cache, lambda: None)

    def test_compiler_refuses(self) -> None:
        """What nvcc says first is the reason, in one line of bounded length, and nothing is kept."""
        self.write("#!/bin/sh\necho 'nvcc fatal : Unsupported gpu architecture' >&2; echo more >&2; exit 1\n")
        self.assertEqual(
            self.reason("sm_35"),
            "compiling its kernels failed for sm_35: nvcc fatal : Unsupported gpu architecture",
        )
        self.write("#!/bin/sh\nhead -c 5000 /dev/zero | tr '\\0' x >&2; exit 1\n")
        self.assertLess(len(self.reason()), 300)
        self.assertFalse((self.folder / "cache").exists())

    def test_compiler_says_nothing(self) -> None:
        """A compiler that fails in silence, or writes nothing, is a reason as well."""
        for script in ("#!/bin/sh\nexit 1\n", "#!/bin/sh\n"):
            self.write(script)
            self.assertEqual(self.reason(), "compiling its kernels failed for sm_90: nvcc said nothing")

    def test_compiler_cannot_run(self) -> None:
        """So is one that can't be run, or doesn't end."""
        self.compiler.chmod(0o600)
        self.assertIn("cannot be run", self.reason())
        self.write("#!/bin/sh\nexec sleep 60\n")
        self.patch(kernel_build, "COMPILE_TIMEOUT_S", 0.1)
        self.assertIn("did not end", self.reason())

    def test_the_program_ends(self) -> None:
        """A program that ends while another thread compiles says nothing of it."""
        loop = 'while [ -d "${last%/*}" ]; do n=$((n + 1)); : >"${last%/*}/$n"; done'
        self.write(f"#!/bin/sh\nfor last; do :; done\n{loop}\n")
        program = (
            "import sys, threading, time\n"
            "from pathlib import Path\n"
            "from securechat.crypto.cache import Cache\n"
            "from securechat.crypto.kernel_build import module_for\n"
            "ask = lambda: module_for('sm_90', Cache(Path(sys.argv[1])), lambda: sys.argv[2])\n"
            "threading.Thread(target=ask, daemon=True).start()\n"
            "time.sleep(0.5)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(self.folder / "cache"), str(self.compiler)],
            capture_output=True,
            env={**os.environ, "TMPDIR": str(self.folder)},
            text=True,
            timeout=60,
        )
        for left in self.folder.glob("securechat-kernels-*"):
            # The compiler ends with its folder.
            left.rename(self.folder / "left")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_unwritable_cache(self) -> None:
        """Where nothing can be kept, the module is compiled each time."""
        cache = Cache(Path(__file__))
        for _ in range(2):
            self.assertEqual(module_for("sm_90", cache, lambda: str(self.compiler)), b"a module\n")
        self.assertEqual(len(self.calls()), 2)


class CompilerTests(SynchronousTestCase):
    """Finding nvcc."""

    def test_places(self) -> None:
        """NVCC comes first, then the PATH, then the toolkit's folder; otherwise there is none."""
        toolkit = Path(self.mktemp()).resolve()
        (toolkit / "bin").mkdir(parents=True)
        program = toolkit / "bin" / "nvcc"
        self.patch(os, "environ", {"PATH": "", "CUDA_HOME": str(toolkit)})
        self.assertIsNone(find_compiler())
        program.write_text("")
        program.chmod(0o700)
        self.assertEqual(find_compiler(), str(program))
        os.environ["PATH"] = str(toolkit / "bin")
        del os.environ["CUDA_HOME"]
        self.assertEqual(find_compiler(), str(program))
        os.environ["NVCC"] = "/opt/nvcc"
        self.assertEqual(find_compiler(), "/opt/nvcc")

    def test_real(self) -> None:
        """The real nvcc makes a module that has every kernel, and refuses an architecture that it doesn't know."""
        if shutil.which("nvcc") is None:
            raise SkipTest("nvcc is not installed: the kernels cannot be compiled for a device")
        cache = Cache(Path(self.mktemp()))
        module = module_for("sm_90", cache)
        self.assertEqual(module[:4], b"\x7fELF")
        for name in KERNELS:
            self.assertIn(name.encode(), module)
        with self.assertRaises(DeviceUnavailable) as caught:
            module_for("sm_10", cache)
        self.assertIn("failed for sm_10", caught.exception.reason)
