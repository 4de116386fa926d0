"""The key store's bytes: what comes back, and the one clear error for what does not."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e import keystore
from securechat.e2e.identity import read_person
from securechat.e2e.keystore import Cost, KeyStore, Lock, Secrets, StoreError, StoreFault, open_store, read_secrets
from securechat.signed.encoding import lp
from securechat.signed.errors import NotAuthentic
from tests.crypto.vectors import flipped
from tests.e2e.scene import DAY, NOW, Scene, someone, texts

CHEAP = Cost(memory_kib=32, passes=1, lanes=1)
PLACE = b"relay and alice"


def secrets(name: str = "alice") -> Secrets:
    """What a device keeps: keys, three prekeys, a pin, and a room that it has heard something in."""
    scene = Scene(name, "bob")
    scene.hear(name, "bob", scene.say("bob"))
    each = scene.people[name]
    for day in range(3):
        each.ring.rotate(NOW + day * DAY)
    room = scene.rooms[name]
    return Secrets(each.person, each.ring, each.pins, {room.roster.room_id: room.packed})


class StoreCase(SynchronousTestCase):
    """A case that opens stores."""

    def assert_fault(self, fault: StoreFault, data: bytes, **arguments: object) -> None:
        """A store is not opened, for a reason that a person can read."""
        arguments.setdefault("place", PLACE)
        wrong = self.assertRaises(StoreError, open_store, data, **arguments)
        self.assertEqual((wrong.fault, str(wrong)), (fault, str(fault)))


class PlainTests(StoreCase):
    """Stores without a passphrase."""

    def test_round_trip(self) -> None:
        """What was written is read, and written again under the next number."""
        store = KeyStore(secrets(), PLACE)
        again = open_store(store.write(), PLACE)
        self.assertEqual(again.secrets.packed, store.secrets.packed)
        self.assertEqual((again.counter, open_store(again.write(), PLACE).counter), (1, 2))

    def test_sessions_survive(self) -> None:
        """After a restart the next message opens, and the one that was heard does not come again."""
        scene = Scene("alice", "bob")
        heard = scene.say("bob", "heard")
        late = scene.say("bob", "late")
        last = scene.say("bob", "last")
        scene.hear("alice", "bob", heard, last)
        sessions = scene.rooms["alice"].packed
        scene._open("alice")
        scene.rooms["alice"].restore(sessions)
        outcomes = scene.hear("alice", "bob", heard, late, last, scene.say("bob", "new"))
        self.assertEqual(texts(outcomes), ["late", "new"])

    def test_every_bit(self) -> None:
        """A store with any one bit changed is damaged, or says that it is newer."""
        data = KeyStore(Secrets(someone("alice").person, someone("alice").ring), PLACE).write()
        for broken in flipped(data):
            wrong = self.assertRaises(StoreError, open_store, broken, PLACE)
            self.assertIn(wrong.fault, {StoreFault.DAMAGED, StoreFault.NEWER})

    def test_cut_off(self) -> None:
        """A store that was cut off anywhere is damaged, with a passphrase and without."""
        store = KeyStore(secrets(), PLACE)
        for _ in range(2):
            data = store.write()
            for end in [*range(120), *range(120, len(data), 97), len(data) - 1]:
                self.assert_fault(StoreFault.DAMAGED, data[:end])
            store.set_passphrase("correct horse", CHEAP)

    def test_copied(self) -> None:
        """A store that belongs to another place is refused, with a passphrase and without."""
        store = KeyStore(secrets(), PLACE)
        self.assert_fault(StoreFault.DAMAGED, store.write(), place=b"relay and bob")
        store.set_passphrase("correct horse", CHEAP)
        self.assert_fault(StoreFault.DAMAGED, store.write(), place=b"", passphrase="correct horse")

    def test_rolled_back(self) -> None:
        """A store that is older than what the caller remembers is refused, and the same one is not."""
        store = KeyStore(secrets(), PLACE)
        old, new = store.write(), store.write()
        self.assert_fault(StoreFault.ROLLED_BACK, old, at_least=2)
        self.assertEqual(open_store(new, PLACE, at_least=2).counter, 2)

    def test_newer(self) -> None:
        """A later version is named, whatever it holds."""
        self.assert_fault(StoreFault.NEWER, b"SCKS\x03whatever")

    def test_another_persons_certificate(self) -> None:
        """Keys and a certificate that do not belong together are no person."""
        alice, bob = someone("alice").person, someone("bob").person
        mixed = lp(alice.identity.seed, alice.device.seed, bob.certificate.packed)
        self.assertRaises(NotAuthentic, read_person, mixed)
        whole = Secrets(alice, someone("alice").ring).packed
        self.assertRaises(
            NotAuthentic, read_secrets, whole.replace(alice.certificate.packed, bob.certificate.packed)
        )

    @given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: b"SCKS\x02\x00" + tail))
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are a clear error and never another exception."""
        for passphrase in (None, "x"):
            self.assertRaises(StoreError, open_store, data, PLACE, passphrase)

    @given(st.binary(max_size=400))
    def test_any_content(self, data: bytes) -> None:
        """Any content behind a right checksum is a clear error."""
        head = b"SCKS\x02\x00" + bytes(8) + data
        self.assertRaises(StoreError, open_store, head + keystore._checksum(head, PLACE), PLACE)


