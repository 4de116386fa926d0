"""Host memory with locked pages, which a device copies from and to while other work goes on.

Locking costs a millisecond for some megabytes, so areas are kept and used again. What is given out for
results goes back by itself once the last view of it is gone, from whichever thread that happens in; only the
device's own thread locks and unlocks. Areas that are unlocked stay memory like any other: nobody's array
dangles.
"""

import ctypes
import mmap
import weakref
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from securechat.crypto.batch import Bytes
from securechat.crypto.device import Device, DeviceMemoryError

POOLED_BYTES: Final = 512 << 20
"""How much is locked for results at most."""
MIN_POOLED_BYTES: Final = 1 << 20
"""The smallest result worth locked pages."""


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """A piece of the host's memory, in whole pages."""

    memory: Bytes

    @classmethod
    def new(cls, size: int) -> "Area":
        """Take fresh pages for `size` bytes."""
        return cls(np.frombuffer(mmap.mmap(-1, size), np.uint8))

    @property
    def start(self) -> int:
        """Its address."""
        return int(self.memory.ctypes.data)


class PageLocked:
    """All locked memory of one device."""

    def __init__(self, device: Device, pooled_bytes: int = POOLED_BYTES) -> None:
        """Take the device to lock for, and how much may be locked for results."""
        self._device = device
        self._pooled_bytes = pooled_bytes
        self._pooled = 0
        self._areas: dict[int, Area] = {}
        self._starts: list[int] = []
        self._free: deque[Area] = deque()

    def lock(self, size: int) -> Bytes:
        """Give a new locked array of zeros. Raises DeviceMemoryError."""
        area = self._lock(size)
        return area.memory

    def unlock(self, array: Bytes) -> None:
        """Unlock what `lock` gave."""
        area = self._areas[array.ctypes.data]
        self._device.unpin(area.memory)
        self._forget(area)

    def holds(self, array: Bytes) -> bool:
        """Tell whether all of a contiguous array lies in locked memory."""
        start = int(array.ctypes.data)
        position = bisect_right(self._starts, start) - 1
        if position < 0:
            return False
        area = self._areas[self._starts[position]]
        return start + array.nbytes <= area.start + len(area.memory)

    def result(self, size: int, secret: bool) -> Bytes:
        """Give an array for a result: locked where that is worth it and may be, otherwise ordinary.

        It holds anything. A secret one is overwritten before anybody else gets its memory.
        """
        area = self._take(size) if size >= MIN_POOLED_BYTES else None
        if area is None:
            return np.empty(size, np.uint8)
        # numpy gives views of views the innermost owner as base, so that owner is what is watched.
        memory: Any = area.memory
        owner: Any = (ctypes.c_ubyte * len(area.memory)).from_buffer(memory)
        weakref.finalize(owner, _give_back, self._free, area, size if secret else 0).atexit = False
        return np.frombuffer(owner, np.uint8, size)

    def close(self) -> None:
        """Unlock everything."""
        for area in list(self._areas.values()):
            self._device.unpin(area.memory)
            self._forget(area)
        self._free = deque()
        self._pooled = 0

    def _take(self, size: int) -> Area | None:
        for _ in range(len(self._free)):
            area = self._free.popleft()
            if size <= len(area.memory) <= 4 * size:
                return area
            self._free.append(area)
        rounded = 1 << (size - 1).bit_length()
        while self._pooled + rounded > self._pooled_bytes:
            if not self._free:
                return None
            unfit = self._free.popleft()
            self._pooled -= len(unfit.memory)
            self.unlock(unfit.memory)
        try:
            area = self._lock(rounded)
        except DeviceMemoryError:
            return None
        self._pooled += rounded
        return area

    def _lock(self, size: int) -> Area:
        area = Area.new(size)
        self._device.pin(area.memory)
        self._areas[area.start] = area
        self._starts = sorted(self._areas)
        return area

    def _forget(self, area: Area) -> None:
        del self._areas[area.start]
        self._starts = sorted(self._areas)


def _give_back(free: "deque[Area]", area: Area, wipe: int) -> None:
    area.memory[:wipe] = 0
    free.append(area)
