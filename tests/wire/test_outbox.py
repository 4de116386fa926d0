"""Outboxes and turns: one write a turn, in order, bounded while the peer does not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.outbox import Outbox, Turn
from tests.wire.harness import MemoryTransport, Recorder


class Wired:
    """An outbox with a transport in memory, and how often it overflowed."""

    def __init__(self, max_bytes: int = 100, max_frames: int = 10) -> None:
        self.clock = Clock()
        self.transport = MemoryTransport(self.clock, Recorder(self.clock))
        self.overflows = 0
        self.box = Outbox(self.transport, Turn(self.clock), max_bytes, max_frames, self.overflowed)

    def overflowed(self) -> None:
        """Count."""
        self.overflows += 1


class OutboxTests(SynchronousTestCase):
    """One outbox."""

    def setUp(self) -> None:
        """Make one."""
        self.wired = Wired()
        self.box, self.clock, self.transport = self.wired.box, self.wired.clock, self.wired.transport

    def test_one_write_a_turn(self) -> None:
        """All frames of a turn leave in one write at its end, in order."""
        for frame in (b"one", b"two", b"three"):
            self.box.put(frame)
        self.assertEqual([], self.transport.writes)
        self.clock.advance(0)
        self.assertEqual([b"onetwothree"], self.transport.writes)
        self.box.put(b"four")
        self.clock.advance(0)
        self.assertEqual([b"onetwothree", b"four"], self.transport.writes)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_waits_while_paused(self) -> None:
        """A paused outbox writes nothing, and what waited leaves in one write as soon as the peer reads."""
        self.box.put(b"one")
        self.box.pauseProducing()
        self.clock.advance(0)
        self.box.put(b"two")
        self.clock.advance(0)
        self.assertEqual(([], 6), (self.transport.writes, self.box.waiting_bytes))
        self.box.resumeProducing()
        self.assertEqual(([b"onetwo"], 0), (self.transport.writes, self.box.waiting_bytes))

    def test_pause_is_idempotent(self) -> None:
        """Twisted repeats a pause at each write; one resume ends them all, and a second one does nothing."""
        for _ in range(3):
            self.box.pauseProducing()
        self.box.put(b"one")
        for _ in range(2):
            self.box.resumeProducing()
        self.clock.advance(0)
        self.assertEqual([b"one"], self.transport.writes)

    def test_overflow_by_bytes(self) -> None:
        """Exactly the bound waits; one byte more throws all away and tells the owner once."""
        self.box.pauseProducing()
        self.box.put(bytes(100))
        self.assertEqual(0, self.wired.overflows)
        self.box.put(b"!")
        self.assertEqual((1, 0), (self.wired.overflows, self.box.waiting_bytes))
        self.box.resumeProducing()
        self.assertEqual([], self.transport.writes)

    def test_overflow_by_frames(self) -> None:
        """Exactly the bound of frames waits; one more tells the owner."""
        self.box.pauseProducing()
        for _ in range(10):
            self.box.put(b"x")
        self.assertEqual(0, self.wired.overflows)
        self.box.put(b"x")
        self.assertEqual(1, self.wired.overflows)

    def test_no_overflow_for_a_reader(self) -> None:
        """A peer that reads may be owed more than the bound in one turn: it is written early, in order."""
        frames = [bytes([65 + number]) * 30 for number in range(12)]
        for frame in frames:
            self.box.put(frame)
        self.clock.advance(0)
        self.assertEqual(b"".join(frames), self.transport.value())
        self.assertEqual(0, self.wired.overflows)

    def test_finish(self) -> None:
        """The last frame leaves behind what waits though the peer does not read, and then nothing more."""
        self.box.pauseProducing()
        self.box.put(b"one")
        self.box.finish(b"last")
        self.assertEqual([b"onelast"], self.transport.writes)
        self.assertIsNone(self.transport.producer)
        self.box.put(b"two")
        self.box.finish(b"again")
        self.box.resumeProducing()
        self.clock.advance(0)
        self.assertEqual([b"onelast"], self.transport.writes)

    def test_discard(self) -> None:
        """When the link is gone nothing waits and nothing is taken."""
        self.box.put(b"one")
        self.box.stopProducing()
        self.box.put(b"two")
        self.clock.advance(0)
        self.assertEqual(([], 0), (self.transport.writes, self.box.waiting_bytes))

    @given(
        st.lists(
            st.one_of(
                st.binary(min_size=1, max_size=9),
                st.lists(st.binary(min_size=1, max_size=9), max_size=4),
                st.sampled_from(["pause", "resume", "turn"]),
            )
        )
    )
    def test_any_order_of_events(self, events: list[bytes | list[bytes] | str]) -> None:
        """Whatever happens in between, the bytes are those put, in order, each once, and none while paused."""
        wired = Wired(max_bytes=10_000, max_frames=10_000)
        put = b""
        paused = False
        for event in events:
            before = len(wired.transport.writes)
            match event:
                case bytes():
                    wired.box.put(event)
                    put += event
                case list():
                    wired.box.stream(iter(event))
                    put += b"".join(event)
                case "pause":
                    wired.box.pauseProducing()
                    paused = True
                case "resume":
                    wired.box.resumeProducing()
                    paused = False
                    before = len(wired.transport.writes)
                case _:
                    wired.clock.advance(0)
            if paused:
                self.assertEqual(before, len(wired.transport.writes))
        wired.box.resumeProducing()
        wired.clock.advance(0)
        self.assertEqual(put, wired.transport.value())
        self.assertEqual(0, wired.overflows)


class StreamTests(SynchronousTestCase):
    """Answers that are built as they are read."""

    def setUp(self) -> None:
        """Make an outbox that bounds ten frames and a hundred bytes, and count what is built."""
        self.wired = Wired()
        self.box, self.transport = self.wired.box, self.wired.transport
        self.built = 0

    def frames(self, count: int) -> Iterator[bytes]:
        """A stream of so many frames of fifty bytes."""
        for _ in range(count):
            self.built += 1
            yield bytes(50)

    def test_between_the_others(self) -> None:
        """A stream leaves in its place among what else is put, at the end of the turn."""
        self.box.put(b"before")
        self.box.stream(iter([b"one", b"two"]))
        self.box.put(b"after")
        self.box.stream(iter([b"three"]))
        self.assertEqual([], self.transport.writes)
        self.wired.clock.advance(0)
        self.assertEqual(b"beforeonetwoafterthree", self.transport.value())
        self.assertEqual(0, self.box.waiting_bytes)

    def test_as_it_is_read(self) -> None:
        """A frame is built when the one before it has been read, however long the stream; nothing overflows."""
        self.patch(self.box, "_write", lambda data: self.box.pauseProducing())
        self.box.stream(self.frames(1_000))
        self.wired.clock.advance(0)
        self.assertEqual(1, self.built)
        for read in range(2, 1_001):
            self.box.resumeProducing()
            self.assertEqual(read, self.built)
        self.assertEqual(0, self.wired.overflows)

    def test_what_waits_behind_it(self) -> None:
        """What waits before and behind streams counts against both bounds, and each stream as one frame."""
        self.box.pauseProducing()
        self.box.put(bytes(20))
        for _ in range(4):
            self.box.stream(self.frames(3))
        for _ in range(5):
            self.box.put(b"x")
        self.assertEqual((0, 25), (self.wired.overflows, self.box.waiting_bytes))
        self.box.put(b"x")
        self.assertEqual((1, 0), (self.wired.overflows, self.box.waiting_bytes))
        self.box.stream(self.frames(1))
        self.box.put(bytes(100))
        self.assertEqual(1, self.wired.overflows)
        self.box.put(b"x")
        self.assertEqual((2, 0), (self.wired.overflows, self.built))

    def test_streams_alone(self) -> None:
        """Too many streams are too many frames."""
        self.box.pauseProducing()
        for _ in range(10):
            self.box.stream(self.frames(3))
        self.assertEqual(0, self.wired.overflows)
        self.box.stream(self.frames(3))
        self.assertEqual(1, self.wired.overflows)

    def test_room_again(self) -> None:
        """Once streams have been read there is as much room as before."""
        for _ in range(3):
            self.box.pauseProducing()
            for _ in range(5):
                self.box.put(b"x")
                self.box.stream(iter([]))
            self.assertEqual(0, self.wired.overflows)
            self.box.resumeProducing()

    def test_finish(self) -> None:
        """At the end a stream goes on while the peer reads; what is behind one that cannot go on is left out."""
        self.box.put(b"one")
        self.box.stream(iter([b"two"]))
        self.box.put(b"three")
        self.box.finish(b"last")
        self.assertEqual(b"onetwothreelast", self.transport.value())
        wired = Wired()
        wired.box.pauseProducing()
        wired.box.put(b"one")
        wired.box.stream(iter([b"two"]))
        wired.box.put(b"three")
        wired.box.finish(b"last")
        self.assertEqual(b"onelast", wired.transport.value())

    def test_after_the_end(self) -> None:
        """A stream for a link that is gone is never begun."""
        self.box.stream(self.frames(1))
        self.box.stopProducing()
        self.box.stream(self.frames(1))
        self.wired.clock.advance(0)
        self.assertEqual((b"", 0), (self.transport.value(), self.built))


class TurnTests(SynchronousTestCase):
    """Calls at the end of a turn."""

    def setUp(self) -> None:
        """Make a turn."""
        self.clock = Clock()
        self.turn = Turn(self.clock)
        self.done: list[str] = []

    def says(self, word: str) -> Callable[[], None]:
        """A call that leaves a word."""
        return lambda: self.done.append(word)

    def test_order(self) -> None:
        """Calls are made in the order in which they were asked for, in one scheduled call."""
        for word in "abc":
            self.turn.at_end(self.says(word))
        self.assertEqual(1, len(self.clock.getDelayedCalls()))
        self.clock.advance(0)
        self.assertEqual(["a", "b", "c"], self.done)

    def test_asked_within(self) -> None:
        """What a call asks for is done behind the others, at the same end."""
        self.turn.at_end(lambda: self.turn.at_end(self.says("late")))
        self.turn.at_end(self.says("early"))
        self.clock.advance(0)
        self.assertEqual(["early", "late"], self.done)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_next_turn(self) -> None:
        """After an end the next call is scheduled anew."""
        for word in "ab":
            self.turn.at_end(self.says(word))
            self.clock.advance(0)
        self.assertEqual(["a", "b"], self.done)

    def test_exceptions(self) -> None:
        """A call that fails is logged without its words, and the calls behind it are made."""

        def fails() -> None:
            raise RuntimeError("alice")

        self.turn.at_end(fails)
        self.turn.at_end(self.says("after"))
        with capturedLogs() as logged:
            self.clock.advance(0)
        self.assertEqual(["after"], self.done)
        self.assertEqual([LogLevel.error], [event["log_level"] for event in logged])
        self.assertRegex(str(formatEvent(logged[0])), r"RuntimeError at test_outbox\.py:\d+$")
