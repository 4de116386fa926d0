"""Published vectors and other implementations: Ed25519, HPKE, X-Wing, Argon2id, Signal's."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import cryptography_vectors
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e.chain import message_key, message_seed, next_chain_key
from securechat.e2e.hpke import hpke_open, hpke_seal, public_of
from securechat.e2e.safety import safety_number
from securechat.signed.errors import NotAuthentic
from securechat.signed.signing import SigningKey
from securechat.signed.suites import Suite
from tests.crypto.vectors import flipped
from tests.e2e.hpke_peer import schedule, seal_with

VECTORS = Path(cryptography_vectors.__file__).parent

XWING_SEED = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
XWING_SHARED = bytes.fromhex("d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384")
XWING_PUBLIC_SHA256 = "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb"
XWING_CIPHERTEXT = bytes.fromhex(
    "b83aa828d4d62b9a83ceffe1d3d3bb1ef31264643c070c5798927e41fb07914a273f8f96e7826cd5375a283d7da885304c5de051"
    "6a0f0654243dc5b97f8bfeb831f68251219aabdd723bc6512041acbaef8af44265524942b902e68ffd23221cda70b1b55d776a92"
    "d1143ea3a0c475f63ee6890157c7116dae3f62bf72f60acd2bb8cc31ce2ba0de364f52b8ed38c79d719715963a5dd3842d8e8b43"
    "ab704e4759b5327bf027c63c8fa857c4908d5a8a7b88ac7f2be394d93c3706ddd4e698cc6ce370101f4d0213254238b4a2e8821b"
    "6e414a1cf20f6c1244b699046f5a01caa0a1a55516300b40d2048c77cc73afba79afeea9d2c0118bdf2adb8870dc328c5516cc45"
    "b1a2058141039e2c90a110a9e16b318dfb53bd49a126d6b73f215787517b8917cc01cabd107d06859854ee8b4f9861c226d3764c"
    "87339ab16c3667d2f49384e55456dd40414b70a6af841585f4c90c68725d57704ee8ee7ce6e2f9be582dbee985e038ffc346ebfb"
    "4e22158b6c84374a9ab4a44e1f91de5aac5197f89bc5e5442f51f9a5937b102ba3beaebf6e1c58380a4a5fedce4a4e5026f88f52"
    "8f59ffd2db41752b3a3d90efabe463899b7d40870c530c8841e8712b733668ed033adbfafb2d49d37a44d4064e5863eb0af0a08d"
    "47b3cc888373bc05f7a33b841bc2587c57eb69554e8a3767b7506917b6b70498727f16eac1a36ec8d8cfaf751549f2277db277e8"
    "a55a9a5106b23a0206b4721fa9b3048552c5bd5b594d6e247f38c18c591aea7f56249c72ce7b117afcc3a8621582f9cf71787e18"
    "3dee09367976e98409ad9217a497df888042384d7707a6b78f5f7fb8409e3b535175373461b776002d799cbad62860be70573ecb"
    "e13b246e0da7e93a52168e0fb6a9756b895ef7f0147a0dc81bfa644b088a9228160c0f9acf1379a2941cd28c06ebc80e44e17aa2"
    "f8177010afd78a97ce0868d1629ebb294c5151812c583daeb88685220f4da9118112e07041fcc24d5564a99fdbde28869fe07223"
    "87d7a9a4d16e1cc8555917e09944aa5ebaaaec2cf62693afad42a3f518fce67d273cc6c9fb5472b380e8573ec7de06a3ba2fd5f9"
    "31d725b493026cb0acbd3fe62d00e4c790d965d7a03a3c0b4222ba8c2a9a16e2ac658f572ae0e746eafc4feba023576f08942278"
    "a041fb82a70a595d5bacbf297ce2029898a71e5c3b0d1c6228b485b1ade509b35fbca7eca97b2132e7cb6bc465375146b7dceac9"
    "69308ac0c2ac89e7863eb8943015b24314cafb9c7c0e85fe543d56658c213632599efabfc1ec49dd8c88547bb2cc40c9d38cbd30"
    "99b4547840560531d0188cd1e9c23a0ebee0a03d5577d66b1d2bcb4baaf21cc7fef1e03806ca96299df0dfbc56e1b2b43e4fc20c"
    "37f834c4af62127e7dae86c3c25a2f696ac8b589dec71d595bfbe94b5ed4bc07d800b330796fda89edb77be0294136139354eb8c"
    "d37591578f9c600dd9be8ec6219fdd507adf3397ed4d68707b8d13b24ce4cd8fb22851bfe9d632407f31ed6f7cb1600de56f1757"
    "6740ce2a32fc5145030145cfb97e63e0e41d354274a079d3e6fb2e15"
)
"""The first test vector of draft-connolly-cfrg-xwing-kem (spec/test-vectors.json), the public key as a hash."""

SIGNAL_SEED = bytes.fromhex("8ab72d6f4cc5ac0d387eaf463378ddb28edd07385b1cb01250c715982e7ad48f")
SIGNAL_CIPHER_KEY = bytes.fromhex("bf51e9d75e0e31031051f82a2491ffc084fa298b7793bd9db620056febf45217")
SIGNAL_MAC_KEY = bytes.fromhex("c6c77d6a73a354337a56435e34607dfe48e3ace14e77314dc6abc172e7a7030b")
SIGNAL_NEXT = bytes.fromhex("28e8f8fee54b801eef7c5cfb2f17f32c7b334485bbb70fac6ec10342a246d15d")
"""libsignal's test of its chain key: a seed, the message keys that HKDF gives from MK, and the next chain key."""

