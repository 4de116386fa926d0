"""The relay as a process of its own, and clients on blocking sockets."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.address import Address, parse
from securechat.wire.framing import frame
from securechat.wire.messages import VERSION, Greeting, Hello, Message, Welcome
from tests.relay.harness import Kind
from tests.wire.harness import PREFIX, from_relay

TWISTD: Final = str(Path(sys.executable).with_name("twistd"))
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

    def __init__(self, case: SynchronousTestCase, *options: str, listen: str = "tcp:0:interface=127.0.0.1") -> None:
        self.directory = fresh_directory(case)
        self._process = subprocess.Popen(
            [TWISTD, "-n", "--pidfile=", "securechat", "--data", "data", "--listen", listen, *options],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
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


class Talker:
    """A client on a blocking socket."""

    def __init__(self, case: SynchronousTestCase, address: Address, receive_buffer: int | None = None) -> None:
        family = socket.AF_UNIX if address.path else socket.AF_INET
        self.socket: socket.socket = socket.socket(family)
        self.socket.settimeout(PATIENCE_S)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(address.path or (address.host, address.port))
        if address.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        case.addCleanup(self.socket.close)
        self._unread = b""

    def login(self, name: str) -> None:
        """Be greeted and welcomed."""
        self.until(Greeting)
        self.send(Hello(VERSION, name))
        self.until(Welcome)

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
