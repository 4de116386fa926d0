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
    """What one room is told in one batch."""

    __slots__ = ("_bytes", "_runs", "count", "senders")

    def __init__(self) -> None:
        self._runs: list[tuple[int, list[tuple[str, int, bytes]]]] = []
        self._bytes = 0
        self.count = 0
        self.senders: set[str] = set()

    def add(self, run: Run, results: list[Outcome], time: int) -> None:
        """Tell what is new in a run; numbers of one batch follow each other."""
        sender = run.sender
        size = self._bytes
        items = self._runs[-1][1] if self._runs else None
        before = self.count
        for (_, sealed), (seq, fresh) in zip(run.items, results, strict=True):
            if fresh:
                size += len(sealed) + _ITEM_BYTES
                if items is None or size > _RUN_BYTES or len(items) == RUN_ITEMS:
                    items = []
                    self._runs.append((seq, items))
                    size = len(sealed) + _ITEM_BYTES
                items.append((sender, time, sealed))
                self.count += 1
        self._bytes = size
        if self.count > before:
            self.senders.add(sender)

    def frames(self, room: str) -> list[bytes]:
        """The room's `Delivery`s, each of which fits a frame."""
        return [frame(Delivery(room, first_seq, items)) for first_seq, items in self._runs]
