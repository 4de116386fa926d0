"""Session keys: which key seals and opens what, bound to room, sender and epoch, and checked by other means."""

import hashlib
import hmac
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.aead import OpenError
from securechat.crypto.aead import open as aead_open
from securechat.crypto.aead import seal as aead_seal
from securechat.e2e.body import pack_text, unpack
from securechat.e2e.sessions import HEADER_BYTES, MAGIC, NoKeyError, RoomKey, SessionKeys
from tests.crypto.fakes import Rig

ROOM, SENDER = "#lobby", "alice"
EPOCH, KEY = bytes(range(32)), bytes(range(100, 132))
OTHER_EPOCH, OTHER_KEY = b"\x01" * 32, b"\x02" * 32

IV = bytes.fromhex("00112233445566778899aabbccddeeff")
VECTOR = bytes.fromhex(
    "53433001000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    "00112233445566778899aabbccddeeff"
    "286747503f7459b4c84be570f849ecb2e15acf152c12c51236ed95216e029384"
    "e4bf3b9e958b40344e6dd3eeaa2ce491cb021228281ded97e97f659dafe7bcd7"
)
"""`["text", "hello, bob"]` of alice in #lobby, for EPOCH under KEY with IV: header, IV, ciphertext, tag.

Made by Python's `hmac` and the bare AES-CBC of `cryptography`; `test_vector_is_what_the_page_says` repeats it.
"""


def started(*rooms: str) -> SessionKeys:
    """Session keys with an epoch begun in some rooms."""
    keys = SessionKeys()
    for room in rooms or (ROOM,):
        keys.start(room, EPOCH, KEY)
    return keys


def sealed_by(keys: SessionKeys, room: str, sender: str, plaintext: bytes) -> bytes:
    """A sealed message as it travels."""
    key, header, associated = keys.to_seal(room, sender)
    return header + aead_seal(key, associated, plaintext)


def opened_by(keys: SessionKeys, room: str, sender: str, sealed: bytes) -> bytes:
    """What was sealed. Raises `NoKeyError` or `OpenError`."""
    return aead_open(*keys.to_open(room, sender, sealed))


def by_the_page(session_key: bytes, epoch: bytes, room: bytes, sender: bytes, iv: bytes, content: bytes) -> bytes:
    """A sealed message made from docs/PROTOCOL.md alone, without any code of ours."""
    info = b"securechat/0 message" + epoch
    secret = hmac.digest(bytes(64), session_key, "sha512")
    key = hmac.digest(secret, info + b"\x01", "sha512")
    header = b"SC0\x01" + epoch
    associated = header + room + b"\x00" + sender
    missing = 16 - len(content) % 16
    encryptor = Cipher(AES(key[32:]), CBC(iv)).encryptor()
    ciphertext = encryptor.update(content + bytes([missing]) * missing) + encryptor.finalize()
    length = (8 * len(associated)).to_bytes(8, "big")
    tag = hmac.new(key[:32], associated + iv + ciphertext + length, hashlib.sha512).digest()[:32]
    return header + iv + ciphertext + tag


