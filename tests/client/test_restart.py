"""A client that starts again with its key store; and who reads nothing older, or nothing newer."""

from __future__ import annotations

from pathlib import Path

from securechat.client.events import Fault, Message, Unreadable
from securechat.client.keys import KeyFile
from securechat.e2e.chain import read_frame
from securechat.e2e.keystore import MAX_ROOMS, KeyStore
from securechat.e2e.outcomes import Arrived, Refused
from securechat.e2e.room import SecureRoom
from securechat.signed.roster import Roster
from securechat.wire import messages as wire
from tests.client.test_hostile import Deceived, HostileCase, Valley
from tests.client.town import LOBBY, Person, TownCase
from tests.relay.people import NOW_MS


def frames(who: Person, room: str = LOBBY) -> list[bytes]:
    """What somebody has posted in a room, as the relay has it."""
    return [sealed for post in who.said(wire.Post) if post.room == room for _, sealed in post.items]


class RestartTests(HostileCase):
    """Alice and bob; bob's program ends, and starts again."""

    def restart(self, who: Person) -> None:
        """End somebody's program in order, and start it with what its key store has."""
        home = Path(self.mktemp())
        file = KeyFile(home, "relay", who.name)
        first = file.open(NOW_MS)
        who.conversation.pack()
        if who.linked:
            who.lose()
        first.secrets.person = who.secrets.person
        first.secrets.ring = who.secrets.ring
        first.secrets.pins = who.secrets.pins
        first.secrets.rooms = who.secrets.rooms
        first.secrets.places = who.secrets.places
        file.save(first)
        file.close()
        again: KeyStore = file.open(NOW_MS)
        file.close()
        who.secrets = again.secrets
        who.begin()
        who.forget()
        who.connect()
        self.town_.settle()

    def test_others_sessions_are_kept(self) -> None:
        """After a start the next message of a session that was followed before is heard, without any question."""
        self.says(self.alice, "before")
        self.alice.forget()
        self.restart(self.bob)
        self.says(self.alice, "after")
        self.assertEqual(self.bob.heard(), [("alice", "after")])
        self.assertEqual((self.bob.said(wire.Ask), self.alice.said(wire.Hand)), ([], []))

    def test_own_session_is_new(self) -> None:
        """After a start what we say is in a new session, with a key that was handed before."""
        self.says(self.bob, "before")
        (before,) = frames(self.bob)
        self.restart(self.bob)
        self.says(self.bob, "after")
        (after,) = frames(self.bob)
        self.assertNotEqual(read_frame(before).header.sid, read_frame(after).header.sid)
        self.assertEqual(read_frame(after).header.index, 0)
        sent = [type(message) for message in self.bob.sent]
        self.assertLess(sent.index(wire.Hand), sent.index(wire.Post))
        self.assertEqual(self.alice.heard(), [("bob", "before"), ("bob", "after")])

    def test_nothing_twice(self) -> None:
        """What was heard before a start is refused when the relay tells it again after it."""
        self.says(self.alice, "once")
        (frame,) = frames(self.alice)
        self.restart(self.bob)
        self.bob.hear(wire.Delivery(LOBBY, 9, [("alice", NOW_MS, frame)]))
        self.assertEqual(self.bob.heard(), [])
        self.assertEqual(len(self.bob.told(Unreadable)), 1)

    def test_nothing_twice_with_its_key(self) -> None:
        """Nor does it help the relay to hand the old key out once more, or to wait until the room was left."""
        kept: list[wire.FromRelay] = []

        def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.SealedKey | wire.SessionKey):
                kept.append(message)
            return [message]

        self.deceive(self.bob, twist)
        self.bob.lose()
        self.bob.connect()
        self.town_.settle()
        self.says(self.alice, "once")
        (frame,) = frames(self.alice)
        self.bob.conversation.leave(LOBBY)
        self.town_.settle()
        self.bob.conversation.enter(LOBBY)
        self.town_.settle()
        self.bob.forget()
        for restarted in (False, True):
            if restarted:
                self.restart(self.bob)
            for message in list(kept):
                self.bob.hear(message)
            self.bob.hear(wire.Delivery(LOBBY, 9, [("alice", NOW_MS, frame)]))
            self.assertEqual(self.bob.heard(), [])
        self.honest(self.bob)

    def test_said_again(self) -> None:
        """What its sender seals again under its id, here as the relay has lost its memory, is shown once."""
        self.bob.forget()
        self.alice.conversation.say(LOBBY, "once")
        self.town_.settle(self.alice)
        for _ in range(4):
            self.alice.move_up()
            self.town_.turn()
            self.alice.down = type(self.alice.down)(m for m in self.alice.down if not isinstance(m, wire.Ack))
            self.alice.move_down()
            self.town_.settle(self.alice)
        self.assertEqual(self.bob.heard(), [("alice", "once")])
        for each in (self.alice, self.bob):
            each.lose()
        self.town_.start_relay()
        for each in (self.bob, self.alice):
            each.connect()
            self.town_.settle()
        self.assertEqual(self.alice.acknowledged(), ["once"])
        self.assertEqual(self.bob.heard(), [("alice", "once")])

    def test_another_room_in_its_place(self) -> None:
        """A closed room that another one stands in for after a start is a fault; who leaves it may enter that."""
        self.alice.conversation.found_closed("#den")
        self.town_.settle()
        self.alice.conversation.invite("#den", "bob")
        self.town_.settle()
        self.alice.lose()
        self.bob.conversation.pack()
        self.bob.lose()
        self.town_.start_relay()
        (mallory,) = self.town_.come("mallory")
        self.bob.connect()
        mallory.conversation.found_closed("#den")
        self.town_.settle()
        self.bob.lose()
        mallory.conversation.invite("#den", "bob")
        self.town_.settle()
        self.restart(self.bob)
        self.assertEqual([event.room for event in self.bob.told(Fault)], ["#den"])
        self.says(self.bob, "secret", room="#den")
        self.assertEqual(self.bob.said(wire.Post), [])
        self.bob.conversation.leave("#den")
        self.restart(self.bob)
        self.bob.conversation.enter("#den")
        self.town_.settle()
        self.assertEqual(self.bob.told(Fault), [])
        self.says(self.bob, "hello stranger", room="#den")
        self.assertEqual(mallory.heard("#den"), [("bob", "hello stranger")])

    def test_verified_is_remembered(self) -> None:
        """Whom we have compared with stays verified, and whose key changed stays blocked, over a start."""
        self.bob.conversation.safety("alice")
        self.bob.conversation.verify("alice")
        self.restart(self.bob)
        self.assertEqual(self.bob.conversation.mark(LOBBY, "alice"), "verified")

    def test_rooms_are_bounded(self) -> None:
        """However many rooms were left, the store keeps the latest and opens again."""
        for number in range(MAX_ROOMS + 3):
            self.bob.secrets.rooms[number.to_bytes(32, "big")] = b""
        self.restart(self.bob)
        self.assertEqual(len(self.bob.secrets.rooms), MAX_ROOMS)
        self.assertEqual(self.bob.told(Fault), [])
        self.honest(self.bob)