SIGNAL_ALICE = b"+14152222222", bytes.fromhex("0506863bc66d02b40d27b8d49ca7c09e9239236f9d7d25d6fcca5ce13c7064d868")
SIGNAL_BOB = b"+14153333333", bytes.fromhex("05f781b6fb32fed9ba1cf2de978d4d5da28dc34046ae814402b5c0dbd96fda907b")
SIGNAL_NUMBER = "300354477692869396892869876765458257569162576843440918079131"
"""libsignal's test of its numeric fingerprint."""


def hpke_vectors(file: str, kem: int) -> list[dict[str, Any]]:
    """The published cases in base mode with HKDF-SHA256 for a KEM."""
    cases = json.loads((VECTORS / "HPKE" / file).read_text())
    return [case for case in cases if (case["mode"], case["kem_id"], case["kdf_id"]) == (0, kem, 1)]


class Ed25519Tests(SynchronousTestCase):
    """RFC 8032, section 7.1, tests 1 to 3, which begin the file of the Ed25519 authors."""

    def test_vectors(self) -> None:
        """Seeds give the published public keys, and signatures are over label, zero and message."""
        lines = (VECTORS / "asymmetric" / "Ed25519" / "sign.input").read_text().splitlines()[:3]
        for seed, public, message, signed in (line.split(":")[:4] for line in lines):
            key = SigningKey(bytes.fromhex(seed[:64]))
            self.assertEqual(key.public.hex(), public)
            self.assertEqual(key._private.sign(bytes.fromhex(message)).hex(), signed[:128])
            Ed25519PublicKey.from_public_bytes(key.public).verify(key.sign(b"a label", b"m"), b"a label\x00m")


