"""Whole batches through a device, piece by piece, in slots that overlap.

Failures of the device pass through as DeviceError, and leave the pipeline unusable. Want of memory does not,
as long as a piece of MIN_SLOT_BYTES still fits: the slots are given back and taken anew at half the size.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np

from securechat.crypto.aead import KEY_BYTES
from securechat.crypto.batch import Batch, Bytes, Offsets
from securechat.crypto.device import Device, DeviceError, DeviceMemoryError, Event, Facts
from securechat.crypto.engine import Flags
from securechat.crypto.page_locked import PageLocked
from securechat.crypto.pieces import OVERHEAD_BYTES, Opening, Sealing, Slot, Work, opening, sealing

SLOTS: Final = 3
"""One is copied in, one is worked on, one is copied out."""
MAX_SLOT_BYTES: Final = 32 << 20
"""Large enough that what a piece costs whatever it holds (some 0.1 ms) is little beside its copying."""
MIN_SLOT_BYTES: Final = 256 << 10
"""The least that is worth a device, and room for any one item that an engine sends here."""


@dataclass(slots=True)
class _Running:
    steps: Iterator[Event]
    mark: Event
    work: Work


class Pipeline:
    """A device with its slots. Everything happens on the thread that calls."""

    def __init__(self, device: Device, max_slot_bytes: int = MAX_SLOT_BYTES) -> None:
        """Take a device, which is the pipeline's from now on."""
        self._device = device
        self._locked = PageLocked(device)
        self._slots: list[Slot] = []
        self._max_slot_bytes = self._allowed_bytes = max_slot_bytes
        self.halvings = 0

    @property
    def facts(self) -> Facts:
        """What the device is."""
        return self._device.facts

    def lock(self, size: int) -> Bytes:
        """Give an array in locked memory, from which batches go to the device without another copy."""
        return self._locked.lock(size)

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        return self._seal(sealing(keys, ivs, associated, plaintext, self._locked))

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        return self._open(opening(keys, None, associated, sealed, self._locked))

    def encrypt(self, keys: Bytes, ivs: Bytes, plaintext: Batch) -> Batch:
        """See Engine."""
        return self._seal(sealing(keys, ivs, None, plaintext, self._locked))

    def decrypt(self, keys: Bytes, ivs: Bytes, ciphertext: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        return self._open(opening(keys, ivs, None, ciphertext, self._locked))

    def close(self) -> None:
        """Give back slots and device. What a failed device does not take back, it has lost anyway."""
        slots = list(self._slots)
        with suppress(DeviceError):
            self._release()
            self._locked.close()
        for slot in slots:
            slot.host[:] = 0  # whatever the device said
        with suppress(DeviceError):
            self._device.close()

    def _seal(self, job: Sealing) -> Batch:
        self._run(job, job.needs())
        return Batch(job.out, job.out_at)

    def _open(self, job: Opening) -> tuple[Batch, Flags]:
        self._run(job, job.needs())
        text_bytes = int(job.out_at[-1])
        out = job.out
        if out.flags.owndata:
            out.resize(text_bytes, refcheck=False)
        return Batch(out[:text_bytes], job.out_at), job.ok

    def _run(self, job: Sealing | Opening, needs: Offsets) -> None:
        """Cut a job into pieces and let them overlap."""
        sums = np.zeros(len(needs) + 1, np.int64)
        np.cumsum(needs, out=sums[1:])
        running: deque[_Running] = deque()
        # Memory may have become free since it was short.
        self._allowed_bytes = min(2 * self._allowed_bytes, self._max_slot_bytes)
        # At least as many pieces as slots, unless they would be too small to be worth it.
        share = max(-(-int(sums[-1]) // SLOTS), MIN_SLOT_BYTES // 2)
        first, number = 0, 0
        while first < len(needs):
            try:
                self._fit(int(sums[-1] - sums[first]), running)
                budget = min(self._slots[0].size - OVERHEAD_BYTES - KEY_BYTES, share)
                end = int(np.searchsorted(sums, sums[first] + budget, "right")) - 1
                assert end > first, "an item larger than a slot"
                if len(running) == len(self._slots):
                    self._complete(running.popleft())
                work = Work(self._device, self._locked, self._slots[number % len(self._slots)])
                steps = job.piece(work, first, end)
                running.append(_Running(steps, next(steps), work))
            except DeviceMemoryError:
                self._shrink(running)
                continue
            first, number = end, number + 1
        while running:
            self._complete(running.popleft())

    def _complete(self, piece: _Running) -> None:
        self._device.wait(piece.mark)
        for mark in piece.steps:
            self._device.wait(mark)
        piece.work.wipe()

    def _fit(self, size: int, running: deque[_Running]) -> None:
        """Have slots for so many bytes still to come: as large as they need, but no larger than allowed."""
        wanted = 1 << (size // SLOTS + OVERHEAD_BYTES + KEY_BYTES).bit_length()
        wanted = min(max(wanted, MIN_SLOT_BYTES), self._allowed_bytes)
        if self._slots and self._slots[0].size >= wanted:
            return
        while running:
            self._complete(running.popleft())
        self._release()
        for _ in range(SLOTS):
            address = self._device.allocate(wanted)
            try:
                host = self._locked.lock(wanted)
            except DeviceMemoryError:
                self._device.free(address)
                raise
            self._slots.append(Slot(self._device.stream(), address, host))

    def _shrink(self, running: deque[_Running]) -> None:
        """Finish what runs and go on with half the memory. Raises DeviceMemoryError below the least."""
        while running:
            self._complete(running.popleft())
        self._release()
        self.halvings += 1
        if self._allowed_bytes <= MIN_SLOT_BYTES:
            raise DeviceMemoryError("the device has no memory for the smallest batch")
        self._allowed_bytes = max(self._allowed_bytes // 2, MIN_SLOT_BYTES)

    def _release(self) -> None:
        """Give the slots back, once everything queued in them has happened."""
        for slot in self._slots:
            # A piece that want of memory stopped in its midst was not wiped.
            self._device.clear(slot.address, slot.size, slot.stream)
        for mark in [self._device.record(slot.stream) for slot in self._slots]:
            self._device.wait(mark)
        while self._slots:
            slot = self._slots.pop()
            slot.host[:] = 0
            self._device.free(slot.address)
            self._locked.unlock(slot.host)
