"""The relay flips any bit of what it passes on: clients refuse it, tell that, and hear the next honest message.

A client that logs an error fails these tests, as trial fails whatever logs one: so none of this crashes it.
"""

from __future__ import annotations

from typing import TypeVar

from securechat.client.events import Error, Fault, Held, NotSent, Unreadable
from securechat.e2e.inbox import HELD_EACH
from securechat.e2e.outcomes import Refusal
from securechat.relay.limits import RelayLimits
from securechat.wire import messages as wire
from tests.client.test_hostile import Deceived, HostileCase
from tests.client.town import LOBBY, Person
from tests.crypto.vectors import flipped

Kind = TypeVar("Kind", bound=wire.FromRelay)

STEP = 5
"""Every so many bits of a prekey: each costs a message. It reaches all bytes, and all bits of eight."""


class BitCase(HostileCase):
    """A case in which the relay keeps what it should pass on, and shows it with a bit changed."""

    limits = RelayLimits(requests_burst=10_000, posts_burst=10_000, bytes_per_s=0)

    def kept(self, who: Person, kind: type[Kind]) -> list[Kind]:
        """From now on what the relay says of one kind does not come to somebody; the list that it goes to."""
        kept: list[Kind] = []

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, kind):
                kept.append(message)
                return []
            return [message]

        self.deceive(who, twist)
        return kept


class MessageTests(BitCase):
    """Messages, their headers among them."""

    def test_message_and_header(self) -> None:
        """With any bit changed, in the header or behind it, it is not shown, and that is told; as it was it is."""
        self.says(self.alice, "first")
        self.bob.forget()
        kept = self.kept(self.bob, wire.Delivery)
        self.says(self.alice, "secret")
        ((sender, time, sealed),) = kept[0].items
        for seq, broken in enumerate(flipped(sealed), kept[0].first_seq):
            self.bob.conversation.received(wire.Delivery(LOBBY, seq, [(sender, time, broken)]))
        self.assertEqual(self.bob.heard(), [])
        held, unreadable = self.bob.told(Held), self.bob.told(Unreadable)
        self.assertEqual(len(held) + len(unreadable), 8 * len(sealed))
        self.assertEqual({each.sender for each in held} | {each.sender for each in unreadable}, {"alice"})
        # A changed epoch or session number is one that nobody knows, and waits, within bounds.
        self.assertEqual(len(held), HELD_EACH)
        told = {each.reason for each in unreadable}
        self.assertEqual(told, {Refusal.NOT_AUTHENTIC, Refusal.TOO_FAR, Refusal.TOO_MANY_HELD})
        self.bob.conversation.received(kept[0])
        self.assertEqual(self.bob.heard(), [("alice", "secret")])
        self.honest()


class KeyTests(BitCase):
    """Certificates, prekeys and sealed keys."""

    def test_certificate(self) -> None:
        """Nobody is brought in by a certificate with a changed bit, and that is told; the honest one does it."""
        (carol,) = self.town_.come("carol")
        kept = self.kept(self.alice, wire.Found)
        for broken in flipped(carol.keys.certificate.packed):
            self.alice.conversation.invite(LOBBY, "carol")
            self.town_.settle()
            found = kept.pop()
            self.alice.forget()
            self.alice.conversation.received(wire.Found(found.name, broken, found.online))
            self.assertIn("not authentic", self.alice.told(Error)[0].text)
            self.assertEqual(self.alice.said(wire.Append), [])
        self.deceive(self.alice, lambda message: [message])
        self.alice.conversation.invite(LOBBY, "carol")
        self.town_.settle()
        self.says(self.alice, "welcome")
        self.assertEqual((carol.heard(), self.bob.heard()), ([("alice", "welcome")],) * 2)

    def test_prekey(self) -> None:
        """Nothing is sealed to a prekey with a changed bit; the next session is handed to its owner, and heard."""
        newest = self.bob.secrets.ring.newest
        assert newest is not None
        assert isinstance(self.bob, Deceived)
        self.bob.lost = lambda message: isinstance(message, wire.Ask)
        kept = self.kept(self.alice, wire.Prekeys)
        broken_ones = flipped(newest.packed)[::STEP]
        for number, broken in enumerate(broken_ones):
            self.alice.conversation.rekey(LOBBY)
            self.says(self.alice, str(number))
            ((device, _),) = kept.pop().items
            self.alice.conversation.received(wire.Prekeys([(device, broken)]))
            self.town_.settle()
        self.assertEqual((self.alice.said(wire.Hand), self.bob.heard()), ([], []))
        self.assertEqual(len(self.alice.said(wire.Post)), len(broken_ones))
        self.assertGreater(len(self.bob.told(Held)), 0)
        self.bob.lost = lambda message: False
        self.alice.conversation.rekey(LOBBY)
        self.honest(self.alice)

    def test_sealed_key(self) -> None:
        """A sealed key with a changed bit opens nothing, and in its place the honest one does."""
        kept = self.kept(self.bob, wire.SealedKey)
        self.says(self.alice, "secret")
        ((sender, blob),) = kept[0].items
        for broken in flipped(blob):
            self.bob.conversation.received(wire.SealedKey(LOBBY, 0, [(sender, broken)]))
        self.assertEqual((self.bob.heard(), len(self.bob.told(Held))), ([], 1))
        self.bob.conversation.received(kept[0])
        self.assertEqual(self.bob.heard(), [("alice", "secret")])
        self.honest()


class EntryTests(BitCase):
    """Entries of a room's log."""

    def test_entry(self) -> None:
        """An entry with a changed bit is a fault: it is told, nobody comes in, nothing is said there any more."""

        def without_carol(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.Roster):
                return [wire.Roster(LOBBY, message.first, message.entries[: 2 - message.first], 2, 0)]
            return [message]

        kept = self.kept(self.bob, wire.Roster)
        self.town_.enter("carol")
        (roster,) = kept
        (entry,) = roster.entries
        for broken in flipped(entry):
            self.bob.forget()
            self.bob.conversation.received(
                wire.Roster(LOBBY, roster.first, [broken], roster.total, roster.last_seq)
            )
            (fault,) = self.bob.told(Fault)
            self.assertEqual(fault.room, LOBBY)
            self.assertNotIn("carol", self.bob.conversation.members(LOBBY))
            self.says(self.bob, "secret")
            self.assertEqual((len(self.bob.told(NotSent)), self.bob.said(wire.Post)), (1, []))
            # Only leaving ends a fault. The relay has not been told of that, so we are in when we come back.
            self.bob.conversation.leave(LOBBY)
            self.deceive(self.bob, without_carol)
            self.bob.conversation.enter(LOBBY)
            self.town_.settle()
        self.deceive(self.bob, lambda message: [message])
        self.bob.conversation.enter(LOBBY)
        self.town_.settle()
        self.assertIn("carol", self.bob.conversation.members(LOBBY))
        self.honest()
