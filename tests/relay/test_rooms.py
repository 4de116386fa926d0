"""Rooms: who hears what of them, and a new session key for each change of members."""

from __future__ import annotations

from securechat.relay.limits import RelayLimits
from securechat.signed.entries import Op, Policy, Role
from securechat.wire.codes import Code
from securechat.wire.messages import (
    ENTRY_BYTES,
    FRAME_BYTES,
    LAST_SEQ,
    Append,
    Declined,
    Enter,
    Goodbye,
    Presence,
    Present,
    Roster,
    SessionKey,
    Welcome,
)
from tests.relay.harness import Client, RelayCase, acked, declined, entries, kinds, of, only, present, texts
from tests.relay.people import CLOSED, OPEN, Chain, person
from tests.wire.harness import bodies

ROOM = "#tea"


class EnteringTests(RelayCase):
    """`Enter`."""

    def test_member(self) -> None:
        """A member who enters hears the log, who is here, and the key, in this order; the others hear who came."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        key = bob.key(ROOM)
        bob.does(Goodbye(Code.QUIT, ""))
        alice.hears()
        (again,) = relay.login("bob")
        log = relay.log_of(ROOM)
        self.assertEqual(
            [Roster(ROOM, 0, log.packed, 2, 0), Present(ROOM, ["alice", "bob"]), key],
            again.does(Enter(ROOM, 0, LAST_SEQ)),
        )
        self.assertEqual([Presence(ROOM, "bob", True)], alice.hears())

    def test_have(self) -> None:
        """Who knows the beginning of the log hears the rest; who knows all or more than there is, where it ends."""
        alice, _ = self.relay().room(ROOM, "alice", "bob")
        packed = alice.relay.log_of(ROOM).packed
        for have, first, told in ((1, 1, packed[1:]), (2, 2, []), (3, 2, []), (2**32 - 1, 2, [])):
            self.assertEqual(
                [Roster(ROOM, first, told, 2, 0)], of(Roster, alice.does(Enter(ROOM, have, LAST_SEQ))), have
            )

    def test_again(self) -> None:
        """Who enters again is answered in full with the present key, and nobody hears of it."""
        alice, bob = self.relay().room(ROOM, "alice", "bob")
        key = bob.key(ROOM)
        heard = alice.does(Enter(ROOM, 0, LAST_SEQ))
        self.assertEqual(["Roster", "Present", "SessionKey"], kinds(heard))
        self.assertEqual(([key], ["alice", "bob"]), (of(SessionKey, heard), present(heard)))
        self.assertEqual([], bob.hears())

    def test_last_seq(self) -> None:
        """The answer says the number of the room's last message so far; none of the messages follow."""
        relay = self.relay()
        alice, _ = relay.room(ROOM, "alice", "bob")
        alice.post(ROOM, b"one", b"two")
        heard = alice.does(Enter(ROOM, 0, LAST_SEQ))
        self.assertEqual((2, []), (only(Roster, heard).last_seq, texts(heard)))

    def test_reader_of_an_open_room(self) -> None:
        """Who is no member of an open room hears its log as it is now, and nothing else of it."""
        relay = self.relay()
        alice, _ = relay.room(ROOM, "alice", "bob")
        (carol,) = relay.login("carol")
        self.assertEqual([Roster(ROOM, 0, relay.log_of(ROOM).packed, 2, 0)], carol.does(Enter(ROOM, 0, LAST_SEQ)))
        alice.post(ROOM, b"not for carol")
        alice.found("#cake")
        alice.remove(ROOM, person("bob"))
        self.assertEqual([], carol.hears() + of(Presence, alice.heard))

    def test_closed(self) -> None:
        """A room that is closed, was closed, or is of two others tells nothing to who is no member."""
        relay = self.relay()
        alice, _, carol = relay.login("alice", "bob", "carol")
        for room in (ROOM, "@alice+bob"):
            alice.found(room, policy=CLOSED)
        alice.found("#cake")
        alice.does(alice.now("#cake").policy(alice.me, CLOSED))
        for room in (ROOM, "@alice+bob", "#cake"):
            self.assertEqual([Declined(room, [], Code.NOT_PERMITTED)], carol.does(Enter(room, 0, LAST_SEQ)))

    def test_no_such_room(self) -> None:
        """A room that nobody has founded is declined as such."""
        (alice,) = self.relay().login("alice")
        for room in ("#nowhere", "@alice+bob"):
            self.assertEqual([Declined(room, [], Code.NO_SUCH_ROOM)], alice.does(Enter(room, 0, LAST_SEQ)))

    def test_bad_rooms(self) -> None:
        """What names no room is declined."""
        (alice,) = self.relay().login("alice")
        for room in ("##", "#Tea", "tea", "@alice", "@bob+alice", "@alice+alice", "@alice+bob+carol", "#\x1b["):
            self.assertEqual(
                [Code.BAD_ROOM] * 2, declined(alice.does(Enter(room, 0, LAST_SEQ), Append(room, b"x"))), room
            )

    def test_vanish(self) -> None:
        """A member whose link is lost, or who says goodbye, is gone from all rooms at once, and stays a member."""
        relay = self.relay()
        alice, bob, carol = relay.room(ROOM, "alice", "bob", "carol")
        alice.found("#cake", bob.me, carol.me)
        bob.transport.lose()
        carol.send(Goodbye(Code.QUIT, ""))
        heard = alice.hears()
        gone = {(each.room, each.name) for each in of(Presence, heard) if not each.here}
        self.assertEqual({(ROOM, "bob"), ("#cake", "bob"), (ROOM, "carol"), ("#cake", "carol")}, gone)
        self.assertEqual([], of(SessionKey, heard))
        self.assertEqual(["alice"], present(alice.does(Enter(ROOM, 0, LAST_SEQ))))
        self.assertEqual(3, len(relay.log_of(ROOM).members))

    def test_replaced(self) -> None:
        """Who logs in again is gone from the rooms with the older link, until the new one enters."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        newer = relay.connect()
        newer.login(bob.me)
        newer.send(Enter(ROOM, 0, LAST_SEQ))
        newer.hears()
        self.assertEqual([Presence(ROOM, "bob", False), Presence(ROOM, "bob", True)], alice.hears())
        alice.post(ROOM, b"hi")
        self.assertEqual(([b"hi"], []), (texts(newer.hears()), texts(bob.hears())))


class LongLogTests(RelayCase):
    """Logs longer than a frame, and than what may wait for a client."""

    def long_log(self, limits: RelayLimits, count: int) -> Client:
        """Alice, in a room whose log has so many entries, each made as long as an entry may be on the wire."""
        (alice,) = self.relay(limits).login("alice")
        alice.found(ROOM)
        log = alice.relay.log_of(ROOM)
        log._packed.extend(bytes([number % 256]) * ENTRY_BYTES for number in range(count))
        log._digests.extend([bytes(32)] * count)
        return alice

    def test_in_frames(self) -> None:
        """A long log comes in order in frames that fit, each with the number of its first entry and the total."""
        alice = self.long_log(RelayLimits(), 50)
        packed = alice.relay.log_of(ROOM).packed
        heard = of(Roster, alice.does(Enter(ROOM, 3, LAST_SEQ)))
        self.assertEqual(packed[3:], entries(heard))
        self.assertEqual({(51, 0)}, {(each.total, each.last_seq) for each in heard})
        at = 3
        for each in heard:
            self.assertEqual(at, each.first)
            at += len(each.entries)
        self.assertLessEqual(max(map(len, bodies(alice.transport.value()))), FRAME_BYTES)
        self.assertLess(len(heard), 6)

    def test_as_it_is_read(self) -> None:
        """A log longer than what may wait for a client comes as that reads, and what followed comes behind it."""
        alice = self.long_log(RelayLimits(outbox_bytes=20_000), 600)
        packed = alice.relay.log_of(ROOM).packed
        alice.stops_reading()
        alice.send(Enter(ROOM, 0, LAST_SEQ))
        self.assertEqual([], alice.hears())
        alice.post(ROOM, b"x")
        self.assertEqual([], alice.hears())
        alice.reads_again()
        heard = alice.hears()
        self.assertEqual(packed, entries(heard))
        self.assertEqual(["Present", "SessionKey", "Ack"], kinds(heard[len(of(Roster, heard)) :]))
        self.assertFalse(alice.protocol.closing)


class TellingTests(RelayCase):
    """What an entry does to whom."""

    def test_founding(self) -> None:
        """Who founds a room is its member and here, and hears the entry, who is here, and the key."""
        (alice,) = self.relay().login("alice")
        founding = Chain(ROOM).found(alice.me)
        heard = alice.does(founding)
        self.assertEqual([Roster(ROOM, 0, [founding.entry], 1, 0), Present(ROOM, ["alice"])], heard[:2])
        key = only(SessionKey, heard[2:])
        self.assertEqual(alice.relay.log_of(ROOM).epoch, key.epoch)

    def test_join(self) -> None:
        """Who joins hears their entry, who is here and the key; the others the entry, who came and the same key."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        (carol,) = relay.login("carol")
        carol.does(Enter(ROOM, 0, LAST_SEQ))
        join = carol.now(ROOM).join(carol.me)
        heard = carol.does(join)
        told = Roster(ROOM, 2, [join.entry], 3, 0)
        self.assertEqual([told, Present(ROOM, ["alice", "bob", "carol"]), carol.key(ROOM)], heard)
        for other in (alice, bob):
            self.assertEqual([told, Presence(ROOM, "carol", True), carol.key(ROOM)], other.hears())
        self.assertEqual(relay.log_of(ROOM).epoch, carol.key(ROOM).epoch)

    def test_added_while_here(self) -> None:
        """Who is added while logged in hears everything unasked, as if they had entered."""
        relay = self.relay()
        alice, bob = relay.login("alice", "bob")
        alice.found(ROOM, policy=CLOSED)
        alice.post(ROOM, b"before")
        added = alice.add(ROOM, bob.me)
        log = relay.log_of(ROOM).packed
        self.assertEqual(
            [Roster(ROOM, 0, log, 2, 1), Present(ROOM, ["alice", "bob"]), alice.key(ROOM)], bob.hears()
        )
        self.assertEqual([Roster(ROOM, 1, log[1:], 2, 1), Presence(ROOM, "bob", True), alice.key(ROOM)], added)
        alice.post(ROOM, b"now")
        self.assertEqual([b"now"], texts(bob.hears()))

    def test_added_while_away(self) -> None:
        """Who is added while away is a member; a new key is drawn, and nobody hears that they are here."""
        relay = self.relay()
        alice, bob = relay.login("alice", "bob")
        bob.transport.lose()
        alice.found(ROOM)
        self.assertEqual(["Roster", "SessionKey"], kinds(alice.add(ROOM, bob.me)))
        (again,) = relay.login("bob")
        self.assertEqual(alice.key(ROOM), again.enter(ROOM))

    def test_removed(self) -> None:
        """Who is removed hears that entry and nothing after it; the others get a new key."""
        alice, bob, carol = self.relay().room(ROOM, "alice", "bob", "carol")
        removal = alice.now(ROOM).remove(alice.me, bob.me)
        told = Roster(ROOM, 3, [removal.entry], 4, 0)
        heard = alice.does(removal)
        self.assertEqual([told, alice.key(ROOM)], heard)
        self.assertEqual([told], bob.hears())
        self.assertEqual([told, alice.key(ROOM)], carol.hears())
        alice.post(ROOM, b"secret")
        carol.leave(ROOM)
        self.assertEqual([], bob.hears())

    def test_leaving(self) -> None:
        """Who leaves hears their entry and nothing after it; who stays gets a new key."""
        alice, bob = self.relay().room(ROOM, "alice", "bob")
        self.assertEqual(["Roster"], kinds(bob.leave(ROOM)))
        self.assertEqual(["Roster", "SessionKey"], kinds(alice.hears()))
        alice.post(ROOM, b"alone")
        self.assertEqual([], bob.hears())
        self.assertEqual([Code.NOT_A_MEMBER], declined(self.posts(bob)))

    def posts(self, client: Client) -> list[object]:
        """What a client hears to a post."""
        client.post(ROOM, b"x")
        return list(client.hears())

    def test_no_new_key(self) -> None:
        """An entry that changes no members is told to all who are here, and the epoch and its key stay."""
        alice, bob = self.relay().room(ROOM, "alice", "bob")
        change = alice.now(ROOM).policy(alice.me, Policy(is_open=True, history_days=7))
        told = Roster(ROOM, 2, [change.entry], 3, 0)
        self.assertEqual([told], alice.does(change))
        self.assertEqual([told], bob.hears())
        bob.post(ROOM, b"still good")
        self.assertEqual(1, len(acked(bob.hears())))

    def test_author_who_has_not_entered(self) -> None:
        """A member who changes a room without having entered it hears the entry, and no more than that."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        alice.transport.lose()
        (again,) = relay.login("alice")
        self.assertEqual(["Roster"], kinds(again.add(ROOM, relay.login("carol")[0].me)))
        bob.post(ROOM, b"x")
        self.assertEqual(["Roster"], kinds(again.leave(ROOM)))

    def test_one_key_for_a_turn(self) -> None:
        """All entries of a turn are told in one frame and share one key, that of the last epoch."""
        relay = self.relay()
        (alice,) = relay.room(ROOM, "alice")
        chain = alice.now(ROOM)
        others = relay.login("bob", "carol")
        appends = [chain.add(alice.me, other.me) for other in others]
        heard = alice.does(*appends)
        self.assertEqual(["Roster", "Presence", "Presence", "SessionKey"], kinds(heard))
        self.assertEqual([each.entry for each in appends], entries(heard))
        for other in others:
            self.assertEqual(["Roster", "Present", "SessionKey"], kinds(other.hears()))
            self.assertEqual((alice.key(ROOM), ["alice", "bob", "carol"]), (other.key(ROOM), present(other.heard)))
        self.assertEqual(chain.known.epoch, alice.key(ROOM).epoch)

    def test_in_and_out_in_one_turn(self) -> None:
        """Who is added and removed in one turn hears both and gets no key."""
        relay = self.relay()
        (alice,) = relay.room(ROOM, "alice")
        (bob,) = relay.login("bob")
        chain = alice.now(ROOM)
        heard = alice.does(chain.add(alice.me, bob.me), chain.remove(alice.me, bob.me))
        self.assertEqual((1, 2), (len(of(SessionKey, heard)), len(entries(heard))))
        self.assertEqual([], of(SessionKey, bob.hears()))
        self.assertEqual(chain.known.packed, entries(bob.heard))
        self.assertEqual(chain.known.epoch, alice.key(ROOM).epoch)

    def test_out_and_in_in_one_turn(self) -> None:
        """Who is removed and added again in one turn hears all and gets the new key."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        chain = alice.now(ROOM)
        alice.does(chain.remove(alice.me, bob.me), chain.add(alice.me, bob.me))
        self.assertEqual([alice.key(ROOM)], of(SessionKey, bob.hears()))
        self.assertEqual(["alice", "bob"], present(alice.does(Enter(ROOM, 0, LAST_SEQ))))

    def test_enter_behind_an_entry(self) -> None:
        """Who enters in the turn of an entry gets the key of the new epoch, with all entries told once."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.transport.lose()
        (again,) = relay.login("bob")
        alice.send(alice.now(ROOM).add(alice.me, relay.login("carol")[0].me))
        heard = again.does(Enter(ROOM, 2, LAST_SEQ))
        self.assertEqual(["Roster", "Present", "SessionKey"], kinds(heard))
        self.assertEqual((2, 1), (only(Roster, heard).first, len(entries(heard))))
        self.assertEqual(again.key(ROOM), alice.key(ROOM))

    def test_added_and_gone_in_one_turn(self) -> None:
        """Who is added and loses the link in one turn is a member who is not here."""
        relay = self.relay()
        (alice,) = relay.room(ROOM, "alice")
        (bob,) = relay.login("bob")
        alice.send(alice.now(ROOM).add(alice.me, bob.me))
        bob.transport.lose()
        self.assertEqual(["Roster", "SessionKey"], kinds(alice.hears()))
        self.assertEqual(["alice"], present(alice.does(Enter(ROOM, 0, LAST_SEQ))))

    def test_comes_back_in_the_turn_of_being_added(self) -> None:
        """Who logs in again while an entry that adds them waits hears everything unasked on the new link."""
        relay = self.relay()
        (alice,) = relay.room(ROOM, "alice")
        (bob,) = relay.login("bob")
        newer = relay.connect()
        alice.send(alice.now(ROOM).add(alice.me, bob.me))
        newer.login(bob.me)
        self.assertEqual(["Welcome", "Roster", "Present", "SessionKey"], kinds(newer.hears()))
        self.assertEqual([Code.REPLACED], [each.code for each in of(Goodbye, bob.hears())])


class SessionKeyTests(RelayCase):
    """Epochs and their keys."""

    def test_new_for_each_change(self) -> None:
        """Each change of members makes a new key of 32 bytes for the epoch that the log names, the same for all."""
        relay = self.relay()
        alice, bob, carol = relay.login("alice", "bob", "carol")
        keys = [alice.found(ROOM)]
        for client in (bob, carol):
            alice.add(ROOM, client.me)
            keys.append(alice.key(ROOM))
        alice.leave(ROOM)
        keys.append(bob.key(ROOM))
        self.assertEqual({bob.key(ROOM)}, {carol.key(ROOM)})
        self.assertEqual((4, 4), (len({each.key for each in keys}), len({each.epoch for each in keys})))
        self.assertEqual({32}, {len(each.key) for each in keys})
        self.assertEqual(relay.log_of(ROOM).epoch, keys[-1].epoch)

    def test_never_to_former_members(self) -> None:
        """Who has left, was removed, or never was a member sees none of the later keys, also on a new link."""
        relay = self.relay()
        alice, bob, carol = relay.room(ROOM, "alice", "bob", "carol")
        (outsider,) = relay.login("mallory")
        bob.leave(ROOM)
        alice.remove(ROOM, carol.me)
        (again,) = relay.login("carol")
        for number in range(3):
            alice.add(ROOM, relay.login(f"m{number}")[0].me)
        for client in (bob, again, outsider):
            client.does(Enter(ROOM, 0, LAST_SEQ))
            self.assertEqual([], [each for each in of(SessionKey, client.heard) if each.key == alice.key(ROOM).key])
        self.assertEqual([], of(SessionKey, again.heard + outsider.heard))

    def test_kept_while_all_are_away(self) -> None:
        """The key of an epoch is the same for who comes back after all were away."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        key = alice.key(ROOM)
        for client in (alice, bob):
            client.transport.lose()
        relay.turn()
        for client in relay.login("alice", "bob"):
            self.assertEqual(key, client.enter(ROOM))

    def test_rooms_have_their_own(self) -> None:
        """A change in one room leaves the other rooms' epochs as they are."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        alice.found("#cake")
        self.assertEqual([], bob.hears())
        bob.post(ROOM, b"still good")
        self.assertEqual(1, len(acked(bob.hears())))


class DirectRoomTests(RelayCase):
    """Rooms of two people."""

    def test_founding(self) -> None:
        """Who founds a direct room and adds the other one, both without waiting, brings them in, here or away."""
        for is_here in (True, False):
            relay = self.relay()
            alice, bob = relay.login("alice", "bob")
            if not is_here:
                bob.transport.lose()
            key = alice.found("@alice+bob", bob.me, policy=CLOSED)
            (newer,) = (bob,) if is_here else relay.login("bob")
            if not is_here:
                self.assertEqual(["@alice+bob"], only(Welcome, newer.heard).rooms)
                newer.enter("@alice+bob")
            newer.hears()
            self.assertEqual(key, newer.key("@alice+bob"))

    def test_others_stay_out(self) -> None:
        """Nobody else founds, enters or joins a direct room, and nobody is brought in but the other one."""
        alice, bob, carol = self.relay().login("alice", "bob", "carol")
        room = "@alice+bob"
        self.assertEqual([Code.BAD_ENTRY], declined(carol.does(Chain(room).founding(carol.me, CLOSED))))
        alice.found(room, bob.me, policy=CLOSED)
        self.assertEqual([Code.NOT_PERMITTED], declined(carol.does(Enter(room, 0, LAST_SEQ))))
        now, certificate = alice.now(room), carol.me.certificate.packed
        for entry in (
            now.signed(carol.me, Op.JOIN, carol.me, Role.MEMBER, certificate),
            now.signed(alice.me, Op.ADD, carol.me, Role.MEMBER, certificate),
            now.signed(alice.me, Op.REMOVE, bob.me),
            now.signed(alice.me, Op.POLICY, alice.me, detail=OPEN.packed),
        ):
            for client in (alice, carol):
                self.assertEqual([Code.BAD_ENTRY], declined(client.does(Append(room, entry))))

    def test_left_and_added_again(self) -> None:
        """Who has left a direct room gets no key of it until the other one adds them again."""
        alice, bob = self.relay().login("alice", "bob")
        room = "@alice+bob"
        alice.found(room, bob.me, policy=CLOSED)
        bob.hears()
        self.assertEqual(["Roster"], kinds(bob.leave(room)))
        alice.add(room, bob.me)
        self.assertEqual([alice.key(room)], of(SessionKey, bob.hears()))


class ForgettingTests(RelayCase):
    """Rooms whose last member has left."""

    def test_forgotten(self) -> None:
        """A room that its last member has left is no more: log, numbers and memory of posts begin anew."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        first = alice.found(ROOM)
        alice.post(ROOM, b"x")
        alice.hears()
        alice.leave(ROOM)
        self.assertEqual([Code.NO_SUCH_ROOM], declined(alice.does(Enter(ROOM, 0, LAST_SEQ))))
        memberships = relay.factory.rooms.memberships
        self.assertEqual((0, {}, []), (memberships.log_bytes, memberships.rooms, memberships.rooms_of(b"")))
        second = alice.found(ROOM)
        self.assertNotEqual(first.epoch, second.epoch)
        (post,) = alice.post(ROOM, b"x", ids=[(1).to_bytes(16, "big")])
        self.assertEqual([(post, 1)], acked(alice.hears()))

    def test_in_and_out_in_one_turn(self) -> None:
        """A room that is founded and left in one turn is forgotten, and may be founded again in the same turn."""
        (alice,) = self.relay().login("alice")
        chain = Chain(ROOM)
        heard = alice.does(chain.found(alice.me), chain.leave(alice.me), Chain(ROOM).found(alice.me))
        self.assertEqual((3, 1), (len(entries(heard)), len(of(SessionKey, heard))))
        self.assertEqual(alice.relay.log_of(ROOM).epoch, alice.key(ROOM).epoch)

    def test_kept_while_members_are_away(self) -> None:
        """A room whose members are all away is kept."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        alice.found(ROOM)
        alice.transport.lose()
        relay.turn()
        (again,) = relay.login("alice")
        self.assertEqual([ROOM], only(Welcome, again.heard).rooms)
        again.enter(ROOM)
