"""Frames to messages and back: `MessageProtocol`, under both the relay and the client.

On the wire a frame is a length, four bytes big-endian, then that many bytes (1 to 65,536) holding one message.
Bad input ends the link in a fixed order: nothing of it is handled any more, one `Refused` with a code goes out,
the sending side closes, and a peer that neither closes nor stops sending is cut off.
"""

from collections.abc import Iterator
from struct import Struct
from typing import ClassVar, Final, Protocol, get_args

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ISSLTransport, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from securechat.wire.codes import REASONS, Code
from securechat.wire.errors import kind_and_place
from securechat.wire.messages import FRAME_BYTES, Goodbye, Message, Ping, Pong, Refused
from securechat.wire.outbox import Gate, LinkTransport, Outbox

LINGER_S: Final = 2.0
"""Seconds that a peer has to close after our last word."""

LINGER_BYTES: Final = 1024 * 1024
"""Bytes that a peer may still send after our last word; they are thrown away."""

_PREFIX: Final = Struct("!I")
_encoder = msgspec.msgpack.Encoder()
_any_array = msgspec.msgpack.Decoder(list[msgspec.Raw])
_any_text = msgspec.msgpack.Decoder(str)


class MessageDecoder(Protocol):
    """Turns a frame's body into a message of one direction."""

    def decode(self, buf: bytes, /) -> Message:
        """The message; raises `msgspec.MsgspecError` or `ValueError`."""


def frame(message: Message) -> bytes:
    """A message as it travels, its length in front. A body over `FRAME_BYTES` is our own mistake."""
    body = _encoder.encode(message)
    assert len(body) <= FRAME_BYTES, f"{type(message).__name__} does not fit a frame"
    return _PREFIX.pack(len(body)) + body


def farewell(code: Code) -> Goodbye:
    """The `Goodbye` that goes with a code."""
    return Goodbye(code, REASONS[code])


def names_of(union: object) -> frozenset[str]:
    """The names under which the messages of a union travel."""
    return frozenset(kind.__name__ for kind in get_args(union))


def decode_refusal(body: bytes, names: frozenset[str]) -> Code:
    """What was wrong with a body that did not decode; `names` are the messages of this direction."""
    try:
        name = _any_text.decode(_any_array.decode(body)[0])
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError):
        return Code.NOT_A_MESSAGE
    return Code.BAD_FIELD if name in names else Code.UNKNOWN_MESSAGE


