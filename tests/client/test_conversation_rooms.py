"""Rooms as their members see and change them, over the real relay."""

from __future__ import annotations

from securechat.client.events import (
    Came,
    Entered,
    Error,
    Event,
    Fault,
    Gone,
    Info,
    Joined,
    KeyChanged,
    Left,
    Link,
    Motd,
    NotEntered,
    NotSent,
)
from securechat.client.people import key_id
from securechat.relay.limits import RelayLimits
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from tests.client.town import LOBBY, RELAY, Person, TownCase


class RoomTests(TownCase):
    """Entering, leaving, coming back."""

    def test_founded_and_joined(self) -> None:
        """The first one founds an open room, the second joins it, and each is told who is there."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.conversation.enter(LOBBY)
        town.settle()
        self.assertEqual([Entered(LOBBY, ["alice"])], alice.told(Entered))
        bob.conversation.enter(LOBBY)
        town.settle()
        self.assertEqual([Entered(LOBBY, ["alice", "bob"])], bob.told(Entered))
        self.assertEqual([Joined(LOBBY, "bob")], alice.told(Joined))
        for each in (alice, bob):
            self.assertEqual([LOBBY], each.conversation.rooms)
            self.assertEqual(["alice", "bob"], sorted(each.conversation.members(LOBBY)))
            self.assertEqual(["alice", "bob"], each.conversation.present(LOBBY))

    def test_founded_at_once(self) -> None:
        """Two who found one room at the same time are both in one and the same."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        for each in (alice, bob):
            each.conversation.enter(LOBBY)
        town.settle()
        alice.conversation.say(LOBBY, "a")
        bob.conversation.say(LOBBY, "b")
        town.settle()
        self.assertEqual(([("bob", "b")], [("alice", "a")]), (alice.heard(), bob.heard()))

    def test_joined_at_once(self) -> None:
        """Many who join at the same time lose races for the next entry, and are all in at the end."""
        town = self.town()
        town.enter("alice")
        others = town.come(*(f"p{number}" for number in range(8)))
        for each in others:
            each.conversation.enter(LOBBY)
        town.settle()
        for each in town.people:
            self.assertEqual(9, len(each.conversation.members(LOBBY)))
            self.assertEqual([], each.told(Error))

    def test_a_crowd(self) -> None:
        """Forty who come at the same moment are all in within seconds, and none asks as often as a flood."""
        town = self.town()
        town.patient = True
        crowd = town.come(*(f"p{number}" for number in range(40)))
        for each in crowd:
            each.conversation.enter(LOBBY)
        for _ in range(300):
            town.settle()
            town.clock.advance(0.1)
        for each in crowd:
            self.assertEqual(40, len(each.conversation.members(LOBBY)))

    def test_left(self) -> None:
        """Who leaves is told so, and so are the others; coming back is joining again."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        bob.conversation.leave(LOBBY)
        town.settle()
        self.assertEqual(([Left(LOBBY, "bob")], [Left(LOBBY, "bob")]), (alice.told(Left), bob.told(Left)))
        self.assertEqual((["alice"], []), (alice.conversation.members(LOBBY), bob.conversation.rooms))
        bob.conversation.leave(LOBBY)
        self.assertEqual([Error(REASONS[Code.NOT_A_MEMBER])], bob.told(Error))
        bob.conversation.enter(LOBBY)
        town.settle()
        alice.conversation.say(LOBBY, "welcome back")
        town.settle()
        self.assertEqual([("alice", "welcome back")], bob.heard())

    def test_presence(self) -> None:
        """A member whose link is lost is away and stays a member; back, they are there again and hear."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        bob.lose()
        town.settle()
        self.assertEqual([Gone(LOBBY, "bob")], alice.events)
        self.assertEqual(
            (["alice", "bob"], ["alice"]),
            (sorted(alice.conversation.members(LOBBY)), alice.conversation.present(LOBBY)),
        )
        alice.conversation.say(LOBBY, "while bob is away")
        town.settle()
        bob.connect()
        town.settle()
        self.assertEqual([Came(LOBBY, "bob")], alice.told(Came))
        alice.conversation.say(LOBBY, "hello again")
        town.settle()
        self.assertEqual([("alice", "hello again")], bob.heard())

    def test_link(self) -> None:
        """A link that is up, its message of the day, and its loss are told."""
        town = self.town(motd="be kind")
        (alice,) = town.come("alice")
        alice.lose()
        self.assertEqual(
            [Link(True, RELAY), Motd("be kind"), Link(False, RELAY, "broken", 1.0)],
            [event for event in alice.events if isinstance(event, Link | Motd)],
        )

    def test_as_many_as_there_may_be(self) -> None:
        """Whoever has one room too many is told so, founding or joining, and goes on in those that they have."""
        town = self.town(RelayLimits(rooms=1))
        alice, bob = town.enter("alice", "bob")
        (carol,) = town.enter("carol", room="#other")
        alice.conversation.enter("#third")
        bob.conversation.enter("#other")
        town.settle()
        for each, room in ((alice, "#third"), (bob, "#other")):
            self.assertEqual([NotEntered(room, REASONS[Code.TOO_MANY_ROOMS])], each.told(NotEntered))
            self.assertEqual([LOBBY], each.conversation.rooms)
        self.assertEqual(["carol"], carol.conversation.members("#other"))

    def test_no_room(self) -> None:
        """What can't be the name of a room is an error, and nothing is sent."""
        (alice,) = self.town().come("alice")
        alice.forget()
        alice.conversation.enter("lobby")
        self.assertEqual(([Error(REASONS[Code.BAD_ROOM])], []), (alice.events, alice.sent))


