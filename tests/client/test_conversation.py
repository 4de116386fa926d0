"""From what one user says to what the others hear, over the real relay."""

from __future__ import annotations

from itertools import product

from securechat.client.events import Gap, Keyed, Message, Missed, NotSent, Sent
from securechat.e2e.body import TEXT_BYTES
from securechat.e2e.chain import read_frame
from securechat.relay.limits import RelayLimits
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from securechat.wire.framing import frame
from tests.client.town import LOBBY, TownCase


class SayingTests(TownCase):
    """From a text to its acknowledgement and to the others."""

    def test_said_and_heard(self) -> None:
        """A text is told as sent with its number and label, and heard by the others, who have met its sender."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "hello", "l1")
        self.assertEqual(1, alice.conversation.unacknowledged)
        town.settle()
        self.assertEqual([Sent(LOBBY, 1, "hello", "l1")], alice.told(Sent))
        self.assertEqual((0, []), (alice.conversation.unacknowledged, alice.told(Message)))
        (heard,) = bob.told(Message)
        self.assertEqual(
            (LOBBY, "alice", "hello", 1, False, False),
            (heard.room, heard.sender, heard.text, heard.seq, heard.late, heard.forked),
        )

    def test_the_relay_sees_no_text(self) -> None:
        """Neither what is said nor a key that opens it is in any byte that goes to the relay or comes from it."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.worker.at_once = False
        for each in (alice, bob):
            each.conversation.enter(LOBBY)
            town.settle()
        alice.conversation.say(LOBBY, "a text that nobody may see")
        keys: list[bytes] = []
        seal_many = alice.worker.seal_many

        def watched(items):  # type: ignore[no-untyped-def]
            keys.extend(key for key, _, _ in items)
            return seal_many(items)

        alice.worker.seal_many = watched  # type: ignore[method-assign]
        alice.conversation.say(LOBBY, "another such text")
        on_the_wire = b""
        for _ in range(20):
            town.turn()
            for each in (alice, bob):
                on_the_wire += b"".join(each.up) + b"".join(frame(message) for message in each.down)
                each.move_up()
                each.move_down()
                each.worker.work()
        self.assertEqual(2, len(bob.heard()))
        self.assertTrue(keys)
        for secret in (b"that nobody may see", b"another such text", *keys, *(key[:32] for key in keys)):
            self.assertNotIn(secret, on_the_wire)

    def test_in_order(self) -> None:
        """What several say at once is heard by each in its speaker's order, and by all in the room's."""
        town = self.town()
        people = town.enter("alice", "bob", "carol")
        for number in range(20):
            for each in people:
                each.conversation.say(LOBBY, f"{each.name} {number}")
        town.settle()
        for each in people:
            for other in people:
                if other is not each:
                    expected = [f"{other.name} {number}" for number in range(20)]
                    self.assertEqual(expected, [text for name, text in each.heard() if name == other.name])
            seqs = [event.seq for event in each.told(Message)]
            self.assertEqual(seqs, sorted(seqs))

    def test_before_the_room(self) -> None:
        """What is said while entering waits and is posted then, in order."""
        town = self.town()
        alice, bob = town.come("alice", "bob")
        alice.conversation.enter(LOBBY)
        town.settle()
        bob.conversation.enter(LOBBY)
        for text in ("1", "2"):
            bob.conversation.say(LOBBY, text)
        town.settle()
        self.assertEqual([("bob", "1"), ("bob", "2")], alice.heard())

    def test_impossible_texts(self) -> None:
        """An empty text, one too long and one that is no Unicode are told as not sent, and nothing is posted."""
        (alice,) = self.town().enter("alice")
        for text, why in (("", "nothing"), ("x" * (TEXT_BYTES + 1), "at most"), ("\ud800", "Unicode")):
            alice.forget()
            alice.conversation.say(LOBBY, text, "l")
            (event,) = alice.told(NotSent)
            self.assertEqual((text, "l", LOBBY), (event.text, event.id, event.room))
            self.assertIn(why, event.reason)
        self.assertEqual([], alice.sent)

    def test_impossible_rooms(self) -> None:
        """Saying something in what is no room, or in one that we have not entered, is told as not sent."""
        (alice,) = self.town().come("alice")
        for room, code in (("lobby", Code.BAD_ROOM), ("", Code.BAD_ROOM), (LOBBY, Code.NOT_A_MEMBER)):
            alice.forget()
            alice.conversation.say(room, "x")
            self.assertEqual([NotSent(room, REASONS[code], "x")], alice.events)
        self.assertEqual([], alice.sent)

    def test_longest_texts(self) -> None:
        """Texts of the most bytes pass, whatever they are made of."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        for text in ("x" * TEXT_BYTES, "é" * (TEXT_BYTES // 2), "\x00" * TEXT_BYTES):
            alice.conversation.say(LOBBY, text)
            town.settle()
            self.assertEqual(("alice", text), bob.heard()[-1])

    def test_sealing_fails(self) -> None:
        """Where the worker fails, what waited is told as not sent; what comes later is sent, and heard."""
        town = self.town(RelayLimits(window=1))
        alice, bob = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "0")
        town.settle()
        alice.worker.failure = ZeroDivisionError()
        for _ in range(3):
            alice.conversation.say(LOBBY, "1")
            town.settle()
        self.assertEqual(3, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual([("1", "it could not be sealed")] * 3, alice.given_up())
        alice.worker.failure = None
        alice.conversation.say(LOBBY, "2")
        town.settle()
        self.assertEqual([("alice", "0"), ("alice", "2")], bob.heard())

    def test_opening_fails(self) -> None:
        """Where the worker fails to open, that is told once, and the next message is heard."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        bob.worker.failure = ZeroDivisionError()
        alice.conversation.say(LOBBY, "1")
        town.settle()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(([], 0), (bob.heard(), bob.conversation.opening))
        bob.worker.failure = None
        alice.conversation.say(LOBBY, "2")
        town.settle()
        self.assertEqual([("alice", "2")], bob.heard())


