"""Rooms: who is in them, under which epoch and session key, and in which order they hear what.

All that members ask for (enter, leave, post) goes into one queue in the order of arrival, and is carried out at
the end of the turn:

- posts become one batch for the log, and are acknowledged and delivered once the log has kept it;
- a change of members waits until the posts before it are kept, so that nobody gets a message of an epoch without
  its key, and every `Ack` of an epoch leaves before the next `SessionKey`;
- all changes of one room in one turn make one new epoch.

One `Delivery` is built for all that a room was told in a batch and is written to every member but its sender;
where several members posted in the same batch it goes to all of them, and each skips what is its own.
No socket and no clock in here.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import urandom
from typing import Final, Protocol

from securechat.relay.log import MessageLog, Outcome, Run
from securechat.wire.codes import Code
from securechat.wire.framing import frame
from securechat.wire.messages import (
    FRAME_BYTES,
    ROOM_MEMBERS,
    RUN_ITEMS,
    Ack,
    Declined,
    Delivery,
    Post,
    Presence,
    Roster,
    SessionKey,
)
from securechat.wire.names import direct_pair, is_room

_ITEM_BYTES: Final = 32 + 2 + 9 + 5
"""What an item of a `Delivery` can take besides its sealed bytes: name, array, time, lengths."""

_RUN_BYTES: Final = FRAME_BYTES - 128
"""What the items of a `Delivery` may take together."""


class Member(Protocol):
    """Somebody who is logged in, as rooms see them."""

    name: str

    def put(self, data: bytes) -> None:
        """Take a frame; nothing happens where the link is gone."""

    def answered(self, posts: int) -> None:
        """So many posts were acknowledged or declined."""


Found = Callable[[str], Member | None]
"""Finds who is logged in under a name."""


@dataclass(slots=True, eq=False)
class Room:
    """A room with at least one member."""

    name: str
    members: dict[str, Member] = field(default_factory=dict)
    epoch: bytes = b""
    key_frame: bytes = b""
    """The `SessionKey` of this epoch as it travels."""


@dataclass(slots=True, frozen=True)
class _Change:
    """Somebody enters or leaves."""

    member: Member
    room: str
    enters: bool


@dataclass(slots=True, eq=False)
class _Posts:
    """Somebody posts: all that they have sent for one epoch of one room without anybody in between."""

    member: Member
    room: str
    epoch: bytes
    items: list[tuple[bytes, bytes]]


class Rooms:
    """Every room of a relay."""

    def __init__(
        self,
        log: MessageLog,
        at_end_of_turn: Callable[[Callable[[], None]], None],
        now_ms: Callable[[], int],
        find: Found,
        max_rooms: int,
        random: Callable[[int], bytes] = urandom,
    ) -> None:
        self._log = log
        self._at_end_of_turn = at_end_of_turn
        self._now_ms = now_ms
        self._find = find
        self._max_rooms = max_rooms
        self._random = random
        self._rooms: dict[str, Room] = {}
        self._rooms_of: dict[Member, set[str]] = {}
        self._queue: deque[_Change | _Posts] = deque()
        self._due = False
        """Whether `_carry_out` comes at the end of this turn."""
        self._keeping = False
        """Whether the log has a batch that it has not kept yet."""
        self._changed: dict[str, Room] = {}
        self.posts = 0
        self.deliveries = 0

    def enter(self, member: Member, room: str) -> None:
        """Make somebody a member of a room, in its turn."""
        self._ask(_Change(member, room, True))

    def leave(self, member: Member, room: str) -> None:
        """Take somebody out of a room, in its turn."""
        self._ask(_Change(member, room, False))

    def leave_all(self, member: Member) -> None:
        """Somebody is gone: out of every room, after what they asked for before."""
        self._ask(_Change(member, "", False))

    def post(self, member: Member, post: Post) -> None:
        """Pass a run of sealed messages on to the other members, in its turn."""
        last = self._queue[-1] if self._queue else None
        if (
            isinstance(last, _Posts)
            and last.member is member
            and last.epoch == post.epoch
            and last.room == post.room
            and len(last.items) + len(post.items) <= RUN_ITEMS
        ):
            # One read brought several frames: they are one run from here on, answered and delivered as one.
            last.items.extend(post.items)
        else:
            self._ask(_Posts(member, post.room, post.epoch, post.items))

    def _ask(self, request: _Change | _Posts) -> None:
        self._queue.append(request)
        self._go_on()

    def _go_on(self) -> None:
        if self._queue and not self._due and not self._keeping:
            self._due = True
            self._at_end_of_turn(self._carry_out)

    def _carry_out(self) -> None:
        self._due = False
        batch: list[_Posts] = []
        try:
            while self._queue:
                if batch and isinstance(self._queue[0], _Change):
                    # What was posted before is kept first, under the epoch that it was sealed for.
                    break
                # Taken out first: a request that fails is not tried again for ever.
                request = self._queue.popleft()
                if isinstance(request, _Posts):
                    batch.append(request)
                else:
                    self._change(request)
        finally:
            self._start_epochs()
            if batch:
                self._keep(batch)
            self._go_on()

    # Members.

    def _change(self, change: _Change) -> None:
        if change.enters:
            refusal = self._enter(change.member, change.room)
        elif change.room:
            refusal = None if self._leave(change.member, change.room) else Code.NOT_A_MEMBER
        else:
            refusal = None
            for name in sorted(self._rooms_of.get(change.member, ())):
                self._leave(change.member, name)
        if refusal is not None:
            change.member.put(frame(Declined(change.room, [], refusal)))

    def _enter(self, member: Member, name: str) -> Code | None:
        if not is_room(name):
            return Code.BAD_ROOM
        pair = direct_pair(name)
        if pair is not None and member.name not in pair:
            return Code.NOT_PERMITTED
        newcomers = [member]
        if pair is not None:
            # The other one of a direct room need not ask: whoever is here hears that somebody wants to talk.
            # Half of the rooms that one may be in stay for those that one asks for: strangers cannot fill them.
            other = self._find(pair[0] if pair[1] == member.name else pair[1])
            if other is not None and self._obstacle(other, name, (self._max_rooms + 1) // 2) is None:
                newcomers.append(other)
        refusal = self._obstacle(member, name, self._max_rooms)
        if refusal is None:
            self._admit(name, newcomers)
        return refusal

    def _obstacle(self, member: Member, name: str, rooms: int) -> Code | None:
        """What keeps somebody who may be in so many rooms out of one, if they are not in it already."""
        room = self._rooms.get(name)
        if room is not None:
            if member.name in room.members:
                return None
            if len(room.members) >= ROOM_MEMBERS:
                return Code.ROOM_FULL
        return Code.TOO_MANY_ROOMS if len(self._rooms_of.get(member, ())) >= rooms else None

    def _admit(self, name: str, asked: list[Member]) -> None:
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Room(name)
        newcomers = [member for member in asked if member.name not in room.members]
        for newcomer in newcomers:
            presence = frame(Presence(name, newcomer.name, True))
            for member in room.members.values():
                if member not in newcomers:
                    member.put(presence)
            room.members[newcomer.name] = newcomer
            self._rooms_of.setdefault(newcomer, set()).add(name)
        if newcomers:
            self._changed[name] = room
        roster = frame(Roster(name, list(room.members), self._log.last_seq(name)))
        for member in newcomers:
            member.put(roster)
        if asked[0] not in newcomers:
            # Whoever asks again hears where things stand; the members are the same, so the epoch is too.
            asked[0].put(roster)
            if name not in self._changed:
                asked[0].put(room.key_frame)

    def _leave(self, member: Member, name: str) -> bool:
        """Take a member out; False where they were none."""
        room = self._rooms.get(name)
        if room is None or room.members.get(member.name) is not member:
            return False
        presence = frame(Presence(name, member.name, False))
        for each in room.members.values():
            each.put(presence)
        del room.members[member.name]
        self._rooms_of[member].discard(name)
        if not self._rooms_of[member]:
            del self._rooms_of[member]
        if room.members:
            self._changed[name] = room
        else:
            del self._rooms[name]
            self._changed.pop(name, None)
            self._log.forget(name)
        return True

    def _start_epochs(self) -> None:
        for room in self._changed.values():
            room.epoch = self._random(32)
            room.key_frame = frame(SessionKey(room.name, room.epoch, self._random(32)))
            for member in room.members.values():
                member.put(room.key_frame)
        self._changed.clear()

    # Messages.

    def _keep(self, batch: list[_Posts]) -> None:
        runs = [Run(posts.room, posts.member.name, posts.items, self._refusal(posts)) for posts in batch]
        self._keeping = True
        try:
            self._log.append(runs, lambda outcomes: self._kept(batch, runs, outcomes))
        except Exception:
            if self._keeping:
                self._not_kept(batch)
            raise

    def _not_kept(self, batch: list[_Posts]) -> None:
        """The log has failed: whoever posted hears that it was in vain, and the relay goes on."""
        self._keeping = False
        for posts in batch:
            ids = [post_id for post_id, _ in posts.items]
            posts.member.put(frame(Declined(posts.room, ids, Code.FAILED)))
            posts.member.answered(len(ids))

    def _refusal(self, posts: _Posts) -> Code | None:
        room = self._rooms.get(posts.room)
        if room is None or room.members.get(posts.member.name) is not posts.member:
            return Code.NOT_A_MEMBER
        return None if posts.epoch == room.epoch else Code.STALE_EPOCH

    def _kept(self, batch: list[_Posts], runs: list[Run], outcomes: Sequence[list[Outcome]]) -> None:
        """The log has kept a batch: answer the senders and tell the others."""
        self._keeping = False
        now = self._now_ms()
        told: dict[str, _Telling] = {}
        for posts, run, results in zip(batch, runs, outcomes, strict=True):
            self._answer(posts.member, run, results)
            if run.refusal is None:
                telling = told.get(run.room)
                if telling is None:
                    telling = told[run.room] = _Telling()
                telling.add(run, results, now)
        for name, telling in told.items():
            if telling.count:
                self._tell(self._rooms[name], telling)
        self._go_on()

    def _answer(self, member: Member, run: Run, results: list[Outcome]) -> None:
        acked = [(post_id, seq) for (post_id, _), (seq, _) in zip(run.items, results, strict=True) if seq]
        if acked:
            member.put(frame(Ack(run.room, acked)))
        if run.refusal is not None and len(acked) < len(results):
            declined = [post_id for (post_id, _), (seq, _) in zip(run.items, results, strict=True) if not seq]
            member.put(frame(Declined(run.room, declined, run.refusal)))
        self.posts += len(acked)
        member.answered(len(results))

    def _tell(self, room: Room, telling: "_Telling") -> None:
        only = next(iter(telling.senders)) if len(telling.senders) == 1 else None
        for data in telling.frames(room.name):
            for name, member in room.members.items():
                if name != only:
                    member.put(data)
        self.deliveries += telling.count * (len(room.members) - (only is not None))


class _Telling:
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
