"""Sealed keys that wait for devices: bounded for each device and sender and in all, the oldest going first.

A key that is lost is asked for again by the client that misses it, so that any of these bounds costs time only.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Final

from securechat.relay.limits import RelayLimits
from securechat.relay.records import KeyGone, KeyWaits, Recorder
from securechat.wire.messages import BUNDLE_ITEMS, FRAME_BYTES

_ITEM_BYTES: Final = 32 + 2 + 3 + 1
"""What an item of a `SealedKey` can take besides its blob: name, lengths, array."""

_RUN_BYTES: Final = FRAME_BYTES - 128
"""What the items of a `SealedKey` may take together."""

KEEPING_BYTES: Final = 768
"""What keeping a key costs besides its blob, so that many small ones are bounded as well."""


class WaitingKeys:
    """Sealed keys by the device that they are for."""

    def __init__(self, now_ms: Callable[[], int], limits: RelayLimits, records: Recorder) -> None:
        self.bytes = 0
        """What is counted against `waiting_bytes`."""
        self._now_ms = now_ms
        self._limits = limits
        self._records = records
        self._keep_ms = int(limits.waiting_s * 1_000)
        # By serial numbers, so that each begins with its oldest. A plain dict is slow to find its first key
        # once many before it are gone.
        self._kept: OrderedDict[int, KeyWaits] = OrderedDict()
        self._of_device: dict[bytes, OrderedDict[int, None]] = {}
        self._of_pair: dict[tuple[bytes, bytes], OrderedDict[int, None]] = {}
        self._serial = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._kept)

    def keep(self, device: bytes, room: str, sender_device: bytes, sender: str, blob: bytes) -> None:
        """Keep a key for a device."""
        self._expire()
        until_ms = self._now_ms() + self._keep_ms
        kept = KeyWaits(self._serial + 1, device, room, sender_device, sender, blob, until_ms)
        self._records.add(kept)
        self.restore(kept)
        of_pair, of_device = self._of_pair[device, sender_device], self._of_device[device]
        if len(of_pair) > self._limits.waiting_keys_of_sender:
            self._drop(next(iter(of_pair)))
        if len(of_device) > self._limits.waiting_keys:
            self._drop(next(iter(of_device)))
        while self.bytes > self._limits.waiting_bytes:
            self._drop(next(iter(self._kept)))

    def restore(self, kept: KeyWaits) -> None:
        """Go on with a key that waited before the relay was started again; in the order of their serial numbers."""
        self._serial = kept.serial
        self._kept[kept.serial] = kept
        of_pair = self._of_pair.setdefault((kept.device, kept.sender_device), OrderedDict())
        of_device = self._of_device.setdefault(kept.device, OrderedDict())
        of_pair[kept.serial] = of_device[kept.serial] = None
        self.bytes += len(kept.blob) + KEEPING_BYTES

    def some(self, device: bytes, room: str, after: int) -> tuple[int, list[tuple[str, bytes]]]:
        """A device's oldest keys for a room, after a serial number, as many as fit a `SealedKey`.

        Gives the serial number of the last one, and of each the sender's name and the blob.
        """
        self._expire()
        items: list[tuple[str, bytes]] = []
        last = after
        size = 0
        for serial in self._of_device.get(device, ()):
            kept = self._kept[serial]
            if kept.room == room and serial > after:
                size += len(kept.blob) + _ITEM_BYTES
                if size > _RUN_BYTES or len(items) == BUNDLE_ITEMS:
                    break
                items.append((kept.sender, kept.blob))
                last = serial
        return last, items

    def forget(self, device: bytes, room: str, up_to: float = inf) -> None:
        """Drop a device's keys for a room up to a serial number: it has stored them, or is no member's any more."""
        for serial in [each for each in self._of_device.get(device, ()) if each <= up_to]:
            if self._kept[serial].room == room:
                self._drop(serial)

    def _expire(self) -> None:
        now = self._now_ms()
        while self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest].until_ms > now:
                return
            self._drop(oldest)

    def _drop(self, serial: int) -> None:
        kept = self._kept.pop(serial)
        self._records.add_later(KeyGone(serial))
        self.bytes -= len(kept.blob) + KEEPING_BYTES
        pair = kept.device, kept.sender_device
        del self._of_device[kept.device][serial], self._of_pair[pair][serial]
        if not self._of_device[kept.device]:
            del self._of_device[kept.device]
        if not self._of_pair[pair]:
            del self._of_pair[pair]
