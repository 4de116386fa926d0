"""What one room is told of one batch of posts: `Delivery`s that are built once for all."""

from collections.abc import Iterable
from typing import Final

from securechat.relay.log import Outcome, Run
from securechat.wire.framing import frame
from securechat.wire.messages import FRAME_BYTES, RUN_ITEMS, Delivery

_ITEM_BYTES: Final = 32 + 2 + 9 + 5
"""What an item of a `Delivery` can take besides its sealed bytes: name, array, time, lengths."""

_RUN_BYTES: Final = FRAME_BYTES - 128
"""What the items of a `Delivery` may take together."""


Item = tuple[str, int, bytes]
"""Who said it, when the relay took it, and what was said, sealed."""


class Telling:
    """What one room is told at once, in the order of its numbers."""

    __slots__ = ("_bytes", "_items", "_next", "_runs", "count", "senders")

    def __init__(self) -> None:
        self._runs: list[tuple[int, list[Item]]] = []
        self._items: list[Item] = []
        """Those of the last run."""
        self._bytes = 0
        self._next = 0
        self.count = 0
        self.senders: set[str] = set()

    def add(self, run: Run, results: list[Outcome]) -> None:
        """Tell what is new in a run; numbers of one batch follow each other."""
        sender, time_ms = run.sender, run.time_ms
        fresh = [
            (seq, (sender, time_ms, sealed))
            for (_, sealed), (seq, is_new) in zip(run.items, results, strict=True)
            if is_new
        ]
        if fresh:
            self.senders.add(sender)
            self.say(fresh)

    def say(self, messages: Iterable[tuple[int, Item]]) -> None:
        """Tell messages; where a number does not follow the one before, a `Delivery` begins with it."""
        size, follows, items = self._bytes, self._next, self._items
        for seq, item in messages:
            more = len(item[2]) + _ITEM_BYTES
            size += more
            if seq != follows or size > _RUN_BYTES or len(items) == RUN_ITEMS:
                items = []
                self._runs.append((seq, items))
                size = more
            items.append(item)
            follows = seq + 1
            self.count += 1
        self._bytes, self._next, self._items = size, follows, items

    def frames(self, room: str) -> list[tuple[int, bytes]]:
        """The room's `Delivery`s, each of which fits a frame, and the number that each begins with."""
        return [(first_seq, frame(Delivery(room, first_seq, items))) for first_seq, items in self._runs]
