"""The journal: what happened is written down before anybody hears of it.

Everything happens in memory first, and each change adds a record. At the end of the reactor's turn the records
become one batch for the writer, and until that batch is committed nothing leaves: the outboxes flush through the
gate that the journal is (`at_end`, `is_open`), a link that closes waits for it as well. So what a client has
heard is always there after a restart, whatever ended the relay.

While a batch is being committed nothing happens that would add to the journal: rooms, logins and new prekeys wait
(`when_settled`). Otherwise a steady stream of changes could keep the gate closed for ever, as there would always
be something that is not committed yet; and what is in flight is bounded by it. Likewise nothing more happens once
there is enough for a batch. A commit that fails never comes
back, and so the gate stays closed.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.relay.records import Record
from securechat.wire.outbox import Turn

BATCH: Final = 256
"""Records that are enough for a batch. What happens at once may add more: a run of posts, the keys of a `Hand`."""

LATER_S: Final = 1.0
"""For how long a record that may get lost waits for company."""

Call = Callable[[], None]
Write = Callable[[list[Record], Call], None]
"""Commits a batch, one at a time, and then calls back on the reactor's thread."""


class Keeping(Protocol):
    """What the rest of the relay knows of its journal."""

    @property
    def is_open(self) -> bool:
        """Whether all that has happened is kept, so that frames may leave now."""

    @property
    def is_settled(self) -> bool:
        """Whether no batch is being committed or full, so that something may happen now."""

    @property
    def committing_s(self) -> float:
        """For how many seconds a batch has been under way; 0 where none is."""

    def at_end(self, call: Call) -> None:
        """Make `call`, which lets frames out, at the end of this turn or as soon as all is kept."""

    def at_turn_end(self, call: Call) -> None:
        """Make `call`, which lets nothing out, at the end of this turn, whatever is kept."""

    def add(self, record: Record) -> None:
        """Take a record that must be kept before anything else is said."""

    def add_later(self, record: Record) -> None:
        """Take a record that may get lost: what it is about would only be done once more."""

    def when_settled(self, call: Call) -> None:
        """Make `call`, which may add records: at once, or as soon as the batch is kept that is being committed."""

    def at_settled_end(self, call: Call) -> None:
        """The same at the end of this turn at the earliest."""


class Unkept:
    """The journal of a relay that forgets everything when it ends."""

    is_open: Final = True
    is_settled: Final = True
    committing_s: Final = 0.0

    def __init__(self, turn: Turn) -> None:
        self.at_end = self.at_settled_end = self.at_turn_end = turn.at_end

    def add(self, record: Record) -> None:
        """Nothing is kept."""

    def add_later(self, record: Record) -> None:
        """Nothing is kept."""

    def when_settled(self, call: Call) -> None:
        """Make `call` at once."""
        call()


class Journal:
    """The records of a relay that are not committed yet, and the gate."""

    def __init__(self, clock: IReactorTime, turn: Turn, write: Write) -> None:
        self.at_turn_end = turn.at_end
        self._clock = clock
        self._turn = turn
        self._write = write
        self._records: list[Record] = []
        self._due = False
        """Whether there is a record that frames have to wait for, and no commit of it is under way."""
        self._committing = False
        self._began_s = 0.0
        self.commits = 0
        """Batches that were kept."""
        self.committing_total_s = 0.0
        """How long they took, from when each was handed over until it was known to be kept."""
        self.waited_total_s = 0.0
        """How long the first of each batch has waited, from when it was asked for until it was known to be kept."""
        self._first_s: float | None = None
        """Since when the first of the next batch waits."""
        self._committing_first_s = 0.0
        """The same of the one that is being committed."""
        self._flushes: list[Call] = []
        self._waiting: deque[tuple[float, Call]] = deque()
        """With the time since when they wait."""
        self._later: IDelayedCall | None = None
        self._emptied: Deferred[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether all that has happened is kept, so that frames may leave now."""
        return not (self._due or self._committing)

    @property
    def is_settled(self) -> bool:
        """Whether no batch is being committed or full, so that something may happen now."""
        return not self._committing and len(self._records) < BATCH

    @property
    def committing_s(self) -> float:
        """For how many seconds a batch has been under way; 0 where none is."""
        return self._clock.seconds() - self._began_s if self._committing else 0.0

    @property
    def backlog(self) -> int:
        """How much waits to be committed: records, and what has been asked for and may add some."""
        return len(self._records) + len(self._waiting)

    def at_end(self, call: Call) -> None:
        """Make `call`, which lets frames out, at the end of this turn or as soon as all is kept."""
        self._turn.at_end(partial(self._pass, call))

    def _pass(self, call: Call) -> None:
        if self.is_open:
            call()
        else:
            self._flushes.append(call)

    def add(self, record: Record) -> None:
        """Take a record that must be kept before anything else is said."""
        self._records.append(record)
        self._commit_soon()

    def add_later(self, record: Record) -> None:
        """Take a record that may get lost: what it is about would only be done once more."""
        self._records.append(record)
        if self._later is None:
            self._later = self._clock.callLater(LATER_S, self._is_later)

    def _is_later(self) -> None:
        self._later = None
        if self._records:
            self._commit_soon()

    def _commit_soon(self) -> None:
        if not self._due:
            self._due = True
            if self._first_s is None:
                self._first_s = self._clock.seconds()
            # From within the end of the turn, so that what else comes at this end is of the same batch.
            self._turn.at_end(lambda: self._turn.at_end(self._commit))

    def _commit(self) -> None:
        if self._committing:
            return
        records, self._records = self._records, []
        self._due = False
        self._committing = True
        self._began_s = self._clock.seconds()
        self._committing_first_s = self._began_s if self._first_s is None else self._first_s
        self._first_s = None
        self._write(records, self._committed)

    def _committed(self) -> None:
        self._committing = False
        self.commits += 1
        now = self._clock.seconds()
        self.committing_total_s += now - self._began_s
        self.waited_total_s += now - self._committing_first_s
        if self._due:
            self._commit()
            return
        flushes, self._flushes = self._flushes, []
        for call in flushes:
            self._turn.make(call)
        while self._waiting and self.is_settled:
            since, call = self._waiting.popleft()
            self._first_s = since if self._first_s is None else self._first_s
            self._turn.make(call)
        if self._waiting:
            self._commit_soon()
        if not self._due:
            # What was asked for came to nothing that is kept.
            self._first_s = None
        self._look_whether_empty()

    def when_settled(self, call: Call) -> None:
        """Make `call`, which may add records: at once, or as soon as the batch is kept that is being committed."""
        if self.is_settled:
            call()
            return
        self._waiting.append((self._clock.seconds(), call))
        if not self._committing:
            self._commit_soon()

    def at_settled_end(self, call: Call) -> None:
        """The same at the end of this turn at the earliest."""
        self._turn.at_end(partial(self.when_settled, call))

    def finish(self) -> Deferred[None]:
        """Fires when everything is committed, what may get lost as well; after that nothing may be added."""
        emptied: Deferred[None] = Deferred()
        self._emptied = emptied
        self._look_whether_empty()
        return emptied

    def _look_whether_empty(self) -> None:
        if self._emptied is None:
            return
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._records:
            self._commit_soon()
        elif self.is_open:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)
