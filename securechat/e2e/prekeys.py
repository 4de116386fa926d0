"""The private halves of our prekeys: a new one a day, each kept for two weeks (SC1 §1).

When the offline window of a prekey is over its private half is deleted, and what was sealed to it and not fetched
can be read by nobody; its sender is asked for another.
"""

from collections.abc import Callable
from os import urandom
from typing import Final

from securechat.e2e.hpke import SEED_BYTES, best_suite, public_of
from securechat.signed.encoding import SIGNATURE, U64, Bounds, lp, number, split, split_list
from securechat.signed.prekeys import ID, ID_BYTES, PUBLIC, RECORD, SUITE, PrekeyRecord, offer, read_prekey
from securechat.signed.signing import SigningKey
from securechat.signed.suites import Suite

ROTATE_MS: Final = 24 * 3600 * 1000
"""A new prekey after this long."""
RING_KEYS: Final = 64
"""The most private keys in a ring; one a day for two weeks are 15."""

_KEPT: Final[Bounds] = (190, 1_374)


class PrekeyRing:
    """The private halves of our own prekeys, the newest last. Never printed."""

    def __init__(self, device: SigningKey, random: Callable[[int], bytes] = urandom) -> None:
        """Begin with none; `rotate` makes the first."""
        self._device = device
        self._random = random
        self._kept: dict[bytes, tuple[PrekeyRecord, bytes]] = {}

    def __repr__(self) -> str:
        """Say nothing of the keys."""
        return "PrekeyRing(…)"

    def __len__(self) -> int:
        """How many private keys there are."""
        return len(self._kept)

    @property
    def newest(self) -> PrekeyRecord | None:
        """What to offer now; None before the first rotation."""
        return next(reversed(self._kept.values()))[0] if self._kept else None

    def rotate(self, now_ms: int, suite: Suite | None = None) -> PrekeyRecord | None:
        """Delete what is over, and make a new prekey if it is time.

        Gives the new record, which must then be stored before it is offered, or None where the last one is still
        good. A clock that went back makes a new one too, as the last would seem to come from the future. `suite` is
        the best that there is, unless a test wants another.
        """
        for prekey_id in [each for each, (record, _) in self._kept.items() if record.not_after_ms <= now_ms]:
            del self._kept[prekey_id]
        newest = self.newest
        if newest is not None and 0 <= now_ms - newest.not_before_ms < ROTATE_MS:
            return None
        chosen = best_suite() if suite is None else suite
        seed = self._random(SEED_BYTES)
        record = offer(self._device, self._random(ID_BYTES), chosen, public_of(chosen, seed), now_ms)
        self._kept[record.prekey_id] = record, seed
        if len(self._kept) > RING_KEYS:
            del self._kept[next(iter(self._kept))]
        return record

    def private(self, prekey_id: bytes) -> tuple[Suite, bytes] | None:
        """The suite and the 32-byte private key of one of our prekeys; None for a foreign or a deleted one."""
        kept = self._kept.get(prekey_id)
        return None if kept is None else (kept[0].suite, kept[1])

    @property
    def packed(self) -> bytes:
        """What the key store keeps: `lp` of all `lp(record, private key)`, the oldest first."""
        return lp(*(lp(record.packed, seed) for record, seed in self._kept.values()))


def read_ring(data: bytes, device: SigningKey, random: Callable[[int], bytes] = urandom) -> PrekeyRing:
    """Undo `PrekeyRing.packed`, without asking what is over. Raises `NotAuthentic`."""
    ring = PrekeyRing(device, random)
    for kept in split_list(data, _KEPT, RING_KEYS):
        packed, seed = split(kept, RECORD, (SEED_BYTES, SEED_BYTES))
        begun_ms = number(split(packed, ID, SUITE, PUBLIC, U64, U64, SIGNATURE)[3])
        record = read_prekey(packed, device.public, begun_ms)
        ring._kept[record.prekey_id] = record, seed
    return ring
