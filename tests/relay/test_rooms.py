"""Rooms: entering and leaving, who hears of it, and a new session key for each change of members."""

from __future__ import annotations

from securechat.relay.limits import RelayLimits
from securechat.wire.codes import Code
from securechat.wire.messages import (
    ROOM_MEMBERS,
    Declined,
    Enter,
    Goodbye,
    Leave,
    Presence,
    Roster,
    SessionKey,
)
from securechat.wire.names import direct_room
from tests.relay.harness import RelayCase, acked, declined, members, of, only


class MembershipTests(RelayCase):
    """Coming and going."""

    def test_enter(self) -> None:
        """Who enters hears who is there and gets the key; the others hear who came and get the same key."""
        alice, bob = self.relay().login("alice", "bob")
        self.assertEqual(["alice"], members(alice.does(Enter("#tea"))))
        heard = bob.does(Enter("#tea"))
        self.assertEqual([Roster("#tea", ["alice", "bob"], 0)], heard[:1])
        self.assertEqual([Presence("#tea", "bob", True), only(SessionKey, heard)], alice.hears())

    def test_leave(self) -> None:
        """Who leaves and who stays hear of it; only who stays gets the new key."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        self.assertEqual([Presence("#tea", "bob", False)], bob.does(Leave("#tea")))
        heard = alice.hears()
        self.assertEqual(Presence("#tea", "bob", False), heard[0])
        self.assertEqual("#tea", only(SessionKey, heard).room)

    def test_vanish(self) -> None:
        """A member whose link is lost, or who says goodbye, leaves all rooms at once."""
        relay = self.relay()
        alice, bob, carol = relay.room("#tea", "alice", "bob", "carol")
        for client in (alice, bob, carol):
            client.does(Enter("#cake"))
        bob.transport.lose()
        carol.send(Goodbye(Code.QUIT, ""))
        gone = {(each.room, each.name) for each in of(Presence, alice.hears()) if not each.here}
        self.assertEqual({("#tea", "bob"), ("#cake", "bob"), ("#tea", "carol"), ("#cake", "carol")}, gone)
        self.assertEqual(["alice"], members(alice.does(Enter("#tea"))))

    def test_enter_again(self) -> None:
        """Who enters again hears how things stand and the present key; the others hear nothing."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        key = bob.key("#tea")
        heard = alice.does(Enter("#tea"))
        self.assertEqual([key], of(SessionKey, heard))
        self.assertEqual(["alice", "bob"], members(heard))
        self.assertEqual([], bob.hears())

    def test_leave_twice(self) -> None:
        """Leaving a room that one is not in, or that nobody is in, is declined and changes nothing."""
        alice, bob = self.relay().room("#tea", "alice", "bob")
        bob.does(Leave("#tea"))
        alice.hears()
        self.assertEqual([Declined("#tea", [], Code.NOT_A_MEMBER)], bob.does(Leave("#tea")))
        self.assertEqual([Code.NOT_A_MEMBER], declined(bob.does(Leave("#nowhere"))))
        self.assertEqual([], alice.hears())

    def test_bad_rooms(self) -> None:
        """What names no room is declined."""
        (alice,) = self.relay().login("alice")
        for room in ("##", "#Tea", "tea", "@alice", "@bob+alice", "@alice+alice", "@alice+bob+carol", "#\x1b["):
            self.assertEqual([Code.BAD_ROOM], declined(alice.does(Enter(room))), room)

    def test_strangers_fill_half(self) -> None:
        """Direct rooms that others open take at most half of somebody's rooms; the rest stays for their own."""
        here = self.relay(RelayLimits(rooms=4))
        (bob,) = here.login("bob")
        for number in range(4):
            (stranger,) = here.login(f"stranger{number}")
            fetched = members(stranger.does(Enter(direct_room("bob", f"stranger{number}"))))
            self.assertEqual(number < 2, "bob" in fetched, number)
        for room in ("#one", "#two"):
            bob.enter(room)
        self.assertEqual([Code.TOO_MANY_ROOMS], declined(bob.does(Enter("#three"))))

    def test_too_many_rooms(self) -> None:
        """At the limit another room is declined; one's own may be entered again, and one left makes room."""
        (alice,) = self.relay(RelayLimits(rooms=2)).login("alice")
        alice.enter("#one")
        alice.enter("#two")
        self.assertEqual([Code.TOO_MANY_ROOMS], declined(alice.does(Enter("#three"))))
        self.assertEqual([], declined(alice.does(Enter("#one"))))
        alice.does(Leave("#one"))
        alice.enter("#three")

    def test_room_full(self) -> None:
        """A room takes ROOM_MEMBERS members; the next one is declined, and comes in once one has left."""
        relay = self.relay(RelayLimits(max_clients=2_000, handshakes=2_000))
        clients = relay.login(*(f"m{number}" for number in range(ROOM_MEMBERS + 1)))
        for client in clients[:-1]:
            client.send(Enter("#all"))
        relay.turn()
        self.assertEqual(ROOM_MEMBERS, len(only(Roster, clients[-2].hears()).members))
        self.assertEqual([Code.ROOM_FULL], declined(clients[-1].does(Enter("#all"))))
        clients[0].does(Leave("#all"))
        self.assertEqual([], declined(clients[-1].does(Enter("#all"))))


