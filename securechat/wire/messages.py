"""Every message that travels, one typed struct each.

A message is a MessagePack array: its name, then its fields in the order given here. Types are strict, every
field is bounded, and an array with fewer or more elements is refused. docs/PROTOCOL.md is the same in prose.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from securechat.wire.codes import Code

VERSION: Final = 1
"""The version of the protocol in `Greeting` and `Hello`."""

FRAME_BYTES: Final = 64 * 1024
"""The longest body of a frame, in bytes."""

SEALED_BYTES: Final = 16_600
"""The longest sealed message: header, IV, ciphertext of 16 KiB and its padding, tag."""

RUN_ITEMS: Final = 1_024
"""The most items in one `Post`, `Ack` or `Delivery`."""

ROOM_MEMBERS: Final = 1_024
"""The most members of one room, so that its `Roster` fits a frame."""

HandleText = Annotated[str, Meta(min_length=1, max_length=32)]
"""A user's name as the relay has accepted it."""

ClaimedName = Annotated[str, Meta(max_length=256)]
"""A name that a client asks for; the relay says what is wrong with it."""

RoomName = Annotated[str, Meta(min_length=2, max_length=66)]
"""`#name`, or `@name+name` for a direct room of two."""

PostId = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""Sixteen random bytes that make a repeated post recognisable."""

Epoch = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""The name of one membership of one room."""

Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""A session key."""

Sealed = Annotated[bytes, Meta(min_length=1, max_length=SEALED_BYTES)]
"""A sealed message, which the relay does not open."""

Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""The number of a message in its room; the first is 1."""

Milliseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Wall-clock time at the relay, milliseconds since 1970-01-01 UTC."""

Reason = Annotated[str, Meta(max_length=200)]
"""One sentence for a person."""

Count = Annotated[int, Meta(ge=0, lt=2**32)]


class _Wire(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """What all messages have in common; nothing in them can form a reference cycle."""


class Limits(_Wire, frozen=True):
    """What a client must keep to: posts not yet answered, rooms, seconds of silence until it is pinged."""

    window: Count
    rooms: Count
    ping_s: Count


class Greeting(_Wire, frozen=True, tag="Greeting"):
    """The relay speaks first: its version, a nonce for the login, the message of the day."""

    version: Count
    nonce: Annotated[bytes, Meta(min_length=32, max_length=32)]
    motd: Annotated[str, Meta(max_length=1_000)]


class Hello(_Wire, frozen=True, tag="Hello"):
    """A client logs in: the version that it speaks and the name that it asks for."""

    version: Count
    name: ClaimedName


class Welcome(_Wire, frozen=True, tag="Welcome"):
    """The login was taken: the client's name and the limits that hold for it."""

    name: HandleText
    limits: Limits


class Refused(_Wire, frozen=True, tag="Refused"):
    """The login or the last frame was not taken; the link ends."""

    code: Code
    reason: Reason


class Enter(_Wire, frozen=True, tag="Enter"):
    """A client asks to become a member of a room."""

    room: RoomName


class Leave(_Wire, frozen=True, tag="Leave"):
    """A client is no longer a member of a room."""

    room: RoomName


class Roster(_Wire, frozen=True, tag="Roster"):
    """Sent on entering: who is in the room, and the number of its last message so far."""

    room: RoomName
    members: Annotated[list[HandleText], Meta(max_length=ROOM_MEMBERS)]
    last_seq: Seq


class SessionKey(_Wire, frozen=True, tag="SessionKey"):
    """The random key of a room's new epoch, for the members of that epoch."""

    room: RoomName
    epoch: Epoch
    key: Key


class Presence(_Wire, frozen=True, tag="Presence"):
    """Somebody has become a member of a room (True), or is none any more (False)."""

    room: RoomName
    name: HandleText
    here: bool


class Post(_Wire, frozen=True, tag="Post"):
    """A run of sealed messages for a room, all for the same epoch, each with its id."""

    room: RoomName
    epoch: Epoch
    items: Annotated[list[tuple[PostId, Sealed]], Meta(min_length=1, max_length=RUN_ITEMS)]


class Ack(_Wire, frozen=True, tag="Ack"):
    """Posts that the relay has taken, each with its number in the room."""

    room: RoomName
    items: Annotated[list[tuple[PostId, Seq]], Meta(min_length=1, max_length=RUN_ITEMS)]


class Delivery(_Wire, frozen=True, tag="Delivery"):
    """A run of messages, numbered without a hole from `first_seq`: sender, time, sealed."""

    room: RoomName
    first_seq: Seq
    items: Annotated[list[tuple[HandleText, Milliseconds, Sealed]], Meta(min_length=1, max_length=RUN_ITEMS)]


class Declined(_Wire, frozen=True, tag="Declined"):
    """These posts, or with no id the `Enter` or `Leave`, were not carried out; the link stays."""

    room: RoomName
    ids: Annotated[list[PostId], Meta(max_length=RUN_ITEMS)]
    code: Code


class Ping(_Wire, frozen=True, tag="Ping"):
    """Either side asks whether the other is there."""


class Pong(_Wire, frozen=True, tag="Pong"):
    """The answer to `Ping`."""


class Goodbye(_Wire, frozen=True, tag="Goodbye"):
    """Either side ends the link in good order."""

    code: Code
    reason: Reason


FromRelay = (
    Greeting
    | Welcome
    | Refused
    | Roster
    | SessionKey
    | Presence
    | Ack
    | Delivery
    | Declined
    | Ping
    | Pong
    | Goodbye
)
"""What a client may receive."""

FromClient = Hello | Enter | Leave | Post | Ping | Pong | Goodbye
"""What the relay may receive."""

Message = FromRelay | FromClient
