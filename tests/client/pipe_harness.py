"""A pipe in memory: standard input and output, a conversation that only remembers, and the link's flow."""

from __future__ import annotations

import json
import sys
from io import StringIO
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from securechat.client import events
from securechat.client.errors import Exit
from securechat.client.pipe import Pipe

WHEN = events.time_of(1_767_323_045_678)
RELAY = "securechat://relay.example:1"


class Standard(StringTransport):
    """Standard input and output: the input can be paused, the output goes to memory."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self.pipe = pipe
        self.closing = False
        self.reader_takes = True

    def flush(self) -> bool:
        """Whether all of it is taken now."""
        return self.reader_takes

    def loseConnection(self) -> None:
        """The output ends once it has been taken."""
        self.closing = True

    def taken(self) -> None:
        """All output was taken."""
        self.pipe.connectionLost()


class FakeTalk:
    """A conversation that does what the pipe asks only on paper, and counts what is not acknowledged."""

    name = "alice"

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str | None]] = []
        self.entered: list[str] = []
        self.asked: list[tuple[str, int]] = []
        self.unacknowledged = 0

    def say(self, room: str, text: str, label: str | None = None) -> None:
        """Remember what is said; `@name` is one person."""
        self.said.append((room, text, label))
        self.unacknowledged += 1

    def direct(self, name: str, text: str, label: str | None = None) -> None:
        """Remember what is said to one person."""
        self.say(f"@{name}", text, label)

    def enter(self, room: str) -> None:
        """Remember a room."""
        self.entered.append(room)

    def history(self, room: str, count: int) -> None:
        """Remember what was asked for."""
        self.asked.append((room, count))


class FakeFlow:
    """The link's flow: why it is held."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    def hold(self, why: str) -> None:
        """Read nothing."""
        self.held.add(why)

    def release(self, why: str) -> None:
        """Read again."""
        self.held.discard(why)


class PipeCase(SynchronousTestCase):
    """A case with a pipe that has begun; at its end no call is left on the clock."""

    json = False
    room = "#lobby"
    count: int | None = None
    chatty = False
    arrived = True
    """Whether the room was entered before the test begins."""

    def setUp(self) -> None:
        """Begin."""
        self.clock = Clock()
        self.ends: list[tuple[Exit, str]] = []
        self.talk = FakeTalk()
        self.flow = FakeFlow()
        self.pipe = Pipe(
            self.clock,
            self.room,
            self.json,
            lambda *end: self.ends.append(end),
            count=self.count,
            chatty=self.chatty,
        )
        self.standard = Standard(self.pipe)
        self.stderr = StringIO()
        self.patch(sys, "stderr", self.stderr)
        self.pipe.makeConnection(self.standard)
        self.pipe.start(self.talk, self.flow)
        self.addCleanup(self.over)
        if self.arrived:
            self.pipe.tell(events.Entered(self.room, ["alice"]))
            self.standard.clear()
            self.stderr.truncate(0)
            self.stderr.seek(0)

    def finished(self, status: Exit, text: str) -> None:
        """It is over."""
        self.ends.append((status, text))

    def over(self) -> None:
        """End it, if it has not ended by itself."""
        self.pipe.finish(Exit.DONE, "")
        self.assertEqual(len(self.ends), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def types(self, data: bytes | str) -> None:
        """Let some input come."""
        self.pipe.dataReceived(data.encode() if isinstance(data, str) else data)

    def texts(self) -> list[str]:
        """What was said."""
        return [text for _, text, _ in self.talk.said]

    def up(self) -> None:
        """The link is up."""
        self.pipe.tell(events.Link(True, RELAY))

    def down(self, retry_s: float = 2.0) -> None:
        """The link is lost."""
        self.pipe.tell(events.Link(False, RELAY, "the connection broke", retry_s))

    def acknowledge(self, count: int = 1) -> None:
        """The relay takes what was said first."""
        for _ in range(count):
            self.talk.unacknowledged -= 1
            self.pipe.tell(events.Sent("#lobby", 1, "text"))

    def message(self, text: str, sender: str = "bob", room: str = "#lobby") -> None:
        """Somebody says something."""
        self.pipe.tell(events.Message(room, sender, text, WHEN, 7))

    def printed(self) -> list[str]:
        """The lines of output."""
        data: bytes = self.standard.value()
        if data:
            assert data.endswith(b"\n")
        return data.decode().split("\n")[:-1]

    def remarks(self) -> list[str]:
        """The lines on stderr."""
        return self.stderr.getvalue().split("\n")[:-1]

    def objects(self) -> list[Any]:
        """The objects of JSON output."""
        return [json.loads(line) for line in self.printed()]

    def lose(self) -> None:
        """Standard input and output are gone."""
        self.pipe.connectionLost(Failure(ConnectionError()))
