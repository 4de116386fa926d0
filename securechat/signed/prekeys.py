"""The keys that others seal to, as they are offered (SC1 §1; after X3DH's signed prekeys).

A prekey record, by which a device offers a public HPKE key, is

    lp(id8, suite6, P, not_before, not_after, signature)
    signature = Sig_DK("securechat/1 prekey", lp(id8, suite6, P, not_before, not_after))

`not_after` is 14 days behind `not_before`: that is how long somebody may be away and still get a key.
"""

from dataclasses import dataclass
from typing import Final

from securechat.signed.encoding import LABEL_PREKEY, SIGNATURE, U64, Bounds, lp, number, split, u64
from securechat.signed.errors import NotAuthentic
from securechat.signed.signing import SigningKey, is_signed
from securechat.signed.suites import SUITE_BYTES, Suite, read_suite

ID_BYTES: Final = 8
KEEP_MS: Final = 14 * 24 * 3600 * 1000
"""The offline window: a prekey is sealed to, and its private half kept, for this long."""
SKEW_MS: Final = 3600 * 1000
"""How far ahead of ours the clock of the device that made a prekey may be."""
RECORD: Final[Bounds] = (150, 1_334)
"""The bounds of a packed record."""

PUBLIC: Final[Bounds] = (min(suite.public_bytes for suite in Suite), max(suite.public_bytes for suite in Suite))
ID: Final[Bounds] = (ID_BYTES, ID_BYTES)
SUITE: Final[Bounds] = (SUITE_BYTES, SUITE_BYTES)


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
    prekey_id, suite, public, not_before, not_after, signature = split(data, ID, SUITE, PUBLIC, U64, U64, SIGNATURE)
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


def _fields(record: PrekeyRecord) -> tuple[bytes, ...]:
    return (
        record.prekey_id,
        record.suite.value,
        record.public,
        u64(record.not_before_ms),
        u64(record.not_after_ms),
    )
