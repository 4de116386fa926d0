"""Images of modules: the true one of the kernels, and small ones that only look like it."""

import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from securechat.crypto.device import KERNELS
from tests.kernels.host import SOURCES

COMPILE_TIMEOUT_S: Final = 120
FILE_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION_HEADER: Final = struct.Struct("<IIQQQQIIQQ")
MACHINE_CUDA: Final = 190
STRINGS: Final = 3
"""SHT_STRTAB."""


@cache
def compiled(architecture: str) -> bytes:
    """Compile the kernels for an architecture such as "sm_90"."""
    with TemporaryDirectory(prefix="securechat-cubin-") as folder:
        cubin = Path(folder) / "module.cubin"
        command = ["nvcc", "-std=c++17", f"-arch={architecture}", "-cubin", "-o", str(cubin)]
        subprocess.run([*command, str(SOURCES / "module.cu")], check=True, timeout=COMPILE_TIMEOUT_S)
        return cubin.read_bytes()


def pretended(capability: int = 90, kernels: tuple[str, ...] = tuple(KERNELS)) -> bytes:
    """Make an image with these kernels, but no code in them, as of CUDA 12: enough for the emulated driver."""
    names = b"\0" + b"".join(b".text.%s\0" % kernel.encode() for kernel in kernels)
    at = [names.index(b".text.%s\0" % kernel.encode()) for kernel in kernels]
    sections = [SECTION_HEADER.pack(0, STRINGS, 0, 0, FILE_HEADER.size, len(names), 0, 0, 1, 0)]
    sections += [SECTION_HEADER.pack(name, 1, 0, 0, 0, 0, 0, 0, 1, 0) for name in at]
    ident = b"\x7fELF" + bytes([2, 1, 1, 0x33, 7])
    sizes = (FILE_HEADER.size, 0, 0, SECTION_HEADER.size, len(sections), 0)
    header = (ident, 2, MACHINE_CUDA, 1, 0, 0, FILE_HEADER.size + len(names), capability, *sizes)
    return FILE_HEADER.pack(*header) + names + b"".join(sections)
