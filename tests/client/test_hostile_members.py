"""A member who is not honest, over the real relay, with real clients at the other ends.

What they do is refused or has its mark, others are not in the way of it, and the next message arrives: of those who
are honest, and of that member too.
"""

from __future__ import annotations

from collections.abc import Sequence

from securechat.client.events import Error, Held, Message, Unreadable
from securechat.client.hearing import ASKS
from securechat.client.room import Room
from securechat.e2e.chain import MAX_INDEX, read_frame
from securechat.e2e.hpke import hpke_open, hpke_seal
from securechat.e2e.inbox import HELD_EACH
from securechat.e2e.outcomes import Refusal
from securechat.e2e.sealing import read_blob
from securechat.relay.limits import RelayLimits
from securechat.signed.encoding import LABEL_SEAL, lp
from securechat.signed.prekeys import read_prekey
from securechat.wire import messages as wire
from tests.client.forging import double, post, sealed, secure, session, signed
from tests.client.test_hostile import Deceived
from tests.client.test_hostile_bits import BitCase
from tests.client.town import LOBBY, Person

LIMITS = RelayLimits(posts_per_s=0, bytes_per_s=0, requests_burst=10_000)
"""A relay that reads as fast as anybody writes; what a client can bear is the question here."""


class MemberCase(BitCase):
    """Alice, bob and carol in the lobby, who have each said something; carol is not honest."""

    limits = LIMITS

    def setUp(self) -> None:
        """Let everybody have a session."""
        super().setUp()
        (self.carol,) = self.town_.enter("carol")
        for each in (self.alice, self.bob, self.carol):
            self.says(each, "first")
        for each in (self.alice, self.bob, self.carol):
            each.forget()

    def reasons(self, who: Person) -> list[str]:
        """Why what somebody was not shown is not shown."""
        return [event.reason for event in who.told(Unreadable)]

    def assert_goes_on(self, shown: Sequence[tuple[str, str]] = ()) -> None:
        """Nothing but `shown` is shown to bob; then alice is heard by him, and so is carol when she is honest."""
        self.assertEqual(self.bob.heard(), list(shown))
        self.honest()
        self.says(self.carol, "sorry")
        for each in (self.alice, self.bob):
            self.assertEqual(each.heard()[-1], ("carol", "sorry"))
        self.assertEqual(self.bob.told(Error), [])


