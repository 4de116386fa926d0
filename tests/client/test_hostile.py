"""A relay that is not honest, with real clients: what it tells is refused, marked or fault, and the next honest
message arrives.

The relay here is the real one; what a client hears of it passes through a test's hands first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from securechat.client.events import (
    Entered,
    Error,
    Fault,
    Held,
    Info,
    KeyChanged,
    Left,
    Message,
    NotSent,
    Unreadable,
)
from securechat.client.hearing import ASKS
from securechat.client.saying import ASKED
from securechat.e2e.inbox import HELD_EACH
from securechat.e2e.safety import safety_number
from securechat.relay.limits import RelayLimits
from securechat.signed.entries import Policy
from securechat.signed.roster import Roster, found
from securechat.wire import messages as wire
from tests.client.town import LOBBY, Person, Town, TownCase
from tests.relay.people import NOW_MS, person

Twist = Callable[[wire.FromRelay], list[wire.FromRelay]]


class Deceived(Person):
    """Somebody between whom and the relay a test sits: `twist` gives what is heard for what was said."""

    twist: Twist = staticmethod(lambda message: [message])
    lost: Callable[[wire.FromClient], bool] = staticmethod(lambda message: False)
    """Whether something that they say does not come to the relay."""

    def send(self, message: wire.FromClient) -> None:
        """Say something."""
        super().send(message)
        if self.lost(message):
            self.up.pop()

    def hear(self, message: wire.FromRelay) -> None:
        """Hear what the test makes of it."""
        for each in self.twist(message):
            super().hear(each)


class Valley(Town):
    """A town whose people may be deceived."""

    person_class = Deceived


class HostileCase(TownCase):
    """A case with alice and bob in the lobby, both of whom may be deceived."""

    limits = RelayLimits()

    def setUp(self) -> None:
        """Enter."""
        self.town_ = Valley(self.limits)
        self.addCleanup(self.town_.close)
        self.alice, self.bob = self.town_.enter("alice", "bob")

    def says(self, who: Person, *texts: str, room: str = LOBBY) -> None:
        """Somebody says something, and all comes to rest."""
        for text in texts:
            who.conversation.say(room, text)
        self.town_.settle()

    def deceive(self, who: Person, twist: Twist) -> None:
        """From now on somebody hears what `twist` gives."""
        assert isinstance(who, Deceived)
        who.twist = twist

    def honest(self, *who: Person) -> None:
        """The relay is honest again, and what is said then is heard."""
        for each in who or (self.alice, self.bob):
            self.deceive(each, lambda message: [message])
        before = len(self.bob.heard())
        self.says(self.alice, "honestly")
        self.assertEqual(self.bob.heard()[before:], [("alice", "honestly")])


def deliveries(change: Callable[[bytes], bytes]) -> Twist:
    """Every sealed message is changed."""

    def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
        if not isinstance(message, wire.Delivery):
            return [message]
        items = [(sender, time, change(sealed)) for sender, time, sealed in message.items]
        return [wire.Delivery(message.room, message.first_seq, items)]

    return twist


def instead(other: bytes, _: bytes) -> bytes:
    """Something else, whatever was sealed."""
    return other


class MessageTests(HostileCase):
    """Messages on their way."""

    def test_in_another_name(self) -> None:
        """A message that the relay shows as somebody else's is not shown."""
        (carol,) = self.town_.enter("carol")
        self.says(carol, "I am carol")
        self.bob.forget()

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Delivery):
                items = [("carol", time, sealed) for _, time, sealed in message.items]
                return [wire.Delivery(message.room, message.first_seq, items)]
            return [message]

        self.deceive(self.bob, twist)
        self.says(self.alice, "secret")
        self.assertEqual(self.bob.heard(), [])
        (held,) = self.bob.told(Held)
        self.assertEqual(held.sender, "carol")
        self.honest(self.bob)

    def test_replayed(self) -> None:
        """A message that comes twice, under another number too, is shown once."""
        kept: list[wire.Delivery] = []

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Delivery):
                kept.append(message)
            return [message]

        self.deceive(self.bob, twist)
        self.says(self.alice, "once")
        for seq in (kept[0].first_seq, kept[0].first_seq + 1):
            self.bob.hear(wire.Delivery(LOBBY, seq, kept[0].items))
        self.assertEqual(self.bob.heard(), [("alice", "once")])
        (refused,) = self.bob.told(Unreadable)
        self.assertIn("came before", refused.reason)
        self.honest()

    def test_in_another_room(self) -> None:
        """A message of one room is not shown in another one."""
        for each in (self.alice, self.bob):
            each.conversation.enter("#other")
            self.town_.settle()
        self.says(self.alice, "other", room="#other")
        self.bob.forget()

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            return [wire.Delivery("#other", 7, message.items)] if isinstance(message, wire.Delivery) else [message]

        self.deceive(self.bob, twist)
        self.says(self.alice, "for the lobby")
        self.assertEqual((self.bob.heard(), self.bob.heard("#other")), ([], []))
        self.assertEqual([event.room for event in self.bob.told(Held)], ["#other"])
        self.honest()
        before = self.bob.heard("#other")
        self.says(self.alice, "honestly", room="#other")
        self.assertEqual(self.bob.heard("#other")[len(before) :], [("alice", "honestly")])

    def test_plaintext(self) -> None:
        """What is not sealed is never shown, of whatever length, and each time that is told."""
        text = b"hello bob, this is alice"
        for plain in (text, text.ljust(344, b"\0"), b"SC1\x01" + text.ljust(340, b"\0"), b"\0" * 52 + text):
            self.bob.forget()
            self.deceive(self.bob, deliveries(partial(instead, plain)))
            self.says(self.alice, "secret")
            self.assertEqual(self.bob.heard(), [])
            self.assertEqual(len(self.bob.told(Unreadable)) + len(self.bob.told(Held)), 1)
            self.honest()

    def test_wrong_session_key(self) -> None:
        """With a wrong session key nothing opens; with the right one what comes then does."""

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.SessionKey):
                return [wire.SessionKey(message.room, message.epoch, bytes(32))]
            return [message]

        self.deceive(self.bob, twist)
        self.town_.enter("carol")
        self.says(self.alice, "secret")
        self.assertEqual(self.bob.heard(), [])
        self.assertEqual(len(self.bob.told(Unreadable)), 1)
        self.bob.lose()
        self.deceive(self.bob, lambda message: [message])
        self.bob.connect()
        self.town_.settle()
        self.honest()

    def test_same_id(self) -> None:
        """Nobody can keep another's message from being shown by saying something under the same id before."""
        (carol,) = self.town_.enter("carol")
        self.alice._ids = carol._ids = 7_000
        self.patch(carol, "name", "alice")
        self.says(carol, "spoken under alice's id")
        self.says(self.alice, "what alice says")
        texts = [text for _, text in self.bob.heard()]
        self.assertEqual(texts, ["spoken under alice's id", "what alice says"])


