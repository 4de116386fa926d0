"""The relay reorders, drops, duplicates and moves messages, and keeps session keys back: what is told of that.

What fails is told as that and not shown, and the next honest message arrives. An error that is logged fails a test.
"""

from __future__ import annotations

from dataclasses import replace

from securechat.client.events import Gap, Held, Message, Missed, Unreadable
from securechat.e2e.chain import read_frame
from securechat.e2e.outcomes import Refusal
from securechat.wire import messages as wire
from tests.client.test_hostile import HostileCase
from tests.client.test_hostile_bits import BitCase
from tests.client.town import LOBBY


class OrderTests(BitCase):
    """Messages in another order, or not at all, or more than once."""

    def three(self) -> list[wire.Delivery]:
        """Alice has said three things, of which bob has heard nothing yet."""
        self.says(self.alice, "before")
        self.bob.forget()
        kept = self.kept(self.bob, wire.Delivery)
        for text in ("one", "two", "three"):
            self.says(self.alice, text)
        return kept

    def test_reordered(self) -> None:
        """In another order each is shown once, what is missing is told, and what comes late has a mark."""
        one, two, three = self.three()
        for each in (three, one, two):
            self.bob.conversation.received(each)
        self.assertEqual(
            [(event.text, event.late) for event in self.bob.told(Message)],
            [("three", False), ("one", True), ("two", True)],
        )
        (gap,) = self.bob.told(Gap)
        self.assertEqual((gap.sender, gap.first, gap.last), ("alice", 1, 2))
        self.honest()

    def test_renumbered(self) -> None:
        """A relay that numbers what it reordered as if nothing were is told on by the sender's own numbers."""
        one, two, three = self.three()
        for seq, each in enumerate((three, one, two), one.first_seq):
            self.bob.conversation.received(wire.Delivery(LOBBY, seq, each.items))
        self.assertEqual([event.late for event in self.bob.told(Message)], [False, True, True])
        self.assertEqual((len(self.bob.told(Gap)), self.bob.told(Missed)), (1, []))
        self.honest()

    def test_dropped(self) -> None:
        """What was dropped is told with the next message, also where the relay's numbers hide it."""
        one, _, three = self.three()
        self.bob.conversation.received(one)
        self.bob.conversation.received(wire.Delivery(LOBBY, one.first_seq + 1, three.items))
        self.assertEqual(self.bob.heard(), [("alice", "one"), ("alice", "three")])
        (gap,) = self.bob.told(Gap)
        self.assertEqual((gap.sender, gap.first, gap.last), ("alice", 2, 2))
        self.honest()

    def test_duplicated(self) -> None:
        """What comes twice in one run, or in one of its own, is shown once and told as having come before."""
        one, two, _ = self.three()
        self.bob.conversation.received(wire.Delivery(LOBBY, one.first_seq, [*one.items * 2, *two.items]))
        self.bob.conversation.received(wire.Delivery(LOBBY, one.first_seq + 3, one.items))
        self.assertEqual(self.bob.heard(), [("alice", "one"), ("alice", "two")])
        self.assertEqual([event.reason for event in self.bob.told(Unreadable)], [Refusal.REPLAYED] * 2)
        self.honest()

    def test_in_another_epoch(self) -> None:
        """A message that is shown as one of an earlier or of a later epoch is refused, and is good in its own."""
        self.says(self.alice, "before")
        self.says(self.bob, "before")
        epochs = [self.alice.said(wire.Post)[0].epoch]
        first = self.kept(self.bob, wire.Delivery)
        self.says(self.alice, "alone")
        self.deceive(self.bob, lambda message: [message])
        self.town_.enter("carol")
        second = self.kept(self.bob, wire.Delivery)
        self.says(self.alice, "with carol")
        epochs.append(self.alice.said(wire.Post)[-1].epoch)
        self.assertNotEqual(*epochs)
        for delivery, epoch in ((first[0], epochs[1]), (second[0], epochs[0])):
            ((sender, time, sealed),) = delivery.items
            header = replace(read_frame(sealed).header, epoch=epoch).packed
            moved = header + sealed[len(header) :]
            self.bob.forget()
            self.bob.conversation.received(wire.Delivery(LOBBY, delivery.first_seq, [(sender, time, moved)]))
            self.assertEqual(len(self.bob.told(Unreadable)), 1)
            self.assertEqual(self.bob.heard(), [])
        for delivery in (first[0], second[0]):
            self.bob.conversation.received(delivery)
        self.assertEqual(self.bob.heard(), [("alice", "alone"), ("alice", "with carol")])
        self.honest()


class SessionKeyTests(HostileCase):
    """The relay's half of the keys."""

    def test_withheld(self) -> None:
        """What is said while the session key of its epoch is kept back waits, which is told; then it is shown."""
        kept: list[wire.FromRelay] = []

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.SessionKey):
                kept.append(message)
                return []
            return [message]

        self.deceive(self.bob, twist)
        self.town_.enter("carol")
        self.says(self.alice, "secret")
        self.assertEqual(self.bob.heard(), [])
        (held,) = self.bob.told(Held)
        self.assertIn("session key", held.reason)
        # Nor is anything said without it: what bob says waits, and is not sealed by the key of before.
        self.says(self.bob, "mine")
        self.assertEqual(self.bob.said(wire.Post), [])
        self.deceive(self.bob, lambda message: [message])
        self.bob.hear(kept[0])
        self.town_.settle()
        self.assertEqual((self.bob.heard(), self.alice.heard()), ([("alice", "secret")], [("bob", "mine")]))
        self.honest()
