"""What stands between an endpoint and the relay: who is turned away at once, and who comes by way of a proxy.

A proxy says where a client comes from by a header (PROXY protocol, versions 1 and 2) in front of everything else.
Twisted's `haproxy:` endpoint takes it from anybody. Here a connection that is no trusted proxy's is cut off, and
the client's own address counts as soon as it is known, which is before TLS begins.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

from securechat.relay.door import link_of
from securechat.relay.factory import RelayFactory, Unwelcome
from securechat.relay.protocol import RelayProtocol


@implementer(IProtocolFactory)
class Uncounted:
    """Connections by way of a proxy: where they come from is not known yet."""

    def __init__(self, factory: RelayFactory) -> None:
        self._factory = factory

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:
        """A protocol for a connection from nowhere in particular."""
        return self._factory.buildProtocol(None)

    def doStart(self) -> None:
        """Nothing to begin."""

    def doStop(self) -> None:
        """Nothing to end."""


class ProxiedFactory(WrappingFactory["Proxied"]):
    """Takes connections from proxies that are trusted; `inner` builds their protocols."""

    noisy = False

    def __init__(self, inner: IProtocolFactory, relay: RelayFactory, trusts: Callable[[IAddress], bool]) -> None:
        super().__init__(inner)
        self._relay = relay
        self._trusts = trusts

    def buildProtocol(self, addr: IAddress) -> "Proxied | Unwelcome":  # type: ignore[override]
        """A protocol for a client of a proxy at this address."""
        if not self._trusts(addr):
            self._relay.refused_addresses += 1
            return Unwelcome()
        protocol = self.wrappedFactory.buildProtocol(addr)
        if protocol is None:
            return Unwelcome()
        link = link_of(protocol)
        assert isinstance(link, RelayProtocol)
        return Proxied(self, protocol, addr, self._relay, link)


class Proxied(ProtocolWrapper):
    """A connection by way of a proxy: what comes first comes behind the header, which has been read by then."""

    def __init__(
        self, factory: ProxiedFactory, inner: IProtocol, proxy: IAddress, relay: RelayFactory, link: RelayProtocol
    ) -> None:
        super().__init__(factory, inner)
        self._proxy = proxy
        self._relay = relay
        self._link = link
        self._is_known = False

    def dataReceived(self, data: bytes) -> None:
        """Look where the client is, the first time."""
        if not self._is_known:
            self._is_known = True
            peer = self.getPeer()
            # A proxy that looks whether we are there says no address, and counts under none.
            if peer != self._proxy and not self._relay.comes_from(self._link, peer):
                self._link.cut_off()
                return
        super().dataReceived(data)
