"""A device for tests: the kernels built for the host behind securechat.crypto.device.Device.

It is as unforgiving as a GPU may be. What is queued on a stream happens when somebody waits for it and not
before, so that an array which is read too early, or changed too early, gives other bytes. Memory holds
garbage until it is written. What is outside an allocation, or not locked, is a mistake of the caller: an
AssertionError. Faults happen where a test asks for them; after one the device refuses everything, as a GPU
does, until it is closed.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from securechat.crypto.batch import Bytes
from securechat.crypto.device import ALIGNMENT, KERNELS, Address, DeviceError, DeviceMemoryError, Facts
from tests.kernels.host import FILLING, HostKernels

PAGE_BYTES = 4096
FACTS = Facts("host", "sm_90", 2, 1 << 30)
TYPES = {"P": ctypes.c_void_p, "I": ctypes.c_uint32}


def _done() -> None:
    """Stand where an operation stood, whose arrays nobody holds any more."""


@dataclass(eq=False)
class HostStream:
    """Operations that wait for somebody to wait for them."""

    queue: list[Callable[[], None]] = field(default_factory=list)
    done: int = 0

    def run_to(self, end: int) -> None:
        """Do the operations up to a number."""
        while self.done < end:
            operation, self.queue[self.done] = self.queue[self.done], _done
            self.done += 1
            operation()


@dataclass(eq=False)
class HostEvent:
    """A mark in a stream: the number of operations in front of it."""

    stream: HostStream
    end: int


@dataclass(eq=False)
class HostDevice:
    """The device of the module's description."""

    library: Path
    facts: Facts = FACTS
    memory_limit: int = 1 << 30
    """How many bytes of its memory may be taken at once."""
    lock_limit: int = 1 << 30
    """How many bytes of the host's memory may be locked at once."""
    fail_at: str = ""
    """The call that fails: launch, copy_in, copy_out, clear, wait, stream or record."""
    fail_after: int = 0
    """How many such calls succeed before."""
    counts: dict[str, int] = field(default_factory=dict)
    launched: list[str] = field(default_factory=list)
    memory: dict[Address, Bytes] = field(default_factory=dict)
    locked: dict[Address, Bytes] = field(default_factory=dict)
    streams: list[HostStream] = field(default_factory=list)
    broken: bool = False
    closed: bool = False

    def __post_init__(self) -> None:
        """Load the kernels."""
        self._kernels = HostKernels(self.library)

    def stream(self) -> HostStream:
        """See Device."""
        self._called("stream")
        self.streams.append(HostStream())
        return self.streams[-1]

    def allocate(self, size: int) -> Address:
        """See Device."""
        self._called("allocate")
        if sum(map(len, self.memory.values())) + size > self.memory_limit:
            raise DeviceMemoryError("out of memory")
        memory = np.full(size + ALIGNMENT, FILLING, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        memory = memory[start : start + size]
        self.memory[memory.ctypes.data] = memory
        return int(memory.ctypes.data)

    def free(self, address: Address) -> None:
        """See Device."""
        self._called("free")
        assert all(stream.done == len(stream.queue) for stream in self.streams), "freed while work is queued"
        self.memory.pop(address)[:] = FILLING

    def pin(self, array: Bytes) -> None:
        """See Device."""
        self._called("pin")
        assert array.ctypes.data % PAGE_BYTES == 0
        assert array.ctypes.data not in self.locked
        if sum(map(len, self.locked.values())) + len(array) > self.lock_limit:
            raise DeviceMemoryError("cannot lock so many pages")
        self.locked[array.ctypes.data] = array

    def unpin(self, array: Bytes) -> None:
        """See Device."""
        self._called("unpin")
        assert len(self.locked.pop(array.ctypes.data)) == len(array)

    def copy_in(self, to: Address, source: Bytes, stream: HostStream) -> None:
        """See Device."""
        self._called("copy_in")
        self._check_locked(source)
        target = self.at(to, len(source))
        stream.queue.append(partial(np.copyto, target, source))

    def copy_out(self, to: Bytes, source: Address, stream: HostStream) -> None:
        """See Device."""
        self._called("copy_out")
        self._check_locked(to)
        found = self.at(source, len(to))
        stream.queue.append(partial(np.copyto, to, found))

    def clear(self, at: Address, size: int, stream: HostStream) -> None:
        """See Device."""
        self._called("clear")
        stream.queue.append(partial(self.at(at, size).fill, 0))

    def launch(self, kernel: str, grid: int, block: int, stream: HostStream, *arguments: int) -> None:
        """See Device."""
        self._called("launch")
        described = KERNELS[kernel]
        assert len(arguments) == len(described.arguments)
        assert grid >= 1
        assert block % 32 == 0
        values = [TYPES[kind](value) for kind, value in zip(described.arguments, arguments, strict=True)]
        for kind, value in zip(described.arguments, arguments, strict=True):
            assert kind == "I" or value == 0 or self.at(value, 1) is not None
        self.launched.append(kernel)
        stream.queue.append(
            partial(self._kernels.launch_values, kernel, grid, block, described.shared_bytes, values)
        )

    def record(self, stream: HostStream) -> HostEvent:
        """See Device."""
        self._called("record")
        return HostEvent(stream, len(stream.queue))

    def wait(self, event: HostEvent) -> None:
        """See Device."""
        self._called("wait")
        event.stream.run_to(event.end)

    def seconds_between(self, start: HostEvent, end: HostEvent) -> float:
        """See Device. A microsecond for each operation."""
        assert end.stream.done >= end.end
        return 1e-6 * max(1, end.end - start.end)

    def close(self) -> None:
        """See Device."""
        assert not self.closed
        self.closed = True

    def at(self, address: Address, size: int) -> Bytes:
        """Give a piece of the device's memory."""
        for start, memory in self.memory.items():
            if start <= address and address + size <= start + len(memory):
                return memory[address - start : address - start + size]
        raise AssertionError("an address outside all allocations")

    def _check_locked(self, array: Bytes) -> None:
        start, end = array.ctypes.data, array.ctypes.data + len(array)
        assert array.flags.c_contiguous
        assert any(at <= start and end <= at + len(area) for at, area in self.locked.items()), "not locked"

    def _called(self, what: str) -> None:
        assert not self.closed
        count = self.counts[what] = self.counts.get(what, 0) + 1
        if what == self.fail_at and count > self.fail_after:
            self.broken = True
        if self.broken:
            raise DeviceError(f"{what} failed")
