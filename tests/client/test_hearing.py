"""What a client hears: only what is authentic, once each, in order, and never an exception out of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred

from securechat.client.events import Entered, Gap, Held, Left, Link, Message, Missed, Sent, Unreadable, time_of
from securechat.e2e.content import Said, pack
from securechat.wire import messages as wire
from tests.client.town import LOBBY, Items, Person, TownCase

Change = Callable[[bytes], bytes]


class HearingCase(TownCase):
    """A case with alice, bob and carol in the lobby, where alice has been heard once."""

    def setUp(self) -> None:
        """Enter."""
        self.place = self.town()
        self.alice, self.bob, self.carol = self.place.enter("alice", "bob", "carol")
        self.alice.conversation.say(LOBBY, "0")
        self.place.settle()
        for each in self.place.people:
            each.forget()

    def say(self, *texts: str, speaker: Person | None = None, room: str = LOBBY) -> None:
        """Say some things, which are on their way to bob then."""
        for text in texts:
            (speaker or self.alice).conversation.say(room, text)
        self.place.settle(self.bob)

    def caught(self) -> list[tuple[str, int, bytes]]:
        """What is delivered to bob, which he does not get."""
        deliveries = [each for each in self.bob.down if isinstance(each, wire.Delivery)]
        for each in deliveries:
            self.bob.down.remove(each)
        return [item for each in deliveries for item in each.items]

    def deliver(self, first_seq: int, *items: tuple[str, int, bytes], room: str = LOBBY) -> None:
        """Whoever plays the relay delivers to bob."""
        self.bob.hear(wire.Delivery(room, first_seq, list(items)))

    def sealed_by(self, speaker: Person, plaintext: Callable[[bytes], bytes]) -> None:
        """Somebody whose program seals other plaintexts than it should."""
        seal_many = speaker.worker.seal_many

        def changed(items: Items) -> Deferred[list[bytes]]:
            return seal_many([(key, header, plaintext(text)) for key, header, text in items])

        speaker.worker.seal_many = changed  # type: ignore[method-assign]

    def unreadable(self) -> list[tuple[int, str]]:
        """Number and reason of what bob could not read."""
        for event in self.bob.told(Unreadable):
            self.assertEqual(LOBBY, event.room)
        return [(event.seq, event.reason) for event in self.bob.told(Unreadable)]


class ForgedTests(HearingCase):
    """Messages that are not what they seem."""

    def assert_refused(self, why: str, change: Change = bytes, sender: str = "alice") -> None:
        """Of three messages the middle one is changed: it is told for a reason, and the others are heard."""
        self.say("before", "forged", "after")
        before, (_, time, sealed), after = self.caught()
        self.deliver(2, before, (sender, time, change(sealed)), after)
        self.assertEqual([("alice", "before"), ("alice", "after")], self.bob.heard())
        ((seq, reason),) = self.unreadable()
        self.assertEqual(3, seq)
        self.assertIn(why, reason)
        self.assertEqual([time_of(time)], [event.time for event in self.bob.told(Unreadable)])
        self.assertNotIn("forged", repr(self.bob.events))

    def test_changed(self) -> None:
        """A message with one changed bit, wherever it is, is not authentic, and nothing of it is told."""
        self.say("hello")
        ((_, time, sealed),) = self.caught()
        for number, at in enumerate((*range(88, len(sealed), 13), len(sealed) - 1), 2):
            self.deliver(number, ("alice", time, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]))
        self.assertEqual([], self.bob.heard())
        for _, reason in self.unreadable():
            self.assertIn("not authentic", reason)
        self.deliver(1_000, ("alice", time, sealed))
        self.assertEqual([("alice", "hello")], self.bob.heard())

    def test_in_the_middle(self) -> None:
        """A forged message in a run costs only itself."""
        self.assert_refused("not authentic", lambda sealed: sealed[:120] + bytes([sealed[120] ^ 1]) + sealed[121:])

    def test_cut_off(self) -> None:
        """A message that was cut off is not authentic."""
        self.assert_refused("not authentic", lambda sealed: sealed[:-1])

    def test_garbage(self) -> None:
        """What is no message at all is not authentic, however short."""
        self.assert_refused("not authentic", lambda _: b"?")

    def test_another_sender(self) -> None:
        """A message that the relay tells as another member's is never shown as theirs."""
        self.say("mine")
        ((_, time, sealed),) = self.caught()
        self.deliver(2, ("carol", time, sealed))
        self.assertEqual([], self.bob.heard())

    def test_a_stranger(self) -> None:
        """A message that the relay tells as a stranger's is refused."""
        self.assert_refused("no member of the room", sender="mallory")

    def test_again(self) -> None:
        """A message that is delivered a second time, under another number, is told as that."""
        self.say("once")
        (item,) = self.caught()
        self.deliver(2, item, item)
        self.deliver(4, item)
        self.assertEqual([("alice", "once")], self.bob.heard())
        self.assertEqual([3, 4], [seq for seq, _ in self.unreadable()])
        self.assertIn("it came before", self.unreadable()[1][1])

    def test_again_after_a_restart(self) -> None:
        """A message of before a restart that is delivered after it is told as that."""
        self.say("once")
        (item,) = self.caught()
        self.deliver(2, item)
        self.bob.conversation.pack()
        self.bob.lose()
        self.bob.begin()
        self.bob.connect()
        self.place.settle()
        self.deliver(3, item)
        self.assertEqual([("alice", "once")], self.bob.heard())
        ((_, reason),) = self.unreadable()
        self.assertIn("it came before", reason)

    def test_kept_when_heard(self) -> None:
        """What was heard is reason to write the keys: a store of before would let it be told a second time."""
        before = self.bob.kept
        self.say("once")
        self.assertEqual(before, self.bob.kept)
        self.place.settle()
        self.assertGreater(self.bob.kept, before)

    def test_another_room(self) -> None:
        """A message that was said in another room is not shown here."""
        for each in (self.alice, self.bob):
            each.conversation.enter("#other")
            self.place.settle()
        self.say("elsewhere", room="#other")
        (item,) = self.caught()
        self.deliver(2, item)
        self.place.settle()
        self.assertEqual([], self.bob.heard())

    def test_another_kind(self) -> None:
        """An authentic message of a kind that we do not know is told as that."""
        body = msgspec.msgpack.encode(["file", b"..."])
        self.sealed_by(self.alice, lambda _: (len(body).to_bytes(4, "big") + body).ljust(128, b"\x00"))
        self.say("x")
        self.place.settle()
        ((_, reason),) = self.unreadable()
        self.assertIn("of a kind that is not known", reason)

    def test_not_padded(self) -> None:
        """A message whose padding is wrong is not authentic."""
        self.sealed_by(self.alice, lambda text: text[:-1] + b"x")
        self.say("x")
        self.place.settle()
        ((_, reason),) = self.unreadable()
        self.assertIn("not authentic", reason)

    def test_of_another_room_inside(self) -> None:
        """A message of a member that says inside that it is of another room is not authentic."""
        said = Said(bytes(32), 0, bytes(16), 0, "x")
        self.sealed_by(self.alice, lambda _: pack(said))
        self.say("x")
        self.place.settle()
        self.assertEqual((1, []), (len(self.unreadable()), self.bob.heard()))

    def test_somebody_elses_id(self) -> None:
        """A member who uses the id of another's message cannot make that one go unseen."""
        self.say("alice's own")
        ours = msgspec.msgpack.Decoder(Said)
        ids: list[bytes] = []

        def of_alice(text: bytes) -> bytes:
            said = ours.decode(text[4 : 4 + int.from_bytes(text[:4], "big")])
            return pack(msgspec.structs.replace(said, message_id=ids[0]))

        ids.append(self.alice.said(wire.Post)[-1].items[0][0])
        (item,) = self.caught()
        self.sealed_by(self.carol, of_alice)
        self.say("carol's", speaker=self.carol)
        (other,) = self.caught()
        while self.bob.down:
            self.bob.move_down()
        self.deliver(2, other)
        self.deliver(3, item)
        self.assertEqual([("carol", "carol's"), ("alice", "alice's own")], self.bob.heard())

    def test_removed(self) -> None:
        """Who was put out is not heard under the epoch of after."""
        self.alice.conversation.remove(LOBBY, "carol")
        self.place.settle(self.carol)
        self.carol.conversation.say(LOBBY, "still here")
        self.place.settle()
        self.assertEqual([], self.bob.heard())
        self.assertEqual(["still here"], [text for text, _ in self.carol.given_up()])


