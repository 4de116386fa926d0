"""The servers that benchmarks/relay.py loads, and rooms full of connections on them."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from _people import Member, RoomLog
from OpenSSL import SSL

from securechat.wire.framing import frame
from securechat.wire.messages import FromRelay, Greeting, Post, Welcome

SEALED: Final = os.urandom(64).hex().encode()
"""The content of every message: 128 bytes."""

PREFIX: Final = struct.Struct("!I")
DECODER: Final = msgspec.msgpack.Decoder(FromRelay)

ADDED_AT_ONCE: Final = 19
"""Members whom one of them adds: the relay takes twenty entries of one client at once."""

RELAY_TCP: Final = "relay tcp"
RELAY_TLS: Final = "relay tls"
RELAY_KEPT: Final = "relay kept"
"""Over TCP, and with a store: the other two keep nothing."""
RELAYS: Final = (RELAY_TCP, RELAY_TLS, RELAY_KEPT)
SEED: Final = "seed"
STATUS: Final = "status.sock"

_SEED_SERVER: Final = """
from twisted.internet import reactor, protocol
from twisted.protocols.basic import Int32StringReceiver
class Seed(Int32StringReceiver):
    def connectionMade(self): everybody.append(self)
    def connectionLost(self, reason): everybody.remove(self)
    def stringReceived(self, string):
        for each in everybody:
            if each is not self:
                each.sendString(string)
everybody = []
port = reactor.listenTCP(0, protocol.Factory.forProtocol(Seed), interface="127.0.0.1", backlog=1000)
print(f"listens at {port.getHost().port}", flush=True)
reactor.run()
"""


class Peer:
    """One loaded connection: its bytes in and out, frames sliced where they are wanted."""

    def __init__(self, connected: socket.socket | SSL.Connection) -> None:
        self.sock = connected
        self.bytes_in = 0
        self._rest = b""

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def read(self) -> bytes:
        """What one read brings."""
        data = self.sock.recv(1 << 20)
        if not data:
            raise RuntimeError("the server closed a connection")
        self.bytes_in += len(data)
        return data

    def read_until(self, end: bytes) -> None:
        """Read a line protocol's answer."""
        data = b""
        while end not in data:
            data += self.read()

    def frames(self) -> list[bytes]:
        """The bodies of the frames that a read completes, and what TLS has decrypted beyond it."""
        data = self._rest + self.read()
        while isinstance(self.sock, SSL.Connection) and self.sock.pending():
            data += self.read()
        at, found = 0, []
        while len(data) - at >= 4:
            (length,) = PREFIX.unpack_from(data, at)
            if len(data) - at - 4 < length:
                break
            found.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        self._rest = data[at:]
        return found

    def until(self, kind: type) -> Any:
        """The last message of a kind in the first read that brings one."""
        found = None
        while found is None:
            for message in map(DECODER.decode, self.frames()):
                if isinstance(message, kind):
                    found = message
        return found

    def login(self, member: Member) -> None:
        """Be greeted and welcomed by the relay."""
        self.send(member.hello(self.until(Greeting).nonce, self.sock))
        self.until(Welcome)

    def until_key(self, epoch: bytes) -> None:
        """Read up to the session key of an epoch, without decoding what comes before."""
        while not any(b"SessionKey" in body[:12] and epoch in body for body in self.frames()):
            pass


@dataclass
class Server:
    """A server process and how to reach it."""

    kind: str
    process: subprocess.Popen[str]
    port: int
    tls: SSL.Context | None
    status: str
    """Where a relay that keeps everything tells of itself."""

    @property
    def is_relay(self) -> bool:
        """Whether it is ours."""
        return self.kind in RELAYS

    def connect(self) -> Peer:
        """A new connection."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return Peer(sock)
        # Python's own TLS has no exporters, to which a login is bound.
        link = SSL.Connection(self.tls, sock)
        link.set_connect_state()
        link.do_handshake()
        return Peer(link)

    def memory_kib(self) -> int:
        """Its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def cpu_s(self) -> float:
        """The processor time that it has had."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def commits(self) -> tuple[int, int]:
        """How often a relay has committed, and how many rows."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.status)
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            told = b"".join(iter(partial(sock.recv, 1 << 16), b"")).decode()
        counters = re.findall(r"^securechat_engine_batch(?:es|_rows)_total ([0-9.]+)$", told, re.M)
        commits, rows = (int(float(counter)) for counter in counters)
        return commits, rows


@dataclass
class Template:
    """What a member posts: how many messages, where the bytes are that must differ, and the member's name."""

    data: bytes
    name: bytes
    messages: int = 1
    id_at: int | None = None
    id_step: int = 0

    def packed(self) -> bytes:
        """As benchmarks/load.c reads it."""
        id_at = 2**32 - 1 if self.id_at is None else self.id_at
        head = struct.pack("=IIIII", len(self.data), self.messages, id_at, self.id_step, len(self.name))
        return head + self.data + self.name

    def fresh(self) -> bytes:
        """The data with new bytes where it must differ."""
        data = bytearray(self.data)
        if self.id_at is not None:
            for number in range(self.messages):
                at = self.id_at + number * self.id_step
                data[at : at + 16] = os.urandom(16)
        return bytes(data)


