"""What a relay or a member can do to certificates, prekeys, logins and sealed keys."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import aead
from securechat.e2e.chain import read_frame
from securechat.e2e.hpke import NoMlKemError, best_suite, hpke_open, hpke_seal, public_of
from securechat.e2e.inbox import DEVICE_SESSIONS
from securechat.e2e.outcomes import Awaited, Held, KeyOutcome, KeyTaken, Refusal, Refused
from securechat.e2e.room import FORMER_SESSIONS, NotReadyError
from securechat.e2e.safety import ChangedKeyError, Standing
from securechat.e2e.sealing import Descriptor, SenderKey, open_key, read_blob, seal_key
from securechat.e2e.sender import SESSION_MS, SendingSession
from securechat.signed import certificates
from securechat.signed.certificates import Certificate, certify, login_is_proven, prove_login, read_certificate
from securechat.signed.encoding import LABEL_KEY, LABEL_SEAL, lp, u64
from securechat.signed.errors import NotAuthentic
from securechat.signed.prekeys import KEEP_MS, SKEW_MS, PrekeyRecord, offer, read_prekey
from securechat.signed.signing import SigningKey
from securechat.signed.suites import Suite
from tests.crypto.vectors import flipped
from tests.e2e.scene import DAY, HOUR, NOW, Scene, Someone, session_key, someone, texts

ALICE, BOB, MALLORY = someone("alice"), someone("bob"), someone("mallory")


class CertificateTests(SynchronousTestCase):
    """Device certificates."""

    def test_every_bit(self) -> None:
        """A certificate with any one bit changed is refused."""
        for broken in flipped(ALICE.person.certificate.packed):
            self.assertRaises(NotAuthentic, read_certificate, broken)

    def test_self_made(self) -> None:
        """A certificate that another identity key signed, or nobody, is refused."""
        honest = ALICE.person.certificate
        mallorys = certify(MALLORY.person.identity, "alice", MALLORY.device, NOW)
        for forged in (
            replace(honest, device=MALLORY.device),
            replace(mallorys, identity=ALICE.identity),
            replace(honest, signature=bytes(64)),
            replace(honest, name="alice2"),
        ):
            self.assertRaises(NotAuthentic, read_certificate, forged.packed)

    def test_another_purpose(self) -> None:
        """A signature for one purpose is none for another."""
        signed = lp(b"alice", MALLORY.device, u64(NOW))
        for label in (LABEL_KEY, b"securechat/1 prekey", b"securechat/1 devic"):
            signature = ALICE.person.identity.sign(label, signed)
            forged = Certificate("alice", ALICE.identity, MALLORY.device, NOW, signature)
            self.assertRaises(NotAuthentic, read_certificate, forged.packed)

    def test_names(self) -> None:
        """A name of 4 KiB, an empty one and one that no relay takes are refused, though they are signed."""
        for name in ("a" * 4096, "a" * 33, "", "Alice", "alice\n", "ålice", "-alice"):
            forged = certify(MALLORY.person.identity, name, MALLORY.device, NOW)
            self.assertRaises(NotAuthentic, read_certificate, forged.packed)


class LoginTests(SynchronousTestCase):
    """The proof of a login."""

    def setUp(self) -> None:
        """Log in once."""
        self.relay, self.nonce, self.exporter = b"f" * 32, b"n" * 32, b"e" * 32
        self.proof = prove_login(
            ALICE.person.device, ALICE.person.certificate, self.relay, self.nonce, self.exporter
        )

    def test_proves(self) -> None:
        """The proof is good for its own greeting and link."""
        self.assertTrue(
            login_is_proven(ALICE.person.certificate, self.relay, self.nonce, self.exporter, self.proof)
        )
        plain = prove_login(ALICE.person.device, ALICE.person.certificate, b"", self.nonce, b"")
        self.assertTrue(login_is_proven(ALICE.person.certificate, b"", self.nonce, b"", plain))

    def test_answered_with_somebody_elses(self) -> None:
        """It is good for no other relay, nonce, TLS session, name or device."""
        certificate = ALICE.person.certificate
        other_name = certify(ALICE.person.identity, "alice2", ALICE.device, NOW)
        for holder, relay, nonce, exporter in (
            (certificate, b"g" * 32, self.nonce, self.exporter),
            (certificate, self.relay, b"m" * 32, self.exporter),
            (certificate, self.relay, self.nonce, b"d" * 32),
            (certificate, self.relay, self.nonce, b""),
            (certificate, b"", self.nonce, b""),
            (other_name, self.relay, self.nonce, self.exporter),
            (MALLORY.person.certificate, self.relay, self.nonce, self.exporter),
        ):
            self.assertFalse(certificates.login_is_proven(holder, relay, nonce, exporter, self.proof))

    def test_unbound(self) -> None:
        """No proof is made that lacks a part of its binding."""
        for relay, nonce, exporter in (
            (self.relay, self.nonce, b""),
            (b"", self.nonce, self.exporter),
            (self.relay, b"", self.exporter),
            (self.relay[:16], self.nonce, self.exporter),
        ):
            self.assertRaises(
                ValueError, prove_login, ALICE.person.device, ALICE.person.certificate, relay, nonce, exporter
            )


class PrekeyTests(SynchronousTestCase):
    """Prekey records that a relay hands out."""

    def record(self, suite: Suite | None = None, begun_ms: int = NOW, of: Someone = BOB) -> PrekeyRecord:
        """A record that somebody made."""
        fresh = someone(of.person.name)
        record = fresh.ring.rotate(begun_ms, suite)
        assert record is not None
        return record

    def test_every_bit(self) -> None:
        """A record with any one bit changed is refused."""
        packed = self.record(Suite.X25519).packed
        for broken in flipped(packed):
            self.assertRaises(NotAuthentic, read_prekey, broken, BOB.device, NOW)

    def test_foreign_and_self_made(self) -> None:
        """A record of another device, or one that the relay made itself, is refused."""
        foreign = self.record(of=MALLORY)
        for record in (foreign, replace(foreign, signature=self.record().signature)):
            self.assertRaises(NotAuthentic, read_prekey, record.packed, BOB.device, NOW)

    def test_old(self) -> None:
        """A record is taken for two weeks and not a moment longer, nor long before it begins."""
        packed = self.record().packed
        for now_ms in (NOW, NOW + KEEP_MS - 1, NOW - SKEW_MS):
            self.assertEqual(read_prekey(packed, BOB.device, now_ms).packed, packed)
        for now_ms in (NOW + KEEP_MS, NOW - SKEW_MS - 1, NOW + 400 * DAY):
            self.assertRaises(NotAuthentic, read_prekey, packed, BOB.device, now_ms)

    def test_for_ever(self) -> None:
        """A record that is offered for longer than the offline window is refused, though it is signed."""
        honest = self.record(Suite.X25519)
        forever = replace(honest, not_after_ms=NOW + KEEP_MS + 1)
        signed = lp(*(field for field in _fields(forever)))
        signature = BOB.person.device.sign(b"securechat/1 prekey", signed)
        forever = replace(forever, signature=signature)
        self.assertRaises(NotAuthentic, read_prekey, forever.packed, BOB.device, NOW)

    def test_suites(self) -> None:
        """A suite that does not exist, and a key that is not of its suite, are refused."""
        honest = self.record(Suite.X25519)
        packed = honest.packed
        for suite in ("647a00010001", "002000010003", "000000000000"):
            broken = packed.replace(honest.suite.value, bytes.fromhex(suite))
            self.assertRaises(NotAuthentic, read_prekey, broken, BOB.device, NOW)
        mixed = offer(BOB.person.device, b"12345678", Suite.X_WING, honest.public, NOW)
        self.assertRaises(NotAuthentic, read_prekey, mixed.packed, BOB.device, NOW)

    def test_downgraded(self) -> None:
        """After X-Wing nothing weaker is sealed to, and after a prekey no older one; other devices begin anew."""
        pins = someone("alice").pins
        pins.meet("bob", BOB.identity)
        pins.use("bob", BOB.device, self.record(Suite.X25519, NOW))
        pins.use("bob", BOB.device, self.record(Suite.X_WING, NOW))
        for record in (self.record(Suite.X25519, NOW + DAY), self.record(Suite.X_WING, NOW - SKEW_MS - 1)):
            self.assertRaises(NotAuthentic, pins.use, "bob", BOB.device, record)
        for begun_ms in (NOW - SKEW_MS, NOW + DAY):
            pins.use("bob", BOB.device, self.record(Suite.X_WING, begun_ms))
        pins.use("bob", MALLORY.device, self.record(Suite.X25519, NOW - DAY))
        self.assertRaises(NotAuthentic, pins.use, "nobody", BOB.device, self.record())

    def test_no_public_key(self) -> None:
        """A signed public key that is no key is refused when it is sealed to."""
        for suite in Suite:
            record = offer(BOB.person.device, b"12345678", suite, bytes(suite.public_bytes), NOW)
            read = read_prekey(record.packed, BOB.device, NOW)
            key = SenderKey(Descriptor(bytes(32), bytes(32), ALICE.device, bytes(16), NOW), 0, bytes(32))
            self.assertRaises(NotAuthentic, seal_key, ALICE.person.device, key, BOB.device, read)


def _fields(record: PrekeyRecord) -> tuple[bytes, ...]:
    """What a prekey record has signed."""
    times = u64(record.not_before_ms), u64(record.not_after_ms)
    return record.prekey_id, record.suite.value, record.public, *times


class SealedKeyTests(SynchronousTestCase):
    """Sealed keys of Alice, in a room with Bob and Carol, none of whom has spoken."""

    def setUp(self) -> None:
        """Make the room."""
        self.scene = Scene("alice", "bob", "carol")
        self.room_id = self.scene.rooms["alice"].roster.room_id
        self.epoch = self.scene.rooms["alice"].roster.epoch
        self.scene.rooms["alice"].to_hand(NOW)
        session = self.scene.rooms["alice"]._sending
        assert session is not None
        self.key = session.key
        self.device = self.scene.people["alice"].person.device

    def sealed(self, to: str, key: SenderKey | None = None, by: SigningKey | None = None) -> bytes:
        """A blob for somebody, of Alice's key unless another is said."""
        someone_else = self.scene.people[to]
        return seal_key(by or self.device, key or self.key, someone_else.device, someone_else.prekey())

    def assert_refused(self, why: Refusal, blob: bytes, to: str = "bob") -> None:
        """A blob is refused for a reason."""
        self.assertEqual(self.scene.rooms[to].sealed_key(7, "alice", blob), Refused(7, why))

    def inner(self, blob: bytes, of: str) -> bytes:
        """What somebody finds in a blob: inner and signature."""
        taken, recipient = read_blob(blob), self.scene.people[of]
        private = recipient.ring.private(taken.prekey_id)
        assert private is not None
        info = lp(LABEL_SEAL, taken.descriptor.packed, recipient.device, taken.prekey_id)
        return hpke_open(*private, info, taken.sealed)

    def sealed_again(self, inner: bytes, to: str, descriptor: Descriptor) -> bytes:
        """The same inside, sealed to somebody under a descriptor in the open."""
        recipient = self.scene.people[to]
        prekey = recipient.prekey()
        info = lp(LABEL_SEAL, descriptor.packed, recipient.device, prekey.prekey_id)
        sealed = hpke_seal(prekey.suite, prekey.public, info, inner)
        return lp(descriptor.packed, prekey.prekey_id, sealed)

    def test_honest(self) -> None:
        """An honest blob is taken, from the index that it names."""
        taken = self.scene.rooms["bob"].sealed_key(0, "alice", self.sealed("bob"))
        assert isinstance(taken, KeyTaken)
        self.assertEqual((taken.sender.name, taken.standing, taken.index), ("alice", Standing.PINNED, 0))
        self.assertEqual(taken.sid, self.key.descriptor.sid)

    def test_every_bit(self) -> None:
        """A blob with any one bit changed is refused or held, and the honest one is still taken."""
        ring = self.scene.people["bob"].ring
        record = ring.rotate(NOW + DAY, Suite.X25519)
        assert record is not None
        bobs = self.scene.people["bob"].device
        for blob, step in ((seal_key(self.device, self.key, bobs, record), 1), (self.sealed("bob"), 7)):
            for broken in flipped(blob)[::step]:
                outcome = self.scene.rooms["bob"].sealed_key(0, "alice", broken)
                self.assertIsInstance(outcome, Refused | Held)
            self.assertIsInstance(self.scene.rooms["bob"].sealed_key(0, "alice", blob), KeyTaken)

    def test_re_forwarded(self) -> None:
        """Bob cannot pass Alice's key on as hers: neither the blob, nor its inside sealed again."""
        blob = self.sealed("bob")
        self.assert_refused(Refusal.NOT_AUTHENTIC, blob, to="carol")
        again = self.sealed_again(self.inner(blob, "bob"), "carol", self.key.descriptor)
        self.assert_refused(Refusal.NOT_AUTHENTIC, again, to="carol")

    def test_re_forwarded_under_the_same_number(self) -> None:
        """That holds also where Bob gave his prekey the number of Carol's, which everybody can see."""
        bob, carol = self.scene.people["bob"], self.scene.people["carol"]
        number, suite, seed = carol.prekey().prekey_id, best_suite(), b"s" * 32
        record = offer(bob.person.device, number, suite, public_of(suite, seed), NOW)
        bob.ring._kept = {number: (record, seed)}
        blob = seal_key(self.device, self.key, bob.device, record)
        again = self.sealed_again(self.inner(blob, "bob"), "carol", self.key.descriptor)
        self.assert_refused(Refusal.NOT_AUTHENTIC, again, to="carol")

    def test_another_descriptor_in_the_open(self) -> None:
        """The descriptor in the open must be the one inside."""
        other = replace(self.key.descriptor, sid=b"o" * 16)
        again = self.sealed_again(self.inner(self.sealed("bob"), "bob"), "bob", other)
        self.assert_refused(Refusal.NOT_AUTHENTIC, again)

    def test_another_prekey_inside(self) -> None:
        """The prekey named inside must be the one that it was sealed to."""
        inner = self.inner(self.sealed("bob"), "bob")
        self.scene.people["bob"].ring.rotate(NOW + DAY)
        self.assert_refused(Refusal.NOT_AUTHENTIC, self.sealed_again(inner, "bob", self.key.descriptor))

    def test_another_signer(self) -> None:
        """A key in Alice's name that another member signed is refused."""
        forged = self.sealed("bob", by=self.scene.people["carol"].person.device)
        self.assert_refused(Refusal.NOT_AUTHENTIC, forged)

    def test_another_room(self) -> None:
        """A key of another room is refused where it is opened, and has no epoch here before that."""
        blob = read_blob(self.sealed("bob"))
        bob = self.scene.people["bob"]
        self.assertRaises(NotAuthentic, open_key, blob, bytes(32), bob.device, bob.ring.private)
        other = replace(self.key, descriptor=replace(self.key.descriptor, room_id=bytes(32)))
        self.assert_refused(Refusal.NOT_AUTHENTIC, self.sealed("bob", other))

    def test_unknown_epoch(self) -> None:
        """A key of an epoch that we do not know yet is held until the log is there."""
        entry = self.scene.rooms["alice"].roster.add(
            self.scene.people["alice"].person, someone("dave").person.certificate, NOW
        )
        self.scene.rooms["alice"].follow([entry])
        other = replace(self.key.descriptor, epoch=self.scene.rooms["alice"].roster.epoch)
        blob = self.sealed("bob", replace(self.key, descriptor=other))
        held = self.scene.rooms["bob"].sealed_key(3, "alice", blob)
        self.assertEqual(held, Held(3, "alice", other.sid, other.epoch, Awaited.ROSTER, True))
        self.scene.rooms["bob"].follow([entry])
        (taken,) = self.scene.rooms["bob"].retry_keys()
        self.assertIsInstance(taken, KeyTaken)

    def test_many_unknown_epochs(self) -> None:
        """Blobs that wait for the log are bounded."""
        other = replace(self.key, descriptor=replace(self.key.descriptor, epoch=bytes(32)))
        blob = self.sealed("bob", other)
        outcomes = [self.scene.rooms["bob"].sealed_key(0, "alice", blob) for _ in range(70)]
        self.assertEqual(sum(isinstance(each, Held) for each in outcomes), 64)
        self.assertEqual(outcomes[-1], Refused(0, Refusal.TOO_MANY_HELD))

    def test_no_member(self) -> None:
        """The key of a device that was no member in its epoch is refused."""
        mallory = someone("mallory")
        forged = replace(self.key.descriptor, device=mallory.device)
        blob = self.sealed("bob", replace(self.key, descriptor=forged), mallory.person.device)
        self.assert_refused(Refusal.NOT_A_MEMBER, blob)
        session = SendingSession(mallory.person.device, self.room_id, self.epoch, NOW)
        self.assert_refused(Refusal.NOT_A_MEMBER, self.sealed("bob", session.key, mallory.person.device))

    def test_deleted_prekey(self) -> None:
        """What was sealed to a prekey that is over opens no more, as its private half is gone."""
        blob = self.sealed("bob")
        self.scene.people["bob"].ring.rotate(NOW + KEEP_MS)
        self.assert_refused(Refusal.NOT_AUTHENTIC, blob)

    def test_another_chain(self) -> None:
        """A second key of a session that is not on its chain is a fork; one that is on it is none."""
        self.scene.rooms["bob"].sealed_key(0, "alice", self.sealed("bob"))
        self.assert_refused(Refusal.FORKED, self.sealed("bob", replace(self.key, chain_key=b"o" * 32)))
        self.assert_refused(Refusal.FORKED, self.sealed("bob", replace(self.key, index=3)))
        frames = [self.scene.say("alice", str(number)) for number in range(3)]
        session = self.scene.rooms["alice"]._sending
        assert session is not None
        ahead = self.scene.rooms["bob"].sealed_key(0, "alice", self.sealed("bob", session.key))
        self.assertIsInstance(ahead, KeyTaken)
        self.assertEqual(texts(self.scene.hear("bob", "alice", *frames)), ["0", "1", "2"])

    def test_another_beginning(self) -> None:
        """A descriptor that differs, under a number that is known, is a fork."""
        self.scene.rooms["bob"].sealed_key(0, "alice", self.sealed("bob"))
        other = replace(self.key, descriptor=replace(self.key.descriptor, created_ms=NOW + 1))
        self.assert_refused(Refusal.FORKED, self.sealed("bob", other))

    def test_far_index(self) -> None:
        """A key at an index that no frame can have is refused."""
        self.assert_refused(Refusal.NOT_AUTHENTIC, self.sealed("bob", replace(self.key, index=2**32 - 1)))

    def test_replayed_session(self) -> None:
        """A session that was given up for newer ones does not begin anew when its blob comes again."""
        blob, frame = self.sealed("bob"), self.scene.say("alice", "once")
        self.assertEqual(texts(self.scene.hear("bob", "alice", frame)), ["once"])
        for _ in range(DEVICE_SESSIONS):
            self.scene.rooms["alice"].rekey()
            self.scene.hand("alice")
        self.assert_refused(Refusal.REPLAYED, blob)
        self.scene.rooms["bob"].restore(self.scene.rooms["bob"].packed)
        self.assert_refused(Refusal.REPLAYED, blob)

    def test_no_ml_kem(self) -> None:
        """Without ML-KEM a device offers X25519, and says so where it would have to use X-Wing."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

        def missing(_: bytes) -> None:
            raise UnsupportedAlgorithm("no")

        prekey = self.scene.people["bob"].prekey()
        self.addCleanup(best_suite.cache_clear)
        self.patch(MLKEM768PrivateKey, "from_seed_bytes", missing)
        self.patch(MLKEM768PublicKey, "from_public_bytes", missing)
        best_suite.cache_clear()
        self.assertIs(best_suite(), Suite.X25519)
        record = someone("carol").ring.rotate(NOW)
        assert record is not None
        self.assertIs(record.suite, Suite.X25519)
        self.assertRaises(NoMlKemError, seal_key, self.device, self.key, BOB.device, prekey)
        self.assertRaises(NoMlKemError, hpke_open, Suite.X_WING, bytes(32), b"", bytes(1_200))


class ChangedKeyTests(SynchronousTestCase):
    """Somebody shows another key than before."""

    def setUp(self) -> None:
        """Alice knows Bob, and meets another one in a new direct room."""
        self.scene = Scene("alice", "bob", room="@alice+bob")
        self.alice = self.scene.people["alice"]
        self.impostor = someone("bob", "another Bob")
        self.room = self.scene.rooms["alice"]

    def show(self) -> None:
        """Let the other key be shown, as a new room's log would."""
        self.alice.pins.meet("bob", self.impostor.identity)

    def test_blocks_sending(self) -> None:
        """Nothing is sealed for either key until a person has decided, and then for the right one."""
        self.scene.hand("alice")
        self.show()
        self.assertRaises(ChangedKeyError, self.room.begin, self.scene.body("hello"), NOW)
        member = self.room.roster.named("bob")
        assert member is not None
        self.assertEqual(self.room.withheld, [member])
        self.assertRaises(ChangedKeyError, self.room.hand, member, self.scene.prekey("bob"), NOW)
        self.alice.pins.accept("bob", self.scene.people["bob"].identity)
        self.assertEqual(texts(self.scene.hear("bob", "alice", self.scene.say("alice", "hello"))), ["hello"])

    def test_others_go_on(self) -> None:
        """In a room of many only the one whose key changed is left out."""
        scene = Scene("alice", "bob", "carol")
        scene.people["alice"].pins.meet("bob", self.impostor.identity)
        frame = scene.say("alice", "for Carol")
        self.assertEqual(texts(scene.hear("carol", "alice", frame)), ["for Carol"])
        (held,) = scene.hear("bob", "alice", frame)
        self.assertIsInstance(held, Held)

    def test_who_has_our_key_already(self) -> None:
        """Who was handed our key before the change reads nothing after it."""
        scene = Scene("alice", "bob", "carol")
        self.assertEqual(texts(scene.hear("bob", "alice", scene.say("alice", "before"))), ["before"])
        scene.people["alice"].pins.meet("bob", self.impostor.identity)
        frame = scene.say("alice", "after")
        self.assertEqual(texts(scene.hear("carol", "alice", frame)), ["after"])
        self.assertEqual(texts(scene.hear("bob", "alice", frame)), [])
        scene.people["alice"].pins.accept("bob", scene.people["bob"].identity)
        self.assertEqual(texts(scene.hear("bob", "alice", scene.say("alice", "again"))), ["again"])

    def test_accepts_what_was_shown(self) -> None:
        """What is accepted is the very key that was shown, and not one that came in between."""
        self.show()
        pins = self.alice.pins
        self.assertRaises(ChangedKeyError, pins.accept, "bob", MALLORY.identity)
        self.assertRaises(ChangedKeyError, pins.accept, "nobody", MALLORY.identity)
        pins.accept("bob", self.impostor.identity)
        self.assertIs(pins.standing("bob", self.impostor.identity), Standing.PINNED)
        self.assertIs(pins.standing("bob", self.scene.people["bob"].identity), Standing.CHANGED)

    def test_verified_is_of_one_key(self) -> None:
        """A verification is of the key that was compared, and does not pass to the next one."""
        pins, bob = self.alice.pins, self.scene.people["bob"]
        self.assertRaises(ChangedKeyError, pins.verify, "bob", self.impostor.identity)
        pins.verify("bob", bob.identity)
        self.assertIs(pins.standing("bob", bob.identity), Standing.VERIFIED)
        self.show()
        self.assertIs(pins.standing("bob", self.impostor.identity), Standing.CHANGED)
        self.assertRaises(ChangedKeyError, pins.verify, "bob", self.impostor.identity)
        pins.accept("bob", self.impostor.identity)
        self.assertIs(pins.standing("bob", self.impostor.identity), Standing.PINNED)