class KeyTests(HostileCase):
    """Keys on their way."""

    def test_withheld_sealed_key(self) -> None:
        """A message whose key does not come waits and is asked for; when it comes the message is filled in."""
        kept: list[wire.FromRelay] = []

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.SealedKey):
                kept.append(message)
                return []
            return [message]

        self.deceive(self.bob, twist)
        self.says(self.alice, "one", "two")
        self.assertEqual(self.bob.heard(), [])
        self.assertEqual(len(self.bob.said(wire.Ask)), 1)
        self.deceive(self.bob, lambda message: [message])
        self.bob.hear(kept[0])
        self.assertEqual(self.bob.heard(), [("alice", "one"), ("alice", "two")])
        self.assertTrue(all(event.late for event in self.bob.told(Message)))

    def test_lost_sealed_key(self) -> None:
        """A key that the relay loses is asked for and handed again, and what waited for it is filled in."""
        lost: list[wire.FromRelay] = []

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.SealedKey) and not lost:
                lost.append(message)
                return []
            return [message]

        self.deceive(self.bob, twist)
        self.says(self.alice, "one", "two")
        self.assertEqual((len(lost), len(self.bob.said(wire.Ask))), (1, 1))
        self.assertEqual(self.bob.heard(), [("alice", "one"), ("alice", "two")])
        self.says(self.alice, "three")
        self.assertEqual(self.bob.heard()[2:], [("alice", "three")])

    def test_lost_keys_of_two_sessions(self) -> None:
        """Keys of two sessions that are asked for at once are both handed again."""
        blind = True

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            return [] if isinstance(message, wire.SealedKey | wire.Asked) and blind else [message]

        self.deceive(self.bob, twist)
        self.deceive(self.alice, twist)
        self.says(self.alice, "one")
        self.alice.conversation.rekey(LOBBY)
        self.says(self.alice, "two")
        self.assertEqual(self.bob.heard(), [])
        blind = False
        self.bob.lose()
        self.bob.connect()
        self.town_.settle()
        self.assertEqual(self.bob.heard(), [("alice", "one"), ("alice", "two")])

    def test_asked_again(self) -> None:
        """What still waits when the link is lost is asked for again on the next one."""

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            return [] if isinstance(message, wire.SealedKey) else [message]

        self.deceive(self.bob, twist)
        self.says(self.alice, "one")
        self.bob.lose()
        self.bob.sent.clear()
        self.bob.connect()
        self.town_.settle()
        self.assertEqual(len(self.bob.said(wire.Ask)), 1)


