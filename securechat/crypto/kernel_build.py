"""The kernels compiled for a device's architecture: by nvcc, once, and kept in the user's cache folder.

A kept module is named after its architecture and a digest of sources and flags; the compiler is not in the name, so
that a module goes on serving where nvcc was taken off. It begins with a digest of itself: a file that was
damaged is compiled again.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from securechat.crypto.cache import Cache
from securechat.crypto.device import DeviceUnavailable

FLAGS: Final = ("-std=c++17", "-O3", "-cubin")
NO_COMPILER: Final = "its kernels are not compiled for {architecture} yet, and nvcc (CUDA toolkit) is not installed"
COMPILE_TIMEOUT_S: Final = 300.0
MAX_MODULE_BYTES: Final = 16 << 20
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


def module_for(architecture: str, cache: Cache, find: Callable[[], str | None] = lambda: find_compiler()) -> bytes:
    """Give the module (a cubin) of all kernels for an architecture such as "sm_90".

    Raises DeviceUnavailable, with the reason, where it has to be compiled and can't be. `find` gives the path of
    nvcc, None where there is none.
    """
    sources = _sources()
    digest = hashlib.sha256(repr((sorted(sources.items()), FLAGS)).encode()).hexdigest()
    name = f"kernels-{architecture}-{digest[:32]}.cubin"
    data = cache.read(name, MAX_MODULE_BYTES)
    if data is not None and hashlib.sha256(data[_DIGEST_BYTES:]).digest() == data[:_DIGEST_BYTES]:
        return data[_DIGEST_BYTES:]
    compiler = find()
    if compiler is None:
        raise DeviceUnavailable(NO_COMPILER.format(architecture=architecture))
    module = _compiled(compiler, sources, architecture)
    cache.write(name, hashlib.sha256(module).digest() + module)
    return module


def find_compiler() -> str | None:
    """Give the path of nvcc: what NVCC names, what the PATH has, or that of the usual place."""
    named = os.environ.get("NVCC") or shutil.which("nvcc")
    if named:
        return named
    usual = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "nvcc"
    return str(usual) if usual.exists() else None


def _sources() -> dict[str, bytes]:
    folder = files("securechat.crypto").joinpath("kernels")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(".cu")}


def _compiled(compiler: str, sources: dict[str, bytes], architecture: str) -> bytes:
    # A program may end, and this folder with it, while the compiler still writes into it.
    with TemporaryDirectory(prefix="securechat-kernels-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        for name, source in sources.items():
            (folder / name).write_bytes(source)
        module = folder / "module.cubin"
        command = [compiler, *FLAGS, f"-arch={architecture}", "-o", str(module), str(folder / "module.cu")]
        try:
            done = subprocess.run(  # noqa: S603  (the compiler that the user installed)
                command, capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=COMPILE_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            kind = "did not end" if isinstance(error, subprocess.TimeoutExpired) else "cannot be run"
            raise DeviceUnavailable(f"compiling its kernels failed: {compiler} {kind}") from None
        if done.returncode != 0 or not module.exists():
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["nvcc said nothing"]
            raise DeviceUnavailable(f"compiling its kernels failed for {architecture}: {said[0][:200]}")
        return module.read_bytes()
