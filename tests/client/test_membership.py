"""Changes of a room's members while others make theirs, while the link is down, and under a relay that errs."""

from __future__ import annotations

from securechat.client.events import Entered, Error, Fault, Joined, KeyChanged, Left, NotEntered
from securechat.e2e.keystore import MAX_ROOMS, read_secrets
from securechat.relay.limits import RelayLimits
from securechat.wire import messages as wire
from tests.client.town import LOBBY, Person, Town, TownCase

DEN = "#den"
DIRECT = "@alice+bob"


class RaceTests(TownCase):
    """Two change a room at the same time: one is too late, and does it again."""

    def assert_members(self, town: Town, room: str, *names: str) -> None:
        """Everybody of these sees these as members."""
        for each in town.people:
            if each.name in names:
                self.assertEqual(list(names), sorted(each.conversation.members(room)), each.name)
            self.assertEqual([], each.told(Error))

    def test_two_invitations(self) -> None:
        """Two people who are invited in one breath are both brought in."""
        town = self.town()
        alice, *_ = town.come("alice", "bob", "carol", "dave")
        alice.conversation.found_closed(DEN)
        town.settle()
        for name in ("bob", "carol", "dave"):
            alice.conversation.invite(DEN, name)
        town.settle()
        self.assert_members(town, DEN, "alice", "bob", "carol", "dave")

    def test_many_come_at_once(self) -> None:
        """Many who come at the same moment, as after a relay's new start, are all in; none floods the relay."""
        town = self.town()
        names = [f"p{number:02}" for number in range(60)]
        for each in town.come(*names):
            each.conversation.enter(LOBBY)
        town.settle()
        for each in town.people:
            self.assertEqual(names, sorted(each.conversation.members(LOBBY)))
        appends = [len(each.said(wire.Append)) for each in town.people]
        self.assertLess(max(appends), RelayLimits().appends_burst)

    def test_two_who_invite(self) -> None:
        """Two members who invite at the same time both have their way, also where they invite the same person."""
        town = self.town()
        alice, bob, _, _ = town.come("alice", "bob", "carol", "dave")
        alice.conversation.enter(LOBBY)
        town.settle()
        bob.conversation.enter(LOBBY)
        town.settle()
        alice.conversation.invite(LOBBY, "carol")
        bob.conversation.invite(LOBBY, "dave")
        bob.conversation.invite(LOBBY, "carol")
        town.settle()
        self.assert_members(town, LOBBY, "alice", "bob", "carol", "dave")

    def test_leaving_while_somebody_comes(self) -> None:
        """Who leaves while somebody joins is gone, though the other entry was first."""
        town = self.town()
        _, bob = town.enter("alice", "bob")
        (carol,) = town.come("carol")
        carol.conversation.enter(LOBBY)
        town.settle(bob)
        bob.conversation.leave(LOBBY)
        town.settle()
        self.assertEqual([Left(LOBBY, "bob")], bob.told(Left))
        self.assert_members(town, LOBBY, "alice", "carol")
        self.assertEqual([], bob.conversation.rooms)

    def test_removing_while_somebody_comes(self) -> None:
        """Who is put out while somebody joins is out, though the other entry was first."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        (carol,) = town.come("carol")
        carol.conversation.enter(LOBBY)
        town.settle(alice)
        alice.conversation.remove(LOBBY, "bob")
        town.settle()
        self.assert_members(town, LOBBY, "alice", "carol")
        self.assertEqual([Left(LOBBY, "bob")], bob.told(Left))

    def test_link_lost_meanwhile(self) -> None:
        """A change whose entry was lost with the link is made on the next one."""
        town = self.town()
        alice, bob, carol = town.enter("alice", "bob", "carol")
        alice.conversation.remove(LOBBY, "carol")
        bob.conversation.leave(LOBBY)
        for each in (alice, bob):
            each.lose()
        town.settle()
        for each in (alice, bob):
            each.connect()
        town.settle()
        self.assertEqual(["alice"], alice.conversation.members(LOBBY))
        for each in (bob, carol):
            self.assertEqual(([Left(LOBBY, each.name)], []), (each.told(Left)[-1:], each.conversation.rooms))

    def test_answered_after_leaving(self) -> None:
        """What is answered in a room that we are out of by then takes no part of the window for ever."""
        town = self.town(RelayLimits(window=1))
        alice, _ = town.enter("alice", "bob")
        alice.conversation.enter("#other")
        alice.conversation.say(LOBBY, "0")
        town.settle()
        alice.conversation.leave(LOBBY)
        alice.conversation.say(LOBBY, "1")
        self.assertEqual(2, len(alice.said(wire.Post)))
        town.settle()
        alice.conversation.say("#other", "2")
        town.settle()
        self.assertEqual((["0", "2"], ["1"]), (alice.acknowledged(), [text for text, _ in alice.given_up()]))

    def test_already_in(self) -> None:
        """Inviting a member is one line, and changes nothing."""
        town = self.town()
        alice, _ = town.enter("alice", "bob")
        alice.conversation.invite(LOBBY, "bob")
        town.settle()
        (error,) = alice.told(Error)
        self.assertIn("in the room already", error.text)
        self.assertEqual([], alice.said(wire.Append))


class AwayTests(TownCase):
    """Changes while a link is down."""

    def test_left_without_a_link(self) -> None:
        """Who leaves while the link is down is told so at once, and is no member once it is back."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        bob.lose()
        bob.conversation.leave(LOBBY)
        self.assertEqual([Left(LOBBY, "bob")], bob.told(Left))
        bob.connect()
        town.settle()
        self.assertEqual(["alice"], alice.conversation.members(LOBBY))
        self.assertEqual(([], []), (bob.conversation.rooms, bob.told(Entered)))
        alice.conversation.invite(LOBBY, "bob")
        town.settle()
        self.assertEqual([LOBBY], bob.conversation.rooms)

    def test_left_before_entered(self) -> None:
        """Who leaves before the relay has answered is no member in the end, however far it had come."""
        for heard in range(5):
            town = self.town()
            alice, _ = town.enter("alice", "carol")
            (bob,) = town.come("bob")
            bob.conversation.enter(LOBBY)
            for _ in range(heard):
                bob.move_up()
                town.turn()
                bob.move_down(1)
            bob.conversation.leave(LOBBY)
            town.settle()
            self.assertEqual(["alice", "carol"], sorted(alice.conversation.members(LOBBY)), heard)
            self.assertEqual([], bob.conversation.rooms)
            bob.conversation.enter(LOBBY)
            town.settle()
            self.assertEqual([LOBBY], bob.conversation.rooms)

    def test_entered_again_without_a_link(self) -> None:
        """Who leaves and enters again while the link is down has left nothing."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        bob.lose()
        bob.conversation.leave(LOBBY)
        bob.conversation.enter(LOBBY)
        bob.connect()
        town.settle()
        self.assertEqual(([LOBBY], []), (bob.conversation.rooms, alice.told(Left)))

    def test_removed_while_away(self) -> None:
        """Who was put out while away is told so when they are back, and joins by no accident; nor do they hear."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        bob.lose()
        town.settle()
        alice.conversation.remove(LOBBY, "bob")
        alice.conversation.say(LOBBY, "without bob")
        town.settle()
        bob.connect()
        town.settle()
        self.assertEqual([Left(LOBBY, "bob")], bob.told(Left))
        self.assertEqual(([], ["alice"]), (bob.conversation.rooms, alice.conversation.members(LOBBY)))
        self.assertEqual([], bob.heard())
        bob.conversation.enter(LOBBY)
        town.settle()
        self.assertEqual([LOBBY], bob.conversation.rooms)

    def test_removed_from_a_closed_room_while_away(self) -> None:
        """Who was put out of a closed room while away is told that, and what they said there as not sent."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.conversation.found_closed(DEN)
        town.settle()
        alice.conversation.invite(DEN, "bob")
        town.settle()
        bob.lose()
        town.settle()
        alice.conversation.remove(DEN, "bob")
        town.settle()
        bob.conversation.say(DEN, "to whom?")
        bob.conversation.enter(DEN)
        bob.connect()
        town.settle()
        self.assertEqual(([Left(DEN, "bob")], []), (bob.told(Left), bob.told(NotEntered)))
        self.assertEqual(["to whom?"], [text for text, _ in bob.given_up()])
        self.assertEqual(0, bob.conversation.unacknowledged)

    def test_invited_while_away(self) -> None:
        """Who is invited while away is in the room once they are back, and hears what is said from then on."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        bob.lose()
        town.settle()
        alice.conversation.found_closed(DEN)
        town.settle()
        alice.conversation.invite(DEN, "bob")
        town.settle()
        self.assertEqual([Joined(DEN, "bob")], alice.told(Joined))
        bob.connect()
        town.settle()
        alice.conversation.say(DEN, "welcome")
        town.settle()
        self.assertEqual([("alice", "welcome")], bob.heard(DEN))

    def test_members_come_and_go_while_away(self) -> None:
        """Who is back sees the members of now, and is heard by those and no others."""
        town = self.town()
        alice, bob, carol = town.enter("alice", "bob", "carol")
        bob.conversation.say(LOBBY, "1")
        town.settle()
        bob.lose()
        carol.conversation.leave(LOBBY)
        town.settle()
        (dave,) = town.come("dave")
        dave.conversation.enter(LOBBY)
        town.settle()
        bob.connect()
        bob.conversation.say(LOBBY, "2")
        town.settle()
        self.assertEqual(["alice", "bob", "dave"], sorted(bob.conversation.members(LOBBY)))
        self.assertEqual([("bob", "1"), ("bob", "2")], alice.heard())
        self.assertEqual(([("bob", "2")], [("bob", "1")]), (dave.heard(), carol.heard()))


