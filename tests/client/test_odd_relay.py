"""A relay that begins anew, shows what does not hold, or says what nobody asked for."""

from __future__ import annotations

from securechat.client.events import Entered, Error, Fault, Gap, Info, KeyChanged, NotSent
from securechat.relay.limits import RelayLimits
from securechat.signed.entries import Policy
from securechat.signed.roster import found
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from tests.client.town import LOBBY, Person, Town, TownCase
from tests.relay.people import person

DEN = "#den"


def restarted(town: Town) -> None:
    """The relay starts again with no memory, and everybody comes back."""
    for each in town.people:
        each.lose()
    town.clock.advance(0)
    town.start_relay()
    for each in town.people:
        each.connect()


class NewStartTests(TownCase):
    """The relay has lost its memory."""

    def test_everybody_comes_back(self) -> None:
        """All find the lobby again, each hears each, and what was on its way is said once."""
        town = self.town()
        people = town.enter("alice", "bob", "carol", "dave", "erin")
        for each in people:
            each.conversation.say(LOBBY, f"{each.name} 1")
            each.move_up()
        restarted(town)
        town.settle()
        for each in people:
            each.conversation.say(LOBBY, f"{each.name} 2")
        town.settle()
        for each in people:
            self.assertEqual(5, len(each.conversation.members(LOBBY)))
            for other in people:
                if other is not each:
                    said = [text for name, text in each.heard() if name == other.name]
                    self.assertEqual([f"{other.name} 2"], said[-1:])
                    self.assertLessEqual(len(said), 2)
            self.assertEqual([f"{each.name} 1", f"{each.name} 2"], each.acknowledged())
            self.assertEqual([], [*each.told(Fault), *each.told(KeyChanged)])

    def test_told(self) -> None:
        """Whoever was in a room that begins anew is told so, and that they are in it."""
        town = self.town()
        (alice,) = town.enter("alice")
        restarted(town)
        town.settle()
        self.assertIn(Info([f"The relay has forgotten {LOBBY}; it begins anew."]), alice.told(Info))
        self.assertEqual([LOBBY], [event.room for event in alice.told(Entered)])

    def test_another_log_of_an_open_room(self) -> None:
        """An open room that somebody else founded again meanwhile is joined, and nothing old is opened there."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.lose()
        bob.lose()
        town.clock.advance(0)
        town.start_relay()
        bob.connect()
        town.settle(alice)
        bob.conversation.say(LOBBY, "before alice")
        town.settle(alice)
        alice.connect()
        town.settle()
        bob.conversation.say(LOBBY, "with alice")
        town.settle()
        self.assertEqual([("bob", "with alice")], alice.heard())
        self.assertEqual(["alice", "bob"], sorted(alice.conversation.members(LOBBY)))

    def test_another_log_of_a_closed_room(self) -> None:
        """Another log in the place of a closed room's is a fault: strangers could have founded it."""
        town = self.town()
        alice, _ = town.come("alice", "bob")
        alice.conversation.found_closed(DEN)
        town.settle()
        entry = found(person("bob"), DEN, Policy(), town.now_ms())
        alice.hear(wire.Roster(DEN, 0, [entry], 1, 0))
        (fault,) = alice.told(Fault)
        self.assertIn("another room in its place", fault.reason)
        alice.conversation.say(DEN, "to whom?")
        self.assertEqual(1, len(alice.told(NotSent)))


