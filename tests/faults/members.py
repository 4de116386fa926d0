"""Members of one room who post and read by the wire for as long as they are asked to, whatever the relay does.

What they post is their own ids, and sealed for nobody, so that dozens of them take one thread. Each comes back when
its link is lost, repeats what was not acknowledged, and knows everything that the checker wants to know.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from os import urandom
from random import random
from statistics import quantiles
from threading import Event, Thread
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.retry import Retry
from securechat.wire.address import Address
from securechat.wire.messages import (
    Ack,
    Declined,
    Delivery,
    Enter,
    Gap,
    Goodbye,
    Message,
    Ping,
    Pong,
    Post,
    Refused,
    Repost,
    Seen,
    SessionKey,
)
from tests.faults.ackcheck import Life
from tests.faults.swarm import Peer
from tests.relay.people import Chain
from tests.relay.process import Talker

ROOM: Final = "#load"
MOST_UNANSWERED: Final = 200
"""Less than the relay's window."""
LOGIN_S: Final = 15.0


@dataclass(frozen=True)
class Pace:
    """How much one member says."""

    run: int = 5
    """Messages at once."""
    every_s: float = 0.2
    size: int = 200
    """Bytes of each, its id included."""
    tells: bool = False
    """Whether it tells the relay what it has, so that this need not be kept for it."""


Retries = Callable[[], Retry]

USUAL: Final = Pace()
QUICK: Final = partial(Retry, 0.1, 0.4)


class Member:
    """One member, over all its links."""

    def __init__(self, name: str, room: str, pace: Pace, retry: Retry) -> None:
        self.life = Life(name, room, since=1)
        self.name, self.room = name, room
        self.ack_s: list[float] = []
        """How long each acknowledgement took, from the first attempt."""
        self.entered: list[float] = []
        """When it entered the room, by the monotonic clock."""
        self.last_words: list[str] = []
        self.declined: dict[str, str] = {}
        """The code by which each post was declined."""
        self.wrong: list[str] = []
        self.unanswered: dict[bytes, float] = {}
        self.posts = False
        self.is_there = False
        self.at_ack: Callable[[], None] = _nothing
        """Called when it has heard an `Ack`."""
        self._pace, self._retry = pace, retry
        self._texts: dict[int, str] = {}
        self._known = 0
        self._peer: Peer | None = None

    @property
    def known(self) -> int:
        """The number up to which it knows what became of every message."""
        while self._known + 1 in self._texts:
            self._known += 1
        return self._known

    def cut(self) -> None:
        """Lose the link, if there is one, and come back as usual."""
        if self._peer is not None:
            self._peer.close()

    def forget(self) -> None:
        """Everything that it knows of is in order: what the checker wants to know begins behind it."""
        self.life = Life(self.name, self.room, since=self.known + 1)
        self._texts.clear()
        self.ack_s.clear()

    async def live(self, address: Address) -> None:
        """Be there, for ever."""
        while True:
            self._peer = peer = None
            with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError, OSError):
                self._peer = peer = await asyncio.wait_for(Peer.connect(address), LOGIN_S)
                await asyncio.wait_for(peer.login(self.name), LOGIN_S)
                await self._talk(peer)
            was_there, self.is_there = self.is_there, False
            if peer is not None:
                peer.close()
            up_s = time.monotonic() - self.entered[-1] if was_there else 0.0
            await asyncio.sleep(self._retry.wait_s(up_s))

    async def _talk(self, peer: Peer) -> None:
        peer.send(enter(self.known, self.room))
        key = await peer.until(SessionKey)
        self.entered.append(time.monotonic())
        self.is_there = True
        posting = asyncio.ensure_future(self._post(peer, key.epoch))
        try:
            while True:
                self._hear(peer, await peer.message())
        finally:
            posting.cancel()

    async def _post(self, peer: Peer, epoch: bytes) -> None:
        """Repeat what was not answered, and then say something every now and then."""
        for each in self.unanswered:
            peer.send(Repost(self.room, epoch, 0, each, self._sealed(each)))
        await asyncio.sleep(random() * self._pace.every_s)
        while True:
            if self._pace.tells:
                peer.send(Seen([(self.room, self.known, 0)]))
            if self.posts and len(self.unanswered) <= MOST_UNANSWERED - self._pace.run:
                ids = [urandom(16) for _ in range(self._pace.run)]
                self.unanswered |= dict.fromkeys(ids, time.monotonic())
                self._say(peer, epoch, ids)
            await asyncio.sleep(self._pace.every_s)

    def _say(self, peer: Peer, epoch: bytes, ids: list[bytes]) -> None:
        for at in range(0, len(ids), 50):
            some = ids[at : at + 50]
            peer.send(Post(self.room, epoch, [(each, self._sealed(each)) for each in some]))

    def _sealed(self, post_id: bytes) -> bytes:
        return post_id.ljust(self._pace.size, b"x")

    def _hear(self, peer: Peer, message: Message) -> None:
        match message:
            case Ack(items=items):
                now = time.monotonic()
                for post_id, seq in items:
                    asked = self.unanswered.pop(post_id, None)
                    if asked is None:
                        self.wrong.append(f"{seq} is acknowledged again")
                        continue
                    self.ack_s.append(now - asked)
                    self.life.acked.append((post_id.hex(), post_id.hex(), seq))
                    self._is(seq, post_id.hex())
                self.at_ack()
            case Delivery(first_seq=first, items=items):
                for seq, (sender, _, sealed) in enumerate(items, first):
                    text = sealed[:16].hex()
                    is_known = bool(self._texts.get(seq))
                    self._is(seq, text)
                    if sender != self.name and not is_known:
                        self.life.shown.append((seq, text, False))
            case Gap(first=first, last=last):
                self.wrong.append(f"{first} to {last} do not come")
            case Declined(ids=ids, code=code):
                for post_id in ids:
                    self.unanswered.pop(post_id, None)
                    self.declined[post_id.hex()] = str(code)
            case Refused(code=code) | Goodbye(code=code):
                self.last_words.append(str(code))
            case Ping():
                peer.send(Pong())

    def _is(self, seq: int, text: str) -> None:
        if self._texts.get(seq) not in (None, "", text):
            self.wrong.append(f"{seq} is another message now")
        self._texts[seq] = text