class NumberTests(HearingCase):
    """What is new, what is ours, and what is missing."""

    def test_message(self) -> None:
        """A message is told with its room, sender, text, the relay's time and its number, once."""
        self.place.clock.advance(1.5)
        self.say("hello")
        self.place.settle()
        self.assertEqual(
            [Message(LOBBY, "alice", "hello", time_of(self.place.now_ms()), 2)],
            [replace_key(event) for event in self.bob.told(Message)],
        )

    def test_twice(self) -> None:
        """A run that is delivered again, or overlaps the one before, is told once."""
        self.say("1", "2", "3")
        items = self.caught()
        for end in (2, 2, 3):
            self.deliver(2, *items[:end])
        self.assertEqual([("alice", text) for text in "123"], self.bob.heard())
        self.assertEqual([], self.unreadable())

    def test_own(self) -> None:
        """Our own message in a run of several senders is passed over, and the next number is no hole."""
        self.bob.conversation.say(LOBBY, "mine")
        self.place.settle()
        mine = self.bob.said(wire.Post)[-1].items[0][1]
        self.say("theirs")
        (item,) = self.caught()
        self.deliver(2, ("bob", 0, mine), item)
        self.assertEqual(([("alice", "theirs")], []), (self.bob.heard(), self.bob.told(Missed)))

    def test_hole(self) -> None:
        """What does not come is told as missing, by the room's numbers and by its sender's own."""
        self.say("1", "2", "3")
        *_, last = self.caught()
        self.deliver(4, last)
        self.assertEqual([Missed(LOBBY, 2, 3)], self.bob.told(Missed))
        (gap,) = self.bob.told(Gap)
        self.assertEqual((LOBBY, "alice", 1), (gap.room, gap.sender, gap.last - gap.first))
        self.assertEqual([("alice", "3")], self.bob.heard())

    def test_hidden_hole(self) -> None:
        """A relay that drops a message and numbers the others anew is found out by the sender's numbers."""
        self.say("1", "2", "3")
        first, _, last = self.caught()
        self.deliver(2, first, last)
        self.assertEqual([], self.bob.told(Missed))
        (gap,) = self.bob.told(Gap)
        self.assertEqual(("alice", gap.first), (gap.sender, gap.last))
        self.assertEqual([("alice", "1"), ("alice", "3")], self.bob.heard())

    def test_out_of_order(self) -> None:
        """What a relay delivers in another order is heard, and what comes late is marked."""
        self.say("1", "2")
        first, second = self.caught()
        self.deliver(2, second, first)
        self.assertEqual([("alice", "2"), ("alice", "1")], self.bob.heard())
        self.assertEqual([False, True], [event.late for event in self.bob.told(Message)])
        self.assertEqual(1, len(self.bob.told(Gap)))

    def test_away(self) -> None:
        """What was said while we were away is told as missed, once, and is no reason to wait for anything."""
        self.bob.lose()
        self.place.settle()
        self.say("1", "2")
        self.bob.connect()
        self.place.settle()
        self.assertEqual([Missed(LOBBY, 2, 3)], self.bob.told(Missed))
        self.say("3")
        self.place.settle()
        self.assertEqual([("alice", "3")], self.bob.heard())

    def test_many(self) -> None:
        """A long run is opened as one batch, in order."""
        texts = [str(number) for number in range(200)]
        self.say(*texts)
        items = self.caught()
        self.bob.worker.at_once = False
        self.deliver(2, *items)
        self.assertEqual((200, 1), (self.bob.conversation.opening, len(self.bob.worker.jobs)))
        self.bob.worker.work()
        self.assertEqual([("alice", text) for text in texts], self.bob.heard())
        self.assertEqual(0, self.bob.conversation.opening)


