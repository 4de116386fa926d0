"""The CUDA engine's place. The kernels are there and no engine launches them yet: this tells why there is none.

Nothing of PyCUDA is imported; whether it is installed is asked of the import system.
"""

import ctypes
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final, NoReturn

from securechat.crypto.device import DeviceUnavailable

NO_PYCUDA: Final = "PyCUDA is not installed (pip install 'securechat[cuda]')"
NO_DRIVER: Final = "no NVIDIA driver: {library} cannot be loaded"
NO_ENGINE: Final = "this release has the kernels, and no engine yet that runs them on a GPU"


def why_not(
    installed: Callable[[str], object | None] = find_spec,
    load: Callable[[str], object] = ctypes.CDLL,
    platform: str = sys.platform,
) -> str | None:
    """Give the first reason, in one line for a person, why CUDA cannot be used here.

    `installed` finds a module by name, `load` loads a shared library or raises OSError.
    """
    if installed("pycuda") is None:
        return NO_PYCUDA
    library = "nvcuda.dll" if platform == "win32" else "libcuda.so.1"
    try:
        load(library)
    except OSError:
        return NO_DRIVER.format(library=library)
    return NO_ENGINE


def CudaEngine() -> NoReturn:
    """Stand where the engine will. Raises DeviceUnavailable."""
    raise DeviceUnavailable(NO_ENGINE)
