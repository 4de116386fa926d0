"""The relay shows logs that nobody wrote: its own members, entries without a right, another log for everybody.

Each is a fault that is told; nobody comes in, nothing is sealed for the room any more, and whoever leaves it and
comes back when the relay is honest hears the next message.
"""

from __future__ import annotations

from securechat.client.events import Fault, Held, Joined, Left, NotSent, Unreadable
from securechat.e2e.outcomes import Refusal
from securechat.relay.limits import RelayLimits
from securechat.signed.entries import Op, Role, sign_entry
from securechat.signed.roster import Roster
from securechat.wire import messages as wire
from tests.client.test_hostile import Deceived, HostileCase
from tests.client.town import Person
from tests.relay.people import NOW_MS, Chain, person

DEN = "#den"


class ClosedCase(HostileCase):
    """Alice, who founded a closed room, and bob and carol, whom she brought in."""

    limits = RelayLimits(requests_burst=10_000)

    def setUp(self) -> None:
        """Found it."""
        super().setUp()
        (self.carol,) = self.town_.come("carol")
        self.alice.conversation.found_closed(DEN)
        self.town_.settle()
        for name in ("bob", "carol"):
            self.alice.conversation.invite(DEN, name)
            self.town_.settle()
        for each in self.town_.people:
            each.forget()

    @property
    def log(self) -> Roster:
        """The room's log as the real relay has it."""
        return self.town_.factory.rooms.memberships.rooms[DEN].log

    def chain(self) -> Chain:
        """The same, to be gone on with."""
        return Chain.copy(self.log)

    def show(self, who: Person, *entries: bytes) -> None:
        """Let the relay show somebody more of the log than there is."""
        first = len(self.log)
        who.conversation.received(wire.Roster(DEN, first, list(entries), first + len(entries), 0))
        self.town_.settle()

    def assert_fault(self, who: Person, *entries: bytes) -> None:
        """These are a fault for somebody, who has the members of before and seals nothing for the room."""
        members = who.conversation.members(DEN)
        who.forget()
        self.show(who, *entries)
        (fault,) = who.told(Fault)
        self.assertEqual(fault.room, DEN)
        self.assertEqual(who.conversation.members(DEN), members)
        self.assertEqual((who.told(Joined), who.told(Left)), ([], []))
        self.says(who, "secret", room=DEN)
        self.assertEqual(([event.room for event in who.told(NotSent)], who.said(wire.Post)), ([DEN], []))

    def assert_goes_on(self, who: Person) -> None:
        """Whoever leaves the room, which nobody is told of, and comes back hears the next honest message."""
        who.conversation.leave(DEN)
        who.conversation.enter(DEN)
        self.town_.settle()
        who.forget()
        self.says(self.alice, "honestly", room=DEN)
        self.assertEqual(who.heard(DEN), [("alice", "honestly")])

    def assert_refused(self, *entries: bytes) -> None:
        """Each of these is a fault for bob, after which he can come back."""
        for entry in entries:
            self.assert_fault(self.bob, entry)
            self.assert_goes_on(self.bob)


