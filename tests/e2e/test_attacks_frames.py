"""What a relay or a member can do to frames: nothing that is not authentic is shown, and the next one arrives."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import aead
from securechat.e2e.chain import MAGIC, Frame, Header, message_key, message_seed, read_frame, sign_frame
from securechat.e2e.inbox import HELD_EACH, HELD_FRAMES
from securechat.e2e.outcomes import Awaited, Held, Opened, Refusal
from securechat.e2e.sealing import SenderKey
from securechat.e2e.sender import SendingSession
from securechat.signed.signing import SigningKey
from tests.crypto.vectors import flipped
from tests.e2e.scene import Scene, refusals, session_key, someone, texts


def made(key: SenderKey, device: SigningKey, epoch: bytes, plaintext: bytes, prev: bytes | None = None) -> bytes:
    """A frame at the index of a key, by whoever has that key, signed by some device."""
    sid, index = key.descriptor.sid, key.index
    header = Header(epoch, sid, index, prev or key.descriptor.digest).packed
    secret = message_key(session_key(epoch), message_seed(key.chain_key), sid, index)
    return sign_frame(device, header, aead.seal(secret, header, plaintext))


def with_header(frame: bytes, **changes: object) -> bytes:
    """The same frame with another header; its signature and tag are as they were."""
    header = replace(read_frame(frame).header, **changes)  # type: ignore[arg-type]
    return header.packed + frame[len(header.packed) :]


class AttackCase(SynchronousTestCase):
    """Alice, Bob and Carol in a closed room; Alice has spoken once, and Bob and Carol have heard it."""

    def setUp(self) -> None:
        """Make the room."""
        self.scene = Scene("alice", "bob", "carol")
        self.first = self.scene.say("alice", "first")
        for name in ("bob", "carol"):
            self.scene.hear(name, "alice", self.first)

    def device(self, name: str) -> SigningKey:
        """Somebody's device key."""
        return self.scene.people[name].person.device

    def session(self, name: str) -> SendingSession:
        """Somebody's session in the room."""
        session = self.scene.rooms[name]._sending
        assert session is not None
        return session

    @property
    def epoch(self) -> bytes:
        """The room's epoch, as Alice sees it."""
        return self.scene.rooms["alice"].roster.epoch

    def assert_refused(self, why: Refusal, *frames: bytes, sender: str = "alice") -> None:
        """Bob refuses all of these for one reason."""
        self.assertEqual(refusals(self.scene.hear("bob", sender, *frames)), [why] * len(frames))

    def assert_goes_on(self) -> None:
        """The next honest message arrives."""
        self.assertEqual(texts(self.scene.hear("bob", "alice", self.scene.say("alice", "next"))), ["next"])


