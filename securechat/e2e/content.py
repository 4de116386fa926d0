"""What is inside a message of SC1: a typed body that names its room, padded to a size bucket (SC1 §6).

A body is a MessagePack array, strict and bounded like the wire:

    [kind, room_id 32, time, message_id 16, voided, …]         of kind "text": …, text]

`time` is the sender's clock, milliseconds since 1970-01-01 UTC. `message_id` stays the same when a message is
sealed again, so that it is shown once. `voided` counts the indices directly before this message's own that the
sender gave up, because the relay declined them or may have lost them: nobody need miss those. The plaintext of a
message is

    u32 length of the body ‖ body ‖ zeros up to the next bucket

and the buckets are the powers of two from 128 bytes to 16 KiB: the relay learns one of eight sizes.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from securechat.e2e.body import PLAINTEXT_BYTES, TEXT_BYTES, BodyError, check_text
from securechat.signed.encoding import LENGTH_BYTES, number, u32
from securechat.signed.errors import NotAuthentic

BUCKETS: Final = tuple(2**power for power in range(7, 15))
"""The lengths that a plaintext can have, in bytes."""
MESSAGE_ID_BYTES: Final = 16

assert BUCKETS[-1] == PLAINTEXT_BYTES


class Said(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="text"):
    """Something that somebody said."""

    room_id: Annotated[bytes, Meta(min_length=32, max_length=32)]
    time_ms: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    message_id: Annotated[bytes, Meta(min_length=MESSAGE_ID_BYTES, max_length=MESSAGE_ID_BYTES)]
    voided: Annotated[int, Meta(ge=0, lt=2**31)]
    text: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Said)


def pack(said: Said) -> bytes:
    """The plaintext of a message: one of `BUCKETS` bytes. Raises `BodyError` for a text that cannot be sent."""
    check_text(said.text)
    body = _encoder.encode(said)
    plaintext = u32(len(body)) + body
    return plaintext.ljust(next(bucket for bucket in BUCKETS if len(plaintext) <= bucket), b"\x00")


def unpack(plaintext: bytes, room_id: bytes) -> Said:
    """Read a plaintext that was sealed in a room (SC1 §7).

    Raises `NotAuthentic` where the padding is wrong or the room inside is another, and `BodyError` for a body of a
    kind that is not known here, which a newer client may have sent.
    """
    length = number(plaintext[:LENGTH_BYTES])
    body, padding = plaintext[LENGTH_BYTES : LENGTH_BYTES + length], plaintext[LENGTH_BYTES + length :]
    if not is_padded(plaintext, length, padding):
        raise NotAuthentic
    try:
        said = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise BodyError("its content is of a kind that is not known here") from None
    if not is_of_room(said, room_id):
        raise NotAuthentic
    if not said.text or len(said.text.encode()) > TEXT_BYTES:
        raise BodyError("its text is empty, or longer than a message holds")
    return said


def is_padded(plaintext: bytes, length: int, padding: bytes) -> bool:
    """Whether a plaintext is the shortest bucket for a body of this length, and filled up with zeros."""
    fitting = next((bucket for bucket in BUCKETS if LENGTH_BYTES + length <= bucket), None)
    return len(plaintext) == fitting and not any(padding)


def is_of_room(said: Said, room_id: bytes) -> bool:
    """Whether the room inside is the room outside."""
    return said.room_id == room_id
