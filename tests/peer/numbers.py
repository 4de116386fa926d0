"""Which messages of a room are known, by their numbers: docs/PROTOCOL.md, Coming back."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Numbers:
    """What has come of a room, and how much of it the relay has been told."""

    known: int = 0
    """All messages up to this number are known."""
    handed: int = 0
    """That of the last sealed keys that came."""
    told: tuple[int, int] = (0, 0)
    """What the relay was told last of the two."""
    _beyond: set[int] = field(default_factory=set)
    """Numbers that are known too, while lower ones are not: our own are acknowledged before those are delivered."""

    @property
    def news(self) -> tuple[int, int]:
        """What the relay may be told once it is stored."""
        return self.known, self.handed

    def take(self, number: int) -> bool:
        """A message came, or one of ours was acknowledged; whether it is news."""
        if number <= self.known or number in self._beyond:
            return False
        self._beyond.add(number)
        self._go_on()
        return True

    def skip(self, first: int, last: int) -> bool:
        """Nothing comes under these numbers; whether that is news. What it leaves open before it stays so."""
        news = first <= self.known + 1 and last > self.known
        if news:
            self.known = last
            self._go_on()
        return news

    def _go_on(self) -> None:
        while self.known + 1 in self._beyond:
            self.known += 1
        self._beyond = {number for number in self._beyond if number > self.known}