class HpkeTests(SynchronousTestCase):
    """RFC 9180, X-Wing, and pyhpke."""

    def test_rfc9180(self) -> None:
        """What a sender would make of RFC 9180's KEM output for X25519 and AES-256-GCM we open."""
        (case,) = (each for each in hpke_vectors("test-vectors.json", 0x20) if each["aead_id"] == 2)
        enc, shared, info, seed = (bytes.fromhex(case[key]) for key in ("enc", "shared_secret", "info", "skRm"))
        self.assertEqual([each.hex() for each in schedule(0x20, shared, info)], [case["key"], case["base_nonce"]])
        self.assertEqual(public_of(Suite.X25519, seed).hex(), case["pkRm"])
        sealed = seal_with(0x20, enc, shared, info, b"beauty is truth")
        self.assertEqual(hpke_open(Suite.X25519, seed, info, sealed), b"beauty is truth")

    def test_xwing_in_hpke(self) -> None:
        """The same for X-Wing, by the vectors of draft-ietf-hpke-pq, whose other suites share the KEM's output."""
        (case,) = hpke_vectors("hpke-pq-test-vectors.json", 0x647A)
        enc, shared, info, seed = (bytes.fromhex(case[key]) for key in ("enc", "shared_secret", "info", "skRm"))
        self.assertEqual(public_of(Suite.X_WING, seed).hex(), case["pkRm"])
        sealed = seal_with(0x647A, enc, shared, info, b"truth beauty")
        self.assertEqual(hpke_open(Suite.X_WING, seed, info, sealed), b"truth beauty")

    def test_xwing_draft(self) -> None:
        """The X-Wing draft's own first vector: seed to public key, ciphertext to shared secret."""
        public = public_of(Suite.X_WING, XWING_SEED)
        self.assertEqual(hashlib.sha256(public).hexdigest(), XWING_PUBLIC_SHA256)
        sealed = seal_with(0x647A, XWING_CIPHERTEXT, XWING_SHARED, b"info", b"text")
        self.assertEqual(hpke_open(Suite.X_WING, XWING_SEED, b"info", sealed), b"text")

    def test_round_trips(self) -> None:
        """Both suites open what they seal, under the same key and info and under no other, at the stated length."""
        for suite, longer in ((Suite.X25519, 48), (Suite.X_WING, 1_136)):
            public = public_of(suite, b"s" * 32)
            self.assertEqual(len(public), suite.public_bytes)
            for text in (b"", b"hello", bytes(1_000)):
                sealed = hpke_seal(suite, public, b"info", text)
                self.assertEqual(len(sealed), len(text) + longer)
                self.assertEqual(hpke_open(suite, b"s" * 32, b"info", sealed), text)
            self.assertRaises(NotAuthentic, hpke_open, suite, b"t" * 32, b"info", sealed)
            self.assertRaises(NotAuthentic, hpke_open, suite, b"s" * 32, b"inf", sealed)
            for broken in flipped(sealed)[:: 97 if suite is Suite.X_WING else 11]:
                self.assertRaises(NotAuthentic, hpke_open, suite, b"s" * 32, b"info", broken)

    def test_pyhpke_both_ways(self) -> None:
        """Under X25519 pyhpke opens what we seal, and we open what pyhpke seals."""
        peer = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
        seed = b"s" * 32
        private = KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(seed))
        public_bytes = public_of(Suite.X25519, seed)
        public = KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(public_bytes))
        enc, sender = peer.create_sender_context(public, info=b"info")
        self.assertEqual(hpke_open(Suite.X25519, seed, b"info", enc + sender.seal(b"theirs")), b"theirs")
        sealed = hpke_seal(Suite.X25519, public_bytes, b"info", b"ours")
        recipient = peer.create_recipient_context(sealed[:32], private, info=b"info")
        self.assertEqual(recipient.open(sealed[32:]), b"ours")


class SignalTests(SynchronousTestCase):
    """Constructions of Signal's."""

    def test_chain(self) -> None:
        """Signal's chain vector: the next chain key, and the message keys that Signal derives from our MK."""
        self.assertEqual(next_chain_key(SIGNAL_SEED), SIGNAL_NEXT)
        keys = HKDF(SHA256(), 80, salt=None, info=b"WhisperMessageKeys").derive(message_seed(SIGNAL_SEED))
        self.assertEqual((keys[:32], keys[32:64]), (SIGNAL_CIPHER_KEY, SIGNAL_MAC_KEY))

    def test_safety_number(self) -> None:
        """Signal's fingerprint vector comes out, whoever of the two asks."""
        self.assertEqual(safety_number(*SIGNAL_ALICE, *SIGNAL_BOB), SIGNAL_NUMBER)
        self.assertEqual(safety_number(*SIGNAL_BOB, *SIGNAL_ALICE), SIGNAL_NUMBER)


class DerivationTests(SynchronousTestCase):
    """What else keys are made with."""

    def test_message_key(self) -> None:
        """K is RFC 5869's HKDF with SHA-512, written out with HMAC alone."""
        session_key, seed, sid = b"R" * 32, b"M" * 32, b"s" * 16
        extracted = hmac.digest(session_key, seed, "sha512")
        info = b"securechat/1 message" + sid + bytes.fromhex("00000102")
        expected = hmac.digest(extracted, info + b"\x01", "sha512")
        self.assertEqual(message_key(session_key, seed, sid, 258), expected)

    def test_hmac(self) -> None:
        """RFC 4231, case 1 holds for the HMAC-SHA-256 and HMAC-SHA-512 that all of this stands on."""
        self.assertEqual(
            hmac.digest(b"\x0b" * 20, b"Hi There", "sha256").hex(),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        )
        long = hmac.digest(b"\x0b" * 20, b"Hi There", "sha512").hex()
        self.assertTrue(long.startswith("87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"))

    def test_argon2id(self) -> None:
        """The Argon2id under the key store gives the vector of RFC 9106, section 5.3."""
        derived = Argon2id(
            salt=b"\x02" * 16, length=32, iterations=3, lanes=4, memory_cost=32, ad=b"\x04" * 12, secret=b"\x03" * 8
        ).derive(b"\x01" * 32)
        self.assertEqual(derived.hex(), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659")