class HandingTests(SynchronousTestCase):
    """To whom a key is handed."""

    def test_members_only(self) -> None:
        """Our key is handed to nobody who is not in the room now, whoever asks for it."""
        scene = Scene("alice", "bob", "carol")
        carol = scene.rooms["alice"].roster.named("carol")
        assert carol is not None
        scene.hand("alice")
        scene.remove("alice", "carol")
        self.assertRaises(NotReadyError, scene.rooms["alice"].hand, carol, scene.prekey("carol"), NOW)
        stranger = replace(carol, name="mallory", identity=MALLORY.identity, device=MALLORY.device)
        self.assertRaises(NotReadyError, scene.rooms["alice"].hand, stranger, MALLORY.prekey(), NOW)

    def test_nobody_is_forgotten(self) -> None:
        """Nothing is sealed while somebody has not got our key, unless they are passed over."""
        scene = Scene("alice", "bob", "carol")
        room = scene.rooms["alice"]
        bob, carol = room.to_hand(NOW)
        room.hand(bob, scene.prekey("bob"), NOW)
        self.assertRaises(NotReadyError, room.begin, scene.body("x"), NOW)
        room.pass_over(carol)
        room.begin(scene.body("x"), NOW)

    def lost(self, scene: Scene, *texts: str) -> list[bytes]:
        """Alice says things of whose session Bob has no key any more; gives the frames."""
        frames = [scene.say("alice", text) for text in texts]
        scene.rooms["bob"]._inbox._sessions.clear()
        return frames

    def asked(self, scene: Scene, sid: bytes, name: str = "bob", now: int = NOW + HOUR) -> KeyOutcome:
        """Alice hands somebody the key of a session for which they ask."""
        member = scene.rooms["alice"].roster.named(name)
        assert member is not None
        blob = scene.rooms["alice"].hand(member, scene.prekey(name), now, sid)
        return scene.rooms[name].sealed_key(0, "alice", blob)

    def test_asked_for_again(self) -> None:
        """Who lost our key gets it again from where they began, and what was held is filled in."""
        scene = Scene("alice", "bob")
        frames = self.lost(scene, "lost", "lost too")
        held, _ = scene.hear("bob", "alice", *frames)
        assert isinstance(held, Held)
        self.assertEqual((held.awaited, held.ask, held.sender), (Awaited.SENDER_KEY, True, "alice"))
        self.asked(scene, read_frame(frames[0]).header.sid)
        self.assertEqual(texts(scene.retry("bob")), ["lost", "lost too"])
        self.assertEqual(texts(scene.hear("bob", "alice", scene.say("alice", "found"))), ["found"])

    def test_passed_over(self) -> None:
        """Who had no good prekey when we began to talk reads all of it when they ask for our key."""
        scene = Scene("alice", "bob", "carol")
        room = scene.rooms["alice"]
        bob, carol = room.to_hand(NOW)
        scene.rooms["bob"].sealed_key(0, "alice", room.hand(bob, scene.prekey("bob"), NOW))
        room.pass_over(carol)
        frames = [scene.seal("alice", scene.body(text)) for text in ("one", "two")]
        scene.hear("carol", "alice", *frames)
        self.asked(scene, read_frame(frames[0]).header.sid, "carol")
        self.assertEqual(texts(scene.retry("carol")), ["one", "two"])

    def test_nothing_older(self) -> None:
        """Who came later is not handed more than they were due, whichever session they ask for."""
        scene = Scene("alice", "bob", is_open=True)
        older = scene.say("alice", "before")
        scene.enter("carol")
        scene.say("alice", "after")
        taken = self.asked(scene, read_frame(older).header.sid, "carol")
        assert isinstance(taken, KeyTaken)
        self.assertEqual(taken.index, 1)
        scene.rooms["alice"].rekey()
        scene.say("alice", "later")
        scene.enter("dave")
        taken = self.asked(scene, read_frame(older).header.sid, "dave")
        assert isinstance(taken, KeyTaken)
        self.assertNotEqual(taken.sid, read_frame(older).header.sid)

    def test_former_sessions(self) -> None:
        """The three sessions before ours are handed again to who asks; those before them are gone."""
        scene = Scene("alice", "bob")
        frames = []
        for count in range(FORMER_SESSIONS + 2):
            frames.append(scene.say("alice", str(count)))
            scene.rooms["alice"].rekey()
        scene.say("alice", "now")
        scene.rooms["bob"]._inbox._sessions.clear()
        scene.hear("bob", "alice", *frames)
        for frame in frames:
            self.asked(scene, read_frame(frame).header.sid)
        self.assertEqual(texts(scene.retry("bob")), ["2", "3", "4"])

    def test_former_sessions_end(self) -> None:
        """A day after a session began nothing of it is handed any more, nor kept."""
        for doing in ("says", "hears"):
            scene = Scene("alice", "bob")
            (frame,) = self.lost(scene, "lost")
            scene.rooms["alice"].rekey()
            scene.now += SESSION_MS
            if doing == "says":
                scene.say("alice", "now")
            else:
                scene.rooms["alice"].receive([], scene.now)
            self.assertEqual(len(scene.rooms["alice"]._former), 0)
            taken = self.asked(scene, read_frame(frame).header.sid, now=scene.now)
            assert isinstance(taken, KeyTaken)
            self.assertNotEqual(taken.sid, read_frame(frame).header.sid)

    def test_not_ready(self) -> None:
        """Nothing is sealed without the session key of the epoch, nor by who is no member."""
        scene = Scene("alice", "bob")
        room = scene.rooms["alice"]
        scene.hand("alice")
        room._inbox._session_keys.clear()
        self.assertRaises(NotReadyError, room.begin, scene.body("x"), NOW)
        scene.remove("alice", "bob")
        scene.give_session_key("bob", room.roster.epoch, session_key(b""))
        scene.rooms["bob"].follow(scene.log)
        self.assertRaises(NotReadyError, scene.rooms["bob"].begin, scene.body("x"), NOW)

    def test_job_and_session(self) -> None:
        """A job is finished once, by its own session, before the next one begins."""
        scene = Scene("alice", "bob")
        scene.hand("alice")
        room = scene.rooms["alice"]
        job = room.begin(scene.body("x"), NOW)
        self.assertRaises(RuntimeError, room.begin, scene.body("y"), NOW)
        sealed = aead.seal(job.key, job.header, job.plaintext)
        room.finish(job, sealed)
        self.assertRaises(RuntimeError, room.finish, job, sealed)
        room.rekey()
        self.assertRaises(RuntimeError, room.finish, job, sealed)
