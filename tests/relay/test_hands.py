"""Sealed keys: passed on at once, kept for who is away, bounded, and asked for."""

from __future__ import annotations

from twisted.internet.task import Clock

from securechat.e2e.identity import Person
from securechat.relay import wall
from securechat.relay.journal import Unkept
from securechat.relay.limits import RelayLimits
from securechat.relay.waiting import KEEPING_BYTES, WaitingKeys
from securechat.signed.certificates import certify
from securechat.signed.prekeys import KEEP_MS
from securechat.signed.signing import SigningKey
from securechat.wire.messages import (
    BLOB_BYTES,
    BUNDLE_ITEMS,
    FRAME_BYTES,
    LAST_SEQ,
    Ask,
    Asked,
    Enter,
    Hand,
    Message,
    SealedKey,
    Seen,
)
from securechat.wire.outbox import Turn
from tests.relay.harness import Client, Relay, RelayCase, kinds, of, only
from tests.relay.people import CLOSED, NOW_MS
from tests.wire.harness import bodies

ROOM = "#tea"
SID = bytes(16)


def blobs(messages: list[Message], room: str = ROOM) -> list[bytes]:
    """The sealed keys of a room that came, in order."""
    return [blob for each in of(SealedKey, messages) if each.room == room for _, blob in each.items]


def device(client: Client) -> bytes:
    """A client's device."""
    return client.me.device.public


