"""A chain as a recipient follows it, at each of its limits; and the sender's side of rotation."""

from __future__ import annotations

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import aead
from securechat.e2e.chain import Frame, Header, message_key, message_seed, next_chain_key
from securechat.e2e.outcomes import Opened, Refusal
from securechat.e2e.receiver import (
    MAX_JUMP,
    MAX_SKIPPED,
    SKIPPED_MS,
    WINDOW,
    Accepted,
    ReceivingSession,
    read_session,
)
from securechat.e2e.sealing import Descriptor, SenderKey
from securechat.e2e.sender import SESSION_MESSAGES, SESSION_MS, SendingSession
from securechat.signed.errors import NotAuthentic
from tests.e2e.scene import NOW, Scene, randomness, someone, texts

DESCRIPTOR = Descriptor(b"r" * 32, b"e" * 32, b"d" * 32, b"s" * 16, NOW)
CHAIN_KEY = b"c" * 32


def chain_key(index: int) -> bytes:
    """CK at an index."""
    key = CHAIN_KEY
    for _ in range(index):
        key = next_chain_key(key)
    return key


def digest(index: int) -> bytes:
    """The digest of the frame at an index of an honest session."""
    return DESCRIPTOR.digest if index < 0 else sha256(b"frame %d" % index).digest()


def frame(index: int) -> Frame:
    """A frame of an honest session, as far as a receiving session looks at it."""
    return Frame(Header(b"e" * 32, b"s" * 16, index, digest(index - 1)), b"", b"", digest(index), b"")


class ReceiverCase(SynchronousTestCase):
    """A case with a session from its beginning."""

    def setUp(self) -> None:
        """Be handed the key."""
        self.session = ReceivingSession(SenderKey(DESCRIPTOR, 0, CHAIN_KEY))

    def take(self, index: int, now_ms: int = NOW) -> Accepted | Refusal:
        """Receive a frame whose signature is good."""
        return self.session.refusal(frame(index)) or self.session.accept(frame(index), 0, now_ms)

    def assert_taken(self, index: int, now_ms: int = NOW) -> Accepted:
        """A frame is taken, with the key of its index."""
        accepted = self.take(index, now_ms)
        assert isinstance(accepted, Accepted), accepted
        self.assertEqual(accepted.seed, message_seed(chain_key(index)))
        self.assertFalse(accepted.is_forked)
        return accepted

    def assert_refused(self, why: Refusal, index: int, now_ms: int = NOW) -> None:
        """A frame is refused for a reason."""
        self.assertEqual(self.take(index, now_ms), why)


class LimitTests(ReceiverCase):
    """The limits of SC1 §7."""

    def test_jump(self) -> None:
        """A frame 2,000 ahead of the last one is taken, and one further is not."""
        self.assert_taken(0)
        self.assert_refused(Refusal.TOO_FAR, MAX_JUMP + 1)
        self.assertEqual(self.session.skipped, 0)
        self.assertEqual(self.assert_taken(MAX_JUMP).gap, (1, MAX_JUMP - 1))

    def test_skipped_keys(self) -> None:
        """The keys of the last 1,000 missing messages are kept, and of no more."""
        self.assert_taken(MAX_SKIPPED + 20)
        self.assertEqual(self.session.skipped, MAX_SKIPPED)
        self.assert_refused(Refusal.KEY_GONE, 19)
        self.assertTrue(self.assert_taken(20).is_late)
        self.assertEqual(self.session.skipped, MAX_SKIPPED - 1)

    def test_skipped_keys_grow_old(self) -> None:
        """They are kept for seven days."""
        self.assert_taken(5)
        self.assert_taken(1, NOW + SKIPPED_MS - 1)
        self.assert_taken(6, NOW + SKIPPED_MS)
        self.assertEqual(self.session.skipped, 0)
        self.assert_refused(Refusal.KEY_GONE, 2, NOW + SKIPPED_MS)

    def test_window(self) -> None:
        """A frame 1,023 behind the highest is taken, and one 1,024 behind counts as having come."""
        self.assert_taken(WINDOW)
        self.assert_refused(Refusal.REPLAYED, 0)
        self.session.void(WINDOW, 500)
        self.session._skip(1, message_seed(chain_key(1)), NOW)
        self.assert_taken(1)

    def test_window_is_bounded(self) -> None:
        """No more than the window is remembered of what came."""
        for index in range(WINDOW + 50):
            self.take(index)
        self.assertEqual(len(self.session._seen), WINDOW)
        for index in (0, 49, 50, WINDOW + 49):
            self.assert_refused(Refusal.REPLAYED, index)

    def test_window_is_bounded_after_jumps(self) -> None:
        """So it is where the session goes on far ahead, by a frame or by another key."""
        for index in range(3):
            self.assert_taken(index)
        self.assert_taken(2 + MAX_JUMP)
        self.assertEqual(list(self.session._seen), [2 + MAX_JUMP])
        far = 2 * MAX_JUMP + 100
        self.assertTrue(self.session.renew(SenderKey(DESCRIPTOR, far, chain_key(far))))
        self.assertEqual(self.session._seen, {})


