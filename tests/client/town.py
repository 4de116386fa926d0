"""People over the real relay, in memory: frames, batches of the worker and losses, each when a test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.archive import Archive, NoArchive
from securechat.client.conversation import Conversation
from securechat.client.events import Event, Message, NotSent, Sent
from securechat.client.ledger import Ledger
from securechat.client.login import Login
from securechat.crypto import aead
from securechat.e2e.identity import Person as Keys
from securechat.e2e.keystore import Secrets
from securechat.e2e.prekeys import PrekeyRing
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.log import MemoryLog
from securechat.relay.protocol import RelayProtocol
from securechat.wire import messages as wire
from securechat.wire.framing import frame
from tests.relay.people import NOW_MS, person
from tests.wire.harness import MemoryTransport, bodies, from_relay

Kind = TypeVar("Kind")
Items = Sequence[tuple[bytes, bytes, bytes]]

RELAY = "securechat://relay.example:1"
LOBBY = "#lobby"


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


class Person:
    """One user: keys, a conversation, and the link between it and the relay's end, a frame at a time."""

    def __init__(self, keys: Keys, town: Town, at_once: bool = True) -> None:
        self.keys = keys
        self.name = keys.name
        self.town = town
        self.worker = HandWorker(at_once)
        self.secrets = Secrets(keys, PrekeyRing(keys.device))
        self.ledger: Ledger | None = None
        self.archive: Archive = NoArchive()
        self.history_days = 0
        self.events: list[Event] = []
        self.up: deque[bytes] = deque()
        self.down: deque[wire.FromRelay] = deque()
        self.sent: list[wire.FromClient] = []
        self.kept = 0
        self.linked = False
        self.protocol: RelayProtocol
        self.transport: MemoryTransport
        self._ids = 0
        self.begin()

    def begin(self) -> None:
        """Start the program, with what the key store has."""
        self.conversation = Conversation(
            self.secrets,
            self.worker,
            self.send,
            self.events.append,
            self.town.now_ms,
            self._keep,
            self._random,
            later=self.town.later,
            ledger=self.ledger,
            archive=self.archive,
            history_days=self.history_days,
        )
        self.conversation.begin()

    def _keep(self) -> None:
        self.kept += 1

    def _random(self, size: int) -> bytes:
        self._ids += 1
        return f"{self.name}{self._ids:010}".encode().ljust(size, b"-")

    def send(self, message: wire.FromClient) -> None:
        """Send to the relay."""
        assert self.linked, message
        self.sent.append(message)
        self.up.append(frame(message))

    # The link.

    def connect(self) -> None:
        """Get a new link and log in."""
        assert not self.linked
        self.protocol = RelayProtocol(self.town.factory, None)
        self.transport = MemoryTransport(self.town.clock, self.protocol)
        self.protocol.makeConnection(self.transport)
        self.town.clock.advance(0)
        self.fetch()
        greeting = self.down.popleft()
        assert isinstance(greeting, wire.Greeting)
        login = Login(self.secrets, self.town.now_ms, self._keep)
        self.protocol.dataReceived(frame(login.hello(b"", greeting.nonce, b"")))
        self.town.clock.advance(0)
        self.fetch()
        welcome = self.down.popleft()
        assert isinstance(welcome, wire.Welcome), welcome
        self.linked = True
        self.linked_up()
        self.conversation.link_up(welcome, RELAY, greeting.motd)

    def linked_up(self) -> None:
        """A new link is there: for those who keep count."""

    def lose(self) -> None:
        """Lose the link with all that is on its way."""
        self.linked = False
        self.up.clear()
        self.fetch()
        self.down.clear()
        self.transport.lose()
        self.conversation.link_down(RELAY, "broken", 1.0)

    def fetch(self) -> None:
        """Take what the relay has written."""
        for body in bodies(self.transport.value()):
            message = from_relay.decode(body)
            assert not isinstance(message, wire.Refused | wire.Goodbye), message
            self.down.append(message)
        self.transport.clear()

    def move_up(self, frames: int = 1_000_000) -> None:
        """Let the relay receive some frames."""
        for _ in range(min(frames, len(self.up))):
            self.protocol.dataReceived(self.up.popleft())

    def move_down(self, frames: int = 1_000_000) -> None:
        """Let the conversation receive some frames."""
        for _ in range(min(frames, len(self.down))):
            self.hear(self.down.popleft())

    def hear(self, message: wire.FromRelay) -> None:
        """Let the relay, or whoever plays it, say something."""
        self.conversation.received(message)

    # What came of it.

    def forget(self) -> None:
        """Start afresh with what is sent and told."""
        self.sent.clear()
        self.events.clear()

    def told(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def said(self, kind: type[Kind]) -> list[Kind]:
        """What was sent to the relay, of one kind."""
        return [message for message in self.sent if isinstance(message, kind)]

    def heard(self, room: str = LOBBY) -> list[tuple[str, str]]:
        """Sender and text of what was heard in a room."""
        return [(event.sender, event.text) for event in self.told(Message) if event.room == room]

    def acknowledged(self) -> list[str]:
        """The texts that were told as sent."""
        return [event.text for event in self.told(Sent)]

    def given_up(self) -> list[tuple[str, str]]:
        """The texts that were told as not sent, with the reason."""
        return [(event.text, event.reason) for event in self.told(NotSent)]


class Town:
    """The real relay over a clock, and people."""

    person_class = Person

    def __init__(self, limits: RelayLimits | None = None, motd: str = "") -> None:
        self.clock = Clock()
        self.skipped_ms = 0
        self.patient = False
        self._limits = limits or RelayLimits()
        self._motd = motd
        self.people: list[Person] = []
        self.start_relay()

    def start_relay(self) -> None:
        """Start a relay that knows nothing."""
        self.factory = RelayFactory(self.clock, self.now_ms, MemoryLog(), self._limits, self._motd)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Nobody waits, unless the town is `patient`."""
        if self.patient:
            self.clock.callLater(seconds, call)
        else:
            call()

    def now_ms(self) -> int:
        """The wall clock of everybody."""
        return NOW_MS + self.skipped_ms + round(self.clock.seconds() * 1_000)

    def come(self, *names: str, number: int = 0, at_once: bool = True) -> list[Person]:
        """People with keys who are logged in."""
        came = [self.person_class(person(name, number), self, at_once) for name in names]
        self.people += came
        for each in came:
            each.connect()
        return came

    def enter(self, *names: str, room: str = LOBBY) -> list[Person]:
        """People who are logged in and in a room; what was sent and told so far is forgotten."""
        came = self.come(*names)
        for each in came:
            each.conversation.enter(room)
            self.settle()
        for each in self.people:
            each.forget()
        return came

    def turn(self) -> None:
        """End the relay's turn, and take what it has written."""
        self.clock.advance(0)
        for each in self.people:
            if each.linked:
                each.fetch()

    def settle(self, *held: Person) -> None:
        """Go on until nothing moves any more, but for those who hear nothing now."""
        for _ in range(1_000):
            self.turn()
            moved = False
            for each in self.people:
                if each not in held:
                    moved = moved or bool(each.up or each.down or each.worker.jobs)
                    each.move_up()
                    each.move_down()
                    each.worker.work()
            if not moved:
                return
        raise AssertionError("it never ends")

    def close(self) -> None:
        """End everything; no call is left."""
        for each in self.people:
            if each.linked:
                each.lose()
        self.clock.advance(0)
        assert not self.clock.getDelayedCalls()


class TownCase(SynchronousTestCase):
    """A case with a town of its own."""

    def town(self, limits: RelayLimits | None = None, motd: str = "") -> Town:
        """A town that is closed at the end."""
        town = Town(limits, motd)
        self.addCleanup(town.close)
        return town
