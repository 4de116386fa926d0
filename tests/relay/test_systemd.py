"""What systemd is told, on sockets like its own."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat.relay.systemd import Notifier, notify


class NotifyTests(SynchronousTestCase):
    """Datagrams to real sockets."""

    def listening(self, address: str) -> socket.socket:
        """A socket that listens as systemd does."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(address)
        listener.settimeout(5)
        return listener

    def path(self) -> str:
        """A path short enough for a socket."""
        path = Path(self.mktemp())
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.path.relpath(path)

    def test_path(self) -> None:
        """A socket in the file system gets the state, whole and alone."""
        path = os.path.abspath(self.path())
        listener = self.listening(path)
        self.assertTrue(notify({"NOTIFY_SOCKET": path}, "READY=1"))
        self.assertEqual(b"READY=1", listener.recv(100))

    def test_abstract(self) -> None:
        """An abstract socket, written with @, gets it as well."""
        name = f"securechat-test-{os.getpid()}"
        listener = self.listening(f"\0{name}")
        self.assertTrue(notify({"NOTIFY_SOCKET": f"@{name}"}, "STOPPING=1"))
        self.assertEqual(b"STOPPING=1", listener.recv(100))

    def test_nobody(self) -> None:
        """Without a socket, or with a kind that we do not know, nothing is sent and nothing fails."""
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
            self.assertFalse(notify(environment, "READY=1"))

    def test_service(self) -> None:
        """Ready is said when the reactor turns, so after every service has started, stopping when it stops."""
        path = os.path.abspath(self.path())
        listener = self.listening(path)
        listener.settimeout(0)
        reactor: Any = MemoryReactorClock()
        parent = MultiService()
        Notifier(reactor, {"NOTIFY_SOCKET": path}).setServiceParent(parent)
        parent.startService()
        with self.assertRaises(BlockingIOError):
            listener.recv(100)
        reactor.run()
        self.assertEqual(b"READY=1", listener.recv(100))
        self.successResultOf(parent.stopService())
        self.assertEqual(b"STOPPING=1", listener.recv(100))

    def test_watchdog(self) -> None:
        """Twice within what systemd wants it is told that the relay lives, but only when the store has answered."""
        path = os.path.abspath(self.path())
        listener = self.listening(path)
        listener.settimeout(0)
        reactor: Any = MemoryReactorClock()
        asked: list[Deferred[None]] = []

        def answers() -> Deferred[None]:
            asked.append(Deferred())
            return asked[-1]

        notifier = Notifier(reactor, {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"}, answers)
        notifier.startService()
        reactor.run()
        self.assertEqual(b"READY=1", listener.recv(100))
        for _ in range(2):
            reactor.advance(15)
            with self.assertRaises(BlockingIOError):
                listener.recv(100)
            asked[-1].callback(None)
            self.assertEqual(b"WATCHDOG=1", listener.recv(100))
        for _ in range(3):
            reactor.advance(15)
        self.assertEqual(3, len(asked))
        with self.assertRaises(BlockingIOError):
            listener.recv(100)
        notifier.stopService()
        self.assertEqual(b"STOPPING=1", listener.recv(100))
        self.assertEqual([], reactor.getDelayedCalls())

    def test_no_watchdog(self) -> None:
        """Where systemd wants none, or what it wants is no number, nothing is asked."""
        for wanted in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}):
            reactor: Any = MemoryReactorClock()
            Notifier(reactor, wanted).startService()
            self.assertEqual([], reactor.getDelayedCalls())

    def test_gone(self) -> None:
        """A socket that is gone is one line in the log, and the relay goes on."""
        logged: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            logged.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        reactor: Any = MemoryReactorClock()
        notifier = Notifier(reactor, {"NOTIFY_SOCKET": "/nowhere/at/all"})
        notifier.startService()
        reactor.run()
        notifier.stopService()
        self.assertEqual(
            [f"systemd was not told {state}=1: No such file or directory" for state in ("READY", "STOPPING")],
            logged,
        )