class WhoReadsTests(TownCase):
    """Traffic that was captured, given to who was not there."""

    def valley(self) -> tuple[Valley, Person, Person, Deceived]:
        """Alice and bob in a closed room, and carol; everything that is sealed is kept in `captured`."""
        town = Valley()
        self.addCleanup(town.close)
        alice, bob, carol = town.come("alice", "bob", "carol")
        assert isinstance(carol, Deceived)
        alice.conversation.found_closed("#den")
        town.settle()
        alice.conversation.invite("#den", "bob")
        town.settle()
        return town, alice, bob, carol

    def captured(self, town: Valley, who: Person) -> list[wire.FromRelay]:
        """Everything that a relay which helps could give: frames and sealed keys of all, session keys too."""
        kept: list[wire.FromRelay] = []
        for each in town.people:
            assert isinstance(each, Deceived)
            if each is who:
                continue

            def twist(message: wire.FromRelay) -> list[wire.FromRelay]:
                if isinstance(message, wire.Delivery | wire.SealedKey | wire.SessionKey):
                    kept.append(message)
                return [message]

            each.twist = twist
        return kept

    def give(self, who: Person, kept: list[wire.FromRelay]) -> None:
        """Give somebody what was captured, keys first."""
        for kind in (wire.SessionKey, wire.SealedKey, wire.Delivery):
            for message in list(kept):
                if isinstance(message, kind):
                    who.hear(message)

    def test_later_reads_nothing_older(self) -> None:
        """Who joins later opens nothing of before, even with all traffic, sealed keys and session keys of then."""
        town, alice, bob, carol = self.valley()
        kept = self.captured(town, carol)
        alice.conversation.say("#den", "before carol")
        bob.conversation.say("#den", "me too")
        town.settle()
        self.assertEqual(len([each for each in kept if isinstance(each, wire.Delivery)]), 2)
        alice.conversation.invite("#den", "carol")
        town.settle()
        self.give(carol, kept)
        town.settle()
        self.assertEqual(carol.told(Message), [])
        alice.conversation.say("#den", "with carol")
        town.settle()
        self.assertEqual([event.text for event in carol.told(Message)], ["with carol"])

    def test_removed_reads_nothing_newer(self) -> None:
        """Who was removed opens nothing of after, even with all traffic and the session keys of then."""
        town, alice, bob, carol = self.valley()
        alice.conversation.invite("#den", "carol")
        town.settle()
        for each in (alice, bob):
            each.conversation.say("#den", "with carol")
            town.settle()
        kept = self.captured(town, carol)
        alice.conversation.remove("#den", "carol")
        town.settle()
        self.assertEqual(len(carol.told(Message)), 2)
        for each in (alice, bob):
            each.conversation.say("#den", "without carol")
            town.settle()
        # A client of hers that kept everything, and is given the log, all keys and all frames.
        log = town.factory.rooms.memberships.rooms["#den"].log.packed
        hers = SecureRoom(carol.keys, carol.secrets.ring, Roster(log[0]), carol.secrets.pins)
        hers.follow(log[1:])
        hers.restore(carol.secrets.rooms[hers.roster.room_id])
        for message in kept:
            if isinstance(message, wire.SessionKey):
                hers.take_session_key(message.epoch, message.key)
            elif isinstance(message, wire.SealedKey):
                for sender, blob in message.items:
                    self.assertIsInstance(hers.sealed_key(1, sender, blob), Refused)
        for message in kept:
            if isinstance(message, wire.Delivery):
                run = [Arrived(1, sender, sealed) for sender, _, sealed in message.items]
                batch = hers.receive(run, NOW_MS)
                self.assertEqual(batch.jobs, [])
