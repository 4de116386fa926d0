"""A conversation with a relay whose words are written here: what it says when, and what its user is told."""

from securechat.client.events import (
    Keyed,
    NotSent,
    Sent,
)
from securechat.e2e.body import TEXT_BYTES
from securechat.wire.codes import REASONS, Code
from securechat.wire.framing import frame
from securechat.wire.messages import FRAME_BYTES, RUN_ITEMS
from tests.client.harness import TalkCase, epoch_of

ROOM = "#lobby"


class SayingTests(TalkCase):
    """From a text to its acknowledgement."""

    def test_sent(self) -> None:
        """A text is sealed and posted for the epoch of now, and told as sent with its number and its label."""
        self.talk.entered()
        self.conversation.say(ROOM, "hello", "l1")
        self.assertEqual(self.talk.posts(), [(epoch_of(1), [1])])
        self.assertEqual(self.talk.posted_texts(1), ["hello"])
        self.assertEqual((self.talk.events, self.conversation.unacknowledged), ([], 1))
        self.talk.ack(ROOM, (1, 5))
        self.assertEqual(self.talk.events, [Sent(ROOM, 5, "hello", "l1")])
        self.assertEqual(self.conversation.unacknowledged, 0)

    def test_before_the_key(self) -> None:
        """What is said while entering waits for the key and is posted then, in order, as one post."""
        self.conversation.enter(ROOM)
        self.say("1", "2")
        self.talk.roster(ROOM, "alice")
        self.assertEqual(self.talk.posts(), [])
        self.talk.key(ROOM, 1)
        self.assertEqual(self.talk.posts(), [(epoch_of(1), [1, 2])])

    def test_one_batch_at_a_time(self) -> None:
        """What is said while the worker seals becomes the next batch: nothing passes what was said before."""
        self.talk.entered()
        self.talk.worker.at_once = False
        self.say("1", "2", "3")
        self.assertEqual(len(self.talk.worker.jobs), 1)
        self.talk.worker.work(1)
        self.talk.worker.work(1)
        self.assertEqual(self.talk.posts(), [(epoch_of(1), [1]), (epoch_of(1), [2, 3])])

    def test_impossible_texts(self) -> None:
        """An empty text, one too long and one that is no Unicode are told as not sent, and nothing is posted."""
        self.talk.entered()
        for text, why in (("", "nothing"), ("x" * (TEXT_BYTES + 1), "at most"), ("\ud800", "Unicode")):
            self.talk.forget()
            self.conversation.say(ROOM, text, "l")
            (event,) = self.talk.told(NotSent)
            self.assertEqual((event.text, event.id, event.room), (text, "l", ROOM))
            self.assertIn(why, event.reason)
        self.assertEqual(self.talk.sent, [])

    def test_impossible_rooms(self) -> None:
        """Saying something in what is no room, or in one that we have not entered, is told as not sent."""
        for room, code in (("lobby", Code.BAD_ROOM), ("", Code.BAD_ROOM), ("#lobby", Code.NOT_A_MEMBER)):
            self.talk.forget()
            self.say("x", room=room)
            self.assertEqual(self.talk.events, [NotSent(room, REASONS[code], "x")])
        self.assertEqual(self.talk.sent, [])

    def test_frames_hold_what_they_can(self) -> None:
        """Many long texts are spread over posts of which each fits a frame, and many short ones too."""
        self.talk.up(window=100_000)
        self.talk.entered()
        self.talk.worker.at_once = False
        self.say("first", *["x" * TEXT_BYTES] * 9, *["y"] * 3_000)
        self.talk.worker.work()
        for message in self.talk.sent:
            self.assertLessEqual(len(frame(message)), FRAME_BYTES + 4)
        ids = [post_id for _, posted in self.talk.posts() for post_id in posted]
        self.assertEqual(ids, list(range(1, 3_011)))
        self.assertLessEqual(max(len(posted) for _, posted in self.talk.posts()), RUN_ITEMS)

    def test_sealing_fails(self) -> None:
        """Where the worker fails, what waited is told as not sent, and the window is as large as before."""
        self.talk.up(window=2)
        self.talk.entered()
        self.talk.worker.failure = ZeroDivisionError()
        for _ in range(3):
            self.say("1", "2")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 6)
        self.assertEqual(
            self.talk.given_up(), [("1", "it could not be sealed"), ("2", "it could not be sealed")] * 3
        )
        self.talk.worker.failure = None
        self.say("3", "4")
        self.assertEqual(self.talk.posts(), [(epoch_of(1), [7]), (epoch_of(1), [8])])

    def test_sealing_fails_behind_what_was_posted(self) -> None:
        """What was posted before the worker failed is still acknowledged, and not told as not sent."""
        self.talk.entered()
        self.say("1")
        self.talk.worker.failure = ZeroDivisionError()
        self.say("2")
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(self.talk.given_up(), [("2", "it could not be sealed")])
        self.talk.ack(ROOM, (1, 1))
        self.assertEqual(self.talk.acknowledged(), ["1"])