class HandTests(RelayCase):
    """`Hand` and `SealedKey`."""

    def test_at_once(self) -> None:
        """A member who is here gets its keys at once, with the sender's name; the others and the sender nothing."""
        alice, bob, carol = self.relay().room(ROOM, "alice", "bob", "carol")
        heard = alice.does(Hand(ROOM, [(device(bob), b"for bob"), (device(carol), b"for carol")]))
        self.assertEqual([], heard)
        self.assertEqual([SealedKey(ROOM, 1, [("alice", b"for bob")])], bob.hears())
        self.assertEqual([SealedKey(ROOM, 2, [("alice", b"for carol")])], carol.hears())

    def test_behind_what_makes_a_member(self) -> None:
        """Keys may come in one chunk with the entry that makes their device a member's: they follow its key."""
        alice, bob = self.relay().login("alice", "bob")
        alice.found(ROOM, policy=CLOSED)
        alice.send(alice.now(ROOM).add(alice.me, bob.me), Hand(ROOM, [(device(bob), b"key")]))
        self.assertEqual(["Roster", "Present", "SessionKey", "SealedKey"], kinds(bob.hears()))

    def test_waits(self) -> None:
        """Keys for a member who is away wait, and come after the answer to Enter, in the order of handing."""
        relay = self.relay()
        alice, bob, carol = relay.room(ROOM, "alice", "bob", "carol")
        bob.transport.lose()
        for client, blob in ((alice, b"1"), (carol, b"2"), (alice, b"3")):
            client.does(Hand(ROOM, [(device(bob), blob)]))
        (again,) = relay.login("bob")
        self.assertEqual([], again.hears())
        heard = again.does(Enter(ROOM, 0, LAST_SEQ))
        self.assertEqual(["Roster", "Present", "SessionKey", "SealedKey"], kinds(heard))
        self.assertEqual([("alice", b"1"), ("carol", b"2"), ("alice", b"3")], only(SealedKey, heard).items)

    def test_until_they_are_stored(self) -> None:
        """Keys come with every Enter until their device says that it has stored them; those alone go then."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        first = only(SealedKey, self.handed(alice, bob, b"1"))
        second = only(SealedKey, self.handed(alice, bob, b"2"))
        self.assertLess(first.handed, second.handed)
        self.assertEqual([b"1", b"2"], blobs(bob.does(Enter(ROOM, 0, LAST_SEQ))))
        bob.does(Seen([(ROOM, 0, first.handed)]))
        self.assertEqual([b"2"], blobs(bob.does(Enter(ROOM, 0, LAST_SEQ))))
        bob.does(Seen([(ROOM, 0, second.handed)]))
        self.assertEqual([], of(SealedKey, bob.does(Enter(ROOM, 0, LAST_SEQ))))
        self.assertEqual((0, 0), (len(self.waiting(relay)), self.waiting(relay).bytes))

    def test_stored_elsewhere(self) -> None:
        """To have stored keys says nothing of other rooms, and nothing of keys of others."""
        relay = self.relay()
        alice, bob, carol = relay.room(ROOM, "alice", "bob", "carol")
        self.handed(alice, bob, b"1")
        handed = only(SealedKey, self.handed(alice, carol, b"2")).handed
        carol.does(Seen([(ROOM, 0, handed), ("#cake", 0, handed)]))
        bob.does(Seen([("#cake", 0, handed)]))
        self.assertEqual([b"1"], blobs(bob.does(Enter(ROOM, 0, LAST_SEQ))))

    def handed(self, sender: Client, to: Client, blob: bytes) -> list[Message]:
        """What somebody hears who is handed a key."""
        sender.does(Hand(ROOM, [(device(to), blob)]))
        return to.hears()

    def waiting(self, relay: Relay) -> WaitingKeys:
        """What waits at a relay."""
        return relay.factory.rooms.memberships.hands.waiting

    def test_of_each_room(self) -> None:
        """Keys come with the room that they are for, and for no other."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        alice.found("#cake", bob.me)
        bob.transport.lose()
        for room in (ROOM, "#cake"):
            alice.does(Hand(room, [(device(bob), room.encode())]))
        (again,) = relay.login("bob")
        self.assertEqual([b"#cake"], blobs(again.does(Enter("#cake", 0, LAST_SEQ)), "#cake"))
        self.assertEqual([b"#tea"], blobs(again.does(Enter(ROOM, 0, LAST_SEQ))))

    def test_unentered(self) -> None:
        """Who is logged in and has not entered gets its keys when it does."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.transport.lose()
        (again,) = relay.login("bob")
        alice.does(Hand(ROOM, [(device(again), b"key")]))
        self.assertEqual([], again.hears())
        self.assertEqual([b"key"], blobs(again.does(Enter(ROOM, 0, LAST_SEQ))))

    def test_added_while_here(self) -> None:
        """What waited for a member who went is gone when they are added again: it was for a former stay."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.transport.lose()
        alice.does(Hand(ROOM, [(device(bob), b"old")]))
        alice.remove(ROOM, bob.me)
        self.assertEqual(0, len(self.waiting(relay)))
        (again,) = relay.login("bob")
        alice.send(alice.now(ROOM).add(alice.me, bob.me), Hand(ROOM, [(device(bob), b"new")]))
        self.assertEqual([b"new"], blobs(again.hears()))

    def test_dropped(self) -> None:
        """What no member hands, or is for no member's device, or for a room that is not there, goes nowhere."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        (carol,) = relay.login("carol")
        carol.does(Hand(ROOM, [(device(bob), b"x")]), Hand("#nowhere", [(device(bob), b"x")]))
        alice.does(Hand(ROOM, [(device(carol), b"x"), (bytes(32), b"x"), (device(bob), b"good")]))
        bob.leave(ROOM)
        bob.does(Hand(ROOM, [(device(alice), b"x")]))
        alice.does(Hand(ROOM, [(device(bob), b"x")]))
        self.assertEqual(([b"good"], [], []), (blobs(bob.heard), blobs(carol.hears()), blobs(alice.hears())))
        self.assertEqual(0, len(self.waiting(relay)))

    def test_another_device(self) -> None:
        """Keys for the device with which somebody is a member are not given to their other one."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        key = SigningKey(bytes(31) + b"2")
        newer = Person(bob.me.identity, key, certify(bob.me.identity, "bob", key.public, NOW_MS))
        (second,) = relay.login_as(newer)
        second.enter(ROOM)
        alice.does(Hand(ROOM, [(device(bob), b"for the old one"), (key.public, b"x")]))
        alice.does(Ask(ROOM, device(bob), SID))
        self.assertEqual([], second.hears())
        (back,) = relay.login("bob")
        self.assertEqual([b"for the old one"], blobs(back.does(Enter(ROOM, 0, LAST_SEQ))))

    def test_in_frames(self) -> None:
        """Many keys come in frames that fit, none longer than its bound, in order."""
        relay = self.relay(RelayLimits(waiting_keys_of_sender=200))
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.transport.lose()
        sent = [bytes([number]) * (BLOB_BYTES if number < 20 else 1) for number in range(150)]
        for blob in sent:
            alice.send(Hand(ROOM, [(device(bob), blob)]))
        alice.hears()
        (again,) = relay.login("bob")
        heard = again.does(Enter(ROOM, 0, LAST_SEQ))
        self.assertEqual(sent, blobs(heard))
        self.assertEqual(BUNDLE_ITEMS, max(len(each.items) for each in of(SealedKey, heard)))
        self.assertLessEqual(max(map(len, bodies(again.transport.value()))), FRAME_BYTES)

    def test_slow_reader(self) -> None:
        """Whoever is handed more than may wait for it gets it as it reads, and is not dropped for it."""
        relay = self.relay(RelayLimits(outbox_bytes=10_000, outbox_frames=10))
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.stops_reading()
        sent = [bytes([number]) * 2_000 for number in range(60)]
        for blob in sent:
            alice.does(Hand(ROOM, [(device(bob), blob)]))
        self.assertEqual([], bob.hears())
        bob.reads_again()
        self.assertEqual(sent, blobs(bob.hears()))
        alice.does(Hand(ROOM, [(device(bob), b"next")]))
        self.assertEqual([b"next"], blobs(bob.hears()))

    def test_lost_before_it_is_read(self) -> None:
        """What was not yet sent when a link was lost waits for the next one."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.stops_reading()
        alice.does(Hand(ROOM, [(device(bob), b"key")]))
        bob.transport.lose()
        alice.does(Hand(ROOM, [(device(bob), b"another")]))
        (again,) = relay.login("bob")
        self.assertEqual([b"key", b"another"], blobs(again.does(Enter(ROOM, 0, LAST_SEQ))))

    def test_removed_before_it_is_read(self) -> None:
        """What was not yet sent when a member was put out is never sent."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.stops_reading()
        alice.does(Hand(ROOM, [(device(bob), b"key")]))
        alice.remove(ROOM, bob.me)
        bob.reads_again()
        self.assertEqual(["Roster"], kinds(bob.hears()))