class Members(Thread):
    """All members of rooms that they alone are in, in one thread."""

    def __init__(
        self, address: Address, rooms: Mapping[str, Sequence[str]], pace: Pace = USUAL, retries: Retries = QUICK
    ) -> None:
        super().__init__(daemon=True)
        self._address = address
        self.each = [Member(name, room, pace, retries()) for room, names in rooms.items() for name in names]
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()

    def run(self) -> None:
        """Be there until it is all over."""
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        living = [asyncio.ensure_future(each.live(self._address)) for each in self.each]
        ending = asyncio.ensure_future(self._ending.wait())
        # Whoever fails, fails the others as well.
        await asyncio.wait([*living, ending], return_when=asyncio.FIRST_COMPLETED)
        for each in living:
            if each.done():
                self.each[0].wrong.append(f"failed: {each.exception()!r}")
            each.cancel()
        await asyncio.gather(*living, return_exceptions=True)

    def end(self) -> None:
        """It is all over."""
        if self.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self.join(10)

    def cut(self, member: Member) -> None:
        """Somebody loses their link, and comes back."""
        self._loop.call_soon_threadsafe(member.cut)

    def post(self, posts: bool = True) -> None:
        """From now on all of them say something, or nobody does."""
        for each in self.each:
            each.posts = posts

    @property
    def are_there(self) -> bool:
        """Whether all are in the room."""
        return all(each.is_there for each in self.each)

    @property
    def acked(self) -> int:
        """How many messages were acknowledged."""
        return sum(len(each.life.acked) for each in self.each)

    @property
    def are_level(self) -> bool:
        """Whether everything was answered, and everybody knows everything."""
        levels = {(each.room, each.known) for each in self.each}
        return self.are_there and len(levels) == len({room for room, _ in levels}) and not self.unanswered

    @property
    def unanswered(self) -> int:
        """How many messages are on the way."""
        return sum(len(each.unanswered) for each in self.each)

    @property
    def declined(self) -> Counter[str]:
        """How many posts were declined, by code."""
        return Counter(code for each in self.each for code in each.declined.values())

    @property
    def wrong(self) -> list[str]:
        """What no relay may say."""
        declined = {post_id for each in self.each for post_id in each.declined}
        taken = {text for each in self.each for _, text, _ in [*each.life.acked, *each.life.shown]}
        return [
            *(f"{each.name}: {words}" for each in self.each for words in each.wrong),
            *(f"{post_id} was declined and is there" for post_id in declined & taken),
        ]

    def at_next_ack(self, call: Callable[[], None]) -> Event:
        """Make `call` the next time that anybody has heard an `Ack`, at once; what comes when that is done."""
        done = Event()

        def act() -> None:
            if not done.is_set():
                call()
                done.set()

        for each in self.each:
            each.at_ack = act
        return done

    @contextmanager
    def measured(self) -> Iterator[list[float]]:
        """The list has how long each acknowledgement took that came within this, once it is over."""
        before = {each.name: len(each.ack_s) for each in self.each}
        took: list[float] = []
        yield took
        took += [seconds for each in self.each for seconds in each.ack_s[before[each.name] :]]


def enter(after: int, room: str = ROOM) -> Enter:
    """What somebody says who wants to hear of a room, and knows everything up to a number."""
    return Enter(room, 0, after)


def found_room(case: SynchronousTestCase, address: Address, names: Sequence[str], room: str = ROOM) -> None:
    """Make a room, whose first member adds the others: twenty of them at most."""
    talkers = [Talker(case, address) for _ in names]
    people = [talker.login(name) for talker, name in zip(talkers, names, strict=True)]
    chain = Chain(room)
    talkers[0].send(chain.found(people[0]), *(chain.add(people[0], each) for each in people[1:]))
    while talkers[0].until(SessionKey).epoch != chain.known.epoch:
        pass
    for talker in talkers:
        talker.socket.close()


def _nothing() -> None:
    """What is done where nothing is to be done."""


def p50_p99(seconds: Sequence[float]) -> tuple[float, float]:
    """The median, and what one in a hundred is above."""
    cuts = quantiles(seconds, n=100)
    return cuts[49], cuts[98]
