"""Which texts can be sent: `content` has how they are packed."""

from typing import Final

from securechat.e2e.errors import E2EError

PLAINTEXT_BYTES: Final = 16 * 1024
"""The longest plaintext."""

TEXT_BYTES: Final = PLAINTEXT_BYTES - 128
"""The longest text in UTF-8; the rest is for what a body says about it."""


class BodyError(E2EError):
    """The text cannot be sent, or the plaintext of a message holds none."""


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
