"""What was said in a room, read again some at a time."""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from securechat.wire.codes import Code

PAGE_ROWS: Final = 256
PAGE_BYTES: Final = 128 * 1024
"""What is read at once: as many messages, and as many bytes."""


class Told(NamedTuple):
    """A message as it was kept."""

    seq: int
    sender: str
    time_ms: int
    epoch: bytes
    sealed: bytes


class Page(NamedTuple):
    """Messages of a room in their order, as many as are read at once."""

    messages: list[Told]
    keys: dict[bytes, bytes]
    """The session keys of their epochs."""
    is_last: bool
    """Whether there are none behind them."""


Read = Callable[[Page | None], None]
"""Takes a page; None where it could not be read."""


FIND_ROWS: Final = 4_096
"""Among how many messages an id is looked for at once, so that nothing waits for long."""
Find = Callable[[int | None], None]
"""Takes the number of a message, 0 where there is none; None where that could not be read."""


class History(Protocol):
    """Reads messages that were kept."""

    missing: Code
    """What to say of a number under which there is nothing."""

    def read(self, room: str, first: int, read: Read) -> None:
        """Read messages of a room, from a number on, and call `read` with them, at once or later."""

    def find(self, room: str, tag: bytes, after: int, up_to: int, found: Find) -> None:
        """Look for a message by its tag, among those above a number and up to another, and call `found`."""


class NoHistory:
    """That of a relay that keeps nothing."""

    missing = Code.NOT_KEPT

    def read(self, room: str, first: int, read: Read) -> None:
        """There is nothing."""
        read(Page([], {}, is_last=True))

    def find(self, room: str, tag: bytes, after: int, up_to: int, found: Find) -> None:
        """There is nothing."""
        found(0)
