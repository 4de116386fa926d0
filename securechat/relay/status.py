"""`--status`: whether the relay lives, whether it is ready, and its metrics, over HTTP for this machine alone.

`/live` answers as long as the reactor turns and looks at nothing. `/ready` asks the probes in their order, and
answers 503 with the word of the first that does not hold. `/metrics` is for Prometheus.

Every answer ends its connection. One that has not ended by itself after ten seconds, whatever it sends, is cut off,
and so is the oldest of them where there are too many; what comes with a request is thrown away. There is no access
log: it would be full of probes, and of addresses.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from io import BytesIO
from typing import Any, Final, NamedTuple

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, HTTPFactory, Request

from securechat.relay.errors import RelayError, fail
from securechat.relay.exposition import CONTENT_TYPE, Family, exposition
from securechat.relay.factory import RelayFactory
from securechat.relay.lateness import Lateness
from securechat.relay.listening import cannot_listen, is_local, one_line
from securechat.relay.measures import Disk, Measures, Sealed
from securechat.wire.errors import kind_and_place
from securechat.wire.outbox import LinkTransport

CONNECTION_S: Final = 10.0
"""How long a connection may last."""

MOST_CONNECTIONS: Final = 32
"""Connections at once; over it the oldest of them is cut off."""

_TEXT: Final = b"text/plain; charset=utf-8"


class Probe(NamedTuple):
    """One condition of being ready, and the word that tells that it does not hold. Asked often: it only looks."""

    word: str
    holds: Callable[[], bool]


class Pages:
    """What there is to be read."""

    _log = Logger()

    def __init__(self, probes: Sequence[Probe], families: Callable[[], Iterable[Family]]) -> None:
        self._probes = probes
        self._families = families
        self._pages: dict[bytes, Callable[[], tuple[int, bytes, bytes]]] = {
            b"/live": self._live,
            b"/ready": self._ready,
            b"/metrics": self._metrics,
        }

    def answer(self, method: bytes, path: bytes) -> tuple[int, bytes, bytes]:
        """The status, the content type and the content for a request."""
        page = self._pages.get(path)
        if page is None:
            return 404, _TEXT, b"not found\n"
        if method not in (b"GET", b"HEAD"):
            return 405, _TEXT, b"method not allowed\n"
        try:
            return page()
        except Exception as error:
            self._log.error("status page failed: {error}", error=kind_and_place(error))
            return 500, _TEXT, b"failed\n"

    def _live(self) -> tuple[int, bytes, bytes]:
        return 200, _TEXT, b"live\n"

    def _ready(self) -> tuple[int, bytes, bytes]:
        for probe in self._probes:
            if not probe.holds():
                return 503, _TEXT, f"{probe.word}\n".encode()
        return 200, _TEXT, b"ready\n"

    def _metrics(self) -> tuple[int, bytes, bytes]:
        return 200, CONTENT_TYPE, exposition(self._families())


class StatusRequest(Request):
    """One request. A body that comes with it is not kept."""

    def gotLength(self, length: int | None) -> None:
        """Keep nothing, however long."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Throw it away."""

    def process(self) -> None:
        """Answer."""
        status, kind, body = self.channel.factory.pages.answer(self.method, self.path)
        self.setResponseCode(status)
        self.setHeader(b"Content-Type", kind)
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.setHeader(b"Connection", b"close")
        if status == 405:
            self.setHeader(b"Allow", b"GET, HEAD")
        self.write(body)
        self.finish()


