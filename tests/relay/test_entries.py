"""`Append`: entries that are not taken, each with its code, and that nothing changes by them."""

from __future__ import annotations

from securechat.e2e.identity import Person
from securechat.relay import memberships
from securechat.relay.limits import RelayLimits
from securechat.signed.certificates import certify
from securechat.signed.entries import Entry, Op, Policy, Role, read_entry, sign_entry
from securechat.signed.roster import MAX_ENTRIES
from securechat.wire.codes import Code
from securechat.wire.messages import LAST_SEQ, ROOM_MEMBERS, Append, Enter, Roster
from securechat.wire.names import direct_room
from tests.relay.harness import Client, RelayCase, declined, entries, kinds, of, present
from tests.relay.people import CLOSED, NOW_MS, OPEN, Chain, person

ROOM = "#tea"


class BadEntryTests(RelayCase):
    """Entries of which no member should ever hear."""

    def setUp(self) -> None:
        """A closed room of Alice, who owns it, and Bob; Carol and Mallory are not in it."""
        self.here = self.relay()
        self.alice, self.bob = self.here.room(ROOM, "alice", "bob", policy=CLOSED)
        self.carol, self.mallory = self.here.login("carol", "mallory")
        self.chain = self.alice.now(ROOM)

    def assert_declined(self, code: Code, client: Client, entry: bytes, room: str = ROOM) -> None:
        """An entry is declined, nobody hears of it, and the room goes on as before."""
        before = self.here.log_of(ROOM).packed
        rooms = set(self.here.factory.rooms.memberships.rooms)
        self.assertEqual([code], declined(client.does(Append(room, entry))))
        others = [each for each in (self.alice, self.bob, self.carol, self.mallory) if each is not client]
        self.assertEqual([], [message for each in others for message in each.hears()])
        self.assertEqual(before, self.here.log_of(ROOM).packed)
        self.assertEqual(rooms, set(self.here.factory.rooms.memberships.rooms))
        self.assertFalse(client.protocol.closing)

    def test_malformed(self) -> None:
        """What is no entry, or one with something missing, added or altered, is declined."""
        good = self.chain.signed(self.alice.me, Op.ROLE, self.bob.me, Role.ADMIN)
        for entry in (b"x", good[:-1], good + b"x", good[:-1] + bytes([good[-1] ^ 1]), bytes(4_096)):
            self.assert_declined(Code.BAD_ENTRY, self.alice, entry)

    def test_founding_malformed(self) -> None:
        """A room is founded by nothing but a whole, signed founding of that room by who sends it."""
        mine = Chain("#new").founding(self.carol.me).entry
        for room, entry in [
            ("#new", b"x"),
            ("#new", mine[:-1] + bytes([mine[-1] ^ 1])),
            ("#other", mine),
            ("#new", Chain("#new").founding(self.mallory.me).entry),
            ("@alice+bob", Chain("@alice+bob").founding(self.carol.me, CLOSED).entry),
            ("@carol+mallory", Chain("@carol+mallory").founding(self.carol.me, OPEN).entry),
        ]:
            self.assert_declined(Code.BAD_ENTRY, self.carol, entry, room)

    def test_founding_in_another_name(self) -> None:
        """A founding whose certificate gives its founder another name than the login's is declined."""
        me = self.carol.me
        other = Person(me.identity, me.device, certify(me.identity, "carla", me.device.public, NOW_MS))
        self.assert_declined(Code.BAD_ENTRY, self.carol, Chain("#new").founding(other).entry, "#new")

    def test_another_room(self) -> None:
        """An entry of another room is declined, though its author may make it there."""
        self.alice.found("#cake", policy=CLOSED)
        entry = self.alice.now("#cake").add(self.alice.me, self.carol.me).entry
        self.assert_declined(Code.STALE_ENTRY, self.alice, entry)

    def test_by_another_device(self) -> None:
        """An entry that somebody else signed is declined, though they may make it: only they may hand it in."""
        entry = self.chain.add(self.alice.me, self.carol.me).entry
        for client in (self.bob, self.carol, self.mallory):
            self.assert_declined(Code.BAD_ENTRY, client, entry)
        join = Chain("#open")
        self.alice.does(join.found(self.alice.me))
        self.assert_declined(Code.BAD_ENTRY, self.mallory, join.join(self.carol.me).entry, "#open")

    def test_unsigned(self) -> None:
        """An entry that names a member's device and was signed by another one is declined."""
        theirs = read_entry(self.chain.signed(self.mallory.me, Op.LEAVE, self.alice.me))
        forged = Entry(theirs.number, theirs.previous, theirs.op, theirs.subject, theirs.role, theirs.time_ms,
                       theirs.detail, self.alice.me.device.public, theirs.signature)  # fmt: skip
        self.assert_declined(Code.BAD_ENTRY, self.alice, forged.packed)

    def test_without_right(self) -> None:
        """What the author's role does not allow is declined."""
        add = (Op.ADD, self.carol.me, Role.MEMBER, self.carol.me.certificate.packed)
        join = (Op.JOIN, self.mallory.me, Role.MEMBER, self.mallory.me.certificate.packed)
        for client, what in [
            (self.bob, add),
            (self.bob, (Op.REMOVE, self.alice.me)),
            (self.bob, (Op.ROLE, self.bob.me, Role.OWNER)),
            (self.bob, (Op.POLICY, self.bob.me, None, OPEN.packed)),
            (self.bob, (Op.LEAVE, self.alice.me)),
            (self.mallory, join),
            (self.mallory, (Op.LEAVE, self.bob.me)),
            (self.alice, (Op.REMOVE, self.alice.me)),
        ]:
            self.assert_declined(Code.BAD_ENTRY, client, self.chain.signed(client.me, *what))  # type: ignore[arg-type]

    def test_pointless(self) -> None:
        """Adding who is a member, and removing who is none, is declined."""
        for what in [
            (Op.ADD, self.bob.me, Role.MEMBER, self.bob.me.certificate.packed),
            (Op.REMOVE, self.carol.me),
        ]:
            entry = self.chain.signed(self.alice.me, *what)  # type: ignore[arg-type]
            self.assert_declined(Code.BAD_ENTRY, self.alice, entry)

    def test_who_has_no_name_here(self) -> None:
        """Somebody is added under the name and device that they have at this relay, or not at all."""
        for other in (person("nobody"), person("carol", 1)):
            entry = self.chain.signed(self.alice.me, Op.ADD, other, Role.MEMBER, other.certificate.packed)
            self.assert_declined(Code.BAD_ENTRY, self.alice, entry)


