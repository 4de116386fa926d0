"""Where the relay listens, and with what protection.

Any endpoint string of Twisted's goes. TLS is wrapped around every listener but a Unix socket and one that brings
its own (`tls:`, `ssl:`). Without TLS a listener must turn out to be on loopback or on a Unix socket, whatever its
endpoint string said, unless the operator insists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from os.path import abspath
from socket import SO_SNDBUF, SOL_SOCKET, gethostname
from typing import Final

from twisted.internet.address import UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IOpenSSLContextFactory,
    IProtocolFactory,
    IReactorCore,
    IStreamServerEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from securechat.relay.buckets import ip_of
from securechat.relay.door import Doorstep
from securechat.relay.errors import RelayError
from securechat.relay.factory import RelayFactory
from securechat.relay.limits import Network
from securechat.relay.proxied import ProxiedFactory, Uncounted
from securechat.wire.address import Address

DEFAULT_LISTEN: Final = "tcp:12345:interface=127.0.0.1"

BACKLOG: Final = 4_096
"""What the kernel is asked to hold of connections that we have not taken yet; it may hold less, see somaxconn."""

ACCEPTED_AT_ONCE: Final = 2

_OWN_TLS: Final = frozenset({"tls", "ssl"})


class TLSFactory(TLSMemoryBIOFactory):
    """TLS that does not gather small writes, which our outboxes have done already."""

    protocol = TLSMemoryBIOProtocol


@dataclass(frozen=True, slots=True)
class Protection:
    """How listeners are protected: by `tls`, or by nothing, and then `anywhere` or on this machine alone.

    `tls` is asked for its context by every new connection, and may give another one after a while.
    """

    tls: IOpenSSLContextFactory | None
    fingerprint: str
    anywhere: bool = False


@dataclass(frozen=True, slots=True)
class Listener:
    """An endpoint that the relay will listen on: whether we put TLS around it, whether it brings its own."""

    description: str
    endpoint: IStreamServerEndpoint
    wrap: bool
    own_tls: bool
    by_proxy: bool
    proxies: Sequence[Network] = ()
    """Whose word for where a client comes from counts; loopback and Unix sockets are trusted anyway."""

    def factory(self, factory: RelayFactory, protection: Protection) -> IProtocolFactory:
        """What to give to the endpoint."""
        counted: IProtocolFactory = Uncounted(factory) if self.by_proxy else factory
        inner = TLSFactory(protection.tls, False, counted) if self.wrap and protection.tls is not None else counted
        at_door = Doorstep(inner, factory.turns)
        return ProxiedFactory(at_door, factory, self._trusts) if self.by_proxy else at_door

    def _trusts(self, address: IAddress) -> bool:
        ip = ip_of(address)
        return is_local(address) or (ip is not None and any(ip in network for network in self.proxies))


def listener(reactor: IReactorCore, description: str, proxies: Sequence[Network] = ()) -> Listener:
    """Understand an endpoint string; `proxies` are trusted for it. Raises `RelayError`."""
    words = description.split(":")
    by_proxy = words[0] == "haproxy" and len(words) > 1
    kind = words[1] if by_proxy else words[0]
    try:
        endpoint = serverFromString(reactor, description)
    except Exception as wrong:
        # Endpoint parsers raise whatever their plugin raises: ValueError, KeyError, TypeError, OSError.
        raise RelayError(f"--listen {description}: {one_line(wrong)}") from wrong
    own_tls = kind in _OWN_TLS
    local = kind == "unix" or (kind == "systemd" and "domain=UNIX" in words)
    return Listener(description, endpoint, not own_tls and not local, own_tls, by_proxy, proxies)


def check_protection(listener: Listener, host: IAddress, protection: Protection) -> None:
    """Raise `RelayError` where a listener without TLS can be reached from other machines."""
    if listener.own_tls or (listener.wrap and protection.tls is not None) or protection.anywhere:
        return
    if not is_local(host):
        raise RelayError(
            f"--listen {listener.description} without TLS can be reached from other machines; "
            "leave --plaintext out, or say --insecure-plaintext"
        )


def is_local(host: IAddress) -> bool:
    """Whether only this machine reaches an address."""
    if isinstance(host, UNIXAddress):
        return True
    try:
        return ip_address(getattr(host, "host", "")).is_loopback
    except ValueError:
        return False


def public_address(listener: Listener, host: IAddress, protection: Protection, name: str | None) -> Address:
    """What to tell people: where this listener is and which key to expect."""
    if isinstance(host, UNIXAddress):
        path = host.name.decode() if isinstance(host.name, bytes) else str(host.name)
        return Address(path=abspath(path), tls=False)
    tls = listener.own_tls or (listener.wrap and protection.tls is not None)
    bound = str(getattr(host, "host", ""))
    anywhere = bound in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
    return Address(
        host=name or (gethostname() if anywhere else bound),
        port=int(getattr(host, "port", 0)),
        tls=tls,
        fingerprint="" if listener.own_tls or not tls else protection.fingerprint,
    )


def deepen_backlog(port: IListeningPort, description: str) -> None:
    """Let the kernel hold as many new connections as it likes; what Twisted asks for is full in a moment.

    An endpoint that says its `backlog=` itself keeps it.
    """
    socket = getattr(port, "socket", None)
    if socket is not None and "backlog=" not in description:
        socket.listen(BACKLOG)


def accept_few_at_once(port: IListeningPort) -> None:
    """Accept no more than so many connections in one turn of the reactor, however many there are.

    Twisted accepts a hundred, and more when there are more; everybody else would wait for all of them.
    """
    accept = getattr(port, "doRead", None)
    if accept is None:
        return

    def accept_few() -> None:
        port.numberAccepts = ACCEPTED_AT_ONCE  # type: ignore[attr-defined]
        accept()

    port.doRead = accept_few  # type: ignore[attr-defined]


def bound_send_buffer(port: IListeningPort, size: int) -> None:
    """Ask the kernel to hold no more than this for each connection to come: it would hold megabytes."""
    socket = getattr(port, "socket", None)
    if socket is not None:
        socket.setsockopt(SOL_SOCKET, SO_SNDBUF, size)


def cannot_listen(description: str, wrong: BaseException | None) -> RelayError:
    """The error for an endpoint that does not listen, in one line."""
    cause = wrong.socketError if isinstance(wrong, CannotListenError) else wrong
    return RelayError(f"cannot listen on {description}: {one_line(cause)}")


def one_line(wrong: BaseException | None) -> str:
    """What an error says, as one line that is never empty."""
    text = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else str(wrong)
    return " ".join(text.split()) or type(wrong).__name__
