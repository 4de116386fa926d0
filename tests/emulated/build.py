"""Build the emulated driver, and PyCUDA from its source distribution, unmodified.

Both lie in .emulated in the checkout, in folders that are named after everything they were made from, so that
what is there needs no making. They are made beside their final name and then renamed: what is there is whole.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CHECKOUT: Final = HERE.parents[1]
BUILDS: Final = CHECKOUT / ".emulated"
KERNELS: Final = CHECKOUT / "securechat" / "crypto" / "kernels"
SHIM: Final = CHECKOUT / "tests" / "kernels"
LIBRARY: Final = "libcuda.so.1"

PYCUDA: Final = "2026.1"
COMPILER: Final = "g++"
FLAGS: Final = (
    *("-std=c++17", "-O2", "-g", "-fPIC", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror"),
    *("-Wno-unknown-pragmas", "-Wno-deprecated-declarations"),  # cuda.h deprecates what PyCUDA still calls
)
USUAL_CUDA_HOME: Final = Path("/usr/local/cuda")
COMPILE_TIMEOUT_S: Final = 300
PIP_TIMEOUT_S: Final = 1200

PROTOTYPE: Final = re.compile(r"\bCUresult\s+(cu\w+)\s*\(")
MIN_PROTOTYPES: Final = 200
"""Fewer mean that cuda.h was not understood."""


class BuildError(Exception):
    """Something could not be built; the text says why in one line."""


class NoHeadersError(BuildError):
    """There is no cuda.h on this machine."""


def cuda_home() -> Path:
    """Find the toolkit whose headers are used: CUDA_HOME, nvcc's, or the usual place. Raises NoHeadersError."""
    homes = [Path(os.environ["CUDA_HOME"])] if os.environ.get("CUDA_HOME") else []
    nvcc = shutil.which("nvcc")
    if nvcc and not homes:
        homes.append(Path(nvcc).resolve().parents[1])
    if not os.environ.get("CUDA_HOME"):
        homes.append(USUAL_CUDA_HOME)
    for home in homes:
        if (home / "include" / "cuda.h").is_file():
            return home
    raise NoHeadersError(f"cuda.h is in none of {', '.join(str(home / 'include') for home in homes)}")


def build_driver() -> Path:
    """Give the folder with the emulated libcuda.so.1, made now if its sources have changed. Raises BuildError."""
    include = cuda_home() / "include"
    if shutil.which(COMPILER) is None:
        raise BuildError(f"{COMPILER} is not installed")
    sources = [*sorted((HERE / "driver").glob("*.cc")), SHIM / "host.cc"]
    headers = [*(HERE / "driver").glob("*.h"), *SHIM.glob("*.h"), *KERNELS.glob("*.cu"), include / "cuda.h"]
    name = f"driver-{_digest(*sources, *sorted(headers), Path(__file__))}"

    def make(folder: Path) -> None:
        stubs = folder / "stubs.cc"
        stubs.write_text(_stubs(include), "utf-8")
        command = [COMPILER, *FLAGS, f"-I{include}", f"-I{SHIM}", f"-I{KERNELS}", "-shared", "-Wl,-z,defs"]
        command += [f"-Wl,-soname,{LIBRARY}", "-o", str(folder / LIBRARY), *map(str, sources), str(stubs)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
        if done.returncode:
            raise BuildError(f"{COMPILER} refuses the emulated driver:\n{done.stderr}")
        (folder / "libcuda.so").symlink_to(LIBRARY)

    return _made(name, "the emulated driver", make)


def build_pycuda(driver: Path) -> Path:
    """Give the folder with PyCUDA and what it needs, for this interpreter. Raises BuildError."""
    home = cuda_home()
    made_for = f"{PYCUDA} {platform.python_implementation()} {sys.version_info[:2]} {platform.machine()}"
    name = f"pycuda-{_digest(home / 'include' / 'cuda.h', text=made_for)}"

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as private:
            log = BUILDS / "pycuda.log"
            # It reads this file only at home; cuRAND can't be switched off anywhere else.
            (Path(private) / ".aksetup-defaults.py").write_text(
                f"CUDA_ROOT = {str(home)!r}\n"
                f"CUDA_INC_DIR = [{str(home / 'include')!r}]\n"
                f"CUDADRV_LIB_DIR = [{str(driver)!r}]\n"
                "CUDA_ENABLE_CURAND = False\n",
                "utf-8",
            )
            # pip's own settings stay those of the user. Its cache may hold a PyCUDA that was built otherwise.
            config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
            environment = {**os.environ, "HOME": private, "XDG_CONFIG_HOME": config}
            command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
            command += ["--no-cache-dir", "--no-binary", "pycuda", "--target", str(folder), f"pycuda=={PYCUDA}"]
            with log.open("w", encoding="utf-8") as output:
                done = subprocess.run(
                    command, check=False, env=environment, stdout=output, stderr=output, timeout=PIP_TIMEOUT_S
                )
            if done.returncode:
                errors = [line for line in log.read_text("utf-8").splitlines() if line.startswith("ERROR:")]
                raise BuildError(f"PyCUDA {PYCUDA} can't be had: {(errors or ['see'])[0]} ({log})")

    return _made(name, f"PyCUDA {PYCUDA}, a minute or two", make)


def _stubs(include: Path) -> str:
    """Give a weak function for every one that cuda.h declares: PyCUDA's module binds far more than it calls.

    The names come from the preprocessor, which knows the versions that the header maps them to.
    """
    done = subprocess.run(
        [COMPILER, "-E", f"-I{include}", "-x", "c++", "-"],
        input="#include <cuda.h>\n#include <cudaProfiler.h>\n",
        check=False,
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_S,
    )
    names = sorted(set(PROTOTYPE.findall(done.stdout)))
    if done.returncode or len(names) < MIN_PROTOTYPES:
        raise BuildError(f"{include / 'cuda.h'} is not understood: {done.stderr[:200] or len(names)}")
    not_supported = 801
    return "".join(f'extern "C" __attribute__((weak)) int {x}() {{ return {not_supported}; }}\n' for x in names)


def _digest(*files: Path, text: str = "") -> str:
    """Digest the names and the contents of files, and a text."""
    digest = hashlib.sha256(text.encode())
    for file in files:
        digest.update(b"%s\0%s" % (file.name.encode(), hashlib.sha256(file.read_bytes()).digest()))
    return digest.hexdigest()[:16]


def _made(name: str, what: str, make: Callable[[Path], None]) -> Path:
    """Give the folder of a name, which `make` fills if it isn't there. What it supersedes goes away."""
    final = BUILDS / name
    if final.is_dir():
        return final
    with _locked():
        if final.is_dir():
            return final
        print(f"building {what} ...", file=sys.stderr, flush=True)
        for old in BUILDS.glob(f"{name.split('-')[0]}-*"):
            shutil.rmtree(old)
        unfinished = BUILDS / f"{name}-unfinished"
        unfinished.mkdir()
        try:
            make(unfinished)
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"{what}: not done after {error.timeout:.0f} s") from error
        unfinished.rename(final)
    return final


@contextmanager
def _locked() -> Iterator[None]:
    """Let a second terminal wait instead of building as well."""
    BUILDS.mkdir(exist_ok=True)
    with (BUILDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
