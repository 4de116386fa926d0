"""What is inside a sealed message: a MessagePack array, the kind first, strict and bounded like the wire."""

from typing import Final

import msgspec

from securechat.e2e.errors import E2EError

PLAINTEXT_BYTES: Final = 16 * 1024
"""The longest plaintext."""

TEXT_BYTES: Final = PLAINTEXT_BYTES - 128
"""The longest text in UTF-8; the rest is for what a body says about it."""


class BodyError(E2EError):
    """The text cannot be sent, or the plaintext of a message holds none."""


class Text(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="text"):
    """Something that somebody said."""

    text: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Text)


def check_text(text: str) -> None:
    """Raise `BodyError` for a text that cannot be sent."""
    if not text:
        raise BodyError("there is nothing to send")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as wrong:
        raise BodyError("this is not valid Unicode text") from wrong
    if size > TEXT_BYTES:
        raise BodyError(f"this has {size} bytes, and a message holds at most {TEXT_BYTES}")


def pack_text(text: str) -> bytes:
    """The plaintext for a text that `check_text` has let through."""
    return _encoder.encode(Text(text))


def unpack(plaintext: bytes) -> Text:
    """Read the plaintext of a message. Raises `BodyError`."""
    try:
        said = _decoder.decode(plaintext)
    except (msgspec.MsgspecError, ValueError, RecursionError) as wrong:
        raise BodyError("its content is of a kind that is not known here") from wrong
    if not said.text or len(said.text.encode()) > TEXT_BYTES:
        raise BodyError("its text is empty, or longer than a message holds")
    return said
