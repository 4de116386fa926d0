"""What is read again while the relay runs: what becomes new, and what stays when that cannot be used."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from securechat.relay.certificate import CERTIFICATE_FILE, KEY_FILE
from securechat.relay.errors import RelayError
from securechat.relay.renewal import Certified, Reload, read_motd
from securechat.wire.address import fingerprint
from securechat.wire.messages import MOTD_CHARACTERS

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def shown(certified: Certified) -> x509.Certificate:
    """The certificate that a new connection is shown."""
    server, client = SSL.Connection(certified.getContext()), SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(4):
        for end, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(1 << 16))
    certificate = client.get_peer_certificate()
    assert certificate is not None
    return certificate.to_cryptography()


class CertifiedTests(SynchronousTestCase):
    """A certificate and its files."""

    def setUp(self) -> None:
        """Make a key and a certificate."""
        self.directory = Path(self.mktemp())
        self.now = BEGIN
        self.certified = Certified(self.directory, lambda: self.now)
        self.key, self.certificate = self.directory / KEY_FILE, self.directory / CERTIFICATE_FILE
        self.before = shown(self.certified)

    def keeps(self, *words: str) -> None:
        """Reloading fails with one line that holds the words, and changes nothing."""
        files = {path: path.read_bytes() for path in self.directory.iterdir()}
        with self.assertRaises(RelayError) as caught:
            self.certified.reload()
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual(self.before, shown(self.certified))
        self.assertEqual(self.before.not_valid_after_utc.timestamp(), self.certified.not_after())
        self.assertEqual(files, {path: path.read_bytes() for path in self.directory.iterdir()})

    def test_renewed(self) -> None:
        """Another certificate of the same key is shown to new connections, under the same fingerprint."""
        self.certificate.unlink()
        self.now += timedelta(days=300)
        Certified(self.directory, lambda: self.now)
        pin = self.certified.fingerprint
        self.certified.reload()
        after = shown(self.certified)
        self.assertNotEqual(self.before, after)
        self.assertEqual([pin] * 2, [fingerprint(after), self.certified.fingerprint])
        self.assertEqual(after.not_valid_after_utc.timestamp(), self.certified.not_after())
        self.assertGreater(self.certified.not_after(), self.before.not_valid_after_utc.timestamp())

    def test_taken_away(self) -> None:
        """A certificate that was taken away is made anew, valid from now on."""
        self.certificate.unlink()
        self.now += timedelta(days=300)
        self.certified.reload()
        later = shown(self.certified).not_valid_before_utc - self.before.not_valid_before_utc
        self.assertEqual(timedelta(days=300), later)
        self.assertTrue(self.certificate.exists())

    def test_nothing_new(self) -> None:
        """With the files as they were the certificate is as it was."""
        self.certified.reload()
        self.assertEqual(self.before, shown(self.certified))

    def test_damaged(self) -> None:
        """A file that is damaged keeps the old certificate."""
        for path in (self.key, self.certificate):
            good = path.read_bytes()
            for bad in (b"", b"no PEM", good[: len(good) // 2]):
                path.write_bytes(bad)
                self.keeps("damaged")
            path.write_bytes(good)
        self.certified.reload()

    def test_another_key(self) -> None:
        """Another key is not taken, though its certificate belongs to it, and no certificate is made for it."""
        other = Path(self.mktemp())
        Certified(other, lambda: self.now)
        for name in (KEY_FILE, CERTIFICATE_FILE):
            (self.directory / name).write_bytes((other / name).read_bytes())
        self.keeps("ANOTHER KEY", "lock out every client")
        self.certificate.unlink()
        self.keeps("ANOTHER KEY")

    def test_another_certificate(self) -> None:
        """A certificate of another key is not taken."""
        other = Path(self.mktemp())
        Certified(other, lambda: self.now)
        self.certificate.write_bytes((other / CERTIFICATE_FILE).read_bytes())
        self.keeps("does not belong")

    def test_lost_key(self) -> None:
        """A key that is not there, as on a disk that is not there, is not made anew."""
        self.key.unlink()
        self.keeps(KEY_FILE, "No such file")
        self.certificate.unlink()
        self.keeps(KEY_FILE, "No such file")

    def test_readable_by_others(self) -> None:
        """A key that others can read by now is not gone on with in silence."""
        self.key.chmod(0o644)
        self.keeps("others can read")


class MotdTests(SynchronousTestCase):
    """The message of the day in a file."""

    def setUp(self) -> None:
        """Choose a file."""
        self.file = Path(self.mktemp())

    def fails(self, *words: str) -> None:
        """Reading fails with one line that holds the words."""
        with self.assertRaises(RelayError) as caught:
            read_motd(self.file)
        for word in (str(self.file), *words):
            self.assertIn(word, str(caught.exception))

    def test_read(self) -> None:
        """The text comes without white space around it."""
        self.file.write_text("\n Grüß Gott,\nall of you \n\n", encoding="utf-8")
        self.assertEqual("Grüß Gott,\nall of you", read_motd(self.file))

    def test_longest(self) -> None:
        """As many characters as --motd may have, and the line feed of an editor."""
        self.file.write_text("ü" * MOTD_CHARACTERS + "\n", encoding="utf-8")
        self.assertEqual(MOTD_CHARACTERS, len(read_motd(self.file)))

    def test_too_long(self) -> None:
        """One more is too many, and so is any number."""
        for length in (MOTD_CHARACTERS + 1, MOTD_CHARACTERS * 100):
            self.file.write_text("x" * length)
            self.fails("1000 characters")

    def test_no_text(self) -> None:
        """What is no UTF-8, a directory, and nothing are errors of one line."""
        self.fails("No such file")
        self.file.write_bytes(b"\xff\xfe")
        self.fails("UTF-8")
        self.file = self.file.parent
        self.fails("directory")


class TurningReactor:
    """Calls at its next turn what came from a signal, and counts how often it was stopped."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.stopped = 0

    def callFromThread(self, call: Callable[[], None]) -> None:
        """Call this in the next turn."""
        self.calls.append(call)

    def turn(self) -> None:
        """Turn."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def stop(self) -> None:
        """Count."""
        self.stopped += 1


class ReloadTests(SynchronousTestCase):
    """The service that hears the signal."""

    def setUp(self) -> None:
        """Make it, with parts that work, fail and break, and keep what is logged."""
        self.reactor = TurningReactor()
        self.read: list[str] = []
        self.wrong: list[Exception] = []
        self.terminal = True
        self.logged: list[tuple[str, LogLevel]] = []
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.logged.append(
                (eventAsText(event, includeTimestamp=False, includeSystem=False), event["log_level"])
            )

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        parts: list[Callable[[], None]] = [self.fail_if_told, lambda: self.read.append("other")]
        self.service = Reload(self.reactor, parts, lambda: self.terminal)

    def fail_if_told(self) -> None:
        """A part that may fail."""
        self.read.append("one")
        if self.wrong:
            raise self.wrong[0]

    def test_signal(self) -> None:
        """The signal reads everything again, in the reactor's turn and not in the middle of something."""
        self.service.privilegedStartService()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual([], self.read)
        self.reactor.turn()
        self.assertEqual(["one", "other"], self.read)
        self.assertEqual([("reloaded", LogLevel.info)], self.logged)

    def test_failing(self) -> None:
        """What cannot be read is one line of an error, and the other parts are read all the same."""
        self.wrong = [RelayError("it is damaged")]
        self.service.reload()
        self.assertEqual(["one", "other"], self.read)
        self.assertEqual([("not reloaded, the old stays in use: it is damaged", LogLevel.error)], self.logged)

    def test_mistake(self) -> None:
        """A mistake of ours is one line that says where and not what, and nothing ends by it."""
        self.wrong = [KeyError("secret")]
        self.service.reload()
        self.assertEqual(["one", "other"], self.read)
        ((line, level),) = self.logged
        self.assertEqual(LogLevel.error, level)
        self.assertIn("KeyError at test_renewal.py", line)
        self.assertNotIn("secret", line)

    def test_terminal(self) -> None:
        """Where the signal comes because the terminal was closed, the relay stops."""
        self.service.privilegedStartService()
        os.kill(os.getpid(), signal.SIGHUP)
        self.reactor.turn()
        self.assertEqual(0, self.reactor.stopped)
        self.terminal = False
        os.kill(os.getpid(), signal.SIGHUP)
        self.reactor.turn()
        self.assertEqual((1, ["one", "other"]), (self.reactor.stopped, self.read))

    def test_background(self) -> None:
        """A relay that had no terminal when it began, though whoever built it had, reloads."""
        self.terminal = False
        self.service.privilegedStartService()
        os.kill(os.getpid(), signal.SIGHUP)
        self.reactor.turn()
        self.assertEqual((0, ["one", "other"]), (self.reactor.stopped, self.read))

    def test_stopping(self) -> None:
        """While it stops the signal does nothing: it would end the program before it has said goodbye."""
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.service.privilegedStartService()
        self.service.stopService()
        os.kill(os.getpid(), signal.SIGHUP)
        self.reactor.turn()
        self.assertEqual([], self.read)

    def test_given_back(self) -> None:
        """Somebody else's handler is theirs again afterwards."""
        heard: list[int] = []
        signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
        self.service.privilegedStartService()
        self.service.stopService()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual([signal.SIGHUP], heard)