class WaitingTests(RelayCase):
    """The bounds of what waits, and its end."""

    def store(self, limits: RelayLimits) -> WaitingKeys:
        """Keys, with a clock that a test sets."""
        self.now_ms = NOW_MS
        return WaitingKeys(lambda: self.now_ms, limits, Unkept(Turn(Clock())))

    def all_of(self, keys: WaitingKeys, device: bytes, room: str = ROOM) -> list[bytes]:
        """Everything that waits for a device."""
        found: list[bytes] = []
        last, items = keys.some(device, room, 0)
        while items:
            found += [blob for _, blob in items]
            last, items = keys.some(device, room, last)
        return found

    def test_of_one_sender(self) -> None:
        """Of one device's keys for another the newest 64 wait; those of others are not touched."""
        keys = self.store(RelayLimits())
        keys.keep(b"b", ROOM, b"c", "carol", b"carol's")
        for number in range(70):
            keys.keep(b"b", ROOM, b"a", "alice", b"%d" % number)
        self.assertEqual([b"carol's", *(b"%d" % number for number in range(6, 70))], self.all_of(keys, b"b"))
        self.assertEqual(64, RelayLimits().waiting_keys_of_sender)

    def test_of_one_device(self) -> None:
        """For one device the newest 1,000 wait, whoever sent them for whatever room."""
        keys = self.store(RelayLimits())
        for number in range(1_010):
            keys.keep(b"b", ROOM if number % 2 else "#cake", b"%d" % (number % 20), "x", b"%d" % number)
        self.assertEqual(1_000, len(keys))
        self.assertEqual([b"%d" % number for number in range(11, 1_010, 2)], self.all_of(keys, b"b"))
        self.assertEqual([b"%d" % number for number in range(10, 1_010, 2)], self.all_of(keys, b"b", "#cake"))
        self.assertEqual(1_000, RelayLimits().waiting_keys)
        for room in (ROOM, "#cake"):
            keys.forget(b"b", room)
        self.assertEqual((0, 0), (len(keys), keys.bytes))

    def test_of_all(self) -> None:
        """Over the bytes of all keys, with what keeping them costs, the oldest of them goes, whosesoever it is."""
        keys = self.store(RelayLimits(waiting_bytes=10 * (KEEPING_BYTES + 1)))
        for number in range(12):
            keys.keep(b"%d" % number, ROOM, b"a", "alice", b"x")
        self.assertEqual((10, 10 * (KEEPING_BYTES + 1)), (len(keys), keys.bytes))
        self.assertEqual([[], [], [b"x"]], [self.all_of(keys, b"%d" % number) for number in range(3)])
        self.assertEqual(128 * 1024 * 1024, RelayLimits().waiting_bytes)

    def test_expires(self) -> None:
        """A key waits for two weeks, as long as the prekey may live that it is sealed to."""
        keys = self.store(RelayLimits())
        keys.keep(b"b", ROOM, b"a", "alice", b"old")
        self.now_ms += 1
        keys.keep(b"b", ROOM, b"a", "alice", b"new")
        self.now_ms += KEEP_MS - 1
        self.assertEqual([b"new"], self.all_of(keys, b"b"))
        self.assertEqual(KEEP_MS, RelayLimits().waiting_s * 1_000)

    def test_expired_make_room(self) -> None:
        """What has waited too long is gone when the next key comes, whoever that is for."""
        keys = self.store(RelayLimits())
        for number in range(50):
            keys.keep(b"%d" % number, ROOM, b"a", "alice", b"x")
        self.now_ms += KEEP_MS
        keys.keep(b"b", ROOM, b"a", "alice", b"x")
        self.assertEqual((1, KEEPING_BYTES + 1), (len(keys), keys.bytes))

    def test_expired_at_the_relay(self) -> None:
        """A member who stays away for longer than two weeks finds none of the keys."""
        # Nobody was there to see that the time went by.
        self.patch(wall, "DOUBT_S", 0.0)
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.transport.lose()
        alice.does(Hand(ROOM, [(device(bob), b"old")]))
        relay.skip(KEEP_MS - 1)
        alice.does(Hand(ROOM, [(device(bob), b"new")]))
        relay.skip(1)
        again = relay.connect()
        again.login(bob.me, relay.now_ms())
        self.assertEqual([b"new"], blobs(again.does(Enter(ROOM, 0, LAST_SEQ))))


class AskTests(RelayCase):
    """`Ask` and `Asked`."""

    def test_passed_on(self) -> None:
        """A member's device that is here is asked, by the asking one's device; nobody else hears of it."""
        alice, bob, carol = self.relay().room(ROOM, "alice", "bob", "carol")
        self.assertEqual([], alice.does(Ask(ROOM, device(bob), SID)))
        self.assertEqual([Asked(ROOM, device(alice), SID)], bob.hears())
        self.assertEqual([], carol.hears())

    def test_dropped(self) -> None:
        """What is asked of a device that is away or no member's, by no member, or of no room goes nowhere."""
        relay = self.relay()
        alice, bob, away = relay.room(ROOM, "alice", "bob", "carol")
        (mallory,) = relay.login("mallory")
        away.transport.lose()
        (back,) = relay.login("carol")
        alice.does(*(Ask(ROOM, each, SID) for each in (device(back), device(mallory), bytes(32))))
        alice.does(Ask("#nowhere", device(bob), SID))
        mallory.does(Ask(ROOM, device(bob), SID))
        self.assertEqual([], of(Asked, [*alice.hears(), *bob.hears(), *back.hears(), *mallory.heard]))
