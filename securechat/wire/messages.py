"""Every message that travels, one typed struct each.

A message is a MessagePack array: its name, then its fields in the order given here. Types are strict, every
field is bounded, and an array with fewer or more elements is refused. docs/PROTOCOL.md is the same in prose.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from securechat.wire.codes import Code

VERSION: Final = 3
"""The version of the protocol in `Greeting` and `Hello`."""

FRAME_BYTES: Final = 64 * 1024
"""The longest body of a frame, in bytes."""

SEALED_BYTES: Final = 16_600
"""The longest sealed message: header, IV, ciphertext of 16 KiB and its padding, tag, signature."""

CERTIFICATE_BYTES: Final = 256
"""The longest device certificate."""

PREKEY_BYTES: Final = 2_048
"""The longest prekey record."""

ENTRY_BYTES: Final = 4_096
"""The longest entry of a room's log."""

BLOB_BYTES: Final = 4_096
"""The longest sealed key."""

BUNDLE_ITEMS: Final = 64
"""The most devices in one `Want` and sealed keys in one `Hand`."""

MEMBER_ROOMS: Final = 1_024
"""The most rooms that `Welcome` lists."""

RUN_ITEMS: Final = 1_024
"""The most items in one `Post`, `Ack` or `Delivery`."""

ROOM_MEMBERS: Final = 1_024
"""The most members of one room, so that the names in `Present` fit a frame."""

MOTD_CHARACTERS: Final = 1_000
"""The longest message of the day."""

LAST_SEQ: Final = 2**63 - 1
"""The highest number that a message can have. Who knows everything up to it is told what is said from now on."""

HandleText = Annotated[str, Meta(min_length=1, max_length=32)]
"""A user's name as the relay has accepted it."""

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

Seq = Annotated[int, Meta(ge=0, le=LAST_SEQ)]
"""The number of a message in its room; the first is 1."""

Milliseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Wall-clock time at the relay, milliseconds since 1970-01-01 UTC."""

Reason = Annotated[str, Meta(max_length=200)]
"""One sentence for a person."""

Count = Annotated[int, Meta(ge=0, lt=2**32)]

Device = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""The public key of a device."""

SessionId = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""The number of a sender's session."""

Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]

Certificate = Annotated[bytes, Meta(min_length=1, max_length=CERTIFICATE_BYTES)]
"""A device certificate; like the next three, what is in it is for the package `signed` and for clients to say."""

MaybeCertificate = Annotated[bytes, Meta(max_length=CERTIFICATE_BYTES)]
"""A device certificate, or nothing where there is none."""

Prekey = Annotated[bytes, Meta(min_length=1, max_length=PREKEY_BYTES)]
"""A prekey record."""

MaybePrekey = Annotated[bytes, Meta(max_length=PREKEY_BYTES)]
"""A prekey record, or nothing where there is none."""

RoomEntry = Annotated[bytes, Meta(min_length=1, max_length=ENTRY_BYTES)]
"""An entry of a room's log."""

Blob = Annotated[bytes, Meta(min_length=1, max_length=BLOB_BYTES)]
"""A sealed key, which the relay cannot open."""


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
    motd: Annotated[str, Meta(max_length=MOTD_CHARACTERS)]


class Hello(_Wire, frozen=True, tag="Hello"):
    """A client logs in: the version that it speaks, who it is, its newest prekey, and the proof that it is."""

    version: Count
    certificate: Certificate
    prekey: Prekey
    proof: Signature


class Renew(_Wire, frozen=True, tag="Renew"):
    """A client offers a new prekey from now on."""

    prekey: Prekey


class Welcome(_Wire, frozen=True, tag="Welcome"):
    """The login was taken: the client's name, the rooms that it is a member of, the limits that hold for it."""

    name: HandleText
    rooms: Annotated[list[RoomName], Meta(max_length=MEMBER_ROOMS)]
    limits: Limits


class Refused(_Wire, frozen=True, tag="Refused"):
    """The login or the last frame was not taken; the link ends."""

    code: Code
    reason: Reason


class Enter(_Wire, frozen=True, tag="Enter"):
    """A client wants to be told of a room: its log from entry `have` on, and what came after message `after`."""

    room: RoomName
    have: Count
    after: Seq


class Append(_Wire, frozen=True, tag="Append"):
    """A client gives a room's log its next entry; entry 0 founds the room."""

    room: RoomName
    entry: RoomEntry


class Roster(_Wire, frozen=True, tag="Roster"):
    """Entries of a room's log from number `first` on, of `total`; the number of the room's last message so far."""

    room: RoomName
    first: Count
    entries: Annotated[list[RoomEntry], Meta(max_length=RUN_ITEMS)]
    total: Count
    last_seq: Seq