class PrekeyTests(TownCase):
    """Prekeys that cannot be used."""

    def spoiled(self, record: bytes) -> tuple[Town, Person, Person, Person]:
        """Alice says something, and is given this for bob's prekey."""
        town = self.town()
        alice, bob, carol = town.enter("alice", "bob", "carol")
        alice.conversation.say(LOBBY, "1")
        alice.move_up()
        town.turn()
        device = bob.keys.device.public
        for at, message in enumerate(alice.down):
            if isinstance(message, wire.Prekeys):
                items = [(each, record if each == device else good) for each, good in message.items]
                alice.down[at] = wire.Prekeys(items)
        town.settle()
        return town, alice, bob, carol

    def test_none_that_is_good(self) -> None:
        """Who has no good prekey is passed over: the others hear, and they themselves ask and hear what is next."""
        for record in (b"", b"x" * 200, bytes(2_048)):
            town, alice, bob, carol = self.spoiled(record)
            self.assertEqual(([("alice", "1")], []), (carol.heard(), bob.heard()))
            alice.conversation.say(LOBBY, "2")
            town.settle()
            self.assertEqual([("alice", "2")], bob.heard())

    def test_somebody_elses(self) -> None:
        """A prekey that another device signed is nobody's but that one's: our key is not sealed to it."""
        town = self.town()
        (mallory,) = town.come("mallory")
        stolen = mallory.secrets.ring.newest
        assert stolen is not None
        _, _, bob, _ = self.spoiled(stolen.packed)
        self.assertEqual([], bob.heard())

    def test_not_asked_for(self) -> None:
        """Prekeys that nobody asked for are not used."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        newest = bob.secrets.ring.newest
        assert newest is not None
        alice.hear(wire.Prekeys([(bob.keys.device.public, newest.packed)]))
        self.assertEqual([], alice.sent)

    def test_rekeyed_while_sealing(self) -> None:
        """A new session that is asked for while a message is being sealed begins with the next one."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.worker.at_once = False
        for text in ("1", "2"):
            alice.conversation.say(LOBBY, text)
        while not alice.worker.jobs:
            alice.move_up()
            town.turn()
            alice.move_down()
        alice.conversation.rekey(LOBBY)
        town.settle()
        self.assertEqual([("alice", "1"), ("alice", "2")], bob.heard())
        self.assertEqual(2, len(alice.said(wire.Hand)))

    def test_many_members(self) -> None:
        """Our key goes to more members than one frame holds, and all of them hear."""
        town = self.town()
        (alice,) = town.enter("alice")
        others = town.come(*(f"p{number:02}" for number in range(70)))
        for each in others:
            each.conversation.enter(LOBBY)
        town.settle()
        alice.conversation.say(LOBBY, "all of you")
        town.settle()
        self.assertEqual([64, 6], [len(want.devices) for want in alice.said(wire.Want)])
        for each in others:
            self.assertEqual([("alice", "all of you")], each.heard())


class AnswerTests(TownCase):
    """Answers that do not hold, or that are refusals."""

    def test_another_ones_certificate(self) -> None:
        """A certificate of another name, or none at all, is nobody's: no one is brought in by it."""
        town = self.town()
        (alice,) = town.enter("alice")
        for certificate in (person("mallory").certificate.packed, b"x" * 100):
            alice.forget()
            alice.conversation.invite(LOBBY, "bob")
            alice.up.clear()
            alice.hear(wire.Found("bob", certificate, True))
            self.assertIn("nobody is called bob", alice.told(Error)[-1].text)
            self.assertEqual([], alice.said(wire.Append))

    def test_changed_certificate(self) -> None:
        """Who has another key than before is not brought in until that is accepted."""
        town = self.town()
        alice, _ = town.enter("alice", "bob")
        alice.conversation.found_closed(DEN)
        town.settle()
        alice.forget()
        alice.conversation.invite(DEN, "bob")
        alice.up.clear()
        alice.hear(wire.Found("bob", person("bob", 1).certificate.packed, True))
        self.assertEqual(([KeyChanged(DEN, "bob")], []), (alice.told(KeyChanged), alice.said(wire.Append)))
        self.assertEqual(["alice"], alice.conversation.members(DEN))

    def test_post_declined(self) -> None:
        """A post that is declined for another reason than its epoch is told as not sent, and missed by nobody."""
        town = self.town(RelayLimits(window=1))
        alice, bob = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "1")
        town.settle(bob)
        alice.forget()
        alice.conversation.say(LOBBY, "2")
        alice.up.clear()
        ((post_id, _),) = alice.said(wire.Post)[-1].items
        alice.hear(wire.Declined(LOBBY, [post_id], Code.FAILED))
        self.assertEqual([("2", REASONS[Code.FAILED])], alice.given_up())
        alice.conversation.say(LOBBY, "3")
        town.settle()
        self.assertEqual(([("alice", "1"), ("alice", "3")], []), (bob.heard(), bob.told(Gap)))

    def test_acknowledged_twice(self) -> None:
        """What is acknowledged twice is told as sent once; what is acknowledged and was never said is not told."""
        town = self.town()
        (alice,) = town.enter("alice")
        alice.conversation.say(LOBBY, "1")
        town.settle()
        ((post_id, _),) = alice.said(wire.Post)[-1].items
        for each in (post_id, bytes(16)):
            alice.hear(wire.Ack(LOBBY, [(each, 1)]))
        self.assertEqual(["1"], alice.acknowledged())