class StaleEntryTests(RelayCase):
    """Races, of which one side loses."""

    def test_two_at_once(self) -> None:
        """Of two entries with one number the first is taken; the other author hears of it and then declined."""
        alice, bob = self.relay().room(ROOM, "alice", "bob")
        first, second = alice.now(ROOM), bob.now(ROOM)
        alice.send(first.policy(alice.me, Policy(is_open=True, history_days=1)))
        bob.send(second.leave(bob.me))
        self.assertEqual(["Roster"], kinds(alice.hears()))
        self.assertEqual(["Roster", "Declined"], kinds(bob.hears()))
        self.assertEqual([Code.STALE_ENTRY], declined(bob.heard))
        self.assertEqual(["Roster"], kinds(bob.leave(ROOM)))

    def test_two_foundings(self) -> None:
        """Of two who found a room the first does; the other one may join it then."""
        alice, bob = self.relay().login("alice", "bob")
        for client in (alice, bob):
            client.send(Chain(ROOM).found(client.me))
        self.assertEqual(["Roster", "Present", "SessionKey"], kinds(alice.hears()))
        self.assertEqual([Code.STALE_ENTRY], declined(bob.hears()))
        bob.does(Enter(ROOM, 0, LAST_SEQ))
        self.assertIn(bob.join(ROOM), alice.hears())

    def test_number_and_hash(self) -> None:
        """Another number than the next, or the right one behind another entry, is declined."""
        relay = self.relay()
        (alice,) = relay.room(ROOM, "alice")
        log = relay.log_of(ROOM)
        subject, detail = alice.me.identity.public, OPEN.packed
        for number, previous in ((len(log) + 1, log.last), (len(log) - 1, log.last), (len(log), bytes(32))):
            entry = sign_entry(alice.me.device, number, previous, Op.POLICY, subject, None, NOW_MS, detail)
            self.assertEqual([Code.STALE_ENTRY], declined(alice.does(Append(ROOM, entry.packed))))

    def test_repeated(self) -> None:
        """An entry that is sent again, as its answer may have been lost, is declined; its author reads the log."""
        alice, _ = self.relay().room(ROOM, "alice", "bob")
        change = alice.now(ROOM).policy(alice.me, CLOSED)
        alice.does(change)
        self.assertEqual([Code.STALE_ENTRY], declined(alice.does(change)))
        self.assertEqual([change.entry], entries(alice.does(Enter(ROOM, 2, LAST_SEQ))))

    def test_no_such_room(self) -> None:
        """A later entry of a room that is not there is declined: the room was forgotten, or was never founded."""
        (alice,) = self.relay().room(ROOM, "alice")
        chain = alice.now(ROOM)
        alice.leave(ROOM)
        self.assertEqual([Code.STALE_ENTRY], declined(alice.does(chain.policy(alice.me, CLOSED))))

    def test_answers_in_order(self) -> None:
        """Of several entries in a turn of which one is declined, the answers come in the order of the entries."""
        (alice,) = self.relay().login("alice")
        chain = Chain(ROOM)
        good = [chain.found(alice.me), chain.policy(alice.me, CLOSED)]
        alice.send(good[0], Append(ROOM, b"x"), good[1], Append(ROOM, b"x"))
        self.assertEqual(
            ["Roster", "Present", "SessionKey", "Declined", "Roster", "Declined"], kinds(alice.hears())
        )
        self.assertEqual([each.entry for each in good], entries(alice.heard))


