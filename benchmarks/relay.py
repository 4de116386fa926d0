"""How fast the relay is: latency, throughput, fan-out, busy rooms, memory of idle connections.

    python benchmarks/relay.py [--quick] [--json] [--only NAME] [--repeats N]

A relay runs in a process of its own (`twistd`), on one core; this process loads it over loopback from another
one. The baseline is what the original program's server was, written with Twisted as it comes: the stock
`Int32StringReceiver` and one `sendString` for each receiver, no names, no keys, no numbers, no acknowledgements.
Both run interleaved, and the ratio is the one to trust. Messages carry 128 sealed bytes.

One receiver is read message by message; of the others the bytes are counted, which must come out the same.
"""

import argparse
import json
import os
import platform
import resource
import select
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from securechat.wire.framing import frame
from securechat.wire.messages import VERSION, Delivery, Enter, FromRelay, Hello, Post, SessionKey, Welcome

SEALED = os.urandom(128)
PREFIX = struct.Struct("!I")
DECODER = msgspec.msgpack.Decoder(FromRelay)
SEED_SERVER = """
import sys, time
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

    def __init__(self, connected: socket.socket) -> None:
        self.sock = connected
        self.bytes_in = 0
        self._rest = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self) -> bytes:
        data = self.sock.recv(1 << 20)
        if not data:
            raise RuntimeError("the server closed a connection")
        self.bytes_in += len(data)
        return data

    def frames(self) -> list[bytes]:
        """The bodies of the frames that one read completes."""
        data = self._rest + self.read()
        at, found = 0, []
        while len(data) - at >= 4:
            (length,) = PREFIX.unpack_from(data, at)
            if len(data) - at - 4 < length:
                break
            found.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        self._rest = data[at:]
        return found


@dataclass
class Server:
    """A server process and how to talk to it."""

    name: str
    process: subprocess.Popen[str]
    port: int
    tls: ssl.SSLContext | None
    is_relay: bool

    def connect(self) -> Peer:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Peer(self.tls.wrap_socket(sock) if self.tls else sock)

    def memory_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Rate:
    """So many of something in so many seconds."""

    count: int
    seconds: float


@dataclass
class Taken:
    """One measurement: its value, and the microseconds of the server's CPU for each unit where that makes sense."""

    value: float
    cpu_us: float | None = None


class Room:
    """A room full of connections on either server: members that post, and members that hear."""

    def __init__(self, server: Server, name: str, members: int) -> None:
        self.server = server
        self.room = f"#{name}"
        self.peers = [server.connect() for _ in range(members)]
        self.epoch = b""
        if server.is_relay:
            for number, peer in enumerate(self.peers):
                peer.send(frame(Hello(VERSION, f"{name}-{number}")))
                self._until(peer, Welcome)
                peer.send(frame(Enter(self.room)))
                self.epoch = self._until(peer, SessionKey).epoch
            self._settle()
        for peer in self.peers:
            peer.bytes_in = 0

    def _until(self, peer: Peer, kind: type) -> Any:
        while True:
            for body in peer.frames():
                message = DECODER.decode(body)
                if isinstance(message, kind):
                    return message

    def _settle(self) -> None:
        """Read what is on its way: presence and keys for those who came first."""
        for peer in self.peers[:-1]:
            while True:
                bodies = peer.frames()
                keys = [m for m in map(DECODER.decode, bodies) if isinstance(m, SessionKey)]
                if any(key.epoch == self.epoch for key in keys):
                    break

    def posts(self, count: int) -> bytes:
        """So many messages, each in a frame of its own."""
        if not self.server.is_relay:
            return (PREFIX.pack(len(SEALED)) + SEALED) * count
        ids = os.urandom(16 * count)
        return b"".join(
            frame(Post(self.room, self.epoch, [(ids[16 * i : 16 * i + 16], SEALED)])) for i in range(count)
        )

    def count(self, bodies: list[bytes]) -> int:
        """How many messages some frames deliver."""
        if not self.server.is_relay:
            return len(bodies)
        found = (DECODER.decode(body) for body in bodies)
        return sum(len(message.items) for message in found if isinstance(message, Delivery))

    def close(self) -> None:
        for peer in self.peers:
            peer.sock.close()


def stream(room: Room, in_flight: int, seconds: float) -> Rate:
    """One member posts with so many messages in flight, all others hear: deliveries per second."""
    sender, reference, *others = room.peers
    poll = select.epoll()
    by_fd = {peer.sock.fileno(): peer for peer in others}
    for fd in [*by_fd, reference.sock.fileno(), sender.sock.fileno()]:
        poll.register(fd, select.EPOLLIN)
    behind = set(by_fd)
    sent = heard = 0
    began = time.perf_counter()
    stop = began + seconds
    prepared = room.posts(in_flight)
    while True:
        if heard == sent and not behind_of(behind, by_fd, reference):
            now = time.perf_counter()
            if now >= stop:
                break
            sender.send(prepared)
            sent += in_flight
            prepared = room.posts(in_flight)
            behind = set(by_fd)
        for fd, _ in poll.poll(10):
            if fd == reference.sock.fileno():
                heard += room.count(drain(reference))
            elif fd == sender.sock.fileno():
                drain(sender)
            else:
                read_all(by_fd[fd])
    poll.close()
    return Rate(sent * (len(others) + 1), now - began)


