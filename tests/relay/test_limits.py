"""What one client may do: each bound of `RelayLimits`, at it and over it, and that others notice nothing."""

from __future__ import annotations

from twisted.internet.task import Clock

from securechat.relay import allowance
from securechat.relay.limits import RelayLimits
from securechat.wire.codes import Code
from securechat.wire.framing import LINGER_S, frame
from securechat.wire.messages import (
    LAST_SEQ,
    SEALED_BYTES,
    Ack,
    Append,
    Ask,
    Delivery,
    Enter,
    Hand,
    Lookup,
    Message,
    Ping,
    Pong,
    Post,
    Renew,
    SealedKey,
    SessionKey,
    Want,
)
from tests.relay.harness import Client, Relay, RelayCase, acked, of, post_id, texts
from tests.relay.people import person, prekey


class FloodTests(RelayCase):
    """Clients that send more than was agreed."""

    def post(self, count: int) -> Post:
        """A post of so many messages to a room that one is not in."""
        return Post("#tea", bytes(32), [(post_id(number), b"x") for number in range(count)])

    def test_window(self) -> None:
        """As many unanswered posts as the window says are taken; one more is a flood."""
        limits = RelayLimits(window=10)
        relay = self.relay(limits)
        alice, bob = relay.login("alice", "bob")
        alice.send(self.post(6), self.post(4))
        self.assertFalse(alice.protocol.closing)
        alice.hears()
        alice.send(self.post(10))
        self.assertFalse(alice.protocol.closing)
        bob.send(self.post(6), self.post(5))
        self.assertEqual(Code.FLOOD, bob.code())

    def test_window_in_one_post(self) -> None:
        """A single run longer than the window is a flood."""
        (alice,) = self.relay(RelayLimits(window=10)).login("alice")
        alice.send(self.post(11))
        self.assertEqual(Code.FLOOD, alice.code())

    def test_answers_open_the_window(self) -> None:
        """Acknowledged, repeated and declined posts all count as answered."""
        alice, _ = self.relay(RelayLimits(window=2)).room("#tea", "alice", "bob")
        for _ in range(3):
            alice.post("#tea", b"a", b"b", ids=[post_id(1), post_id(2)])
            alice.hears()
            alice.post("#tea", b"a", b"b", epoch=bytes(32))
            alice.hears()
        self.assertFalse(alice.protocol.closing)

    def test_requests(self) -> None:
        """The burst of requests is taken, then so many each second; one more is a flood."""
        limits = RelayLimits(requests_burst=20, requests_per_s=10.0)
        requests: list[Message] = [
            Renew(prekey(person("alice"))),
            Enter("#tea", 0, LAST_SEQ),
            Enter("#no room", 0, LAST_SEQ),
            Want([bytes(32)]),
            Lookup("alice"),
            Ask("#tea", bytes(32), bytes(16)),
            Ping(),
            Pong(),
        ]
        for request in requests:
            relay = self.relay(limits)
            (alice,) = relay.login("alice")
            alice.send(*[request] * 20)
            relay.clock.advance(1)
            alice.send(*[request] * 10)
            self.assertFalse(alice.protocol.closing, request)
            alice.send(request)
            self.assertEqual(Code.FLOOD, alice.code())

    def test_appends(self) -> None:
        """The burst of entries is taken, taken or declined, then so many each second; one more is a flood."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        bad = Append("#tea", b"x")
        alice.send(*[bad] * 20)
        relay.clock.advance(3)
        alice.send(*[bad] * 3)
        self.assertFalse(alice.protocol.closing)
        alice.send(bad)
        self.assertEqual(Code.FLOOD, alice.code())
        self.assertEqual((20, 1.0), (RelayLimits().appends_burst, RelayLimits().appends_per_s))

    def test_pings_of_a_stranger(self) -> None:
        """Pings and pongs before the login count as requests too."""
        for message in (Ping(), Pong()):
            client = self.relay(RelayLimits(requests_burst=5)).connect()
            client.send(*[message] * 6)
            self.assertEqual(Code.FLOOD, client.code())

    def test_others_notice_nothing(self) -> None:
        """A member that is refused for a flood is gone from the room, and the others talk on."""
        alice, bob, carol = self.relay(RelayLimits(window=10)).room("#tea", "alice", "bob", "carol")
        bob.send(self.post(11))
        alice.hears()
        alice.post("#tea", b"on we go")
        self.assertEqual([b"on we go"], texts(carol.hears()))
        self.assertEqual([], texts(bob.hears()))


class RateTests(RelayCase):
    """Clients in a hurry: they are read more slowly and lose nothing."""

    def in_time(self, client: Client, seconds: float) -> int:
        """How many posts are acknowledged within so many seconds."""
        before = len(acked(client.heard))
        for _ in range(round(seconds * 10)):
            client.relay.clock.advance(0.1)
        client.hears()
        return len(acked(client.heard)) - before

    def test_post_rate(self) -> None:
        """The burst is read at once, the rest at the rate; all of it arrives in order."""
        limits = RelayLimits(posts_burst=20, posts_per_s=10.0)
        alice, bob = self.relay(limits).room("#tea", "alice", "bob")
        sent = [b"%d" % number for number in range(60)]
        for text in sent:
            alice.post("#tea", text)
        alice.hears()
        self.assertEqual(21, len(acked(alice.heard)))
        self.assertEqual("paused", alice.transport.producerState)
        self.assertIn(self.in_time(alice, 2.0), range(18, 23))
        self.in_time(alice, 3.0)
        self.assertEqual(sent, texts(bob.hears()))
        self.assertEqual("producing", alice.transport.producerState)

    def test_byte_rate(self) -> None:
        """Long messages are read at the rate of their bytes."""
        limits = RelayLimits(bytes_burst=SEALED_BYTES * 2, bytes_per_s=float(SEALED_BYTES), posts_per_s=0)
        alice, bob = self.relay(limits).room("#tea", "alice", "bob")
        sent = [bytes([number]) * SEALED_BYTES for number in range(6)]
        for text in sent:
            alice.post("#tea", text)
        alice.hears()
        self.assertEqual(3, len(acked(alice.heard)))
        self.in_time(alice, 1.1)
        self.assertEqual(4, len(acked(alice.heard)))
        self.in_time(alice, 3.0)
        self.assertEqual(sent, texts(bob.hears()))

    def test_hand_rate(self) -> None:
        """A burst of sealed keys is read at once, more of them at the rate, by number and by bytes."""
        few = RelayLimits(hands_burst=100, hands_per_s=10.0, waiting_keys_of_sender=1_000)
        big = RelayLimits(hand_bytes_burst=100_000, hand_bytes_per_s=10_000.0, waiting_keys_of_sender=1_000)
        for limits, size in ((few, 1), (big, 1_000)):
            alice, bob = self.relay(limits).room("#tea", "alice", "bob")
            for number in range(16):
                alice.send(Hand("#tea", [(bob.me.device.public, bytes([number]) * size)] * 10))
            # The one that runs into debt is still read.
            self.assertEqual(110, self.keys(bob))
            alice.relay.clock.advance(1.1)
            self.assertEqual(120, self.keys(bob))
            for _ in range(60):
                alice.relay.clock.advance(0.1)
            self.assertEqual(160, self.keys(bob))
        self.assertEqual((4_096, 64.0), (RelayLimits().hands_burst, RelayLimits().hands_per_s))
        self.assertEqual((8 << 20, 128 << 10), (RelayLimits().hand_bytes_burst, RelayLimits().hand_bytes_per_s))

    def keys(self, client: Client) -> int:
        """How many sealed keys have come so far."""
        client.hears()
        return sum(len(each.items) for each in of(SealedKey, client.heard))

    def test_no_rate(self) -> None:
        """With both rates 0 nothing is paused."""
        alice, _ = self.relay(RelayLimits(posts_per_s=0, bytes_per_s=0)).room("#tea", "alice", "bob")
        for _ in range(10):
            alice.post("#tea", *[bytes(1_000)] * 60)
            self.assertEqual(60, len(acked(alice.hears())))
        self.assertEqual("producing", alice.transport.producerState)

    def test_vanishes_while_paused(self) -> None:
        """A paused sender that vanishes is gone from its rooms, and what was not read of it is not carried out."""
        alice, bob = self.relay(RelayLimits(posts_burst=1, posts_per_s=1.0)).room("#tea", "alice", "bob")
        for text in (b"a", b"b", b"c"):
            alice.post("#tea", text)
        alice.transport.lose()
        self.assertEqual([b"a", b"b"], texts(bob.hears()))
        self.assertEqual(0, self.in_time(bob, 3.0))
        self.assertEqual([b"a", b"b"], texts(bob.heard))

    def test_over_links(self) -> None:
        """Who comes back goes on with what they had left to post; what they may ask for is counted anew."""
        relay = self.relay(RelayLimits(posts_burst=2, posts_per_s=1.0, requests_burst=3, requests_per_s=0.01))
        alice, bob = relay.room("#tea", "alice", "bob")
        alice.post("#tea", b"a", b"b")
        alice.hears()
        for text, in_debt in ((b"c", False), (b"d", True)):
            alice.transport.lose()
            (alice,) = relay.login("alice")
            self.assertEqual(in_debt, alice.protocol.paused)
            relay.clock.advance(1.0 * in_debt)
            alice.does(Enter("#tea", 0, LAST_SEQ))
            alice.post("#tea", text)
            alice.post("#tea", b"later")
            alice.hears()
            self.assertTrue(alice.protocol.paused)
        self.assertFalse(alice.protocol.closing)
        bob.hears()

    def test_identities_remembered(self) -> None:
        """Of so many identities it is remembered what they have used up, and no more; who is quiet goes first."""
        self.patch(allowance, "REMEMBERED", 3)
        allowances = allowance.Allowances(Clock(), RelayLimits(posts_burst=1, posts_per_s=1.0))
        for name in (b"a", b"b", b"c", b"a", b"d"):
            allowances.of(name, "", None).wait_for_posts(2, 1)
        self.assertEqual(3, len(allowances._of_identity))
        waits = {name: allowances.of(name, "", None).debt_s for name in (b"a", b"c", b"d")}
        self.assertEqual({b"a": 3.0, b"c": 1.0, b"d": 1.0}, waits)
        self.assertEqual(0.0, allowances.of(b"b", "", None).debt_s)

    def test_addresses_remembered(self) -> None:
        """So it is for addresses."""
        self.patch(allowance, "REMEMBERED", 3)
        allowances = allowance.Allowances(Clock(), RelayLimits(address_posts_burst=1, address_posts_per_s=1.0))
        for number, host in enumerate("abcad"):
            allowances.of(b"%d" % number, "", host).wait_for_posts(2, 1)
        self.assertEqual(3, len(allowances._of_network))
        waits = {host: allowances.of(b"x", "", host).debt_s for host in "acd"}
        self.assertEqual({"a": 3.0, "c": 1.0, "d": 1.0}, waits)
        self.assertEqual(0.0, allowances.of(b"x", "", "b").debt_s)

    def test_debt_is_paid_first(self) -> None:
        """Who comes back while they would not be read is not read until that is over, and loses nothing."""
        relay = self.relay(RelayLimits(posts_burst=1, posts_per_s=1.0))
        alice, bob = relay.room("#tea", "alice", "bob")
        alice.post("#tea", b"a", b"b", b"c", b"d")
        alice.hears()
        alice.transport.lose()
        (alice,) = relay.login("alice")
        alice.send(Enter("#tea", 0, LAST_SEQ))
        self.assertEqual([], alice.hears())
        relay.clock.advance(2.9)
        self.assertEqual([], alice.hears())
        relay.clock.advance(0.2)
        alice.transport.lose()
        self.assertEqual([b"a", b"b", b"c", b"d"], texts(bob.hears()))
        self.assertTrue(of(SessionKey, alice.hears()))

    def from_one_address(self, relay: Relay, *names: str, host: str = "192.0.2.1") -> list[Client]:
        """Clients of one address, each in a room of its own."""
        clients = []
        for name in names:
            client = relay.connect(host)
            client.login(person(name))
            client.hears()
            client.found(f"#of-{name}")
            clients.append(client)
        return clients

    def posts(self, clients: list[Client], count: int, each: int, size: int = 1) -> list[int]:
        """Each client posts so often so many; how much of each is acknowledged."""
        for client in clients:
            for _ in range(count):
                client.post(f"#of-{client.me.certificate.name}", *[bytes(size)] * each)
        return [len(acked(client.hears())) for client in clients]

    def test_address_rate(self) -> None:
        """All names of one address share what it may send; another address, and loopback, do not."""
        relay = self.relay(RelayLimits(address_posts_burst=20, address_posts_per_s=10.0))
        here = self.from_one_address(relay, "alice", "bob")
        there = self.from_one_address(relay, "carol", host="192.0.2.2")
        local = self.from_one_address(relay, "dave", "erin", host="127.0.0.1")
        self.assertEqual([25, 5], self.posts(here, 5, 5))
        self.assertEqual([25], self.posts(there, 5, 5))
        self.assertEqual([25, 25], self.posts(local, 5, 5))
        relay.clock.advance(10)
        self.assertEqual([0, 20], [len(acked(client.hears())) for client in here])
        limits = RelayLimits()
        self.assertEqual((200.0, 2_000), (limits.address_posts_per_s, limits.address_posts_burst))

    def test_address_byte_rate(self) -> None:
        """The same for bytes."""
        relay = self.relay(RelayLimits(address_bytes_burst=20_000, address_bytes_per_s=10_000.0))
        here = self.from_one_address(relay, "alice", "bob")
        self.assertEqual([5, 1], self.posts(here, 5, 1, 5_000))
        self.assertEqual(
            (512 << 10, 1 << 20), (RelayLimits().address_bytes_per_s, RelayLimits().address_bytes_burst)
        )

    def test_bot(self) -> None:
        """A name to which the operator has granted more may send it, and counts for nobody else at its address."""
        limits = RelayLimits(
            posts_burst=10,
            posts_per_s=10.0,
            bytes_burst=1_000,
            bytes_per_s=1_000.0,
            address_posts_burst=20,
            bots={"alice": 100.0, "bob": 0.0},
        )
        relay = self.relay(limits)
        clients = self.from_one_address(relay, "alice", "bob", "carol")
        self.assertEqual([110, 150, 20], self.posts(clients, 15, 10))
        relay.clock.advance(0.2)
        self.assertEqual([20, 0, 0], [len(acked(client.hears())) for client in clients])
        alice, bob, _ = self.from_one_address(self.relay(limits), "alice", "bob", "carol")
        self.assertEqual([11, 15], self.posts([alice, bob], 15, 1, 1_000))

    def test_paused_is_not_silent(self) -> None:
        """A client whose pause is longer than three spans of silence is still there after it."""
        alice, _ = self.relay(RelayLimits(posts_burst=1, posts_per_s=0.01)).room("#tea", "alice", "bob")
        alice.post("#tea", b"a", b"b")
        for _ in range(9):
            alice.relay.clock.advance(10)
        self.assertFalse(alice.protocol.closing)


class SlowReaderTests(RelayCase):
    """Clients that do not read."""

    def fill(self, limits: RelayLimits) -> tuple[Client, Client, Client, int]:
        """Let one talk, and not read the answers, until it is dropped; the clients and how much was said."""
        alice, bob, carol = self.relay(limits).room("#tea", "alice", "bob", "carol")
        carol.stops_reading()
        for said in range(1, 200):
            carol.post("#tea", b"x")
            alice.hears()
            if carol.protocol.closing:
                return alice, bob, carol, said
        raise AssertionError("never dropped")

    def test_outbox_frames(self) -> None:
        """One frame over the bound and the slow one is told so; the others got everything and talk on."""
        limits = RelayLimits(outbox_frames=20, posts_per_s=0)
        alice, bob, carol, said = self.fill(limits)
        self.assertEqual(21, said)
        self.assertEqual(Code.SLOW, carol.code())
        self.assertEqual([], texts(carol.heard))
        self.assertEqual([b"x"] * said, texts(bob.hears()))
        alice.post("#tea", b"after")
        self.assertEqual([b"after"], texts(bob.hears()))

    def test_outbox_bytes(self) -> None:
        """The bound in bytes counts the frames as they travel."""
        answer = len(frame(Ack("#tea", [(post_id(1), 1)])))
        _, bob, carol, said = self.fill(RelayLimits(outbox_bytes=5 * answer - 1, posts_per_s=0))
        self.assertEqual((5, Code.SLOW), (said, carol.code()))
        self.assertEqual(5, len(texts(bob.hears())))

    def test_cut_off(self) -> None:
        """The slow one can log in again at once, and its link is cut off if it never reads."""
        alice, _, carol, _ = self.fill(RelayLimits(outbox_frames=2, posts_per_s=0))
        alice.relay.login("carol")
        self.assertFalse(carol.transport.aborted)
        alice.relay.clock.advance(LINGER_S)
        self.assertTrue(carol.transport.aborted)
        self.assertEqual(1, alice.relay.factory.closed[Code.SLOW])

    def test_several_in_one_fan_out(self) -> None:
        """Members that take no more in the middle of one delivery do not keep it from those behind them."""
        names = [f"m{number}" for number in range(9)]
        clients = self.relay(RelayLimits(outbox_frames=3, posts_per_s=0)).room("#tea", *names)
        for slow in clients[1::2]:
            slow.stops_reading()
        for _ in range(5):
            clients[0].post("#tea", b"x")
            clients[0].hears()
        fast = clients[2::2]
        self.assertEqual([texts(fast[0].hears())] * 4, [texts(each.hears() or each.heard) for each in fast])
        self.assertEqual([False] * 4, [slow.protocol.closing for slow in clients[1::2]])
        self.assertEqual(4, len(clients[0].relay.factory.rooms.behind))

    def test_reads_again(self) -> None:
        """A member that reads again in time gets all that waited, in order."""
        alice, bob = self.relay(RelayLimits(posts_per_s=0)).room("#tea", "alice", "bob")
        bob.stops_reading()
        sent = [b"%d" % number for number in range(50)]
        for text in sent:
            alice.post("#tea", text)
            self.assertEqual(1, len(of(Ack, alice.hears())))
        self.assertEqual([], bob.hears())
        assert bob.transport.producer is not None
        bob.transport.producer.resumeProducing()
        self.assertEqual(sent, texts(bob.hears()))

    def test_delivery_is_built_once(self) -> None:
        """The members of a room are given the very same bytes."""
        clients = self.relay().room("#tea", "alice", "bob", "carol")
        clients[0].post("#tea", b"x")
        clients[0].hears()
        wrote = [each.transport.writes[-1] for each in clients[1:]]
        self.assertIs(wrote[0], wrote[1])
        self.assertIn(frame(of(Delivery, clients[1].hears())[0]), wrote)