class LockedTests(StoreCase):
    """Stores under a passphrase."""

    def setUp(self) -> None:
        """Write one."""
        self.store = KeyStore(secrets(), PLACE)
        self.store.set_passphrase("correct horse", CHEAP)
        self.data = self.store.write()

    def test_round_trip(self) -> None:
        """The right passphrase opens it, and what is written afterwards stays under it."""
        again = open_store(self.data, PLACE, "correct horse")
        self.assertEqual(again.secrets.packed, self.store.secrets.packed)
        self.assert_fault(StoreFault.LOCKED, again.write())
        again.set_passphrase(None)
        open_store(again.write(), PLACE)

    def test_wrong_passphrase(self) -> None:
        """Another passphrase, or none, does not open it."""
        for passphrase in ("wrong", "", "correct horse ", None):
            self.assert_fault(StoreFault.LOCKED, self.data, passphrase=passphrase)

    def test_composed_and_decomposed(self) -> None:
        """A passphrase is the same however a keyboard composes its letters, and any bytes make one."""
        for typed, typed_again in (("caf\u00e9", "cafe\u0301"), ("\udce9", "\udce9")):
            self.store.set_passphrase(typed, CHEAP)
            open_store(self.store.write(), PLACE, typed_again)

    def test_nothing_shows(self) -> None:
        """No key, name or prekey stands in the bytes."""
        person = self.store.secrets.person
        for secret in (person.identity.seed, person.device.seed, person.identity.public, b"alice"):
            self.assertNotIn(secret, self.data)

    def test_altered(self) -> None:
        """A store that somebody altered, with a right checksum, does not open."""
        for at in (6, 13, 14, 40, 60, len(self.data) - 40):
            head = bytearray(self.data[:-32])
            head[at] ^= 1
            altered = bytes(head) + keystore._checksum(bytes(head), PLACE)
            wrong = self.assertRaises(StoreError, open_store, altered, PLACE, "correct horse")
            self.assertIn(wrong.fault, {StoreFault.LOCKED, StoreFault.DAMAGED})

    def test_altered_tag(self) -> None:
        """A wrong tag is a wrong passphrase, and nothing of what it would open to is looked at."""
        head = self.data[:-64] + bytes(32)
        altered = head + keystore._checksum(head, PLACE)
        self.assert_fault(StoreFault.LOCKED, altered, passphrase="correct horse")

    def test_not_locked(self) -> None:
        """A store without a passphrase is not taken for one that has it."""
        self.store.set_passphrase(None)
        self.assert_fault(StoreFault.NOT_LOCKED, self.store.write(), passphrase="correct horse")

    def test_unbearable_cost(self) -> None:
        """A cost that would eat the memory, or that Argon2 cannot have, is damage; and nobody can choose it."""
        for cost in ((2**32 - 1, 1, 1), (32, 17, 1), (32, 0, 1), (32, 1, 17), (7, 1, 1), (32, 1, 0)):
            fields = b"".join(value.to_bytes(4, "big") for value in cost)
            head = self.data[:30] + fields + self.data[42:-32]
            damaged = head + keystore._checksum(head, PLACE)
            self.assert_fault(StoreFault.DAMAGED, damaged, passphrase="correct horse")
            self.assertRaises(ValueError, Lock, "correct horse", bytes(16), Cost(*cost))

    def test_no_argon2(self) -> None:
        """Where OpenSSL has no Argon2, that is what is said."""

        def missing(**_: object) -> None:
            raise UnsupportedAlgorithm("no")

        self.patch(keystore, "Argon2id", missing)
        self.assert_fault(StoreFault.NO_ARGON2, self.data, passphrase="correct horse")

    def test_default_cost(self) -> None:
        """Without a word about it the cost is the second choice of RFC 9106, and bearable."""
        self.assertEqual(Cost(), Cost(65_536, 3, 4))
        self.assertTrue(Cost().is_bearable())

    def test_silence(self) -> None:
        """No secret shows where one is printed."""
        lock = Lock("x", bytes(16), CHEAP)
        for secret in (lock, self.store.secrets, self.store.secrets.person, self.store.secrets.ring):
            self.assertRegex(repr(secret), r"^\w+\(…\)$")
        self.assertEqual(repr(self.store.secrets.person.device), "SigningKey(…)")
