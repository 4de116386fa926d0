"""Relays and our client as processes, cases with plain clients, and what must hold over each transport.

Processes are started once for all tests that can share them, and ended with the run. They see neither the locale
nor the home of whoever runs the tests.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.peer.client import PlainClient
from tests.peer.sc1 import Keys
from tests.peer.state import Person

PATIENCE_S: Final = 15.0
"""Seconds after which something that should happen at once counts as never happening."""

Event = dict[str, Any]

_numbers: Final = count(1)


@cache
def scratch() -> Path:
    """A directory for everything that processes write, removed with the run; short enough for a socket's path."""
    directory = Path(tempfile.mkdtemp(prefix="peer"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


class Program:
    """A process whose output comes line by line."""

    def __init__(self, *arguments: str) -> None:
        strange = ("SECURECHAT", "LC_", "LANG", "XDG_", "STATE_DIRECTORY")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        self._errors = tempfile.TemporaryFile(dir=scratch())  # noqa: SIM115  # lives as long as the process
        self._process = subprocess.Popen(
            arguments,
            cwd=scratch(),
            env={**kept, "HOME": str(scratch() / "nobody"), "LC_ALL": "C", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        atexit.register(self.end)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def line(self) -> bytes:
        """The next line of its output."""
        try:
            line = self._lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            line = b""
        if not line:
            self._errors.seek(0)
            raise AssertionError(f"no more output; errors: {self._errors.read().decode(errors='replace')}")
        return line

    def feed(self, line: bytes) -> None:
        """Give it a line of input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def interrupt(self) -> None:
        """Ask it to stop."""
        self._process.send_signal(signal.SIGTERM)

    def memory(self) -> Iterator[bytes]:
        """All that is in its memory, a mapping at a time. PermissionError where the system keeps that to itself."""
        pid = self._process.pid
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                first, last = (int(each, 16) for each in line.split()[0].split("-"))
                if line.split()[1].startswith("rw"):
                    memory.seek(first)
                    yield memory.read(last - first)

    def end(self) -> None:
        """End it, if it has not ended, and let go of its pipes."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        self._process.stdin.close()
        self.interrupt()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


class Relay(Program):
    """A relay on free ports; `addresses` are those that it prints, in the order of `listen`."""

    def __init__(self, *options: str, listen: Sequence[str] = ("tcp:0:interface=127.0.0.1",)) -> None:
        twistd = str(Path(sys.executable).with_name("twistd"))
        self.data = Path(tempfile.mkdtemp(dir=scratch()))
        places = [word for place in listen for word in ("--listen", place)]
        super().__init__(twistd, "-n", "--pidfile=", "securechat", "--data", str(self.data), *places, *options)
        self.addresses: list[str] = []
        while len(self.addresses) < len(listen):
            found = re.search(rb"relay listens at (securechat\S+)", self.line())
            if found:
                self.addresses.append(found[1].decode())


class Ours(Program):
    """Our client under a name of its own, as a rule driven by JSON lines."""

    def __init__(self, address: str, *options: str) -> None:
        self.name = f"ours{next(_numbers)}"
        home = tempfile.mkdtemp(dir=scratch())
        command = [sys.executable, "-m", "securechat", "chat", self.name, "--engine", "cpu", "--relay", address]
        super().__init__(*command, "--home", home, *(options or ("--json",)))

    def say(self, room: str, text: str) -> None:
        """Have it say something, in a room that it enters for this if it has to."""
        self.feed(json.dumps({"room": room, "text": text}).encode())

    def until(self, kind: str, **fields: object) -> list[Event]:
        """The events up to the first of a kind with these fields."""
        events: list[Event] = []
        wanted = {"type": kind, **fields}
        while not events or not wanted.items() <= events[-1].items():
            events.append(json.loads(self.line()))
        return events

    def expect(self, kind: str, **fields: object) -> Event:
        """The first event of a kind with these fields; those before it are skipped."""
        return self.until(kind, **fields)[-1]


@cache
def secure_relay() -> Relay:
    """A relay with TLS, and a Unix socket."""
    return Relay(listen=("tcp:0:interface=127.0.0.1", f"unix:{scratch() / 'relay.sock'}"))


@cache
def plain_relay() -> Relay:
    """A relay without TLS."""
    return Relay("--plaintext")


@cache
def ours_in_lobby(address: str) -> Ours:
    """Our client at a relay, which all tests share."""
    ours = Ours(address)
    ours.expect("key", room="#lobby")
    return ours


class PeerCase(SynchronousTestCase):
    """A test with plain clients, each under a name of its own."""

    def connect(self, address: str) -> PlainClient:
        """A plain client that has been greeted."""
        plain = PlainClient(address, PATIENCE_S)
        self.addCleanup(plain.link.close)
        return plain

    def new_person(self) -> Person:
        """Somebody whom nobody has met."""
        return Person(Keys(f"peer{next(_numbers)}"))

    def login(self, address: str, *rooms: str, person: Person | None = None) -> PlainClient:
        """A plain client that is in some rooms, as somebody new unless it is said as whom."""
        plain = self.connect(address)
        plain.login(person or self.new_person())
        for room in rooms:
            plain.enter(room)
        return plain

    def new_room(self) -> str:
        """A room that no other test has."""
        return f"#room{next(_numbers)}"

    def say(self, plain: PlainClient, room: str, *texts: str) -> None:
        """Have a plain client say something, and see it acknowledged."""
        for text in texts:
            plain.say(room, text)
        plain.settle()

    def until(self, plain: PlainClient, done: Callable[[], object]) -> None:
        """Have a plain client receive until something has come true."""
        while not done():
            plain.receive()

    def meet(self, plain: PlainClient, room: str, *names: str) -> None:
        """Have a plain client see that exactly these and itself are members, and have the key of then."""
        wanted = sorted((plain.name, *names))

        def met() -> bool:
            log = plain.rooms[room].log
            return self.names(plain, room) == wanted and log.epoch in plain.rooms[room].keys

        self.until(plain, met)

    def names(self, plain: PlainClient, room: str) -> list[str]:
        """Who is in a room, as a plain client sees it."""
        return sorted(each.name for each in plain.rooms[room].log.members.values())

    def assert_heard(self, plain: PlainClient, room: str, sender: str, text: str) -> None:
        """A plain client hears exactly this next, in whatever room, with nothing missing before it."""
        heard = plain.next_message()
        self.assertEqual(
            (room, sender, text, "", None), (heard.room, heard.sender, heard.text, heard.problem, heard.gap)
        )

    def assert_problem(self, plain: PlainClient, problem: str) -> None:
        """What a plain client hears next cannot be shown, for this reason."""
        heard = plain.next_message()
        self.assertEqual((problem, None), (heard.problem, heard.text))


class TalkContract(PeerCase):
    """What two clients that have nothing in common but the documents can do, on each transport."""

    def address(self) -> str:
        """A relay at the end of the transport that this is about."""
        raise NotImplementedError

    def test_lobby(self) -> None:
        """Each of the two clients hears what the other one says in the lobby."""
        ours = ours_in_lobby(self.address())
        plain = self.login(self.address(), "#lobby")
        self.say(plain, "#lobby", "hello from the document")
        heard = ours.expect("message", room="#lobby", sender=plain.name)
        self.assertEqual("hello from the document", heard["text"])
        ours.say("#lobby", "hello from the code ⚛")
        self.assert_heard(plain, "#lobby", ours.name, "hello from the code ⚛")
        plain.leave("#lobby")
        ours.expect("left", room="#lobby", name=plain.name)

    def test_direct(self) -> None:
        """A direct room that either of the two founds carries messages both ways."""
        ours = ours_in_lobby(self.address())
        plain = self.login(self.address())
        room = plain.direct(ours.name)
        self.assertEqual([ours.name, plain.name], self.names(plain, room))
        self.say(plain, room, "just you")
        self.assertEqual("just you", ours.expect("message", room=room)["text"])
        ours.say(f"@{plain.name}", "and me")
        self.assert_heard(plain, room, ours.name, "and me")
        called = self.login(self.address())
        ours.say(f"@{called.name}", "unasked")
        self.assert_heard(called, f"@{ours.name}+{called.name}", ours.name, "unasked")

    def test_members_change(self) -> None:
        """Whoever joins or leaves makes a new key for both clients, and messages before and after are heard."""
        ours, room = ours_in_lobby(self.address()), self.new_room()
        plain = self.login(self.address(), room)
        ours.say(room, "before")
        self.assert_heard(plain, room, ours.name, "before")
        keys = [self._same_key(ours, plain, room)]
        other = self.login(self.address(), room)
        # Not read yet: this is sealed for the epoch that is over, and sealed again for the new one.
        self.say(plain, room, "during")
        self.assert_heard(other, room, plain.name, "during")
        keys.append(self._same_key(ours, plain, room))
        self.assertEqual("during", ours.expect("message", room=room, sender=plain.name)["text"])
        ours.say(room, "between")
        self.assert_heard(plain, room, ours.name, "between")
        self.assert_heard(other, room, ours.name, "between")
        other.leave(room)
        self.meet(plain, room, ours.name)
        keys.append(self._same_key(ours, plain, room))
        self.say(plain, room, "after")
        self.assertEqual("after", ours.expect("message", room=room, sender=plain.name)["text"])
        ours.say(room, "at last")
        self.assert_heard(plain, room, ours.name, "at last")
        self.assertEqual(3, len(set(keys)))

    def _same_key(self, ours: Ours, plain: PlainClient, room: str) -> bytes:
        """The key that a plain client has, which our client must be given too."""
        known = plain.rooms[room]
        key = known.keys[known.log.epoch]
        ours.expect("key", room=room, fingerprint=sha256(key).hexdigest()[:16])
        return key

    def test_put_out(self) -> None:
        """Our client is added to a closed room by the plain one, talks there, and is put out again."""
        ours, room = ours_in_lobby(self.address()), self.new_room()
        plain = self.login(self.address())
        plain.founding(room)
        plain.add(room, ours.name)
        self.say(plain, room, "welcome")
        self.assertEqual("welcome", ours.expect("message", room=room)["text"])
        ours.say(room, "thanks")
        self.assert_heard(plain, room, ours.name, "thanks")
        plain.remove(room, ours.name)
        self.say(plain, room, "they are gone")
        self.say(plain, plain.direct(ours.name), "sorry")
        events = ours.until("message", text="sorry")
        self.assertIn({"type": "left", "room": room, "name": ours.name}, events)
        self.assertNotIn("they are gone", json.dumps(events))

    def test_texts(self) -> None:
        """The longest text and the shortest, and text of all planes, arrive as they were said, either way."""
        ours, room = ours_in_lobby(self.address()), self.new_room()
        plain = self.login(self.address(), room)
        ours.say(room, ".")
        self.assert_heard(plain, room, ours.name, ".")
        for text in ("x" * 16_256, "\N{PEDESTRIAN}" * 4_064, "é", "\0"):
            self.say(plain, room, text)
            self.assertEqual(text, ours.expect("message", room=room, sender=plain.name)["text"])
            ours.say(room, text)
            self.assert_heard(plain, room, ours.name, text)

    def test_many(self) -> None:
        """More messages than a window and a session hold arrive in order, with numbers that follow each other."""
        ours, room = ours_in_lobby(self.address()), self.new_room()
        plain = self.login(self.address(), room)
        ours.say(room, "ready")
        self.assert_heard(plain, room, ours.name, "ready")
        texts = [str(number) for number in range(300)]
        self.say(plain, room, *texts)
        events = ours.until("message", room=room, text=texts[-1])
        heard = [event for event in events if event["type"] == "message"]
        self.assertEqual(texts, [event["text"] for event in heard])
        self.assertEqual(list(range(2, 302)), [event["seq"] for event in heard])
        for text in texts:
            ours.say(room, text)
        for text in texts:
            self.assert_heard(plain, room, ours.name, text)

    def test_ping_and_quit(self) -> None:
        """A ping is answered with a pong, and a goodbye with a goodbye and the end of the link."""
        plain = self.connect(self.address())
        plain.ping()
        plain.login(self.new_person())
        plain.ping()
        plain.quit()