class RosterTests(HostileCase):
    """Logs of rooms, and what the relay says of them besides."""

    def test_ghosts(self) -> None:
        """Names that the relay puts into a room without an entry are in no list and in no event."""
        for twisted in (wire.Present(LOBBY, ["alice", "bob", "ghost"]), wire.Presence(LOBBY, "ghost", True)):
            self.bob.hear(twisted)
        self.assertNotIn("ghost", self.bob.conversation.present(LOBBY))
        self.assertNotIn("ghost", self.bob.conversation.members(LOBBY))
        self.assertEqual([event for event in self.bob.events if "ghost" in str(event)], [])
        self.bob.lose()
        self.deceive(
            self.bob,
            lambda message: (
                [wire.Present(message.room, [*message.names, "ghost"])]
                if isinstance(message, wire.Present)
                else [message]
            ),
        )
        self.bob.connect()
        self.town_.settle()
        self.assertEqual(self.bob.told(Entered)[-1].members, ["alice", "bob"])

    def test_forged_entry(self) -> None:
        """An entry that no member signed is a fault: it stays, and nothing is said in the room any more."""
        other = found(person("mallory"), LOBBY, Policy(is_open=True), NOW_MS)
        self.bob.hear(wire.Roster(LOBBY, 2, [other], 3, 0))
        (fault,) = self.bob.told(Fault)
        self.assertEqual(fault.room, LOBBY)
        self.says(self.bob, "secret")
        self.assertEqual(len(self.bob.told(NotSent)), 1)
        self.assertEqual(self.bob.said(wire.Post), [])

    def test_forked(self) -> None:
        """Two logs with one beginning are a fault, also where the other one is shown on a new link."""
        log = self.town_.factory.rooms.memberships.rooms[LOBBY].log
        prefix = log.packed[:1]
        other = Roster(prefix[0], LOBBY)
        other.append(other.join(person("mallory"), NOW_MS))
        self.bob.lose()

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Roster):
                return [wire.Roster(LOBBY, message.first, other.packed[message.first :], len(other), 0)]
            return [message]

        self.deceive(self.bob, twist)
        self.bob.connect()
        self.town_.settle()
        self.assertEqual(len(self.bob.told(Fault)), 1)

    def test_cut_off(self) -> None:
        """A log that ends earlier than it did is a fault: a removal may be what is missing."""
        self.town_.enter("carol")
        self.bob.lose()

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Roster):
                log = self.town_.factory.rooms.memberships.rooms[LOBBY].log.packed[:2]
                return [wire.Roster(LOBBY, min(message.first, 2), log[min(message.first, 2) :], 2, 0)]
            return [message]

        self.deceive(self.bob, twist)
        self.bob.connect()
        self.town_.settle()
        self.assertEqual(len(self.bob.told(Fault)), 1)
        self.assertEqual(self.bob.told(Info), [])

    def test_cut_off_after_a_restart(self) -> None:
        """The same after a start with the key store."""
        self.town_.enter("carol")
        self.bob.conversation.pack()
        self.bob.lose()
        self.bob.begin()

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Roster):
                log = self.town_.factory.rooms.memberships.rooms[LOBBY].log.packed[:2]
                return [wire.Roster(LOBBY, 0, log, 2, 0)]
            return [message]

        self.deceive(self.bob, twist)
        self.bob.connect()
        self.town_.settle()
        self.assertEqual(len(self.bob.told(Fault)), 1)

    def test_relay_began_anew(self) -> None:
        """Where a relay lost its memory, a log of another beginning is no fault in an open room, however long."""
        for each in (self.alice, self.bob):
            each.lose()
        self.town_.start_relay()
        carol, dave = self.town_.enter("carol", "dave")
        self.alice.connect()
        self.town_.settle()
        self.assertEqual(self.alice.told(Fault), [])
        self.assertIn(LOBBY, self.alice.conversation.rooms)
        self.says(self.alice, "here again")
        self.assertEqual((carol.heard(), dave.heard()), ([("alice", "here again")],) * 2)

    def test_longer_room_in_its_place(self) -> None:
        """Another, longer log under the name of a closed room is a fault at once."""
        self.alice.conversation.found_closed("#den")
        self.town_.settle()
        mallory = person("mallory")
        other = Roster(found(mallory, "#den", Policy(), NOW_MS), "#den")
        other.append(other.add(mallory, self.alice.keys.certificate, NOW_MS))
        other.append(other.add(mallory, self.bob.keys.certificate, NOW_MS))

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Roster) and message.room == "#den":
                return [wire.Roster("#den", message.first, other.packed[message.first :], len(other), 0)]
            return [message]

        self.alice.lose()
        self.deceive(self.alice, twist)
        self.alice.connect()
        self.town_.settle()
        self.assertEqual([event.room for event in self.alice.told(Fault)], ["#den"])

    def test_endless_questions(self) -> None:
        """A relay that never shows how a log begins is told as a fault, not asked for ever."""
        self.bob.lose()

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            return [wire.Roster(LOBBY, 1, [], 1, 0)] if isinstance(message, wire.Roster) else [message]

        self.deceive(self.bob, twist)
        self.bob.connect()
        self.town_.settle()
        self.assertEqual(len(self.bob.told(Fault)), 1)
        self.assertLess(len(self.bob.said(wire.Enter)), 4)


