"""How a link ends: the last word, the patience with those who do not follow, and signs of life."""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from securechat.wire.codes import Code
from securechat.wire.framing import LINGER_BYTES, LINGER_S, farewell, frame
from securechat.wire.messages import LAST_SEQ, Enter, Message, Ping, Pong
from tests.wire.harness import LinkCase, Recorder, bodies, from_client, last_code, rooms

ROOMS = rooms("#one", "#two")


class DropTests(LinkCase):
    """The last word and what follows it."""

    def test_last_word(self) -> None:
        """A drop sends what was owed, then the last word, then closes the sending side alone."""
        self.link.send(Enter("#a", 0, LAST_SEQ))
        self.link.drop(farewell(Code.SHUTDOWN))
        self.assertEqual([Enter("#a", 0, LAST_SEQ), farewell(Code.SHUTDOWN)], self.transport.said())
        self.assertTrue(self.transport.half_closed)
        self.assertFalse(self.transport.disconnecting)
        self.assertEqual(Code.SHUTDOWN, self.link.last_word)

    def test_only_one(self) -> None:
        """A second drop says nothing, and the subclass hears of one closing and one loss."""
        self.link.drop(farewell(Code.SHUTDOWN))
        self.link.refuse(Code.FLOOD)
        self.link.send(Enter("#a", 0, LAST_SEQ))
        self.clock.advance(0)
        self.transport.lose()
        self.assertEqual([farewell(Code.SHUTDOWN)], self.transport.said())
        self.assertEqual((1, 1), (self.link.closings, len(self.link.lost)))

    def test_without_half_close(self) -> None:
        """Where a transport cannot be half closed it is closed."""
        clock = Clock()
        link = Recorder(clock)
        transport = StringTransport()
        link.makeConnection(transport)
        link.drop(farewell(Code.QUIT))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(farewell(Code.QUIT), from_client.decode(bodies(transport.value())[0]))
        clock.advance(LINGER_S)
        self.assertTrue(transport.disconnected)
        link.connectionLost()
        clock.advance(0)
        self.assertEqual([], clock.getDelayedCalls())

    def test_peer_follows(self) -> None:
        """A peer that closes in time is not cut off."""
        self.link.drop(farewell(Code.QUIT))
        self.clock.advance(LINGER_S / 2)
        self.transport.lose()
        self.clock.advance(LINGER_S)
        self.assertFalse(self.transport.aborted)

    def test_peer_just_sits_there(self) -> None:
        """A peer that does not close is cut off after LINGER_S, and not before."""
        self.link.drop(farewell(Code.QUIT))
        self.clock.advance(LINGER_S - 0.01)
        self.assertFalse(self.transport.aborted)
        self.clock.advance(0.02)
        self.assertTrue(self.transport.aborted)

    def test_peer_goes_on_sending(self) -> None:
        """A peer that sends on is ignored up to LINGER_BYTES and cut off at the next byte."""
        self.link.drop(farewell(Code.QUIT))
        chunk = frame(ROOMS[0]) * 100
        sent = 0
        while sent + len(chunk) <= LINGER_BYTES:
            self.link.dataReceived(chunk)
            sent += len(chunk)
        self.link.dataReceived(bytes(LINGER_BYTES - sent))
        self.assertFalse(self.transport.aborted)
        self.link.dataReceived(b"!")
        self.assertTrue(self.transport.aborted)
        self.assertEqual([], self.link.received)

    def test_cut_off(self) -> None:
        """Cutting off says nothing and handles nothing more."""
        self.link.cut_off()
        self.link.dataReceived(frame(ROOMS[0]))
        self.clock.advance(0)
        self.assertTrue(self.transport.lost)
        self.assertEqual((b"", []), (self.transport.value(), self.link.received))

    def test_cut_off_by_a_handler(self) -> None:
        """Where a handler cuts the link off the frames behind it in the same chunk are not handled."""
        self.link.react = lambda message: self.link.cut_off()
        self.link.dataReceived(frame(ROOMS[0]) + frame(ROOMS[1]))
        self.assertEqual(ROOMS[:1], self.link.received)

    def test_while_paused(self) -> None:
        """A paused link that is dropped reads on, so as to see the peer leave, and handles none of it."""
        self.link.react = lambda message: self.link.pause_reading(10)
        self.link.dataReceived(frame(ROOMS[0]) + frame(ROOMS[1]))
        self.assertEqual("paused", self.transport.producerState)
        self.link.drop(farewell(Code.QUIT))
        self.assertEqual("producing", self.transport.producerState)
        self.link.dataReceived(frame(ROOMS[1]))
        self.assertEqual(ROOMS[:1], self.link.received)

    def test_paused_outbox(self) -> None:
        """The last word is written behind what waits, even to a peer that does not read."""
        assert self.transport.producer is not None
        self.transport.producer.pauseProducing()
        self.link.send(Enter("#a", 0, LAST_SEQ))
        self.clock.advance(0)
        self.assertEqual([], self.transport.said())
        self.link.drop(farewell(Code.SHUTDOWN))
        self.assertEqual([Enter("#a", 0, LAST_SEQ), farewell(Code.SHUTDOWN)], self.transport.said())


