"""What one room is told of one batch of posts: `Delivery`s that are built once for all."""

from typing import Final

from securechat.relay.log import Outcome, Run
from securechat.wire.framing import frame
from securechat.wire.messages import FRAME_BYTES, RUN_ITEMS, Delivery

_ITEM_BYTES: Final = 32 + 2 + 9 + 5
"""What an item of a `Delivery` can take besides its sealed bytes: name, array, time, lengths."""

_RUN_BYTES: Final = FRAME_BYTES - 128
"""What the items of a `Delivery` may take together."""


class Telling:
    """What one room is told at once, in the order of its numbers."""

    __slots__ = ("_bytes", "_next", "_runs", "count", "senders")

    def __init__(self) -> None:
        self._runs: list[tuple[int, list[tuple[str, int, bytes]]]] = []
        self._bytes = 0
        self._next = 0
        self.count = 0
        self.senders: set[str] = set()

    def add(self, run: Run, results: list[Outcome]) -> None:
        """Tell what is new in a run; numbers of one batch follow each other."""
        before = self.count
        for (_, sealed), (seq, fresh) in zip(run.items, results, strict=True):
            if fresh:
                self.say(seq, run.sender, run.time_ms, sealed)
        if self.count > before:
            self.senders.add(run.sender)

    def say(self, seq: int, sender: str, time_ms: int, sealed: bytes) -> None:
        """Tell one message; where its number does not follow the one before, a `Delivery` begins with it."""
        size = len(sealed) + _ITEM_BYTES
        self._bytes += size
        if seq != self._next or self._bytes > _RUN_BYTES or len(self._runs[-1][1]) == RUN_ITEMS:
            self._runs.append((seq, []))
            self._bytes = size
        self._runs[-1][1].append((sender, time_ms, sealed))
        self._next = seq + 1
        self.count += 1

    def frames(self, room: str) -> list[tuple[int, bytes]]:
        """The room's `Delivery`s, each of which fits a frame, and the number that each begins with."""
        return [(first_seq, frame(Delivery(room, first_seq, items))) for first_seq, items in self._runs]
