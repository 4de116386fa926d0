"""The keys that others seal to: one a day, each for two weeks (SC1 §1; after X3DH's signed prekeys).

A prekey record, by which a device offers a public HPKE key, is

    lp(id8, suite6, P, not_before, not_after, signature)
    signature = Sig_DK("securechat/1 prekey", lp(id8, suite6, P, not_before, not_after))

`not_after` is 14 days behind `not_before`: that is how long somebody may be away and still get a key. Then the
private half is deleted, and what was sealed to it and not fetched can be read by nobody; its sender is asked for
another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import urandom
from typing import Final

from securechat.e2e.encoding import LABEL_PREKEY, SIGNATURE, U64, Bounds, lp, number, split, split_list, u64
from securechat.e2e.errors import NotAuthentic
from securechat.e2e.hpke import SEED_BYTES, SUITE_BYTES, Suite, best_suite, public_of, read_suite
from securechat.e2e.signing import SigningKey, is_signed

ID_BYTES: Final = 8
ROTATE_MS: Final = 24 * 3600 * 1000
"""A new prekey after this long."""
KEEP_MS: Final = 14 * 24 * 3600 * 1000
"""The offline window: a prekey is sealed to, and its private half kept, for this long."""
SKEW_MS: Final = 3600 * 1000
"""How far ahead of ours the clock of the device that made a prekey may be."""
RING_KEYS: Final = 64
"""The most private keys in a ring; one a day for two weeks are 15."""

_PUBLIC: Final[Bounds] = (min(suite.public_bytes for suite in Suite), max(suite.public_bytes for suite in Suite))
_ID: Final[Bounds] = (ID_BYTES, ID_BYTES)
_SUITE: Final[Bounds] = (SUITE_BYTES, SUITE_BYTES)
_RECORD: Final[Bounds] = (150, 1_334)
_KEPT: Final[Bounds] = (190, 1_374)


@dataclass(frozen=True, slots=True)
class PrekeyRecord:
    """A public key that a device offers, and for how long."""

    prekey_id: bytes
    """8 random bytes."""
    suite: Suite
    public: bytes
    not_before_ms: int
    not_after_ms: int
    signature: bytes

    @property
    def packed(self) -> bytes:
        """The bytes that travel."""
        return lp(*_fields(self), self.signature)


def offer(device: SigningKey, prekey_id: bytes, suite: Suite, public: bytes, not_before_ms: int) -> PrekeyRecord:
    """Sign the public half of a prekey."""
    unsigned = PrekeyRecord(prekey_id, suite, public, not_before_ms, not_before_ms + KEEP_MS, b"")
    signature = device.sign(LABEL_PREKEY, lp(*_fields(unsigned)))
    return PrekeyRecord(prekey_id, suite, public, not_before_ms, not_before_ms + KEEP_MS, signature)


def read_prekey(data: bytes, device: bytes, now_ms: int) -> PrekeyRecord:
    """Read a record that is said to be of a device (its 32-byte public key), to seal to it now.

    Raises `NotAuthentic` where that device did not sign it, it is over or has not begun, or it is offered for
    longer than the offline window. Whether it is older or weaker than one seen before is for `safety` to say.
    """
    prekey_id, suite, public, not_before, not_after, signature = split(
        data, _ID, _SUITE, _PUBLIC, U64, U64, SIGNATURE
    )
    record = PrekeyRecord(prekey_id, read_suite(suite), public, number(not_before), number(not_after), signature)
    if len(public) != record.suite.public_bytes:
        raise NotAuthentic
    if not prekey_is_signed(record, device) or not prekey_is_current(record, now_ms):
        raise NotAuthentic
    return record


def prekey_is_signed(record: PrekeyRecord, device: bytes) -> bool:
    """Whether the device with this public key offered it."""
    return is_signed(device, LABEL_PREKEY, lp(*_fields(record)), record.signature)


def prekey_is_current(record: PrekeyRecord, now_ms: int) -> bool:
    """Whether it may be sealed to now."""
    lasts_ms = record.not_after_ms - record.not_before_ms
    return lasts_ms <= KEEP_MS and record.not_before_ms - SKEW_MS <= now_ms < record.not_after_ms


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
        packed, seed = split(kept, _RECORD, (SEED_BYTES, SEED_BYTES))
        begun_ms = number(split(packed, _ID, _SUITE, _PUBLIC, U64, U64, SIGNATURE)[3])
        record = read_prekey(packed, device.public, begun_ms)
        ring._kept[record.prekey_id] = record, seed
    return ring


def _fields(record: PrekeyRecord) -> tuple[bytes, ...]:
    return (
        record.prekey_id,
        record.suite.value,
        record.public,
        u64(record.not_before_ms),
        u64(record.not_after_ms),
    )
