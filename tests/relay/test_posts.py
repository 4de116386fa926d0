"""Posts: numbered, acknowledged once, delivered to the others in one order, or declined."""

from __future__ import annotations

from collections import Counter

from securechat.relay.limits import RelayLimits
from securechat.relay.log import RECENT_IDS, MemoryLog, Run
from securechat.wire.codes import Code
from securechat.wire.messages import (
    FRAME_BYTES,
    RUN_ITEMS,
    SEALED_BYTES,
    Ack,
    Declined,
    Delivery,
    Hand,
    Post,
    Roster,
    SessionKey,
)
from tests.relay.harness import RelayCase, acked, declined, kinds, of, only, post_id, texts
from tests.relay.people import CLOSED, NOW_MS
from tests.wire.harness import bodies

FAST = RelayLimits(posts_per_s=0, bytes_per_s=0, window=10_000, outbox_bytes=1 << 30)


class DeliveryTests(RelayCase):
    """What arrives where."""

    def test_one_post(self) -> None:
        """A post is acknowledged with its number and delivered once, with sender and time, to the others only."""
        alice, bob, carol = self.relay().room("#tea", "alice", "bob", "carol")
        (post,) = alice.post("#tea", b"hi")
        self.assertEqual([Ack("#tea", [(post, 1)])], alice.hears())
        for other in (bob, carol):
            self.assertEqual([Delivery("#tea", 1, [("alice", NOW_MS, b"hi")])], other.hears())

    def test_run(self) -> None:
        """A run of posts is one acknowledgement and one delivery, numbered without a hole."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        posts = alice.post("#tea", b"a", b"b", b"c")
        self.assertEqual([(post, seq) for seq, post in enumerate(posts, 1)], acked(alice.hears()))
        (delivery,) = of(Delivery, bob.hears())
        self.assertEqual((1, 3), (delivery.first_seq, len(delivery.items)))
        alice.post("#tea", b"d")
        self.assertEqual(4, only(Delivery, bob.hears()).first_seq)

    def test_several_senders_in_a_turn(self) -> None:
        """What several members post in one turn is one delivery, the same bytes for all members."""
        clients = self.relay().room("#tea", "alice", "bob", "carol")
        before = [len(bodies(each.transport.value())) for each in clients]
        for client in clients[:2]:
            client.post("#tea", b"x")
        for client in clients:
            client.hears()
        delivered = [
            [body for body in bodies(each.transport.value())[start:] if b"Delivery" in body]
            for each, start in zip(clients, before, strict=True)
        ]
        self.assertEqual(1, len(delivered[0]))
        self.assertEqual([delivered[0]] * 3, delivered)
        self.assertEqual([1, 2], [seq for each in clients[:2] for _, seq in acked(each.heard)])

    def test_rooms_are_apart(self) -> None:
        """Each room has its own numbers, and its members hear nothing of other rooms."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        carol, dave = relay.room("#cake", "carol", "dave")
        alice.post("#tea", b"t")
        carol.post("#cake", b"c")
        self.assertEqual(([b"t"], [b"c"]), (texts(bob.hears()), texts(dave.hears())))
        self.assertEqual([1, 1], [seq for each in (alice, carol) for _, seq in acked(each.hears())])

    def test_long_runs_are_split(self) -> None:
        """More than a frame holds goes in several deliveries, in order, each within 64 KiB and numbered on."""
        alice, bob = self.relay(FAST).room("#tea", "alice", "bob")
        sent = [bytes([number]) * SEALED_BYTES for number in range(3)] + [bytes([9]) * 15_000] * 4
        alice.post("#tea", *sent[:3])
        alice.post("#tea", *sent[3:])
        heard = bob.hears()
        self.assertEqual(sent, texts(heard))
        deliveries = of(Delivery, heard)
        self.assertGreater(len(deliveries), 1)
        at = 1
        for delivery in deliveries:
            self.assertEqual(at, delivery.first_seq)
            at += len(delivery.items)
        self.assertLessEqual(max(map(len, bodies(bob.transport.value()))), FRAME_BYTES)

    def test_many_short_ones_are_split(self) -> None:
        """A delivery holds RUN_ITEMS messages, and the next one goes on with the next number."""
        alice, bob = self.relay(FAST).room("#tea", "alice", "bob")
        sent = [b"%d" % number for number in range(RUN_ITEMS + 1)]
        alice.post("#tea", *sent[:RUN_ITEMS])
        alice.post("#tea", *sent[RUN_ITEMS:])
        heard = of(Delivery, bob.hears())
        self.assertEqual([(1, RUN_ITEMS), (RUN_ITEMS + 1, 1)], [(d.first_seq, len(d.items)) for d in heard])
        self.assertEqual([RUN_ITEMS, 1], [len(ack.items) for ack in of(Ack, alice.hears())])

    def test_longest_names_fit(self) -> None:
        """Frames filled to the last byte by the longest names of people and room stay within 64 KiB."""
        names = ("a" * 32, "b" * 32)
        room = "@" + "+".join(names)
        relay = self.relay(FAST)
        alice, bob = relay.login(*names)
        alice.found(room, bob.me, policy=CLOSED)
        bob.hears()
        sent = [bytes(300)] * 300
        alice.post(room, *sent[:150])
        alice.post(room, *sent[150:])
        self.assertEqual(sent, texts(bob.hears()))
        longest = max(map(len, bodies(bob.transport.value())))
        self.assertTrue(FRAME_BYTES - 1_000 < longest <= FRAME_BYTES, longest)

    def test_who_comes_later(self) -> None:
        """Who joins hears the number of the last message so far, and none of the messages."""
        relay = self.relay()
        alice, _ = relay.room("#tea", "alice", "bob")
        alice.post("#tea", b"before")
        alice.hears()
        (carol,) = relay.login("carol")
        carol.join("#tea")
        self.assertEqual(([], 1), (texts(carol.heard), only(Roster, carol.heard).last_seq))

    def test_without_having_entered(self) -> None:
        """A member posts without having entered, and hears of it no more than the answer."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        epoch = bob.key("#tea").epoch
        bob.transport.lose()
        (again,) = relay.login("bob")
        again.post("#tea", b"still me", epoch=epoch)
        self.assertEqual(["Ack"], kinds(again.hears()))
        self.assertEqual([b"still me"], texts(alice.hears()))
        alice.post("#tea", b"welcome")
        self.assertEqual([], again.hears())


class OrderTests(RelayCase):
    """Posts and changes of members in one turn."""

    def test_post_then_join(self) -> None:
        """Who joins in the turn of a post does not get it; the others get it, then the entry, then the key."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        (carol,) = relay.login("carol")
        alice.post("#tea", b"old")
        carol.send(carol.now("#tea").join(carol.me))
        self.assertEqual(["Ack", "Roster", "Presence", "SessionKey"], kinds(alice.hears()))
        self.assertEqual(["Delivery", "Roster", "Presence", "SessionKey"], kinds(bob.hears()))
        heard = carol.hears()
        self.assertEqual(["Roster", "Present", "SessionKey"], kinds(heard))
        self.assertEqual(1, only(Roster, heard).last_seq)

    def test_join_then_post(self) -> None:
        """A post that arrives behind a change of members is for an old epoch: declined, and delivered to nobody."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        (carol,) = relay.login("carol")
        carol.send(carol.now("#tea").join(carol.me))
        (late,) = alice.post("#tea", b"late")
        heard = alice.hears()
        self.assertEqual(["Roster", "Presence", "SessionKey", "Declined"], kinds(heard))
        self.assertEqual(Declined("#tea", [late], Code.STALE_EPOCH), heard[-1])
        self.assertEqual([], texts(bob.hears()) + texts(carol.hears()))

    def test_removal_behind_a_post(self) -> None:
        """The removed one hears what was posted before the removal in the same turn, and not what comes after."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        alice.post("#tea", b"before")
        alice.send(alice.now("#tea").remove(alice.me, bob.me))
        alice.post("#tea", b"after")
        self.assertEqual(["Delivery", "Roster"], kinds(bob.hears()))
        self.assertEqual([b"before"], texts(bob.heard))
        self.assertEqual(["Ack", "Roster", "SessionKey", "Declined"], kinds(alice.hears()))

    def test_leave_behind_a_post(self) -> None:
        """What a member posts and then leaves is delivered, and the leaver is answered first."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        alice.post("#tea", b"bye")
        alice.send(alice.now("#tea").leave(alice.me))
        self.assertEqual(["Ack", "Roster"], kinds(alice.hears()))
        self.assertEqual([b"bye"], texts(bob.hears()))

    def test_the_epoch_is_known_before_its_key(self) -> None:
        """A post for the epoch that one's own entry makes is taken in the same chunk: the entry gives its name."""
        (alice,) = self.relay().room("#tea", "alice")
        (bob,) = alice.relay.login("bob")
        chain = alice.now("#tea")
        alice.send(chain.add(alice.me, bob.me))
        alice.post("#tea", b"hi", epoch=chain.known.epoch)
        self.assertEqual(["Roster", "Presence", "SessionKey", "Ack"], kinds(alice.hears()))
        self.assertEqual(["Roster", "Present", "SessionKey", "Delivery"], kinds(bob.hears()))

    def test_keys_do_not_wait_for_posts(self) -> None:
        """Sealed keys between posts of one turn split them into no more deliveries than there would be."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        alice.post("#tea", b"1")
        alice.send(Hand("#tea", [(bob.me.device.public, b"key")]))
        alice.post("#tea", b"2")
        heard = bob.hears()
        self.assertEqual({"SealedKey": 1, "Delivery": 1}, Counter(kinds(heard)))
        self.assertEqual([b"1", b"2"], texts(heard))

    def test_vanish_behind_a_post(self) -> None:
        """What a member posted in its last moment is delivered."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        alice.post("#tea", b"last")
        alice.transport.lose()
        self.assertEqual([b"last"], texts(bob.hears()))

    def test_alternating(self) -> None:
        """Posts and changes in turns, all in one turn of the reactor, are carried out one after the other."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        (carol,) = relay.login("carol")
        chain = carol.now("#tea")
        for number in range(3):
            bob.send(Post("#cake", bytes(32), [(post_id(number), b"x")]))
            carol.send(chain.join(carol.me))
            bob.send(Post("#cake", bytes(32), [(post_id(number), b"x")]))
            carol.send(chain.leave(carol.me))
        self.assertEqual([Code.NOT_A_MEMBER] * 6, declined(bob.hears()))
        self.assertEqual(6, len(of(SessionKey, alice.hears())))


class DeclinedTests(RelayCase):
    """Posts that are not taken; the link stays."""

    def test_not_a_member(self) -> None:
        """A post to a room that one is not in, that nobody is in or that cannot be is declined."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        (carol,) = relay.login("carol")
        for room in ("#tea", "#nowhere", "@alice+bob", "no room"):
            (post,) = carol.post(room, b"x", epoch=alice.key("#tea").epoch)
            self.assertEqual([Declined(room, [post], Code.NOT_A_MEMBER)], carol.hears())
        self.assertEqual([], alice.hears() + bob.hears())

    def test_former_member(self) -> None:
        """Who has left cannot post under the epoch that it knew."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        epoch = bob.key("#tea").epoch
        bob.leave("#tea")
        bob.post("#tea", b"x", epoch=epoch)
        self.assertEqual([Code.NOT_A_MEMBER], declined(bob.hears()))
        self.assertEqual([], texts(alice.hears()))

    def test_stale_epoch(self) -> None:
        """A post under an earlier epoch is declined with its ids, and may be sent again under the new one."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        old = alice.key("#tea").epoch
        bob.leave("#tea")
        bob.join("#tea")
        posts = alice.post("#tea", b"a", b"b", epoch=old)
        self.assertIn(Declined("#tea", posts, Code.STALE_EPOCH), alice.hears())
        alice.post("#tea", b"a", b"b", ids=posts)
        self.assertEqual([(posts[0], 1), (posts[1], 2)], acked(alice.hears()))
        self.assertEqual([b"a", b"b"], texts(bob.hears()))