class WindowTests(TalkCase):
    """No more posts are unanswered than the relay allows."""

    def test_window(self) -> None:
        """What the window has no room for is posted as answers come, over all rooms."""
        self.talk.up(window=3)
        self.talk.entered(ROOM)
        self.talk.entered("#other")
        self.say("1", "2")
        self.say("3", "4", room="#other")
        self.say("5")
        self.assertEqual([ids for _, ids in self.talk.posts()], [[1], [2], [3]])
        self.talk.ack("#other", (3, 1))
        self.talk.decline(ROOM, Code.NOT_A_MEMBER, 1)
        self.assertEqual(sorted(id for _, ids in self.talk.posts() for id in ids), [1, 2, 3, 4, 5])

    def test_counts_while_sealing(self) -> None:
        """What the worker has counts, so that two rooms do not count on the same room in the window."""
        self.talk.up(window=1)
        self.talk.entered(ROOM)
        self.talk.entered("#other")
        self.talk.worker.at_once = False
        self.say("1")
        self.say("2", room="#other")
        self.talk.worker.work()
        self.assertEqual([ids for _, ids in self.talk.posts()], [[1]])

    def test_given_back_when_a_room_is_left(self) -> None:
        """What was being sealed for a room that we left gives its part of the window to the other rooms."""
        self.talk.up(window=1)
        self.talk.entered(ROOM)
        self.talk.entered("#other")
        self.talk.worker.at_once = False
        self.say("1")
        self.say("2", room="#other")
        self.talk.presence(ROOM, "alice", False)
        self.talk.worker.work()
        self.assertEqual(self.talk.posted_texts(1), ["2"])

    def test_given_back_by_answers_for_a_room_that_was_left(self) -> None:
        """The answer to a post in a room that we have left makes way for the other rooms."""
        for answer in (lambda: self.talk.decline(ROOM, Code.NOT_A_MEMBER, 1), lambda: self.talk.ack(ROOM, (1, 1))):
            self.setUp()
            self.talk.up(window=1)
            self.talk.entered(ROOM)
            self.talk.entered("#other")
            self.say("1")
            self.say("2", room="#other")
            self.talk.presence(ROOM, "alice", False)
            self.talk.forget()
            answer()
            self.assertEqual(self.talk.posted_texts(1), ["2"])

    def test_stale_posts_count_until_declined(self) -> None:
        """Posts for an epoch that is over take their part of the window until the relay has declined them."""
        self.talk.up(window=2)
        self.talk.entered()
        self.say("1", "2")
        self.talk.forget()
        self.talk.key(ROOM, 2)
        self.assertEqual(self.talk.posts(), [])
        self.talk.decline(ROOM, Code.STALE_EPOCH, 1, 2)
        self.assertEqual(self.talk.posts(), [(epoch_of(2), [1, 2])])

    def test_new_link(self) -> None:
        """A new link begins with a whole window."""
        self.talk.up(window=2)
        self.talk.entered()
        self.say("1", "2")
        self.talk.down()
        self.talk.up(window=1)
        self.talk.forget()
        self.talk.roster(ROOM, "alice")
        self.talk.key(ROOM, 2)
        self.assertEqual(self.talk.posts(), [(epoch_of(2), [1])])


class EpochTests(TalkCase):
    """Members come and go while things are said."""

    def setUp(self) -> None:
        """Enter the lobby."""
        super().setUp()
        self.talk.entered()

    def test_posted_again(self) -> None:
        """A new epoch posts what is unanswered again: same ids, same order; the first attempt is forgotten."""
        self.say("1", "2")
        self.talk.forget()
        self.talk.key(ROOM, 2)
        self.assertEqual(self.talk.posts(), [(epoch_of(2), [1, 2])])
        self.assertEqual(self.talk.posted_texts(2), ["1", "2"])
        self.talk.decline(ROOM, Code.STALE_EPOCH, 1, 2)
        self.talk.ack(ROOM, (1, 1), (2, 2))
        self.assertEqual(self.talk.acknowledged(), ["1", "2"])
        self.assertEqual(self.talk.given_up(), [])

    def test_new_epoch_while_sealing(self) -> None:
        """What was sealed for an epoch that is over by now is not posted but sealed again."""
        self.talk.worker.at_once = False
        self.say("1")
        self.talk.key(ROOM, 2)
        self.say("2")
        self.talk.worker.work()
        self.assertEqual(self.talk.posts(), [(epoch_of(2), [1, 2])])

    def test_acknowledged_before_the_new_epoch(self) -> None:
        """What was acknowledged before the new epoch is not posted again."""
        self.say("1", "2")
        self.talk.ack(ROOM, (1, 1))
        self.talk.forget()
        self.talk.key(ROOM, 2)
        self.assertEqual(self.talk.posts(), [(epoch_of(2), [2])])

    def test_same_key_again(self) -> None:
        """The key of now, as it answers a second `Enter`, posts nothing again and is no news."""
        self.say("1")
        self.talk.forget()
        self.conversation.enter(ROOM)
        self.talk.roster(ROOM, "alice")
        self.talk.key(ROOM, 1)
        self.assertEqual((self.talk.posts(), self.talk.events), ([], []))
        self.say("2")
        self.assertEqual(self.talk.posts(), [(epoch_of(1), [2])])

    def test_key_of_a_strange_room(self) -> None:
        """A key for a room that we know nothing of is ignored."""
        self.talk.key("#other", 2)
        self.assertEqual((self.talk.events, self.conversation.rooms), ([], [ROOM]))

    def test_key_is_not_told(self) -> None:
        """Of a new key a short fingerprint and its length are told."""
        self.talk.key(ROOM, 2)
        (keyed,) = self.talk.told(Keyed)
        self.assertEqual((keyed.room, keyed.bytes, len(keyed.fingerprint)), (ROOM, 32, 16))

    def test_declined(self) -> None:
        """A post that is declined for good is told as not sent, with the relay's reason."""
        self.conversation.say(ROOM, "1", "l")
        self.talk.decline(ROOM, Code.NOT_A_MEMBER, 1)
        self.assertEqual(self.talk.events, [NotSent(ROOM, REASONS[Code.NOT_A_MEMBER], "1", "l")])
        self.assertEqual(self.conversation.unacknowledged, 0)