class WindowTests(TownCase):
    """No more posts are unanswered than the relay allows."""

    def test_window(self) -> None:
        """What the window has no room for is posted as answers come, over all rooms."""
        town = self.town(RelayLimits(window=3))
        (alice,) = town.enter("alice")
        alice.conversation.enter("#other")
        town.settle()
        for number in range(5):
            alice.conversation.say(LOBBY, f"{number}")
            alice.conversation.say("#other", f"{number}")
        self.assertEqual(3, len(alice.said(wire.Post)))
        town.settle()
        self.assertEqual(10, len(alice.acknowledged()))
        self.assertEqual(0, alice.conversation.unacknowledged)

    def test_taken_before_the_link_was_lost(self) -> None:
        """What the relay had taken before the link was lost is not heard twice, and nothing is told as missed."""
        for taken in range(4):
            town = self.town()
            alice, bob = town.enter("alice", "bob")
            alice.conversation.say(LOBBY, "before")
            town.settle()
            texts = ["one", "two", "three"]
            for text in texts:
                alice.conversation.say(LOBBY, text)
            town.settle(alice)
            alice.move_up(taken)
            town.turn()
            alice.lose()
            alice.connect()
            alice.conversation.say(LOBBY, "after")
            town.settle()
            self.assertEqual([text for _, text in bob.heard()], ["before", *texts, "after"])
            self.assertEqual((bob.told(Gap), bob.told(Missed), alice.told(Missed)), ([], [], []))
            self.assertEqual(alice.acknowledged(), ["before", *texts, "after"])
            # What may have been taken is said to be so: those of which we have not heard, whether they were or not.
            self.assertEqual((len(alice.said(wire.Post)), len(alice.said(wire.Repost))), (1 + 3 + 1, 3))

    def test_key_lost_with_the_link(self) -> None:
        """A key that was lost with the link is handed again on the next one, and nobody has to ask for it."""
        for answered, changed in product((False, True), repeat=2):
            town = self.town()
            alice, bob = town.enter("alice", "bob")
            alice.conversation.say(LOBBY, "one")
            if answered:
                town.settle()
            else:
                alice.move_up()
                town.turn()
                alice.move_down()
                self.assertEqual(len(alice.said(wire.Hand)), 1)
            alice.forget()
            alice.lose()
            if changed:
                (carol,) = town.come("carol")
                carol.conversation.enter(LOBBY)
                town.settle()
            alice.connect()
            alice.conversation.say(LOBBY, "two")
            town.settle()
            devices = [device for hand in alice.said(wire.Hand) for device, _ in hand.items]
            self.assertEqual(bob.keys.device.public in devices, not answered)
            self.assertEqual([text for _, text in bob.heard()], ["one", "two"])
            self.assertEqual(bob.said(wire.Ask), [])

    def test_asked_by_a_changed_key(self) -> None:
        """Somebody whose key changed, who asks and has no good prekey, does not make others begin new sessions."""
        town = self.town()
        alice, bob, carol = town.enter("alice", "bob", "carol")
        alice.secrets.pins.meet("bob", bytes(32))
        frames = []
        for text in ("one", "two"):
            alice.conversation.say(LOBBY, text)
            town.settle()
            frames.append(read_frame(alice.said(wire.Post)[-1].items[0][1]))
            device = bob.keys.device.public
            alice.hear(wire.Asked(LOBBY, device, frames[0].header.sid))
            alice.hear(wire.Prekeys([(device, b"")]))
        self.assertEqual(frames[0].header.sid, frames[1].header.sid)
        self.assertEqual([text for _, text in carol.heard()], ["one", "two"])

    def test_missed_between_own(self) -> None:
        """What others said while the link was lost is told as missed, and not what we said ourselves before."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "before")
        town.settle()
        for text in ("one", "two"):
            alice.conversation.say(LOBBY, text)
        alice.move_up()
        town.turn()
        town.settle(alice)
        alice.lose()
        for text in ("three", "four"):
            bob.conversation.say(LOBBY, text)
        town.settle()
        alice.connect()
        alice.conversation.say(LOBBY, "after")
        town.settle()
        self.assertEqual(alice.told(Missed), [Missed(LOBBY, 4, 5, REASONS[Code.NOT_KEPT])])
        self.assertEqual([text for _, text in bob.heard()], ["before", "one", "two", "after"])

    def test_new_link(self) -> None:
        """A new link begins with a whole window, and what was not answered is said again once."""
        town = self.town(RelayLimits(window=2))
        alice, bob = town.enter("alice", "bob")
        for text in ("1", "2", "3"):
            alice.conversation.say(LOBBY, text)
        alice.move_up()
        town.turn()
        alice.lose()
        town.settle()
        alice.connect()
        town.settle()
        self.assertEqual(["1", "2", "3"], alice.acknowledged())
        self.assertEqual([("alice", "1"), ("alice", "2"), ("alice", "3")], bob.heard())

    def test_never_arrived(self) -> None:
        """What never came to the relay is said on the new link, and its gap is explained: none is told."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "0")
        town.settle()
        alice.conversation.say(LOBBY, "1")
        alice.lose()
        alice.connect()
        town.settle()
        self.assertEqual([("alice", "0"), ("alice", "1")], bob.heard())
        self.assertEqual([], [event for event in bob.events if type(event).__name__ in ("Gap", "Unreadable")])


