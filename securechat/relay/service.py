"""The relay as a service: it listens when it starts, and says goodbye when it stops."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.relay.errors import RelayError, fail
from securechat.relay.factory import RelayFactory
from securechat.relay.listening import (
    Listener,
    Protection,
    accept_few_at_once,
    bound_send_buffer,
    cannot_listen,
    check_protection,
    deepen_backlog,
    public_address,
)
from securechat.wire.address import Address


class RelayService(Service):
    """Listens on all its listeners or fails; `addresses` are known once it runs."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        factory: RelayFactory,
        listeners: Sequence[Listener],
        protection: Protection,
        give_up: Callable[[], None],
        host: str | None = None,
    ) -> None:
        self.addresses: list[Address] = []
        self._reactor = reactor
        self.factory = factory
        self._listeners = listeners
        self._protection = protection
        self._host = host
        self._give_up = give_up
        self._ports: list[IListeningPort] = []

    @property
    def listens(self) -> bool:
        """Whether it listens wherever it should."""
        return len(self._ports) == len(self._listeners)

    def privilegedStartService(self) -> None:
        """Listen. A listener that fails ends the program with one line and exit status 1."""
        super().privilegedStartService()
        for listener in self._listeners:
            failed: list[RelayError] = []
            listening = listener.endpoint.listen(listener.factory(self.factory, self._protection))
            listening.addCallback(self._listens, listener)
            listening.addErrback(self._cannot_listen, listener, failed)
            if failed:
                fail(failed[0])

    def _listens(self, port: IListeningPort, listener: Listener) -> None:
        self._ports.append(port)
        host = port.getHost()
        check_protection(listener, host, self._protection)
        bound_send_buffer(port, self.factory.limits.send_buffer)
        deepen_backlog(port, listener.description)
        accept_few_at_once(port)
        address = public_address(listener, host, self._protection, self._host)
        self.addresses.append(address)
        self._log.info("relay listens at {address}", address=str(address))

    def _cannot_listen(self, failure: Failure, listener: Listener, failed: list[RelayError]) -> None:
        wrong = failure.value
        error = wrong if isinstance(wrong, RelayError) else cannot_listen(listener.description, wrong)
        failed.append(error)
        if self.running:
            # An endpoint that takes its time (a Tor service, say): nobody is waiting for our exception.
            self._log.critical("{error}", error=str(error))
            self._give_up()

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Close the ports, say goodbye to every client, and after `stop_s` seconds cut off who is left."""
        yield super().stopService()
        ports, self._ports = self._ports, []
        yield DeferredList([maybeDeferred(port.stopListening) for port in ports])
        self.factory.say_goodbye()
        late = self._reactor.callLater(self.factory.limits.stop_s, self.factory.cut_off)
        yield self.factory.when_empty()
        if late.active():
            late.cancel()
        factory = self.factory
        self._log.info(
            "relay stopped; {posts} posts, {deliveries} deliveries, {refused} connections refused; "
            "connections ended by cause: {closed}",
            posts=factory.rooms.posts,
            deliveries=factory.rooms.deliveries,
            refused=factory.refused_addresses,
            closed=dict(factory.closed),
        )
