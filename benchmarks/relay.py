"""How fast the relay is: latency, throughput, fan-out, busy rooms, memory of idle connections.

    python benchmarks/relay.py [--quick] [--json] [--only NAME] [--repeats N] [--peers]

A relay runs in a process of its own (`twistd`), on one core; the load comes over loopback from another one. The
baseline, "seed", is what the original program's server was, written with Twisted as it comes: the stock
`Int32StringReceiver` and one `sendString` for each receiver, no names, no keys, no numbers, no acknowledgements.
Logins, and the signing of the room's log, come before what is measured. `--peers` adds Redis pub/sub and NATS where
they are installed. All run interleaved, and the ratios are what to trust. Messages carry 128 sealed bytes, and each
one is posted in a frame of its own; "runs" means 32 in a frame, as our client sends what has been waiting, for
servers that have such frames. "relay kept" commits each message to its store before it says anything of it; the
other two relays keep nothing. With TLS the load is made by Python, which is slower than what it measures: look at
the server's CPU time there.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version

from _load import Rate, busy_rooms, latency, load_program, percentile, stream
from _people import Member
from _servers import RELAY_KEPT, RELAY_TCP, RELAY_TLS, RELAYS, SEED, Room, Server, peers_installed, serving
from OpenSSL import SSL


@dataclass
class Taken:
    """One measurement: its value, and the microseconds of the server's CPU for each delivery, if it has any."""

    value: float
    cpu_us: float | None = None


@dataclass
class Row:
    """One line of the report."""

    work: str
    server: str
    unit: str
    median: float
    least: float
    most: float
    cpu_us: float | None
    ratio: float | None


Measure = Callable[[Server, int], Taken]


def with_rooms(rooms: int, members: int, measure: Callable[[list[Room]], Taken]) -> Measure:
    """A measurement in rooms that are made anew for each run."""

    def run(server: Server, number: int) -> Taken:
        made = [Room(server, f"r{number}x{each}", members) for each in range(rooms)]
        try:
            return measure(made)
        finally:
            for room in made:
                room.close()
            time.sleep(0.2)

    return run


def rate(rooms: list[Room], measure: Callable[[], Rate]) -> Taken:
    """A rate, and what each delivery cost the server."""
    server = rooms[0].server
    before = server.cpu_s()
    result = measure()
    return Taken(result.deliveries / result.seconds, (server.cpu_s() - before) * 1e6 / result.deliveries)


def committed(seconds: float, *, rows: bool) -> Measure:
    """Commits in a second while 256 messages are on their way from one to one, or the rows of each."""

    def measure(rooms: list[Room]) -> Taken:
        server = rooms[0].server
        commits_before, rows_before = server.commits()
        took = stream(rooms[0], 256, seconds).seconds
        commits_now, rows_now = server.commits()
        commits = commits_now - commits_before
        return Taken((rows_now - rows_before) / commits if rows else commits / took)

    return with_rooms(1, 2, measure)


def idle(connections: int) -> Measure:
    """KiB of the server's memory for each connection that is logged in and says nothing."""

    def run(server: Server, _: int) -> Taken:
        peers = [server.connect() for _ in range(50)]
        time.sleep(0.5)
        before = server.memory_kib()
        for number in range(connections):
            peer = server.connect()
            if server.is_relay:
                peer.login(Member(f"idle-{number}"))
            peers.append(peer)
        time.sleep(0.5)
        used = (server.memory_kib() - before) / connections
        for peer in peers:
            peer.sock.close()
        return Taken(used)

    return run


