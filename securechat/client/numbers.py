"""Which messages of a room have come, by their numbers, and which were missed."""


class Numbers:
    """The numbers seen in one room: nothing is shown twice, and a hole is noticed."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._ahead: set[int] = set()

    def entered(self, last_seq: int) -> tuple[int, int] | None:
        """We are in the room and its last message was `last_seq`; the span missed since we were here last.

        A number below what we know means that the room began anew, after we were gone.
        """
        expected, self._next = self._next, last_seq + 1
        if expected is not None and last_seq < max([expected - 1, *self._ahead]):
            expected = 1
        self._ahead.clear()
        return None if expected is None or last_seq < expected else (expected, last_seq)

    def own(self, seq: int) -> None:
        """A message of ours has this number. It may come before others that are numbered lower."""
        if self._next is not None and seq >= self._next:
            self._ahead.add(seq)
            self._advance()

    def came(self, seq: int) -> tuple[bool, tuple[int, int] | None]:
        """A message came: whether it is new, and the span that is missing before it."""
        if self._next is None:
            self._next = seq
        if seq < self._next or seq in self._ahead:
            return False, None
        missing = (self._next, seq - 1) if seq > self._next else None
        self._next = seq + 1
        self._ahead = {n for n in self._ahead if n > seq} if missing else self._ahead
        self._advance()
        return True, missing

    def _advance(self) -> None:
        assert self._next is not None
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1


class Absence:
    """Numbers that were given while we were away, told once it is known which of them are our own."""

    def __init__(self) -> None:
        self._span: tuple[int, int] | None = None
        self._own: set[int] = set()

    def add(self, first: int, last: int) -> None:
        """We are back, and these were given. After another absence of which nothing was told they are one."""
        self._span = (self._span or (first, last))[0], last

    def own(self, seq: int) -> None:
        """A message of ours has this number."""
        if self._span is not None:
            self._own.add(seq)

    def take(self) -> list[tuple[int, int]]:
        """The spans that were missed."""
        if self._span is None:
            return []
        first, last = self._span
        spans = []
        for seq in sorted(each for each in self._own if first <= each <= last):
            if first < seq:
                spans.append((first, seq - 1))
            first = seq + 1
        if first <= last:
            spans.append((first, last))
        self._span = None
        self._own.clear()
        return spans
