"""What stands between an endpoint and the relay: strangers who wait for their turn, and whoever is one too many."""

from typing import Final, cast

from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, ITransport
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat.relay.protocol import RelayProtocol
from securechat.relay.turns import Turns
from securechat.wire.outbox import LinkTransport

FIRST_BYTES: Final = 8 * 1024
"""How much is read of a stranger at once: twice as much as a handshake or a login begins with."""


@implementer(IProtocol)
class Stranger:
    """A connection until it has been listened to for the first time; then it is its protocol's alone."""

    def __init__(self, inner: IProtocol, link: RelayProtocol, turns: Turns) -> None:
        self.inner = inner
        self._link = link
        self._turns = turns
        self._transport: LinkTransport | None = None
        self._said = b""

    def makeConnection(self, transport: ITransport) -> None:
        """There is a connection."""
        self._transport = cast(LinkTransport, transport)
        # How much Twisted reads at once, which is held while it waits.
        transport.bufferSize = FIRST_BYTES  # type: ignore[attr-defined]
        self.inner.makeConnection(transport)

    def connectionMade(self) -> None:
        """The same was said by `makeConnection`."""

    def dataReceived(self, data: bytes) -> None:
        """Something is said for the first time. One read is all that is held of it."""
        assert self._transport is not None
        if self._link.closing or self._turns.take(self._listen):
            self._pass(data)
        else:
            self._said = data
            self._link.is_in_line = True
            self._transport.pauseProducing()

    def _listen(self) -> None:
        assert self._transport is not None
        said, self._said = self._said, b""
        self._link.is_in_line = False
        if not self._link.closing:
            # First, as the protocol may want to read nothing more for a while.
            self._transport.resumeProducing()
        self._pass(said)

    def _pass(self, data: bytes) -> None:
        del self._transport.bufferSize  # type: ignore[union-attr]
        # One call less for everything that comes later.
        self.dataReceived = self.inner.dataReceived  # type: ignore[method-assign]
        self.inner.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone, and waits no more."""
        self._turns.leave(self._listen)
        self._transport = None
        self._said = b""
        self.inner.connectionLost(reason)


def link_of(protocol: IProtocol) -> IProtocol:
    """What is inside of what stands before it, and of TLS."""
    while isinstance(protocol, Stranger | ProtocolWrapper):
        protocol = protocol.inner if isinstance(protocol, Stranger) else protocol.wrappedProtocol
    return protocol


@implementer(IProtocolFactory)
class Doorstep:
    """Has strangers wait for their turn, and closes a connection that is one too many as it is accepted."""

    def __init__(self, inner: IProtocolFactory, turns: Turns) -> None:
        self._inner = inner
        self._turns = turns

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:
        """A protocol; or None, so that the descriptor is free again at once."""
        protocol = self._inner.buildProtocol(addr)  # type: ignore[arg-type]
        link = None if protocol is None else link_of(protocol)
        return Stranger(protocol, link, self._turns) if isinstance(link, RelayProtocol) else None

    def doStart(self) -> None:
        """Nothing to begin."""

    def doStop(self) -> None:
        """Nothing to end."""