def works(seconds: float, connections: int) -> dict[str, tuple[str, Measure]]:
    """What is measured, by name, with its unit."""

    def streams(members: int, in_flight: int, run: int = 1) -> Measure:
        return with_rooms(1, members, lambda rooms: rate(rooms, lambda: stream(rooms[0], in_flight, seconds, run)))

    def delays(percent: int) -> Measure:
        return with_rooms(1, 2, lambda rooms: Taken(percentile(latency(rooms[0], seconds), percent)))

    return {
        "1 to 1, latency p50": ("us", delays(50)),
        "1 to 1, latency p99": ("us", delays(99)),
        "1 to 1, 256 in flight": ("messages/s", streams(2, 256)),
        "1 to 1, 256 in flight, runs": ("messages/s", streams(2, 256, 32)),
        "1 to 1, 256 in flight, kept": ("commits/s", committed(seconds, rows=False)),
        "1 to 1, 256 in flight, batch": ("rows", committed(seconds, rows=True)),
        "1 to 100, one in flight": ("deliveries/s", streams(101, 1)),
        "1 to 100, 64 in flight": ("deliveries/s", streams(101, 64)),
        "1 to 1000, one in flight": ("deliveries/s", streams(1001, 1)),
        "1 to 1000, 64 in flight": ("deliveries/s", streams(1001, 64)),
        "10 rooms of 20, all talking": (
            "deliveries/s",
            with_rooms(10, 20, lambda rooms: rate(rooms, lambda: busy_rooms(rooms, seconds))),
        ),
        "idle connection": ("KiB", idle(connections)),
    }


def takes(kind: str, work: str) -> bool:
    """Whether a work makes sense on a server: only ours has rooms, and Python is too slow for a thousand by TLS."""
    if work.endswith((" kept", " batch")):
        return kind == RELAY_KEPT
    if work.startswith(("10 rooms", "idle")):
        return kind in RELAYS or (kind == SEED and work.startswith("idle"))
    return not (kind == RELAY_TLS and "1000" in work)


def measured(work: str, unit: str, measure: Measure, kinds: list[str], repeats: int, core: int | None) -> list[Row]:
    """One work on every server that takes it, interleaved."""
    taken: dict[str, list[Taken]] = {kind: [] for kind in kinds if takes(kind, work)}
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(serving(kind, core)) for kind in taken}
        for number in range(1 if unit == "KiB" else repeats):
            for kind, server in servers.items():
                taken[kind].append(measure(server, number))
    base = statistics.median(each.value for each in taken[SEED]) if SEED in taken else None
    rows = []
    for kind, runs in taken.items():
        values = [each.value for each in runs]
        middle = statistics.median(values)
        cpu = [each.cpu_us for each in runs if each.cpu_us is not None]
        ratio = middle / base if base and kind != SEED else None
        rows.append(
            Row(work, kind, unit, middle, min(values), max(values), statistics.median(cpu) if cpu else None, ratio)
        )
    return rows


def report(rows: list[Row], as_json: bool) -> None:
    """Print the rows and what they were measured with."""
    about = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "twisted": version("twisted"),
        "msgspec": version("msgspec"),
        "openssl": SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode(),
        "load by": "load.c" if load_program() else "Python",
        "load average": os.getloadavg()[0],
    }
    if as_json:
        print(json.dumps({"about": about, "rows": [vars(row) for row in rows]}, indent=1))
        return
    print("  ".join(f"{key}: {value}" for key, value in about.items()))
    head = f"{'work':<29}{'server':<11}{'median':>12}{'least':>12}{'most':>12}  {'unit':<13}"
    print(f"\n{head}{'CPU us':>7}{'to seed':>9}")
    for row in rows:
        ratio = f"{row.ratio:.2f}x" if row.ratio is not None else ""
        cpu = f"{row.cpu_us:.2f}" if row.cpu_us is not None else ""
        print(
            f"{row.work:<29}{row.server:<11}{row.median:>12,.1f}{row.least:>12,.1f}{row.most:>12,.1f}"
            f"  {row.unit:<13}{cpu:>7}{ratio:>8}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter runs, fewer of them")
    parser.add_argument("--json", action="store_true", help="rows for programs")
    parser.add_argument("--only", default="", help="only the works whose name has this in it")
    parser.add_argument("--repeats", type=int, default=0, help="runs of each (default 5, quick 1)")
    parser.add_argument("--peers", action="store_true", help="Redis and NATS too, where they are installed")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, set(cores[1:]))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kinds = [SEED, RELAY_TCP, RELAY_TLS, RELAY_KEPT, *(peers_installed() if options.peers else [])]
    rows: list[Row] = []
    for work, (unit, measure) in works(0.5 if options.quick else 2.0, 200 if options.quick else 2000).items():
        if options.only in work:
            repeats = options.repeats or (1 if options.quick else 5)
            rows += measured(work, unit, measure, kinds, repeats, cores[0] if len(cores) > 1 else None)
    report(rows, options.json)


if __name__ == "__main__":
    main()
