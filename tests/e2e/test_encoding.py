"""Length prefixes: one way to write a list of items, and one error for everything else."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e.chain import FRAME_BYTES, HEADER_BYTES, read_frame
from securechat.e2e.errors import E2EError
from securechat.e2e.identity import read_person
from securechat.e2e.prekeys import PrekeyRing, read_ring
from securechat.e2e.receiver import PACKED, read_session
from securechat.e2e.safety import read_pins
from securechat.e2e.sealing import BLOB_BYTES, Descriptor, SenderKey, read_blob, read_descriptor, seal_key
from securechat.signed import encoding
from securechat.signed.certificates import CERTIFICATE, certify, read_certificate
from securechat.signed.encoding import Bounds, lp, number, read_name, split, split_list, u32, u64
from securechat.signed.entries import Founding, Policy, read_entry, read_founding, read_policy
from securechat.signed.errors import NotAuthentic, SignedError
from securechat.signed.prekeys import offer, read_prekey
from securechat.signed.rights import RosterError
from securechat.signed.roster import found
from securechat.signed.signing import SigningKey, is_signed
from securechat.signed.suites import Suite
from tests.e2e.scene import NOW, Scene, someone

items = st.lists(st.binary(max_size=40), max_size=6)
ANY: Bounds = (0, 40)


class LengthPrefixTests(SynchronousTestCase):
    """`lp`, and what reads it."""

    def test_as_documented(self) -> None:
        """Each item stands behind its length in 4 bytes, big-endian."""
        self.assertEqual(lp(b"ab", b"", b"c"), b"\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01c")
        self.assertEqual((u32(258), u64(258)), (b"\x00\x00\x01\x02", bytes(6) + b"\x01\x02"))
        self.assertEqual(number(u64(2**64 - 1)), 2**64 - 1)
        self.assertRaises(OverflowError, u32, 2**32)

    @given(items)
    def test_round_trip(self, parts: list[bytes]) -> None:
        """What was joined comes apart as it was."""
        self.assertEqual(split(lp(*parts), *[ANY] * len(parts)), parts)
        self.assertEqual(split_list(lp(*parts), ANY, 6), parts)

    @given(items, items)
    def test_one_reading(self, one: list[bytes], other: list[bytes]) -> None:
        """Two lists give the same bytes only where they are the same."""
        self.assertEqual(lp(*one) == lp(*other), one == other)

    @given(items)
    def test_number_of_items(self, parts: list[bytes]) -> None:
        """One item more or fewer than expected is refused."""
        joined = lp(*parts)
        self.assertRaises(NotAuthentic, split, joined, *[ANY] * (len(parts) + 1))
        if parts:
            self.assertRaises(NotAuthentic, split, joined, *[ANY] * (len(parts) - 1))
            self.assertRaises(NotAuthentic, split_list, joined, ANY, len(parts) - 1)

    def test_bounds(self) -> None:
        """An item at its bounds is taken, and one beyond them is refused."""
        for size, taken in ((1, False), (2, True), (3, True), (4, False)):
            for read in (lambda data: split(data, (2, 3)), lambda data: split_list(data, (2, 3), 1)):
                if taken:
                    self.assertEqual(read(lp(bytes(size))), [bytes(size)])
                else:
                    self.assertRaises(NotAuthentic, read, lp(bytes(size)))

    def test_trailing_and_cut_off(self) -> None:
        """Bytes behind the last item, and an end anywhere else than behind it, are refused."""
        whole = lp(b"abc", b"de")
        self.assertRaises(NotAuthentic, split, whole + b"\x00", ANY, ANY)
        for end in range(len(whole)):
            self.assertRaises(NotAuthentic, split, whole[:end], ANY, ANY)

    @given(st.binary(max_size=80))
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are either items, which give the same bytes again, or the one error."""
        try:
            parts = split_list(data, (0, 80), 20)
        except NotAuthentic:
            return
        self.assertEqual(lp(*parts), data)

    def test_labels(self) -> None:
        """No label is another one's beginning, with the zero behind it, so that no signature has two meanings."""
        labels = [value + b"\x00" for name, value in vars(encoding).items() if name.startswith("LABEL_")]
        self.assertEqual(len(labels), 9)
        for one in labels:
            self.assertEqual([other for other in labels if other.startswith(one)], [one])

    def test_names(self) -> None:
        """A name is what the relay takes, in ASCII."""
        self.assertEqual(read_name(b"alice.b-2"), "alice.b-2")
        for name in (b"", b"Alice", b"\xff", "ålice".encode(), b"a" * 33, b"a b", b"a+b", b"a\x00"):
            self.assertRaises(NotAuthentic, read_name, name)


def _read_named_prekey(data: bytes) -> object:
    return read_prekey(data, bytes(32), NOW)


def _read_own_ring(data: bytes) -> object:
    return read_ring(data, SigningKey(bytes(32)))


