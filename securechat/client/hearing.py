"""From a `Delivery` to what was said: checked and opened as one batch off the reactor's thread (SC1 §7, §8)."""

from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.client import events
from securechat.client.archive import Archive
from securechat.client.events import Event, Missed, Unreadable, time_of
from securechat.client.ledger import Ledger
from securechat.client.ordered import InOrder, Slot
from securechat.client.room import Room
from securechat.client.seldom import Seldom
from securechat.e2e.inbox import Batch
from securechat.e2e.outcomes import Arrived, Awaited, Held, Opened, Outcome, Refusal, Refused
from securechat.e2e.safety import Standing
from securechat.wire.messages import Ask, Delivery

ASKS: Final = 128
"""The most keys that we ask for in a minute: half of what the relay takes at once, so that members who send what
nobody can open do not have it end our link as a flood. Whatever waits still is asked for on the next link."""
ASKS_EACH: Final = 1
"""How often in a minute one key is asked for: the answer, or the question, may have been lost on the way."""

NOT_TOLD: Final = "the relay has not told us"

_KEY: Final = {
    Standing.FIRST: "first",
    Standing.PINNED: "",
    Standing.VERIFIED: "verified",
    Standing.CHANGED: "changed",
}


class Opener(Protocol):
    """Opens a batch; `CryptoWorker` does."""

    def open_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> Deferred[list[bytes | None]]:
        """Open (key, associated data, sealed), each; None for what is not authentic."""


