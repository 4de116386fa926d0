"""Which messages of a room have come, by their numbers, and which were missed."""


class Numbers:
    """The numbers seen in one room: nothing is shown twice, and a hole is noticed."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._ahead: set[int] = set()

    @property
    def known(self) -> int:
        """The number up to which we know of all messages what became of them; 0 where we know of none."""
        return 0 if self._next is None else self._next - 1

    @property
    def top(self) -> int:
        """The highest number that has come."""
        return max([self.known, *self._ahead])

    def go_on(self, known: int) -> None:
        """Go on from where the last run of the program had come to."""
        self._next = known + 1

    def begin(self, last_seq: int) -> tuple[int, int] | None:
        """From now on we hear everything, and what is above `last_seq` is new.

        A number below what we know means that the room began anew, after we were gone: gives what was missed then.
        """
        is_anew = last_seq < self.top
        if is_anew or last_seq > self.known or self._next is None:
            self._next = last_seq + 1
            self._ahead.clear()
        return (1, last_seq) if is_anew and last_seq else None

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

    def passed(self, first: int, last: int) -> tuple[int, int] | None:
        """There is nothing under these numbers: gives those of them that we were waiting for."""
        if self._next is None:
            self._next = last + 1
            return None
        if last < self._next or first > self._next:
            return None
        first, self._next = self._next, last + 1
        self._ahead = {n for n in self._ahead if n > last}
        self._advance()
        return first, last

    def _advance(self) -> None:
        assert self._next is not None
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1


class Absence:
    """Numbers under which nothing comes, told once it is known which of them are our own."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int, str]] = []
        self._own: set[int] = set()

    def add(self, first: int, last: int, reason: str) -> None:
        """These do not come, and why."""
        self._spans.append((first, last, reason))

    def own(self, seq: int) -> None:
        """A message of ours has this number."""
        if self._spans:
            self._own.add(seq)

    def take(self) -> list[tuple[int, int, str]]:
        """The spans that were missed."""
        missed = []
        for first, last, reason in self._spans:
            for seq in sorted(each for each in self._own if first <= each <= last):
                if first < seq:
                    missed.append((first, seq - 1, reason))
                first = seq + 1
            if first <= last:
                missed.append((first, last, reason))
        self._spans.clear()
        self._own.clear()
        return missed