class FaultTests(HostileCase):
    """A room whose log does not hold."""

    def test_stays_until_left(self) -> None:
        """A fault stays over links, until the room is left; entered again, an honest log is taken."""
        other = found(person("mallory"), LOBBY, Policy(is_open=True), NOW_MS)
        self.bob.hear(wire.Roster(LOBBY, 2, [other], 3, 0))
        self.bob.lose()
        self.bob.connect()
        self.town_.settle()
        self.says(self.bob, "secret")
        self.assertEqual(self.bob.said(wire.Post), [])
        self.bob.conversation.leave(LOBBY)
        self.assertEqual(len(self.bob.told(Left)), 1)
        self.bob.conversation.enter(LOBBY)
        self.town_.settle()
        self.says(self.bob, "hello")
        self.assertEqual(self.alice.heard(), [("bob", "hello")])


class FloodTests(HostileCase):
    """More of something than there should be."""

    def test_frames_that_nobody_can_open(self) -> None:
        """Thousands of frames of unknown sessions, under any numbers, wait within bounds; the honest is heard."""
        self.says(self.alice, "first")
        sealed = self.alice.said(wire.Post)[0].items[0][1]
        self.bob.forget()
        for seq in range(2, 2_002):
            forged = sealed[:36] + seq.to_bytes(16, "big") + sealed[52:]
            self.bob.hear(wire.Delivery(LOBBY, seq << 40, [("alice", NOW_MS, forged)]))
        self.assertEqual(self.bob.told(Message), [])
        self.assertEqual(len(self.bob.said(wire.Ask)), HELD_EACH)
        self.honest()

    def test_asked_all_the_time(self) -> None:
        """A member who asks for our key all the time makes us ask the relay a few times, and is handed it."""
        for _ in range(300):
            self.alice.hear(wire.Asked(LOBBY, self.bob.keys.device.public, bytes(16)))
        self.town_.settle()
        self.assertEqual(len(self.alice.said(wire.Want)), ASKED)
        self.assertGreater(len(self.alice.said(wire.Hand)), 0)
        self.honest()

    def test_made_to_ask(self) -> None:
        """However many members send what nobody can open, we ask for no more keys than the relay takes."""
        self.says(self.alice, "first")
        sealed = self.alice.said(wire.Post)[0].items[0][1]
        others = self.town_.enter("carol", "dave", "eve", "frank")
        self.says(self.alice, "second")
        epoch = self.alice.said(wire.Post)[-1].epoch
        self.bob.forget()
        for number, other in enumerate(others):
            for at in range(60):
                sid = (1_000 * number + at).to_bytes(16, "big")
                seq = 1_000 * (number + 1) + at
                forged = sealed[:4] + epoch + sid + sealed[52:]
                self.bob.hear(wire.Delivery(LOBBY, seq, [(other.name, NOW_MS, forged)]))
        self.assertEqual(len(self.bob.said(wire.Ask)), ASKS)
        self.honest()


