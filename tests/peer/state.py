"""What a client knows of its person and their rooms: all that outlives a link."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.peer import sc1
from tests.peer.log import Log
from tests.peer.numbers import Numbers
from tests.peer.sessions import Receiving, Sending


def now_ms() -> int:
    """The time as SC1 has it."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Arrived:
    """A sealed message as it came."""

    seq: int
    sender: str
    ms: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of a room: its text, or what is wrong with it. What is missing right before it is `gap`.

    A `Gap` of the relay has no sender, its code for a problem, and the numbers that it covers as `gap`.
    """

    room: str
    seq: int
    sender: str
    ms: int
    text: str | None
    problem: str = ""
    gap: tuple[int, int] | None = None


@dataclass(slots=True)
class Pending:
    """A text that the relay has not acknowledged; `posted` is the session and index under which it is posted."""

    room: str
    text: str
    posted: tuple[Sending, int] | None = None


@dataclass(slots=True)
class Room:
    """All that is known of a room."""

    log: Log
    total: int = 0
    last_seq: int = 0
    """The room's last number, as the relay says it."""
    numbers: Numbers = field(default_factory=Numbers)
    fault: str = ""
    """Why nothing that the relay shows of it is believed any more."""
    present: list[str] = field(default_factory=list)
    keys: dict[bytes, bytes] = field(default_factory=dict)
    """The relay's session key of each epoch."""
    sending: Sending | None = None
    wanted: set[bytes] = field(default_factory=set)
    """Devices whose prekeys have been asked for."""
    asked: set[bytes] = field(default_factory=set)
    """Devices that asked for our key."""
    receiving: dict[tuple[bytes, bytes], Receiving] = field(default_factory=dict)
    """By device and sid."""
    held: list[Arrived] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    questions: set[tuple[bytes, bytes]] = field(default_factory=set)
    shown: set[tuple[bytes, bytes]] = field(default_factory=set)
    """Identity key and message id of what was heard."""


@dataclass(slots=True)
class Person:
    """Keys, and all that outlives a link."""

    keys: sc1.Keys
    pins: dict[str, bytes] = field(default_factory=dict)
    """The identity key that each name had first, or that was accepted."""
    changed: dict[str, bytes] = field(default_factory=dict)
    """Names that another identity key has shown itself under."""
    rooms: dict[str, Room] = field(default_factory=dict)
    pending: dict[bytes, Pending] = field(default_factory=dict)

    def meet(self, name: str, identity: bytes) -> None:
        """Pin a key, or note that another one is pinned."""
        if self.pins.setdefault(name, identity) != identity:
            self.changed[name] = identity
