"""Changes of rooms that race each other, lose their link, or are declined: made once, or told as not made."""

from __future__ import annotations

from securechat.client.events import Error, Info, Joined, KeyChanged, Left, NotSent
from securechat.client.membership import MOST_RACES
from securechat.relay.limits import RelayLimits
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from tests.client.test_hostile import Deceived, HostileCase, Valley
from tests.client.town import LOBBY, Person, TownCase
from tests.relay.people import person


class RaceTests(TownCase):
    """Several who change one room at the same moment."""

    def test_invited_at_once(self) -> None:
        """Two who bring somebody in at the same moment both succeed, and neither is bothered with it."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        town.come("carol", "dave", "erin")
        alice.conversation.invite(LOBBY, "carol")
        bob.conversation.invite(LOBBY, "dave")
        alice.conversation.invite(LOBBY, "erin")
        town.settle()
        for each in (alice, bob):
            self.assertEqual(sorted(each.conversation.members(LOBBY)), ["alice", "bob", "carol", "dave", "erin"])
            self.assertEqual(each.told(Error), [])

    def test_one_invited_by_two(self) -> None:
        """Somebody whom two bring in at the same moment is in once; whoever came second is not told of an error."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        town.come("carol")
        for each in (alice, bob):
            each.conversation.invite(LOBBY, "carol")
        town.settle()
        self.assertEqual([event.name for event in alice.told(Joined)], ["carol"])
        self.assertEqual(alice.told(Error) + bob.told(Error), [])

    def test_left_at_once(self) -> None:
        """Everybody who leaves at the same moment is out at the end."""
        town = self.town()
        people = town.enter("alice", "bob", "carol")
        for each in people:
            each.conversation.leave(LOBBY)
        town.settle()
        for each in people:
            self.assertEqual([event.name for event in each.told(Left)][-1], each.name)
            self.assertEqual((each.conversation.rooms, each.told(Error)), ([], []))

    def test_nothing_is_said_on_the_way_out(self) -> None:
        """What was not posted before leaving is told as not sent; nobody is handed a key for it."""
        town = self.town()
        alice, _ = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "wait")
        alice.conversation.leave(LOBBY)
        town.settle()
        self.assertEqual([text for text, _ in alice.given_up()], ["wait"])
        self.assertEqual(alice.said(wire.Post), [])

    def test_already_in(self) -> None:
        """Bringing in somebody who is in, and putting out somebody who is not, is told as an error."""
        town = self.town()
        alice, _ = town.enter("alice", "bob")
        alice.conversation.invite(LOBBY, "bob")
        alice.conversation.remove(LOBBY, "carol")
        town.settle()
        self.assertEqual(len(alice.told(Error)), 2)


class LostTests(TownCase):
    """Changes while there is no link, or it is lost."""

    def test_left_without_a_link(self) -> None:
        """Who leaves without a link is told when that will be done, says nothing there, and is out on the next."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        bob.lose()
        bob.forget()
        bob.conversation.leave(LOBBY)
        self.assertEqual(len(bob.told(Info)), 1)
        bob.conversation.say(LOBBY, "too late")
        self.assertEqual(bob.given_up(), [("too late", REASONS[Code.NOT_A_MEMBER])])
        bob.connect()
        town.settle()
        self.assertEqual([event.name for event in bob.told(Left)], ["bob"])
        self.assertEqual((bob.conversation.rooms, alice.conversation.members(LOBBY)), ([], ["alice"]))

    def test_changed_their_mind(self) -> None:
        """Who leaves without a link and enters again stays a member."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        bob.lose()
        bob.conversation.leave(LOBBY)
        bob.conversation.enter(LOBBY)
        bob.connect()
        town.settle()
        self.assertEqual((bob.told(Left), alice.told(Left)), ([], []))
        self.assertEqual(bob.conversation.rooms, [LOBBY])

    def test_lost_on_its_way(self) -> None:
        """A change whose link is lost before or after it was taken is made once."""
        for arrives in (False, True):
            town = self.town()
            alice, _ = town.enter("alice", "bob")
            town.come("carol")
            alice.conversation.invite(LOBBY, "carol")
            alice.move_up()
            town.turn()
            alice.move_down()
            if arrives:
                alice.move_up()
            alice.lose()
            alice.connect()
            town.settle()
            self.assertEqual(sorted(alice.conversation.members(LOBBY)), ["alice", "bob", "carol"])
            self.assertEqual(alice.told(Error), [])

    def test_window_of_a_room_that_was_left(self) -> None:
        """Posts of a room that was left do not take the window from the other ones."""
        town = self.town(RelayLimits(window=1))
        alice, bob = town.enter("alice", "bob")
        for each in (alice, bob):
            each.conversation.enter("#other")
            town.settle()
        alice.conversation.say(LOBBY, "one")
        alice.conversation.leave(LOBBY)
        alice.conversation.say("#other", "two")
        alice.conversation.say("#other", "three")
        town.settle()
        self.assertEqual(bob.heard("#other"), [("alice", "two"), ("alice", "three")])


