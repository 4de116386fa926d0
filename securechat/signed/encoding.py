"""How SC1 writes down what it signs, hashes and seals: items behind their lengths, and labels.

`lp(a, b, …)` is each item preceded by its length as 4 bytes, big-endian (SC1, notation). Two different lists of
items never give the same bytes, so a signature over one cannot be taken for a signature over another. Reading is
strict: as many items as expected, each within its bounds, nothing behind the last one.

Integers are unsigned and big-endian, of the width that is named; times are u64, milliseconds since 1970-01-01 UTC.
"""

from collections.abc import Iterator
from typing import Final

from securechat.signed.errors import NotAuthentic
from securechat.wire.names import NAME_CHARACTERS, name_refusal

LABEL_DEVICE: Final = b"securechat/1 device"
"""Signed by an identity key: a device certificate (SC1 §1)."""
LABEL_PREKEY: Final = b"securechat/1 prekey"
"""Signed by a device key: a prekey record (SC1 §1)."""
LABEL_LOGIN: Final = b"securechat/1 login"
"""Signed by a device key: the answer to a relay's greeting (SC1 §2)."""
LABEL_ROOM: Final = b"securechat/1 room"
"""Signed by a device key: an entry of a room's log (SC1 §3)."""
LABEL_SESSION: Final = b"securechat/1 session"
"""The first item of a descriptor; not signed by itself (SC1 §5)."""
LABEL_SEAL: Final = b"securechat/1 seal"
"""The first item of HPKE's `info` (SC1 §5)."""
LABEL_KEY: Final = b"securechat/1 key"
"""Signed by a device key: the sender key inside a seal (SC1 §5)."""
LABEL_MESSAGE: Final = b"securechat/1 message"
"""The beginning of HKDF's `info` for a message key (SC1 §6)."""
LABEL_FRAME: Final = b"securechat/1 frame"
"""Signed by a device key: the digest of a message frame (SC1 §6)."""

HASH_BYTES: Final = 32
"""H is SHA-256."""
LENGTH_BYTES: Final = 4
KEY_BYTES: Final = 32
"""An Ed25519 public key or seed, a chain key, a session key."""
SIGNATURE_BYTES: Final = 64

Bounds = tuple[int, int]
"""The least and the most bytes of an item."""

KEY: Final[Bounds] = (KEY_BYTES, KEY_BYTES)
HASH: Final[Bounds] = (HASH_BYTES, HASH_BYTES)
SIGNATURE: Final[Bounds] = (SIGNATURE_BYTES, SIGNATURE_BYTES)
U32: Final[Bounds] = (4, 4)
U64: Final[Bounds] = (8, 8)
NAME: Final[Bounds] = (1, NAME_CHARACTERS)


def u32(value: int) -> bytes:
    """Give 4 bytes, big-endian. Raises OverflowError outside 0 to 2**32 - 1."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """Give 8 bytes, big-endian. Raises OverflowError outside 0 to 2**64 - 1."""
    return value.to_bytes(8, "big")


def number(data: bytes) -> int:
    """Read an unsigned big-endian integer of whatever width `data` has."""
    return int.from_bytes(data, "big")


def lp(*items: bytes) -> bytes:
    """Join items, each behind its length (SC1, notation)."""
    return b"".join(part for item in items for part in (u32(len(item)), item))


def split(data: bytes, *bounds: Bounds) -> list[bytes]:
    """Undo `lp`: exactly as many items as there are bounds, each within its own. Raises `NotAuthentic`."""
    items = list(_items(data, len(bounds)))
    if len(items) != len(bounds):
        raise NotAuthentic
    for item, (least, most) in zip(items, bounds, strict=True):
        if not least <= len(item) <= most:
            raise NotAuthentic
    return items


def split_list(data: bytes, bounds: Bounds, most_items: int) -> list[bytes]:
    """Undo `lp` for up to `most_items` items that share their bounds. Raises `NotAuthentic`."""
    items = list(_items(data, most_items))
    if any(not bounds[0] <= len(item) <= bounds[1] for item in items):
        raise NotAuthentic
    return items


def read_name(data: bytes) -> str:
    """Read the name of a person: ASCII, as `wire.names` has it. Raises `NotAuthentic`."""
    try:
        name = data.decode("ascii")
    except UnicodeDecodeError:
        raise NotAuthentic from None
    if name_refusal(name) is not None:
        raise NotAuthentic
    return name


def _items(data: bytes, most_items: int) -> Iterator[bytes]:
    """Yield the items of `data`; more than `most_items`, or a length that leads out of it, raise `NotAuthentic`."""
    at = 0
    count = 0
    while at < len(data):
        start = at + LENGTH_BYTES
        end = start + number(data[at:start])
        count += 1
        if start > len(data) or end > len(data) or count > most_items:
            raise NotAuthentic
        yield data[start:end]
        at = end