def replace_key(event: Message) -> Message:
    """A message without what is known of its sender's key."""
    return msgspec.structs.replace(event, key="")


class HeldTests(TownCase):
    """Messages whose keys come later, or never."""

    def setUp(self) -> None:
        """Let alice say something to bob, to whom the key does not come before it."""
        self.place = self.town()
        self.alice, self.bob = self.place.enter("alice", "bob")
        self.alice.conversation.say(LOBBY, "1")
        self.place.settle(self.bob)
        self.keys = self.catch(wire.SealedKey)

    def catch(self, kind: type[wire.SealedKey]) -> list[wire.SealedKey]:
        """Take from bob what is on its way to him."""
        caught = [message for message in self.bob.down if isinstance(message, kind)]
        for message in caught:
            self.bob.down.remove(message)
        return caught

    def listen(self) -> None:
        """Let bob hear what is on its way, and nobody else."""
        self.bob.move_down()

    def test_filled_in(self) -> None:
        """A message that came before its key is told as held, and as itself, marked late, when the key comes."""
        self.listen()
        (held,) = self.bob.told(Held)
        self.assertEqual((LOBBY, "alice", 1), (held.room, held.sender, held.seq))
        self.assertIn("the key of its sender", held.reason)
        self.assertEqual([], self.bob.heard())
        self.bob.hear(self.keys[0])
        self.assertEqual([("alice", "1")], self.bob.heard())
        (message,) = self.bob.told(Message)
        self.assertEqual((1, True), (message.seq, message.late))

    def test_in_order(self) -> None:
        """Several that were held come out in their order, before what comes after them."""
        for text in ("2", "3"):
            self.alice.conversation.say(LOBBY, text)
        self.place.settle(self.bob)
        self.listen()
        self.assertEqual([1, 2, 3], [event.seq for event in self.bob.told(Held)])
        self.assertEqual(1, len(self.bob.said(wire.Ask)))
        self.bob.hear(self.keys[0])
        self.alice.conversation.say(LOBBY, "4")
        self.place.settle()
        self.assertEqual([("alice", text) for text in "1234"], self.bob.heard())

    def test_asked_for(self) -> None:
        """A key that never came is asked for; what is said from then on is heard, and what was before it is not."""
        self.place.settle()
        self.assertEqual(1, len(self.bob.said(wire.Ask)))
        self.alice.conversation.say(LOBBY, "2")
        self.place.settle()
        self.assertEqual([("alice", "2")], self.bob.heard())
        ((seq, reason),) = [(event.seq, event.reason) for event in self.bob.told(Unreadable)]
        self.assertEqual(1, seq)
        self.assertIn("its key was deleted, or never handed to us", reason)

    def test_asked_again(self) -> None:
        """What was asked of somebody who was away is asked again when they are back."""
        self.alice.lose()
        self.place.settle()
        self.assertEqual(1, len(self.bob.said(wire.Ask)))
        self.alice.connect()
        self.place.settle()
        self.assertEqual(2, len(self.bob.said(wire.Ask)))
        self.alice.conversation.say(LOBBY, "2")
        self.place.settle()
        self.assertEqual([("alice", "2")], self.bob.heard())

    def test_asked_again_by_us(self) -> None:
        """What we asked for on a link that was lost is asked for on the next."""
        self.listen()
        self.bob.lose()
        self.place.settle()
        self.bob.forget()
        self.bob.connect()
        self.place.settle()
        self.assertEqual(1, len(self.bob.said(wire.Ask)))
        self.alice.conversation.say(LOBBY, "2")
        self.place.settle()
        self.assertEqual([("alice", "2")], self.bob.heard())

    def test_asked_all_the_time(self) -> None:
        """A member who asks all the time does not make us ask the relay all the time, and is handed our key."""
        self.place.settle()
        self.alice.forget()
        device = self.bob.keys.device.public
        for _ in range(300):
            self.alice.hear(wire.Asked(LOBBY, device, bytes(16)))
        self.place.settle()
        self.assertEqual(1, len(self.alice.said(wire.Hand)))
        self.assertLess(len(self.alice.said(wire.Want)), 10)

    def test_made_to_ask(self) -> None:
        """A member whose sessions nobody was given the keys of cannot make us ask for each of them."""
        self.bob.forget()
        for _ in range(100):
            self.alice.conversation.rekey(LOBBY)
            self.alice.conversation.say(LOBBY, "x")
            self.place.settle(self.bob)
            self.catch(wire.SealedKey)
            self.listen()
        for _ in range(20):
            for here in (False, True):
                self.bob.hear(wire.Presence(LOBBY, "alice", here))
        self.assertLess(len(self.bob.said(wire.Ask)), 10)

    def test_asked_by_a_stranger(self) -> None:
        """A device that is no member's is handed nothing, whoever the relay says asks."""
        self.alice.forget()
        self.alice.hear(wire.Asked(LOBBY, bytes(32), bytes(16)))
        self.place.settle(self.bob)
        self.assertEqual([], [each for each in self.alice.sent if isinstance(each, wire.Want | wire.Hand)])

    def test_nothing_to_open(self) -> None:
        """While messages are held nothing else waits for them."""
        self.listen()
        self.assertEqual(0, self.bob.conversation.opening)
        (carol,) = self.place.come("carol")
        carol.conversation.enter(LOBBY)
        self.place.settle()
        carol.conversation.say(LOBBY, "hello")
        self.place.settle()
        self.assertIn(("carol", "hello"), self.bob.heard())

    def test_restarted_without_keys(self) -> None:
        """A program that was killed before it had kept the others' keys asks, and hears again."""
        self.bob.hear(self.keys[0])
        self.place.settle()
        self.bob.lose()
        self.bob.begin()
        self.bob.forget()
        self.bob.connect()
        self.place.settle()
        for text in ("2", "3"):
            self.alice.conversation.say(LOBBY, text)
            self.place.settle()
        self.assertEqual([("alice", "3")], self.bob.heard())
        self.assertEqual(1, len(self.bob.said(wire.Ask)))

    def test_restarted_and_speaks(self) -> None:
        """A program that started again speaks in a session of its own, which everybody can open."""
        self.place.settle()
        self.alice.lose()
        self.alice.begin()
        self.alice.connect()
        self.place.settle()
        self.alice.conversation.say(LOBBY, "I am back")
        self.place.settle()
        self.assertEqual([("alice", "I am back")], self.bob.heard())

    def test_keys_that_are_none(self) -> None:
        """Whatever else the relay gives as keys opens nothing and breaks nothing."""
        name, blob = self.keys[0].items[0]
        for wrong in (b"x", bytes(4_096), blob[:-1], blob[:-1] + bytes([blob[-1] ^ 1]), blob + b"x"):
            self.bob.hear(wire.SealedKey(LOBBY, [(name, wrong)]))
        self.listen()
        self.assertEqual([], self.bob.heard())
        self.bob.hear(wire.SealedKey(LOBBY, [("whoever", blob)]))
        self.assertEqual([("alice", "1")], self.bob.heard())


