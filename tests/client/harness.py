"""A client's surroundings in memory: a worker moved by hand, and a relay whose every word a test writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar

from securechat.e2e.sessions import SessionKeys
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.conversation import Conversation
from securechat.client.events import Event, Message, NotSent, Sent
from securechat.crypto import aead
from securechat.e2e.body import pack_text, unpack
from securechat.wire import messages as wire
from securechat.wire.codes import Code

Kind = TypeVar("Kind")
Items = Sequence[tuple[bytes, bytes, bytes]]

RELAY = "securechat://relay.example:1"
NOW_MS = 1_767_323_045_678
PING_S = 15


def epoch_of(number: int) -> bytes:
    """An epoch by a number."""
    return sha256(b"epoch %d" % number).digest()


def key_of(number: int) -> bytes:
    """Its session key."""
    return sha256(b"key %d" % number).digest()


@dataclass
class HandWorker:
    """Really seals and opens, at once or when told to, or fails."""

    at_once: bool = True
    failure: Exception | None = None
    jobs: list[Callable[[], None]] = field(default_factory=list)

    def seal_many(self, items: Items) -> Deferred[list[bytes]]:
        """Seal (key, associated data, plaintext), each."""
        return self._ask(lambda: [aead.seal(*item) for item in items])

    def open_many(self, items: Items) -> Deferred[list[bytes | None]]:
        """Open (key, associated data, sealed), each."""
        return self._ask(lambda: [_opened(*item) for item in items])

    def _ask(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def job() -> None:
            if self.failure is not None:
                done.errback(self.failure)
            else:
                done.callback(work())

        self.jobs.append(job)
        if self.at_once:
            self.work()
        return done

    def work(self, jobs: int = 1_000_000) -> None:
        """Do some of what was asked for, in order."""
        for _ in range(jobs):
            if not self.jobs:
                return
            self.jobs.pop(0)()


def _opened(key: bytes, associated: bytes, sealed: bytes) -> bytes | None:
    try:
        return aead.open(key, associated, sealed)
    except aead.OpenError:
        return None


class Talk:
    """A conversation, its worker, what it said to the relay, and what it told its user."""

    def __init__(self, name: str = "alice", at_once: bool = True) -> None:
        self.name = name
        self.worker = HandWorker(at_once)
        self.sent: list[wire.FromClient] = []
        self.events: list[Event] = []
        self.ids = 0
        self.conversation = Conversation(name, self.worker, self.sent.append, self.events.append, self._random)

    def _random(self, size: int) -> bytes:
        self.ids += 1
        return self.ids.to_bytes(size, "big")

    # The relay's words.

    def up(self, window: int = 256, motd: str = "") -> None:
        """Log in."""
        self.conversation.link_up(wire.Welcome(self.name, wire.Limits(window, 200, PING_S)), RELAY, motd)

    def down(self, reason: str = "broken", retry_s: float | None = 0.5) -> None:
        """Lose the link."""
        self.conversation.link_down(RELAY, reason, retry_s)

    def hear(self, *messages: wire.FromRelay) -> None:
        """Let the relay say something."""
        for message in messages:
            self.conversation.received(message)

    def roster(self, room: str, *members: str, last_seq: int = 0) -> None:
        """Let the relay say who is in a room."""
        self.hear(wire.Roster(room, list(members), last_seq))

    def key(self, room: str, number: int) -> None:
        """Let the relay begin an epoch."""
        self.hear(wire.SessionKey(room, epoch_of(number), key_of(number)))

    def entered(self, room: str = "#lobby", *others: str, epoch: int = 1, last_seq: int = 0) -> None:
        """Enter a room and get its first key; what was sent and told so far is forgotten."""
        self.conversation.enter(room)
        self.roster(room, self.name, *others, last_seq=last_seq)
        self.key(room, epoch)
        self.forget()

    def ack(self, room: str, *numbered: tuple[int, int]) -> None:
        """Let the relay take posts: id and number, each."""
        self.hear(wire.Ack(room, [(number.to_bytes(16, "big"), seq) for number, seq in numbered]))

    def decline(self, room: str, code: Code, *ids: int) -> None:
        """Let the relay decline posts, or with no id an `Enter` or `Leave`."""
        self.hear(wire.Declined(room, [number.to_bytes(16, "big") for number in ids], code))

    def presence(self, room: str, name: str, here: bool) -> None:
        """Let the relay say that somebody came or left."""
        self.hear(wire.Presence(room, name, here))

    def deliver(self, room: str, first_seq: int, *items: tuple[str, bytes]) -> None:
        """Let the relay deliver: sender and sealed message, each."""
        self.hear(wire.Delivery(room, first_seq, [(sender, NOW_MS, sealed) for sender, sealed in items]))

    # What came of it.

    def forget(self) -> None:
        """Start afresh with what is sent and told."""
        self.sent.clear()
        self.events.clear()

    def told(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def heard(self) -> list[str]:
        """The texts that were heard."""
        return [event.text for event in self.told(Message)]

    def acknowledged(self) -> list[str]:
        """The texts that were told as sent."""
        return [event.text for event in self.told(Sent)]

    def given_up(self) -> list[tuple[str, str]]:
        """The texts that were told as not sent, with the reason."""
        return [(event.text, event.reason) for event in self.told(NotSent)]

    def posts(self) -> list[tuple[bytes, list[int]]]:
        """Epoch and ids of each `Post` since the last `forget`."""
        return [
            (message.epoch, [int.from_bytes(post_id, "big") for post_id, _ in message.items])
            for message in self.sent
            if isinstance(message, wire.Post)
        ]

    def posted_texts(self, epoch: int) -> list[str]:
        """What the posts of an epoch say, opened as another member would."""
        texts = []
        for post in self.sent:
            if isinstance(post, wire.Post) and post.epoch == epoch_of(epoch):
                keys = SessionKeys()
                keys.start(post.room, post.epoch, key_of(epoch))
                for _, sealed in post.items:
                    texts.append(unpack(aead.open(*keys.to_open(post.room, self.name, sealed))).text)
        return texts


def sealed_text(room: str, sender: str, text: str, epoch: int = 1) -> bytes:
    """A message as another member seals it."""
    return sealed_bytes(room, sender, pack_text(text), epoch)


def sealed_bytes(room: str, sender: str, plaintext: bytes, epoch: int = 1) -> bytes:
    """Any plaintext, sealed as another member would."""
    keys = SessionKeys()
    keys.start(room, epoch_of(epoch), key_of(epoch))
    key, header, associated = keys.to_seal(room, sender)
    return header + aead.seal(key, associated, plaintext)


class TalkCase(SynchronousTestCase):
    """A case with alice, logged in."""

    def setUp(self) -> None:
        """Log in."""
        self.talk = Talk()
        self.talk.up()
        self.conversation = self.talk.conversation
        self.talk.forget()

    def say(self, *texts: str, room: str = "#lobby") -> None:
        """Say some things."""
        for text in texts:
            self.conversation.say(room, text)