class DirectTests(TownCase):
    """One of two leaves."""

    def talking(self) -> tuple[Town, Person, Person]:
        """Two who have talked alone."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.conversation.direct("bob", "1")
        town.settle()
        return town, alice, bob

    def test_left(self) -> None:
        """Who has left a room of two is not brought back by the other's program."""
        town, alice, bob = self.talking()
        bob.conversation.leave(DIRECT)
        town.settle()
        self.assertEqual(([Left(DIRECT, "bob")], ["alice"]), (alice.told(Left), alice.conversation.members(DIRECT)))
        self.assertEqual([], bob.conversation.rooms)

    def test_spoken_to_again(self) -> None:
        """Who has left is brought back by being spoken to, and hears it; nobody else's copy is posted before."""
        town, alice, bob = self.talking()
        bob.conversation.leave(DIRECT)
        town.settle()
        for text in ("2", "3"):
            alice.conversation.direct("bob", text)
        town.settle()
        self.assertEqual([("alice", "1"), ("alice", "2"), ("alice", "3")], bob.heard(DIRECT))
        self.assertEqual((["1", "2", "3"], []), (alice.acknowledged(), alice.told(Error)))

    def test_left_while_spoken_to(self) -> None:
        """Whoever leaves while something is on its way to them is told it all the same, once."""
        town, alice, bob = self.talking()
        bob.conversation.leave(DIRECT)
        town.settle(alice)
        for text in ("2", "3"):
            alice.conversation.direct("bob", text)
        town.settle()
        self.assertEqual([("alice", "1"), ("alice", "2"), ("alice", "3")], bob.heard(DIRECT))
        self.assertEqual((["1", "2", "3"], 0), (alice.acknowledged(), alice.conversation.unacknowledged))

    def test_cannot_come_back(self) -> None:
        """Who has left and is in as many rooms as others may bring them into is not told it, and that is told."""
        town = self.town(RelayLimits(rooms=2))
        alice, bob, _ = town.come("alice", "bob", "carol")
        alice.conversation.direct("bob", "1")
        town.settle()
        bob.conversation.leave(DIRECT)
        town.settle()
        bob.conversation.enter("#other")
        town.settle()
        alice.conversation.direct("bob", "2")
        town.settle()
        self.assertEqual(["2"], [text for text, _ in alice.given_up()])
        self.assertEqual(0, alice.conversation.unacknowledged)

    def test_left_before_it_began(self) -> None:
        """Who leaves a room of two before it is there, and then speaks there after all, is in it."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        bob.conversation.direct("alice", "1")
        bob.conversation.leave(DIRECT)
        alice.conversation.direct("bob", "2")
        bob.conversation.direct("alice", "3")
        town.settle()
        self.assertEqual(([("bob", "3")], [("alice", "2")]), (alice.heard(DIRECT), bob.heard(DIRECT)))
        self.assertEqual(["1"], [text for text, _ in bob.given_up()])

    def test_gone_and_spoken_to_again(self) -> None:
        """Who has left and gone home is not here."""
        town, alice, bob = self.talking()
        bob.conversation.leave(DIRECT)
        town.settle()
        bob.lose()
        town.settle()
        alice.conversation.direct("bob", "2")
        town.settle()
        self.assertEqual([("2", "bob is not here")], alice.given_up())
        self.assertEqual(0, alice.conversation.unacknowledged)

    def test_goes_in_the_middle(self) -> None:
        """Whoever goes while they are spoken to either heard it or it is told as not sent."""
        town, alice, bob = self.talking()
        for text in ("2", "3", "4"):
            alice.conversation.direct("bob", text)
        alice.move_up(1)
        bob.lose()
        town.settle()
        told = [*alice.acknowledged(), *(text for text, _ in alice.given_up())]
        self.assertEqual(["1", "2", "3", "4"], sorted(told))
        self.assertEqual(0, alice.conversation.unacknowledged)

    def test_changed_key(self) -> None:
        """Nothing is said to one person alone whose key is another than before, until that is accepted."""
        town, alice, bob = self.talking()
        for each in (alice, bob):
            each.lose()
        town.clock.advance(0)
        town.people.remove(bob)
        town.start_relay()
        alice.connect()
        (other,) = town.come("bob", number=1)
        town.settle()
        alice.forget()
        alice.conversation.direct("bob", "is that you?")
        town.settle()
        self.assertEqual([KeyChanged(DIRECT, "bob")], alice.told(KeyChanged))
        ((text, why),) = alice.given_up()
        self.assertEqual("is that you?", text)
        self.assertIn("the key of bob changed", why)
        self.assertEqual([], other.heard(DIRECT))
        alice.conversation.trust("bob")
        alice.conversation.direct("bob", "it is you")
        town.settle()
        self.assertEqual([("alice", "it is you")], other.heard(DIRECT))


class FaultTests(TownCase):
    """A relay that shows a log which does not hold."""

    def assert_at_fault(self, person: Person, words: str) -> None:
        """The room is at fault, once and for these words; nothing is said or waits there."""
        (fault,) = person.told(Fault)
        self.assertEqual(LOBBY, fault.room)
        self.assertIn(words, fault.reason)
        self.assertEqual(0, person.conversation.unacknowledged)
        person.sent.clear()
        person.conversation.say(LOBBY, "anybody?")
        self.assertEqual(("anybody?", fault.reason), person.given_up()[-1])
        self.assertEqual([], person.sent)

    def shown(self, person: Person, *entries: bytes, first: int) -> None:
        """The relay shows entries."""
        person.hear(wire.Roster(LOBBY, first, list(entries), first + len(entries), 0))

    def test_forged(self) -> None:
        """An entry that no member signed is told, nothing more is said or taken, and what waited is not sent."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.worker.at_once = False
        for text in ("1", "2"):
            alice.conversation.say(LOBBY, text)
        log = town.factory.rooms.memberships.rooms[LOBBY].log
        entry = bytearray(log.leave(bob.keys, town.now_ms()))
        entry[-1] ^= 1
        self.shown(alice, bytes(entry), first=2)
        self.assertEqual(["1", "2"], [text for text, _ in alice.given_up()])
        self.assert_at_fault(alice, "no member signed it")
        bob.conversation.say(LOBBY, "still here")
        town.settle()
        self.assertEqual([], alice.heard())
        self.assertEqual(["alice", "bob"], sorted(alice.conversation.members(LOBBY)))

    def test_two_logs(self) -> None:
        """A relay that shows two members two different entries with one number is found out by who sees both."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        log = town.factory.rooms.memberships.rooms[LOBBY].log
        (carol,) = town.come("carol")
        self.shown(alice, log.leave(bob.keys, town.now_ms()), first=2)
        self.shown(alice, log.join(carol.keys, town.now_ms()), first=2)
        self.assert_at_fault(alice, "different entries")

    def test_acknowledged_after_it(self) -> None:
        """What was posted before a fault and is acknowledged after it is told as sent, once."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "0")
        town.settle()
        alice.conversation.say(LOBBY, "1")
        alice.move_up()
        log = town.factory.rooms.memberships.rooms[LOBBY].log
        self.shown(alice, log.leave(bob.keys, town.now_ms())[:-1] + b"x", first=2)
        town.settle()
        self.assertEqual((["0", "1"], []), (alice.acknowledged(), alice.given_up()))

    def test_lost_after_it(self) -> None:
        """What was posted before a fault and not acknowledged when the link was lost is told as not sent."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "0")
        town.settle()
        alice.conversation.say(LOBBY, "1")
        log = town.factory.rooms.memberships.rooms[LOBBY].log
        self.shown(alice, log.leave(bob.keys, town.now_ms())[:-1] + b"x", first=2)
        alice.lose()
        self.assertEqual(["1"], [text for text, _ in alice.given_up()])
        alice.connect()
        town.settle()
        self.assert_at_fault(alice, "no member signed it")

    def test_left(self) -> None:
        """Leaving ends a fault; entering again begins with what the relay shows then."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        log = town.factory.rooms.memberships.rooms[LOBBY].log
        self.shown(alice, log.leave(bob.keys, town.now_ms())[:-1] + b"x", first=2)
        alice.conversation.leave(LOBBY)
        self.assertEqual(([Left(LOBBY, "alice")], []), (alice.told(Left), alice.conversation.rooms))
        alice.conversation.enter(LOBBY)
        town.settle()
        bob.conversation.say(LOBBY, "again")
        town.settle()
        self.assertEqual([("bob", "again")], alice.heard())

    def test_rolled_back_over_a_restart(self) -> None:
        """A relay that shows a log which ends earlier than before the restart is found out by its head."""
        town = self.town()
        alice, _, carol = town.enter("alice", "bob", "carol")
        carol.conversation.leave(LOBBY)
        town.settle()
        alice.conversation.pack()
        alice.lose()
        alice.begin()
        alice.forget()
        alice.connect()
        alice.move_up()
        log = town.factory.rooms.memberships.rooms[LOBBY].log
        before = log.part(0, len(log) - 1)
        alice.conversation.enter(LOBBY)
        alice.hear(wire.Roster(LOBBY, 0, before, len(before), 0))
        self.assert_at_fault(alice, "entries before it are missing")

    def test_not_in_it(self) -> None:
        """A relay that says who is there, of a room that we are no member of, is not believed."""
        town = self.town()
        _, bob = town.come("alice", "bob")
        alice = town.people[0]
        alice.conversation.enter(LOBBY)
        town.settle()
        bob.conversation.enter(LOBBY)
        bob.hear(wire.Present(LOBBY, ["alice", "bob"]))
        self.assertEqual(([], []), (bob.told(Entered), bob.conversation.rooms))


class StoreTests(TownCase):
    """What the key store keeps of rooms."""

    def test_no_more_than_a_store_takes(self) -> None:
        """However many rooms there were over the years, the store stays one that opens, with those of now."""
        town = self.town()
        alice, _ = town.enter("alice", "bob")
        for number in range(MAX_ROOMS):
            alice.secrets.rooms[number.to_bytes(32, "big")] = b"old"
        alice.conversation.pack()
        kept = read_secrets(alice.secrets.packed).rooms
        log = town.factory.rooms.memberships.rooms[LOBBY].log
        self.assertEqual(MAX_ROOMS, len(kept))
        self.assertIn(log.room_id, kept)
        self.assertNotIn(bytes(32), kept)
