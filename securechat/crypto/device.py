"""What the CUDA engine asks of a GPU, and nothing more: so little that a test brings a GPU of its own.

Work is queued on streams: the operations of one stream happen in their order, those of two streams at any
time, and nothing has happened for certain before an event behind it was waited for. Until then the arrays
given to a copy must stay as they are. Everything is used by one thread, which also closes the device.
"""

import sys
from dataclasses import dataclass
from typing import Any, Final, Protocol

from securechat.crypto.aead import CryptoError
from securechat.crypto.batch import Bytes

Address = int
"""A place in the device's memory."""
Stream = Any
"""A queue of work; only its device knows what it is."""
Event = Any
"""A mark in a stream."""

ALIGNMENT: Final = 256
"""What every address that `allocate` gives is a multiple of."""
TABLE_BYTES: Final = 64 * 1024
"""The dynamic shared memory of the kernels that look up (aes.cu)."""
SLACK_BYTES: Final = 32
"""SLACK_BYTES of common.cu: what must be readable behind the last item of a buffer."""
MAX_THREADS: Final = 512
"""MAX_THREADS of common.cu: the most in one block."""


def driver_library(platform: str = sys.platform) -> str:
    """Give the name of NVIDIA's driver as a shared library."""
    return "nvcuda.dll" if platform == "win32" else "libcuda.so.1"


@dataclass(frozen=True, slots=True)
class Kernel:
    """How a kernel is launched."""

    arguments: str
    """A letter for each: P an address, I an unsigned integer of 32 bits."""
    shared_bytes: int
    """Its dynamic shared memory."""
    resident: int
    """How many blocks of MAX_THREADS a multiprocessor of sm_80 or newer holds at once: registers and tables
    decide. More would only wait, and fill their tables again."""


KERNELS: Final = {
    "cbc_encrypt": Kernel("PIIPPPPPPII", TABLE_BYTES, 1),
    "hmac_tag": Kernel("PIPPPPPI", 0, 1),
    "hmac_verify": Kernel("PIPPPPPPI", 0, 1),
    "decrypt_keys": Kernel("PIIPI", TABLE_BYTES, 2),
    "cbc_decrypt": Kernel("PIPPPIPPPI", TABLE_BYTES, 2),
    "check_padding": Kernel("PPPPI", 0, 4),
    "pack_texts": Kernel("PPPPI", 0, 4),
}
"""Every kernel of kernels/module.cu, by name."""


@dataclass(eq=False)
class DeviceError(CryptoError):
    """The device failed, and can't be relied upon any more: what was queued may or may not have happened."""

    what: str
    """What failed, in one line for an operator; no contents."""

    def __str__(self) -> str:
        """Give the user's text."""
        return self.what


class DeviceMemoryError(DeviceError):
    """The device, or the host for page-locking, has not so much memory to give. Nothing else is wrong."""


@dataclass(eq=False)
class DeviceUnavailable(CryptoError):  # noqa: N818
    """There is no device that could be used."""

    reason: str
    """Why not, in one line for a person."""

    def __str__(self) -> str:
        """Give the user's text."""
        return self.reason


@dataclass(frozen=True, slots=True)
class Facts:
    """What a device is."""

    name: str
    """As its maker calls it."""
    architecture: str
    """What its kernels are compiled for, such as "sm_90"."""
    multiprocessors: int
    """How many blocks run at once, at least."""
    memory_bytes: int
    """All its memory."""


class Device(Protocol):
    """One GPU with the kernels loaded. Any call may raise DeviceError."""

    @property
    def facts(self) -> Facts:
        """What it is."""

    def stream(self) -> Stream:
        """Make a stream."""

    def allocate(self, size: int) -> Address:
        """Take memory, which holds anything. Raises DeviceMemoryError."""

    def free(self, address: Address) -> None:
        """Give memory back that `allocate` gave."""

    def pin(self, array: Bytes) -> None:
        """Lock the pages of an array, so that copies of it overlap with work. Raises DeviceMemoryError."""

    def unpin(self, array: Bytes) -> None:
        """Unlock the pages of an array that `pin` locked. The array itself stays."""

    def copy_in(self, to: Address, source: Bytes, stream: Stream) -> None:
        """Queue a copy of a contiguous array into the device's memory."""

    def copy_out(self, to: Bytes, source: Address, stream: Stream) -> None:
        """Queue a copy of as many bytes as a contiguous array has out of the device's memory."""

    def clear(self, at: Address, size: int, stream: Stream) -> None:
        """Queue the overwriting of memory with zeros."""

    def launch(self, kernel: str, grid: int, block: int, stream: Stream, *arguments: int) -> None:
        """Queue a kernel of KERNELS: blocks in the grid, threads in a block, arguments as listed there."""

    def record(self, stream: Stream) -> Event:
        """Mark the end of what has been queued on a stream so far."""

    def wait(self, event: Event) -> None:
        """Wait until everything in front of a mark has happened; other threads of Python run meanwhile."""

    def seconds_between(self, start: Event, end: Event) -> float:
        """Give the device's own time between two marks that were waited for."""

    def close(self) -> None:
        """Give everything back. No other call may follow."""