class RepeatedTests(RelayCase):
    """Posts sent again, because their acknowledgement may have been lost."""

    def test_repeated(self) -> None:
        """A repeated post is acknowledged with its first number and not delivered again."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        posts = alice.post("#tea", b"one", b"two")
        alice.post("#tea", b"two", b"three", ids=[posts[1]])
        self.assertEqual([1, 2, 2, 3], [seq for _, seq in acked(alice.hears())])
        heard = bob.hears()
        self.assertEqual([b"one", b"two", b"three"], texts(heard))

    def test_twice_in_one_post(self) -> None:
        """An id that comes twice in one run is one message."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        alice.post("#tea", b"one", b"one", ids=[post_id(1)] * 2)
        self.assertEqual([1, 1], [seq for _, seq in acked(alice.hears())])
        self.assertEqual([b"one"], texts(bob.hears()))

    def test_repeated_under_an_old_epoch(self) -> None:
        """Of posts repeated under an old epoch those already kept are acknowledged, the others declined."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        old = alice.key("#tea").epoch
        posts = alice.post("#tea", b"kept")
        bob.leave("#tea")
        alice.hears()
        again = alice.post("#tea", b"kept", b"new", ids=posts, epoch=old)
        heard = alice.hears()
        self.assertEqual([(posts[0], 1)], acked(heard))
        self.assertEqual([Declined("#tea", again[1:], Code.STALE_EPOCH)], of(Declined, heard))

    def test_ids_belong_to_their_sender(self) -> None:
        """Another member's post with the same id is another message."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        alice.post("#tea", b"a", ids=[post_id(7)])
        bob.post("#tea", b"b", ids=[post_id(7)])
        self.assertEqual(([1], [2]), tuple([seq for _, seq in acked(each.hears())] for each in (alice, bob)))


