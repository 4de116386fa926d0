"""One room as the relay keeps it, and the frames that tell of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from securechat.signed.roster import Roster as Log
from securechat.wire.framing import frame
from securechat.wire.messages import FRAME_BYTES, RUN_ITEMS, Roster, SessionKey

_ENTRY_BYTES: Final = 3
"""What an entry takes in a `Roster` besides its own bytes: its length."""

_RUN_BYTES: Final = FRAME_BYTES - 128
"""What the entries of a `Roster` may take together."""


class Client(Protocol):
    """Somebody who is logged in, as rooms see them."""

    name: str
    identity: bytes
    device: bytes

    def put(self, data: bytes) -> None:
        """Take a frame; nothing happens where the link is gone."""

    def offer(self, data: bytes) -> bool:
        """Take a frame that can be told later as well; False where too much waits already."""

    def stream(self, frames: Iterator[bytes]) -> None:
        """Take many frames, each when those before it have been read."""

    def answered(self, posts: int) -> None:
        """So many posts were acknowledged or declined."""

    def fail(self) -> None:
        """End the link: something has gone wrong here."""


class Hearer(Protocol):
    """Somebody who is about to hear what is said at once."""

    client: Client

    def say(self, data: bytes) -> None:
        """Something is said."""


@dataclass(slots=True, eq=False)
class Room:
    """A room with at least one member."""

    name: str
    log: Log
    entered: dict[str, Client] = field(default_factory=dict)
    """The members who are here, by name; a name is one identity's."""
    level: dict[str, Client] = field(default_factory=dict)
    """Those of them who hear what is said at once."""
    joining: dict[str, Hearer] = field(default_factory=dict)
    """Others of them, who will when they have been told what was said before, and this."""
    epoch: bytes = b""
    """The one that posts must be sealed for."""
    kept_seq: int = 0
    """Up to which number its messages are kept; those behind it are being written."""
    key_frame: bytes = b""
    """The `SessionKey` of this epoch as it travels."""

    def begin_epoch(self, epoch: bytes, key: bytes) -> None:
        """From now on there is another session key."""
        self.epoch = epoch
        self.key_frame = frame(SessionKey(self.name, epoch, key))

    def has(self, client: Client) -> bool:
        """Whether a client is a member."""
        return client.identity in self.log.members

    def is_current(self, epoch: bytes) -> bool:
        """Whether posts for an epoch are taken now."""
        return epoch == self.epoch

    def is_here(self, client: Client) -> bool:
        """Whether a client is a member who has entered."""
        return self.entered.get(client.name) is client


def roster_frames(room: Room, first: int, last_seq: int) -> Iterator[bytes]:
    """The log of a room from an entry on, as it is now, in frames that are built one by one; at least one frame."""
    return _roster_frames(room.name, room.log, first, len(room.log), last_seq)


def _roster_frames(name: str, log: Log, first: int, total: int, last_seq: int) -> Iterator[bytes]:
    while True:
        entries: list[bytes] = []
        size = 0
        for entry in log.part(first, min(total, first + RUN_ITEMS)):
            size += len(entry) + _ENTRY_BYTES
            if size > _RUN_BYTES:
                break
            entries.append(entry)
        yield frame(Roster(name, first, entries, total, last_seq))
        first += len(entries)
        if first >= total:
            return
