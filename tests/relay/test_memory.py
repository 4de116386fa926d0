"""What waits for all clients together, and who goes when it is too much."""

from __future__ import annotations

from dataclasses import replace

from securechat.relay.limits import RelayLimits
from securechat.relay.load import EVERY_S
from securechat.relay.protocol import STRANGER_FRAME_BYTES
from securechat.wire.codes import Code
from securechat.wire.messages import FRAME_BYTES, Ping
from tests.relay.harness import Client, Relay, RelayCase, texts
from tests.relay.keeping import KeptCase
from tests.relay.people import person
from tests.wire.harness import framed

ROOM = "#tea"


class TotalCase(RelayCase):
    """A relay that looks after its memory."""

    def begin(self, relay: Relay) -> None:
        """It looks."""
        relay.factory.load.startService()
        self.addCleanup(relay.factory.load.stopService)

    def look(self, relay: Relay) -> None:
        """The next time that it looks."""
        relay.clock.advance(EVERY_S)


class HeldTests(TotalCase):
    """Clients that do not read."""

    def crowd(self, limits: RelayLimits) -> list[Client]:
        """One who talks, one who reads, and three who do not, for whom more and more waits."""
        relay = self.relay(replace(limits, posts_per_s=0, bytes_per_s=0))
        self.begin(relay)
        clients = relay.room(ROOM, "alice", "bob", "carol", "dave", "erin")
        for slow in clients[2:]:
            slow.stops_reading()
            clients[0].post(ROOM, bytes(10_000))
            clients[0].hears()
        return clients

    def test_most_goes_first(self) -> None:
        """Over the bound whoever has most waiting is dropped and told so, and no more than needed."""
        clients = self.crowd(RelayLimits(outboxes_bytes=45_000))
        relay = clients[0].relay
        self.look(relay)
        self.assertEqual([False, False, True, False, False], [each.protocol.closing for each in clients])
        self.assertEqual(Code.SLOW, clients[2].code())
        self.assertEqual([], texts(clients[2].heard))
        self.assertLess(relay.factory.waiting_bytes, 45_000)
        self.assertTrue(25_000 < relay.factory.load.memory.held < 45_000)
        clients[0].post(ROOM, b"after")
        self.assertEqual(b"after", texts(clients[1].hears())[-1])

    def test_within_the_bound(self) -> None:
        """Within it nobody is."""
        clients = self.crowd(RelayLimits(outboxes_bytes=70_000))
        self.look(clients[0].relay)
        self.assertFalse(any(each.protocol.closing for each in clients))
        self.assertGreater(clients[0].relay.factory.load.memory.held, 60_000)
        self.assertEqual(256 * 1024 * 1024, RelayLimits().outboxes_bytes)

    def test_all_of_them(self) -> None:
        """As many go as it takes."""
        clients = self.crowd(RelayLimits(outboxes_bytes=5_000))
        self.look(clients[0].relay)
        self.assertEqual([False, False, True, True, True], [each.protocol.closing for each in clients])


class GateTests(KeptCase):
    """What waits for the disk."""

    def test_disk(self) -> None:
        """What waits for the disk and not for the client counts for nobody."""
        here = self.kept_relay(limits=RelayLimits(outboxes_bytes=100))
        here.factory.load.startService()
        self.addCleanup(here.factory.load.stopService)
        alice, bob = here.room(ROOM, "alice", "bob")
        here.disk.held = True
        alice.post(ROOM, bytes(10_000))
        here.clock.advance(EVERY_S)
        self.assertEqual(0, here.factory.load.memory.held)
        here.disk.keep()
        self.assertEqual([bytes(10_000)], texts(bob.hears()))


class UnreadTests(TotalCase):
    """Frames that come in part."""

    def test_most_goes_first(self) -> None:
        """Over the bound whoever has sent most of a frame is turned away, and may come back."""
        relay = self.relay(RelayLimits(unread_bytes=100_000))
        self.begin(relay)
        clients = relay.login("alice", "bob", "carol")
        for client, size in zip(clients, (30_000, 60_000, 9_000), strict=True):
            client.raw(framed(bytes(FRAME_BYTES))[:size])
        self.look(relay)
        self.assertEqual(99_000, relay.factory.load.memory.unread)
        clients[2].raw(bytes(2_000))
        self.look(relay)
        self.assertEqual([False, True, False], [each.protocol.closing for each in clients])
        self.assertEqual(Code.BUSY, clients[1].code())
        self.assertEqual(41_000, relay.factory.load.memory.unread)
        self.assertEqual(128 * 1024 * 1024, RelayLimits().unread_bytes)

    def test_stranger(self) -> None:
        """Before the login a frame is 4 KiB at most, and 64 KiB after it."""
        relay = self.relay()
        fits, too_long = relay.connect(), relay.connect()
        fits.raw(framed(bytes(STRANGER_FRAME_BYTES)))
        self.assertEqual(Code.NOT_A_MESSAGE, fits.code())
        too_long.raw(framed(bytes(STRANGER_FRAME_BYTES + 1))[:4])
        self.assertEqual(Code.OVERSIZED_FRAME, too_long.code())
        (alice, bob) = relay.login("alice", "bob")
        alice.raw(framed(bytes(FRAME_BYTES))[:100])
        self.assertFalse(alice.protocol.closing)
        bob.raw(framed(bytes(FRAME_BYTES + 1))[:4])
        self.assertEqual(Code.OVERSIZED_FRAME, bob.code())

    def test_behind_a_login(self) -> None:
        """A long frame that comes right behind a login is as good as later."""
        relay = self.relay()
        alice = relay.connect()
        alice.login(person("alice"))
        alice.send(Ping())
        alice.raw(framed(bytes(FRAME_BYTES)))
        self.assertEqual(Code.NOT_A_MESSAGE, alice.code())
