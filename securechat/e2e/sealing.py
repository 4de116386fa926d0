"""Handing a sender's key to the members of a room, through a relay that cannot open it (SC1 §5).

    D      lp("securechat/1 session", room_id, epoch, DK, sid, created)               the descriptor of a session
    inner  lp(D, u32 i, CK_i, DK_r, prekey_id)
    info   lp("securechat/1 seal", D, DK_r, prekey_id)
    blob   lp(D, prekey_id, HPKE.Seal(P_r, info, inner ‖ Sig_DK("securechat/1 key", inner)))

HPKE's base mode says nothing of the sender (RFC 9180, section 5.1.1), so the signature does; it names the recipient
inside, so that a member cannot pass the blob on as if it had been meant for another. D travels in the open, as the
recipient needs it for `info`; what it says the relay knows or sees in every frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from securechat.e2e.chain import CHAIN_KEY_BYTES, MAX_INDEX, SID_BYTES
from securechat.e2e.hpke import hpke_open, hpke_seal
from securechat.signed.encoding import (
    HASH,
    KEY,
    LABEL_KEY,
    LABEL_SEAL,
    LABEL_SESSION,
    SIGNATURE_BYTES,
    U32,
    U64,
    Bounds,
    lp,
    number,
    split,
    u32,
    u64,
)
from securechat.signed.errors import NotAuthentic
from securechat.signed.prekeys import ID_BYTES, PrekeyRecord
from securechat.signed.signing import SigningKey, is_signed
from securechat.signed.suites import Suite

_LABEL: Final[Bounds] = (len(LABEL_SESSION), len(LABEL_SESSION))
_SID: Final[Bounds] = (SID_BYTES, SID_BYTES)
_ID: Final[Bounds] = (ID_BYTES, ID_BYTES)
_DESCRIPTOR: Final[Bounds] = (164, 164)
_INNER_BYTES: Final = 260
_SEALED: Final[Bounds] = (48 + _INNER_BYTES + SIGNATURE_BYTES, 1_136 + _INNER_BYTES + SIGNATURE_BYTES)
BLOB_BYTES: Final = 3 * 4 + _DESCRIPTOR[1] + ID_BYTES + _SEALED[1]
"""The longest blob."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a sender's session is: in which room, begun in which epoch, of whose device."""

    room_id: bytes
    epoch: bytes
    device: bytes
    """DK of the sender."""
    sid: bytes
    created_ms: int

    @property
    def packed(self) -> bytes:
        """D, 164 bytes."""
        return lp(LABEL_SESSION, self.room_id, self.epoch, self.device, self.sid, u64(self.created_ms))

    @property
    def digest(self) -> bytes:
        """H(D), the `prev` of the first frame."""
        return sha256(self.packed).digest()


@dataclass(frozen=True, slots=True)
class SenderKey:
    """The chain of a session from an index on. Never printed."""

    descriptor: Descriptor
    index: int
    chain_key: bytes

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return "SenderKey(…)"


@dataclass(frozen=True, slots=True)
class Blob:
    """A sealed key taken apart; nothing of it has been verified."""

    descriptor: Descriptor
    prekey_id: bytes
    sealed: bytes


def seal_key(device: SigningKey, key: SenderKey, recipient: bytes, prekey: PrekeyRecord) -> bytes:
    """Seal a sender key of our device to another one, by its 32-byte public key and a checked prekey record.

    Raises `NotAuthentic` where the prekey is no public key, `NoMlKemError` where it cannot be used here.
    """
    packed = key.descriptor.packed
    inner = lp(packed, u32(key.index), key.chain_key, recipient, prekey.prekey_id)
    info = lp(LABEL_SEAL, packed, recipient, prekey.prekey_id)
    sealed = hpke_seal(prekey.suite, prekey.public, info, inner + device.sign(LABEL_KEY, inner))
    return lp(packed, prekey.prekey_id, sealed)


def read_descriptor(data: bytes) -> Descriptor:
    """Read D. Raises `NotAuthentic`."""
    label, room_id, epoch, device, sid, created = split(data, _LABEL, HASH, HASH, KEY, _SID, U64)
    if label != LABEL_SESSION:
        raise NotAuthentic
    return Descriptor(room_id, epoch, device, sid, number(created))


def read_blob(data: bytes) -> Blob:
    """Take a blob apart. Raises `NotAuthentic`."""
    packed, prekey_id, sealed = split(data, _DESCRIPTOR, _ID, _SEALED)
    return Blob(read_descriptor(packed), prekey_id, sealed)


def open_key(
    blob: Blob, room_id: bytes, device: bytes, private: Callable[[bytes], tuple[Suite, bytes] | None]
) -> SenderKey:
    """Open a blob that came for our device in a room; `private` finds the private half of a prekey (SC1 §5).

    Raises `NotAuthentic` unless it was made by the device in its descriptor, for this room, for us and for this
    prekey, which must be one of ours and not deleted; `NoMlKemError` where it cannot be opened here. Whether that
    device was a member is for the roster to say.
    """
    prekey = private(blob.prekey_id)
    if prekey is None or not is_for_room(blob.descriptor, room_id):
        raise NotAuthentic
    info = lp(LABEL_SEAL, blob.descriptor.packed, device, blob.prekey_id)
    opened = hpke_open(*prekey, info, blob.sealed)
    inner, signature = opened[:-SIGNATURE_BYTES], opened[-SIGNATURE_BYTES:]
    packed, index, chain_key, recipient, prekey_id = split(
        inner, _DESCRIPTOR, U32, (CHAIN_KEY_BYTES, CHAIN_KEY_BYTES), KEY, _ID
    )
    key = SenderKey(read_descriptor(packed), number(index), chain_key)
    if not (
        is_same_session(key.descriptor, blob.descriptor)
        and is_for_us(recipient, device)
        and is_for_prekey(prekey_id, blob.prekey_id)
        and key_is_signed(key.descriptor, inner, signature)
        and key.index <= MAX_INDEX
    ):
        raise NotAuthentic
    return key


def is_for_room(descriptor: Descriptor, room_id: bytes) -> bool:
    """Whether a session is of the room in which its key came."""
    return descriptor.room_id == room_id


def is_same_session(inside: Descriptor, outside: Descriptor) -> bool:
    """Whether the descriptor that was sealed is the one that travelled in the open."""
    return inside == outside


def is_for_us(recipient: bytes, device: bytes) -> bool:
    """Whether the recipient named inside is our device."""
    return recipient == device


def is_for_prekey(inside: bytes, outside: bytes) -> bool:
    """Whether the prekey named inside is the one that it was sealed to."""
    return inside == outside


def key_is_signed(descriptor: Descriptor, inner: bytes, signature: bytes) -> bool:
    """Whether the device that the session is said to be of signed the key in it."""
    return is_signed(descriptor.device, LABEL_KEY, inner, signature)