READERS = (
    read_certificate,
    read_person,
    _read_named_prekey,
    _read_own_ring,
    read_entry,
    read_founding,
    read_policy,
    read_descriptor,
    read_blob,
    read_frame,
    read_session,
    read_pins,
)
"""Everything that reads bytes of others, or of a disk."""


class ReaderTests(SynchronousTestCase):
    """Every reader, on anything."""

    def honest(self) -> list[bytes]:
        """One honest example for each reader, in their order, and some more."""
        scene = Scene("alice", "bob")
        frame = scene.say("alice")
        alice, bob = scene.people["alice"], scene.people["bob"]
        founding = Founding(alice.person.certificate, "#den", bytes(16), Policy())
        blob = scene.hands[0][2]
        session = next(iter(scene.rooms["bob"]._inbox._sessions[alice.device].values()))
        return [
            alice.person.certificate.packed,
            alice.person.packed,
            bob.prekey().packed,
            bob.ring.packed,
            scene.log[1],
            founding.packed,
            Policy().packed,
            read_blob(blob).descriptor.packed,
            blob,
            frame,
            session.packed,
            alice.pins.packed,
        ]

    def test_other_peoples_bytes(self) -> None:
        """What one reader takes no other one takes."""
        for at, data in enumerate(self.honest()):
            for reader in READERS[:at] + READERS[at + 1 :]:
                self.assertRaises(NotAuthentic, reader, data)

    def test_cut_off(self) -> None:
        """Nothing is taken that is cut off or goes on."""
        for reader, data in zip(READERS, self.honest(), strict=True):
            for broken in (*(data[:end] for end in range(1, len(data), 3)), data[:-1], data + b"\x00"):
                self.assertRaises(NotAuthentic, reader, broken)

    @given(st.binary(max_size=200), st.integers(0, len(READERS) - 1))
    def test_any_bytes(self, data: bytes, which: int) -> None:
        """Any bytes are taken, or the one error, which says nothing of why."""
        try:
            READERS[which](data)
        except (E2EError, SignedError) as wrong:
            self.assertEqual(str(wrong), str(NotAuthentic()))

    @given(st.data())
    def test_any_change(self, data: st.DataObject) -> None:
        """Any change to honest bytes is taken, or the one error."""
        which = data.draw(st.integers(0, len(READERS) - 1))
        honest = HONEST[which]
        start = data.draw(st.integers(0, len(honest)))
        end = data.draw(st.integers(start, min(start + 8, len(honest))))
        changed = honest[:start] + data.draw(st.binary(max_size=8)) + honest[end:]
        try:
            READERS[which](changed)
        except NotAuthentic:
            return

    def test_bounds_are_those_of_the_longest(self) -> None:
        """What is as long as it can be is taken: nothing honest is beyond a bound."""
        long_name = "a" * 32
        person = someone(long_name).person
        self.assertEqual(len(person.certificate.packed), CERTIFICATE[1])
        self.assertEqual(len(certify(person.identity, "a", person.device.public, NOW).packed), CERTIFICATE[0])
        read_entry(found(person, f"@{long_name}+{'b' * 32}", Policy(False, 3_650), NOW))
        ring = PrekeyRing(person.device)
        record = ring.rotate(NOW, Suite.X_WING)
        assert record is not None
        key = SenderKey(Descriptor(bytes(32), bytes(32), bytes(32), bytes(16), NOW), 0, bytes(32))
        blob = seal_key(person.device, key, person.device.public, record)
        self.assertEqual(len(blob), BLOB_BYTES)
        read_ring(ring.packed, person.device)
        self.assertEqual(HEADER_BYTES, 88)
        self.assertEqual((min(FRAME_BYTES), max(FRAME_BYTES)), (344, 16_600))
        self.assertLess(PACKED[0], PACKED[1])

    def test_entries(self) -> None:
        """A log tells of a malformed entry in its own words."""
        scene = Scene("alice")
        for data in (b"", b"x", scene.log[0][:-1]):
            self.assertRaises(RosterError, scene.rooms["alice"].roster.append, data)

    def test_signatures_of_any_length(self) -> None:
        """A signature, and a key, of a wrong length are simply not good."""
        key = SigningKey(bytes(32))
        signature = key.sign(b"label", b"message")
        self.assertTrue(is_signed(key.public, b"label", b"message", signature))
        for public, bad in (
            (key.public, b""),
            (key.public, signature[:-1]),
            (b"", signature),
            (b"\xff" * 32, signature),
        ):
            self.assertFalse(is_signed(public, b"label", b"message", bad))
        self.assertFalse(is_signed(key.public, b"labe", b"lmessage", signature))

    def test_offered_key(self) -> None:
        """A prekey record is as long as its suite makes it."""
        for suite, size in ((Suite.X25519, 150), (Suite.X_WING, 1_334)):
            record = offer(SigningKey(bytes(32)), b"12345678", suite, bytes(suite.public_bytes), NOW)
            self.assertEqual(len(record.packed), size)


HONEST = ReaderTests("honest").honest()
