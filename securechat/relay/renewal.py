"""What is read again while the relay runs (SIGHUP): its certificate, and the message of the day.

No connection is dropped for it: those that are there go on with what they began with, new ones get the new. What
cannot be read stays as it was, with one line in the log.
"""

import signal
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from OpenSSL.SSL import Context
from twisted.application.service import Service
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.logger import Logger
from zope.interface import implementer

from securechat.relay.certificate import load_again, load_or_make, tls_options
from securechat.relay.errors import RelayError
from securechat.wire.address import fingerprint
from securechat.wire.errors import kind_and_place
from securechat.wire.messages import MOTD_CHARACTERS


@implementer(IOpenSSLContextFactory)
class Certified:
    """The relay's key with its newest certificate; gives the TLS context of each new connection."""

    def __init__(self, directory: Path, now: Callable[[], datetime]) -> None:
        """Load them, or make them. Raises `RelayError`."""
        self._directory = directory
        self._now = now
        self._key, self._certificate = load_or_make(directory, now())
        self._context = tls_options(self._key, self._certificate).getContext()

    @property
    def fingerprint(self) -> str:
        """The key's, which stays."""
        return fingerprint(self._certificate)

    def not_after(self) -> float:
        """When the certificate ends, in seconds of Unix time."""
        return self._certificate.not_valid_after_utc.timestamp()

    def getContext(self) -> Context:
        """The context for a new connection."""
        return self._context

    def reload(self) -> None:
        """Take the certificate that is there now. Raises `RelayError` and keeps the old one."""
        certificate = load_again(self._directory, self._now(), self._key)
        # The context first: what fails in it leaves everything as it was.
        self._context = tls_options(self._key, certificate).getContext()
        self._certificate = certificate


def read_motd(path: Path) -> str:
    """The message of the day in a file, without white space around it. Raises `RelayError`."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOTD_CHARACTERS * 2).strip()
    except OSError as wrong:
        raise RelayError(f"cannot read --motd-file {path}: {wrong.strerror}") from wrong
    except ValueError as wrong:
        raise RelayError(f"--motd-file {path} is not UTF-8") from wrong
    if len(text) > MOTD_CHARACTERS:
        raise RelayError(f"--motd-file {path} has more than {MOTD_CHARACTERS} characters")
    return text


class Reload(Service):
    """Reads everything again at each SIGHUP while it runs."""

    _log = Logger()

    def __init__(self, reactor: Any, parts: Sequence[Callable[[], None]], has_terminal: Callable[[], bool]) -> None:
        """Take what reads one thing each, and raises `RelayError` where that cannot be used.

        The same signal comes when the terminal is closed in which the relay was started; then it stops.
        """
        self._reactor = reactor
        self._parts = parts
        self._has_terminal = has_terminal
        self._had_terminal = False
        self._before: Any = None

    def privilegedStartService(self) -> None:
        """Listen to the signal from the beginning; what it asks for is done once the reactor turns."""
        super().privilegedStartService()
        # Not sooner: by now twistd has gone into the background, if it is to, and has left its terminal itself.
        self._had_terminal = self._has_terminal()
        self._before = signal.signal(signal.SIGHUP, self._signalled)

    def stopService(self) -> None:
        """Read nothing more; the signal does not end a relay that is stopping in good order either."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN if self._before == signal.SIG_DFL else self._before)
        super().stopService()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        # A signal can come in the middle of anything.
        self._reactor.callFromThread(self._hung_up)

    def _hung_up(self) -> None:
        if self._had_terminal and not self._has_terminal():
            self._reactor.stop()
        else:
            self.reload()

    def reload(self) -> None:
        """Read everything again, each whether or not the others can be read."""
        failed = 0
        for part in self._parts:
            try:
                part()
            except RelayError as wrong:
                failed += 1
                self._log.error("not reloaded, the old stays in use: {error}", error=str(wrong))
            except Exception as wrong:
                failed += 1
                self._log.error("not reloaded, the old stays in use: {error}", error=kind_and_place(wrong))
        if not failed:
            self._log.info("reloaded")