class StubbornTests(HostileCase):
    """A relay that takes no change."""

    def test_always_stale(self) -> None:
        """A change that loses its place again and again is given up, and that is told."""
        self.town_.come("carol")
        assert isinstance(self.alice, Deceived)
        self.alice.lost = lambda message: isinstance(message, wire.Append)
        self.alice.conversation.invite(LOBBY, "carol")
        for _ in range(MOST_RACES + 2):
            self.town_.settle()
            self.alice.hear(wire.Declined(LOBBY, [], Code.STALE_ENTRY))
        self.town_.settle()
        self.assertEqual(len(self.alice.said(wire.Append)), MOST_RACES)
        self.assertEqual(len(self.alice.told(Error)), 1)
        self.says(self.alice, "we go on")
        self.assertEqual(self.bob.heard(), [("alice", "we go on")])


class DirectTests(TownCase):
    """Rooms of two and changed keys."""

    def test_found_for_a_changed_key(self) -> None:
        """No room of two is founded with somebody whose key is another than before, until that is accepted."""
        town = Valley()
        self.addCleanup(town.close)
        (alice,) = town.come("alice")
        alice.secrets.pins.meet("bob", person("bob", 1).identity.public)
        (bob,) = town.come("bob")
        assert isinstance(bob, Deceived)
        alice.conversation.direct("bob", "psst")
        town.settle()
        self.assertEqual(alice.said(wire.Append), [])
        self.assertEqual(len(alice.told(NotSent)), 1)
        self.assertEqual(len(alice.told(KeyChanged)), 1)
        self.accepted(alice)
        alice.conversation.direct("bob", "psst")
        town.settle()
        self.assertEqual(bob.heard("@alice+bob"), [("alice", "psst")])

    def test_frame_by_frame(self) -> None:
        """A room of two is founded without a mistake told, also where each frame comes in a turn of its own."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.conversation.direct("bob", "psst")
        for _ in range(60):
            for each in (alice, bob):
                each.move_up(1)
                town.turn()
                each.move_down(1)
        town.settle()
        self.assertEqual(bob.heard("@alice+bob"), [("alice", "psst")])
        self.assertEqual(alice.told(Error) + bob.told(Error), [])

    def test_founded_by_both(self) -> None:
        """Two who found their room at the same moment are told of no mistake."""
        town = self.town()
        people = town.come("alice", "bob")
        for each, other in zip(people, reversed(people), strict=True):
            each.conversation.direct(other.name, "psst")
        for _ in range(60):
            for each in people:
                each.move_up(1)
            town.turn()
            for each in people:
                each.move_down(1)
        town.settle()
        for each, other in zip(people, reversed(people), strict=True):
            self.assertEqual(each.heard("@alice+bob"), [(other.name, "psst")])
            self.assertEqual(each.told(Error), [])

    def test_called_in_again(self) -> None:
        """Somebody who has left a room of two is brought in again by what is said to them there."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.conversation.direct("bob", "one")
        town.settle()
        bob.conversation.leave("@alice+bob")
        town.settle()
        alice.sent.clear()
        for text in ("two", "three"):
            alice.conversation.direct("bob", text)
        town.settle()
        self.assertEqual((len(alice.said(wire.Lookup)), len(alice.said(wire.Append))), (1, 1))
        self.assertEqual([text for _, text in bob.heard("@alice+bob")], ["one", "two", "three"])
        self.assertEqual(alice.told(Error), [])
        bob.conversation.leave("@alice+bob")
        town.settle()
        bob.lose()
        alice.conversation.direct("bob", "four")
        town.settle()
        self.assertEqual((alice.given_up(), alice.acknowledged()[-1:]), ([], ["four"]))

    def test_called_in_once(self) -> None:
        """While somebody is on their way into a room of two another look at its log brings nobody in twice."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.conversation.direct("bob", "one")
        town.settle()
        bob.conversation.leave("@alice+bob")
        town.settle()
        alice.conversation.direct("bob", "two")
        # The question whose name it is, and its answer; the entry is on its way then.
        alice.move_up()
        town.turn()
        alice.move_down()
        log = town.factory.rooms.memberships.rooms["@alice+bob"].log
        alice.hear(wire.Roster("@alice+bob", len(log), [], len(log), 0))
        town.settle()
        self.assertEqual(alice.told(Error), [])
        self.assertEqual([text for _, text in bob.heard("@alice+bob")], ["one", "two"])

    def accepted(self, alice: Person) -> None:
        """Alice accepts bob's key."""
        alice.conversation.trust("bob")
        self.assertEqual(alice.conversation.changed, [])