def behind_of(behind: set[int], by_fd: dict[int, Peer], reference: Peer) -> set[int]:
    """Those who have not got all that the reference has; shrinks `behind` in place."""
    behind.difference_update([fd for fd in behind if by_fd[fd].bytes_in == reference.bytes_in])
    return behind


def drain(peer: Peer) -> list[bytes]:
    """Frames of one read, and of what TLS has decrypted beyond it."""
    bodies = peer.frames()
    while isinstance(peer.sock, ssl.SSLSocket) and peer.sock.pending():
        bodies += peer.frames()
    return bodies


def read_all(peer: Peer) -> None:
    """The bytes of one read, and of what TLS has decrypted beyond it."""
    peer.read()
    while isinstance(peer.sock, ssl.SSLSocket) and peer.sock.pending():
        peer.read()


def latency(room: Room, seconds: float) -> list[float]:
    """One message at a time from one member to another: microseconds each."""
    sender, reference = room.peers
    took = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        data = room.posts(1)
        began = time.perf_counter()
        sender.send(data)
        while not room.count(drain(reference)):
            pass
        took.append((time.perf_counter() - began) * 1e6)
        if room.server.is_relay:
            drain(sender)
    return took


def busy_rooms(rooms: list[Room], seconds: float) -> Rate:
    """In every room every member posts one message, and again once it has heard all others: deliveries/s."""
    poll = select.epoll()
    owner = {peer.sock.fileno(): (room, peer) for room in rooms for peer in room.peers}
    for fd in owner:
        poll.register(fd, select.EPOLLIN)
    expected = 0
    heard = dict.fromkeys(owner, 0)
    total = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for room in rooms:
            for peer in room.peers:
                peer.send(room.posts(1))
        expected += len(rooms[0].peers) - 1
        waiting = set(owner)
        while waiting:
            for fd, _ in poll.poll(10):
                room, peer = owner[fd]
                heard[fd] += count_from_others(room, peer, drain(peer))
                if heard[fd] >= expected:
                    waiting.discard(fd)
        total += sum(len(room.peers) * (len(room.peers) - 1) for room in rooms)
    poll.close()
    return Rate(total, time.perf_counter() - began)


def count_from_others(room: Room, peer: Peer, bodies: list[bytes]) -> int:
    """Messages of other members: a shared `Delivery` holds one's own too."""
    if not room.server.is_relay:
        return len(bodies)
    own = f"{room.room[1:]}-{room.peers.index(peer)}"
    found = (DECODER.decode(body) for body in bodies)
    return sum(sum(item[0] != own for item in message.items) for message in found if isinstance(message, Delivery))


def idle_kib(server: Server, connections: int) -> float:
    """KiB of the server's memory for each connection that is logged in and says nothing."""
    warm = [server.connect() for _ in range(50)]
    before = server.memory_kib()
    peers = []
    for number in range(connections):
        peer = server.connect()
        if server.is_relay:
            peer.send(frame(Hello(VERSION, f"idle-{number}")))
            peer.frames()
        peers.append(peer)
    time.sleep(0.5)
    used = (server.memory_kib() - before) / connections
    for peer in [*warm, *peers]:
        peer.sock.close()
    return used


@contextmanager
def serving(kind: str, cores: tuple[int, ...]) -> Iterator[Server]:
    """Run a server: "relay tcp", "relay tls" or "seed"."""
    context = None
    with tempfile.TemporaryDirectory() as data:
        if kind == "seed":
            command = [sys.executable, "-c", SEED_SERVER]
        else:
            command = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "securechat",
                       "--listen", "tcp:0:interface=127.0.0.1", "--data", data, "--post-rate", "0",
                       "--byte-rate", "0", "--max-clients", "20000"]  # fmt: skip
            if kind == "relay tcp":
                command.append("--plaintext")
            else:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            if len(cores) > 1:
                os.sched_setaffinity(process.pid, {cores[0]})
            assert process.stdout is not None
            line = next(line for line in process.stdout if "listens at" in line)
            port = int(line.split("listens at")[1].split("#")[0].rstrip("/ \n").rsplit(":", 1)[-1])
            yield Server(kind, process, port, context, kind != "seed")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@dataclass
class Row:
    """One line of the report."""

    work: str
    server: str
    unit: str
    median: float
    least: float
    most: float
    cpu_us: float | None = None
    ratio: float | None = None


Measure = Callable[[Server, int], Taken]


