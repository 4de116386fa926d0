"""The admin socket: `admin.sock` in the data directory, for the relay's own user and root alone.

Its mode is 0600, and the kernel is asked who is at the other end besides. A link is for one request, which has to
come within seconds; whatever is none ends it with an answer that says so.
"""

import os
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from socket import SO_PEERCRED, SOL_SOCKET
from stat import S_ISSOCK
from struct import Struct
from typing import Any, Final

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.admin.messages import REQUEST_BYTES, Answer, Backup, Done, Failed, Request, line, read_request
from securechat.relay.admin.office import Caller
from securechat.relay.admin.short import short_path
from securechat.relay.listening import cannot_listen
from securechat.relay.writer import EndedError
from securechat.wire.errors import kind_and_place
from securechat.wire.outbox import LinkTransport

SOCKET_FILE: Final = "admin.sock"

REQUEST_S: Final = 10.0
"""How long a request may take to come."""

MOST_LINKS: Final = 16
"""Links at once; one more is cut off."""

_CREDENTIALS: Final = Struct("3i")
"""`struct ucred`: process, user, group (unix(7))."""

CarryOut = Callable[[Request, Caller], Deferred[Done]]


def peer_of(transport: Any) -> int:
    """The user at the other end, as the kernel knows it."""
    found = transport.socket.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])


@implementer(IPushProducer)
class AdminProtocol(Protocol):
    """One link."""

    transport: LinkTransport | None = None
    _log = Logger()

    def __init__(self, factory: "AdminFactory") -> None:
        self.is_gone = False
        self._factory = factory
        self._unread = b""
        self._asked = False
        self._paused = False
        self._waiting: Deferred[None] | None = None
        self._gone: list[Callable[[], None]] = []
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """See who it is, and give them their time to ask."""
        assert self.transport is not None
        allowed = {0, os.geteuid()}
        if self._factory.peer_of(self.transport) not in allowed or not self._factory.admit(self):
            self._asked = True
            self.cut_off()
            return
        self.transport.registerProducer(self, True)
        self._deadline = self._factory.clock.callLater(REQUEST_S, self._too_late)

    def dataReceived(self, data: bytes) -> None:
        """Take the request; there is only one."""
        if self.is_gone:
            return
        if self._asked:
            self.cut_off()
            return
        self._unread += data
        request, newline, rest = self._unread.partition(b"\n")
        if rest or len(request) + 1 > REQUEST_BYTES:
            self._end(Failed("a request is one line, and not a long one", Exit.USAGE))
        elif newline:
            self._unread = b""
            self._ask(request)

    def _ask(self, text: bytes) -> None:
        self._stop_deadline()
        self._asked = True
        try:
            request = read_request(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self._end(Failed("this is no request; the command may be of another version", Exit.USAGE))
            return
        carried_out: Deferred[Done] = maybeDeferred(self._factory.carry_out, request, self)
        carried_out.addCallbacks(lambda done: self._done(request, done), self._failed)

    def _done(self, request: Request, done: Done) -> None:
        if isinstance(request, Backup):
            # The copy is there for as long as the link.
            self.tell(done)
        else:
            self._end(done)

    def _failed(self, failure: Failure) -> None:
        wrong = failure.value
        if isinstance(wrong, AdminError):
            self._end(Failed(str(wrong), wrong.status))
            return
        if wrong is not None and not isinstance(wrong, EndedError):
            self._log.error("an admin request failed: {error}", error=kind_and_place(wrong))
        self._end(Failed("the relay could not do it; its log may say more", Exit.FAILED))

    def _end(self, last: Failed | Done) -> None:
        self._asked = True
        self.tell(last)
        self._stop_deadline()
        if not self.is_gone:
            assert self.transport is not None
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    # What the office does.

    def tell(self, answer: Answer) -> None:
        """Answer something."""
        if not self.is_gone:
            assert self.transport is not None
            self.transport.write(line(answer))

    def ready(self) -> Deferred[None]:
        """Fires when more can be told, in another turn; fails with `EndedError` where they are gone."""
        waiting = self._waiting = Deferred()
        if self.is_gone or not self._paused:
            self._factory.clock.callLater(0, self._go_on)
        return waiting

    def when_gone(self, call: Callable[[], None]) -> None:
        """Make `call` once they are gone."""
        if self.is_gone:
            call()
        else:
            self._gone.append(call)

    def _go_on(self) -> None:
        if self._paused and not self.is_gone:
            return
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if self.is_gone:
            waiting.errback(EndedError())
        else:
            waiting.callback(None)

    # The transport.

    def pauseProducing(self) -> None:
        """They do not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """They read again."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """They are gone, which `connectionLost` tells."""

    def _too_late(self) -> None:
        self._deadline = None
        self._end(Failed("no request came in time", Exit.USAGE))

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def cut_off(self) -> None:
        """End it at once."""
        assert self.transport is not None
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """They are gone."""
        self.is_gone = True
        self._stop_deadline()
        self._factory.lost(self)
        self._go_on()
        gone, self._gone = self._gone, []
        for call in gone:
            call()


class AdminFactory(Factory):
    """The links."""

    noisy = False

    def __init__(self, clock: Any, carry_out: CarryOut, peer_of: Callable[[Any], int] = peer_of) -> None:
        self.clock = clock
        self.carry_out = carry_out
        self.peer_of = peer_of
        self._links: dict[AdminProtocol, None] = {}

    def buildProtocol(self, addr: IAddress | None) -> AdminProtocol:
        """A new link."""
        return AdminProtocol(self)

    def admit(self, link: AdminProtocol) -> bool:
        """Count a link, or say that it is one too many."""
        if len(self._links) >= MOST_LINKS:
            return False
        self._links[link] = None
        return True

    def lost(self, link: AdminProtocol) -> None:
        """One less."""
        self._links.pop(link, None)

    def cut_off(self) -> None:
        """End all."""
        for link in list(self._links):
            link.cut_off()


class AdminService(Service):
    """Listens once the store is open, whose lock says that no other relay does. The relay does without it too."""

    _log = Logger()

    def __init__(self, reactor: Any, directory: Path, factory: AdminFactory, tidy: Callable[[], None]) -> None:
        """Take what deletes what an earlier relay may have left."""
        self._reactor = reactor
        self._path = directory / SOCKET_FILE
        self._factory = factory
        self._tidy = tidy
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen."""
        super().startService()
        try:
            self._tidy()
            self._listen()
        except (OSError, CannotListenError) as wrong:
            self._log.error("no admin socket: {error}", error=str(cannot_listen(SOCKET_FILE, wrong)))

    def _listen(self) -> None:
        with suppress(FileNotFoundError):
            # What a relay has left that was killed.
            if S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()
        mask = os.umask(0o177)
        try:
            self._port = self._reactor.listenUNIX(short_path(self._path), self._factory, mode=0o600)
        finally:
            os.umask(mask)

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Close it."""
        yield super().stopService()
        port, self._port = self._port, None
        if port is not None:
            yield maybeDeferred(port.stopListening)
        self._factory.cut_off()
