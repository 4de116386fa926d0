"""From a `Delivery` to what was said: opened as one batch off the reactor's thread, shown only where authentic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.client.events import Event, Message, Missed, Unreadable, time_of
from securechat.client.numbers import Numbers
from securechat.client.ordered import InOrder, Slot
from securechat.e2e.body import BodyError, unpack
from securechat.e2e.sessions import NoKeyError, SessionKeys
from securechat.wire.messages import Delivery


class Opener(Protocol):
    """Opens a batch; `CryptoWorker` does."""

    def open_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> Deferred[list[bytes | None]]:
        """Open (key, associated data, sealed), each; None for what is not authentic."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """One new message of a run; `wrong` says why it cannot be opened, if that is known before."""

    seq: int
    sender: str
    time: int
    wrong: str | None


class Hearing:
    """Opens what a client is told. `opening` is how many messages are on their way through the worker."""

    _log = Logger()

    def __init__(self, name: str, worker: Opener, keys: SessionKeys, events: InOrder) -> None:
        self.opening = 0
        self._name = name
        self._worker = worker
        self._keys = keys
        self._events = events

    def delivered(self, delivery: Delivery, numbers: Numbers) -> None:
        """A run of messages came for a room, in which `numbers` have come before."""
        opens: list[tuple[bytes, bytes, bytes]] = []
        run: list[_Heard] = []
        for seq, (sender, time, sealed) in enumerate(delivery.items, delivery.first_seq):
            if sender == self._name:
                # Our own, in a run that we share with others: the acknowledgement has told of it.
                numbers.own(seq)
                continue
            new, missing = numbers.came(seq)
            if missing is not None:
                self._events.tell(Missed(delivery.room, *missing))
            if not new:
                continue
            wrong = None
            try:
                opens.append(self._keys.to_open(delivery.room, sender, sealed))
            except NoKeyError as no_key:
                wrong = str(no_key)
            run.append(_Heard(seq, sender, time, wrong))
        if not run:
            return
        slot = self._events.hold()
        self.opening += len(run)
        opening = self._worker.open_many(opens)
        opening.addCallbacks(self._opened, self._failed, (delivery.room, run, slot), {}, (delivery.room, run, slot))
        opening.addErrback(lambda failure: self._log.failure("telling what was heard failed", failure))

    def _opened(self, texts: list[bytes | None], room: str, run: list[_Heard], slot: Slot) -> None:
        self.opening -= len(run)
        opened = iter(texts)
        slot.fill([self._event(heard, room, opened) for heard in run])

    def _event(self, heard: _Heard, room: str, opened: Iterator[bytes | None]) -> Event:
        when = time_of(heard.time)
        wrong = heard.wrong
        if wrong is None:
            plaintext = next(opened)
            if plaintext is None:
                wrong = "it is not authentic: somebody changed it, or sealed it with another key"
            else:
                try:
                    return Message(room, heard.sender, unpack(plaintext).text, when, heard.seq)
                except BodyError as bad:
                    wrong = str(bad)
        return Unreadable(room, heard.sender, when, heard.seq, wrong)

    def _failed(self, failure: Failure, room: str, run: list[_Heard], slot: Slot) -> None:
        self.opening -= len(run)
        self._log.failure("opening a batch failed", failure)
        why = "opening it failed on this machine"
        slot.fill([Unreadable(room, each.sender, time_of(each.time), each.seq, why) for each in run])