class RoundTripTests(SynchronousTestCase):
    """What one member seals another one opens."""

    def test_between_members(self) -> None:
        """A message goes from one member's keys to another's and says what it said."""
        sealed = sealed_by(started(), ROOM, SENDER, pack_text("hello"))
        self.assertEqual(unpack(opened_by(started(), ROOM, SENDER, sealed)).text, "hello")

    def test_through_the_worker(self) -> None:
        """The crypto worker seals and opens with what the session keys give it."""
        rig = Rig.new()
        key, header, associated = started().to_seal(ROOM, SENDER)
        done: Deferred[Any] = rig.worker.seal_many([(key, associated, b"one"), (key, associated, b"two")])
        rig.all_batches()
        sealed = [header + body for body in self.successResultOf(done)]
        opening = rig.worker.open_many([started().to_open(ROOM, SENDER, each) for each in sealed])
        rig.all_batches()
        self.assertEqual(self.successResultOf(opening), [b"one", b"two"])

    def test_rooms_are_apart(self) -> None:
        """Each room has its own epoch, and forgetting one leaves the others."""
        keys = started("#a")
        keys.start("#b", OTHER_EPOCH, OTHER_KEY)
        self.assertEqual((keys.epoch("#a"), keys.epoch("#b"), keys.epoch("#c")), (EPOCH, OTHER_EPOCH, None))
        keys.forget("#a")
        keys.forget("#never")
        self.assertEqual((keys.epoch("#a"), keys.epoch("#b")), (None, OTHER_EPOCH))
        keys.forget_all()
        self.assertIsNone(keys.epoch("#b"))

    @given(st.binary(max_size=100), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
    def test_as_the_page_says(self, content: bytes, epoch: bytes, session_key: bytes) -> None:
        """What is made from the protocol's page is opened, and what we seal has the page's bytes."""
        keys = SessionKeys()
        keys.start(ROOM, epoch, session_key)
        theirs = by_the_page(session_key, epoch, b"#lobby", b"alice", IV, content)
        self.assertEqual(opened_by(keys, ROOM, SENDER, theirs), content)
        ours = sealed_by(keys, ROOM, SENDER, content)
        iv = ours[HEADER_BYTES : HEADER_BYTES + 16]
        self.assertEqual(ours, by_the_page(session_key, epoch, b"#lobby", b"alice", iv, content))


class VectorTests(SynchronousTestCase):
    """Bytes that must never change, as other clients hold them too."""

    def test_vector(self) -> None:
        """The fixed message is opened, and sealing it again with its IV gives the same bytes."""
        keys = started()
        self.assertEqual(unpack(opened_by(keys, ROOM, SENDER, VECTOR)).text, "hello, bob")
        key, header, associated = keys.to_seal(ROOM, SENDER)
        self.assertEqual(header + aead_seal(key, associated, pack_text("hello, bob"), IV), VECTOR)

    def test_vector_is_what_the_page_says(self) -> None:
        """The fixed message is what the page's steps give with nothing of ours."""
        content = b"\x92\xa4text\xaahello, bob"
        self.assertEqual(by_the_page(KEY, EPOCH, b"#lobby", b"alice", IV, content), VECTOR)

    def test_header(self) -> None:
        """The header is "SC0", one, and the epoch; the associated data is the header, room, zero and sender."""
        _, header, associated = started().to_seal(ROOM, SENDER)
        self.assertEqual(header, b"SC0\x01" + EPOCH)
        self.assertEqual(associated, header + b"#lobby\x00alice")
        self.assertEqual(HEADER_BYTES, 36)


class BindingTests(SynchronousTestCase):
    """A message passes for nothing but what it is."""

    def setUp(self) -> None:
        """Seal one message."""
        self.sealed = sealed_by(started(), ROOM, SENDER, pack_text("hello"))

    def test_another_sender(self) -> None:
        """A message that is told as another sender's is not authentic."""
        for sender in ("bob", "alic", "alicee", "ALICE", "", "alice\x00"):
            self.assertRaises(OpenError, opened_by, started(), ROOM, sender, self.sealed)

    def test_another_room(self) -> None:
        """A message that is told in another room, even one with the same key, is not authentic."""
        for room in ("#lobb", "#lobby2", "@alice+bob", ""):
            self.assertRaises(OpenError, opened_by, started(room), room, SENDER, self.sealed)

    def test_another_epoch(self) -> None:
        """A message under another epoch's name is not authentic, even where its session key is the same."""
        keys = SessionKeys()
        keys.start(ROOM, OTHER_EPOCH, KEY)
        renamed = MAGIC + OTHER_EPOCH + self.sealed[HEADER_BYTES:]
        self.assertRaises(OpenError, opened_by, keys, ROOM, SENDER, renamed)

    def test_another_key(self) -> None:
        """A message of the right epoch under another session key is not authentic."""
        keys = SessionKeys()
        keys.start(ROOM, EPOCH, OTHER_KEY)
        self.assertRaises(OpenError, opened_by, keys, ROOM, SENDER, self.sealed)

    def test_every_bit(self) -> None:
        """A message with any one bit changed is refused."""
        for at in range(8 * len(self.sealed)):
            broken = bytearray(self.sealed)
            broken[at // 8] ^= 1 << at % 8
            self.assertRaises((OpenError, NoKeyError), opened_by, started(), ROOM, SENDER, bytes(broken))

    def test_every_length(self) -> None:
        """A message that is cut off anywhere, or goes on, is refused."""
        for end in range(len(self.sealed)):
            self.assertRaises((OpenError, NoKeyError), opened_by, started(), ROOM, SENDER, self.sealed[:end])
        for more in (b"\x00", bytes(16)):
            self.assertRaises(OpenError, opened_by, started(), ROOM, SENDER, self.sealed + more)


class NoKeyTests(SynchronousTestCase):
    """Messages for which there is no key, and the reason that their reader is given."""

    def assert_no_key(self, keys: SessionKeys, sealed: bytes, why: str, room: str = ROOM) -> None:
        """A message cannot be opened for a reason."""
        self.assertIn(why, str(self.assertRaises(NoKeyError, keys.to_open, room, SENDER, sealed)))

    def test_unknown_ways(self) -> None:
        """Another magic and a header that is too short are a way of sealing that is not known."""
        sealed = sealed_by(started(), ROOM, SENDER, b"x")
        for bad in (
            b"",
            b"SC0",
            MAGIC,
            sealed[: HEADER_BYTES - 1],
            b"SC1\x01" + sealed[4:],
            b"SC0\x02" + sealed[4:],
        ):
            self.assert_no_key(started(), bad, "in a way that is not known")

    def test_old_epochs(self) -> None:
        """A message of the epoch before, and one of an epoch that never was, are for other members."""
        keys = started()
        sealed = sealed_by(keys, ROOM, SENDER, b"x")
        keys.start(ROOM, OTHER_EPOCH, OTHER_KEY)
        self.assert_no_key(keys, sealed, "for other members than those of now")
        self.assert_no_key(keys, MAGIC + bytes(32) + sealed[HEADER_BYTES:], "for other members")

    def test_no_epoch_yet(self) -> None:
        """Without any key nothing is opened and nothing is sealed."""
        sealed = sealed_by(started(), ROOM, SENDER, b"x")
        self.assert_no_key(SessionKeys(), sealed, "for other members")
        self.assert_no_key(started(), sealed, "for other members", "#other")
        wrong = self.assertRaises(NoKeyError, SessionKeys().to_seal, ROOM, SENDER)
        self.assertIn("no session key", str(wrong))

    def test_bad_session_key(self) -> None:
        """A session key of another length is an error and does not become a key."""
        keys = SessionKeys()
        self.assertRaises(ValueError, keys.start, ROOM, EPOCH, b"short")
        self.assertIsNone(keys.epoch(ROOM))


class SecrecyTests(SynchronousTestCase):
    """Keys do not get where text gets."""

    def test_repr(self) -> None:
        """Neither a key nor what holds it shows a byte of it when printed."""
        room_key = RoomKey(EPOCH, KEY + KEY)
        for text in (repr(room_key), str(room_key), f"{room_key}", repr([room_key]), repr(started())):
            for secret in (KEY, EPOCH):
                self.assertNotIn(secret.hex(), text)
                self.assertNotIn(repr(secret)[2:-1], text)
        self.assertEqual(repr(room_key), "RoomKey(…)")
