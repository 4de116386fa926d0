"""Without a screen: lines in, lines out, for pipes, scripts and plain terminals.

Input, where there is any, is one message a line; with `--json` one object a line, `{"text": …}` with an optional
`room` (`#room`, or `@name` for one person) and `id`, which comes back in `sent` and `not-sent`. Output is one line
a message, `sender: text`; with `--json` one object an event. Everything else goes to stderr.

The input is read no faster than the relay acknowledges, and the link no faster than the output is taken.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from securechat.client import events
from securechat.client.archive import HISTORY, MOST
from securechat.client.errors import ClientError, Exit
from securechat.client.pipe_lines import json_line, remark
from securechat.client.safe import safe_line, safe_name
from securechat.e2e.body import TEXT_BYTES, BodyError, check_text

LINE_BYTES: Final = 8 * TEXT_BYTES
"""The longest line of input, which leaves room for JSON's escapes."""

WAITING_MOST: Final = 1_000
"""Messages that may wait for the relay before the input is paused."""

GIVE_UP_S: Final = 60.0
"""Seconds without a link after the end of the input until what is left is given up."""


class Talk(Protocol):
    """What the pipe needs of a conversation."""

    name: str

    @property
    def unacknowledged(self) -> int:
        """How many messages wait for the relay."""

    def say(self, room: str, text: str, label: str | None = None) -> None:
        """Say something in a room."""

    def direct(self, name: str, text: str, label: str | None = None) -> None:
        """Say something to one person."""

    def enter(self, room: str) -> None:
        """Enter a room."""

    def history(self, room: str, count: int) -> None:
        """Tell the last messages of a room that were kept."""


class StandardTransport(ITransport, IConsumer, Interface):
    """What the pipe needs of standard input and output."""

    def pauseProducing() -> None:
        """Read no input."""

    def resumeProducing() -> None:
        """Read the input again."""

    def flush() -> bool:
        """Have the system take what was written; whether it has taken all."""


class Flow(Protocol):
    """What the pipe needs of the link: to stop reading it."""

    def hold(self, why: str) -> None:
        """Read nothing."""

    def release(self, why: str) -> None:
        """Read again."""


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of JSON input that says something."""

    text: str
    room: str | None = None
    id: str | None = None


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of JSON input that asks for what was said before."""

    history: str
    last: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = HISTORY


_input = msgspec.json.Decoder(Input)
_question = msgspec.json.Decoder(Question)
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])


