"""One piece of a batch on its way through a device: what is copied in, launched, and copied out.

A piece lives in a slot: a stream, some of the device's memory, and as much locked memory of the host, laid
out alike. Everything small, and whatever of the caller's does not lie in locked memory already, is put into
the host's side and goes in by one copy. What comes out goes straight to its place where that is locked, or by
way of the slot.

A piece is a generator of marks to wait for. Between two marks it never blocks, so pieces in several slots
overlap: one is copied in while another is worked on and a third is copied out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from securechat.crypto.aead import BLOCK_BYTES, ENC_KEY_BYTES, IV_BYTES, MIN_SEALED_BYTES, TAG_BYTES
from securechat.crypto.batch import Batch, Bytes, Offsets
from securechat.crypto.device import (
    ALIGNMENT,
    KERNELS,
    MAX_THREADS,
    SLACK_BYTES,
    Address,
    Device,
    Event,
    Stream,
)
from securechat.crypto.engine import Flags
from securechat.crypto.page_locked import PageLocked

ROUND_KEY_BYTES: Final = 240
"""60 words: the round keys of AES-256 (FIPS 197)."""
PLACES: Final = 16
"""No piece has more arrays, each of which may lose up to ALIGNMENT bytes to its alignment."""
OVERHEAD_BYTES: Final = PLACES * (ALIGNMENT + SLACK_BYTES) + ROUND_KEY_BYTES
"""What a piece takes in a slot whatever it holds."""
MIN_THREADS: Final = 128
"""The smallest block: four warps fill a table and hide each other's waiting."""

