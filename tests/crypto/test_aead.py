"""One message: published vectors, other implementations, and everything that must not open."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe as joserfc_jwe
from joserfc.jwk import OctKey
from jwcrypto import jwe as jwcrypto_jwe  # type: ignore[import-untyped]
from jwcrypto.jwk import JWK  # type: ignore[import-untyped]
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import aead
from tests.crypto import vectors

KEY = bytes(range(100, 164))
HEADER = b'{"alg":"dir","enc":"A256CBC-HS512"}'


def to_text(data: bytes) -> str:
    """Encode as JOSE does: base64url, no padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_text(text: str) -> bytes:
    """Decode that."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def our_jwe(plaintext: bytes) -> str:
    """Seal as a compact JWE (RFC 7516, section 3.1), its header the associated data."""
    header = to_text(HEADER)
    sealed = aead.seal(KEY, header.encode(), plaintext)
    return ".".join((header, "", to_text(sealed[:16]), to_text(sealed[16:-32]), to_text(sealed[-32:])))


def open_jwe(compact: str) -> bytes:
    """Open a compact JWE."""
    header, _, iv, ciphertext, tag = compact.split(".")
    return aead.open(KEY, header.encode(), from_text(iv) + from_text(ciphertext) + from_text(tag))


class PublishedTests(SynchronousTestCase):
    """RFC 7518, and two independent implementations of it."""

    def test_rfc7518_b3_seals(self) -> None:
        """The key, iv, text and associated data of RFC 7518, B.3 give its ciphertext and tag."""
        sealed = aead.seal(
            vectors.RFC7518_B3_KEY,
            vectors.RFC7518_B3_ASSOCIATED,
            vectors.RFC7518_B3_PLAINTEXT,
            vectors.RFC7518_B3_IV,
        )
        self.assertEqual(sealed, vectors.RFC7518_B3_SEALED)

    def test_rfc7518_b3_opens(self) -> None:
        """The ciphertext and tag of RFC 7518, B.3 open to its text."""
        plaintext = aead.open(vectors.RFC7518_B3_KEY, vectors.RFC7518_B3_ASSOCIATED, vectors.RFC7518_B3_SEALED)
        self.assertEqual(plaintext, vectors.RFC7518_B3_PLAINTEXT)

    def test_joserfc_opens_ours(self) -> None:
        """What we seal, joserfc opens."""
        for text in (b"", b"hello", bytes(1000)):
            opened = joserfc_jwe.decrypt_compact(our_jwe(text), OctKey.import_key(KEY))
            self.assertEqual(opened.plaintext, text)

    def test_joserfc_seals_for_us(self) -> None:
        """What joserfc seals, we open."""
        for text in (b"hello", bytes(1000)):
            header = {"alg": "dir", "enc": "A256CBC-HS512"}
            self.assertEqual(open_jwe(joserfc_jwe.encrypt_compact(header, text, OctKey.import_key(KEY))), text)

    def test_jwcrypto_opens_ours(self) -> None:
        """What we seal, jwcrypto opens (it takes an empty text for a failure, so there is none here)."""
        for text in (b"hello", bytes(1000)):
            token = jwcrypto_jwe.JWE()
            token.deserialize(our_jwe(text), JWK(kty="oct", k=to_text(KEY)))
            self.assertEqual(token.payload, text)

    def test_jwcrypto_seals_for_us(self) -> None:
        """What jwcrypto seals, we open."""
        for text in (b"hello", bytes(1000)):
            token = jwcrypto_jwe.JWE(text, HEADER.decode())
            token.add_recipient(JWK(kty="oct", k=to_text(KEY)))
            self.assertEqual(open_jwe(token.serialize(compact=True)), text)


class SealTests(SynchronousTestCase):
    """Our own promises."""

    @settings(deadline=None)
    @given(st.binary(max_size=300), st.binary(max_size=300))
    def test_round_trip(self, associated: bytes, plaintext: bytes) -> None:
        """Whatever is sealed opens to itself and has the length that was announced."""
        sealed = aead.seal(KEY, associated, plaintext)
        self.assertEqual(len(sealed), aead.sealed_bytes(len(plaintext)))
        self.assertEqual(aead.open(KEY, associated, sealed), plaintext)

    def test_fresh_iv(self) -> None:
        """Sealing the same twice gives different ivs and no common ciphertext."""
        one, two = (aead.seal(KEY, b"", b"same") for _ in range(2))
        self.assertNotEqual(one[:16], two[:16])
        self.assertNotEqual(one[16:32], two[16:32])

    def test_wrong_lengths_are_value_errors(self) -> None:
        """A key or iv of the wrong length is the caller's mistake, and is named."""
        for length in (0, 32, 63, 65, 128):
            with self.assertRaisesRegex(ValueError, "^key: "):
                aead.seal(bytes(length), b"", b"")
            with self.assertRaisesRegex(ValueError, "^key: "):
                aead.open(bytes(length), b"", bytes(64))
        with self.assertRaisesRegex(ValueError, "^iv: "):
            aead.seal(KEY, b"", b"", bytes(15))