@implementer(IHalfCloseableProtocol, IPushProducer)
class Pipe(TwistedProtocol):
    """Speaks over standard input and output. `finished` is called once, with how the program ends."""

    transport: StandardTransport | None = None

    def __init__(
        self,
        clock: IReactorTime,
        room: str,
        json: bool,
        finished: Callable[[Exit, str], None],
        *,
        count: int | None = None,
        chatty: bool = False,
    ) -> None:
        self.link: Flow
        self._clock = clock
        self._room = room
        self._json = json
        self._finished = finished
        self._left_to_hear = count
        self._chatty = chatty
        self._talk: Talk | None = None
        self._status = Exit.DONE
        self._entered: set[str] = set()
        self._line = bytearray()
        self._skipping = False
        self._number = 0
        self._ended = False
        self._over = False
        self._gone = False
        self._closing: Deferred[None] | None = None
        self._paused_input = False
        self._was_up = False
        self._arrived = False
        """Whether we have been where we wanted to be, so that an end without trouble means something."""
        self._up = False
        self._give_up: IDelayedCall | None = None

    def start(self, talk: Talk, flow: Flow) -> None:
        """Begin: lines that have come already are said now."""
        self._talk = talk
        self.link = flow
        if not self._room.startswith("@"):
            self._enter(self._room)

    def connectionMade(self) -> None:
        """Standard input and output are ours."""
        assert self.transport is not None
        self.transport.registerProducer(self, True)

    # Input.

    def dataReceived(self, data: bytes) -> None:
        """Some of the input came."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._more_of_line(line)
            self._line_ended()
        self._more_of_line(rest)
        assert self._talk is not None
        if self._talk.unacknowledged > WAITING_MOST and not self._paused_input and not self._ended:
            self._paused_input = True
            assert self.transport is not None
            self.transport.pauseProducing()

    def _more_of_line(self, data: bytes) -> None:
        if not self._skipping and len(self._line) + len(data) <= LINE_BYTES:
            self._line += data
        else:
            self._skipping = True
            self._line.clear()

    def _line_ended(self) -> None:
        self._number += 1
        line, skipped = bytes(self._line).removesuffix(b"\r"), self._skipping
        self._line.clear()
        self._skipping = False
        if skipped:
            self._bad_line(f"it is longer than {LINE_BYTES} bytes")
        elif line:
            self._say(line)

    def _say(self, line: bytes) -> None:
        room, label = self._room, None
        try:
            if self._json and "history" in _keys.decode(line):
                question = _question.decode(line)
                assert self._talk is not None
                self._talk.history(question.history, question.last)
                return
            if self._json:
                asked = _input.decode(line)
                text, room, label = asked.text, room if asked.room is None else asked.room, asked.id
            else:
                text = line.decode()
        except (UnicodeDecodeError, msgspec.MsgspecError) as wrong:
            self._bad_line("it is not UTF-8" if isinstance(wrong, UnicodeDecodeError) else str(wrong))
            return
        try:
            check_text(text)
        except BodyError:
            # The conversation tells why, as for everything that it cannot send; the line was wrong all the same.
            self._status = Exit.BAD_DATA
        assert self._talk is not None
        if room.startswith("@") and "+" not in room:
            self._talk.direct(room[1:], text, label)
        else:
            self._enter(room)
            self._talk.say(room, text, label)

    def _enter(self, room: str) -> None:
        if room not in self._entered:
            self._entered.add(room)
            assert self._talk is not None
            self._talk.enter(room)

    def _bad_line(self, why: str) -> None:
        self._status = Exit.BAD_DATA
        self.tell(events.Error(f"line {self._number} of the input was not sent: {why}"))

    def readConnectionLost(self) -> None:
        """The input has ended; a last line may have no newline."""
        if self._line or self._skipping:
            self._line_ended()
        self._ended = True
        self._check_done()

    # Output.

    def tell(self, event: events.Event) -> None:
        """Something happened."""
        if self._over:
            return
        if self._json:
            self._write(json_line(event))
        elif isinstance(event, events.Message):
            place = "" if event.room == self._room else f"[{self._place(event.room)}] "
            self._write(f"{place}{safe_name(event.sender)}: {safe_line(event.text)}".encode())
        else:
            text = remark(event, again=self._was_up, chatty=self._chatty)
            if text:
                print(f"securechat: {safe_line(text)}", file=sys.stderr)
        self._follow(event)

    def _place(self, room: str) -> str:
        return "direct" if room.startswith("@") else safe_name(room)

    def _write(self, line: bytes) -> None:
        assert self.transport is not None
        self.transport.write(line + b"\n")

    def _follow(self, event: events.Event) -> None:
        """What an event means for us."""
        if isinstance(event, events.Link):
            self._was_up = self._was_up or event.up
            self._arrived = self._arrived or (event.up and self._room.startswith("@"))
            self._up = event.up
            self._watch_link()
        elif isinstance(event, events.NotSent):
            self._status = self._status or Exit.FAILED
        elif isinstance(event, events.Entered) and event.room == self._room:
            self._arrived = True
        elif isinstance(event, events.NotEntered) and event.room == self._room:
            self._status = Exit.NOT_PERMITTED
            self._arrived = self._ended = True
        elif self._left_to_hear is not None and self._is_listened_to(event):
            self._left_to_hear -= 1
            if self._left_to_hear == 0:
                self._ended = True
        self._check_done()

    def _is_listened_to(self, event: events.Event) -> bool:
        """Whether an event is a message of the room, or of the one person, that was asked for."""
        if not isinstance(event, events.Message):
            return False
        return event.room == self._room or (event.room.startswith("@") and f"@{event.sender}" == self._room)

    def _check_done(self) -> None:
        if self._talk is None or self._over:
            return
        waiting = self._talk.unacknowledged
        if self._paused_input and waiting < WAITING_MOST // 2:
            self._paused_input = False
            assert self.transport is not None
            self.transport.resumeProducing()
        if self._ended and not waiting and self._arrived:
            self.finish(self._status, "")
        elif self._ended:
            self._watch_link()

    def _watch_link(self) -> None:
        """After the end of the input the link must come back in time."""
        if self._give_up is not None and (self._up or not self._ended):
            self._give_up.cancel()
            self._give_up = None
        elif self._give_up is None and self._ended and not self._up:
            self._give_up = self._clock.callLater(GIVE_UP_S, self._too_long)

    def _too_long(self) -> None:
        self._give_up = None
        assert self._talk is not None
        text = f"{self._talk.unacknowledged} messages were not acknowledged; the relay did not come back in time"
        self.finish(Exit.UNREACHABLE, text)

    def is_taken(self) -> bool:
        """Whether all that was told is in the pipe, so that its reader gets it whatever becomes of us."""
        return self.transport is None or self._gone or self.transport.flush()

    # The end.

    def finish(self, status: Exit, text: str) -> None:
        """It is over: say how, once."""
        if not self._over:
            self._over = True
            if self._give_up is not None:
                self._give_up.cancel()
                self._give_up = None
            self._finished(status, text)

    def close(self) -> Deferred[None]:
        """Tell nothing more. Fires when all that was told has been taken, or nobody reads it."""
        self._over = True
        if self._gone:
            return succeed(None)
        assert self.transport is not None
        self._closing = Deferred()
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        return self._closing

    def writeConnectionLost(self) -> None:
        """Nobody reads the output any more."""
        self._gone = True
        self.finish(Exit.BROKEN_PIPE, "")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Standard input and output are gone, which is no news after `finish`."""
        self._gone = True
        self.finish(Exit.BROKEN_PIPE, "")
        if self._closing is not None:
            self._closing.callback(None)

    def pauseProducing(self) -> None:
        """The output is not taken: read the link no further."""
        self.link.hold("output")

    def resumeProducing(self) -> None:
        """The output is taken again."""
        self.link.release("output")

    def stopProducing(self) -> None:
        """The output is gone."""


def failure_line(error: ClientError) -> str:
    """The one line on stderr that a program ends with."""
    return f"securechat: {safe_line(str(error))}"
