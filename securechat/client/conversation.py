"""The rooms as their user sees them: commands in, messages of the wire in, events out. No socket, no screen.

What is said in a room waits in that room's outbox until the relay has acknowledged it, and survives the loss of a
link: on a new link, and for a new epoch, it is sealed and posted again under the same id, in the same order.
Events come out in the order of what caused them, also where a message must be opened first.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from os import urandom
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.client.events import (
    Entered,
    Error,
    Event,
    Joined,
    Keyed,
    Left,
    Link,
    Missed,
    Motd,
    NotEntered,
    NotSent,
    Sent,
)
from securechat.client.hearing import Hearing, Opener
from securechat.client.ordered import InOrder
from securechat.client.room import Pending, Room
from securechat.e2e.body import BodyError, check_text, pack_text
from securechat.e2e.sessions import SessionKeys
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from securechat.wire.names import direct_pair, direct_room, is_room, name_refusal

_POST_BYTES = wire.FRAME_BYTES - 256
_POST_ITEM_BYTES = 16 + 2 + 5 + 1


class Worker(Opener, Protocol):
    """Seals and opens batches off the reactor's thread; `CryptoWorker` does."""

    def seal_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> Deferred[list[bytes]]:
        """Seal (key, associated data, plaintext), each."""


class Conversation:
    """Everything that one user says and hears over one relay."""

    _log = Logger()

    def __init__(
        self,
        name: str,
        worker: Worker,
        send: Callable[[wire.FromClient], None],
        tell: Callable[[Event], None],
        random: Callable[[int], bytes] = urandom,
    ) -> None:
        self.name = name
        self._worker = worker
        self._send = send
        self._random = random
        self._keys = SessionKeys()
        in_order = InOrder(tell)
        self._tell = in_order.tell
        self._hearing = Hearing(name, worker, self._keys, in_order)
        self._rooms: dict[str, Room] = {}
        self._links = 0
        self._up = 0
        """Which link is up, counting them; 0 while there is none. What was begun on another one is dropped."""
        self._window = 0
        self._unanswered = 0

    # Commands. Each answers by events; what is impossible at once is an `Error` or a `NotSent`.

    def say(self, room: str, text: str, label: str | None = None) -> None:
        """Say something in a room; `label` is what the caller calls it in `Sent` and `NotSent`."""
        try:
            check_text(text)
        except BodyError as wrong:
            self._tell(NotSent(room, str(wrong), text, label))
            return
        if not is_room(room):
            self._tell(NotSent(room, REASONS[Code.BAD_ROOM], text, label))
            return
        state = self._rooms.get(room)
        if state is None and direct_pair(room) is None:
            self._tell(NotSent(room, REASONS[Code.NOT_A_MEMBER], text, label))
            return
        if state is None:
            state = self._rooms[room] = Room(room)
        pending = Pending(self._random(16), text, label)
        state.outbox[pending.post_id] = pending
        if direct_pair(room) is not None and not self._other_is_here(state):
            self._ask_to_enter(state)
        self._post(state)

    def direct(self, name: str, text: str, label: str | None = None) -> None:
        """Say something to one person alone."""
        room = self.direct_room(name)
        if room is None:
            self._tell(NotSent(f"@{name}", self._no_direct(name), text, label))
        else:
            self.say(room, text, label)

    def direct_room(self, name: str) -> str | None:
        """The room of us and one other; None where `name` is no name or our own."""
        if name == self.name or name_refusal(name) is not None:
            return None
        return direct_room(self.name, name)

    def _no_direct(self, name: str) -> str:
        return "this is your own name" if name == self.name else REASONS[name_refusal(name) or Code.BAD_NAME]

    def enter(self, room: str) -> None:
        """Enter a room, now and on every new link."""
        if not is_room(room):
            self._tell(Error(REASONS[Code.BAD_ROOM]))
            return
        state = self._rooms.setdefault(room, Room(room))
        state.stay = True
        state.leaving = False
        self._ask_to_enter(state)

    def leave(self, room: str) -> None:
        """Leave a room; what was said in it and not acknowledged is given up."""
        state = self._rooms.get(room)
        if state is None:
            self._tell(Error(REASONS[Code.NOT_A_MEMBER]))
            return
        state.stay = False
        state.leaving = True
        if self._up:
            self._send(wire.Leave(room))
        else:
            self._left(state)

    @property
    def rooms(self) -> list[str]:
        """The rooms that we are in, in the order in which we came to them."""
        return [room.name for room in self._rooms.values() if room.members is not None]

    def members(self, room: str) -> list[str]:
        """Who is in a room that we are in; empty for any other."""
        state = self._rooms.get(room)
        return list(state.members) if state is not None and state.members is not None else []

    @property
    def opening(self) -> int:
        """How many messages came that are not opened yet."""
        return self._hearing.opening

    @property
    def unacknowledged(self) -> int:
        """How many messages the relay has not acknowledged."""
        return sum(len(room.outbox) for room in self._rooms.values())

    # What the link tells.

    def link_up(self, welcome: wire.Welcome, relay: str, motd: str) -> None:
        """We are logged in: enter again where we were, and say again what was not acknowledged."""
        self._links += 1
        self._up = self._links
        self._window = welcome.limits.window
        self._unanswered = 0
        self._tell(Link(True, relay))
        if motd:
            self._tell(Motd(motd))
        for room in self._rooms.values():
            if room.stay or room.outbox:
                self._ask_to_enter(room)

    def link_down(self, relay: str, reason: str, retry_s: float | None) -> None:
        """The link is gone, and will be tried again in a while, or not."""
        if self._up:
            self._up = 0
            self._keys.forget_all()
            for room in list(self._rooms.values()):
                if room.leaving:
                    self._left(room)
                elif not room.stay and not room.outbox:
                    # A direct room that the other side opened lives as long as the link.
                    del self._rooms[room.name]
                room.members = None
                room.entering = False
                for pending in room.outbox.values():
                    pending.posted = False
        self._tell(Link(False, relay, reason, retry_s))

    def received(self, message: wire.FromRelay) -> None:
        """A message of the relay."""
        if isinstance(message, wire.Delivery):
            room = self._rooms.get(message.room)
            if room is not None:
                self._hearing.delivered(message, room.numbers)
        elif isinstance(message, wire.Ack):
            self._acknowledged(message)
        elif isinstance(message, wire.SessionKey):
            self._keyed(message)
        elif isinstance(message, wire.Declined):
            self._declined(message)
        elif isinstance(message, wire.Presence):
            self._presence(message)
        elif isinstance(message, wire.Roster):
            self._roster(message)

    # Members and keys.

    def _ask_to_enter(self, room: Room) -> None:
        if self._up and not room.entering:
            room.entering = True
            self._send(wire.Enter(room.name))

    def _other_is_here(self, room: Room) -> bool:
        return room.members is not None and len(room.members) == 2

    def _roster(self, roster: wire.Roster) -> None:
        room = self._rooms.get(roster.room)
        if room is None:
            if self.name not in (direct_pair(roster.room) or ()):
                # A relay can bring us into a direct room of ours, and into nothing else that we did not ask for.
                return
            room = self._rooms[roster.room] = Room(roster.room)
        again = room.members is not None
        room.entering = False
        room.members = list(roster.members)
        if not again:
            missed = room.numbers.entered(roster.last_seq)
            self._tell(Entered(room.name, list(roster.members)))
            if missed is not None:
                self._tell(Missed(room.name, *missed))
        pair = direct_pair(room.name)
        if pair is not None and not self._other_is_here(room):
            other = pair[0] if pair[1] == self.name else pair[1]
            for pending in self._take_all(room):
                self._tell(NotSent(room.name, f"{other} is not here", pending.text, pending.label))
        self._post(room)

    def _presence(self, presence: wire.Presence) -> None:
        room = self._rooms.get(presence.room)
        if room is None or room.members is None:
            return
        if presence.here:
            if presence.name not in room.members:
                room.members.append(presence.name)
            self._tell(Joined(room.name, presence.name))
            return
        if presence.name in room.members:
            room.members.remove(presence.name)
        if presence.name == self.name:
            self._left(room)
            return
        self._tell(Left(room.name, presence.name))
        if room.outbox and direct_pair(room.name) is not None:
            # What they did not get is declined. The answer brings them back, or says that they are gone.
            self._ask_to_enter(room)

    def _left(self, room: Room) -> None:
        self._forget(room)
        self._tell(Left(room.name, self.name))
        if room.stay:
            # We want to be back: an `Enter` was sent after the `Leave` that this answers, or is due now.
            again = self._rooms[room.name] = Room(room.name, stay=True, entering=room.entering)
            self._ask_to_enter(again)

    def _forget(self, room: Room, why: str = "you left the room before it was sent") -> None:
        for pending in self._take_all(room):
            self._tell(NotSent(room.name, why, pending.text, pending.label))
        self._keys.forget(room.name)
        self._rooms.pop(room.name, None)

    def _take_all(self, room: Room) -> list[Pending]:
        pending = list(room.outbox.values())
        room.outbox.clear()
        return pending

    def _keyed(self, message: wire.SessionKey) -> None:
        room = self._rooms.get(message.room)
        if room is None or message.epoch == self._keys.epoch(room.name):
            # The key of now again answers an `Enter` for a room that we are in; what was posted still counts.
            return
        self._keys.start(room.name, message.epoch, message.key)
        self._tell(Keyed(room.name, sha256(message.key).hexdigest()[:16], len(message.key)))
        # Every `Ack` of the epoch before has come by now, so whatever is left was declined or will be.
        for pending in room.outbox.values():
            pending.posted = False
        self._post(room)

    # What we say.

    def _post(self, room: Room) -> None:
        """Seal and post what waits, one batch at a time and as much as the relay's window has room for."""
        if room.sealing or not self._up or room.members is None:
            return
        if direct_pair(room.name) is not None and not self._other_is_here(room):
            return
        free = self._window - self._unanswered
        waiting = [pending for pending in room.outbox.values() if not pending.posted][: max(free, 0)]
        epoch = self._keys.epoch(room.name)
        if not waiting or epoch is None:
            return
        key, header, associated = self._keys.to_seal(room.name, self.name)
        link = self._up
        room.sealing = True
        # Two rooms must not count on the same part of the window.
        self._unanswered += len(waiting)
        sealing = self._worker.seal_many([(key, associated, pack_text(each.text)) for each in waiting])
        sealing.addCallbacks(
            self._sealed, self._seal_failed, (room, link, epoch, header, waiting), {}, (room, link, waiting)
        )
        sealing.addErrback(lambda failure: self._log.failure("posting failed", failure))

    def _sealed(
        self, sealed: list[bytes], room: Room, link: int, epoch: bytes, header: bytes, waiting: list[Pending]
    ) -> None:
        room.sealing = False
        if link != self._up:
            self._post(room)
            return
        if epoch != self._keys.epoch(room.name):
            self._unanswered -= len(waiting)
            self._post_everywhere()
            return
        items: list[tuple[bytes, bytes]] = []
        size = 0
        for pending, body in zip(waiting, sealed, strict=True):
            if pending.post_id not in room.outbox:
                self._unanswered -= 1
                continue
            if size + len(header) + len(body) + _POST_ITEM_BYTES > _POST_BYTES:
                self._send(wire.Post(room.name, epoch, items))
                items, size = [], 0
            items.append((pending.post_id, header + body))
            size += len(header) + len(body) + _POST_ITEM_BYTES
            pending.posted = True
        if items:
            self._send(wire.Post(room.name, epoch, items))
        self._post_everywhere()

    def _seal_failed(self, failure: Failure, room: Room, link: int, waiting: list[Pending]) -> None:
        self._log.failure("sealing failed", failure)
        room.sealing = False
        if link == self._up:
            self._unanswered -= len(waiting)
        # All that waits, as what comes after it would pass it by. What was posted before will be answered.
        for pending in [each for each in room.outbox.values() if not each.posted]:
            del room.outbox[pending.post_id]
            self._tell(NotSent(room.name, "it could not be sealed", pending.text, pending.label))
        self._post_everywhere()

    def _acknowledged(self, ack: wire.Ack) -> None:
        self._unanswered -= len(ack.items)
        room = self._rooms.get(ack.room)
        if room is not None:
            for post_id, seq in ack.items:
                pending = room.outbox.pop(post_id, None)
                room.numbers.own(seq)
                if pending is not None:
                    self._tell(Sent(room.name, seq, pending.text, pending.label))
        self._post_everywhere()

    def _declined(self, declined: wire.Declined) -> None:
        self._unanswered -= len(declined.ids)
        room = self._rooms.get(declined.room)
        if room is not None and not declined.ids:
            self._not_carried_out(room, declined.code)
        elif room is not None and declined.code is not Code.STALE_EPOCH:
            for post_id in declined.ids:
                pending = room.outbox.pop(post_id, None)
                if pending is not None:
                    self._tell(NotSent(room.name, REASONS[declined.code], pending.text, pending.label))
        # A stale epoch needs no answer: its new key comes, or has come, and posts them again.
        self._post_everywhere()

    def _not_carried_out(self, room: Room, code: Code) -> None:
        if code is Code.NOT_A_MEMBER:
            return  # a second `Leave`; `Presence` has answered the first
        if room.members is None:
            self._tell(NotEntered(room.name, REASONS[code]))
            self._forget(room, REASONS[code])
        else:
            self._tell(Error(f"{room.name}: {REASONS[code]}"))

    def _post_everywhere(self) -> None:
        """Part of the window may be free, on which every room has waited."""
        for room in list(self._rooms.values()):
            if room.outbox:
                self._post(room)