class RefusalTests(SynchronousTestCase):
    """Everything that must not open."""

    def assert_refused(self, key: bytes, associated: bytes, sealed: bytes) -> None:
        """Expect the one silent error."""
        with self.assertRaises(aead.OpenError) as caught:
            aead.open(key, associated, sealed)
        self.assertEqual(str(caught.exception), "")

    def test_every_bit(self) -> None:
        """A message with any one bit changed, in iv, ciphertext, tag or associated data, is refused."""
        sealed = aead.seal(KEY, b"to bob", b"meet at noon, same place")
        for other in vectors.flipped(sealed):
            self.assert_refused(KEY, b"to bob", other)
        for other in vectors.flipped(b"to bob"):
            self.assert_refused(KEY, other, sealed)

    def test_every_truncation(self) -> None:
        """A message cut anywhere, at either end, is refused."""
        sealed = aead.seal(KEY, b"", bytes(40))
        for length in range(len(sealed)):
            self.assert_refused(KEY, b"", sealed[:length])
            self.assert_refused(KEY, b"", sealed[len(sealed) - length :])

    def test_other_key(self) -> None:
        """A message is refused under any key whose MAC half differs."""
        sealed = aead.seal(KEY, b"", b"text")
        for mac_key in vectors.flipped(KEY[:32]):
            self.assert_refused(mac_key + KEY[32:], b"", sealed)

    def test_boundary_between_associated_data_and_iv(self) -> None:
        """Bytes moved from the associated data into the message, or back, are refused."""
        sealed = aead.seal(KEY, b"x" * 16, b"text")
        self.assert_refused(KEY, b"", b"x" * 16 + sealed)
        self.assert_refused(KEY, b"x" * 16 + sealed[:16], sealed[16:])

    def test_bad_padding(self) -> None:
        """A message with a true tag and malformed padding is refused like any other."""
        for last in (bytes(16), b"\x11" * 16, b"\x02" * 13 + b"\x03\x02\x03", b"a" * 15 + b"\xff"):
            encryptor = Cipher(AES(KEY[32:]), CBC(bytes(16))).encryptor()
            body = bytes(16) + encryptor.update(bytes(16) + last)
            self.assert_refused(KEY, b"", body + aead.tag(KEY, b"", body))

    def test_no_tag_failure_reaches_the_decryptor(self) -> None:
        """No cipher is even made for a message whose tag is wrong."""
        sealed = aead.seal(KEY, b"", b"text")
        self.patch(aead, "Cipher", None)
        for other in vectors.flipped(sealed):
            self.assert_refused(KEY, b"", other)


class MessageKeyTests(SynchronousTestCase):
    """Deriving keys."""

    def test_is_hkdf_sha512(self) -> None:
        """The key is HKDF-SHA-512 without salt, as RFC 5869 spells it out: one block of output."""
        secret, label = bytes(range(32)), b"a label"
        extracted = hmac.digest(bytes(hashlib.sha512().digest_size), secret, "sha512")
        expected = hmac.digest(extracted, label + b"\x01", "sha512")
        self.assertEqual(aead.message_key(secret, label), expected)

    def test_labels_separate(self) -> None:
        """Another label gives another key."""
        secret = bytes(32)
        self.assertNotEqual(aead.message_key(secret, b"a"), aead.message_key(secret, b"b"))

    def test_wrong_secret(self) -> None:
        """A secret of another length than 32 is refused by name."""
        with self.assertRaisesRegex(ValueError, "^secret: "):
            aead.message_key(bytes(31), b"")


class PaddingTests(SynchronousTestCase):
    """PKCS#7."""

    def test_only_true_padding_comes_off(self) -> None:
        """For each last block of one repeated tail, padding comes off exactly where it is well formed."""
        for last in range(256):
            for run in range(1, 17):
                block = b"\xee" * (16 - run) + bytes([last]) * run
                expected = block[: 16 - last] if 1 <= last <= min(run, 16) else None
                if last == 0xEE:
                    expected = None
                self.assertEqual(aead.unpad(block), expected)

    def test_no_block(self) -> None:
        """What is empty or no whole number of blocks has no padding."""
        for length in (0, 1, 15, 17):
            self.assertIs(aead.unpad(b"\x01" * length), None)