class KeyTests(ReceiverCase):
    """Keys of one session that come again."""

    def test_in_the_middle(self) -> None:
        """Who is handed the key at an index opens nothing before it, and does not miss it."""
        self.session = ReceivingSession(SenderKey(DESCRIPTOR, 7, chain_key(7)))
        self.assertIsNone(self.assert_taken(7).gap)
        self.assert_refused(Refusal.KEY_GONE, 6)

    def test_a_late_first_frame(self) -> None:
        """The first frame that comes says what is missing since the key."""
        self.session = ReceivingSession(SenderKey(DESCRIPTOR, 7, chain_key(7)))
        self.assertEqual(self.assert_taken(9).gap, (7, 8))

    def test_behind(self) -> None:
        """A key that is behind, or just where we are, changes nothing."""
        self.assert_taken(3)
        for index in (0, 3, 4):
            self.assertTrue(self.session.renew(SenderKey(DESCRIPTOR, index, chain_key(index))))
        self.assert_taken(4)
        self.assert_taken(1)

    def test_ahead(self) -> None:
        """A key that we can reach must be the one that we reach."""
        far = MAX_JUMP
        self.assertFalse(self.session.renew(SenderKey(DESCRIPTOR, far, b"x" * 32)))
        self.assertTrue(self.session.renew(SenderKey(DESCRIPTOR, far, chain_key(far))))
        self.assert_taken(0)

    def test_far_ahead(self) -> None:
        """From a key that we cannot reach we go on, and say what was missed in between."""
        far = MAX_JUMP + 1
        self.assert_taken(0)
        self.assertTrue(self.session.renew(SenderKey(DESCRIPTOR, far + 1, chain_key(far + 1))))
        self.assert_refused(Refusal.REPLAYED, 1)
        self.assert_refused(Refusal.KEY_GONE, far)
        self.assertEqual(self.assert_taken(far + 1).gap, (1, far))

    def test_another_session(self) -> None:
        """A key of another descriptor does not fit."""
        other = Descriptor(b"r" * 32, b"e" * 32, b"d" * 32, b"s" * 16, NOW + 1)
        self.assertFalse(self.session.renew(SenderKey(other, 0, CHAIN_KEY)))


class PackedTests(ReceiverCase):
    """A session over a restart."""

    def test_round_trip(self) -> None:
        """It goes on where it was: what came is a replay, what is missing opens, and so does what is next."""
        for index in (0, 3, 5):
            self.assert_taken(index)
        packed = self.session.packed
        self.session = read_session(packed)
        self.assertEqual(self.session.packed, packed)
        self.assert_refused(Refusal.REPLAYED, 3)
        self.assertTrue(self.assert_taken(4).is_late)
        self.assertEqual(self.assert_taken(7).gap, (6, 6))
        self.assertRaises(NotAuthentic, read_session, packed[:-1])

    def test_given_back(self) -> None:
        """A frame that did not open may come again, also after a restart."""
        accepted = self.assert_taken(2)
        self.session.give_back(2, accepted.seed, NOW)
        self.session = read_session(self.session.packed)
        self.assert_taken(2)
        self.assert_refused(Refusal.REPLAYED, 2)

    def test_silence(self) -> None:
        """No key shows where one is printed."""
        for secret in (self.session, SenderKey(DESCRIPTOR, 0, CHAIN_KEY), self.assert_taken(0)):
            self.assertNotIn(repr(CHAIN_KEY)[2:10], repr(secret))
            self.assertLess(len(repr(secret)), 40)