class FrameTests(MemberCase):
    """Frames of a member's own making."""

    def test_under_anothers_sid(self) -> None:
        """What carol posts under alice's session number is neither alice's nor shown, whoever she says she is."""
        sid = session(self.alice, LOBBY).descriptor.sid
        post(self.carol, LOBBY, signed(self.carol, LOBBY, sid, 1))
        (held,) = self.bob.told(Held)
        self.assertEqual(held.sender, "carol")
        # With the relay's help it comes in alice's name: her session is known, and she has not signed this.
        self.bob.hear(wire.Delivery(LOBBY, 1_000, [("alice", 0, signed(self.carol, LOBBY, sid, 1))]))
        self.assertEqual(self.reasons(self.bob), [Refusal.NOT_AUTHENTIC])
        self.assert_goes_on()

    def test_with_anothers_chain(self) -> None:
        """Carol has alice's chain, and cannot say by it anything that is shown as alice's."""
        forger = double(self.alice, LOBBY)
        forger._device = self.carol.keys.device
        frame = sealed(self.carol, LOBBY, "I am alice", forger)
        post(self.carol, LOBBY, frame)
        self.bob.hear(wire.Delivery(LOBBY, 1_000, [("alice", 0, frame)]))
        self.assertEqual((len(self.bob.told(Held)), self.reasons(self.bob)), (1, [Refusal.NOT_AUTHENTIC]))
        self.assert_goes_on()

    def test_a_session_of_their_own_under_anothers_sid(self) -> None:
        """A session of carol's own that has the number of alice's is carol's, and in nobody's way."""
        sid = session(self.alice, LOBBY).descriptor.sid
        of_carol = secure(self.carol, LOBBY)
        self.patch(of_carol, "_random", lambda size: sid if size == len(sid) else bytes(size))
        of_carol.rekey()
        self.says(self.carol, "I am carol")
        self.assert_goes_on([("carol", "I am carol")])

    def test_forked(self) -> None:
        """Of two frames under one index the first is shown, and the second is told as what it is."""
        other = double(self.carol, LOBBY)
        frames = [
            sealed(self.carol, LOBBY, "to bob", session(self.carol, LOBBY)),
            sealed(self.carol, LOBBY, "to alice", other),
        ]
        post(self.carol, LOBBY, *frames)
        self.assertEqual(self.reasons(self.bob), [Refusal.FORKED])
        self.assertEqual([event.forked for event in self.bob.told(Message)], [False])
        self.assert_goes_on([("carol", "to bob")])

    def test_forked_for_two(self) -> None:
        """Where the relay gives each another one of two frames, the next message has the mark for one of them."""
        other = double(self.carol, LOBBY)
        frames = [
            sealed(self.carol, LOBBY, "to bob", session(self.carol, LOBBY)),
            sealed(self.carol, LOBBY, "to alice", other),
        ]
        for who, frame in zip((self.bob, self.alice), frames, strict=True):
            who.hear(wire.Delivery(LOBBY, 1_000, [("carol", 0, frame)]))
        self.assertEqual((self.bob.heard(), self.alice.heard()), ([("carol", "to bob")], [("carol", "to alice")]))
        self.says(self.carol, "to both")
        self.assertEqual([event.forked for event in self.bob.told(Message)], [False, False])
        self.assertEqual([event.forked for event in self.alice.told(Message)], [False, True])
        self.assert_goes_on([("carol", "to bob"), ("carol", "to both")])

    def test_highest_index(self) -> None:
        """Indices up to 2^32-1, far ahead of what was heard, are refused; nothing is computed up to them."""
        sid = session(self.carol, LOBBY).descriptor.sid
        far = [MAX_INDEX + 1, 2**32 - 2, 2**32 - 1]
        ahead = [2_001, 10_000, MAX_INDEX - 1, MAX_INDEX]
        post(self.carol, LOBBY, *(signed(self.carol, LOBBY, sid, index) for index in [*far, *ahead]))
        expected = [Refusal.NOT_AUTHENTIC] * len(far) + [Refusal.TOO_FAR] * len(ahead)
        self.assertEqual(self.reasons(self.bob), expected)
        for each in (self.bob, self.alice):
            (of_carol,) = secure(each, LOBBY)._inbox._sessions[self.carol.keys.device.public].values()
            self.assertEqual((of_carol.skipped, of_carol._next), (0, 1))
        self.assert_goes_on()

    def test_far_index_in_an_own_session(self) -> None:
        """A session that really goes on at the highest index is not followed there, and a new one is heard."""
        mine = session(self.carol, LOBBY)
        mine.index = MAX_INDEX
        frame = sealed(self.carol, LOBBY, "from afar", mine)
        post(self.carol, LOBBY, frame)
        self.assertEqual(read_frame(frame).header.index, MAX_INDEX)
        self.assertEqual(self.reasons(self.bob), [Refusal.TOO_FAR])
        self.carol.conversation.rekey(LOBBY)
        self.assert_goes_on()

    def test_unknown_sids(self) -> None:
        """Ten thousand unknown sessions take carol's share of what waits, and few questions; all is told."""
        frames = [signed(self.carol, LOBBY, number.to_bytes(16, "big"), 0) for number in range(10_000)]
        post(self.carol, LOBBY, *frames)
        self.assertEqual(len(self.bob.told(Held)), HELD_EACH)
        self.assertEqual(secure(self.bob, LOBBY).held, HELD_EACH)
        self.assertEqual(self.reasons(self.bob), [Refusal.TOO_MANY_HELD] * (len(frames) - HELD_EACH))
        self.assertEqual(len(self.bob.said(wire.Ask)), HELD_EACH)
        self.assertLess(HELD_EACH, ASKS)
        self.assertEqual(len(self.bob.conversation._rooms.by_name[LOBBY].arrived), HELD_EACH)
        self.assert_goes_on()
        # There is still room for what waits of others.
        (dave,) = self.town_.come("dave")
        dave.conversation.enter(LOBBY)
        self.town_.settle()
        kept = self.kept(self.bob, wire.SealedKey)
        self.says(dave, "hello")
        self.assertEqual(self.bob.told(Held)[-1].sender, "dave")
        self.bob.conversation.received(kept[0])
        self.assertEqual(self.bob.heard()[-1], ("dave", "hello"))


class SealedKeyTests(MemberCase):
    """Sealed keys that a member passes on."""

    def setUp(self) -> None:
        """Carol has the sealed key of a session of alice's that nobody else was given, and her own prekey."""
        super().setUp()
        assert isinstance(self.bob, Deceived)
        kept: list[tuple[str, bytes]] = []

        def keep(message: wire.FromRelay) -> list[wire.FromRelay]:
            if isinstance(message, wire.SealedKey):
                kept.extend(message.items)
            return [message]

        def withhold(message: wire.FromRelay) -> list[wire.FromRelay]:
            return [] if isinstance(message, wire.SealedKey) and message.items[0][0] == "alice" else [message]

        self.deceive(self.carol, keep)
        self.deceive(self.bob, withhold)
        self.bob.lost = lambda message: isinstance(message, wire.Ask)
        self.alice.conversation.rekey(LOBBY)
        self.says(self.alice, "for carol alone")
        ((_, self.blob),) = kept
        self.assertEqual((self.carol.heard(), self.bob.heard()), ([("alice", "for carol alone")], []))
        for each in (self.carol, self.bob):
            self.deceive(each, lambda message: [message])
        self.bob.forget()

    def inside(self) -> bytes:
        """What carol finds in it."""
        blob = read_blob(self.blob)
        private = self.carol.secrets.ring.private(blob.prekey_id)
        assert private is not None
        info = lp(LABEL_SEAL, blob.descriptor.packed, self.carol.keys.device.public, blob.prekey_id)
        return hpke_open(*private, info, blob.sealed)

    def again(self, inside: bytes) -> bytes:
        """The same, sealed by carol to bob."""
        newest, device = self.bob.secrets.ring.newest, self.bob.keys.device.public
        assert newest is not None
        prekey = read_prekey(newest.packed, device, self.town_.now_ms())
        descriptor = read_blob(self.blob).descriptor.packed
        info = lp(LABEL_SEAL, descriptor, device, prekey.prekey_id)
        return lp(descriptor, prekey.prekey_id, hpke_seal(prekey.suite, prekey.public, info, inside))

    def assert_useless(self, blob: bytes) -> None:
        """What carol hands on lets bob open nothing, whoever it is said to be from; alice's own key does."""
        self.carol.send(wire.Hand(LOBBY, [(self.bob.keys.device.public, blob)]))
        self.town_.settle()
        self.bob.hear(wire.SealedKey(LOBBY, 0, [("alice", blob)]))
        self.assertEqual((self.bob.heard(), secure(self.bob, LOBBY).held), ([], 1))
        self.alice.conversation.rekey(LOBBY)
        self.assert_goes_on()

    def test_re_forwarded(self) -> None:
        """A sealed key that was handed to carol is of no use to bob."""
        self.assert_useless(self.blob)

    def test_sealed_again(self) -> None:
        """Nor is what is in it, with alice's signature, when carol seals it to bob: it names its recipient."""
        self.assert_useless(self.again(self.inside()))