class OverflowTests(LinkCase):
    """A peer that does not read."""

    def test_told_slow(self) -> None:
        """Over the bound what waits is thrown away and the last word is Goodbye(slow)."""
        assert self.transport.producer is not None
        self.transport.producer.pauseProducing()
        for _ in range(self.link.outbox_frames):
            self.link.send(Enter("#a", 0, LAST_SEQ))
        self.assertFalse(self.link.closing)
        self.link.send(Enter("#a", 0, LAST_SEQ))
        self.assertTrue(self.link.closing)
        self.assertEqual([farewell(Code.SLOW)], self.transport.said())

    def test_ping_that_overflows(self) -> None:
        """Where the ping itself is one frame too many the link ends in order."""
        assert self.transport.producer is not None
        self.transport.producer.pauseProducing()
        for _ in range(self.link.outbox_frames):
            self.link.send(Enter("#a", 0, LAST_SEQ))
        self.clock.pump([self.link.ping_s] * 2)
        self.assertEqual(Code.SLOW, last_code(self.transport))


class PauseTests(LinkCase):
    """Reading that is paused for a while."""

    def test_pause_and_resume(self) -> None:
        """A pause holds the frames behind it back until its seconds are over, then they come."""
        self.link.react = lambda message: self.link.pause_reading(3)
        self.link.dataReceived(frame(ROOMS[0]) + frame(ROOMS[1]))
        self.clock.advance(2.9)
        self.assertEqual(ROOMS[:1], self.link.received)
        self.clock.advance(0.2)
        self.assertEqual(ROOMS, self.link.received)

    def test_second_pause_changes_nothing(self) -> None:
        """A pause asked for during a pause neither lengthens nor shortens it."""
        self.link.pause_reading(3)
        self.link.pause_reading(9)
        self.clock.advance(3)
        self.assertFalse(self.link.paused)
        self.assertEqual(1, self.transport.resumed)

    def test_lost_while_paused(self) -> None:
        """A paused link that is lost is not resumed."""
        self.link.pause_reading(3)
        self.transport.lose()
        self.clock.advance(3)
        self.assertEqual(0, self.transport.resumed)


class LivenessTests(LinkCase):
    """Signs of life."""

    def spans(self, number: int) -> None:
        """Let so many spans of silence go by."""
        self.clock.pump([self.link.ping_s] * number)

    def at(self, seconds: float) -> list[Message]:
        """What was said up to a time; each timer fires at its own."""
        while due := [each.getTime() for each in self.clock.getDelayedCalls() if each.getTime() <= seconds]:
            self.clock.advance(min(due) - self.clock.seconds())
        self.clock.advance(seconds - self.clock.seconds())
        return self.transport.said()

    def test_pinged_after_silence(self) -> None:
        """A peer is pinged when nothing was heard for a whole span since its last byte, whenever that came."""
        self.at(7)
        self.link.dataReceived(frame(Pong()))
        self.assertEqual([], self.at(21.9))
        self.assertEqual([Ping()], self.at(22))

    def test_pings_are_seldom(self) -> None:
        """A peer that says nothing by itself, and answers, is pinged once in a span at most."""
        pinged: list[float] = []
        for tenth in range(6_000):
            if len(self.at(tenth / 10)) > len(pinged):
                pinged.append(tenth / 10)
            elif pinged and tenth / 10 == pinged[-1] + 0.5:
                self.link.dataReceived(frame(Pong()))
        self.assertGreater(len(pinged), 30)
        self.assertGreaterEqual(min(after - before for before, after in pairwise(pinged)), self.link.ping_s)
        self.assertFalse(self.link.closing)

    def test_any_byte_is_a_sign(self) -> None:
        """A peer of which something comes in each span stays, though it never answers a ping."""
        for byte in frame(Enter("#a", 0, LAST_SEQ)) * 2:
            self.spans(1)
            self.link.dataReceived(bytes([byte]))
        self.assertFalse(self.link.closing)
        self.assertEqual(2, len(self.link.received))

    def test_gone(self) -> None:
        """Three spans after its last byte, whenever that came, the peer is gone and is told so."""
        for heard in (0, 7, 14.9, 15.1, 29):
            with self.subTest(heard=heard):
                self.setUp()
                self.at(heard)
                self.link.dataReceived(b"\0")
                self.at(heard + 44.9)
                self.assertFalse(self.link.closing)
                self.assertEqual([Ping(), Ping(), farewell(Code.SILENT)], self.at(heard + 45)[-3:])

    def test_held_up(self) -> None:
        """Where we ourselves were held up for longer than a peer may be silent, it is asked first."""
        self.clock.advance(100)
        self.assertEqual([Ping()], self.at(100))
        self.link.dataReceived(frame(Pong()))
        self.spans(2)
        self.assertFalse(self.link.closing)

    def test_our_own_silence(self) -> None:
        """While we do not read a peer is not counted as silent, however long that is."""
        self.link.pause_reading(10 * self.link.ping_s)
        self.spans(9)
        self.assertFalse(self.link.closing)
        self.spans(2)
        self.assertFalse(self.link.paused)

    def test_resuming_is_no_sign(self) -> None:
        """That we read again does not count as something heard."""
        for _ in range(8):
            self.link.pause_reading(0.1)
            self.spans(1)
        self.assertEqual(Code.SILENT, last_code(self.transport))