class EpochTests(TownCase):
    """Members come and go while things are said."""

    def test_said_across_a_change(self) -> None:
        """What is on its way while somebody joins is declined, sealed for the new epoch, and heard once by all."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        (carol,) = town.come("carol")
        carol.conversation.enter(LOBBY)
        town.settle(alice)
        alice.conversation.say(LOBBY, "1", "l")
        alice.conversation.say(LOBBY, "2")
        town.settle()
        self.assertEqual(["1", "2"], alice.acknowledged())
        self.assertEqual([("alice", "1"), ("alice", "2")], bob.heard())
        self.assertEqual([("alice", "1"), ("alice", "2")], carol.heard())

    def test_not_before(self) -> None:
        """Who comes hears nothing of what was said before."""
        town = self.town()
        alice, _ = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "before")
        town.settle()
        (carol,) = town.come("carol")
        carol.conversation.enter(LOBBY)
        town.settle()
        alice.conversation.say(LOBBY, "after")
        town.settle()
        self.assertEqual([("alice", "after")], carol.heard())

    def test_each_change_has_a_key(self) -> None:
        """With each change of the members comes a new key, of which a short fingerprint and the length are told."""
        town = self.town()
        (alice,) = town.enter("alice")
        town.enter("bob")
        town.enter("carol")
        self.assertEqual([], alice.events)
        carol = town.people[-1]
        carol.conversation.leave(LOBBY)
        town.settle()
        (keyed,) = alice.told(Keyed)
        self.assertEqual((LOBBY, 32, 16), (keyed.room, keyed.bytes, len(keyed.fingerprint)))

    def test_after_leaving(self) -> None:
        """Who has left is handed no key of what is said from then on."""
        town = self.town()
        alice, bob, carol = town.enter("alice", "bob", "carol")
        carol.conversation.leave(LOBBY)
        town.settle()
        alice.forget()
        alice.conversation.say(LOBBY, "without carol")
        town.settle()
        handed = [device for hand in alice.said(wire.Hand) for device, _ in hand.items]
        self.assertEqual([bob.keys.device.public], handed)
        self.assertEqual(([("alice", "without carol")], []), (bob.heard(), carol.heard()))

    def test_rekey(self) -> None:
        """After /rekey the next message is of a new session, handed to everybody, and heard."""
        town = self.town()
        alice, bob = town.enter("alice", "bob")
        alice.conversation.say(LOBBY, "1")
        town.settle()
        alice.forget()
        alice.conversation.say(LOBBY, "2")
        self.assertEqual([], alice.said(wire.Want))
        alice.conversation.rekey(LOBBY)
        alice.conversation.say(LOBBY, "3")
        town.settle()
        self.assertEqual(1, len(alice.said(wire.Hand)))
        self.assertEqual([("alice", "1"), ("alice", "2"), ("alice", "3")], bob.heard())
