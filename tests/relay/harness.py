"""A relay in memory: a clock, a factory, and clients that speak the wire's messages to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e.identity import Person
from securechat.relay.bus import Bus
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import RelayLimits
from securechat.relay.log import MemoryLog, MessageLog, Outcome, Recalled, Run
from securechat.relay.protocol import RelayProtocol
from securechat.signed.entries import Policy
from securechat.signed.roster import Roster as Log
from securechat.wire.codes import Code
from securechat.wire.framing import frame
from securechat.wire.messages import (
    LAST_SEQ,
    Ack,
    Declined,
    Delivery,
    Enter,
    Goodbye,
    Greeting,
    Message,
    Post,
    Present,
    Refused,
    Roster,
    SessionKey,
    Welcome,
)
from tests.relay.people import NOW_MS, OPEN, Chain, hello, person
from tests.wire.harness import MemoryTransport, bodies, from_relay, nothing_left

Kind = TypeVar("Kind")


def post_id(number: int) -> bytes:
    """An id of sixteen bytes."""
    return number.to_bytes(16, "big")


class Client:
    """One connection to the relay, with what the relay has said to it."""

    def __init__(self, relay: Relay, protocol: RelayProtocol, peer: IAddress) -> None:
        self.relay = relay
        self.protocol = protocol
        self.transport = MemoryTransport(relay.clock, protocol, peer)
        self.heard: list[Message] = []
        """Everything said so far, as of the last `hears`."""
        self.person: Person | None = None
        self._ids = 0
        protocol.makeConnection(self.transport)

    def send(self, *messages: Message) -> None:
        """Send messages in one chunk, without letting the relay's turn end."""
        self.raw(b"".join(frame(message) for message in messages))

    def raw(self, data: bytes) -> None:
        """Send any bytes."""
        if not self.transport.lost:
            self.protocol.dataReceived(data)

    def hears(self) -> list[Message]:
        """What the relay has said since the last time, at the end of this turn."""
        self.relay.turn()
        said: list[Message] = [from_relay.decode(body) for body in bodies(self.transport.value())]
        new = said[len(self.heard) :]
        self.heard = said
        return new

    def does(self, *messages: Message) -> list[Message]:
        """Send messages and hear what is said to that."""
        self.hears()
        self.send(*messages)
        return self.hears()

    @property
    def me(self) -> Person:
        """Who is logged in here."""
        assert self.person is not None
        return self.person

    def nonce(self) -> bytes:
        """The greeting's."""
        return self.protocol._greeting.nonce

    def login(self, who: Person, now_ms: int = NOW_MS) -> None:
        """Log in with a prekey of now, without letting the relay's turn end."""
        self.person = who
        self.send(hello(who, self.nonce(), now_ms=now_ms))

    def enter(self, room: str, have: int = 0) -> SessionKey:
        """Enter a room; its key."""
        return only(SessionKey, self.does(Enter(room, have, LAST_SEQ)))

    def found(self, room: str, *others: Person, policy: Policy = OPEN) -> SessionKey:
        """Found a room with members; its key."""
        chain = Chain(room)
        appends = [chain.found(self.me, policy), *(chain.add(self.me, other) for other in others)]
        return only(SessionKey, self.does(*appends))

    def join(self, room: str) -> SessionKey:
        """Join an open room; its key."""
        return only(SessionKey, self.does(self.now(room).join(self.me)))

    def add(self, room: str, other: Person) -> list[Message]:
        """Add somebody to a room."""
        return self.does(self.now(room).add(self.me, other))

    def remove(self, room: str, other: Person) -> list[Message]:
        """Remove somebody from a room."""
        return self.does(self.now(room).remove(self.me, other))

    def leave(self, room: str) -> list[Message]:
        """Leave a room."""
        return self.does(self.now(room).leave(self.me))

    def now(self, room: str) -> Chain:
        """The log of a room as it stands, to be gone on with."""
        return Chain.copy(self.relay.log_of(room))

    def key(self, room: str) -> SessionKey:
        """The last key that the client has been written for a room; no turn ends by asking."""
        return [each for each in of(SessionKey, self.transport.said()) if each.room == room][-1]

    def post(self, room: str, *texts: bytes, ids: Sequence[bytes] = (), epoch: bytes = b"") -> list[bytes]:
        """Post under the room's present epoch; the ids."""
        used = list(ids)
        while len(used) < len(texts):
            self._ids += 1
            used.append(post_id(self._ids))
        epoch = epoch or self.key(room).epoch
        self.send(Post(room, epoch, list(zip(used, texts, strict=True))))
        return used

    def code(self) -> Code:
        """The code of the relay's last word to this client."""
        self.hears()
        last = self.heard[-1]
        assert isinstance(last, Refused | Goodbye), last
        return last.code

    def stops_reading(self) -> None:
        """From now on the client reads nothing, and Twisted's buffer for it is full."""
        assert self.transport.producer is not None
        self.transport.producer.pauseProducing()

    def reads_again(self) -> None:
        """The client has read what was on its way, and goes on."""
        assert self.transport.producer is not None
        self.transport.producer.resumeProducing()


