"""What one side owes a connection: gathered for one turn of the reactor, written once, bounded.

Requirements: all that a turn gives a connection leaves in one write, at the end of that turn (writing at once
costs a system call a frame; docs/performance.md has the figures). A peer that does not read costs no more than
the bound, however much it has asked for. A fan-out to a thousand members touches each with one cheap call.

How: `Turn` runs what was asked of it after the reactor has handled the events of this turn. It is the plainest
`Gate`: frames leave only through one, which may hold them back until it is safe to say what they say. `Outbox` is
the push producer of its own transport: while the transport is paused frames wait here, and over the bound the owner
is told; what can be told later as well is only offered, and not taken when half of the bound waits. For plain
sockets the write goes straight to the socket while Twisted has nothing queued for it, which saves the round through
the poller; what the socket does not take is left to Twisted. A long answer is a stream: an iterator that stands in
line as one frame, and is asked for its next frame when the peer has read the last one.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

from twisted.internet.interfaces import IConsumer, IPushProducer, IReactorTime, ITransport
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from zope.interface import Interface, implementer

from securechat.wire.errors import kind_and_place


class Gate(Protocol):
    """Says when frames may leave."""

    @property
    def is_open(self) -> bool:
        """Whether frames may leave now."""

    def at_end(self, call: Callable[[], None]) -> None:
        """Make `call`, which lets frames out, at the end of this turn or later."""


class Turn:
    """Calls to make at the end of this turn of the reactor, in the order in which they were asked for."""

    is_open: Final = True

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: list[Callable[[], None]] = []

    def at_end(self, call: Callable[[], None]) -> None:
        """Make `call` at the end of this turn; from within such a call: later at the same end."""
        if not self._calls:
            self._clock.callLater(0, self._end)
        self._calls.append(call)

    def _end(self) -> None:
        # The list grows while it is walked: a commit asks for the flushes of the outboxes that it filled.
        for call in self._calls:
            self.make(call)
        self._calls = []

    def make(self, call: Callable[[], None]) -> None:
        """Make a call now; one that fails is logged, and keeps nobody else from theirs."""
        try:
            call()
        except Exception as error:
            self._log.error("a call at the end of a turn failed: {error}", error=kind_and_place(error))


def straight_to_socket(transport: ITransport) -> Callable[[bytes], None]:
    """A `write` for `transport` that tries the socket first where that is safe.

    These lines alone know Twisted's buffers (pinned by tests/wire/test_outbox.py); TLS and test transports get
    their own `write`.
    """
    if not isinstance(transport, Connection):
        return transport.write

    def write(data: bytes) -> None:
        if transport.dataBuffer or transport._tempDataBuffer or transport.disconnecting:
            transport.write(data)
            return
        try:
            sent = transport.socket.send(data)
        except OSError:
            # Full, or gone: Twisted finds out which when it tries.
            sent = 0
        if sent < len(data):
            transport.write(data[sent:])

    return write


class LinkTransport(ITransport, IConsumer, Interface):
    """What a link needs of its transport: to write, to be told when to pause, to close and to be cut off."""

    def pauseProducing() -> None:
        """Read nothing for now."""

    def resumeProducing() -> None:
        """Read again."""

    def abortConnection() -> None:
        """End the connection at once."""


def _nothing() -> None:
    """What an outbox of a lost link still has to flush."""


@implementer(IPushProducer)
class Outbox:
    """Frames on their way to one peer; at most `max_bytes` and `max_frames` wait while it does not read."""

    __slots__ = (
        "_end",
        "_flush",
        "_frames",
        "_gate",
        "_line",
        "_max_bytes",
        "_max_frames",
        "_most",
        "_overflowed",
        "_paused",
        "_transport",
        "_waiting",
        "_write",
    )

    def __init__(
        self,
        transport: LinkTransport,
        gate: Gate,
        max_bytes: int,
        max_frames: int,
        overflowed: Callable[[], None],
    ) -> None:
        self._transport: LinkTransport | None = transport
        self._gate = gate
        self._max_bytes = max_bytes
        self._max_frames = max_frames
        self._most = max_frames
        """How many of the frames may be in `_frames`."""
        self._overflowed = overflowed
        self._write = straight_to_socket(transport)
        self._frames: list[bytes] = []
        self._line: deque[tuple[list[bytes], Iterator[bytes]]] = deque()
        """Streams, each with the frames that must leave before it; what is in `_frames` comes after all of them."""
        self._waiting = 0
        self._paused = False
        self._flush = self.flush
        self._end: Callable[[], None] = _nothing
        """What is left to do for an outbox that is finished, once the gate is open."""
        transport.registerProducer(self, True)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait here, not counting what Twisted and the kernel hold."""
        return self._waiting

    @property
    def held_bytes(self) -> int:
        """How many of them wait because the peer does not read."""
        return self._waiting if self._paused else 0

    def put(self, data: bytes) -> None:
        """Owe the peer a frame; it leaves at the end of this turn, or when the peer reads again."""
        if self._transport is None:
            return
        if not self._frames and not self._paused:
            self._gate.at_end(self._flush)
        self._frames.append(data)
        self._waiting += len(data)
        if self._waiting > self._max_bytes or len(self._frames) > self._most:
            self._make_room()

    def offer(self, data: bytes) -> bool:
        """Owe the peer a frame that can be told later as well; False where half of the bound waits already."""
        if (self._paused or self._line) and (
            self._waiting * 2 > self._max_bytes or len(self._frames) * 2 >= self._most
        ):
            return self._transport is None
        self.put(data)
        return True

    def stream(self, frames: Iterator[bytes]) -> None:
        """Owe the peer as many frames as it has time to read, in their place between those of `put`."""
        if self._transport is None:
            return
        if not self._paused:
            self._gate.at_end(self._flush)
        self._line.append((self._frames, frames))
        self._most -= len(self._frames) + 1
        self._frames = []
        if self._most < 0:
            self._make_room()

    def _make_room(self) -> None:
        """Write what can be written; where that is not enough the peer has been left behind."""
        if not self._paused and not self._gate.is_open:
            # It is not the peer that keeps us waiting; what a gate holds back is bounded by what it waits for.
            return
        self.flush()
        if self._frames or self._line:
            self.leave_behind()

    def leave_behind(self) -> None:
        """Forget what waits, and tell the owner: it is too much, here or in all."""
        self._forget()
        self._overflowed()

    def _forget(self) -> None:
        self._frames = []
        self._line.clear()
        self._most = self._max_frames
        self._waiting = 0

    def flush(self) -> None:
        """Write what is owed now, unless the peer does not read."""
        if self._line:
            self._flush_line()
        if self._frames and not self._paused:
            frames = self._frames
            self._frames = []
            self._waiting = 0
            self._write(frames[0] if len(frames) == 1 else b"".join(frames))

    def _flush_line(self) -> None:
        while self._line and not self._paused:
            before, stream = self._line[0]
            if before:
                self._line[0] = ([], stream)
                self._most += len(before)
                self._waiting -= sum(map(len, before))
                self._write(b"".join(before))
                continue
            data = next(stream, None)
            if data is None:
                self._line.popleft()
                self._most += 1
            else:
                self._write(data)

    def finish(self, last: bytes, written: Callable[[], None] = _nothing) -> None:
        """Write what waits and then `last`, whether or not the peer reads, and call `written`; take nothing more.

        All of that waits for the gate. A stream goes on only while the peer reads; what stands behind one that does
        not end is not written.
        """
        transport = self._transport
        if transport is None:
            return
        self._transport = None
        self._end = partial(self._write_last, transport, last, written)
        if self._gate.is_open:
            self._end_now()
        else:
            self._gate.at_end(self._end_now)

    def _end_now(self) -> None:
        self._end()

    def _write_last(self, transport: LinkTransport, last: bytes, written: Callable[[], None]) -> None:
        self._end = _nothing
        self.flush()
        frames = self._line[0][0] if self._line else self._frames
        self._forget()
        self._frames = [*frames, last]
        self._paused = False
        self.flush()
        transport.unregisterProducer()
        written()

    def discard(self) -> None:
        """The link is gone: drop what waits and take nothing more."""
        self._transport = None
        self._forget()
        # A method that knows its object keeps it alive, our own and our owner's.
        self._flush = self._end = self._overflowed = _nothing

    def pauseProducing(self) -> None:
        """Twisted's buffer for this peer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Twisted's buffer for this peer is empty again."""
        self._paused = False
        if self._gate.is_open:
            self.flush()
        elif self._frames or self._line:
            self._gate.at_end(self._flush)

    def stopProducing(self) -> None:
        """The link is gone."""
        self.discard()
