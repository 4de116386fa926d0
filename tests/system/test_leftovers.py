"""What is left in a relay of links that are gone: nothing that only the garbage collector would find.

Where it had something to find it would stop everybody for as long as it looks: 40 ms after two thousand strangers.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IAddress, IProtocolFactory, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from securechat.client.tls import PinnedTLS, TLSClientFactory
from securechat.relay.door import Doorstep
from securechat.relay.protocol import RelayProtocol
from securechat.wire.messages import SessionKey
from tests.client.test_link_tls import TLSCase
from tests.relay.people import Chain, person

reactor: Any = the_reactor


class LeftoverTests(TLSCase):
    """Links of all kinds, to a relay with TLS and to one without."""

    def setUp(self) -> None:
        """Nobody looks for garbage, and we know of everything that the relay has of each link."""
        super().setUp()
        gc.disable()
        self.addCleanup(gc.enable)
        self.left: list[ref[object]] = []
        build = self.relay.buildProtocol

        def build_known(addr: IAddress | None) -> object:
            link = build(addr)
            assert isinstance(link, RelayProtocol)
            self.left += [ref(link), ref(link._session)]
            return link

        self.patch(self.relay, "buildProtocol", build_known)

    def serve(self, tls: bool) -> int:
        """Listen as the relay does; the port."""
        return self.listen(Doorstep(self.relay, self.relay.turns), tls=tls)

    async def visit(self, act: Callable[[ITCPTransport], None] = lambda _: None) -> None:
        """Somebody connects and does something, without TLS and with it; nothing of them is left."""
        for tls in (False, True):
            factory: IProtocolFactory = Factory.forProtocol(Protocol)
            if tls:
                factory = TLSClientFactory(PinnedTLS(), True, factory, reactor)
            client: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", self.serve(tls)).connect(factory)
            act(client.transport)
            await self.assert_nothing_left()

    async def talk(self, leave: Callable[[], None]) -> None:
        """Somebody logs in and makes a room; nothing of them is left when they are gone."""
        for tls in (False, True):
            self.start(self.serve(tls), tls=tls)
            await self.listener.up
            self.listener.up = Deferred()
            self.listener.received_messages.clear()
            self.link.send(Chain(f"#room{tls:d}").found(person("alice", 0)))
            while not any(isinstance(each, SessionKey) for each in self.listener.received_messages):
                await deferLater(reactor, 0.01)
            leave()
            self.link.stop()
            await self.assert_nothing_left()

    async def assert_nothing_left(self) -> None:
        """Not a link, not a session."""
        while not self.left or self.relay.connections:
            await deferLater(reactor, 0.01)
        # What the reactor itself holds of its last turn.
        await deferLater(reactor, 0.01)
        self.assertEqual([], [each() for each in self.left if each() is not None])
        self.left.clear()

    async def test_leaves(self) -> None:
        """Nothing is left of who connects and leaves again."""
        await self.visit(lambda transport: transport.loseConnection())

    async def test_silent(self) -> None:
        """Nor of who says nothing until it is too late."""
        await self.visit()

    async def test_cut_off(self) -> None:
        """Nor of who is one too many."""
        await self.visit(lambda _: self.relay.cut_off())

    async def test_refused(self) -> None:
        """Nor of who says what is no message."""
        await self.visit(lambda transport: transport.write(b"GET / HTTP/1.1"))

    async def test_reset(self) -> None:
        """Nor of whose connection breaks."""
        await self.visit(lambda transport: transport.abortConnection())

    async def test_quits(self) -> None:
        """Nor of a client that says goodbye."""
        await self.talk(lambda: None)

    async def test_client_is_cut_off(self) -> None:
        """Nor of one that is cut off."""
        await self.talk(self.relay.cut_off)

    async def test_relay_stops(self) -> None:
        """Nor of one that is told that the relay stops."""
        await self.talk(self.relay.say_goodbye)