class EntryTests(ClosedCase):
    """Entries that nobody may make."""

    def test_own_member(self) -> None:
        """A member whom the relay adds, by a key of its own or in alice's name, is none."""
        mallory, ghost = person("mallory"), person("ghost")
        chain, detail = self.chain(), ghost.certificate.packed
        own = chain.signed(mallory, Op.ADD, ghost, Role.MEMBER, detail)
        in_her_name = bytearray(own)
        at = own.index(mallory.device.public)
        in_her_name[at : at + 32] = self.alice.keys.device.public
        self.assert_refused(own, bytes(in_her_name))

    def test_own_join(self) -> None:
        """A `join` to a closed room, however well it is signed by who joins, lets nobody in."""
        mallory = person("mallory")
        self.assert_refused(self.chain().signed(mallory, Op.JOIN, mallory, Role.MEMBER, mallory.certificate.packed))

    def test_by_a_non_member(self) -> None:
        """Of somebody who is no member no entry is taken, of whatever kind."""
        mallory, chain = person("mallory"), self.chain()
        self.assert_refused(
            chain.signed(mallory, Op.REMOVE, self.alice.keys),
            chain.signed(mallory, Op.ROLE, self.carol.keys, Role.OWNER),
            chain.signed(mallory, Op.POLICY, mallory, None, b"\0\0\0\4open\0\0\0\4\0\0\0\0"),
            chain.signed(mallory, Op.LEAVE, mallory),
        )

    def test_without_the_right(self) -> None:
        """Nor of a member without the right: carol brings nobody in, puts nobody out, and makes herself nothing."""
        carol, chain, mallory = self.carol.keys, self.chain(), person("mallory")
        self.assert_refused(
            chain.signed(carol, Op.ADD, mallory, Role.MEMBER, mallory.certificate.packed),
            chain.signed(carol, Op.REMOVE, self.alice.keys),
            chain.signed(carol, Op.ROLE, carol, Role.OWNER),
            chain.signed(carol, Op.POLICY, carol, None, b"\0\0\0\4open\0\0\0\4\0\0\0\0"),
            chain.signed(carol, Op.LEAVE, self.alice.keys),
        )

    def test_replayed_after_a_fault(self) -> None:
        """Whoever leaves a room with a fault and comes back is not shown again what they have heard there."""
        heard: list[wire.Delivery] = []

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Delivery):
                heard.append(message)
            return [message]

        self.deceive(self.bob, twist)
        self.says(self.alice, "once", room=DEN)
        self.assertEqual(self.bob.heard(DEN), [("alice", "once")])
        mallory = person("mallory")
        self.assert_fault(self.bob, self.chain().signed(mallory, Op.LEAVE, mallory))
        self.bob.conversation.leave(DEN)
        self.bob.conversation.enter(DEN)
        self.town_.settle()
        self.bob.forget()
        self.bob.hear(wire.Delivery(DEN, heard[0].first_seq + 1, heard[0].items))
        self.assertEqual(self.bob.heard(DEN), [])
        self.assertEqual([event.reason for event in self.bob.told(Unreadable)], [Refusal.REPLAYED])

    def test_left_with_a_fault(self) -> None:
        """Whoever has left a closed room for its fault has no claim to its name: another room of it is none."""
        mallory = person("mallory")
        self.assert_fault(self.bob, self.chain().signed(mallory, Op.LEAVE, mallory))
        self.bob.conversation.leave(DEN)
        for each in self.town_.people:
            each.lose()
        self.town_.start_relay()
        (dave,) = self.town_.come("dave")
        dave.conversation.found_closed(DEN)
        self.bob.connect()
        self.town_.settle()
        self.bob.forget()
        dave.conversation.invite(DEN, "bob")
        self.town_.settle()
        self.assertEqual(self.bob.told(Fault), [])
        self.says(dave, "hello", room=DEN)
        self.assertEqual(self.bob.heard(DEN), [("dave", "hello")])

    def test_out_of_its_place(self) -> None:
        """Nor is an honest entry in another place than its own: earlier, later, or behind another one."""
        alice, last = self.alice.keys.device, self.log.last
        carol = self.carol.keys.identity.public
        count = len(self.log)
        for number, previous in ((count + 1, last), (count, bytes(32)), (count - 1, last)):
            entry = sign_entry(alice, number, previous, Op.REMOVE, carol, None, NOW_MS, b"")
            self.assert_refused(entry.packed)