class Room:
    """So many connections in one room; the first one posts."""

    def __init__(self, server: Server, name: str, members: int) -> None:
        self.server = server
        self.name = name
        self.epoch = b""
        self.peers: list[Peer] = []
        self.delivered_bytes = 0
        """The length of one delivered message, or 0 where that differs."""
        people: list[Member] = []
        for number in range(members):
            self.peers.append(server.connect())
            if server.is_relay:
                people.append(Member(self.member(number)))
                self.peers[-1].login(people[-1])
        if server.is_relay:
            self._fill_relay(people)
        elif server.kind == SEED:
            self.delivered_bytes = len(SEALED) + PREFIX.size
        elif server.kind == "redis":
            self._subscribe_redis()
        else:
            self._subscribe_nats()
        for peer in self.peers:
            peer.bytes_in = 0

    def _fill_relay(self, people: list[Member]) -> None:
        """The first one founds the room, and each adds some until all are in it."""
        log = RoomLog(f"#{self.name}", people[0])
        data, inside = log.founding, 1
        for author, peer in zip(people, self.peers, strict=True):
            comers = people[inside : inside + ADDED_AT_ONCE]
            peer.send(data + b"".join(log.add(author, comer) for comer in comers))
            data, inside = b"", inside + len(comers)
            # Everybody reads along, so that nobody is left behind by what the room tells of itself.
            for each in self.peers[:inside]:
                each.until_key(log.epoch)
            if inside == len(people):
                break
        self.epoch = log.epoch

    def _subscribe_redis(self) -> None:
        channel = self.name.encode()
        for peer in self.peers[1:]:
            peer.send(b"SUBSCRIBE %b\r\n" % channel)
            peer.read_until(b":1\r\n")
        message = b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
        self.delivered_bytes = len(message % (len(channel), channel, len(SEALED), SEALED))

    def _subscribe_nats(self) -> None:
        channel = self.name.encode()
        for peer in self.peers:
            peer.send(b'CONNECT {"verbose":false}\r\nSUB %b 1\r\nPING\r\n' % channel)
            peer.read_until(b"PONG\r\n")
        self.peers[0].send(b"UNSUB 1\r\nPING\r\n")
        self.peers[0].read_until(b"PONG\r\n")
        self.delivered_bytes = len(b"MSG %b 1 %d\r\n%b\r\n" % (channel, len(SEALED), SEALED))

    def member(self, number: int) -> str:
        """The name of a member."""
        return f"{self.name}-{number}"

    def template(self, number: int = 0, run: int = 1) -> Template:
        """What a member posts; only ours has frames with a run of messages in them."""
        channel, name = self.name.encode(), self.member(number).encode()
        if self.server.is_relay:
            mark = b"\xaa" * 16
            data = frame(Post(f"#{self.name}", self.epoch, [(mark, SEALED)] * run))
            at = data.index(mark)
            return Template(data, name, run, at, data.index(mark, at + 16) - at if run > 1 else 0)
        if self.server.kind == SEED:
            return Template(PREFIX.pack(len(SEALED)) + SEALED, name)
        if self.server.kind == "redis":
            text = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
            return Template(text % (len(channel), channel, len(SEALED), SEALED), name)
        return Template(b"PUB %b %d\r\n%b\r\n" % (channel, len(SEALED), SEALED), name)

    def close(self) -> None:
        """Leave, all of them."""
        for peer in self.peers:
            peer.sock.close()


def peers_installed() -> list[str]:
    """Other people's servers that are on this machine."""
    return [kind for kind, program in (("redis", "redis-server"), ("nats", "nats-server")) if shutil.which(program)]


@contextmanager
def serving(kind: str, core: int | None) -> Iterator[Server]:
    """Run a server, on one core where there are several."""
    context = None
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-c", _SEED_SERVER]
        port = 0
        if kind in RELAYS:
            command = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "securechat",
                       "--listen", "tcp:0:interface=127.0.0.1", "--data", data, "--post-rate", "0",
                       "--byte-rate", "0", "--max-clients", "20000"]  # fmt: skip
            if kind == RELAY_KEPT:
                command += ["--status", f"unix:{data}/{STATUS}"]
            else:
                command.append("--in-memory")
            if kind != RELAY_TLS:
                command.append("--plaintext")
            else:
                context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        elif kind != SEED:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            command = {
                "redis": ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", data],
                "nats": ["nats-server", "-a", "127.0.0.1", "-p", str(port)],
            }[kind]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            if core is not None:
                for task in os.listdir(f"/proc/{process.pid}/task"):
                    os.sched_setaffinity(int(task), {core})
            port = port or _announced_port(process)
            _wait_for(port)
            yield Server(kind, process, port, context, f"{data}/{STATUS}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def _announced_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(r"listens at (?:\S+:)?(\d+)", line)
        if found:
            return int(found[1])
    raise RuntimeError("the server did not start")


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