class ClosedTests(TownCase):
    """A room that only those enter who were brought in."""

    def closed(self, *names: str) -> list[Person]:
        """People, of whom the first has a closed room."""
        self.place = self.town()
        people = self.place.come(*names)
        people[0].conversation.found_closed("#den")
        self.place.settle()
        for each in people:
            each.forget()
        return people

    def test_not_let_in(self) -> None:
        """Who was not brought in is told that they may not enter; neither members nor keys are told to them."""
        alice, bob = self.closed("alice", "bob")
        bob.conversation.enter("#den")
        self.place.settle()
        (event,) = bob.told(NotEntered)
        self.assertEqual("#den", event.room)
        self.assertEqual(([], ["alice"]), (bob.conversation.rooms, alice.conversation.members("#den")))

    def test_invited(self) -> None:
        """Who is brought in is told that they are in, and hears what is said from then on."""
        alice, bob = self.closed("alice", "bob")
        alice.conversation.invite("#den", "bob")
        self.place.settle()
        self.assertEqual([Joined("#den", "bob")], alice.told(Joined))
        self.assertEqual(["#den"], bob.conversation.rooms)
        alice.conversation.say("#den", "come in")
        self.place.settle()
        self.assertEqual([("alice", "come in")], bob.heard("#den"))

    def test_removed(self) -> None:
        """Who is put out is told so, and is handed nothing of what is said then."""
        alice, bob, carol = self.closed("alice", "bob", "carol")
        for name in ("bob", "carol"):
            alice.conversation.invite("#den", name)
            self.place.settle()
        alice.conversation.remove("#den", "carol")
        self.place.settle()
        self.assertEqual([Left("#den", "carol")], carol.told(Left))
        alice.conversation.say("#den", "carol is out")
        self.place.settle()
        self.assertEqual(([("alice", "carol is out")], []), (bob.heard("#den"), carol.heard("#den")))

    def test_only_owners(self) -> None:
        """A member who owns nothing puts nobody out: the answer is one line, and the room is as it was."""
        alice, bob, _ = self.closed("alice", "bob", "carol")
        for name in ("bob", "carol"):
            alice.conversation.invite("#den", name)
            self.place.settle()
        bob.conversation.remove("#den", "carol")
        self.place.settle()
        self.assertEqual(1, len(bob.told(Error)))
        self.assertEqual(["alice", "bob", "carol"], sorted(alice.conversation.members("#den")))

    def test_impossible(self) -> None:
        """Inviting a stranger, nobody, or into a room that we are not in, and removing no member, are one line."""
        (alice,) = self.closed("alice")
        for act, words in (
            (lambda: alice.conversation.invite("#den", "nobody"), "nobody is called nobody"),
            (lambda: alice.conversation.invite("#den", "No Name"), REASONS[Code.BAD_NAME]),
            (lambda: alice.conversation.invite("#other", "alice"), REASONS[Code.NOT_A_MEMBER]),
            (lambda: alice.conversation.remove("#den", "bob"), "bob is no member"),
            (lambda: alice.conversation.remove("#other", "bob"), REASONS[Code.NOT_A_MEMBER]),
            (lambda: alice.conversation.rekey("#other"), REASONS[Code.NOT_A_MEMBER]),
        ):
            alice.forget()
            act()
            self.place.settle()
            (error,) = alice.told(Error)
            self.assertIn(words, error.text)

    def test_forgotten_by_the_relay(self) -> None:
        """Who was in a closed room that the relay has forgotten takes no other one in its place."""
        alice, bob = self.closed("alice", "bob")
        alice.conversation.invite("#den", "bob")
        self.place.settle()
        for each in (alice, bob):
            each.lose()
        self.place.clock.advance(0)
        self.place.start_relay()
        bob.connect()
        bob.conversation.enter("#den")
        self.place.settle()
        self.assertEqual("#den", bob.told(Fault)[0].room)
        self.assertEqual([], bob.said(wire.Append))
        bob.conversation.say("#den", "into whose ears?")
        self.place.settle()
        self.assertEqual(["into whose ears?"], [event.text for event in bob.told(NotSent)])