class MemoryLogTests(RelayCase):
    """The log in memory."""

    def append(self, log: MemoryLog, *ids: int) -> list[tuple[int, bool]]:
        """Keep messages of one room; their outcomes."""
        out: list[list[tuple[int, bool]]] = []
        log.append([Run("#tea", "alice", [(post_id(each), b"x") for each in ids], None)], out.extend)
        return out[0]

    def test_forgets_old_ids(self) -> None:
        """The last RECENT_IDS ids of a room are known, and never more than twice as many are kept."""
        log = MemoryLog(recent_ids=10)
        for number in range(100):
            self.append(log, number)
            room = log._rooms["#tea"]
            self.assertLessEqual(len(room.young) + len(room.old), 20)
        self.assertEqual([(each + 1, False) for each in range(90, 100)], self.append(log, *range(90, 100)))
        self.assertEqual([(101, True)], self.append(log, 0))
        self.assertEqual(4_096, RECENT_IDS)

    def test_forget(self) -> None:
        """A room that is forgotten begins anew."""
        log = MemoryLog()
        self.append(log, 1, 2)
        self.assertEqual(2, log.last_seq("#tea"))
        log.forget("#tea")
        self.assertEqual(0, log.last_seq("#tea"))
        self.assertEqual([(1, True)], self.append(log, 1))

    def test_refused_runs_leave_nothing(self) -> None:
        """A refused run for a room that is not there does not make one."""
        log = MemoryLog()
        log.append([Run("#x", "alice", [(post_id(1), b"x")], Code.NOT_A_MEMBER)], lambda outcomes: None)
        self.assertEqual({}, log._rooms)