class FormerMemberTests(MemberCase):
    """Carol is out of a closed room, and has kept everything."""

    ROOM = "#den"

    def setUp(self) -> None:
        """Bring her in, let everybody speak, put her out, and let them speak on while she reads the wire."""
        super().setUp()
        self.alice.conversation.found_closed(self.ROOM)
        self.town_.settle()
        for name in ("bob", "carol"):
            self.alice.conversation.invite(self.ROOM, name)
            self.town_.settle()
        for each in (self.alice, self.bob, self.carol):
            self.says(each, "with carol", room=self.ROOM)
        self.old = secure(self.carol, self.ROOM)
        self.frame = sealed(self.carol, self.ROOM, "late", session(self.carol, self.ROOM))
        self.wire_: list[wire.FromRelay] = []
        for each in (self.alice, self.bob):
            self.deceive(each, self.recorded)
        self.alice.conversation.remove(self.ROOM, "carol")
        self.town_.settle()
        for each in (self.alice, self.bob):
            self.says(each, "without carol", room=self.ROOM)
        for each in (self.alice, self.bob, self.carol):
            each.forget()

    def recorded(self, message: wire.FromRelay) -> list[wire.FromRelay]:
        """Everything that passes the wire to the others."""
        self.wire_.append(message)
        return [message]

    def test_reads_the_wire(self) -> None:
        """Her client, given all that passed since, session keys too, shows and says nothing of the room."""
        self.assertGreater(len([each for each in self.wire_ if isinstance(each, wire.Delivery)]), 1)
        # Her room is as it was, with the keys of all who spoke: as if she had not been told that she is out of it.
        room = self.carol.conversation._rooms.by_name[self.ROOM] = Room(self.ROOM, entered=True, restored=True)
        room.secure = self.old
        self.assert_reads_nothing()
        # Nor does the log help her, in which the epochs are that the others speak in.
        self.old.follow(self.town_.factory.rooms.memberships.rooms[self.ROOM].log.packed)
        self.assert_reads_nothing()
        self.honest(self.alice, self.bob)

    def assert_reads_nothing(self) -> None:
        """All that passed but the log, in which her client would read that she is out, shows her nothing."""
        for message in self.wire_:
            if not isinstance(message, wire.Roster):
                self.carol.conversation.received(message)
        self.town_.settle()
        self.assertEqual(self.carol.told(Message), [])

    def test_speaks(self) -> None:
        """What she posts is declined by an honest relay; where one helps it is refused for every epoch since."""
        epoch = secure(self.alice, self.ROOM).roster.epoch
        self.carol.send(wire.Post(self.ROOM, epoch, [(bytes(16), self.frame)]))
        self.town_.settle()
        self.assertEqual((self.bob.heard(self.ROOM), self.bob.told(Unreadable)), ([], []))
        moved = self.frame[:4] + epoch + self.frame[36:]
        self.bob.hear(wire.Delivery(self.ROOM, 1_000, [("carol", 0, moved)]))
        self.assertEqual(self.reasons(self.bob), [Refusal.NOT_A_MEMBER])
        self.says(self.alice, "honestly", room=self.ROOM)
        self.assertEqual(self.bob.heard(self.ROOM), [("alice", "honestly")])
        self.assertEqual([event.former for event in self.bob.told(Message)], [False])

    def test_speaks_of_then(self) -> None:
        """What a relay helps her to say under the epoch of her membership has the mark of a former member."""
        self.bob.hear(wire.Delivery(self.ROOM, 1_000, [("carol", 0, self.frame)]))
        self.assertEqual([(event.sender, event.former) for event in self.bob.told(Message)], [("carol", True)])
        self.honest(self.alice, self.bob)
