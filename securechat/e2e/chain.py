"""From the keys of a sender to the key of a message, and the frame that travels (SC1 §6).

    MK = HMAC-SHA256(CK_i, 0x01), CK_{i+1} = HMAC-SHA256(CK_i, 0x02)                as in Signal's sender keys
    K  = HKDF-SHA512(salt = R, ikm = MK, info = "securechat/1 message" ‖ sid ‖ u32 i), 64 bytes     RFC 5869

R is the relay's session key of the epoch, CK the sender's chain key: a message opens with both and with neither
alone. A frame is

    header 88 ‖ iv 16 ‖ ciphertext ‖ tag 32 ‖ signature 64
    header    "SC1" 0x01 ‖ epoch 32 ‖ sid 16 ‖ u32 i ‖ prev 32

where iv ‖ ciphertext ‖ tag is A256CBC-HS512 with the header as associated data, `d_i` = H(header ‖ iv ‖ ciphertext
‖ tag), the signature Sig_DK("securechat/1 frame", d_i), and `prev` is d_{i-1}, or H(descriptor) for i = 0. So a
signature vouches for all frames of its session before it, too.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securechat.crypto import aead
from securechat.e2e.content import BUCKETS
from securechat.signed.encoding import HASH_BYTES, LABEL_FRAME, LABEL_MESSAGE, SIGNATURE_BYTES, number, u32
from securechat.signed.errors import NotAuthentic
from securechat.signed.signing import SigningKey, is_signed

MAGIC: Final = b"SC1\x01"
SID_BYTES: Final = 16
CHAIN_KEY_BYTES: Final = 32
MAX_INDEX: Final = 2**31 - 1
"""The highest index that a header or a sealed key may have. Senders begin anew long before."""

_EPOCH: Final = len(MAGIC)
_SID: Final = _EPOCH + HASH_BYTES
_INDEX: Final = _SID + SID_BYTES
_PREV: Final = _INDEX + 4
HEADER_BYTES: Final = _PREV + HASH_BYTES
FRAME_BYTES: Final = frozenset(HEADER_BYTES + aead.sealed_bytes(bucket) + SIGNATURE_BYTES for bucket in BUCKETS)
"""The lengths that a frame can have."""


def message_seed(chain_key: bytes) -> bytes:
    """MK of a chain key, 32 bytes (Signal's sender keys)."""
    return hmac.digest(chain_key, b"\x01", "sha256")


def next_chain_key(chain_key: bytes) -> bytes:
    """The chain key that follows, 32 bytes (Signal's sender keys)."""
    return hmac.digest(chain_key, b"\x02", "sha256")


def message_key(session_key: bytes, seed: bytes, sid: bytes, index: int) -> bytes:
    """K, 64 bytes, MAC_KEY and then ENC_KEY, from both locks: the relay's 32 bytes and the sender's MK."""
    info = LABEL_MESSAGE + sid + u32(index)
    return HKDF(SHA512(), aead.KEY_BYTES, salt=session_key, info=info).derive(seed)


@dataclass(frozen=True, slots=True)
class Header:
    """What is said in the open about a message, and authenticated with it."""

    epoch: bytes
    sid: bytes
    index: int
    prev: bytes

    @property
    def packed(self) -> bytes:
        """The 88 bytes."""
        return MAGIC + self.epoch + self.sid + u32(self.index) + self.prev


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame taken apart; nothing of it has been verified."""

    header: Header
    associated: bytes
    """The header as it came."""
    sealed: bytes
    """iv ‖ ciphertext ‖ tag."""
    digest: bytes
    """d_i."""
    signature: bytes


def frame_digest(header: bytes, sealed: bytes) -> bytes:
    """d_i: H(header ‖ iv ‖ ciphertext ‖ tag)."""
    return sha256(header + sealed).digest()


def sign_frame(device: SigningKey, header: bytes, sealed: bytes) -> bytes:
    """Put a frame together and sign it."""
    signature = device.sign(LABEL_FRAME, frame_digest(header, sealed))
    return header + sealed + signature


def read_header(data: bytes) -> Header:
    """Take the 88 bytes of a header apart. Raises `NotAuthentic` for what cannot be one."""
    index = number(data[_INDEX:_PREV])
    if len(data) != HEADER_BYTES or not data.startswith(MAGIC) or index > MAX_INDEX:
        raise NotAuthentic
    return Header(data[_EPOCH:_SID], data[_SID:_INDEX], index, data[_PREV:])


def read_frame(data: bytes) -> Frame:
    """Take a frame apart (SC1 §7, first step). Raises `NotAuthentic` for what cannot be one."""
    if len(data) not in FRAME_BYTES:
        raise NotAuthentic
    header = data[:HEADER_BYTES]
    sealed = data[HEADER_BYTES:-SIGNATURE_BYTES]
    return Frame(
        read_header(header),
        header,
        sealed,
        frame_digest(header, sealed),
        data[-SIGNATURE_BYTES:],
    )


def frame_is_signed(frame: Frame, device: bytes) -> bool:
    """Whether the device with this public key signed the frame's digest."""
    return is_signed(device, LABEL_FRAME, frame.digest, frame.signature)
