"""Outboxes and turns: one write a turn, in order, bounded while the peer does not read."""

from __future__ import annotations

from collections.abc import Callable

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

    @given(st.lists(st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from(["pause", "resume", "turn"]))))
    def test_any_order_of_events(self, events: list[bytes | str]) -> None:
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
