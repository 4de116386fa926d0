"""Rooms: what clients ask of them, in which order it is carried out, and the messages in them.

All that concerns a room goes into one queue in the order of arrival, and is carried out at the end of the turn:

- posts become one batch for the log, and are acknowledged and delivered once the log has kept it; batches are
  bounded, and what is left is the next one;
- an entry, an `Enter` and the loss of a link wait until the posts before them are kept, so that nobody gets a
  message of an epoch without its key, and every `Ack` of an epoch leaves before the `Roster` that ends it;
- all entries of one room in one turn share one `SessionKey` (see `memberships`);
- sealed keys and questions for them wait for nothing but their turn, as a client may take them in any order.

One `Delivery` is built for all that a room was told in a batch and is written to every member who is here
and not behind (see `behind`) but its sender; where several members posted in the same batch it goes to all of them,
and each skips what is its own.
No socket and no clock in here.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os import urandom

from securechat.relay.behind import Behind
from securechat.relay.bus import Bus
from securechat.relay.journal import BATCH, Keeping
from securechat.relay.limits import RelayLimits
from securechat.relay.log import MessageLog, Outcome, Recalled, Run
from securechat.relay.memberships import Memberships, People
from securechat.relay.pages import History, NoHistory
from securechat.relay.room import Client, Room
from securechat.relay.space import never
from securechat.relay.telling import Telling
from securechat.wire.codes import Code
from securechat.wire.framing import frame
from securechat.wire.messages import RUN_ITEMS, Ack, Append, Ask, Declined, Enter, Hand, Post, Repost, Seen


@dataclass(slots=True, frozen=True)
class _Request:
    """Somebody asks for something, or with nothing is gone."""

    client: Client
    what: Enter | Append | Hand | Ask | Seen | None


@dataclass(slots=True, eq=False)
class _Posts:
    """Somebody posts: all that they have sent for one epoch of one room without anybody in between."""

    client: Client
    room: str
    epoch: bytes
    items: list[tuple[bytes, bytes]]


class Rooms:
    """Every room of a relay."""

    def __init__(
        self,
        log: MessageLog,
        journal: Keeping,
        now_ms: Callable[[], int],
        people: People,
        limits: RelayLimits,
        bus: Bus,
        random: Callable[[int], bytes] = urandom,
        is_full: Callable[[], bool] = never,
        is_busy: Callable[[], bool] = never,
        history: History | None = None,
        expiry_ms: Callable[[], int] | None = None,
    ) -> None:
        self._bus = bus
        self.behind = Behind(history or NoHistory(), journal, bus, log.last_seq)
        self.memberships = Memberships(
            people, log, expiry_ms or now_ms, limits, journal, self.behind, random, is_full, is_busy
        )
        self.posts = 0
        self.deliveries = 0
        self.declined: Counter[str] = Counter()
        """Posts and requests that were declined, by code."""
        self._log = log
        self._journal = journal
        self._is_full = is_full
        self._now_ms = now_ms
        self._rooms = self.memberships.rooms
        self._queue: deque[_Request | _Posts] = deque()
        self._due = False
        """Whether `_carry_out` comes at the end of this turn, or when the journal is settled."""
        self._keeping = False
        """Whether the log has a batch that it has not kept yet."""

    def ask(self, client: Client, what: Enter | Append | Hand | Ask | Seen) -> None:
        """Do what somebody asks for, in its turn."""
        self._add(_Request(client, what))

    def last_seq(self, room: str) -> int:
        """The number of a room's last message."""
        return self._log.last_seq(room)

    def done_with(self) -> dict[str, int]:
        """Of rooms without a history: up to where nobody needs their messages any more."""
        return self.memberships.cursors.done_with(self._rooms.values())

    def gone(self, client: Client) -> None:
        """Somebody's link is lost: they are here no more, after what they asked for before."""
        self._add(_Request(client, None))

    def remembers(self, repost: Repost) -> bool:
        """Whether it is known already whether a message was taken before."""
        return self._log.remembers(repost.room, repost.after)

    def recall(self, client: Client, repost: Repost, recalled: Recalled) -> None:
        """Look whether somebody's message was taken before, whenever that was; then it can be posted again."""
        self._log.recall(repost.room, client.name, repost.post_id, repost.after, recalled)

    def post(self, client: Client, post: Post) -> None:
        """Pass a run of sealed messages on to the other members, in its turn."""
        last = self._queue[-1] if self._queue else None
        if (
            isinstance(last, _Posts)
            and last.client is client
            and last.epoch == post.epoch
            and last.room == post.room
            and len(last.items) + len(post.items) <= RUN_ITEMS
        ):
            # One read brought several frames: they are one run from here on, answered and delivered as one.
            last.items.extend(post.items)
        else:
            self._add(_Posts(client, post.room, post.epoch, post.items))

    def _add(self, request: _Request | _Posts) -> None:
        self._queue.append(request)
        self._go_on()

    def _go_on(self) -> None:
        if self._queue and not self._due and not self._keeping:
            self._due = True
            self._journal.at_settled_end(self._carry_out)

    def _carry_out(self) -> None:
        self._due = False
        batch: list[_Posts] = []
        count = 0
        try:
            while self._queue and count < BATCH and self._journal.is_settled:
                if batch and isinstance(self._queue[0], _Request) and _waits(self._queue[0]):
                    # What was posted before is kept first, under the epoch that it was sealed for.
                    break
                # Taken out first: a request that fails is not tried again for ever.
                request = self._queue.popleft()
                if isinstance(request, _Posts):
                    batch.append(request)
                    count += len(request.items)
                else:
                    self._do(request)
        finally:
            self.memberships.tell()
            if batch:
                self._keep(batch)
            self._go_on()

    def _do(self, request: _Request) -> None:
        client, what = request.client, request.what
        refusal = None
        if isinstance(what, Enter):
            refusal = self.memberships.enter(client, what)
        elif isinstance(what, Append):
            refusal = self.memberships.append(client, what)
        elif isinstance(what, Hand):
            self.memberships.hands.hand(client, what)
        elif isinstance(what, Ask):
            self.memberships.hands.ask(client, what)
        elif isinstance(what, Seen):
            self.memberships.seen(client, what)
        else:
            self.memberships.gone(client)
        if refusal is not None and isinstance(what, Enter | Append):
            self.declined[refusal] += 1
            client.put(frame(Declined(what.room, [], refusal)))

    # Messages.

    def _keep(self, batch: list[_Posts]) -> None:
        now = self._now_ms()
        runs = [
            Run(
                posts.room,
                posts.client.name,
                posts.items,
                self._refusal(posts),
                posts.epoch,
                now,
                self._keep_days(posts.room),
            )
            for posts in batch
        ]
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
            self.declined[Code.FAILED] += len(ids)
            posts.client.put(frame(Declined(posts.room, ids, Code.FAILED)))
            posts.client.answered(len(ids))

    def _refusal(self, posts: _Posts) -> Code | None:
        room = self._rooms.get(posts.room)
        if room is None or not room.has(posts.client):
            return Code.NOT_A_MEMBER
        if not room.is_current(posts.epoch):
            return Code.STALE_EPOCH
        return Code.STORAGE_FULL if self._is_full() else None

    def _keep_days(self, name: str) -> int:
        room = self._rooms.get(name)
        return 0 if room is None else room.log.policy.history_days

    def _kept(self, batch: list[_Posts], runs: list[Run], outcomes: Sequence[list[Outcome]]) -> None:
        """The log has kept a batch: answer the senders and tell the others."""
        self._keeping = False
        grown = {run.room: self._log.last_seq(run.room) for run in runs if run.refusal is None}
        self._journal.at_end(partial(self._say_reached, [(self._rooms[name], seq) for name, seq in grown.items()]))
        told: dict[str, Telling] = {}
        for posts, run, results in zip(batch, runs, outcomes, strict=True):
            self._answer(posts.client, run, results)
            if run.refusal is None:
                telling = told.get(run.room)
                if telling is None:
                    telling = told[run.room] = Telling()
                telling.add(run, results)
        for name, telling in told.items():
            if telling.count:
                self._tell(self._rooms[name], telling)
        self._go_on()

    def _say_reached(self, rooms: list[tuple[Room, int]]) -> None:
        """All of a batch is kept for good."""
        for room, seq in rooms:
            room.kept_seq = seq
            self._bus.reached(room.name, seq)

    def _answer(self, client: Client, run: Run, results: list[Outcome]) -> None:
        acked = [(post_id, seq) for (post_id, _), (seq, _) in zip(run.items, results, strict=True) if seq]
        if acked:
            client.put(frame(Ack(run.room, acked)))
        if run.refusal is not None and len(acked) < len(results):
            declined = [post_id for (post_id, _), (seq, _) in zip(run.items, results, strict=True) if not seq]
            self.declined[run.refusal] += len(declined)
            client.put(frame(Declined(run.room, declined, run.refusal)))
        self.posts += len(acked)
        client.answered(len(results))

    def _tell(self, room: Room, telling: Telling) -> None:
        only = next(iter(telling.senders)) if len(telling.senders) == 1 else None
        for first_seq, data in telling.frames(room.name):
            slow = [client for name, client in room.level.items() if name != only and not client.offer(data)]
            for client in slow:
                self.behind.begin(client, room, first_seq - 1)
            for name, hearer in room.joining.items():
                if name != only:
                    hearer.say(data)
        self.deliveries += telling.count * (len(room.level) - (only in room.level))


def _waits(request: _Request) -> bool:
    """Whether a request is carried out only when the posts before it are kept."""
    return not isinstance(request.what, Hand | Ask | Seen)
