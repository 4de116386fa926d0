"""Messages that came when too many waited for their keys already: let fall, and fetched again when there is room.

A sender's messages of a session whose key has not come wait, within bounds. What comes beyond these is told as
unreadable, and only its number is kept; the relay is asked for it once more when what waits could be opened.
"""

from typing import Final

MOST: Final = 1_024
"""So many numbers are kept for a room, the latest, and none so far behind what is known: a member could otherwise
have us fetch all that was ever said, again and again, for one message that nobody can open."""


class Dropped:
    """The numbers of what was let fall in one room."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._told: dict[int, None] = {}
        """In the order in which they fell."""
        self._last = 0
        """The last number that is being fetched; 0 where nothing is."""

    @property
    def first(self) -> int | None:
        """The lowest number."""
        return min(self._numbers, default=None)

    def drop(self, seq: int) -> bool:
        """A message falls: whether nobody was told of it before."""
        is_first = seq not in self._told
        self._numbers.add(seq)
        self._told[seq] = None
        if len(self._told) > MOST:
            self._forget(next(iter(self._told)))
        return is_first

    def _forget(self, seq: int) -> None:
        self._numbers.discard(seq)
        self._told.pop(seq, None)

    def is_wanted(self, known: int) -> bool:
        """Whether there is anything to fetch; `known` is the number behind which everything else is asked for."""
        self.gone(0, known - MOST)
        return bool(self._numbers)

    def fetch(self, known: int) -> int:
        """All are asked for now, and so all that the relay has behind them; gives behind which number."""
        self.gone(0, known - MOST)
        self._last = max(self._numbers, default=0)
        return known if self.first is None else min(known, self.first - 1)

    def takes(self, seq: int, *, is_new: bool) -> bool:
        """A message comes: whether it is to be looked at. While we fetch, what we had is not."""
        is_fetching, is_ours = seq <= self._last, seq in self._numbers
        self._numbers.discard(seq)
        if seq >= self._last:
            self._last = 0
        return is_new or is_ours or not is_fetching

    def is_late(self, seq: int) -> bool:
        """Whether a message that was opened or refused now is one that fell; it is forgotten."""
        is_late = seq in self._told
        self._told.pop(seq, None)
        return is_late

    def gone(self, first: int, last: int) -> None:
        """The relay has nothing under these numbers any more."""
        for seq in [each for each in self._numbers if first <= each <= last]:
            self._forget(seq)