class SplitTests(ClosedCase):
    """Different logs for different members."""

    def test_two_logs_of_an_owner(self) -> None:
        """Where an owner and the relay show bob and carol another next entry each, neither hears the other one."""
        x, y = person("xavier"), person("yvonne")
        for_bob = self.chain().add(self.alice.keys, x).entry
        for_carol = self.chain().add(self.alice.keys, y).entry
        self.show(self.bob, for_bob)
        self.show(self.carol, for_carol)
        self.assertEqual(self.bob.told(Fault) + self.carol.told(Fault), [])
        epoch = Roster(self.log.packed[0])
        epoch.follow([*self.log.packed[1:], for_carol])
        self.carol.conversation.received(wire.SessionKey(DEN, epoch.epoch, bytes(32)))
        self.carol.conversation.say(DEN, "with yvonne")
        self.town_.settle()
        # What carol says is of an epoch that bob has never heard of: he waits for the log, and is told so.
        (post,) = self.carol.said(wire.Post)
        self.bob.conversation.received(wire.Delivery(DEN, 1, [("carol", NOW_MS, post.items[0][1])]))
        (held,) = self.bob.told(Held)
        self.assertIn("log", held.reason)
        self.assertEqual(self.bob.heard(DEN), [])
        # The log that he would have to be shown for that is the proof, and what he has seen is not forgotten.
        self.assert_fault(self.bob, for_carol)
        self.bob.conversation.leave(DEN)
        self.bob.conversation.enter(DEN)
        self.town_.settle()
        self.assertEqual([event.room for event in self.bob.told(Fault)], [DEN, DEN])
        # Elsewhere they go on.
        self.honest()

    def test_another_room_under_its_name(self) -> None:
        """The log of one room under the name of another, which bob asks for, is a fault, and he is in neither."""

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Declined) and message.room == "#new":
                return [wire.Roster("#new", 0, self.log.packed, len(self.log), 0)]
            return [message]

        self.deceive(self.bob, twist)
        self.bob.conversation.enter("#new")
        self.town_.settle()
        self.assertEqual([event.room for event in self.bob.told(Fault)], ["#new"])
        self.assertEqual(self.bob.conversation.members("#new"), [])
        self.says(self.bob, "secret", room="#new")
        self.assertEqual((len(self.bob.told(NotSent)), self.bob.said(wire.Post)), (1, []))
        self.honest()

    def test_a_removal_that_some_are_not_shown(self) -> None:
        """Who is not shown a removal says nothing to those who know of it, and hears nothing of them until then."""
        assert isinstance(self.bob, Deceived)
        kept: list[wire.FromRelay] = []

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Roster | wire.SessionKey) and message.room == DEN:
                kept.append(message)
                return []
            return [message]

        self.deceive(self.bob, twist)
        self.alice.conversation.remove(DEN, "carol")
        self.town_.settle()
        self.says(self.alice, "without carol", room=DEN)
        self.assertEqual(self.bob.heard(DEN), [])
        self.assertEqual(len(self.bob.told(Held)), 1)
        self.says(self.bob, "to whom?", room=DEN)
        self.assertEqual((self.alice.heard(DEN), self.bob.acknowledged()), ([], []))
        self.deceive(self.bob, lambda message: [message])
        for message in kept:
            self.bob.hear(message)
        self.town_.settle()
        self.assertEqual(self.bob.heard(DEN), [("alice", "without carol")])
        self.assertEqual(self.alice.heard(DEN), [("bob", "to whom?")])
        self.assertEqual(self.bob.told(Fault), [])

    def test_members_who_are_not_in_the_log(self) -> None:
        """A member whom only the relay names is handed no key, whatever it says of them."""
        mallory = person("mallory")
        told: list[wire.FromRelay] = [
            wire.Present(DEN, ["alice", "bob", "carol", "mallory"]),
            wire.Presence(DEN, "mallory", True),
            wire.Asked(DEN, mallory.device.public, bytes(16)),
            wire.Prekeys([(mallory.device.public, b"x")]),
        ]
        self.says(self.bob, "before", room=DEN)
        self.bob.forget()
        for message in told:
            self.bob.hear(message)
        self.says(self.bob, "after", room=DEN)
        self.assertEqual((self.bob.said(wire.Want), self.bob.said(wire.Hand)), ([], []))
        self.assertNotIn("mallory", self.bob.conversation.members(DEN))
        self.assertEqual(self.alice.heard(DEN)[-1], ("bob", "after"))
