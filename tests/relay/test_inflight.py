"""Posts that wait for their answers, of all clients together: bounded by not reading who posts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.inflight import InFlight
from securechat.relay.limits import RelayLimits
from securechat.wire.codes import Code
from securechat.wire.messages import Ping, Pong, Post
from tests.relay.harness import Client, LaterLog, RelayCase, acked, post_id

ROOM = "#tea"


class InFlightTests(SynchronousTestCase):
    """The bytes."""

    def setUp(self) -> None:
        """A hundred bytes are the most."""
        self.later: list[object] = []
        self.in_flight = InFlight(100, self.later.append)

    def test_most(self) -> None:
        """As many as the bound are not too many; one more is."""
        self.assertTrue(self.in_flight.take(100))
        self.assertFalse(self.in_flight.take(1))

    def test_until_half(self) -> None:
        """Who is held goes on when half of the bound is left and not before, once, in another turn."""
        calls = [lambda: None, lambda: None]
        self.in_flight.take(101)
        for call in calls:
            self.in_flight.when_less(call)
        self.in_flight.give(50)
        self.assertEqual([], self.later)
        self.in_flight.give(1)
        self.assertEqual(calls, self.later)
        self.in_flight.give(50)
        self.assertEqual(calls, self.later)
        self.assertEqual(0, self.in_flight.bytes)


class SlowDiskTests(RelayCase):
    """Clients that post, each within its window, while nothing is kept."""

    def setUp(self) -> None:
        """Two clients; together they may have a thousand bytes that wait."""
        self.log = LaterLog()
        self.here = self.relay(RelayLimits(unanswered_bytes=1_000, window=100), self.log)
        self.alice, self.bob = self.here.room(ROOM, "alice", "bob")
        self.epoch = self.alice.key(ROOM).epoch

    def post(self, client: Client, number: int, size: int = 100) -> None:
        """A client posts one message."""
        client.send(Post(ROOM, self.epoch, [(post_id(number), b"x" * size)]))

    def test_who_posts_is_not_read(self) -> None:
        """Over the bound whoever posts is read no more, the others are; when it is kept all of it comes."""
        for number in range(11):
            self.post(self.alice, number)
        self.assertEqual(1_100, self.here.factory.in_flight.bytes)
        self.post(self.alice, 11)
        self.assertEqual(1_100, self.here.factory.in_flight.bytes)
        self.assertTrue(self.alice.protocol.paused)
        self.assertEqual([Pong()], self.bob.does(Ping()))
        self.keep()
        self.assertEqual(12, len(acked(self.alice.hears())))
        self.assertFalse(self.alice.protocol.paused)
        self.assertEqual(0, self.here.factory.in_flight.bytes)

    def keep(self) -> None:
        """The disk keeps what there is until nothing is left."""
        while True:
            self.here.turn()
            if not self.log.waiting:
                return
            self.log.keep()

    def test_by_clients(self) -> None:
        """The bytes of all clients count; one that has few of them is held as well when it posts."""
        for number in range(10):
            self.post(self.alice, number)
        self.assertFalse(self.alice.protocol.paused)
        self.post(self.bob, 20)
        self.assertTrue(self.bob.protocol.paused)
        self.keep()
        self.assertEqual(1, len(acked(self.bob.hears())))

    def test_lost_links_give_theirs_back(self) -> None:
        """What a client has posted that is gone counts no more when it is answered."""
        for number in range(11):
            self.post(self.alice, number)
        self.alice.protocol.connectionLost()
        self.here.connections.remove(self.alice)
        self.keep()
        self.assertEqual(0, self.here.factory.in_flight.bytes)

    def test_declined(self) -> None:
        """What is declined is answered, too."""
        self.alice.send(Post("#none", self.epoch, [(post_id(1), b"x" * 50), (post_id(2), b"x")]))
        self.assertEqual(51, self.here.factory.in_flight.bytes)
        self.keep()
        self.assertEqual(0, self.here.factory.in_flight.bytes)

    def test_flood_takes_nothing(self) -> None:
        """A run that is too long for the window is no part of it."""
        self.alice.send(Post(ROOM, self.epoch, [(post_id(number), b"x") for number in range(101)]))
        self.assertEqual(Code.FLOOD, self.alice.code())
        self.assertEqual(0, self.here.factory.in_flight.bytes)

    def test_default(self) -> None:
        """It is 64 MiB."""
        self.assertEqual(64 * 1024 * 1024, RelayLimits().unanswered_bytes)
