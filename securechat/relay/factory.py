"""Every connection of a relay, and what they share: names, rooms, limits, counters."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from os import urandom
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol

from securechat.relay.allowance import Allowances
from securechat.relay.attempts import Attempts
from securechat.relay.bans import Bans
from securechat.relay.buckets import AddressLimits
from securechat.relay.bus import Bus, LocalBus
from securechat.relay.directory import Directory, MemoryOwners, Owners
from securechat.relay.inflight import InFlight
from securechat.relay.journal import Keeping, Unkept
from securechat.relay.limits import RelayLimits
from securechat.relay.load import Load
from securechat.relay.log import MessageLog
from securechat.relay.memory import Memory
from securechat.relay.overrides import times_more
from securechat.relay.pages import History
from securechat.relay.protocol import RelayProtocol
from securechat.relay.rooms import Rooms
from securechat.relay.session import ClientLink, Session
from securechat.relay.space import never
from securechat.relay.turns import Turns
from securechat.relay.wall import Wall
from securechat.wire.codes import Code
from securechat.wire.framing import farewell
from securechat.wire.messages import VERSION, Greeting
from securechat.wire.outbox import LinkTransport, Turn

LOGIN_RESULTS: Final = (
    "ok",
    Code.VERSION,
    Code.FULL,
    Code.BAD_CERTIFICATE,
    Code.NAME_OWNED,
    Code.BANNED,
    Code.TOO_MANY_LOGINS,
    Code.BUSY,
    Code.TIMED_OUT,
)
"""What can become of a login."""


class Unwelcome(Protocol):
    """Ends a connection that is one too many, at the end of this turn; see `door.Doorstep` for sooner.

    A factory may say None instead, but what Twisted wraps around factories (TLS, HAProxy) fails on that.
    """

    transport: LinkTransport | None = None

    def connectionMade(self) -> None:
        """Cut it off."""
        assert self.transport is not None
        self.transport.abortConnection()


class RelayFactory(Factory):
    """Builds the relay's end of each connection, or refuses to where an address has too many."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        now_ms: Callable[[], int],
        log: MessageLog,
        limits: RelayLimits,
        motd: str = "",
        exempt_loopback: bool = True,
        owners: Owners | None = None,
        journal: Keeping | None = None,
        is_full: Callable[[], bool] = never,
        bans: Bans | None = None,
        history: History | None = None,
        connections: int | None = None,
        bus: Bus | None = None,
    ) -> None:
        """Take what a relay is made of; `connections` is how many the system allows."""
        self.clock = clock
        self.journal: Keeping = Unkept(Turn(clock)) if journal is None else journal
        self.limits = limits
        self.closed: Counter[str] = Counter()
        """Connections that ended, by the code of the relay's last word; `""` where the client left."""
        self.refused_addresses = 0
        self.refused_for_all = 0
        """Connections that were cut off because there were as many as the system allows."""
        self.logins: Counter[str] = Counter()
        """Logins by result, one of `LOGIN_RESULTS`."""
        self.motd = motd
        """What is said to whoever connects from now on."""
        self._now_ms = now_ms
        self._most_connections = connections
        owners = MemoryOwners() if owners is None else owners
        self.bans = Bans() if bans is None else bans
        bus = bus or LocalBus()
        self.owners = owners
        self.directory: Directory[Session] = Directory(
            owners, limits.max_clients, limits.names, self.bans.is_banned, bus, is_full
        )
        self.wall = Wall(clock, now_ms)
        memory = Memory(limits, lambda: chain(self._clients, self._strangers))
        self.load = Load(clock, lambda: self.journal.committing_s, memory)
        """Looks while it runs whether there is too much to do."""
        self.rooms = Rooms(
            log,
            self.journal,
            now_ms,
            self.directory,
            limits,
            bus,
            is_full=is_full,
            is_busy=self.load.is_too_much,
            history=history,
            expiry_ms=self.wall.now_ms,
        )
        self.turns = Turns(clock, limits.strangers_per_s)
        """When strangers are listened to; see `door`."""
        self._attempts = Attempts(clock)
        self.in_flight = InFlight(limits.unanswered_bytes, partial(clock.callLater, 0))
        """The posts of all clients that wait for their answers."""
        self._allowances = Allowances(clock, limits)
        self._addresses = AddressLimits(
            clock,
            limits.per_address,
            limits.new_per_address,
            limits.new_every_s,
            exempt_loopback,
            partial(times_more, limits),
        )
        # In order of connection: the first of `_strangers` has had most time to log in.
        self._strangers: dict[RelayProtocol, None] = {}
        self._clients: dict[RelayProtocol, None] = {}
        self._emptied: list[Deferred[None]] = []

    @property
    def clients(self) -> int:
        """How many are logged in."""
        return len(self.directory)

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._strangers) + len(self._clients)

    @property
    def waiting_bytes(self) -> int:
        """How much waits for clients that do not read."""
        return sum(link.waiting_bytes for links in (self._strangers, self._clients) for link in links)

    def buildProtocol(self, addr: IAddress | None) -> "RelayProtocol | Unwelcome":
        """A protocol for a new connection, or one that ends it before anything is said."""
        if self._most_connections is not None and self.connections >= self._most_connections:
            self.refused_for_all += 1
            return Unwelcome()
        if not self._admits(addr):
            return Unwelcome()
        return RelayProtocol(self, self._addresses.network(addr))

    def comes_from(self, link: RelayProtocol, addr: IAddress) -> bool:
        """Count a connection under its address, which is known now; False where that may have no more of them."""
        is_admitted = self._admits(addr)
        if is_admitted:
            link.network = self._addresses.network(addr)
        return is_admitted

    def _admits(self, addr: IAddress | None) -> bool:
        is_admitted = not self.bans.bars(addr) and self._addresses.admit(self._addresses.network(addr))
        self.refused_addresses += not is_admitted
        return is_admitted

    # What connections ask of us (`protocol.Hub`).

    @property
    def gate(self) -> Keeping:
        """What frames leave through."""
        return self.journal

    def greeting(self) -> Greeting:
        """The first message of a connection."""
        return Greeting(VERSION, urandom(32), self.motd)

    def new_session(self, link: ClientLink, nonce: bytes) -> Session:
        """A session for a new connection, which was greeted with a nonce."""
        return Session(
            link,
            nonce,
            self._now_ms,
            self.directory,
            self.rooms,
            self.limits,
            self.journal,
            self._allowances,
            self._attempts,
            self.load.is_too_much,
            self.in_flight,
        )

    def connected(self, link: RelayProtocol) -> None:
        """A connection was made; whoever has kept us waiting for longest makes room for it, if anybody does."""
        self._strangers[link] = None
        # Those already cut off stay in the list until the reactor's next turn, and one turn accepts several.
        too_many = max(0, len(self._strangers) - self.limits.handshakes)
        silent = (each for each in self._strangers if not each.is_in_line)
        for oldest in list(islice(silent, too_many)):
            oldest.cut_off()

    def logged_in(self, link: RelayProtocol) -> None:
        """A connection has become a client."""
        del self._strangers[link]
        self._clients[link] = None
        self.logins["ok"] += 1

    def lost(self, link: RelayProtocol, last_word: Code | None) -> None:
        """A connection is gone, and why where the relay ended it."""
        if link in self._strangers and last_word in LOGIN_RESULTS:
            self.logins[last_word] += 1
        self._strangers.pop(link, None)
        self._clients.pop(link, None)
        self._addresses.release(link.network)
        self.closed[str(last_word or "")] += 1
        if not self.connections:
            waiting, self._emptied = self._emptied, []
            for each in waiting:
                each.callback(None)

    # What the operator asks of us.

    def bar(self, identity: bytes) -> bool:
        """End the link of somebody who was banned; whether there is one."""
        session = self.directory.find(identity)
        if session is None:
            return False
        session.banned()
        return True

    def cut_off_barred(self) -> int:
        """End all links from networks that are banned; how many."""
        barred = [link for link in [*self._clients, *self._strangers] if link.is_from(self.bans.bars)]
        for link in barred:
            link.cut_off()
        return len(barred)

    # The end.

    def say_goodbye(self) -> None:
        """Tell every connection that the relay stops."""
        for link in [*self._clients, *self._strangers]:
            link.drop(farewell(Code.SHUTDOWN))

    def when_empty(self) -> Deferred[None]:
        """Fires as soon as there is no connection."""
        if not self.connections:
            return succeed(None)
        self._emptied.append(Deferred())
        return self._emptied[-1]

    def cut_off(self) -> None:
        """End what has not ended by itself."""
        for link in [*self._clients, *self._strangers]:
            link.cut_off()