class DirectTests(TownCase):
    """Two people alone."""

    def test_said(self) -> None:
        """What is said to one person opens a room of two, is heard by that one, and answered in it."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.conversation.direct("bob", "psst")
        town.settle()
        room = "@alice+bob"
        self.assertEqual([("alice", "psst")], bob.heard(room))
        bob.conversation.say(room, "yes?")
        town.settle()
        self.assertEqual([("bob", "yes?")], alice.heard(room))
        self.assertEqual(["alice", "bob"], sorted(alice.conversation.members(room)))

    def test_both_at_once(self) -> None:
        """Two who speak to one another at the same moment are heard by each other."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.conversation.direct("bob", "a")
        bob.conversation.direct("alice", "b")
        town.settle()
        room = "@alice+bob"
        self.assertEqual(([("bob", "b")], [("alice", "a")]), (alice.heard(room), bob.heard(room)))

    def test_nobody(self) -> None:
        """What is said to nobody is told as not sent."""
        town = self.town()
        (alice,) = town.come("alice")
        alice.conversation.direct("carol", "hello?", "l")
        town.settle()
        (event,) = alice.told(NotSent)
        self.assertEqual(("nobody is called carol here", "l"), (event.reason, event.id))
        for name, words in (("alice", "your own name"), ("No Name", REASONS[Code.BAD_NAME])):
            alice.forget()
            alice.conversation.direct(name, "hello?")
            self.assertIn(words, alice.told(NotSent)[0].reason)


