"""The load: by a small C program over plain sockets, by Python where there is TLS or no compiler.

Python's own costs are then part of what is measured, in each server's figures alike.
"""

import select
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from _servers import DECODER, SEALED, Peer, Room

from securechat.wire.messages import Delivery


@dataclass
class Rate:
    """So many deliveries in so many seconds."""

    deliveries: int
    seconds: float


@cache
def load_program() -> str | None:
    """benchmarks/load.c, compiled; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    target = Path(tempfile.mkdtemp(prefix="securechat-load-")) / "load"
    source = Path(__file__).with_name("load.c")
    done = subprocess.run([compiler, "-O2", "-o", str(target), str(source)], check=False, capture_output=True)
    return str(target) if done.returncode == 0 else None


def by_program(room: Room) -> bool:
    """Whether the C program can load this room."""
    return room.server.tls is None and load_program() is not None


def _run_program(mode: str, amount: int, seconds: float, size: int, rooms: list[Room], run: int = 1) -> Rate:
    peers = [peer for room in rooms for peer in room.peers]
    descriptors = [peer.sock.fileno() for peer in peers]
    senders = [rooms[0].template(0, run)]
    if mode == "busy":
        senders = [room.template(number) for room in rooms for number in range(len(room.peers))]
    program = load_program()
    assert program is not None
    done = subprocess.run(
        [program, mode, str(amount), str(seconds), str(size), *map(str, descriptors)],
        input=b"".join(sender.packed() for sender in senders),
        stdout=subprocess.PIPE,
        pass_fds=descriptors,
        check=True,
    )
    deliveries, took = done.stdout.split()
    return Rate(int(deliveries), float(took))


def stream(room: Room, in_flight: int, seconds: float, run: int = 1) -> Rate:
    """One member posts, with so many messages on their way to the slowest of the others, `run` in each frame."""
    if by_program(room):
        return _run_program("stream", in_flight, seconds, room.delivered_bytes, [room], run)
    sender, reference, *others = room.peers
    poll = select.epoll()
    by_fd = {peer.sock.fileno(): peer for peer in room.peers}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    sent = heard = 0
    prepared = posts(room, in_flight, run)
    began = now = time.perf_counter()
    while True:
        if heard == sent and all(peer.bytes_in == reference.bytes_in for peer in others):
            now = time.perf_counter()
            if now - began >= seconds:
                break
            sender.send(prepared)
            sent += in_flight
            prepared = posts(room, in_flight, run)
        for fd, _ in poll.poll(10):
            bodies = by_fd[fd].frames()
            if by_fd[fd] is reference:
                heard += count(room, bodies)
    poll.close()
    return Rate(sent * (len(others) + 1), now - began)


def busy_rooms(rooms: list[Room], seconds: float) -> Rate:
    """In every room every member posts one message, and the next one once everybody has heard everybody."""
    if by_program(rooms[0]):
        return _run_program("busy", len(rooms[0].peers), seconds, 0, rooms)
    poll = select.epoll()
    owners: dict[int, tuple[Room, Peer, str]] = {}
    for room in rooms:
        for number, peer in enumerate(room.peers):
            owners[peer.sock.fileno()] = (room, peer, room.member(number))
            poll.register(peer.sock.fileno(), select.EPOLLIN)
    heard = dict.fromkeys(owners, 0)
    expected = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for room in rooms:
            for peer in room.peers:
                peer.send(posts(room, 1))
        expected += len(rooms[0].peers) - 1
        waiting = set(owners)
        while waiting:
            for fd, _ in poll.poll(10):
                room, peer, name = owners[fd]
                heard[fd] += count(room, peer.frames(), name)
                if heard[fd] >= expected:
                    waiting.discard(fd)
    poll.close()
    return Rate(sum(heard.values()), time.perf_counter() - began)


def latency(room: Room, seconds: float) -> list[float]:
    """One message at a time from one member to another: microseconds each, in order of size."""
    sender, reference = room.peers
    took = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        data = posts(room, 1)
        before = reference.bytes_in
        began = time.perf_counter()
        sender.send(data)
        while reference.bytes_in - before < len(SEALED):
            reference.frames()
        took.append((time.perf_counter() - began) * 1e6)
        if room.server.is_relay or room.server.kind == "redis":
            sender.read()
    return took


def percentile(values: list[float], percent: int) -> float:
    """A percentile."""
    return statistics.quantiles(values, n=100)[percent - 1]


def posts(room: Room, number: int, run: int = 1) -> bytes:
    """So many messages, `run` in each frame where the server has such frames."""
    template = room.template(0, run)
    return b"".join(template.fresh() for _ in range(number // template.messages))


def count(room: Room, bodies: list[bytes], own: str = "") -> int:
    """How many messages of others some frames deliver; a `Delivery` may hold one's own too."""
    if not room.server.is_relay:
        return len(bodies)
    deliveries = [message for message in map(DECODER.decode, bodies) if isinstance(message, Delivery)]
    return sum(item[0] != own for message in deliveries for item in message.items)
