"""Runs of frames: one signature for many, one batch for an engine, and an outcome for each in its place."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import aead
from securechat.crypto.cpu import CpuEngine
from securechat.e2e import inbox
from securechat.e2e.chain import Frame, frame_is_signed
from securechat.e2e.inbox import EPOCH_KEYS
from securechat.e2e.outcomes import Arrived, Awaited, Held, Opened, Outcome, Refusal, Refused
from securechat.e2e.receiver import MAX_JUMP
from securechat.e2e.safety import Standing
from securechat.e2e.sealing import seal_key
from securechat.wire.messages import SEALED_BYTES
from tests.crypto.fakes import Rig
from tests.e2e.scene import NOW, Scene, session_key, texts


class RunTests(SynchronousTestCase):
    """SC1 §8."""

    def setUp(self) -> None:
        """Three people in a room; count the signatures that are checked."""
        self.scene = Scene("alice", "bob", "carol")
        self.checked = 0

        def counting(frame: Frame, device: bytes) -> bool:
            self.checked += 1
            return frame_is_signed(frame, device)

        self.patch(inbox, "frame_is_signed", counting)

    def test_one_signature_and_one_batch(self) -> None:
        """Of 200 frames of one session one signature is checked, and the rest is one batch of an engine."""
        frames = [self.scene.say("alice", str(number)) for number in range(200)]
        run = [Arrived(1_000 + number, "alice", frame) for number, frame in enumerate(frames)]
        batch = self.scene.rooms["bob"].receive(run, NOW)
        self.assertEqual(self.checked, 1)
        jobs = batch.jobs
        self.assertEqual(len({key for key, _, _ in jobs}), 200)
        outcomes = batch.finish(CpuEngine().open_list(*map(list, zip(*jobs, strict=True))))
        self.assertEqual(texts(outcomes), [str(number) for number in range(200)])
        self.assertEqual([each.seq for each in outcomes], list(range(1_000, 1_200)))

    def test_through_the_worker(self) -> None:
        """The crypto worker seals and opens what the room gives it."""
        rig = Rig.new()
        self.scene.hand("alice")
        job = self.scene.rooms["alice"].begin(self.scene.body("hello"), NOW)
        sealing: Deferred[Any] = rig.worker.seal_many([(job.key, job.header, job.plaintext)])
        rig.all_batches()
        frame = self.scene.rooms["alice"].finish(job, self.successResultOf(sealing)[0])
        batch = self.scene.rooms["bob"].receive([Arrived(1, "alice", frame)], NOW)
        opening: Deferred[Any] = rig.worker.open_many(batch.jobs)
        rig.all_batches()
        outcomes: list[Outcome] = batch.finish(self.successResultOf(opening))
        self.assertEqual(texts(outcomes), ["hello"])

    def test_senders_in_turn(self) -> None:
        """Senders who take turns, or begin a new session in between, cost one signature each."""
        frames = []
        for number in range(12):
            name = ("alice", "carol")[number % 2]
            if number == 6:
                self.scene.rooms["alice"].rekey()
            frames.append((name, self.scene.say(name, str(number))))
        run = [Arrived(seq, name, frame) for seq, (name, frame) in enumerate(frames)]
        batch = self.scene.rooms["bob"].receive(run, NOW)
        self.assertEqual((self.checked, len(batch.jobs)), (3, 12))

    def test_gaps(self) -> None:
        """Each gap costs one signature more."""
        frames = [self.scene.say("alice", str(number)) for number in range(9)]
        del frames[6], frames[3]
        outcomes = self.scene.hear("bob", "alice", *frames)
        self.assertEqual((self.checked, len(texts(outcomes))), (3, 7))
        self.assertEqual([each.gap for each in outcomes if isinstance(each, Opened) and each.gap], [(3, 3), (6, 6)])

    def test_a_long_run(self) -> None:
        """A run that is longer than any jump may be is taken, as nothing in it is missing."""
        self.scene.hand("alice")
        session = self.scene.rooms["alice"]._sending
        assert session is not None
        epoch = self.scene.rooms["alice"].roster.epoch
        frames = []
        for number in range(MAX_JUMP + 50):
            job = session.begin(epoch, session_key(epoch), self.scene.body(str(number)))
            frames.append(session.finish(job, aead.seal(job.key, job.header, job.plaintext)))
        outcomes = self.scene.hear("bob", "alice", *frames)
        self.assertEqual((self.checked, len(texts(outcomes))), (1, len(frames)))

    def test_a_key_that_comes_later(self) -> None:
        """What was held for a key that then begins behind it is given up, and what follows opens."""
        room = self.scene.rooms["alice"]
        for member in room.to_hand(NOW):
            room.pass_over(member)
        held = [self.scene.seal("alice", self.scene.body(str(number))) for number in range(3)]
        self.assertEqual([each.seq for each in self.scene.hear("bob", "alice", *held)], [0, 1, 2])
        self.assertEqual(self.scene.rooms["bob"].held, 3)
        bob = room.roster.named("bob")
        assert bob is not None
        assert room._sending is not None
        alice = self.scene.people["alice"].person.device
        blob = seal_key(alice, room._sending.key, bob.device, self.scene.prekey("bob"))
        self.scene.rooms["bob"].sealed_key(0, "alice", blob)
        self.assertEqual(self.scene.retry("bob"), [Refused(seq, Refusal.KEY_GONE) for seq in range(3)])
        self.assertEqual(texts(self.scene.hear("bob", "alice", self.scene.say("alice", "now"))), ["now"])

    def test_asked_for_once(self) -> None:
        """What is missing is asked for once, also when other things come, and again on a new link."""
        frames = {}
        for name in ("alice", "carol"):
            room = self.scene.rooms[name]
            for member in room.to_hand(NOW):
                room.pass_over(member)
            frames[name] = [self.scene.seal(name, self.scene.body(str(number))) for number in range(2)]
        asked = [
            each.ask
            for name in frames
            for each in self.scene.hear("bob", name, *frames[name])
            if isinstance(each, Held)
        ]
        self.assertEqual(asked, [True, False, True, False])
        again = self.scene.retry("bob")
        self.assertEqual([each.ask for each in again if isinstance(each, Held)], [False] * 4)
        awaited = self.scene.rooms["bob"].awaited
        self.assertEqual(
            {(each.sender, each.awaited) for each in awaited}, {(n, Awaited.SENDER_KEY) for n in frames}
        )
        self.assertEqual(len(awaited), 2)
        self.assertEqual(len(self.scene.rooms["bob"].forget_held()), 4)
        (held,) = self.scene.hear("bob", "alice", frames["alice"][0])
        assert isinstance(held, Held)
        self.assertTrue(held.ask)

    def test_nothing(self) -> None:
        """A run of nothing is nothing."""
        batch = self.scene.rooms["bob"].receive([], NOW)
        self.assertEqual((batch.jobs, batch.finish([]), self.checked), ([], [], 0))
        self.assertRaises(ValueError, batch.finish, [None])

    def test_longest(self) -> None:
        """The longest text makes a frame that just fits the wire."""
        frame = self.scene.say("alice", "x" * 16_256)
        self.assertEqual(len(frame), SEALED_BYTES)
        self.assertEqual(len(texts(self.scene.hear("bob", "alice", frame))[0]), 16_256)

    def test_who_it_is(self) -> None:
        """An opened message has its sender from the log, and what we know of the sender's key."""
        alice = self.scene.people["alice"]
        pins = self.scene.people["bob"].pins
        standings = []
        for change in (lambda: None, lambda: pins.verify("alice", alice.identity)):
            change()
            (opened,) = self.scene.hear("bob", "alice", self.scene.say("alice"))
            assert isinstance(opened, Opened)
            self.assertEqual((opened.sender.name, opened.sender.identity), ("alice", alice.identity))
            standings.append(opened.standing)
        self.assertEqual(standings, [Standing.PINNED, Standing.VERIFIED])

    def test_session_keys_are_bounded(self) -> None:
        """The relay's keys of the latest 1,024 epochs are kept."""
        room = self.scene.rooms["bob"]
        for number in range(EPOCH_KEYS + 10):
            room.take_session_key(number.to_bytes(32, "big"), bytes(32))
        self.assertEqual(len(room._inbox._session_keys), EPOCH_KEYS)

    def test_gone_sessions_are_bounded(self) -> None:
        """Of the sessions that are followed no more the latest are remembered, and not more than that."""
        self.patch(inbox, "DEVICE_SESSIONS", 2)
        self.patch(inbox, "GONE_SESSIONS", 3)
        for _ in range(9):
            self.scene.rooms["alice"].rekey()
            self.scene.hand("alice")
        device = self.scene.people["alice"].device
        known = self.scene.rooms["bob"]._inbox
        self.assertEqual((len(known._sessions[device]), len(known._gone[device])), (2, 3))

    def test_silence(self) -> None:
        """Nothing of a room's keys shows where it is printed."""
        self.scene.hand("alice")
        room = self.scene.rooms["alice"]
        job = room.begin(self.scene.body("secret"), NOW)
        self.assertEqual((repr(room), repr(job)), ("SecureRoom('#den')", "SealJob(0)"))
        self.assertEqual(repr(room._sending), "SendingSession(1)")