class DirectRoomTests(RelayCase):
    """Rooms of two people."""

    def test_other_one_online(self) -> None:
        """Either of the two brings the other in, who hears of it and gets the same key."""
        alice, bob = self.relay().login("alice", "bob")
        key = bob.enter("@alice+bob")
        heard = alice.hears()
        self.assertEqual([key], of(SessionKey, heard))
        self.assertEqual(["alice", "bob"], members(heard))

    def test_other_one_offline(self) -> None:
        """Without the other one the room has one member, and who asks again later brings the other in."""
        relay = self.relay()
        (alice,) = relay.login("alice")
        self.assertEqual(["alice"], members(alice.does(Enter("@alice+bob"))))
        (bob,) = relay.login("bob")
        self.assertEqual([], bob.hears())
        heard = alice.does(Enter("@alice+bob"))
        self.assertIn(Presence("@alice+bob", "bob", True), heard)
        self.assertEqual(["alice", "bob"], members(heard))
        self.assertEqual(bob.key("@alice+bob"), only(SessionKey, heard))

    def test_third_party(self) -> None:
        """Nobody else gets in, whether or not the two are there, and nobody hears of the attempt."""
        alice, bob, carol = self.relay().login("alice", "bob", "carol")
        self.assertEqual([Code.NOT_PERMITTED], declined(carol.does(Enter("@alice+bob"))))
        alice.enter("@alice+bob")
        bob.hears()
        self.assertEqual([Code.NOT_PERMITTED], declined(carol.does(Enter("@alice+bob"))))
        self.assertEqual([], alice.hears() + bob.hears())

    def test_other_one_in_too_many_rooms(self) -> None:
        """Where the other one is in as many rooms as may be, who asks is alone in the room."""
        alice, bob = self.relay(RelayLimits(rooms=1)).login("alice", "bob")
        bob.enter("#tea")
        self.assertEqual(["alice"], members(alice.does(Enter("@alice+bob"))))
        self.assertEqual([], bob.hears())

    def test_other_one_left(self) -> None:
        """Who has left a direct room gets no key of it until somebody enters it again."""
        alice, bob = self.relay().login("alice", "bob")
        alice.enter("@alice+bob")
        bob.does(Leave("@alice+bob"))
        self.assertEqual([], of(SessionKey, bob.hears()))
        alice.does(Enter("@alice+bob"))
        self.assertEqual([alice.key("@alice+bob")], of(SessionKey, bob.hears()))


class SessionKeyTests(RelayCase):
    """Epochs and their keys."""

    def test_new_for_each_change(self) -> None:
        """Each change of members makes a new epoch and a new key of 32 bytes, the same for all members."""
        relay = self.relay()
        keys = []
        clients = relay.login("alice", "bob", "carol")
        for number, client in enumerate(clients):
            client.enter("#tea")
            keys.append({each.key("#tea") for each in clients[: number + 1]})
        clients[0].does(Leave("#tea"))
        keys.append({each.key("#tea") for each in clients[1:]})
        clients[1].transport.lose()
        relay.turn()
        keys.append({clients[2].key("#tea")})
        self.assertEqual([1] * 5, [len(each) for each in keys])
        flat = [each.pop() for each in keys]
        self.assertEqual(5, len({each.key for each in flat}))
        self.assertEqual(5, len({each.epoch for each in flat}))
        self.assertEqual({32}, {len(each.key) for each in flat} | {len(each.epoch) for each in flat})

    def test_never_to_former_members(self) -> None:
        """Who has left, and who never was a member, sees none of the later keys."""
        relay = self.relay()
        alice, bob, carol = relay.room("#tea", "alice", "bob", "carol")
        (outsider,) = relay.login("mallory")
        bob.does(Leave("#tea"))
        for _ in range(3):
            carol.does(Leave("#tea"))
            carol.does(Enter("#tea"))
        alice.does(Enter("#tea"))
        self.assertEqual([], of(SessionKey, bob.hears()) + of(SessionKey, outsider.hears()))

    def test_one_epoch_a_turn(self) -> None:
        """All changes of a turn make one epoch, whose key only those get who are members at its end."""
        relay = self.relay()
        (alice,) = relay.room("#tea", "alice")
        bob, carol = relay.login("bob", "carol")
        bob.send(Enter("#tea"), Leave("#tea"))
        carol.send(Enter("#tea"))
        self.assertEqual(1, len(of(SessionKey, alice.hears())))
        self.assertEqual([], of(SessionKey, bob.hears()))
        self.assertEqual([alice.key("#tea")], of(SessionKey, carol.hears()))

    def test_in_and_gone_in_one_turn(self) -> None:
        """A room that is entered and left by its only member in one turn is forgotten."""
        (alice,) = self.relay().login("alice")
        self.assertEqual([], of(SessionKey, alice.does(Enter("#tea"), Leave("#tea"))))
        alice.enter("#tea")

    def test_rooms_have_their_own(self) -> None:
        """A change in one room leaves the other rooms' epochs as they are."""
        relay = self.relay()
        alice, bob = relay.room("#tea", "alice", "bob")
        alice.enter("#cake")
        self.assertEqual([], bob.hears())
        bob.post("#tea", b"still good")
        self.assertEqual(1, len(acked(bob.hears())))
