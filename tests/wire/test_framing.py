"""Frames out of any chunking of the byte stream: each message once, in order, and every other byte refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, capturedLogs, eventAsText
from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.codes import Code
from securechat.wire.framing import frame
from securechat.wire.messages import FRAME_BYTES, LAST_SEQ, Enter, Goodbye, Message, Ping, Pong, Post
from tests.wire.harness import (
    PREFIX,
    LinkCase,
    MemoryTransport,
    Recorder,
    connected,
    framed,
    last_code,
    nothing_left,
    rooms,
)
from tests.wire.strategies import from_clients, splits

ROOMS = rooms("#one", "#two", "#three")


def stream_of(messages: list[Message]) -> bytes:
    """The messages as they travel."""
    return b"".join(frame(message) for message in messages)


class ChunkingTests(SynchronousTestCase):
    """However the stream is cut."""

    @given(st.lists(from_clients(), max_size=8), st.data())
    def test_any_chunking(self, messages: list[Message], data: st.DataObject) -> None:
        """Any cutting of the stream gives the same messages in order."""
        clock, link, transport = connected()
        for chunk in data.draw(splits(stream_of(messages))):
            link.dataReceived(chunk)
        expected = [message for message in messages if not isinstance(message, Ping | Pong)]
        self.assertEqual(expected, link.received)
        self.assertEqual(len(messages) - len(expected), link.pings)
        self.assertFalse(link.closing)
        nothing_left(self, clock, transport)

    @given(st.lists(st.sampled_from(ROOMS), max_size=12), st.data())
    def test_pauses_in_the_middle(self, messages: list[Message], data: st.DataObject) -> None:
        """With pauses after any of the messages each still comes once, in order, and none during a pause."""
        clock, link, transport = connected()
        pauses = data.draw(st.lists(st.booleans(), min_size=len(messages), max_size=len(messages)))

        def react(message: Message) -> None:
            self.assertFalse(link.paused, "handled while paused")
            if pauses[len(link.received) - 1]:
                link.pause_reading(1)

        link.react = react
        for chunk in data.draw(splits(stream_of(messages))):
            if data.draw(st.booleans()):
                clock.advance(1)
            link.dataReceived(chunk)
        for _ in messages:
            clock.advance(1)
        self.assertEqual(messages, link.received)
        nothing_left(self, clock, transport)

    @given(st.integers(0, 3), st.data())
    def test_nothing_after_a_drop(self, handled: int, data: st.DataObject) -> None:
        """Once a handler drops the link no later frame is handled, whatever chunk it came in."""
        clock, link, transport = connected()

        def react(message: Message) -> None:
            if len(link.received) > handled:
                link.refuse(Code.FLOOD)

        link.react = react
        for chunk in data.draw(splits(stream_of(ROOMS * 2))):
            link.dataReceived(chunk)
        self.assertEqual(handled + 1, len(link.received))
        self.assertEqual(Code.FLOOD, last_code(transport))
        nothing_left(self, clock, transport)

    @given(st.binary(max_size=200), st.data())
    def test_any_bytes(self, garbage: bytes, data: st.DataObject) -> None:
        """Any bytes after a good frame are refused or waited for; no exception comes out."""
        clock, link, transport = connected()
        for chunk in data.draw(splits(frame(ROOMS[0]) + garbage)):
            link.dataReceived(chunk)
        self.assertEqual(ROOMS[0], link.received[0])
        if link.closing:
            self.assertIn(
                last_code(transport),
                {
                    Code.EMPTY_FRAME,
                    Code.OVERSIZED_FRAME,
                    Code.NOT_A_MESSAGE,
                    Code.UNKNOWN_MESSAGE,
                    Code.BAD_FIELD,
                },
            )
        nothing_left(self, clock, transport)

    @given(st.binary(min_size=1, max_size=200))
    def test_any_body(self, body: bytes) -> None:
        """Any bytes in a frame are a message or end the link with a refusal."""
        clock, link, transport = connected()
        link.dataReceived(framed(body))
        self.assertTrue(link.closing or link.received or link.pings)
        nothing_left(self, clock, transport)


class LengthTests(LinkCase):
    """What a length may say."""

    def longest(self, body_bytes: int) -> bytes:
        """A frame of exactly so many bytes of body."""
        items = [(bytes(16), bytes(16_600))] * 3
        short = len(frame(Post("#a", bytes(32), [*items, (bytes(16), bytes(1_000))]))) - 4
        data = frame(Post("#a", bytes(32), [*items, (bytes(16), bytes(1_000 + body_bytes - short))]))
        assert len(data) == 4 + body_bytes
        return data

    def test_longest_frame(self) -> None:
        """A body of 65,536 bytes is taken."""
        self.link.dataReceived(self.longest(FRAME_BYTES))
        self.assertEqual(1, len(self.link.received))

    def test_one_byte_too_long(self) -> None:
        """A length of 65,537 is refused before any of the body is there."""
        self.link.dataReceived(PREFIX.pack(FRAME_BYTES + 1))
        self.assertEqual(Code.OVERSIZED_FRAME, last_code(self.transport))

    def test_greatest_length(self) -> None:
        """A length of 2^32-1 is refused."""
        self.link.dataReceived(b"\xff\xff\xff\xff")
        self.assertEqual(Code.OVERSIZED_FRAME, last_code(self.transport))

    def test_empty_frame(self) -> None:
        """A length of 0 is refused, and the frame behind it is not handled."""
        self.link.dataReceived(bytes(4) + frame(ROOMS[0]))
        self.assertEqual(Code.EMPTY_FRAME, last_code(self.transport))
        self.assertEqual([], self.link.received)

    def test_frames_before_count(self) -> None:
        """What came in order before a bad length is handled."""
        self.link.dataReceived(frame(ROOMS[0]) + b"\xff\xff\xff\xff" + frame(ROOMS[1]))
        self.assertEqual(ROOMS[:1], self.link.received)

    def test_send_string_checks(self) -> None:
        """`sendString` takes 1 to 65,536 bytes and frames them."""
        self.link.sendString(b"x" * FRAME_BYTES)
        for bad in (b"", b"x" * (FRAME_BYTES + 1)):
            with self.assertRaises(ValueError):
                self.link.sendString(bad)
        self.clock.advance(0)
        self.assertEqual(PREFIX.pack(FRAME_BYTES) + b"x" * FRAME_BYTES, self.transport.value())

    def test_cost_is_linear(self) -> None:
        """A frame of 64 KiB in single bytes is decoded once, and its buffer is not rebuilt for each of them."""
        data = self.longest(FRAME_BYTES)
        decoded: list[int] = []
        buffers: set[int] = set()
        string_received = self.link.stringReceived

        def count(string: bytes) -> None:
            decoded.append(len(string))
            string_received(string)

        self.link.stringReceived = count  # type: ignore[method-assign]
        kept: list[object] = []
        for place in range(len(data)):
            self.link.dataReceived(data[place : place + 1])
            buffer = self.link._unread
            if id(buffer) not in buffers:
                # Held, so that no two buffers can have had the same identity.
                buffers.add(id(buffer))
                kept.append(buffer)
        self.assertEqual([FRAME_BYTES], decoded)
        self.assertLessEqual(len(buffers), 8)

    def test_bytes_waiting_are_bounded(self) -> None:
        """What waits for the rest of a frame is never more than a frame."""
        data = self.longest(FRAME_BYTES)
        for _ in range(3):
            self.link.dataReceived(data[:-1])
            self.assertEqual(len(data) - 1, len(self.link._unread))
            self.link.dataReceived(data[-1:])
            self.assertEqual(0, len(self.link._unread))
        self.assertEqual(3, len(self.link.received))


class AnswerTests(LinkCase):
    """What the link itself answers."""

    def test_refusals(self) -> None:
        """Each kind of bad body is refused with its own code, and the rest of the chunk is dropped."""
        for body, code in [
            (b"\xc1", Code.NOT_A_MESSAGE),
            (b"\x92\xa5Shout\xa2#a", Code.UNKNOWN_MESSAGE),
            (b"\x92\xa5Enter\xa1#", Code.BAD_FIELD),
            (b"\x91\xa4Ping\x91", Code.NOT_A_MESSAGE),
            (b"\x91" * 60_000 + b"\xc0", Code.NOT_A_MESSAGE),
        ]:
            clock, link, transport = connected()
            link.dataReceived(framed(body) + frame(ROOMS[0]))
            self.assertEqual(code, last_code(transport))
            self.assertEqual([], link.received)
            nothing_left(self, clock, transport)

    def test_ping(self) -> None:
        """A ping is answered by one pong."""
        self.link.dataReceived(frame(Ping()))
        self.clock.advance(0)
        self.assertEqual([Pong()], self.transport.said())

    def test_pong(self) -> None:
        """A pong is not answered."""
        self.link.dataReceived(frame(Pong()))
        self.clock.advance(0)
        self.assertEqual([], self.transport.said())

    def test_handlers_mistake(self) -> None:
        """An exception in a handler ends this link with Goodbye(failed) and nothing else."""

        def react(message: Message) -> None:
            raise RuntimeError(f"our mistake about {message}")

        self.link.react = react
        with capturedLogs() as logged:
            self.link.dataReceived(frame(ROOMS[0]) + frame(ROOMS[1]))
        self.assertEqual(Code.FAILED, last_code(self.transport))
        self.assertEqual([ROOMS[0]], self.link.received)
        (event,) = logged
        self.assertEqual(LogLevel.error, event["log_level"])
        self.assertIn("RuntimeError at test_framing.py", eventAsText(event))
        self.assertNotIn("#one", repr(event))

    def test_no_nodelay_without_tcp(self) -> None:
        """A transport that is no TCP connection is taken as it is."""
        clock, link = self.clock, Recorder(self.clock)
        transport = MemoryTransport(clock, link)
        link.makeConnection(transport)
        self.assertFalse(link.closing)
        transport.lose()

    def test_after_the_end(self) -> None:
        """Bytes that come after the link was lost are dropped, and sending does nothing."""
        self.transport.lose()
        self.link.dataReceived(frame(ROOMS[0]))
        self.link.send(Enter("#a", 0, LAST_SEQ))
        self.link.drop(Goodbye(Code.QUIT, ""))
        self.link.stream(iter([frame(Ping())]))
        self.clock.advance(0)
        self.assertEqual([], self.link.received)
        self.assertEqual(b"", self.transport.value())
        self.assertEqual(1, len(self.link.lost))
