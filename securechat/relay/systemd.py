"""What systemd wants to hear (`Type=notify`): that the relay is ready, and that it stops.

One datagram to the socket that `$NOTIFY_SOCKET` names; nothing where it names none.
"""

import socket
from collections.abc import Mapping

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorCore
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

    def __init__(self, reactor: IReactorCore, environment: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._environment = environment

    def startService(self) -> None:
        """Say that we are ready once the reactor turns."""
        super().startService()
        self._reactor.callWhenRunning(self._tell, "READY=1")

    def stopService(self) -> None:
        """Say that we stop."""
        self._tell("STOPPING=1")
        super().stopService()

    def _tell(self, state: str) -> None:
        try:
            notify(self._environment, state)
        except OSError as wrong:
            self._log.error("systemd was not told {state}: {why}", state=state, why=wrong.strerror or "")