class PeopleTests(TownCase):
    """Who somebody is."""

    def changed_bob(self) -> tuple[Person, Person]:
        """Alice, who has met a bob, and a bob with other keys, at a relay that knows only the second."""
        town = self.place = self.town()
        alice, bob = town.enter("alice", "bob")
        for each in (alice, bob):
            each.lose()
        town.clock.advance(0)
        town.people.remove(bob)
        town.start_relay()
        alice.connect()
        (other,) = town.come("bob", number=1)
        town.settle()
        alice.forget()
        other.conversation.enter(LOBBY)
        town.settle()
        return alice, other

    def test_changed_key(self) -> None:
        """Somebody whose key is another than before is told, marked, and handed nothing until that is accepted."""
        alice, other = self.changed_bob()
        self.assertEqual([KeyChanged(LOBBY, "bob", key_id(other.keys.identity.public))], alice.told(KeyChanged))
        self.assertEqual((["bob"], "changed"), (alice.conversation.changed, alice.conversation.mark(LOBBY, "bob")))
        alice.conversation.say(LOBBY, "is that you?")
        self.place.settle()
        self.assertEqual([], other.heard())
        alice.conversation.trust("bob")
        alice.conversation.say(LOBBY, "it is you")
        self.place.settle()
        self.assertEqual([("alice", "it is you")], other.heard())
        self.assertEqual(([], ""), (alice.conversation.changed, alice.conversation.mark(LOBBY, "bob")))
        alice.forget()
        alice.conversation.trust("bob")
        self.assertEqual([Error("the key of bob has not changed")], alice.events)

    def test_changed_key_is_marked_when_heard(self) -> None:
        """What somebody says under a changed key is shown, with that mark."""
        alice, other = self.changed_bob()
        other.conversation.say(LOBBY, "I have a new computer")
        self.place.settle()
        self.assertEqual([("bob", "I have a new computer")], alice.heard())
        from securechat.client.events import Message

        self.assertEqual(["changed"], [event.key for event in alice.told(Message)])

    def test_verified(self) -> None:
        """Both see the same safety number; once it is compared, the mark and each message say verified."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.conversation.safety("bob")
        bob.conversation.safety("alice")
        self.assertEqual(alice.told(Info)[0].lines[1:3], bob.told(Info)[0].lines[1:3])
        self.assertEqual(60, sum(map(str.isdigit, "".join(alice.told(Info)[0].lines[1:3]))))
        alice.conversation.verify("bob")
        self.assertEqual("verified", alice.conversation.mark(LOBBY, "bob"))
        alice.conversation.whois("bob")
        town.settle()
        self.assertIn("verified", alice.told(Info)[-1].lines[-1])

    def test_strangers(self) -> None:
        """Safety number, verification and acceptance of somebody never met, and a question about nobody, say so."""
        town = self.town()
        (alice,) = town.enter("alice")
        for act in (alice.conversation.safety, alice.conversation.verify):
            alice.forget()
            act("bob")
            self.assertEqual([Error("you have not met bob")], alice.events)
        alice.forget()
        alice.conversation.whois("bob")
        town.settle()
        self.assertEqual([Info(["Nobody is called bob here."])], alice.events)
        alice.lose()
        alice.forget()
        alice.conversation.whois("bob")
        self.assertEqual([Error("there is no link to the relay now")], alice.events)

    def test_taken_up_again(self) -> None:
        """A program that starts again with its key store is in its rooms, and hears."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "1")
        town.settle()
        bob.conversation.pack()
        bob.lose()
        bob.begin()
        bob.connect()
        town.settle()
        alice.conversation.say(LOBBY, "2")
        town.settle()
        self.assertEqual([("alice", "1"), ("alice", "2")], bob.heard())
        unwanted: list[Event] = [event for event in bob.events if type(event).__name__ in ("Gap", "Unreadable")]
        self.assertEqual([], unwanted)


class OddRelayTests(TownCase):
    """Words of a relay that a conversation did not ask for."""

    def test_strange_rooms(self) -> None:
        """Whatever is said of a room that we know nothing of is ignored."""
        (alice,) = self.town().enter("alice")
        for message in (
            wire.Delivery("#x", 1, [("bob", 0, b"x" * 120)]),
            wire.Ack("#x", [(bytes(16), 1)]),
            wire.SessionKey("#x", bytes(32), bytes(32)),
            wire.Present("#x", ["bob"]),
            wire.Presence("#x", "bob", True),
            wire.Declined("#x", [], Code.NO_SUCH_ROOM),
            wire.Asked("#x", bytes(32), bytes(16)),
            wire.Prekeys([(bytes(32), b"x")]),
            wire.Found("bob", b"x" * 100, True),
        ):
            alice.hear(message)
        self.assertEqual([LOBBY], alice.conversation.rooms)
        self.assertEqual([], [event for event in alice.events if not isinstance(event, Error)])
