"""The log of messages: numbers them, remembers their ids, and says when they are safe.

`MessageLog` is the seam for the durable log: posts go in as one batch, and what became of them comes back once
they are kept. `MemoryLog` keeps no text at all: numbers and recent ids only, so that a repeated post is
answered as the first one was.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from securechat.wire.codes import Code

RECENT_IDS: Final = 4_096
"""Ids of each room that are remembered at least; up to twice as many are. Older ones would count as new."""


class Run(msgspec.Struct, frozen=True, gc=False):
    """Sealed messages of one sender for one room; a `refusal` holds for those whose id is not known yet."""

    room: str
    sender: str
    items: list[tuple[bytes, bytes]]
    refusal: Code | None
    epoch: bytes = b""
    """The one that they are sealed for."""
    time_ms: int = 0
    """When they were taken."""
    keep_days: int = 0
    """For how long the room wants them to be kept."""


Outcome = tuple[int, bool]
"""A message's number in its room and whether it is new; the number is 0 where the message was refused."""


class MessageLog(Protocol):
    """Where messages are kept."""

    def append(self, runs: Sequence[Run], kept: Callable[[Sequence[list[Outcome]]], None]) -> None:
        """Keep a batch in its order, then call `kept` with each run's outcomes. One batch at a time."""

    def last_seq(self, room: str) -> int:
        """The number of the room's last message, 0 before the first."""

    def forget(self, room: str) -> None:
        """Nobody is in this room any more."""


@dataclass(slots=True)
class _RoomLog:
    """The numbers of one room. Ids live in two generations: a full young one becomes the old one."""

    last_seq: int = 0
    young: dict[Hashable, int] = field(default_factory=dict)
    old: dict[Hashable, int] = field(default_factory=dict)


class MemoryLog:
    """A log that lasts as long as its room has members; a batch is kept as soon as it is given."""

    def __init__(self, recent_ids: int = RECENT_IDS) -> None:
        self._recent_ids = recent_ids
        self._rooms: dict[str, _RoomLog] = {}

    def append(self, runs: Sequence[Run], kept: Callable[[Sequence[list[Outcome]]], None]) -> None:
        """Number the messages; of each only its id is remembered."""
        kept([self._append(run) for run in runs])

    def _append(self, run: Run) -> list[Outcome]:
        room = self._rooms.get(run.room)
        if room is None:
            room = _RoomLog()
            if run.refusal is None:
                self._rooms[run.room] = room
        sender, refused = run.sender, run.refusal is not None
        young, old, seq = room.young, room.old, room.last_seq
        outcomes: list[Outcome] = []
        for post_id, sealed in run.items:
            key = self._key(run.room, sender, post_id)
            known = young.get(key) or old.get(key)
            if known:
                outcomes.append((known, False))
            elif refused:
                outcomes.append((0, False))
            else:
                seq += 1
                young[key] = seq
                self._take(run, seq, key, post_id, sealed)
                outcomes.append((seq, True))
        room.last_seq = seq
        if len(young) >= self._recent_ids:
            room.old, room.young = young, {}
        return outcomes

    def _key(self, room: str, sender: str, post_id: bytes) -> Hashable:
        """What a message is known by in its room."""
        return sender, post_id

    def _take(self, run: Run, seq: int, key: Hashable, post_id: bytes, sealed: bytes) -> None:
        """A message is new and has a number."""

    def last_seq(self, room: str) -> int:
        """The number of the room's last message, 0 before the first."""
        return self._rooms[room].last_seq if room in self._rooms else 0

    def restore(self, room: str, last_seq: int, ids: Mapping[Hashable, int]) -> None:
        """Go on with a room that was kept, and what its latest messages are known by."""
        self._rooms[room] = _RoomLog(last_seq, old=dict(ids))

    def forget(self, room: str) -> None:
        """Drop the room's numbers and ids."""
        self._rooms.pop(room, None)