class SenderTests(SynchronousTestCase):
    """When a session of ours ends."""

    def test_256_messages(self) -> None:
        """The message after the 256th begins a new session."""
        scene = Scene("alice", "bob")
        frames = [scene.say("alice", str(number)) for number in range(SESSION_MESSAGES)]
        first = scene.rooms["alice"]._sending
        scene.hand("alice")
        self.assertIsNot(scene.rooms["alice"]._sending, first)
        frames.append(scene.say("alice", "another"))
        self.assertEqual(len(texts(scene.hear("bob", "alice", *frames))), SESSION_MESSAGES + 1)

    def test_24_hours(self) -> None:
        """So does the message after 24 hours, or before the beginning, where the clock went back."""
        for shift_ms, renewed in ((SESSION_MS - 1, False), (SESSION_MS, True), (-1, True)):
            scene = Scene("alice", "bob")
            scene.say("alice")
            first = scene.rooms["alice"]._sending
            scene.now += shift_ms
            scene.say("alice")
            self.assertEqual(scene.rooms["alice"]._sending is not first, renewed)

    def test_members(self) -> None:
        """So does the message after somebody left or was removed, and not the one after somebody came."""
        scene = Scene("alice", "bob")
        scene.say("alice")
        first = scene.rooms["alice"]._sending
        scene.enter("carol")
        scene.say("alice")
        self.assertIs(scene.rooms["alice"]._sending, first)
        scene.publish(scene.rooms["alice"].roster.leave(scene.people["carol"].person, NOW), without="carol")
        scene.say("alice")
        self.assertIsNot(scene.rooms["alice"]._sending, first)

    def test_rekey(self) -> None:
        """So does the message after `/rekey`."""
        scene = Scene("alice", "bob")
        scene.say("alice")
        first = scene.rooms["alice"]._sending
        scene.rooms["alice"].rekey()
        scene.say("alice")
        self.assertIsNot(scene.rooms["alice"]._sending, first)

    def test_given_up(self) -> None:
        """A message that is sealed again says how many before it were given up, within its own session."""
        scene = Scene("alice", "bob")
        room = scene.rooms["alice"]
        jobs = []
        for text in ("a", "b", "c"):
            scene.hand("alice")
            job = room.begin(scene.body(text), NOW)
            room.finish(job, aead.seal(job.key, job.header, job.plaintext))
            jobs.append(job)
        self.assertEqual(room.voided, 0)
        room.void(jobs[2])
        room.void(jobs[1])
        self.assertEqual(room.voided, 2)
        (opened,) = scene.hear("bob", "alice", scene.say("alice", "b", room.voided))
        assert isinstance(opened, Opened)
        self.assertEqual((opened.gap, room.voided), ((0, 0), 0))
        room.rekey()
        self.assertEqual(room.voided, 0)
        room.void(jobs[0])
        scene.hand("alice")
        room.void(jobs[0])
        self.assertEqual(room.voided, 0)

    def test_not_while_sealing(self) -> None:
        """A session does not end under a message that is being sealed."""
        scene = Scene("alice", "bob")
        scene.hand("alice")
        room = scene.rooms["alice"]
        job = room.begin(scene.body("slow"), NOW)
        room.to_hand(NOW + SESSION_MS)
        frame_bytes = room.finish(job, aead.seal(job.key, job.header, job.plaintext))
        self.assertEqual(texts(scene.hear("bob", "alice", frame_bytes)), ["slow"])

    def test_keys_are_erased(self) -> None:
        """After a message its session holds nothing that opens it again."""
        session = SendingSession(someone("alice").person.device, bytes(32), bytes(32), NOW, randomness("x"))
        before = session.key
        job = session.begin(bytes(32), b"R" * 32, b"text")
        expected = message_key(b"R" * 32, message_seed(before.chain_key), before.descriptor.sid, 0)
        self.assertEqual(job.key, expected)
        session.finish(job, aead.seal(job.key, job.header, job.plaintext))
        held = [value for value in vars(session).values() if isinstance(value, bytes)]
        self.assertNotIn(before.chain_key, held)
        self.assertIsNone(session._job)
        self.assertEqual(session.key.chain_key, next_chain_key(before.chain_key))
