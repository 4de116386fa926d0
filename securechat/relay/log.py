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
"""Ids of each room that are remembered at least; up to twice as many are. `recall` finds older ones."""


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


Recalled = Callable[[bool], None]
"""Called with whether it is known now; False where it could not be read."""

Outcome = tuple[int, bool]
"""A message's number in its room and whether it is new; the number is 0 where the message was refused."""


class MessageLog(Protocol):
    """Where messages are kept."""

    def append(self, runs: Sequence[Run], kept: Callable[[Sequence[list[Outcome]]], None]) -> None:
        """Keep a batch in its order, then call `kept` with each run's outcomes. One batch at a time."""

    def remembers(self, room: str, after: int) -> bool:
        """Whether `append` knows the ids of all messages of a room with numbers above `after`."""

    def recall(self, room: str, sender: str, post_id: bytes, after: int, recalled: Recalled) -> None:
        """Look whether a message was taken under a number above `after`, however long ago; later call `recalled`.

        From then on `append` knows of it, until so many others are taken as are remembered.
        """

    def last_seq(self, room: str) -> int:
        """The number of the room's last message, 0 before the first."""

    def forget(self, room: str) -> None:
        """Nobody is in this room any more."""


@dataclass(slots=True)
class _RoomLog:
    """The numbers of one room. Ids live in two generations: a full young one becomes the old one."""

    last_seq: int = 0
    young_after: int = 0
    """The ids of messages with higher numbers are among the young."""
    old_after: int = 0
    """Those of messages with higher numbers than this are remembered."""
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
        refused = run.refusal is not None
        young, old, seq = room.young, room.old, room.last_seq
        outcomes: list[Outcome] = []
        keys = self._keys(run)
        for key in keys:
            known = young.get(key) or old.get(key)
            if known:
                outcomes.append((known, False))
            elif refused:
                outcomes.append((0, False))
            else:
                seq += 1
                young[key] = seq
                outcomes.append((seq, True))
        if seq > room.last_seq:
            room.last_seq = seq
            self._take(run, keys, outcomes)
        if len(young) >= self._recent_ids:
            room.old, room.young = young, {}
            room.old_after, room.young_after = room.young_after, seq
        return outcomes

    def remembers(self, room: str, after: int) -> bool:
        """Whether more cannot be known: nothing is remembered for longer."""
        return True

    def recall(self, room: str, sender: str, post_id: bytes, after: int, recalled: Recalled) -> None:
        """There is nowhere to look."""
        recalled(True)

    def _remembered_after(self, room: str) -> int:
        """The ids of a room's messages with higher numbers than this are remembered."""
        return self._rooms[room].old_after if room in self._rooms else 0

    def _remember(self, room: str, key: Hashable, seq: int) -> None:
        """Of an older message the id is remembered for a while, too."""
        if room in self._rooms:
            self._rooms[room].young[key] = seq

    def _keys(self, run: Run) -> Sequence[Hashable]:
        """What each message of a run is known by in its room."""
        sender = run.sender
        return [(sender, post_id) for post_id, _ in run.items]

    def _take(self, run: Run, keys: Sequence[Hashable], outcomes: Sequence[Outcome]) -> None:
        """Some messages of a run are new."""

    def last_seq(self, room: str) -> int:
        """The number of the room's last message, 0 before the first."""
        return self._rooms[room].last_seq if room in self._rooms else 0

    def restore(self, room: str, last_seq: int, ids: Mapping[Hashable, int]) -> None:
        """Go on with a room that was kept, and what its latest messages are known by."""
        self._rooms[room] = _RoomLog(last_seq, last_seq, last_seq - len(ids), old=dict(ids))

    def forget(self, room: str) -> None:
        """Drop the room's numbers and ids."""
        self._rooms.pop(room, None)