class MessageProtocol(Int32StringReceiver):
    """One end of a link. Subclasses say what they receive, and get `message_received` and `link_lost`.

    The receiver is our own under the interface of Twisted's: linear in the bytes for any chunking, nothing
    handled after a close or while paused, no frame twice (TWISTED.md §1). Liveness: a peer that was not heard for
    `ping_s` seconds since its last byte is pinged, so again, and after three such spans it is gone.
    """

    transport: LinkTransport | None = None
    MAX_LENGTH = FRAME_BYTES
    receives: ClassVar[MessageDecoder]
    receives_names: ClassVar[frozenset[str]]
    outbox_bytes: int = 256 * 1024
    outbox_frames: int = 1_000
    ping_s: float = 15.0
    log: ClassVar[Logger] = Logger()

    def __init__(self, clock: IReactorTime, gate: Gate) -> None:
        self.clock = clock
        self.closing = False
        self.last_word: Code | None = None
        self._gate = gate
        self._outbox: Outbox | None = None
        self._unread: bytes | bytearray = b""
        self._wanted = 0
        self._heard_at = 0.0
        self._silent_since = 0.0
        self._silent_spans = 0
        self._ping_call: IDelayedCall | None = None
        self._close_call: IDelayedCall | None = None
        self._pause_call: IDelayedCall | None = None
        self._is_held = False
        self._received_closing = 0

    # What a subclass answers to.

    def message_received(self, message: Message) -> None:
        """A message of our direction, complete and within its bounds; `Ping` and `Pong` are dealt with."""
        raise NotImplementedError

    def link_closing(self) -> None:
        """We have decided to end the link; `link_lost` follows."""

    def link_lost(self, reason: Failure) -> None:
        """The link is gone; called once, whoever ended it."""
        raise NotImplementedError

    # Sending.

    def send(self, message: Message) -> None:
        """Send a message at the end of this turn."""
        self.put(frame(message))

    def put(self, data: bytes) -> None:
        """Send a frame that was built once for many peers."""
        if self._outbox is not None:
            self._outbox.put(data)

    def offer(self, data: bytes) -> bool:
        """Send a frame that can be sent later as well; False where too much waits for the peer to read."""
        return self._outbox is None or self._outbox.offer(data)

    def stream(self, frames: Iterator[bytes]) -> None:
        """Send many frames, each built when the peer has read those before it."""
        if self._outbox is not None:
            self._outbox.stream(frames)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait for a peer that does not read."""
        return 0 if self._outbox is None else self._outbox.waiting_bytes

    @property
    def held_bytes(self) -> int:
        """How many of them wait because the peer does not read."""
        return 0 if self._outbox is None else self._outbox.held_bytes

    @property
    def unread_bytes(self) -> int:
        """How many bytes have come that are no whole frame yet, or wait to be handled."""
        return len(self._unread)

    def leave_behind(self) -> None:
        """Give up what waits for a peer that does not read: there is too much in all."""
        if self._outbox is not None and not self.closing:
            self._outbox.leave_behind()

    def drop(self, last: Refused | Goodbye) -> None:
        """Say a last word and end the link: close, and cut it off where the peer does not follow."""
        if self.closing:
            return
        self.closing = True
        self.last_word = last.code
        self._unread = b""
        self._cancel_timers()
        self.link_closing()
        if self._outbox is None:
            return
        assert self.transport is not None
        if self.paused:
            # A paused transport would not see the peer close (trap 5).
            self.transport.resumeProducing()
        self.paused = True
        self._outbox.finish(frame(last), self._close)

    def _close(self) -> None:
        """The last word is on its way: close behind it."""
        assert self.transport is not None
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is None or ISSLTransport.providedBy(self.transport):
            self.transport.loseConnection()
        else:
            # Closing both ways with bytes unread sends a reset, which can overtake the last word.
            half_close()
        self._close_call = self.clock.callLater(LINGER_S, self.cut_off)

    def refuse(self, code: Code) -> None:
        """End the link because of what the peer sent."""
        self.drop(Refused(code, REASONS[code]))

    def cut_off(self) -> None:
        """End the link at once."""
        self.closing = True
        if self.connected and self.transport is not None:
            self.transport.abortConnection()

    def hold_reading(self) -> None:
        """Read nothing until `read_on`; what is being read already goes as far as this message."""
        self._is_held = True
        self._stop_reading()

    def read_on(self) -> None:
        """Read again, later than what called `hold_reading`."""
        self._is_held = False
        self._go_on_reading()

    def pause_reading(self, seconds: float) -> None:
        """Read nothing for a while, so that a peer in a hurry feels it and nothing piles up here."""
        self._stop_reading()
        if self._pause_call is None and not self.closing:
            # Never resumed from within stringReceived: frames would be handled twice (trap 3).
            self._pause_call = self.clock.callLater(seconds, self._pause_over)

    def _pause_over(self) -> None:
        self._pause_call = None
        self._go_on_reading()

    def _stop_reading(self) -> None:
        if not self.paused and not self.closing:
            self.pauseProducing()

    def _go_on_reading(self) -> None:
        if not self._is_held and self._pause_call is None and self.connected and not self.closing:
            self.resumeProducing()

    # Life of the link.

    def connectionMade(self) -> None:
        """Prepare the transport; subclasses call this first."""
        assert self.transport is not None
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._outbox = Outbox(
            self.transport, self._gate, self.outbox_bytes, self.outbox_frames, self.outbox_overflowed
        )
        # One call less for each frame of a fan-out.
        self.put = self._outbox.put  # type: ignore[method-assign]
        self.offer = self._outbox.offer  # type: ignore[method-assign]
        self._heard_at = self._silent_since = self.clock.seconds()
        self._ping_call = self.clock.callLater(self.ping_s, self._span_over)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the transport and tell the subclass."""
        self.closing = True
        self._unread = b""
        self._cancel_timers()
        if self._outbox is not None:
            self._outbox.discard()
            self._outbox = None
        self.link_lost(reason)

    def outbox_overflowed(self) -> None:
        """The peer reads too slowly: what waited for it is gone, and it is told why."""
        self.drop(farewell(Code.SLOW))

    def _cancel_timers(self) -> None:
        for call in (self._ping_call, self._close_call, self._pause_call):
            if call is not None and call.active():
                call.cancel()

    def _span_over(self) -> None:
        now = self.clock.seconds()
        if self.paused:
            # While we do not read, the silence is ours.
            self._heard_at = now
        if self._heard_at > self._silent_since:
            self._silent_since, self._silent_spans = self._heard_at, 0
        left_s = self._heard_at + self.ping_s - now
        if self._silent_spans == 0 and left_s > 0:
            self._ping_call = self.clock.callLater(left_s, self._span_over)
            return
        # Spans are counted, not seconds: where we were held up ourselves, what has come is read after the timers.
        self._silent_spans += 1
        if self._silent_spans == 3:
            self._ping_call = None
            self.drop(farewell(Code.SILENT))
            return
        self._ping_call = self.clock.callLater(self.ping_s, self._span_over)
        self.send(Ping())

    # Receiving.

    def dataReceived(self, data: bytes) -> None:
        """Handle the frames that `data` completes, in order."""
        if self.closing:
            self._received_closing += len(data)
            if self._received_closing > LINGER_BYTES:
                self.cut_off()
            return
        if data:
            # Resuming calls this with nothing, which is no sign of life.
            self._heard_at = self.clock.seconds()
        if self._unread:
            # A bytearray grows in place, so a frame that comes in many pieces costs its length once.
            if not isinstance(self._unread, bytearray):
                self._unread = bytearray(self._unread)
            self._unread += data
            if len(self._unread) < self._wanted:
                return
            data = bytes(self._unread)
            self._unread = b""
        at, end = 0, len(data)
        self._wanted = _PREFIX.size
        while end - at >= _PREFIX.size and not self.paused:
            (length,) = _PREFIX.unpack_from(data, at)
            if not 0 < length <= self.MAX_LENGTH:
                self.lengthLimitExceeded(length)
                return
            after = at + _PREFIX.size + length
            if after > end:
                self._wanted = _PREFIX.size + length
                break
            self.stringReceived(data[at + _PREFIX.size : after])
            at = after
            if self.closing:
                return
        if at < end:
            self._unread = data[at:] if at else data

    def lengthLimitExceeded(self, length: int) -> None:
        """A length that no frame has: nothing after it can be understood."""
        self.refuse(Code.OVERSIZED_FRAME if length else Code.EMPTY_FRAME)

    def stringReceived(self, string: bytes) -> None:
        """Decode one frame's body and hand it on; bad input ends the link with a code, never an exception."""
        try:
            message = self.receives.decode(string)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self.refuse(decode_refusal(string, self.receives_names))
            return
        try:
            kind = type(message)
            if kind is Ping:
                self.send(Pong())
                self.pinged()
            elif kind is Pong:
                self.pinged()
            else:
                self.message_received(message)
        except Exception as error:
            # Our own mistake: an exception out of here would log the peer's address (trap 8).
            self.log.error("handling a message failed: {error}", error=kind_and_place(error))
            self.drop(farewell(Code.FAILED))

    def pinged(self) -> None:
        """The peer sent `Ping` or `Pong`; the relay counts both."""

    def sendString(self, string: bytes) -> None:
        """Send one frame's body; for the interface of `Int32StringReceiver`, `send` is what to use."""
        if not 0 < len(string) <= self.MAX_LENGTH:
            raise ValueError("string must hold 1 to 65,536 bytes")
        self.put(_PREFIX.pack(len(string)) + string)