class StatusChannel(HTTPChannel):
    """One connection, for one request."""

    requestFactory = StatusRequest
    factory: "StatusFactory"
    transport: LinkTransport | None = None
    _deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Set the time that it has."""
        super().connectionMade()
        self._deadline = self.callLater(CONNECTION_S, self._too_late)
        self.factory.connected(self)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """No: a second request takes a second connection."""
        return False

    def dataReceived(self, data: bytes) -> None:
        """Read; what the parser trips over ends the connection, and is no traceback with an address in it."""
        try:
            super().dataReceived(data)
        except Exception:
            self.cut_off()

    def _too_late(self) -> None:
        self._deadline = None
        self.cut_off()

    def cut_off(self) -> None:
        """End it at once."""
        assert self.transport is not None
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self.factory.lost(self)
        super().connectionLost(reason)


class StatusFactory(HTTPFactory):
    """The connections."""

    noisy = False
    protocol = StatusChannel  # type: ignore[assignment]

    def __init__(self, reactor: Any, pages: Pages) -> None:
        super().__init__(reactor=reactor)
        # The deadline of a connection is enough; this one would log the peer's address.
        self.timeOut = None
        self.pages = pages
        self._channels: dict[StatusChannel, None] = {}

    def startFactory(self) -> None:
        """Open no access log."""

    def stopFactory(self) -> None:
        """Close none."""

    def connected(self, channel: StatusChannel) -> None:
        """One more; the oldest makes room for it."""
        self._channels[channel] = None
        if len(self._channels) > MOST_CONNECTIONS:
            oldest = next(iter(self._channels))
            del self._channels[oldest]
            oldest.cut_off()

    def lost(self, channel: StatusChannel) -> None:
        """One less."""
        self._channels.pop(channel, None)

    def cut_off(self) -> None:
        """End all."""
        for channel in list(self._channels):
            channel.cut_off()


class StatusService(Service):
    """Listens on its endpoint, or ends the program with one line; told to stop, it answers on until `drained`."""

    _log = Logger()

    def __init__(
        self,
        description: str,
        endpoint: IStreamServerEndpoint,
        factory: StatusFactory,
        drained: Callable[[], Deferred[None]],
    ) -> None:
        self._description = description
        self._endpoint = endpoint
        self._factory = factory
        self._drained = drained
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Listen."""
        super().privilegedStartService()
        failed: list[RelayError] = []
        listening = self._endpoint.listen(self._factory)
        listening.addCallback(self._listens)
        listening.addErrback(self._cannot_listen, failed)
        if failed:
            fail(failed[0])

    def _listens(self, port: IListeningPort) -> None:
        self._port = port
        host = port.getHost()
        if not is_local(host):
            raise RelayError(
                f"--status {self._description} can be reached from other machines; "
                "give it a loopback address or a Unix socket"
            )
        self._log.info("status at {endpoint}", endpoint=_shown(host))

    def _cannot_listen(self, failure: Failure, failed: list[RelayError]) -> None:
        wrong = failure.value
        error = wrong if isinstance(wrong, RelayError) else cannot_listen(f"--status {self._description}", wrong)
        failed.append(error)

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Answer until the relay has drained, then close the port and what is left."""
        yield super().stopService()
        yield self._drained()
        port, self._port = self._port, None
        if port is not None:
            yield maybeDeferred(port.stopListening)
        self._factory.cut_off()


def status_service(
    reactor: Any,
    description: str,
    relay: RelayFactory,
    sealed: Callable[[], Sealed | None],
    not_after: Callable[[], float] | None,
    probes: Sequence[Probe],
    disk: Callable[[], Disk] | None = None,
) -> MultiService:
    """The service for `--status` with all that belongs to it. Raises `RelayError` for what is no endpoint."""
    try:
        endpoint = serverFromString(reactor, description)
    except Exception as wrong:
        # Whatever a plugin raises, as with `--listen`.
        raise RelayError(f"--status {description}: {one_line(wrong)}") from wrong
    lateness = Lateness(reactor)
    measures = Measures(relay, lateness, sealed, not_after, disk)
    factory = StatusFactory(reactor, Pages(probes, measures.families))
    service = MultiService()
    lateness.setServiceParent(service)
    StatusService(description, endpoint, factory, relay.when_empty).setServiceParent(service)
    return service


def _shown(host: IAddress) -> str:
    name = getattr(host, "name", None)
    if name is not None:
        return f"unix:{name.decode() if isinstance(name, bytes) else name}"
    return f"{getattr(host, 'host', '')}:{getattr(host, 'port', '')}"
