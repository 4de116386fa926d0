"""Relays, clients and proxies as processes, and what their members were told, for the checker."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.address import Address
from tests.client.programs import Program, environment
from tests.faults.ackcheck import Life, check, events_of
from tests.relay.process import RelayProcess

LONG_S: Final = 60.0
"""What takes longer has gone wrong."""
MIB: Final = 1024 * 1024
LOBBY: Final = "#lobby"


def asked_s(usual: float) -> float:
    """For how long something goes on that may: so many seconds, or the minutes that `FAULT_MINUTES` says."""
    asked = os.environ.get("FAULT_MINUTES")
    return usual if asked is None else float(asked) * 60


class Relay(RelayProcess):
    """`twistd -n securechat` with the cheapest engine, looked at from outside."""

    def __init__(
        self,
        case: SynchronousTestCase,
        *options: str,
        listen: str = "tcp:0:interface=127.0.0.1",
        stdin: int | None = None,
        **environment: str,
    ) -> None:
        super().__init__(case, "--engine", "cpu", *options, listen=listen, stdin=stdin, **environment)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def ends(self) -> str:
        """Stop it as an operator would; all that it said. A traceback, or an error, is none of what it may say."""
        self.terminate()
        self.wait()
        assert self._process.stderr is not None
        said = self.output + self._process.stderr.read()
        for word in ("Traceback", "Unhandled", "failed: "):
            assert word not in said, said
        return said


class Client(Program):
    """A client in the lobby, with JSON lines both ways; `seen` has all that it wrote and that was read here."""

    def __init__(self, name: str, address: Address, home: Path, *options: str, module: str = "securechat") -> None:
        self.name = name
        words = ["chat", name, "--json", "--relay", str(address), "--home", str(home), *options]
        env = environment(home, PYTHONUNBUFFERED="1")
        program = ["securechat"] if module.startswith("tests.") else []
        super().__init__([sys.executable, "-m", module, *program, *words], env)
        self._events: list[dict[str, Any]] = []

    def events(self) -> list[dict[str, Any]]:
        """All events so far, without waiting for any."""
        while True:
            try:
                line = self.out.get_nowait()
            except Empty:
                return self._events
            if line is not None:
                self.seen.append(line)
                self._events += events_of([line])

    def waits(self, what: str, done: Callable[[list[dict[str, Any]]], object], within_s: float = LONG_S) -> None:
        """Wait until something is true of all events so far."""
        end = time.monotonic() + within_s
        while not done(self.events()):
            assert self.process.poll() is None, f"{self.name} has ended: {self.stderr}"
            assert time.monotonic() < end, f"{self.name}: no {what}; the last: {self.seen[-5:]}"
            time.sleep(0.02)

    def gets(self, kind: str, within_s: float = LONG_S, **fields: object) -> dict[str, Any]:
        """Wait until an event of a kind with these fields has come, at any time; the last such."""
        wanted = {"type": kind, **fields}
        found: list[dict[str, Any]] = []

        def done(events: list[dict[str, Any]]) -> bool:
            found[:] = [event for event in events if wanted.items() <= event.items()]
            return bool(found)

        self.waits(str(wanted), done, within_s)
        return found[-1]

    def is_back(self, within_s: float = LONG_S) -> None:
        """Wait until it is in the lobby on a link that is up."""

        def done(events: list[dict[str, Any]]) -> bool:
            kinds = [event for event in events if event["type"] == "link" or event.get("room") == LOBBY]
            last = max(at for at, event in enumerate(kinds) if event["type"] == "link")
            return bool(kinds[last]["up"]) and any(event["type"] == "key" for event in kinds[last:])

        self.waits("return", done, within_s)

    def says(self, text: str) -> None:
        """Say something in the lobby; the text is its id as well."""
        self.writes({"text": text, "id": text, "room": LOBBY})

    def life(self, since: int | None = None, *, cut: bool = False) -> Life:
        """What the checker wants to know of this run."""
        return Life(self.name, LOBBY, since, cut).read(self.events())


class Proxy(Program):
    """A proxy before a relay; `address` is the relay's by way of it."""

    def __init__(self, relay: Address, seed: int = 0) -> None:
        to = f"unix:{relay.path}" if relay.path else f"tcp:{relay.host}:{relay.port}"
        command = [sys.executable, "-m", "tests.faults.proxy_process", to, str(seed)]
        super().__init__(command, dict(os.environ))
        self.address = replace(relay, host="127.0.0.1", port=int(self.line()), path="")

    def does(self, what: str) -> int:
        """Something at once on every link; the number of links."""
        self.writes({"do": what})
        return int(self.line())

    def now(self, up: dict[str, Any] | None = None, down: dict[str, Any] | None = None) -> int:
        """The faults from now on; the number of links."""
        self.writes({"up": up or {}, "down": down or {}})
        return int(self.line())


