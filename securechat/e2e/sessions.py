"""Which key seals and opens what, as of protocol version 1: the first lock only.

Version 1 closes a message with the session key that the relay hands to the members of an epoch. That keeps out
everybody who is not a member, and it does not keep out the relay; the second lock, the sender's own key, comes
with SC1 and goes here.

A sealed message is `header ‖ iv16 ‖ ciphertext ‖ tag32`. The header is `"SC0" ‖ 0x01 ‖ epoch32`. Key, 64 bytes:
HKDF-SHA-512 of the session key, no salt, info `"securechat/0 message" ‖ epoch32`. Associated data of the
A256CBC-HS512: `header ‖ room ‖ 0x00 ‖ sender`, so that a message does not pass for another room's or sender's.
"""

from dataclasses import dataclass
from typing import Final

from securechat.crypto.aead import message_key
from securechat.e2e.errors import E2EError

MAGIC: Final = b"SC0\x01"
EPOCH_BYTES: Final = 32
HEADER_BYTES: Final = len(MAGIC) + EPOCH_BYTES
LABEL: Final = b"securechat/0 message"


class NoKeyError(E2EError):
    """There is no key to seal or open with; the message says why."""


@dataclass(frozen=True, slots=True)
class RoomKey:
    """The key of one epoch of one room; never printed."""

    epoch: bytes
    key: bytes

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return "RoomKey(…)"


class SessionKeys:
    """The keys that a client has now, one a room.

    One is enough: the relay delivers every message of an epoch before it hands out the key of the next.
    """

    def __init__(self) -> None:
        self._keys: dict[str, RoomKey] = {}

    def start(self, room: str, epoch: bytes, session_key: bytes) -> None:
        """Begin an epoch of a room; the key of the epoch before is forgotten."""
        self._keys[room] = RoomKey(epoch, message_key(session_key, LABEL + epoch))

    def forget(self, room: str) -> None:
        """Not a member any more."""
        self._keys.pop(room, None)

    def forget_all(self) -> None:
        """The link is gone, and with it every epoch."""
        self._keys.clear()

    def epoch(self, room: str) -> bytes | None:
        """The epoch to post for, or None where no key has come yet."""
        key = self._keys.get(room)
        return None if key is None else key.epoch

    def to_seal(self, room: str, sender: str) -> tuple[bytes, bytes, bytes]:
        """Key, header and associated data for a message of `sender`. Raises `NoKeyError`."""
        key = self._keys.get(room)
        if key is None:
            raise NoKeyError("no session key for this room has come yet")
        header = MAGIC + key.epoch
        return key.key, header, _associated(header, room, sender)

    def to_open(self, room: str, sender: str, sealed: bytes) -> tuple[bytes, bytes, bytes]:
        """Key, associated data and what is left to open of a message. Raises `NoKeyError`."""
        header = sealed[:HEADER_BYTES]
        if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
            raise NoKeyError("it is sealed in a way that is not known here")
        key = self._keys.get(room)
        if key is None or header[len(MAGIC) :] != key.epoch:
            raise NoKeyError("it was sealed for other members than those of now")
        return key.key, _associated(header, room, sender), sealed[HEADER_BYTES:]


def _associated(header: bytes, room: str, sender: str) -> bytes:
    return header + room.encode() + b"\x00" + sender.encode()