class RelayTests(AttackCase):
    """What a relay can do alone."""

    def test_every_bit(self) -> None:
        """A frame with any one bit changed is not shown, whatever else becomes of it."""
        frame = self.scene.say("alice", "second")
        for broken in flipped(frame):
            outcomes = self.scene.hear("bob", "alice", broken)
            self.assertEqual(texts(outcomes), [])
        self.assertEqual(texts(self.scene.hear("bob", "alice", frame)), ["second"])

    def test_every_length(self) -> None:
        """A frame that is cut off or goes on is refused."""
        frame = self.scene.say("alice", "second")
        self.assert_refused(Refusal.NOT_AUTHENTIC, *(frame[:end] for end in range(len(frame))), frame + b"\x00")

    def test_replay(self) -> None:
        """A frame that comes again, in the same run or later, has come before."""
        frame = self.scene.say("alice", "second")
        outcomes = self.scene.hear("bob", "alice", frame, frame)
        self.assertEqual((texts(outcomes), refusals(outcomes)), (["second"], [Refusal.REPLAYED]))
        self.assert_refused(Refusal.REPLAYED, frame, self.first)
        self.assert_goes_on()

    def test_reordered(self) -> None:
        """Frames in another order are all shown; what is missing is said, and what comes late is marked."""
        frames = [self.scene.say("alice", str(number)) for number in range(1, 5)]
        outcomes = self.scene.hear("bob", "alice", frames[3], frames[0], frames[2], frames[1])
        opened = [(each.index, each.gap, each.is_late) for each in outcomes if isinstance(each, Opened)]
        self.assertEqual(opened, [(4, (1, 3), False), (1, None, True), (3, None, True), (2, None, True)])
        self.assert_goes_on()

    def test_dropped(self) -> None:
        """The message after a dropped one says which are missing."""
        for text in ("lost", "lost as well"):
            self.scene.say("alice", text)
        (opened,) = self.scene.hear("bob", "alice", self.scene.say("alice", "here"))
        assert isinstance(opened, Opened)
        self.assertEqual(opened.gap, (1, 2))

    def test_a_forged_frame_before_an_honest_one(self) -> None:
        """An honest signature does not vouch for a forged frame that is put in front of its own."""
        key = self.session("alice").key
        honest = [self.scene.say("alice", "honest"), self.scene.say("alice", "and so on")]
        forged = made(key, self.device("bob"), self.epoch, self.scene.body("forged"), read_frame(honest[0]).digest)
        outcomes = self.scene.hear("carol", "alice", forged, honest[1])
        self.assertEqual((texts(outcomes), refusals(outcomes)), (["and so on"], [Refusal.NOT_AUTHENTIC]))
        self.assertEqual(texts(self.scene.hear("carol", "alice", honest[0])), ["honest"])

    def test_a_bad_frame_in_a_run(self) -> None:
        """A run with one frame broken loses that frame and no other, wherever it stands."""
        for at in range(4):
            frames = [self.scene.say("alice", str(number)) for number in range(4)]
            frames[at] = frames[at][:100] + bytes([frames[at][100] ^ 1]) + frames[at][101:]
            outcomes = self.scene.hear("bob", "alice", *frames)
            self.assertEqual(texts(outcomes), [str(number) for number in range(4) if number != at])
            self.assertEqual(refusals(outcomes), [Refusal.NOT_AUTHENTIC])

    def test_another_room(self) -> None:
        """A frame in another room of the same people is of an epoch that is not known there."""
        other = Scene("alice", "bob", room="#other")
        (held,) = other.hear("bob", "alice", self.scene.say("alice", "for the den"))
        assert isinstance(held, Held)
        self.assertEqual(held.awaited, Awaited.ROSTER)

    def test_another_epoch(self) -> None:
        """A frame under another epoch's name is not authentic, and under none that is known is held."""
        frame = self.scene.say("alice", "before dave")
        self.scene.enter("dave")
        self.assert_refused(Refusal.NOT_AUTHENTIC, with_header(frame, epoch=self.epoch))
        self.assertEqual(texts(self.scene.hear("bob", "alice", frame)), ["before dave"])

    def test_another_sender(self) -> None:
        """A relay that says that a frame is another member's, or a stranger's, gets nothing shown."""
        frame = self.scene.say("alice", "second")
        (held,) = self.scene.hear("bob", "carol", frame)
        self.assertIsInstance(held, Held)
        self.assert_refused(Refusal.NOT_A_MEMBER, frame, sender="mallory")
        self.assertEqual(texts(self.scene.hear("bob", "alice", frame)), ["second"])

    def test_plaintext(self) -> None:
        """What is not sealed, or sealed as of version 1, is refused in any room."""
        for data in (
            b"",
            b"hello",
            b"\x92\xa4text\xa5hello",
            b"SC0\x01" + self.first[4:],
            MAGIC,
            b"SC1\x02" + bytes(340),
        ):
            self.assert_refused(Refusal.NOT_AUTHENTIC, data)

    def test_withheld_session_key(self) -> None:
        """Without the relay's key a frame is held, and is opened when the key comes."""
        self.scene.rooms["bob"]._inbox._session_keys.clear()
        frame = self.scene.say("alice", "second")
        (held,) = self.scene.hear("bob", "alice", frame)
        assert isinstance(held, Held)
        self.assertEqual((held.awaited, held.ask), (Awaited.SESSION_KEY, True))
        self.scene.give_session_key("bob", self.epoch)
        self.assertEqual(texts(self.scene.retry("bob")), ["second"])

    def test_wrong_session_key(self) -> None:
        """Under a wrong key of the relay nothing opens, and under the right one the same frame does."""
        self.scene.give_session_key("bob", self.epoch, b"x" * 32)
        frame = self.scene.say("alice", "second")
        self.assert_refused(Refusal.NOT_AUTHENTIC, frame)
        self.scene.give_session_key("bob", self.epoch)
        self.assertEqual(texts(self.scene.hear("bob", "alice", frame)), ["second"])
        self.assert_refused(Refusal.REPLAYED, frame)
        self.assert_goes_on()

    def test_many_unknown_sids(self) -> None:
        """Ten thousand unknown sessions fill their sender's share of what is held, and block nobody."""
        frames = [with_header(self.first, sid=number.to_bytes(16, "big")) for number in range(10_000)]
        outcomes = self.scene.hear("bob", "carol", *frames)
        held = [each for each in outcomes if isinstance(each, Held)]
        self.assertEqual(len(held), HELD_EACH)
        self.assertEqual(set(refusals(outcomes)), {Refusal.TOO_MANY_HELD})
        self.assertTrue(all(each.ask for each in held))
        self.assert_goes_on()

    def test_many_unknown_epochs(self) -> None:
        """What is held in a room is bounded over all senders, and its log is asked for once an epoch."""
        frame = with_header(self.first, epoch=bytes(32))
        outcomes = [each for n in range(8) for each in self.scene.hear("bob", f"somebody{n}", *[frame] * HELD_EACH)]
        held = [each for each in outcomes if isinstance(each, Held)]
        self.assertEqual((len(held), sum(each.ask for each in held)), (HELD_FRAMES, 1))
        self.assertEqual(len(self.scene.rooms["bob"].forget_held()), HELD_FRAMES)
        self.assertEqual(self.scene.rooms["bob"].held, 0)


