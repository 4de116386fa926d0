"""What is said on the admin socket: JSON, one message on a line.

A command sends one request and reads answers until `Done` or `Failed`, which is the last.
"""

from typing import Final

import msgspec

REQUEST_BYTES: Final = 4_096
"""The longest request, its newline included."""

ANSWER_BYTES: Final = 65_536
"""The longest answer."""


class _Request(msgspec.Struct, frozen=True, tag_field="do", tag=str.lower, forbid_unknown_fields=True):
    """Something to be done."""


class Backup(_Request, frozen=True):
    """Copy the store. The copy is there until the link ends."""


class Users(_Request, frozen=True):
    """List the names, each as a `User`."""


class Rooms(_Request, frozen=True):
    """List the rooms, each as a `Room`."""


class Bans(_Request, frozen=True):
    """List the bans, each as a `Banned`."""


class Ban(_Request, frozen=True):
    """Ban the owner of a name, an identity key or a network."""

    what: str


class Unban(_Request, frozen=True):
    """Ban it no more."""

    what: str


class RemoveName(_Request, frozen=True):
    """Take a name away from its owner, whose key is banned."""

    name: str


Request = Backup | Users | Rooms | Bans | Ban | Unban | RemoveName


class _Answer(msgspec.Struct, frozen=True, tag_field="is", tag=str.lower):
    """Something that is answered."""


class Progress(_Answer, frozen=True):
    """So much of it is done."""

    done: int
    total: int


class User(_Answer, frozen=True):
    """A name, and whose it is."""

    name: str
    identity: str
    """The identity key, in hexadecimal digits."""
    device: str
    """The device key, in hexadecimal digits."""
    here: bool
    seen: str
    """The day of their newest prekey: they were here then, and hardly a day later."""
    rooms: list[str]
    banned: bool


class Room(_Answer, frozen=True):
    """A room."""

    name: str
    members: list[str]
    here: int
    entries: int
    last_seq: int
    messages: int
    """Those that are kept."""
    bytes: int
    """What their rows take."""


class Banned(_Answer, frozen=True):
    """A ban."""

    kind: str
    value: str
    name: str
    since: str
    """The day."""


class Done(_Answer, frozen=True):
    """It is done: a sentence for the operator, and the file, if one was made."""

    text: str = ""
    file: str = ""


class Failed(_Answer, frozen=True):
    """It is not done: why, and the exit status of a command that asked for it."""

    text: str
    status: int


Answer = Progress | User | Room | Banned | Done | Failed

read_request: Final = msgspec.json.Decoder(Request).decode
"""Raises `msgspec.MsgspecError` or `ValueError`."""

read_answer: Final = msgspec.json.Decoder(Answer).decode
"""Raises `msgspec.MsgspecError` or `ValueError`."""


def line(message: Request | Answer) -> bytes:
    """A message as it travels."""
    return msgspec.json.encode(message) + b"\n"