class Hearing:
    """Opens what a client is told. `opening` is how many messages are on their way through the worker."""

    _log = Logger()

    def __init__(
        self,
        name: str,
        worker: Opener,
        tell: InOrder,
        send: Callable[[Ask], None],
        now_ms: Callable[[], int],
        keep: Callable[[], None],
        ledger: Ledger,
        archive: Archive,
        flush: Callable[[], None],
        ask: Callable[[Room], None],
    ) -> None:
        """Take who we are, the worker, where events go, what sends a question to the relay, and the clock.

        `keep` hears when messages were opened: the sessions have moved. What is told stands in the `ledger` and the
        `archive` before, which `flush` brings to the disk. `ask` asks the relay for a room.
        """
        self.opening = 0
        self._name = name
        self._worker = worker
        self._events = tell
        self._send = send
        self._now_ms = now_ms
        self._keep = keep
        self._ledger = ledger
        self._archive = archive
        self._flush = flush
        self._ask_for = ask
        self._asks = Seldom(ASKS)
        self._asks_each = Seldom(ASKS_EACH)

    def delivered(self, delivery: Delivery, room: Room) -> None:
        """A run of messages came for a room."""
        run: list[Arrived] = []
        arrived: dict[int, tuple[str, int]] = {}
        repeated: set[int] = set()
        for seq, (sender, time, sealed) in enumerate(delivery.items, delivery.first_seq):
            if sender == self._name:
                # Our own, in a run that we share with others: the acknowledgement has told of it.
                room.numbers.own(seq)
                continue
            new, missing = room.numbers.came(seq)
            if not room.dropped.takes(seq, is_new=new):
                continue
            if missing is not None:
                self._events.tell(Missed(delivery.room, *missing, NOT_TOLD))
            if not new or seq <= room.told_up_to:
                # By its number it came before. That is the relay's word, and the sender's session knows better.
                repeated.add(seq)
            run.append(Arrived(seq, sender, sealed))
            arrived[seq] = sender, time
        if run and room.secure is not None and room.fault is None:
            room.arrived.update(arrived)
            self._open(room, room.secure.receive(run, self._now_ms()), repeated=repeated)

    def retry(self, room: Room) -> None:
        """Something came that messages may have waited for."""
        if room.secure is not None and room.secure.held and room.fault is None:
            self._open(room, room.secure.retry(self._now_ms()), late=True)

    def ask_again(self, room: Room, sender: str | None = None) -> None:
        """Ask for all keys once more, or for those of one who has come: who was away has not heard it."""
        if room.secure is not None:
            for held in room.secure.awaited:
                if sender in (None, held.sender):
                    self._ask(room, held)

    def _open(
        self, room: Room, batch: Batch, *, late: bool = False, repeated: Collection[int] = frozenset()
    ) -> None:
        slot = self._events.hold()
        jobs = batch.jobs
        self.opening += len(jobs)
        opening = self._worker.open_many(jobs)
        opening.addCallbacks(
            self._opened,
            self._failed,
            (room, batch, slot, len(jobs), late, repeated),
            {},
            (room, batch, slot, len(jobs)),
        )
        opening.addErrback(lambda failure: self._log.failure("telling what was heard failed", failure))

    def _opened(
        self,
        texts: list[bytes | None],
        room: Room,
        batch: Batch,
        slot: Slot,
        count: int,
        late: bool,
        repeated: Collection[int],
    ) -> None:
        self.opening -= count
        told: list[Event] = []
        for outcome in batch.finish(texts):
            told += self._outcome(room, outcome, late, outcome.seq in repeated)
        messages = [event for event in told if isinstance(event, events.Message)]
        if messages and room.secure is not None:
            self._ledger.tell(room.secure.roster.room_id, [each.seq for each in messages])
            self._archive.keep(room.secure.roster, messages, self._now_ms())
            self._flush()
        slot.fill(told)
        self._keep()
        if late and messages and room.dropped.is_wanted(room.numbers.known):
            # There is room again, and the key of what fell may be here.
            self._ask_for(room)

    def _failed(self, failure: Failure, room: Room, batch: Batch, slot: Slot, count: int) -> None:
        self.opening -= count
        self._log.failure("opening a batch failed", failure)
        batch.finish([None] * count)
        slot.fill([events.Error(f"{room.name}: opening messages failed on this machine")])

    def _outcome(self, room: Room, outcome: Outcome, late: bool, repeated: bool) -> list[Event]:
        sender, time = room.arrived.get(outcome.seq, ("", 0))
        if isinstance(outcome, Held):
            # Where it is asked for once only, a relay that loses that takes every message until the next link.
            again = not late and self._asks_each.may((room.name, outcome.wanted), self._now_ms())
            if outcome.ask or again:
                self._ask(room, outcome)
            when = time_of(time)
            reason = f"it waits for {outcome.awaited}"
            return [] if late else [events.Held(room.name, outcome.sender, when, outcome.seq, reason)]
        room.arrived.pop(outcome.seq, None)
        if isinstance(outcome, Refused) and outcome.refusal is Refusal.TOO_MANY_HELD:
            fell = room.dropped.drop(outcome.seq)
            return [Unreadable(room.name, sender, time_of(time), outcome.seq, str(outcome.refusal))] if fell else []
        late = room.dropped.is_late(outcome.seq) or late
        if isinstance(outcome, Refused):
            if repeated and outcome.refusal is Refusal.REPLAYED:
                return []
            return [Unreadable(room.name, sender, time_of(time), outcome.seq, str(outcome.refusal))]
        return self._message(room, outcome, time, late)

    def _message(self, room: Room, opened: Opened, time: int, late: bool) -> list[Event]:
        told: list[Event] = []
        name = opened.sender.name
        if opened.gap is not None:
            told.append(events.Gap(room.name, name, *opened.gap))
        if room.is_new(opened.sender.identity, opened.said.message_id):
            told.append(
                events.Message(
                    room.name,
                    name,
                    opened.said.text,
                    time_of(time),
                    opened.seq,
                    _KEY[opened.standing],
                    late or opened.is_late,
                    opened.is_forked,
                    opened.is_former,
                    self._was_told(room, opened),
                )
            )
        return told

    def _was_told(self, room: Room, opened: Opened) -> bool:
        """Whether the last run of the program was killed when it had told a message, or was about to."""
        return room.secure is not None and self._ledger.was_told(room.secure.roster.room_id, opened.seq)

    def _ask(self, room: Room, held: Held) -> None:
        """Ask the sender's device for the key of a session; log and session keys come by themselves."""
        assert room.secure is not None
        member = room.secure.roster.named_at(held.sender, held.epoch)
        if held.awaited is not Awaited.SENDER_KEY or member is None:
            return
        if self._asks.may(None, self._now_ms()):
            self._send(Ask(room.name, member.device, held.sid))
