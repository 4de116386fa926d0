"""What a client hears: only what is authentic, once each, in order, and never an exception out of it."""

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.events import Error, Joined, Message, Missed, Sent, Unreadable, time_of
from securechat.wire.messages import Delivery
from tests.client.harness import NOW_MS, Talk, sealed_bytes, sealed_text

ROOM = "#lobby"


class HearingCase(SynchronousTestCase):
    """A case with alice in the lobby with bob, in the first epoch."""

    def setUp(self) -> None:
        """Enter."""
        self.talk = Talk()
        self.talk.up()
        self.talk.entered(ROOM, "bob")


class OpeningTests(HearingCase):
    """Messages that can be opened, and those that cannot."""

    def test_message(self) -> None:
        """A message is told with its room, sender, text, time and number."""
        self.talk.deliver(ROOM, 1, ("bob", sealed_text(ROOM, "bob", "hello")))
        self.assertEqual(self.talk.events, [Message(ROOM, "bob", "hello", time_of(NOW_MS), 1)])

    def assert_unreadable(self, why: str, sender: str, sealed: bytes) -> None:
        """A message is told as unreadable for a reason, between two that are told."""
        self.talk.deliver(
            ROOM,
            1,
            ("bob", sealed_text(ROOM, "bob", "before")),
            (sender, sealed),
            ("bob", sealed_text(ROOM, "bob", "after")),
        )
        self.assertEqual(self.talk.heard(), ["before", "after"])
        bad = self.talk.events[1]
        assert isinstance(bad, Unreadable)
        self.assertEqual((bad.room, bad.sender, bad.seq, bad.time), (ROOM, sender, 2, time_of(NOW_MS)))
        self.assertIn(why, bad.reason)

    def test_changed(self) -> None:
        """A message that was changed on its way is not authentic, and nothing of it is told."""
        sealed = bytearray(sealed_text(ROOM, "bob", "hello"))
        sealed[-1] ^= 1
        self.assert_unreadable("not authentic", "bob", bytes(sealed))

    def test_another_sender(self) -> None:
        """A message that the relay tells as somebody else's is not authentic."""
        self.assert_unreadable("not authentic", "carol", sealed_text(ROOM, "bob", "hello"))

    def test_another_room(self) -> None:
        """A message that was said in another room is not authentic here."""
        self.assert_unreadable("not authentic", "bob", sealed_text("#other", "bob", "hello"))

    def test_another_epoch(self) -> None:
        """A message for another epoch is for other members."""
        self.assert_unreadable("other members", "bob", sealed_text(ROOM, "bob", "hello", epoch=2))

    def test_another_way(self) -> None:
        """What is sealed in a way that we do not know is told as that, however short."""
        self.assert_unreadable("a way that is not known", "bob", b"?")

    def test_another_kind(self) -> None:
        """An authentic message of a kind that we do not know is told as that."""
        sealed = sealed_bytes(ROOM, "bob", msgspec.msgpack.encode(["file", b"..."]))
        self.assert_unreadable("a kind that is not known", "bob", sealed)

    def test_empty_text(self) -> None:
        """An authentic message with an empty text, which nobody may send, is not told as one."""
        self.assert_unreadable("empty", "bob", sealed_bytes(ROOM, "bob", msgspec.msgpack.encode(["text", ""])))

    def test_cut_off_ciphertext(self) -> None:
        """A message of the right header and nothing behind it is not authentic."""
        self.assert_unreadable("not authentic", "bob", sealed_text(ROOM, "bob", "hello")[:36])

    def test_worker_fails(self) -> None:
        """Where the worker fails, each message is told as unreadable, and the next ones are heard."""
        self.talk.worker.failure = ZeroDivisionError()
        self.talk.deliver(ROOM, 1, *[("bob", sealed_text(ROOM, "bob", "hello"))] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([each.seq for each in self.talk.told(Unreadable)], [1, 2])
        self.assertIn("on this machine", self.talk.told(Unreadable)[0].reason)
        self.talk.worker.failure = None
        self.talk.deliver(ROOM, 3, ("bob", sealed_text(ROOM, "bob", "again")))
        self.assertEqual(self.talk.heard(), ["again"])
        self.assertEqual(self.talk.conversation.opening, 0)


class NumberTests(HearingCase):
    """What is new, what is ours, and what is missing."""

    def test_twice(self) -> None:
        """A message that is delivered again is not told again."""
        for _ in range(2):
            self.talk.deliver(ROOM, 1, ("bob", sealed_text(ROOM, "bob", "hello")))
        self.assertEqual(self.talk.heard(), ["hello"])

    def test_overlapping_runs(self) -> None:
        """Of a run that overlaps the last one only the new part is told."""
        said = [("bob", sealed_text(ROOM, "bob", text)) for text in ("1", "2", "3")]
        self.talk.deliver(ROOM, 1, *said[:2])
        self.talk.deliver(ROOM, 1, *said)
        self.assertEqual(self.talk.heard(), ["1", "2", "3"])

    def test_own(self) -> None:
        """Our own message in a run of several senders is passed over, and the next number is no hole."""
        self.talk.deliver(
            ROOM, 1, ("alice", sealed_text(ROOM, "alice", "mine")), ("bob", sealed_text(ROOM, "bob", "theirs"))
        )
        self.talk.deliver(ROOM, 3, ("alice", sealed_text(ROOM, "alice", "mine alone")))
        self.talk.deliver(ROOM, 4, ("bob", sealed_text(ROOM, "bob", "next")))
        self.assertEqual(self.talk.heard(), ["theirs", "next"])
        self.assertEqual(self.talk.told(Missed), [])

    def test_hole(self) -> None:
        """A run that begins too high tells what is missing before it tells itself."""
        self.talk.deliver(ROOM, 4, ("bob", sealed_text(ROOM, "bob", "late")))
        self.assertEqual([type(event) for event in self.talk.events], [Missed, Message])
        self.assertEqual(self.talk.told(Missed), [Missed(ROOM, 1, 3)])

    def test_unknown_room(self) -> None:
        """What is delivered for a room that we are not in is not told."""
        self.talk.deliver("#other", 1, ("bob", sealed_text("#other", "bob", "psst")))
        self.assertEqual(self.talk.events, [])

    def test_many(self) -> None:
        """A run as long as the wire allows is opened as one batch, in order."""
        self.talk.worker.at_once = False
        self.talk.deliver(ROOM, 1, *[("bob", sealed_text(ROOM, "bob", str(n))) for n in range(1_024)])
        self.assertEqual(self.talk.conversation.opening, 1_024)
        self.assertEqual(len(self.talk.worker.jobs), 1)
        self.talk.worker.work()
        self.assertEqual(self.talk.heard(), [str(n) for n in range(1_024)])
        self.assertEqual(self.talk.conversation.opening, 0)


class OrderTests(HearingCase):
    """Events stand in the order of their causes, though opening takes a while."""

    def setUp(self) -> None:
        """Let the worker wait for us."""
        super().setUp()
        self.talk.worker.at_once = False

    def test_what_happens_meanwhile_waits(self) -> None:
        """Who comes, what is acknowledged and what goes wrong after a message is told after it."""
        self.talk.conversation.say(ROOM, "mine")
        self.talk.worker.work()
        self.talk.deliver(ROOM, 1, ("bob", sealed_text(ROOM, "bob", "hello")))
        self.talk.ack(ROOM, (1, 2))
        self.talk.presence(ROOM, "carol", True)
        self.talk.conversation.enter("no room")
        self.assertEqual(self.talk.events, [])
        self.talk.worker.work()
        self.assertEqual([type(event) for event in self.talk.events], [Message, Sent, Joined, Error])

    def test_new_epoch_meanwhile(self) -> None:
        """A message is opened with the key that it came under, though a new epoch began before it was opened."""
        self.talk.deliver(ROOM, 1, ("bob", sealed_text(ROOM, "bob", "old")))
        self.talk.key(ROOM, 2)
        self.talk.deliver(ROOM, 2, ("bob", sealed_text(ROOM, "bob", "new", epoch=2)))
        self.talk.worker.work()
        self.assertEqual(self.talk.heard(), ["old", "new"])

    def test_link_lost_meanwhile(self) -> None:
        """What was heard before the link was lost is told before that, though it was opened after."""
        self.talk.deliver(ROOM, 1, ("bob", sealed_text(ROOM, "bob", "last words")))
        self.talk.down()
        self.talk.worker.work()
        self.assertEqual([event.__class__.__name__ for event in self.talk.events], ["Message", "Link"])

    def test_left_meanwhile(self) -> None:
        """What was heard before we left a room is told before our leaving."""
        self.talk.conversation.leave(ROOM)
        self.talk.hear(Delivery(ROOM, 1, [("bob", NOW_MS, sealed_text(ROOM, "bob", "bye"))]))
        self.talk.presence(ROOM, "alice", False)
        self.talk.worker.work()
        self.assertEqual([event.__class__.__name__ for event in self.talk.events], ["Message", "Left"])
