"""The relay as a process of its own, and clients on blocking sockets."""

from __future__ import annotations

import os
import queue
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e.identity import Person
from securechat.relay.binding import Binding
from securechat.wire.address import Address, fingerprint, parse
from securechat.wire.framing import frame
from securechat.wire.messages import FromClient, Greeting, Message, Welcome
from tests.relay.harness import Kind
from tests.relay.people import hello_now, person
from tests.wire.harness import PREFIX, from_relay

TWISTD: Final = str(Path(sys.executable).with_name("twistd"))
Result = TypeVar("Result")
PATIENCE_S: Final = 20.0
"""Seconds after which something that should happen at once counts as never happening."""


def run_twistd(case: SynchronousTestCase, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a relay that should end by itself."""
    return subprocess.run(
        [TWISTD, "-n", "--pidfile=", "securechat", *options],
        cwd=fresh_directory(case),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def fresh_directory(case: SynchronousTestCase) -> Path:
    """An empty directory."""
    directory = Path(case.mktemp()).absolute()
    directory.mkdir(parents=True)
    return directory


class RelayProcess:
    """`twistd -n securechat` on a free port of loopback, ended with its test."""

    program: tuple[str, ...] = (TWISTD,)

    def __init__(
        self,
        case: SynchronousTestCase,
        *options: str,
        listen: str = "tcp:0:interface=127.0.0.1",
        stdin: int | None = None,
        **environment: str,
    ) -> None:
        self.directory = fresh_directory(case)
        self._process = subprocess.Popen(
            [*self.program, "-n", "--pidfile=", "securechat", "--data", "data", "--listen", listen, *options],
            cwd=self.directory,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        case.addCleanup(self._end)
        self.output = ""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address = self._find_address()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
            self._lines.put(line)
        self._lines.put("")

    def _find_address(self) -> Address:
        while line := self._lines.get(timeout=PATIENCE_S):
            found = re.search(r"relay listens at (securechat\S+)", line)
            if found:
                return parse(found[1])
        assert self._process.stderr is not None
        raise AssertionError(self._process.stderr.read())

    def resident_bytes(self) -> int:
        """What the process holds in memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def kill(self) -> None:
        """End it as a crash would, at once."""
        self._process.kill()
        self.wait()

    def status_port(self) -> int:
        """Where its `--status` is, on loopback."""
        found = re.search(r"status at 127\.0\.0\.1:(\d+)", self.output)
        assert found, self.output
        return int(found[1])

    def until_said(self, words: str) -> str:
        """The next line of its log that holds these words."""
        while line := self._lines.get(timeout=PATIENCE_S):
            if words in line:
                return line
        raise AssertionError(f"ended before it said {words!r}")

    def hang_up(self) -> None:
        """Ask it to read its files again."""
        self._process.send_signal(signal.SIGHUP)

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit status, once it has stopped."""
        status = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(PATIENCE_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


class TLSSocket:
    """TLS over a blocking socket; Python's own `ssl` has no exporters."""

    def __init__(self, plain: socket.socket) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        self.plain = plain
        self.link = SSL.Connection(context, plain)
        self.link.set_connect_state()
        self._until(self.link.do_handshake)

    def _until(self, act: Callable[..., Result], *arguments: object) -> Result:
        """Do something that may have to wait for the other side."""
        while True:
            try:
                return act(*arguments)
            except SSL.WantReadError:
                if not select.select([self.plain], [], [], PATIENCE_S)[0]:
                    raise TimeoutError from None
            except SSL.WantWriteError:
                select.select([], [self.plain], [], PATIENCE_S)
            except SSL.SysCallError as wrong:
                raise OSError(*wrong.args) from wrong

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        while data:
            data = data[self._until(self.link.send, data) :]

    def recv(self, size: int) -> bytes:
        """What has come, or nothing once the other side has closed."""
        try:
            return self._until(self.link.recv, size)
        except SSL.ZeroReturnError:
            return b""

    def close(self) -> None:
        """Cut it off."""
        self.plain.close()

    def binding(self) -> Binding:
        """What a login is bound to here, as a client finds it."""
        certificate = self.link.get_peer_certificate()
        assert certificate is not None
        shown = bytes.fromhex(fingerprint(certificate.to_cryptography()))
        return Binding(shown, self.link.export_keying_material(b"EXPORTER-Channel-Binding", 32))


class Talker:
    """A client on a blocking socket."""

    def __init__(
        self,
        case: SynchronousTestCase,
        address: Address,
        receive_buffer: int | None = None,
        before: bytes = b"",
        source: str = "",
    ) -> None:
        family = socket.AF_UNIX if address.path else socket.AF_INET
        plain = socket.socket(family)
        plain.settimeout(PATIENCE_S)
        case.addCleanup(plain.close)
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            plain.bind((source, 0))
        plain.connect(address.path or (address.host, address.port))
        plain.sendall(before)
        self.socket: socket.socket | TLSSocket = TLSSocket(plain) if address.tls else plain
        self._unread = b""

    def binding(self) -> Binding:
        """What a login on this link is bound to."""
        return self.socket.binding() if isinstance(self.socket, TLSSocket) else Binding()

    def login(self, name: str) -> Person:
        """Be greeted and welcomed; who one is then."""
        who = person(name)
        self.send(self.hello(who))
        self.until(Welcome)
        return who

    def hello(self, who: Person) -> FromClient:
        """What to say to the greeting, which is read first."""
        return hello_now(who, self.until(Greeting).nonce, *self.binding())

    def send(self, *messages: Message) -> None:
        """Send messages."""
        self.socket.sendall(b"".join(frame(message) for message in messages))

    def messages(self) -> Iterator[Message]:
        """What the relay says, until it closes."""
        while True:
            while len(self._unread) >= PREFIX.size:
                end = PREFIX.size + PREFIX.unpack_from(self._unread)[0]
                if end > len(self._unread):
                    break
                body, self._unread = self._unread[PREFIX.size : end], self._unread[end:]
                yield from_relay.decode(body)
            piece = self.socket.recv(1 << 18)
            if not piece:
                return
            self._unread += piece

    def until(self, kind: type[Kind]) -> Kind:
        """The next message of a kind; those before it are skipped."""
        for message in self.messages():
            if isinstance(message, kind):
                return message
        raise AssertionError(f"closed before any {kind.__name__}")