class Relay:
    """A relay on a clock of its own."""

    def __init__(
        self,
        limits: RelayLimits | None = None,
        log: MessageLog | None = None,
        exempt_loopback: bool = True,
        motd: str = "",
        bus: Bus | None = None,
    ) -> None:
        self.clock = Clock()
        self._wall_ms = NOW_MS
        self.log = log or MemoryLog()
        self.factory = RelayFactory(
            self.clock, self.now_ms, self.log, limits or RelayLimits(), motd, exempt_loopback, bus=bus
        )
        self.connections: list[Client] = []

    def now_ms(self) -> int:
        """The wall clock, which goes with the other one."""
        return self._wall_ms + round(self.clock.seconds() * 1_000)

    def skip(self, ms: int) -> None:
        """Set the wall clock forward; nobody's timers notice."""
        self._wall_ms += ms

    def log_of(self, room: str) -> Log:
        """A room's log, as the relay has it."""
        return self.factory.rooms.memberships.rooms[room].log

    def turn(self) -> None:
        """Let the reactor's turn end."""
        self.clock.advance(0)

    def try_connect(self, host: str = "127.0.0.1") -> Client | None:
        """A connection from an address, or None where it is not wanted."""
        peer = IPv4Address("TCP", host, 40_000)
        protocol = self.factory.buildProtocol(peer)
        if not isinstance(protocol, RelayProtocol):
            return None
        self.connections.append(Client(self, protocol, peer))
        return self.connections[-1]

    def connect(self, host: str = "127.0.0.1") -> Client:
        """A connection that has been greeted."""
        client = self.try_connect(host)
        assert client is not None
        only(Greeting, client.hears())
        return client

    def connect_silently(self, who: Person) -> Client:
        """A connection whose login is under way, without letting the relay's turn end."""
        client = self.try_connect()
        assert client is not None
        client.login(who)
        return client

    def login(self, *names: str) -> list[Client]:
        """Clients that are logged in, each greeted and welcomed."""
        return self.login_as(*(person(name) for name in names))

    def login_as(self, *people: Person) -> list[Client]:
        """The same for people."""
        clients = [self.connect() for _ in people]
        for client, who in zip(clients, people, strict=True):
            client.login(who)
            only(Welcome, client.hears())
        return clients

    def room(self, room: str, *names: str, policy: Policy = OPEN) -> list[Client]:
        """Clients that are logged in and in a room of which the first is the owner, having heard all about it."""
        clients = self.login(*names)
        clients[0].found(room, *(client.me for client in clients[1:]), policy=policy)
        for client in clients:
            client.hears()
        return clients

    def end(self, case: SynchronousTestCase) -> None:
        """All connections end; the relay keeps nothing of them, and no call is left on the clock."""
        nothing_left(case, self.clock, *(client.transport for client in self.connections))
        case.assertEqual((0, 0), (self.factory.clients, self.factory.connections))


class LaterLog:
    """A log that keeps its batches when it is told to: what a disk does."""

    def __init__(self) -> None:
        self.memory = MemoryLog()
        self.waiting: list[tuple[Sequence[Run], Callable[[Sequence[list[Outcome]]], None]]] = []

    def append(self, runs: Sequence[Run], kept: Callable[[Sequence[list[Outcome]]], None]) -> None:
        """Take a batch."""
        assert not self.waiting, "one batch at a time"
        self.waiting.append((runs, kept))

    def keep(self) -> None:
        """The batch is safe now."""
        ((runs, kept),) = self.waiting
        self.waiting = []
        self.memory.append(runs, kept)

    def remembers(self, room: str, after: int) -> bool:
        """All that it knows it knows at once."""
        return True

    def recall(self, room: str, sender: str, post_id: bytes, after: int, recalled: Recalled) -> None:
        """There is nowhere to look."""
        raise AssertionError

    def last_seq(self, room: str) -> int:
        """The number of the room's last message."""
        return self.memory.last_seq(room)

    def forget(self, room: str) -> None:
        """Nobody is in this room any more."""
        assert not any(run.room == room for runs, _ in self.waiting for run in runs), "forgotten while kept"
        self.memory.forget(room)


class RelayCase(SynchronousTestCase):
    """A case with a relay; at its end nothing may be left of the connections."""

    def relay(
        self,
        limits: RelayLimits | None = None,
        log: MessageLog | None = None,
        exempt_loopback: bool = True,
        motd: str = "",
        bus: Bus | None = None,
    ) -> Relay:
        """A relay that is looked after at the end."""
        relay = Relay(limits, log, exempt_loopback, motd, bus)
        self.addCleanup(relay.end, self)
        return relay


def of(kind: type[Kind], messages: Sequence[object]) -> list[Kind]:
    """Those of one kind."""
    return [message for message in messages if isinstance(message, kind)]


def only(kind: type[Kind], messages: Sequence[object]) -> Kind:
    """The only one of a kind."""
    (message,) = of(kind, messages)
    return message


def texts(messages: Sequence[object]) -> list[bytes]:
    """The sealed messages that were delivered, in order."""
    return [sealed for delivery in of(Delivery, messages) for _, _, sealed in delivery.items]


def acked(messages: Sequence[object]) -> list[tuple[bytes, int]]:
    """The acknowledged ids with their numbers."""
    return [item for ack in of(Ack, messages) for item in ack.items]


def declined(messages: Sequence[object]) -> list[Code]:
    """The codes of what was declined."""
    return [message.code for message in of(Declined, messages)]


def present(messages: Sequence[object]) -> list[str]:
    """Who is in a room now according to the only message that says so."""
    return only(Present, messages).names


def kinds(messages: Sequence[object]) -> list[str]:
    """The names of messages."""
    return [type(each).__name__ for each in messages]


def entries(messages: Sequence[object]) -> list[bytes]:
    """The entries of a room's log that were told, in order."""
    return [entry for roster in of(Roster, messages) for entry in roster.entries]