class MemberTests(AttackCase):
    """What a member can do with what it knows, and with a client of its own making."""

    def test_in_anothers_name(self) -> None:
        """A member who has Alice's chain key cannot speak as Alice."""
        forged = made(self.session("alice").key, self.device("bob"), self.epoch, self.scene.body("I am Alice"))
        self.assertEqual(refusals(self.scene.hear("carol", "alice", forged)), [Refusal.NOT_AUTHENTIC])

    def test_two_frames_under_one_index(self) -> None:
        """The second of two signed frames with one index is refused as a fork."""
        double = copy(self.session("alice"))
        one = self.scene.say("alice", "to Bob")
        job = double.begin(self.epoch, session_key(self.epoch), self.scene.body("to Carol"))
        other = double.finish(job, aead.seal(job.key, job.header, job.plaintext))
        outcomes = self.scene.hear("bob", "alice", one, other)
        self.assertEqual((texts(outcomes), refusals(outcomes)), (["to Bob"], [Refusal.FORKED]))
        self.assert_goes_on()

    def test_a_frame_on_another_past(self) -> None:
        """A frame that points to another one than we were given is shown with the mark of a fork."""
        double = copy(self.session("alice"))
        self.scene.hear("bob", "alice", self.scene.say("alice", "to Bob"))
        for text in ("to Carol", "to both"):
            job = double.begin(self.epoch, session_key(self.epoch), self.scene.body(text))
            frame = double.finish(job, aead.seal(job.key, job.header, job.plaintext))
        (opened,) = self.scene.hear("bob", "alice", frame)
        assert isinstance(opened, Opened)
        self.assertEqual((opened.said.text, opened.is_forked, opened.gap), ("to both", True, None))

    def test_a_late_frame_on_another_future(self) -> None:
        """A frame that comes late, and is not the one that the next one pointed to, has the mark as well."""
        double = copy(self.session("alice"))
        frames = [self.scene.say("alice", "one"), self.scene.say("alice", "two")]
        job = double.begin(self.epoch, session_key(self.epoch), self.scene.body("another one"))
        other = double.finish(job, aead.seal(job.key, job.header, job.plaintext))
        self.scene.hear("bob", "alice", frames[1])
        (opened,) = self.scene.hear("bob", "alice", other)
        assert isinstance(opened, Opened)
        self.assertTrue(opened.is_forked)

    def test_another_room_inside(self) -> None:
        """A message whose body names another room is refused, though its sender sealed and signed it."""
        frame = self.scene.say("alice", "moved", room_id=bytes(32))
        self.assert_refused(Refusal.NOT_AUTHENTIC, frame)
        self.assert_goes_on()

    def test_padding(self) -> None:
        """Padding that is not zeros, or reaches into a larger bucket than it must, is refused."""
        body = self.scene.body("x")
        for plaintext in (body[:-1] + b"\x01", body.ljust(256, b"\x00"), b"\xff\xff\xff\xff" + body[4:]):
            self.scene.hand("alice")
            self.assert_refused(Refusal.NOT_AUTHENTIC, self.scene.seal("alice", plaintext))
        self.assert_goes_on()

    def test_unknown_kind(self) -> None:
        """A kind that a newer client may have sent is said to be one, and is used up."""
        self.scene.hand("alice")
        plaintext = (b"\x00\x00\x00\x06\x91\xa4poll").ljust(128, b"\x00")
        frame = self.scene.seal("alice", plaintext)
        self.assert_refused(Refusal.UNKNOWN_KIND, frame)
        self.assert_refused(Refusal.REPLAYED, frame)

    def test_far_index(self) -> None:
        """An index that is too far ahead costs nothing and is refused; so is the highest of 32 bits."""
        session = self.session("alice")
        session.index = 5_000
        job = session.begin(self.epoch, session_key(self.epoch), self.scene.body("far"))
        far = session.finish(job, aead.seal(job.key, job.header, job.plaintext))
        self.assert_refused(Refusal.TOO_FAR, far)
        self.assert_refused(Refusal.NOT_AUTHENTIC, with_header(self.first, index=2**32 - 1))
        self.scene.rooms["alice"].rekey()
        self.assert_goes_on()

    def test_session_kept_after_a_removal(self) -> None:
        """A member who goes on with a session that a removed one has the key of is refused."""
        self.scene.enter("dave")
        old = self.session("alice")
        self.scene.remove("alice", "dave")
        job = old.begin(self.epoch, session_key(self.epoch), self.scene.body("for Dave too"))
        self.assert_refused(Refusal.STALE_EPOCH, old.finish(job, aead.seal(job.key, job.header, job.plaintext)))
        self.assert_goes_on()

    def test_back_to_an_older_epoch(self) -> None:
        """A session that has moved on to an epoch does not go back to the one before."""
        before = self.epoch
        self.scene.enter("dave")
        self.scene.hear("bob", "alice", self.scene.say("alice", "with Dave"))
        session = self.session("alice")
        job = session.begin(before, session_key(before), self.scene.body("without Dave"))
        self.assert_refused(Refusal.STALE_EPOCH, session.finish(job, aead.seal(job.key, job.header, job.plaintext)))

    def test_a_removed_member_speaks(self) -> None:
        """A removed member is refused in every epoch since; what it says under an old one has a mark."""
        self.scene.enter("dave")
        self.scene.hear("bob", "dave", self.scene.say("dave", "hello"))
        session = self.session("dave")
        before = self.epoch
        self.scene.remove("alice", "dave")
        marked = made(session.key, self.device("dave"), before, self.scene.body("late"), session._prev)
        refused = made(session.key, self.device("dave"), self.epoch, self.scene.body("late"), session._prev)
        self.assert_refused(Refusal.NOT_A_MEMBER, refused, sender="dave")
        (opened,) = self.scene.hear("bob", "dave", marked)
        assert isinstance(opened, Opened)
        self.assertTrue(opened.is_former)

    def test_a_removed_member_listens(self) -> None:
        """A removed member who reads the wire, and has all that it ever had, opens nothing newer."""
        self.scene.enter("dave")
        self.scene.hear("dave", "alice", self.scene.say("alice", "with Dave"))
        self.scene.remove("alice", "dave")
        frame = self.scene.say("alice", "without Dave")
        self.scene.rooms["dave"].follow(self.scene.log)
        self.assertEqual(texts(self.scene.hear("dave", "alice", frame)), [])
        self.scene.give_session_key("dave", self.epoch)
        self.assertEqual(texts(self.scene.hear("dave", "alice", frame)), [])

    def test_a_late_member_listens(self) -> None:
        """Who joins later reads nothing older, even if the relay hands out the session keys of then."""
        old = [self.first, self.scene.say("alice", "before Dave")]
        before = self.epoch
        self.scene.enter("dave")
        new = self.scene.say("alice", "with Dave")
        self.scene.give_session_key("dave", before)
        outcomes = self.scene.hear("dave", "alice", *old, new)
        self.assertEqual((texts(outcomes), set(refusals(outcomes))), (["with Dave"], {Refusal.KEY_GONE}))
        chain = self.scene.rooms["dave"]._inbox._sessions[self.device("alice").public]
        self.assertEqual([each._next for each in chain.values()], [3])

    def test_anothers_session_number(self) -> None:
        """A session with the number of somebody else's is a session of its own, and in nobody's way."""
        sid = self.session("alice").descriptor.sid
        carol = self.scene.rooms["carol"]
        carol._random = lambda size: sid if size == 16 else bytes(size)
        self.assertEqual(
            texts(self.scene.hear("bob", "carol", self.scene.say("carol", "I am Carol"))), ["I am Carol"]
        )
        self.assert_goes_on()

    def test_a_signature_vouches_for_its_own_session_only(self) -> None:
        """Somebody who took a former member's name and session number cannot speak as the former member."""
        self.scene.enter("dave")
        self.scene.hear("bob", "dave", self.scene.say("dave", "hello"))
        old, before = self.session("dave"), self.epoch
        self.scene.remove("alice", "dave")
        del self.scene.rooms["dave"]
        self.scene.people["dave"] = someone("dave", "another Dave")
        self.scene.enter("dave")
        sid = old.descriptor.sid
        self.scene.rooms["dave"]._random = lambda size: sid if size == 16 else bytes(size)
        for name in ("alice", "bob", "carol"):
            self.scene.people[name].pins.accept("dave", self.scene.people["dave"].identity)
        self.scene.hand("dave")
        forged = made(old.key, self.device("dave"), before, self.scene.body("I was Dave"), old._prev)
        new = self.session("dave")
        for _ in range(2):
            job = new.begin(self.epoch, session_key(self.epoch), b"")
            new.finish(job, aead.seal(job.key, job.header, job.plaintext))
        self.assertEqual(new.index, old.index + 1)
        vouching = made(new.key, self.device("dave"), self.epoch, self.scene.body("I am"), digest(forged))
        outcomes = self.scene.hear("bob", "dave", forged, vouching)
        self.assertEqual(refusals(outcomes), [Refusal.NOT_AUTHENTIC])
        self.assertEqual(texts(outcomes), ["I am"])

    def test_voided(self) -> None:
        """Messages that their sender gave up are not missed, and not shown if the relay delivers them after all."""
        declined = [self.scene.say("alice", "again"), self.scene.say("alice", "again")]
        (opened,) = self.scene.hear("bob", "alice", self.scene.say("alice", "again", voided=2))
        assert isinstance(opened, Opened)
        self.assertIsNone(opened.gap)
        self.assert_refused(Refusal.KEY_GONE, *declined)

    def test_voided_after_a_gap(self) -> None:
        """What was missing before the messages that were given up is missing still."""
        self.scene.say("alice", "dropped")
        self.scene.say("alice", "declined")
        (opened,) = self.scene.hear("bob", "alice", self.scene.say("alice", "again", voided=1))
        assert isinstance(opened, Opened)
        self.assertEqual(opened.gap, (1, 1))


def digest(frame: bytes) -> bytes:
    """The digest of a frame."""
    taken: Frame = read_frame(frame)
    return taken.digest
