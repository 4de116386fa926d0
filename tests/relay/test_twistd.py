"""`twistd -n securechat` as operators meet it: real processes, real sockets on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.binding import Binding
from securechat.relay.limits import RelayLimits
from securechat.wire.codes import Code
from securechat.wire.messages import Goodbye, Greeting, Pong, Refused, SessionKey
from tests.relay.people import Chain, hello_now, person
from tests.relay.process import RelayProcess, Talker, TLSSocket, run_twistd

STOPPED: Final = (0, -SIGTERM)
"""Having stopped in order twistd ends by the signal that it was sent, as programs should."""

PROGRAM: Final = """
import gc, time
from twisted.internet import reactor
from securechat.relay.tap import Options, makeService
options = Options()
options.parseOptions(["--plaintext", "--engine", "cpu", "--in-memory"])
makeService(options)
before = time.monotonic()
assert before <= reactor.seconds() <= time.monotonic()
called = []
reactor.callLater(0.05, called.append, 1)
reactor.callLater(0.1, lambda: (frozen.append(gc.get_freeze_count()), reactor.stop()))
frozen = [gc.get_freeze_count()]
reactor.run()
assert called
print("monotonic")
print("spared" if frozen[0] == 0 and len(gc.get_objects()) < 0.1 * frozen[1] else frozen)
"""


class StartTests(SynchronousTestCase):
    """Starting, or not."""

    def fails(self, *options: str, words: str = "") -> str:
        """The relay does not start: a status that is not zero, no traceback; the lines on stderr that say why."""
        done = run_twistd(self, *options)
        self.assertNotEqual(0, done.returncode, options)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        self.assertIn(words, done.stderr + done.stdout)
        return "\n".join(line for line in done.stderr.splitlines() if "securechat: " in line)

    def test_backlog(self) -> None:
        """Connections that come while the relay has no time for them wait for it, some hundreds of them."""
        relay = RelayProcess(self, "--plaintext")
        os.kill(relay.pid, SIGSTOP)
        waiting = []
        for _ in range(100):
            waiting.append(socket.create_connection((relay.address.host, relay.address.port), 5))
            self.addCleanup(waiting[-1].close)
        os.kill(relay.pid, SIGCONT)
        for connection in waiting:
            self.assertTrue(connection.recv(1))

    def test_tls(self) -> None:
        """It prints an address whose fingerprint is that of the key that it then shows."""
        relay = RelayProcess(self, "--motd", "be kind")
        self.assertTrue(relay.address.tls)
        talker = Talker(self, relay.address)
        self.assertEqual("be kind", talker.until(Greeting).motd)
        self.assertEqual(relay.address.fingerprint, talker.binding().fingerprint.hex())
        assert isinstance(talker.socket, TLSSocket)
        self.assertEqual("TLSv1.3", talker.socket.link.get_protocol_version_name())

    def test_login_under_tls(self) -> None:
        """A login that is bound to the relay's key and the TLS session is taken, one without either is not."""
        relay = RelayProcess(self)
        Talker(self, relay.address).login("alice")
        other = Talker(self, relay.address).binding()
        self.assertEqual(relay.address.fingerprint, other.fingerprint.hex())
        for number in range(4):
            talker = Talker(self, relay.address)
            right = talker.binding()
            self.assertNotEqual(right.exporter, other.exporter)
            wrong = [Binding(), Binding(bytes(32), right.exporter), Binding(right.fingerprint, bytes(32)), other]
            talker.send(hello_now(person("bob"), talker.until(Greeting).nonce, *wrong[number]))
            self.assertEqual(Code.BAD_CERTIFICATE, talker.until(Refused).code, number)
        Talker(self, relay.address).login("bob")

    def test_login_behind_a_proxy(self) -> None:
        """Behind a proxy that passes TLS through, logins are bound as they are without it."""
        relay = RelayProcess(self, listen="haproxy:tcp:0:interface=127.0.0.1")
        talker = Talker(self, relay.address, before=b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        talker.login("alice")

    def test_unix_socket(self) -> None:
        """On a Unix socket clients talk without TLS."""
        relay = RelayProcess(self, listen="unix:chat.sock")
        self.assertEqual(str(relay.directory / "chat.sock"), relay.address.path)
        talker = Talker(self, relay.address)
        alice = talker.login("alice")
        talker.send(Chain("#tea").found(alice))
        self.assertEqual("#tea", talker.until(SessionKey).room)

    def test_max_clients(self) -> None:
        """With --max-clients 2 the third client is refused as full."""
        relay = RelayProcess(self, "--plaintext", "--max-clients", "2")
        for name in ("alice", "bob"):
            Talker(self, relay.address).login(name)
        with self.assertRaises(AssertionError):
            Talker(self, relay.address).login("carol")
        third = Talker(self, relay.address)
        third.send(third.hello(person("carol")))
        self.assertEqual(Code.FULL, third.until(Refused).code)

    def test_too_many_from_one_address(self) -> None:
        """Connections over --per-address are cut off without a word, also under TLS, and not logged."""
        relay = RelayProcess(self, "--per-address", "1", "--limit-loopback")
        talker = Talker(self, relay.address)
        talker.login("alice")
        for _ in range(3):
            with self.assertRaises(OSError):
                Talker(self, relay.address).until(Greeting)
        relay.terminate()
        self.assertIn(relay.wait(), STOPPED)
        self.assertNotIn("Traceback", relay.output)

    def test_busy_port(self) -> None:
        """A busy port is one line and a status that is not zero."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        for more in ([], ["--plaintext"]):
            line = self.fails("--data", "d", "--listen", f"tcp:{port}:interface=127.0.0.1", *more)
            self.assertIn("Address already in use", line)
            self.assertEqual(1, len(line.strip().splitlines()), line)

    def test_refusals(self) -> None:
        """What the machine or our rules do not allow is one line."""
        for options, words in [
            (["--data", "d", "--plaintext", "--listen", "tcp:0"], "--insecure-plaintext"),
            (["--data", "d", "--plaintext", "--listen", "nonsense:1"], "--listen nonsense:1"),
            (["--data", "/dev/null/x"], "data directory"),
        ]:
            line = self.fails(*options, words=words)
            self.assertEqual(1, len(line.strip().splitlines()), line)

    def test_bad_options(self) -> None:
        """Bad options are explained without a traceback."""
        for options, words in [
            (["--engine", "bogus"], "auto, cpu, native or cuda"),
            (["--max-clients", "0"], "max-clients"),
            (["--max-clients", "many"], "max-clients"),
            (["--post-rate", "-1"], "post-rate"),
            (["--byte-rate", "nan"], "byte-rate"),
            (["--motd", "x" * 1_001], "motd"),
            (["--motd", b"\xff".decode("utf-8", "surrogateescape")], "motd"),
            (["extra"], "takes options only"),
        ]:
            self.fails(*options, words=words)

    def test_monotonic(self) -> None:
        """Once the service is made the reactor's clock is the monotonic one, and timers keep time by it."""
        self.assert_program_says("monotonic")

    def test_spared(self) -> None:
        """What is there when the reactor begins to run the garbage collector does not look at again."""
        self.assert_program_says("spared")

    def assert_program_says(self, words: str) -> None:
        """A program that makes the service and runs it for a moment says this."""
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=20)
        self.assertIn(words, done.stdout.splitlines(), done.stderr)


class StopTests(SynchronousTestCase):
    """SIGTERM."""

    def test_goodbye(self) -> None:
        """Clients read Goodbye(shutdown), and a TLS peer that never reads does not keep the relay from ending."""
        relay = RelayProcess(self)
        alice = Talker(self, relay.address)
        alice.login("alice")
        # One that did not finish its handshake, and one that did and then never reads or closes.
        half = socket.create_connection((relay.address.host, relay.address.port))
        self.addCleanup(half.close)
        silent = Talker(self, relay.address)
        silent.login("silent")
        alice.send(Pong())
        relay.terminate()
        began = time.monotonic()
        self.assertEqual(Code.SHUTDOWN, alice.until(Goodbye).code)
        alice.socket.close()
        self.assertIn(relay.wait(), STOPPED)
        self.assertLess(time.monotonic() - began, RelayLimits().stop_s + 8)
        self.assertIn("relay stopped", relay.output)
        self.assertNotIn("Traceback", relay.output)
        for secret in ("alice", "silent"):
            self.assertNotIn(secret, relay.output)
