"""A proxy that does to links what networks do; `proxy_process` runs it for tests that wait."""

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

HELD_BYTES: Final = 1 << 16  # what may wait in one direction of a link before its source is read no further


@dataclass(frozen=True)
class Faults:
    """In one direction: in a black hole nothing passes, not even an end; the last three are chances."""

    latency_s: float = 0
    jitter_s: float = 0
    bytes_per_s: float = 0
    split: int = 0
    blackhole: bool = False
    reset: float = 0
    corrupt: float = 0
    duplicate: float = 0


@implementer(IHalfCloseableProtocol, IPushProducer)
class End(Protocol):
    """One end of a link. What comes here waits, in order, until it goes out at the `other` end."""

    transport: Any = None

    def __init__(self, proxy: "FaultProxy", name: str, other: "End | None" = None) -> None:
        self.other, self._proxy, self._name = other, proxy, name
        self._random = Random(f"{proxy.seed} {name} {proxy.links}")
        self._waiting: deque[tuple[float, bytes | str]] = deque()
        self._held, self._free_at = 0, 0.0
        self._call: Any = None
        self._ended = self._gone = self._full = False

    def connectionMade(self) -> None:
        """Read nothing before the other end is there."""
        self.transport.registerProducer(self, True)
        self._proxy.ends.add(self)
        if self.other is not None:
            self.other.other = self
            self.other.wake()
            return
        self.transport.pauseProducing()
        self._proxy.links += 1
        reaching = self._proxy.to.connect(Factory.forProtocol(lambda: End(self._proxy, "down", self)))
        reaching.addErrback(lambda _: self.transport.abortConnection())

    def dataReceived(self, data: bytes) -> None:
        """Let faults happen to what came."""
        faults, chance = self._proxy.faults[self._name], self._random.random
        if chance() < faults.reset:
            self.do("reset")
            return
        if chance() < faults.corrupt:
            at = self._random.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :]
        if chance() < faults.duplicate:
            data += data
        due = self._proxy.reactor.seconds() + faults.latency_s + faults.jitter_s * chance()
        size = faults.split or (max(1, int(faults.bytes_per_s / 20)) if faults.bytes_per_s else len(data))
        for at in range(0, len(data), size):
            self._free_at = max(due, self._free_at) + (size / faults.bytes_per_s if faults.bytes_per_s else 0)
            self._waiting.append((self._free_at, data[at : at + size]))
        self._held += len(data)
        self.wake()

    def do(self, what: str) -> None:
        """`reset`, or `close-up` or `close-down`: the end of that direction."""
        if what == "reset":
            self.transport.abortConnection()
        elif what == f"close-{self._name}":
            self._waiting.append((self._free_at, "loseWriteConnection"))
            self.wake()

    def _may_pass(self) -> bool:
        hole = self._proxy.faults[self._name].blackhole
        return bool(self._waiting) and not (hole or self.other is None or self.other._full)

    def wake(self) -> None:
        """Pass on what is due: one piece in a turn of the reactor, so that each is a write by itself."""
        if self._call is None and self._may_pass():
            wait = max(0.0, self._waiting[0][0] - self._proxy.reactor.seconds())
            self._call = self._proxy.reactor.callLater(wait, self._pass_on)
        if not self._gone and not self._ended and self.other is not None:
            (self.transport.pauseProducing if self._held > HELD_BYTES else self.transport.resumeProducing)()

    def _pass_on(self) -> None:
        self._call = None
        if self._may_pass() and self.other is not None:
            _, piece = self._waiting.popleft()
            self._held -= len(piece) if isinstance(piece, bytes) else 0
            to = self.other.transport
            if not self.other._gone:
                to.write(piece) if isinstance(piece, bytes) else getattr(to, piece)()
        self.wake()

    def readConnectionLost(self) -> None:
        """Nothing more comes from here."""
        self._ended = True
        self.do(f"close-{self._name}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other end goes as well."""
        self._gone, self._full = True, False
        self._proxy.ends.discard(self)
        in_order = self._ended or reason.check(ConnectionDone)
        last = (self._free_at, "loseConnection") if in_order else (0.0, "abortConnection")
        self._waiting = deque([*self._waiting, last] if in_order else [last])
        self.resumeProducing()
        self.wake()

    def writeConnectionLost(self) -> None:
        """Nothing more goes out here."""

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        if self.other is not None:
            self.other.wake()

    def stopProducing(self) -> None:
        """Told by `connectionLost` as well."""


class FaultProxy(Service):
    """Listens on a free port of loopback, and brings each link to `to`, a client endpoint in Twisted's words."""

    def __init__(self, reactor: Any, to: str, seed: int = 0) -> None:
        self.reactor, self.seed, self.links = reactor, seed, 0
        self.faults = {"up": Faults(), "down": Faults()}
        self.ends: set[End] = set()
        self.to = clientFromString(reactor, to)

    def startService(self) -> None:
        factory = Factory.forProtocol(lambda: End(self, "up"))
        self.port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
