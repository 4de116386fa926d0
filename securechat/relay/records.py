"""What the relay writes down of what has happened: one record for each change that must outlive it."""

from typing import Protocol

import msgspec

from securechat.relay.bans import Ban
from securechat.relay.directory import Owner


class OwnerChanged(msgspec.Struct, frozen=True, gc=False):
    """Somebody has taken a name, or has a new certificate or prekey."""

    owner: Owner


class OwnerRemoved(msgspec.Struct, frozen=True, gc=False):
    """The operator has taken somebody's name away."""

    owner: Owner


class Banned(msgspec.Struct, frozen=True, gc=False):
    """The operator has banned a key or a network."""

    ban: Ban


class Unbanned(msgspec.Struct, frozen=True, gc=False):
    """The operator has lifted a ban."""

    ban: Ban


class EntryTaken(msgspec.Struct, frozen=True, gc=False):
    """A room's log has its next entry; number 0 founds the room."""

    room: str
    number: int
    entry: bytes


class KeyDrawn(msgspec.Struct, frozen=True, gc=False):
    """A room has a new epoch and a new session key, for the messages from a number on."""

    room: str
    epoch: bytes
    key: bytes
    from_seq: int


class RoomEnded(msgspec.Struct, frozen=True, gc=False):
    """The last member has left a room: its log, its messages and its numbers are gone."""

    room: str


class MessageTaken(msgspec.Struct, frozen=True, gc=False):
    """A sealed message has its number."""

    room: str
    seq: int
    tag: bytes
    """What its sender and its id are found by, see `storage_key`."""
    sender: str
    post_id: bytes
    epoch: bytes
    time_ms: int
    sealed: bytes
    keep_days: int = 0
    """For how long the room wants it to be kept."""


class KeyWaits(msgspec.Struct, frozen=True, gc=False):
    """A sealed key waits for a device."""

    serial: int
    device: bytes
    room: str
    sender_device: bytes
    sender: str
    blob: bytes
    until_ms: int


class CursorMoved(msgspec.Struct, frozen=True, gc=False):
    """A member's device has seen the messages of a room up to a number."""

    room: str
    device: bytes
    seq: int


class KeyGone(msgspec.Struct, frozen=True, gc=False):
    """A sealed key waits no more."""

    serial: int


Record = (
    OwnerChanged
    | OwnerRemoved
    | Banned
    | Unbanned
    | EntryTaken
    | KeyDrawn
    | RoomEnded
    | MessageTaken
    | CursorMoved
    | KeyWaits
    | KeyGone
)


class Recorder(Protocol):
    """Takes records."""

    def add(self, record: Record) -> None:
        """Take a record that must be kept before anything else is said."""

    def add_later(self, record: Record) -> None:
        """Take a record that may get lost: what it is about would only be done once more."""