class Present(_Wire, frozen=True, tag="Present"):
    """Which members of a room are there now, oneself included."""

    room: RoomName
    names: Annotated[list[HandleText], Meta(max_length=ROOM_MEMBERS)]


class SessionKey(_Wire, frozen=True, tag="SessionKey"):
    """The random key of a room's new epoch, for the members of that epoch."""

    room: RoomName
    epoch: Epoch
    key: Key


class Presence(_Wire, frozen=True, tag="Presence"):
    """A member of a room has come (True), or is gone (False); a member they stay."""

    room: RoomName
    name: HandleText
    here: bool


class Want(_Wire, frozen=True, tag="Want"):
    """A client asks for the newest prekeys of devices."""

    devices: Annotated[list[Device], Meta(min_length=1, max_length=BUNDLE_ITEMS)]


class Prekeys(_Wire, frozen=True, tag="Prekeys"):
    """The newest prekey of each device that was asked for, in order; nothing for one that has none here."""

    items: Annotated[list[tuple[Device, MaybePrekey]], Meta(min_length=1, max_length=BUNDLE_ITEMS)]


class Lookup(_Wire, frozen=True, tag="Lookup"):
    """A client asks whose a name is."""

    name: HandleText


class Found(_Wire, frozen=True, tag="Found"):
    """Whose a name is, and whether they are logged in; nothing for a name that nobody has."""

    name: HandleText
    certificate: MaybeCertificate
    online: bool


class Hand(_Wire, frozen=True, tag="Hand"):
    """Sealed keys of the sender's session in a room, each for one device."""

    room: RoomName
    items: Annotated[list[tuple[Device, Blob]], Meta(min_length=1, max_length=BUNDLE_ITEMS)]


class SealedKey(_Wire, frozen=True, tag="SealedKey"):
    """Keys that members have sealed to this device, each with the member's name, which only the relay says.

    They wait until the client has `Seen` that it was `handed` them.
    """

    room: RoomName
    handed: Seq
    items: Annotated[list[tuple[HandleText, Blob]], Meta(min_length=1, max_length=BUNDLE_ITEMS)]


class Ask(_Wire, frozen=True, tag="Ask"):
    """A client asks a member's device for the key of its session."""

    room: RoomName
    device: Device
    sid: SessionId


class Asked(_Wire, frozen=True, tag="Asked"):
    """A member's device asks for the key of this client's session."""

    room: RoomName
    device: Device
    sid: SessionId


class Post(_Wire, frozen=True, tag="Post"):
    """A run of sealed messages for a room, all for the same epoch, each with its id."""

    room: RoomName
    epoch: Epoch
    items: Annotated[list[tuple[PostId, Sealed]], Meta(min_length=1, max_length=RUN_ITEMS)]


class Repost(_Wire, frozen=True, tag="Repost"):
    """A message that may have been taken on a link that was lost, sealed anew under the same id.

    If it was, its number is above `after`: the number up to which its sender knew all messages before posting it.
    """

    room: RoomName
    epoch: Epoch
    after: Seq
    post_id: PostId
    sealed: Sealed


class Ack(_Wire, frozen=True, tag="Ack"):
    """Posts that the relay has taken, each with its number in the room."""

    room: RoomName
    items: Annotated[list[tuple[PostId, Seq]], Meta(min_length=1, max_length=RUN_ITEMS)]


class Delivery(_Wire, frozen=True, tag="Delivery"):
    """A run of messages, numbered without a hole from `first_seq`: sender, time, sealed."""

    room: RoomName
    first_seq: Seq
    items: Annotated[list[tuple[HandleText, Milliseconds, Sealed]], Meta(min_length=1, max_length=RUN_ITEMS)]


class Gap(_Wire, frozen=True, tag="Gap"):
    """There is nothing for this client under these numbers, and why."""

    room: RoomName
    first: Seq
    last: Seq
    code: Code


class Seen(_Wire, frozen=True, tag="Seen"):
    """A client has stored what it was told: of each room the messages up to a number, and the keys handed to it."""

    items: Annotated[list[tuple[RoomName, Seq, Seq]], Meta(min_length=1, max_length=BUNDLE_ITEMS)]


class Declined(_Wire, frozen=True, tag="Declined"):
    """These posts, or with no id the `Enter` or `Append`, were not carried out; the link stays."""

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
    | Present
    | Presence
    | SessionKey
    | Prekeys
    | Found
    | SealedKey
    | Asked
    | Ack
    | Delivery
    | Gap
    | Declined
    | Ping
    | Pong
    | Goodbye
)
"""What a client may receive."""

FromClient = (
    Hello | Renew | Enter | Append | Want | Lookup | Hand | Ask | Post | Repost | Seen | Ping | Pong | Goodbye
)
"""What the relay may receive."""

Message = FromRelay | FromClient
