"""What systemd wants to hear (`Type=notify`): that the relay is ready, that it is alive, and that it stops.

That it is alive (`WatchdogSec=`) is said when its reactor turns and its store has just answered: a relay whose disk
hangs is started again. One datagram to the socket that `$NOTIFY_SOCKET` names; nothing where it names none.
"""

import socket
from collections.abc import Callable, Mapping

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorCore, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


def notify(environment: Mapping[str, str], state: str) -> bool:
    """Send a state; whether it was sent. Raises `OSError`."""
    path = environment.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        # `@` stands for the null byte that begins an abstract address.
        sender.connect("\0" + path[1:] if path[0] == "@" else path)
        sender.sendall(state.encode())
    return True


class Notifier(Service):
    """Tells when all services have started, which is when the reactor begins to turn, and when they stop."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorCore,
        environment: Mapping[str, str],
        answers: Callable[[], Deferred[None]] = lambda: succeed(None),
    ) -> None:
        """Take the reactor, the environment, and what fires when the store has answered."""
        self._reactor = reactor
        self._environment = environment
        self._answers = answers
        self._watchdog = LoopingCall(self._lives)
        self._watchdog.clock = IReactorTime(reactor)

    def startService(self) -> None:
        """Say that we are ready once the reactor turns."""
        super().startService()
        self._reactor.callWhenRunning(self._tell, "READY=1")
        wanted_us = self._environment.get("WATCHDOG_USEC", "")
        if wanted_us.isdecimal() and int(wanted_us):
            # Half of it, as systemd advises. The next one waits for the answer to this.
            self._watchdog.start(int(wanted_us) / 2e6, now=False)

    def _lives(self) -> Deferred[None]:
        return self._answers().addCallback(lambda _: self._tell("WATCHDOG=1"))

    def stopService(self) -> None:
        """Say that we stop."""
        if self._watchdog.running:
            self._watchdog.stop()
        self._tell("STOPPING=1")
        super().stopService()

    def _tell(self, state: str) -> None:
        try:
            notify(self._environment, state)
        except OSError as wrong:
            self._log.error("systemd was not told {state}: {why}", state=state, why=wrong.strerror or "")
