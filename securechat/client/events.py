"""What happens in a conversation, one struct each; `--json` writes them as they are, one object a line.

`type` is the first field of each. Times are UTC in ISO 8601. docs/CLIENT.md lists them for programs.
"""

from datetime import UTC, datetime

import msgspec


class _Event(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """What all events have in common."""


class Message(_Event, frozen=True, tag="message"):
    """Somebody said something, and it is authentic."""

    room: str
    sender: str
    text: str
    time: datetime
    seq: int
    key: str = ""
    """What we know of the sender's key: first, verified or changed; nothing where it is the one we remember."""
    late: bool = False
    """It waited for a key, or others of its sender came before it."""
    forked: bool = False
    """Its sender made another message before it than the one that we were given."""
    former: bool = False
    """Its sender is no member of the room any more, and sealed it for a time when they were."""
    again: bool = False
    """It was told, or about to be, when the last run of the program was killed."""


class Sent(_Event, frozen=True, tag="sent"):
    """The relay has taken a message of ours; `id` is what the input called it, if it did."""

    room: str
    seq: int
    text: str
    id: str | None = None


class NotSent(_Event, frozen=True, tag="not-sent"):
    """A message of ours will not be sent; the reason says why."""

    room: str
    reason: str
    text: str
    id: str | None = None


class Unreadable(_Event, frozen=True, tag="unreadable"):
    """A message came that cannot be opened or is not authentic; nothing of it is shown."""

    room: str
    sender: str
    time: datetime
    seq: int
    reason: str


class Held(_Event, frozen=True, tag="held"):
    """A message came that can't be opened yet; what it waits for was asked for. It is told once it is opened."""

    room: str
    sender: str
    time: datetime
    seq: int
    reason: str


class Gap(_Event, frozen=True, tag="gap"):
    """Messages of one sender are missing here, by their sender's own numbers. They may still come."""

    room: str
    sender: str
    first: int
    last: int


class KeyChanged(_Event, frozen=True, tag="key-changed"):
    """Somebody's key is another than before: nothing is sealed to them until one of the two is accepted."""

    room: str
    name: str
    key: str
    """The beginning of the SHA-256 of the new key."""


class Fault(_Event, frozen=True, tag="fault"):
    """What the relay shows of a room does not hold: nothing more is said or taken there."""

    room: str
    reason: str


class Info(_Event, frozen=True, tag="info"):
    """The answer to something that was asked for."""

    lines: list[str]


class History(_Event, frozen=True, tag="history", omit_defaults=True):
    """What was said in a room and is kept here, in the order in which it was told; it was asked for."""

    room: str
    messages: list[Message]
    days: int | None = None
    """For how many days what is said there is kept, 0 for not at all; nothing where that is not known now."""


class Policy(_Event, frozen=True, tag="policy", omit_defaults=False):
    """Somebody has changed for how many days what is said in a room is kept, or who may enter it."""

    room: str
    name: str
    is_open: bool
    history_days: int


class Missed(_Event, frozen=True, tag="missed"):
    """The room's messages from `first` to `last` have not come here, and do not; the reason says why."""

    room: str
    first: int
    last: int
    reason: str = ""


class Entered(_Event, frozen=True, tag="entered"):
    """We are a member of a room, and these members are there now (ourselves included)."""

    room: str
    members: list[str]
    history_days: int = 0
    """For how many days what is said there is kept to be read again, by the members and the relay."""


class NotEntered(_Event, frozen=True, tag="not-entered"):
    """The relay does not let us into a room; the reason says why."""

    room: str
    reason: str


class Joined(_Event, frozen=True, tag="joined"):
    """Somebody has become a member of a room that we are in."""

    room: str
    name: str


class Left(_Event, frozen=True, tag="left"):
    """Somebody, perhaps ourselves, is no member of a room any more."""

    room: str
    name: str


class Came(_Event, frozen=True, tag="came"):
    """A member of a room that we are in is there now."""

    room: str
    name: str


class Gone(_Event, frozen=True, tag="gone"):
    """A member of a room that we are in is away now; a member they stay."""

    room: str
    name: str


class Keyed(_Event, frozen=True, tag="key"):
    """A new session key came for a room: the SHA-256 of the key in hexadecimal, shortened; never the key."""

    room: str
    fingerprint: str
    bytes: int


class Link(_Event, frozen=True, tag="link", omit_defaults=False):
    """The link to the relay is up, or is not and will be tried again in `retry_s` seconds."""

    up: bool
    relay: str
    reason: str = ""
    retry_s: float | None = None


class Motd(_Event, frozen=True, tag="motd"):
    """The relay's message of the day."""

    text: str


class Error(_Event, frozen=True, tag="error"):
    """Something that was asked for, or a line of the input, did not work."""

    text: str


Event = (
    Message
    | Sent
    | NotSent
    | Unreadable
    | Held
    | Gap
    | KeyChanged
    | Fault
    | Info
    | History
    | Policy
    | Missed
    | Entered
    | NotEntered
    | Joined
    | Left
    | Came
    | Gone
    | Keyed
    | Link
    | Motd
    | Error
)


def time_of(milliseconds: int) -> datetime:
    """A time from the wire; one that no calendar has becomes the last moment that it has."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)