def with_cpu(server: Server, measure: Callable[[], Rate]) -> Taken:
    """A rate, and what each unit of it cost the server."""
    before = server.cpu_s()
    rate = measure()
    return Taken(rate.count / rate.seconds, (server.cpu_s() - before) * 1e6 / rate.count)


def one_stream(members: int, in_flight: int, seconds: float) -> Measure:
    """A stream in one room, made anew for each run."""

    def run(server: Server, number: int) -> Taken:
        room = Room(server, f"s{number}", members)
        try:
            return with_cpu(server, lambda: stream(room, in_flight, seconds))
        finally:
            room.close()
            time.sleep(0.2)

    return run


def one_latency(seconds: float, percent: int) -> Measure:
    """A percentile of the latency between two members."""

    def run(server: Server, number: int) -> Taken:
        room = Room(server, f"l{number}", 2)
        try:
            return Taken(statistics.quantiles(latency(room, seconds), n=100)[percent - 1])
        finally:
            room.close()
            time.sleep(0.2)

    return run


def many_rooms(seconds: float) -> Measure:
    """Ten rooms of twenty."""

    def run(server: Server, number: int) -> Taken:
        rooms = [Room(server, f"b{number}-{i}", 20) for i in range(10)]
        try:
            return with_cpu(server, lambda: busy_rooms(rooms, seconds))
        finally:
            for room in rooms:
                room.close()
            time.sleep(0.2)

    return run


def report(rows: list[Row], as_json: bool) -> None:
    """Print the rows and what they were measured with."""
    about = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "twisted": version("twisted"),
        "msgspec": version("msgspec"),
        "openssl": ssl.OPENSSL_VERSION,
        "load_1m": os.getloadavg()[0],
    }
    if as_json:
        print(json.dumps({"about": about, "rows": [vars(row) for row in rows]}, indent=1))
        return
    print("  ".join(f"{key}: {value}" for key, value in about.items()))
    print(
        f"\n{'work':<34}{'server':<12}{'median':>14}{'least':>14}{'most':>14}  {'unit':<14}{'CPU us/unit':>12}{'to seed':>9}"
    )
    for row in rows:
        ratio = f"{row.ratio:.2f}×" if row.ratio is not None else ""
        cpu = f"{row.cpu_us:.2f}" if row.cpu_us is not None else ""
        print(
            f"{row.work:<34}{row.server:<12}{row.median:>14,.1f}{row.least:>14,.1f}{row.most:>14,.1f}"
            f"  {row.unit:<14}{cpu:>12}{ratio:>9}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter runs, fewer of them")
    parser.add_argument("--json", action="store_true", help="a list of rows")
    parser.add_argument("--only", default="", help="only the works whose name has this in it")
    parser.add_argument("--repeats", type=int, default=0, help="runs of each (default 5, quick 1)")
    options = parser.parse_args()
    seconds = 0.5 if options.quick else 2.0
    repeats = options.repeats or (1 if options.quick else 5)
    idle = 200 if options.quick else 2000
    cores = tuple(sorted(os.sched_getaffinity(0)))
    if len(cores) > 1:
        os.sched_setaffinity(0, set(cores[1:]))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    works: dict[str, tuple[str, Measure]] = {
        "1 to 1, latency p50": ("us", one_latency(seconds, 50)),
        "1 to 1, latency p99": ("us", one_latency(seconds, 99)),
        "1 to 1, 256 in flight": ("messages/s", one_stream(2, 256, seconds)),
        "1 to 100, one in flight": ("deliveries/s", one_stream(101, 1, seconds)),
        "1 to 100, 64 in flight": ("deliveries/s", one_stream(101, 64, seconds)),
        "10 rooms of 20, all talking": ("deliveries/s", many_rooms(seconds)),
        "idle connection": ("KiB", lambda server, _: Taken(idle_kib(server, idle))),
    }
    rows: list[Row] = []
    for work, (unit, measure) in works.items():
        if options.only not in work:
            continue
        taken: dict[str, list[Taken]] = {"seed": [], "relay tcp": [], "relay tls": []}
        with ExitStack() as stack:
            servers = {kind: stack.enter_context(serving(kind, cores)) for kind in taken}
            for number in range(1 if unit == "KiB" else repeats):
                for kind, server in servers.items():
                    if kind == "seed" and work.startswith("10 rooms"):
                        # The original knows one room; ten of it would be ten processes.
                        continue
                    taken[kind].append(measure(server, number))
        base = statistics.median(each.value for each in taken["seed"]) if taken["seed"] else None
        for kind, measured in taken.items():
            if measured:
                values = [each.value for each in measured]
                middle = statistics.median(values)
                cpu = [each.cpu_us for each in measured if each.cpu_us is not None]
                ratio = middle / base if base and kind != "seed" else None
                rows.append(
                    Row(
                        work,
                        kind,
                        unit,
                        middle,
                        min(values),
                        max(values),
                        statistics.median(cpu) if cpu else None,
                        ratio,
                    )
                )
    report(rows, options.json)


if __name__ == "__main__":
    main()