_NO_ADDRESS: Final = 0


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Where one piece at a time lives."""

    stream: Stream
    address: Address
    host: Bytes

    @property
    def size(self) -> int:
        """The bytes on either side."""
        return len(self.host)


@dataclass(frozen=True, slots=True, eq=False)
class Sealing:
    """A batch to be sealed or, without associated data, encrypted."""

    keys: Bytes
    ivs: Bytes
    associated: Batch | None
    plaintext: Batch
    out: Bytes
    out_at: Offsets

    def needs(self) -> Offsets:
        """The bytes of a slot that each item takes."""
        lengths = np.diff(self.out_at) + self.plaintext.lengths + (IV_BYTES + 8 + 8 + 4)
        return _with_keys(_with_associated(lengths, self.associated), self.keys, 0)

    def piece(self, work: "Work", first: int, end: int) -> Iterator[Event]:
        """Seal the items first..end-1."""
        n, plaintext, lengths = end - first, self.plaintext[first:end], self.plaintext.lengths[first:end]
        keys, key_words = work.put_keys(self.keys, first, end)
        ivs = work.put(self.ivs[first:end])
        order = work.put(_longest_first(lengths // BLOCK_BYTES))
        out_at = self.out_at[first : end + 1] - self.out_at[first]
        sealed_at = work.put(out_at)
        out_bytes = int(out_at[-1])
        text, text_at = work.put_items(plaintext)
        extra, extra_at = work.put_items(self.associated[first:end] if self.associated else None)
        work.send()
        sealed = work.room(out_bytes + SLACK_BYTES)
        lead, key_first = (IV_BYTES, ENC_KEY_BYTES // 4) if self.associated else (0, 0)
        shape = (text, text_at, order, sealed, sealed_at, lead, n)
        work.run("cbc_encrypt", n, keys, key_words, key_first, ivs, *shape)
        if self.associated:
            work.run("hmac_tag", n, keys, key_words, extra, extra_at, sealed, sealed_at, order, n)
        to = self.out[self.out_at[first] : self.out_at[end]]
        yield work.fetch(to, sealed)
        work.finish()


@dataclass(slots=True, eq=False)
class Opening:
    """A batch to be opened or, with ivs in place of associated data, decrypted."""

    keys: Bytes
    ivs: Bytes | None
    associated: Batch | None
    sealed: Batch
    blocks: Offsets
    """Whole blocks of text in each item; 0 where its length is impossible."""
    out: Bytes
    """Room for all texts with their padding."""
    out_at: Offsets
    """Filled in piece by piece, in order."""
    ok: Flags
    """Filled in."""

    def needs(self) -> Offsets:
        """The bytes of a slot that each item takes."""
        lengths = self.sealed.lengths + 2 * BLOCK_BYTES * self.blocks + (IV_BYTES + 8 + 8 + 4 + 4 + 4 + 1)
        return _with_keys(_with_associated(lengths, self.associated), self.keys, ROUND_KEY_BYTES)

    def piece(self, work: "Work", first: int, end: int) -> Iterator[Event]:
        """Open the items first..end-1. Pieces must end in the order of their items."""
        n, blocks = end - first, self.blocks[first:end]
        keys, key_words = work.put_keys(self.keys, first, end)
        block_at = _sums(blocks).astype(np.uint32)
        starts = work.put(block_at)
        padded_bytes = BLOCK_BYTES * int(block_at[-1])
        if self.associated is not None:
            order = work.put(_longest_first(self.sealed.lengths[first:end] // BLOCK_BYTES))
            extra, extra_at = work.put_items(self.associated[first:end])
            ivs, ok_in, lead, key_first = _NO_ADDRESS, None, IV_BYTES, ENC_KEY_BYTES // 4
        else:
            assert self.ivs is not None
            ivs, ok_in, lead, key_first = work.put(self.ivs[first:end]), work.put(blocks > 0), 0, 0
        items, items_at = work.put_items(self.sealed[first:end])
        work.send()
        ok = work.room(n) if ok_in is None else ok_in
        if self.associated is not None:
            work.run("hmac_verify", n, keys, key_words, extra, extra_at, items, items_at, order, ok, n)
        key_count = n if key_words else 1
        schedules = work.room(ROUND_KEY_BYTES * key_count)
        padded, lengths = work.room(padded_bytes + SLACK_BYTES), work.room(4 * n)
        work.run("decrypt_keys", key_count, keys, key_words, key_first, schedules, key_count)
        schedule_words = ROUND_KEY_BYTES // 4 if key_words else 0
        shape = (ivs, items, items_at, lead, starts, ok, padded, n)
        work.run("cbc_decrypt", padded_bytes // BLOCK_BYTES, schedules, schedule_words, *shape)
        work.run("check_padding", n, padded, starts, ok, lengths, n)
        found, found_ok = np.empty(n, np.uint32), np.empty(n, np.uint8)
        work.fetch(found, lengths)
        yield work.fetch(found_ok, ok)
        work.finish()

        self.ok[first:end] = found_ok
        text_at = _sums(found.astype(np.int64))
        self.out_at[first + 1 : end + 1] = self.out_at[first] + text_at[1:]
        text_bytes = int(text_at[-1])
        text_starts = work.put(text_at)
        work.send()
        texts = work.room(padded_bytes)
        work.run("pack_texts", -(-text_bytes // BLOCK_BYTES), padded, starts, text_starts, texts, n)
        yield work.fetch(self.out[self.out_at[first] : self.out_at[end]], texts)
        work.finish()


class Work:
    """What a piece asks of its slot and device."""

    def __init__(self, device: Device, locked: PageLocked, slot: Slot) -> None:
        """Begin with an empty slot."""
        self._device = device
        self._locked = locked
        self._slot = slot
        self._top = self._sent = 0
        self._straight: list[tuple[Address, Bytes]] = []
        self._fetched: list[tuple[Bytes, Bytes]] = []

    def put(self, array: npt.NDArray[Any]) -> Address:
        """Put an array where `send` will find it; its address on the device."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        at = self._place(len(data))
        self._slot.host[at : at + len(data)] = data
        return self._slot.address + at

    def put_keys(self, keys: Bytes, first: int, end: int) -> tuple[Address, int]:
        """Put the keys of some items, or the one that all have; their address and distance in words."""
        if len(keys) == 1:
            return self.put(keys), 0
        return self.put(keys[first:end]), keys.shape[1] // 4

    def put_items(self, batch: Batch | None) -> tuple[Address, Address]:
        """Put the bytes and the offsets of items; none for None. Locked bytes go in on their own."""
        if batch is None:
            return _NO_ADDRESS, _NO_ADDRESS
        start, end = int(batch.offsets[0]), int(batch.offsets[-1])
        data = batch.buffer[start:end]
        offsets = self.put(batch.offsets - start)
        at = self._place(len(data) + SLACK_BYTES)
        if len(data) and self._locked.holds(data):
            self._straight.append((self._slot.address + at, data))
        else:
            self._slot.host[at : at + len(data)] = data
        return self._slot.address + at, offsets

    def send(self) -> None:
        """Copy in all that was put since the last time."""
        stream = self._slot.stream
        at = self._sent
        for address, data in self._straight:
            # Items that lie elsewhere leave a gap, which nothing is copied from.
            gap = address - self._slot.address
            self._copy_in(at, gap)
            self._device.copy_in(address, data, stream)
            at = gap + len(data)
        self._copy_in(at, self._top)
        self._straight.clear()
        self._sent = self._top

    def room(self, size: int) -> Address:
        """Give memory on the device for what kernels write. Nothing may be put between it and `send`."""
        at = self._place(size)
        self._sent = self._top
        return self._slot.address + at

    def run(self, kernel: str, items: int, *arguments: int) -> None:
        """Launch a kernel that has so many items to do, unless there are none."""
        if not items:
            return
        processors = self._device.facts.multiprocessors
        share = -(-items // processors)
        block = min(max(-(-share // 32) * 32, MIN_THREADS), MAX_THREADS)
        grid = min(-(-items // block), processors * KERNELS[kernel].resident)
        self._device.launch(kernel, grid, block, self._slot.stream, *arguments)

    def fetch(self, to: npt.NDArray[Any], source: Address) -> Event:
        """Copy out into an array, which is filled once the mark was waited for and `finish` was called."""
        data = to.view(np.uint8)
        if not self._locked.holds(data):
            at = source - self._slot.address
            staged = self._slot.host[at : at + len(data)]
            self._fetched.append((data, staged))
            data = staged
        if len(data):
            self._device.copy_out(data, source, self._slot.stream)
        return self._device.record(self._slot.stream)

    def finish(self) -> None:
        """Bring what came out by way of the slot to its place."""
        for to, staged in self._fetched:
            to[:] = staged
        self._fetched.clear()

    def wipe(self) -> None:
        """Leave nothing of the piece in the slot: queued for the device's side, done on the host's."""
        self._device.clear(self._slot.address, self._top, self._slot.stream)
        self._slot.host[: self._top] = 0

    def _place(self, size: int) -> int:
        at = self._top
        self._top = -(-(at + size) // ALIGNMENT) * ALIGNMENT
        assert self._top <= self._slot.size, "a piece larger than its slot"
        return at

    def _copy_in(self, start: int, end: int) -> None:
        if start < end:
            self._device.copy_in(self._slot.address + start, self._slot.host[start:end], self._slot.stream)


def _sums(lengths: Offsets) -> Offsets:
    """Give the running sum, from 0 on."""
    sums = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=sums[1:])
    return sums


def _longest_first(blocks: Offsets) -> npt.NDArray[np.uint32]:
    """Give the numbers of the items, those with most blocks first, so that the lanes of a warp end together.

    numpy sorts 16-bit numbers by counting, several times as fast as wider ones; more blocks than that are
    not worth telling apart.
    """
    keys = np.uint16(0xFFFF) - np.minimum(blocks, 0xFFFF).astype(np.uint16)
    return np.argsort(keys, kind="stable").astype(np.uint32)


def _with_associated(needs: Offsets, associated: Batch | None) -> Offsets:
    return needs if associated is None else needs + (associated.lengths + 8)


def _with_keys(needs: Offsets, keys: Bytes, more: int) -> Offsets:
    return needs if len(keys) == 1 else needs + (keys.shape[1] + more)


def sealing(keys: Bytes, ivs: Bytes, associated: Batch | None, plaintext: Batch, locked: PageLocked) -> Sealing:
    """Lay out the sealing of a batch (its encryption without associated data)."""
    lengths = plaintext.lengths
    growth = BLOCK_BYTES if associated is None else MIN_SEALED_BYTES
    out_at = _sums(lengths - lengths % BLOCK_BYTES + growth)
    out = locked.result(int(out_at[-1]), secret=False)
    return Sealing(keys, ivs, associated, plaintext, out, out_at)


def opening(keys: Bytes, ivs: Bytes | None, associated: Batch | None, sealed: Batch, locked: PageLocked) -> Opening:
    """Lay out the opening of a batch (its decryption with ivs and without associated data)."""
    lengths = sealed.lengths
    around = 0 if associated is None else IV_BYTES + TAG_BYTES
    blocks = np.where(lengths % BLOCK_BYTES == 0, np.maximum(lengths - around, 0) // BLOCK_BYTES, 0)
    out = locked.result(BLOCK_BYTES * int(blocks.sum()), secret=True)
    count = len(sealed)
    out_at, ok = np.zeros(count + 1, np.int64), np.zeros(count, np.bool_)
    return Opening(keys, ivs, associated, sealed, blocks, out, out_at, ok)