class OrderTests(HearingCase):
    """Events stand in the order of their causes, though opening takes a while."""

    def setUp(self) -> None:
        """Let bob's worker wait for us, with one message to open."""
        super().setUp()
        self.bob.worker.at_once = False
        self.say("hello")
        self.bob.move_down()
        self.assertEqual([], self.bob.events)

    def kinds(self, *but: type[object]) -> list[type[object]]:
        """What bob was told."""
        return [type(event) for event in self.bob.events if not isinstance(event, but)]

    def test_what_happens_meanwhile_waits(self) -> None:
        """Who goes and what is acknowledged after a message is told after it."""
        self.bob.conversation.say(LOBBY, "mine")
        jobs = self.bob.worker.jobs
        while len(jobs) < 2:
            self.move()
        jobs[0], jobs[1] = jobs[1], jobs[0]
        self.bob.worker.work(1)
        for _ in range(5):
            self.move()
        self.assertEqual([], self.bob.events)
        self.bob.worker.work()
        self.assertEqual([Message, Sent], self.kinds())

    def move(self) -> None:
        """Let frames move between bob and alice, and nothing be opened."""
        self.bob.move_up()
        self.place.turn()
        self.alice.move_down()
        self.alice.move_up()
        self.place.turn()
        self.bob.move_down()

    def test_new_epoch_meanwhile(self) -> None:
        """A message is opened with the key that it came under, though a new epoch began before it was opened."""
        self.carol.conversation.leave(LOBBY)
        for _ in range(3):
            self.carol.move_up()
            self.move()
        self.assertEqual(["alice", "bob"], sorted(self.bob.conversation.members(LOBBY)))
        self.bob.worker.work()
        self.assertEqual([("alice", "hello")], self.bob.heard())

    def test_link_lost_meanwhile(self) -> None:
        """What was heard before the link was lost is told before that, though it was opened after."""
        self.bob.lose()
        self.bob.worker.work()
        self.assertEqual([Message, Link], self.kinds())

    def test_left_meanwhile(self) -> None:
        """What was heard before we left a room is told before our leaving."""
        self.bob.conversation.leave(LOBBY)
        self.move()
        self.assertEqual([], self.bob.events)
        self.bob.worker.work()
        self.assertEqual([Message, Left], [kind for kind in self.kinds() if kind in (Message, Left, Entered)])

    def test_kept_meanwhile(self) -> None:
        """What is kept while a message is being opened is not half of it: after a restart it is told as it was."""
        self.bob.conversation.pack()
        self.assertEqual({}, self.bob.secrets.rooms)
        self.bob.worker.work()
        self.bob.conversation.pack()
        self.assertEqual(1, len(self.bob.secrets.rooms))
