"""What operators do to a relay that runs: real processes, real sockets, real signals."""

from __future__ import annotations

import os
import pty
import resource
import socket
import time
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGTERM
from typing import Final

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.certificate import CERTIFICATE_FILE, KEY_FILE
from securechat.relay.renewal import Certified
from securechat.relay.status import MOST_CONNECTIONS
from securechat.wire.messages import LAST_SEQ, Enter, Greeting, Ping, Pong
from tests.relay.people import Chain
from tests.relay.process import PATIENCE_S, RelayProcess, Talker, TLSSocket, fresh_directory, run_twistd
from tests.relay.scraping import parsed
from tests.relay.test_certificate import NOW

ON_LOOPBACK: Final = ("--status", "tcp:0:interface=127.0.0.1")


class OverUnix(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(os.path.relpath(self._path))


def over_tcp(relay: RelayProcess) -> HTTPConnection:
    """HTTP to a relay's status on loopback."""
    return HTTPConnection("127.0.0.1", relay.status_port(), timeout=PATIENCE_S)


def get(connection: HTTPConnection, path: str, method: str = "GET") -> tuple[int, bytes]:
    """The status and the content of a page."""
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def certificate_of(talker: Talker) -> x509.Certificate:
    """What the relay showed to somebody."""
    assert isinstance(talker.socket, TLSSocket)
    certificate = talker.socket.link.get_peer_certificate()
    assert certificate is not None
    return certificate.to_cryptography()


class StatusTests(SynchronousTestCase):
    """`--status`."""

    def test_tcp(self) -> None:
        """Over TCP on loopback all pages answer, and count who is there; other paths and methods do not."""
        relay = RelayProcess(self, *ON_LOOPBACK)
        alice = Talker(self, relay.address)
        who = alice.login("alice-x1")
        alice.send(Chain("#tea-x2").found(who), Enter("#nowhere-x3", 0, LAST_SEQ), Ping())
        alice.until(Pong)
        self.assertEqual((200, b"live\n"), get(over_tcp(relay), "/live"))
        self.assertEqual((200, b"ready\n"), get(over_tcp(relay), "/ready"))
        self.assertEqual(404, get(over_tcp(relay), "/")[0])
        self.assertEqual(405, get(over_tcp(relay), "/live", "POST")[0])
        status, text = get(over_tcp(relay), "/metrics")
        found = {key.removeprefix("securechat_"): value for key, value in parsed(text).items()}
        self.assertEqual(200, status)
        self.assertEqual((1, 1, 1), (found["links"], found["clients"], found["rooms"]))
        self.assertEqual((1, 1), (found['logins_total{result="ok"}'], found['declined_total{code="no-such-room"}']))
        self.assertGreater(found["tls_not_after_seconds"], time.time())
        self.assertLess(found["tick_seconds"], PATIENCE_S)
        self.assertGreater(found["engine_batches_total"], 0)
        self.assertGreaterEqual(found["engine_batch_rows_total"], found["engine_batches_total"])
        for user in (b"x1", b"x2", b"x3"):
            self.assertNotIn(user, text)

    def test_unix(self) -> None:
        """Over a Unix socket it answers too, and the mode of its endpoint keeps others out."""
        relay = RelayProcess(self, "--plaintext", "--status", "unix:status.sock:mode=600")
        path = relay.directory / "status.sock"
        self.assertEqual(0o600, path.stat().st_mode & 0o777)
        self.assertEqual((200, b"ready\n"), get(OverUnix(path), "/ready"))
        self.assertNotIn(b"tls_not_after", get(OverUnix(path), "/metrics")[1])

    def test_refusals(self) -> None:
        """An endpoint that other machines reach, a busy one and what is none end the program with one line."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        busy = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        for endpoint, words in [
            ("tcp:0", "can be reached from other machines"),
            (busy, "Address already in use"),
            ("nonsense:1", "--status nonsense:1"),
        ]:
            done = run_twistd(self, "--plaintext", "--listen", "unix:chat.sock", "--status", endpoint)
            self.assertEqual(1, done.returncode, done.stderr)
            self.assertNotIn("Traceback", done.stdout + done.stderr)
            (line,) = [each for each in done.stderr.splitlines() if "securechat: " in each]
            self.assertIn(words, line)

    def test_off_by_default(self) -> None:
        """Nothing but the relay listens where it was not asked for."""
        relay = RelayProcess(self, "--plaintext")
        self.assertNotIn("status", relay.output)

    def test_a_thousand_idle_connections(self) -> None:
        """A thousand connections that say nothing, and garbage, harm neither the pages nor the relay."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4_096), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        relay = RelayProcess(self, *ON_LOOPBACK)
        alice = Talker(self, relay.address)
        alice.login("alice")
        descriptors = Path(f"/proc/{relay._process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        idle = []
        for number in range(1_000):
            idle.append(socket.create_connection(("127.0.0.1", relay.status_port()), PATIENCE_S))
            self.addCleanup(idle[-1].close)
            if number % 10 == 0:
                idle[-1].sendall(b"\x16\x03\x01 garbage\r\n\r\n")
        self.assertEqual((200, b"live\n"), get(over_tcp(relay), "/live"))
        alice.send(Ping())
        alice.until(Pong)
        self.assertLessEqual(len(list(descriptors.iterdir())), before + MOST_CONNECTIONS + 1)
        relay.terminate()
        self.assertEqual(-SIGTERM, relay.wait())
        self.assertNotIn("Traceback", relay.output)

    def test_stopping(self) -> None:
        """While clients are given their time to leave, /ready is 503 and says why, and /live goes on."""
        relay = RelayProcess(self, *ON_LOOPBACK)
        silent = Talker(self, relay.address)
        silent.login("silent")
        relay.terminate()
        deadline = time.monotonic() + 1.5
        answer = get(over_tcp(relay), "/ready")
        while answer != (503, b"stopping\n") and time.monotonic() < deadline:
            answer = get(over_tcp(relay), "/ready")
        self.assertEqual((503, b"stopping\n"), answer)
        self.assertEqual((200, b"live\n"), get(over_tcp(relay), "/live"))
        self.assertEqual(-SIGTERM, relay.wait())
        self.assertNotIn("Traceback", relay.output)


class ReloadTests(SynchronousTestCase):
    """SIGHUP."""

    def start(self) -> RelayProcess:
        """A relay with a message of the day in a file."""
        self.motd = fresh_directory(self) / "motd"
        self.motd.write_text("first\n")
        relay = RelayProcess(self, "--motd-file", str(self.motd))
        self.key = relay.directory / "data" / KEY_FILE
        self.certificate = relay.directory / "data" / CERTIFICATE_FILE
        return relay

    def test_renewed(self) -> None:
        """New connections get the new certificate and message; who was there stays; the pin is the old one."""
        relay = self.start()
        alice = Talker(self, relay.address)
        alice.login("alice")
        before = certificate_of(alice)
        self.certificate.unlink()
        self.motd.write_text("second\n")
        relay.hang_up()
        relay.until_said("reloaded")
        bob = Talker(self, relay.address)
        self.assertEqual(relay.address.fingerprint, bob.binding().fingerprint.hex())
        self.assertNotEqual(before, certificate_of(bob))
        self.assertEqual("second", bob.until(Greeting).motd)
        Talker(self, relay.address).login("carol")
        alice.send(Ping())
        alice.until(Pong)
        relay.terminate()
        relay.wait()
        self.assertNotIn("Warning", relay.output)

    def test_bad_files(self) -> None:
        """Bad files are one line each, keep what was, and are not the end; put right they are taken."""
        relay = self.start()
        alice = Talker(self, relay.address)
        alice.login("alice")
        good = self.certificate.read_bytes()
        self.certificate.write_bytes(b"nonsense")
        self.motd.write_bytes(b"\xff")
        relay.hang_up()
        self.assertIn("damaged", relay.until_said("not reloaded"))
        self.assertIn("UTF-8", relay.until_said("not reloaded"))
        bob = Talker(self, relay.address)
        self.assertEqual(certificate_of(alice), certificate_of(bob))
        self.assertEqual("first", bob.until(Greeting).motd)
        self.certificate.write_bytes(good)
        self.motd.write_text("third")
        relay.hang_up()
        relay.until_said("reloaded")
        self.assertEqual("third", Talker(self, relay.address).until(Greeting).motd)
        alice.send(Ping())
        alice.until(Pong)

    def test_another_key(self) -> None:
        """Another key in place of the old one changes nothing until a restart, and one line says so loudly."""
        relay = self.start()
        other = fresh_directory(self)
        Certified(other, lambda: NOW)
        for path in (self.key, self.certificate):
            path.write_bytes((other / path.name).read_bytes())
        relay.hang_up()
        self.assertIn("ANOTHER KEY", relay.until_said("not reloaded"))
        self.assertEqual(relay.address.fingerprint, Talker(self, relay.address).binding().fingerprint.hex())

    def test_bad_motd_at_the_start(self) -> None:
        """A file that cannot be read at the start, or beside --motd, ends the program with one line."""
        for options, words in [
            (["--motd-file", "nowhere"], "cannot read --motd-file nowhere"),
            (["--motd-file", "x", "--motd", "y"], "cannot both be given"),
        ]:
            done = run_twistd(self, "--plaintext", *options)
            self.assertNotEqual(0, done.returncode)
            self.assertIn(words, done.stdout + done.stderr)
            self.assertNotIn("Traceback", done.stdout + done.stderr)

    def test_closed_terminal(self) -> None:
        """A relay in a terminal that is closed stops, as other programs do; one in an open terminal reloads."""
        ours, theirs = pty.openpty()
        relay = RelayProcess(self, "--plaintext", stdin=theirs)
        os.close(theirs)
        relay.hang_up()
        relay.until_said("reloaded")
        os.close(ours)
        relay.hang_up()
        self.assertEqual(0, relay.wait())
        self.assertIn("relay stopped", relay.output)


class SystemdTests(SynchronousTestCase):
    """`Type=notify`."""

    def test_told(self) -> None:
        """It hears READY=1 when clients can connect, WATCHDOG=1 while the store answers, STOPPING=1 at the end."""
        path = fresh_directory(self) / "notify"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(os.path.relpath(path))
        listener.settimeout(PATIENCE_S)
        relay = RelayProcess(self, NOTIFY_SOCKET=str(path), WATCHDOG_USEC="600000")
        self.assertEqual(b"READY=1", listener.recv(100))
        self.assertEqual([b"WATCHDOG=1"] * 2, [listener.recv(100) for _ in range(2)])
        Talker(self, relay.address).login("alice")
        relay.terminate()
        self.assertEqual({b"WATCHDOG=1"}, {b"WATCHDOG=1", *iter(lambda: listener.recv(100), b"STOPPING=1")})
        relay.wait()


class CanaryTests(SynchronousTestCase):
    """The log of a relay that is operated."""

    def test_nobody_in_the_log(self) -> None:
        """After logins, probes, bad requests, reloads and bad files neither an address nor a name is in it."""
        relay = RelayProcess(self, *ON_LOOPBACK)
        alice = Talker(self, relay.address)
        who = alice.login("alice-x1")
        alice.send(Chain("#tea-x2").found(who), Ping())
        alice.until(Pong)
        peers = [alice.socket.plain.getsockname()] if isinstance(alice.socket, TLSSocket) else []
        for data in (
            b"GET /live HTTP/1.1\r\n\r\n",
            b"garbage\r\n",
            b"GET /x7 HTTP/1.1\r\n\r\n",
            b"A" * 40_000,
            b"",
        ):
            with socket.create_connection(
                ("127.0.0.1", relay.status_port()), PATIENCE_S, source_address=("127.0.0.99", 0)
            ) as probe:
                peers.append(probe.getsockname())
                probe.sendall(data)
                if data:
                    try:
                        probe.recv(1_000)
                    except ConnectionResetError:
                        continue
        (relay.directory / "data" / CERTIFICATE_FILE).write_bytes(b"nonsense")
        relay.hang_up()
        relay.until_said("not reloaded")
        relay.terminate()
        relay.wait()
        self.assertEqual(6, len(peers))
        said = [str(port) for _, port in peers] + ["127.0.0.99", "x1", "x2", "x7", "Traceback"]
        self.assertEqual([], [each for each in said if each in relay.output])
