"""What a store is: the seam between a relay and whatever keeps what must outlive it.

Batches of records go in and pages of messages come out; all the rest is read once, at the start. `sqlite_store` is
the one that we have, in a file beside the relay. Another one, as for several relays on one PostgreSQL, has to keep
what is said here, and passes `tests/relay/store_contract.py`. The words of it:

- **One thread.** A store is opened, used and closed by one thread (see `writer`); no call comes while another is
  under way, but for those that `copy` lets in between.
- **All or none.** Before `commit` returns a batch is there as a whole, for every reader and whatever ends the
  process or the machine; or nothing of it ever is.
- **Order.** The records of a batch mean something in their order, and batches in theirs.
- **What is raised.** `NoRoomError` where there is no room: then nothing has happened, and the same call may be made
  again. After any other exception of `commit`, `scrub`, `tidy` or `close` nobody knows what the disk holds, so the
  store is not used any more, not even closed. Reading may fail, and harms nothing.
- **What may be repeated.** A batch that was kept is never given again, and one that breaks a rule of the tables (a
  second message under a number) is refused as a whole. A store that can lose its connection in the middle of a
  `commit` finds out by itself whether the batch is there, by the tags and numbers in it, before it returns.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from securechat.relay.bans import Ban
from securechat.relay.directory import Owner
from securechat.relay.pages import Page
from securechat.relay.records import KeyWaits, Record

KEEP_HOURS: Final = 14 * 24
"""For how long a message is kept at least, unless everybody has seen it: as long as what opens it can be."""

HOUR_MS: Final = 3_600_000

TIDY_ROWS: Final = 500
"""Messages that are deleted at once."""

NOBODY: Final[Mapping[str, int]] = MappingProxyType({})
"""Nobody has seen anything."""


class KeptRoom(NamedTuple):
    """A room as it was kept."""

    name: str
    entries: list[bytes]
    """By their numbers."""
    epoch: bytes
    key: bytes
    """The newest."""
    last_seq: int
    """The number of its last message, there or not any more; 0 before the first."""
    ids: dict[Hashable, int]
    """The tags of its last `RECENT_IDS` messages with their numbers, in the order of these."""
    cursors: dict[bytes, int]
    """Up to where the devices of members have seen its messages."""


class Kept(NamedTuple):
    """All that was kept, but for messages."""

    owners: list[Owner]
    """In the order in which they first came; who got a lost name back is there twice, the second time with it."""
    rooms: list[KeptRoom]
    """In the order in which they were founded; a room without a key is not whole, and not here."""
    waiting: list[KeyWaits]
    """By their serials."""
    bans: list[Ban]
    """In the order in which they first came."""


class Store(Protocol):
    """A store that is open."""

    @property
    def sealing_s(self) -> float:
        """For how many seconds in all rows have been sealed for batches."""

    def load(self) -> Kept:
        """All that is kept, but for messages. Raises `RelayError` where it is damaged or cannot be read."""

    def commit(self, records: Sequence[Record]) -> int:
        """Keep a batch, all or none; gives how many rows were sealed for it.

        A record for a room that is not there, one that is there already (a room, an entry, a message or a serial),
        and a message without a room is a mistake of the caller's and fails the batch. A sealed key that came and
        went in one batch is never written. Raises `NoRoomError`, or `StoreError` for whatever else.
        """

    def scrub(self, records: Sequence[Record]) -> None:
        """Leave no copy of a session key that these records, which were just kept, have put out of use.

        Called behind each batch, once that was answered; where there is no room for it, a later call does it.
        Raises `StoreError`.
        """

    def page(self, room: str, first: int) -> Page:
        """The next messages of a room, from a number on, with the session keys of their epochs.

        One message at least where there is one, `PAGE_ROWS` at most, and no more than about `PAGE_BYTES` of them;
        only what has been kept. Empty for a room that is not there. Raises `RelayError` where they are damaged or
        cannot be read.
        """

    def find(self, room: str, tag: bytes, after: int, up_to: int) -> int:
        """The number of a room's message by its tag, above a number and up to another; 0 where there is none.

        Tags are found whether or not their message is still there. Raises `StoreError`.
        """

    def tidy(self, now_ms: int, seen: Mapping[str, int] = NOBODY) -> bool:
        """Delete some messages, `TIDY_ROWS` of each kind at most, so that batches get between; whether to go on.

        Those go that are as old as `KEEP_HOURS` or their `keep_days`, whichever is longer, in whole hours; those of
        rooms that have ended; and in a room that `seen` names those up to that number. A message's number and tag
        stay as long as that is not too old, and then as long as they are among the last `RECENT_IDS` of their room.
        Session keys of past epochs go with the last message of theirs, and are scrubbed. May be repeated. Raises
        `NoRoomError` where there is no room for deleting, or `StoreError` for whatever else.
        """

    def usage(self, room: str) -> tuple[int, int]:
        """How many messages of a room are kept, and about how many bytes they take. Raises `StoreError`."""

    def copy(self, path: Path, between: Callable[[int, int], None]) -> None:
        """Copy all that is kept into an empty file, from which a store of this kind can be opened.

        `between` is called between steps with how much is done and of how much, in units of the store's own. It may
        commit, read and tidy; what is kept meanwhile may or may not be in the copy, each batch as a whole. What it
        raises ends the copy, and so do `StoreError` and `OSError`; the store is as it was.
        """

    def close(self) -> None:
        """Let go of all that the store holds, so that another can be opened in its place; the last call."""
