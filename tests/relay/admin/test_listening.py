"""The admin socket in memory: who may ask, what is no request, and that nothing is a traceback."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.admin.listening import MOST_LINKS, REQUEST_S, AdminFactory, AdminProtocol
from securechat.relay.admin.messages import (
    REQUEST_BYTES,
    Answer,
    Backup,
    Ban,
    Done,
    Failed,
    Progress,
    Request,
    Users,
    line,
    read_answer,
)
from securechat.relay.admin.office import Caller
from securechat.relay.writer import EndedError


class Wire(StringTransport):
    """A transport that remembers whether it was cut off."""

    aborting = False

    def abortConnection(self) -> None:
        """Cut it off."""
        self.aborting = True


class Link:
    """One link, and what the relay has said on it."""

    def __init__(self, factory: AdminFactory) -> None:
        self.protocol: AdminProtocol = factory.buildProtocol(None)
        self.transport = Wire()
        self.protocol.makeConnection(self.transport)

    def said(self) -> list[Answer]:
        """All answers."""
        return [read_answer(text) for text in self.transport.value().splitlines()]

    @property
    def is_over(self) -> bool:
        """Whether the relay has ended it."""
        return self.transport.disconnecting or self.transport.aborting

    def lose(self) -> None:
        """It is gone."""
        self.protocol.connectionLost()


class ListeningTests(SynchronousTestCase):
    """A factory whose requests do what a test says."""

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.asked: list[Request] = []
        self.callers: list[Caller] = []
        self.result: Deferred[Done] | None = None
        self.peer = os.geteuid()
        self.factory = AdminFactory(self.clock, self.carry_out, lambda transport: self.peer)

    def carry_out(self, request: Request, caller: Caller) -> Deferred[Done]:
        """Do what the test has said."""
        self.asked.append(request)
        self.callers.append(caller)
        return succeed(Done("done")) if self.result is None else self.result

    def link(self) -> Link:
        """A new link."""
        return Link(self.factory)

    def test_request(self) -> None:
        """A request is carried out, answered and the link ended, in however many pieces it comes."""
        link = self.link()
        for byte in line(Ban("alice")):
            link.protocol.dataReceived(bytes([byte]))
        self.assertEqual([Ban("alice")], self.asked)
        self.assertEqual([Done("done")], link.said())
        self.assertTrue(link.transport.disconnecting)
        link.lose()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_who(self) -> None:
        """The relay's own user and root may ask; anybody else is cut off and not even heard."""
        for peer, is_allowed in ((os.geteuid(), True), (0, True), (os.geteuid() + 1, False), (-1, False)):
            self.peer = peer
            link = self.link()
            link.protocol.dataReceived(line(Users()))
            self.assertEqual(is_allowed, bool(link.said()), peer)
            self.assertEqual(not is_allowed, link.transport.aborting)
            link.lose()

    def test_no_requests(self) -> None:
        """What is no request ends the link with one answer, and is not carried out."""
        good = line(Users()).strip()
        for text in (
            b"\n",
            b"nonsense\n",
            b"[]\n",
            b'{"do": "nothing"}\n',
            b'{"do": "ban"}\n',
            b'{"do": "ban", "what": 1}\n',
            b'{"do": "users", "more": 1}\n',
            b"[" * 4_000 + b"\n",
            b"\xff\xfe\n",
            good + b"\n" + good + b"\n",
            b"x" * REQUEST_BYTES,
        ):
            link = self.link()
            link.protocol.dataReceived(text)
            (answer,) = link.said()
            self.assertIsInstance(answer, Failed)
            self.assertTrue(link.is_over)
            link.lose()
        self.assertEqual([], self.asked)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_length(self) -> None:
        """A request may be as long as the bound, with its newline, and no longer."""
        most = REQUEST_BYTES - len(line(Ban("")))
        for extra, kind in ((0, Done), (1, Failed)):
            link = self.link()
            link.protocol.dataReceived(line(Ban("x" * (most + extra))))
            self.assertIsInstance(link.said()[0], kind)
            link.lose()

    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        """Whatever bytes come, the link is waiting, or is over with one answer."""
        link = self.link()
        link.protocol.dataReceived(data)
        self.assertEqual(link.is_over, len(link.said()) == 1)
        link.lose()

    def test_slow(self) -> None:
        """A request that does not come in time ends the link, however busily it does not."""
        link = self.link()
        for byte in b'{"do": "us':
            self.clock.advance(REQUEST_S / 10 - 0.01)
            link.protocol.dataReceived(bytes([byte]))
        self.assertFalse(link.is_over)
        self.clock.advance(1)
        self.assertIsInstance(link.said()[0], Failed)
        self.assertTrue(link.is_over)

    def test_many_links(self) -> None:
        """Over the bound a link is cut off, and there is room again when one ends."""
        links = [self.link() for _ in range(MOST_LINKS + 1)]
        self.assertEqual([False] * MOST_LINKS + [True], [link.transport.aborting for link in links])
        links[-1].lose()
        links[0].lose()
        self.assertFalse(self.link().is_over)

    def test_more_after_a_request(self) -> None:
        """Who says more while they wait is cut off."""
        self.result = Deferred()
        link = self.link()
        link.protocol.dataReceived(line(Users()))
        link.protocol.dataReceived(b"x")
        self.assertTrue(link.transport.aborting)

    def test_failures(self) -> None:
        """What cannot be done is answered with why; a mistake of ours is logged by its kind and place alone."""
        logged: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            logged.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        for wrong, answer in [
            (AdminError("no such thing", Exit.NO_SUCH), Failed("no such thing", Exit.NO_SUCH)),
            (EndedError(), Failed("the relay could not do it; its log may say more", Exit.FAILED)),
            (KeyError("unmistakable"), Failed("the relay could not do it; its log may say more", Exit.FAILED)),
        ]:
            self.result = fail(wrong)
            link = self.link()
            link.protocol.dataReceived(line(Users()))
            self.assertEqual([answer], link.said())
        (event,) = logged
        self.assertIn("KeyError", str(event["error"]))
        self.assertNotIn("unmistakable", str(event))

    def test_raised_at_once(self) -> None:
        """What raises instead of failing is answered all the same."""

        def carry_out(request: Request, caller: Caller) -> Any:
            raise AdminError("no", Exit.RUNNING)

        self.factory.carry_out = carry_out
        link = self.link()
        link.protocol.dataReceived(line(Users()))
        self.assertEqual([Failed("no", Exit.RUNNING)], link.said())

    def test_copies_stay(self) -> None:
        """After a backup the link stays until the other side ends it, and that is told."""
        link = self.link()
        link.protocol.dataReceived(line(Backup()))
        self.assertEqual([Done("done")], link.said())
        self.assertFalse(link.is_over)
        gone: list[int] = []
        self.callers[0].when_gone(lambda: gone.append(1))
        self.assertEqual([], gone)
        link.lose()
        self.callers[0].when_gone(lambda: gone.append(2))
        self.assertEqual([1, 2], gone)

    def test_paused(self) -> None:
        """Who does not read is told more when they do; whoever is gone, nothing."""
        self.result = Deferred()
        link = self.link()
        link.protocol.dataReceived(line(Users()))
        caller = self.callers[0]
        ready = caller.ready()
        self.assertNoResult(ready)
        self.clock.advance(0)
        self.successResultOf(ready)
        link.protocol.pauseProducing()
        ready = caller.ready()
        self.clock.advance(1)
        self.assertNoResult(ready)
        link.protocol.resumeProducing()
        self.successResultOf(ready)
        link.protocol.pauseProducing()
        waiting = caller.ready()
        link.lose()
        self.failureResultOf(waiting, EndedError)
        caller.tell(Progress(1, 2))
        self.assertEqual([], link.said())
        late = caller.ready()
        self.clock.advance(0)
        self.failureResultOf(late, EndedError)