class ChangedKeyTests(HostileCase):
    """Somebody shows another key."""

    def changed_bob(self) -> None:
        """Bob's name comes with another key than alice knows."""
        self.alice.secrets.pins.meet("bob", person("bob", 1).identity.public)
        self.alice.lose()
        self.alice.connect()
        self.town_.settle()

    def test_told_once(self) -> None:
        """A change is told once in a room, and stays in the list of changes until it is accepted."""
        self.changed_bob()
        self.town_.enter("carol", "dave")
        self.alice.lose()
        self.alice.connect()
        self.town_.settle()
        self.assertEqual(len(self.alice.told(KeyChanged)), 0)
        self.assertEqual(self.alice.conversation.changed, ["bob"])
        self.alice.conversation.trust("bob")
        self.assertEqual(self.alice.conversation.changed, [])

    def test_number_of_the_new_key(self) -> None:
        """While a change is undecided the number to compare is made from the new key."""
        self.changed_bob()
        self.alice.conversation.safety("bob")
        ours, new = self.alice.keys.identity.public, person("bob", 1).identity.public
        number = safety_number(b"alice", ours, b"bob", new)
        lines = self.alice.told(Info)[-1].lines
        self.assertEqual("".join(lines[1:3]).replace(" ", ""), number)
        self.assertIn("NEW", lines[3])

    def test_verified_is_what_was_compared(self) -> None:
        """A number that was made from one key does not verify another one that was accepted since."""
        self.alice.conversation.safety("bob")
        self.changed_bob()
        self.alice.conversation.trust("bob")
        self.alice.conversation.verify("bob")
        self.assertEqual(len(self.alice.told(Error)), 1)
        self.alice.conversation.safety("bob")
        self.alice.conversation.verify("bob")
        self.assertEqual(len(self.alice.told(Error)), 1)

    def test_found_somebody_else(self) -> None:
        """Another's certificate, or what is none, under the name that was asked for is nobody, and told."""
        mallory = person("mallory").certificate.packed
        for certificate in (mallory, mallory[:-1]):

            def twist(message: wire.FromRelay, certificate: bytes = certificate) -> list[wire.FromRelay]:
                if isinstance(message, wire.Found):
                    return [wire.Found(message.name, certificate, True)]
                return [message]

            self.alice.forget()
            self.deceive(self.alice, twist)
            self.alice.conversation.invite(LOBBY, "carol")
            self.town_.settle()
            self.assertIn("not authentic", self.alice.told(Error)[0].text)
            self.assertEqual(self.alice.said(wire.Append), [])

    def test_accepted_is_what_was_shown(self) -> None:
        """What /trust accepts is the key that was on the screen, not one that came since."""
        self.bob.lose()
        pins = self.alice.secrets.pins
        pins.meet("bob", person("bob", 1).identity.public)
        self.alice.lose()
        self.alice.connect()
        self.town_.settle()
        (changed,) = {event.key for event in self.alice.told(KeyChanged)}
        self.alice.forget()
        pins.meet("bob", person("bob", 2).identity.public)
        self.alice.conversation.trust("bob")
        pin = pins.pin("bob")
        assert pin is not None
        self.assertEqual(pin.identity, person("bob", 0).identity.public)
        (again,) = self.alice.told(KeyChanged)
        self.assertNotEqual(again.key, changed)
        self.alice.conversation.trust("bob")
        pin = pins.pin("bob")
        assert pin is not None
        self.assertEqual(pin.identity, person("bob", 2).identity.public)