class BoundTests(RelayCase):
    """How much of it there may be."""

    def test_rooms_of_one(self) -> None:
        """At the bound founding and joining another room is declined; one left makes room."""
        relay = self.relay(RelayLimits(rooms=2))
        alice, bob = relay.login("alice", "bob")
        for room in ("#one", "#two"):
            alice.found(room)
        bob.found("#three")
        self.assertEqual([Code.TOO_MANY_ROOMS], declined(alice.does(Chain("#four").found(alice.me))))
        self.assertEqual([Code.TOO_MANY_ROOMS], declined(alice.does(alice.now("#three").join(alice.me))))
        alice.leave("#one")
        alice.join("#three")
        self.assertEqual(200, RelayLimits().rooms)

    def test_others_fill_half(self) -> None:
        """Others bring somebody into half of the rooms that one may be in; the rest stays for their own."""
        relay = self.relay(RelayLimits(rooms=4))
        alice, bob = relay.login("alice", "bob")
        stranger, *more = relay.login("stranger", "s1", "s2", "s3")
        for number, client in enumerate([stranger, *more]):
            room = direct_room("bob", client.me.name)
            heard = client.does(*self.two(client, room, bob.me))
            self.assertEqual([Code.TOO_MANY_ROOMS] * (number >= 2), declined(heard), number)
        for room in ("#one", "#two"):
            bob.found(room)
        self.assertEqual([Code.TOO_MANY_ROOMS], declined(bob.does(Chain("#three").found(bob.me))))
        alice.hears()

    def two(self, client: Client, room: str, other: Person) -> tuple[Append, Append]:
        """What founds a direct room."""
        chain = Chain(room)
        return chain.found(client.me, CLOSED), chain.add(client.me, other)

    def test_all_rooms(self) -> None:
        """With as many rooms as there may be no other is founded, until one is forgotten."""
        relay = self.relay(RelayLimits(all_rooms=2))
        alice, bob = relay.login("alice", "bob")
        alice.found("#one")
        bob.found("#two")
        self.assertEqual([Code.FULL], declined(alice.does(Chain("#three").found(alice.me))))
        bob.leave("#two")
        alice.found("#three")
        self.assertEqual(10_000, RelayLimits().all_rooms)

    def test_log_bytes(self) -> None:
        """With as many bytes of entries as there may be only leaving and removing go on, and make room."""
        relay = self.relay(RelayLimits(log_bytes=1_500))
        alice, bob = relay.login("alice", "bob")
        alice.found(ROOM, bob.me)
        bob.found("#cake")
        memberships = relay.factory.rooms.memberships
        self.assertEqual(
            sum(len(entry) for room in memberships.rooms.values() for entry in room.log.packed),
            memberships.log_bytes,
        )
        change = alice.now(ROOM).policy(alice.me, CLOSED)
        while memberships.log_bytes + len(change.entry) <= 1_500:
            self.assertEqual([], declined(alice.does(change)))
            change = alice.now(ROOM).policy(alice.me, CLOSED)
        self.assertEqual([Code.FULL], declined(alice.does(change)))
        self.assertEqual([Code.FULL], declined(alice.does(Chain("#new").found(alice.me))))
        self.assertEqual([], declined(alice.remove(ROOM, bob.me)))
        self.assertEqual([], declined(bob.leave("#cake")))
        self.assertEqual([], declined(alice.leave(ROOM)))
        self.assertEqual(0, memberships.log_bytes)
        alice.found(ROOM)
        self.assertEqual(256 * 1024 * 1024, RelayLimits().log_bytes)

    def test_entries_of_a_room(self) -> None:
        """The last entries that a log may have are for leaving and removing, so that everybody can go."""
        self.patch(memberships, "MAX_ENTRIES", ROOM_MEMBERS + 4)
        alice, bob = self.relay().room(ROOM, "alice", "bob")
        for _ in range(2):
            self.assertEqual([], declined(alice.does(alice.now(ROOM).policy(alice.me, OPEN))))
        self.assertEqual([Code.ROOM_FULL], declined(alice.does(alice.now(ROOM).policy(alice.me, OPEN))))
        self.assertEqual([Code.ROOM_FULL], declined(alice.add(ROOM, alice.relay.login("carol")[0].me)))
        self.assertEqual([], declined(alice.remove(ROOM, bob.me)))
        self.assertEqual([], declined(alice.leave(ROOM)))
        self.assertEqual(65_536, MAX_ENTRIES)
        # Nobody can come into the part for leaving, and each of the members leaves once.
        self.assertEqual(ROOM_MEMBERS, memberships.LAST_ENTRIES)

    def test_room_full(self) -> None:
        """A room takes ROOM_MEMBERS members; the next one is declined, and comes in once one has left."""
        relay = self.relay(RelayLimits(max_clients=2_000, handshakes=2_000))
        clients = relay.login(*(f"m{number}" for number in range(ROOM_MEMBERS + 1)))
        chain = Chain(ROOM)
        clients[0].send(chain.found(clients[0].me))
        for client in clients[1:-1]:
            client.send(chain.join(client.me))
        relay.turn()
        self.assertEqual(ROOM_MEMBERS, len(present(clients[-2].hears())))
        late = chain.signed(clients[-1].me, Op.JOIN, clients[-1].me, Role.MEMBER, clients[-1].me.certificate.packed)
        self.assertEqual([Code.ROOM_FULL], declined(clients[-1].does(Append(ROOM, late))))
        clients[1].does(chain.leave(clients[1].me))
        self.assertEqual([], declined(clients[-1].does(chain.join(clients[-1].me))))
        self.assertEqual(len(chain.known), of(Roster, clients[-1].heard)[-1].total)