class FaultCase(SynchronousTestCase):
    """A test with processes, which end with it."""

    def relay(self, *options: str, listen: str = "tcp:0:interface=127.0.0.1") -> Relay:
        """A relay."""
        return Relay(self, *options, listen=listen)

    def proxy(self, relay: Relay, seed: int = 0) -> Proxy:
        """A proxy before a relay."""
        proxy = Proxy(relay.address, seed)
        self.addCleanup(proxy.clean_up)
        return proxy

    def home(self, name: str) -> Path:
        """Where somebody's keys are: the same for all runs of one name in a test."""
        homes = getattr(self, "_homes", None) or Path(self.mktemp()).absolute()
        self._homes = homes
        return Path(homes / name)

    def client(self, name: str, address: Address, *options: str, module: str = "securechat") -> Client:
        """A client that is in the lobby."""
        client = self.starting(name, address, *options, module=module)
        client.gets("key", room=LOBBY)
        return client

    def starting(self, name: str, address: Address, *options: str, module: str = "securechat") -> Client:
        """A client that is not waited for."""
        client = Client(name, address, self.home(name), *options, module=module)
        self.addCleanup(self.no_traceback, client)
        self.addCleanup(client.clean_up)
        return client

    def no_traceback(self, client: Client) -> None:
        """Nothing that a client says is for its programmers."""
        self.assertNotIn("Traceback", client.stderr)

    def clients(self, address: Address, *names: str) -> list[Client]:
        """Clients that all see each other in the lobby."""
        clients = [self.starting(name, address) for name in names]
        for client in clients:
            client.gets("key", room=LOBBY)
        return clients

    def all_hear(self, text: str, *clients: Client, within_s: float = LONG_S) -> int:
        """The first one says something, and all of them know it; its number."""
        clients[0].says(text)
        return self.all_know(text, *clients, within_s=within_s)

    def all_know(self, text: str, *clients: Client, within_s: float = LONG_S) -> int:
        """The first one's word is taken, and shown by the others; its number."""
        seq = int(clients[0].gets("sent", within_s, id=text)["seq"])
        for client in clients[1:]:
            if client is not clients[0]:
                client.gets("message", within_s, text=text)
        return seq

    def assert_clean(self, *lives: Life, told: int | None = 0) -> list[str]:
        """The checker finds nothing wrong, and clients told of so many things that they miss; what they told."""
        verdict = check(lives)
        self.assertEqual([], verdict.wrong, verdict.told)
        if told is not None:
            self.assertEqual(told, len(verdict.told), verdict.told)
        return verdict.told

    def until(self, done: Callable[[], bool], within_s: float) -> None:
        """Wait until something is so."""
        end = time.monotonic() + within_s
        while not done():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def measured(self, words: str) -> None:
        """Print what came out: a figure for people, which decides nothing here."""
        print(f"\n{self.id()}: {words}", flush=True)

    def assert_grew(self, relay: Relay, before: int, most: int) -> None:
        """The relay's memory has grown by no more than this."""
        grown = relay.resident_bytes() - before
        self.assertLess(grown, most, f"grew by {grown / MIB:.1f} MiB")


def connected(address: Address, source: str = "", timeout_s: float = LONG_S) -> socket.socket:
    """A plain connection, from an address of loopback where one is given."""
    if address.path:
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(timeout_s)
        plain.connect(address.path)
        return plain
    return socket.create_connection((address.host, address.port), timeout_s, (source, 0) if source else None)


def dumps(event: dict[str, Any]) -> bytes:
    """An event as a client writes it."""
    return json.dumps(event).encode()
