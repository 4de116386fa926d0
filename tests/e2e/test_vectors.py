"""docs/vectors/sc1.json: our code gives it, and docs/SC1-notes.md alone, with none of our code, reads it."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e.content import unpack
from securechat.e2e.sealing import open_key, read_blob
from securechat.signed.certificates import login_is_proven, read_certificate
from securechat.signed.prekeys import read_prekey
from securechat.signed.roster import Roster
from securechat.signed.suites import Suite, read_suite
from tests.e2e.make_vectors import FILE, NOW, vectors


def load() -> dict[str, Any]:
    """The file, its hexadecimal digits as bytes."""
    texts = {"name", "text", "operations", "safety_number_of_alice_and_bob"}

    def read(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: read(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [read(each, key) for each in value]
        return bytes.fromhex(value) if isinstance(value, str) and key not in texts else value

    whole: dict[str, Any] = read(json.loads(FILE.read_text()))
    return whole


class OurCodeTests(SynchronousTestCase):
    """The file and our code."""

    def test_generated(self) -> None:
        """The script gives the file that is there."""
        written = json.loads(FILE.read_text())
        self.assertEqual(vectors(written["session_of_alice"]["sealed_by_x_wing"]["blob"]), written)

    def test_read(self) -> None:
        """What is in the file our readers take, and find in it what is said."""
        file = load()
        alice, bob = (read_certificate(each["certificate"]) for each in file["people"][:2])
        self.assertEqual((alice.name, alice.device), ("alice", file["people"][0]["device"]))
        login = [file["login_of_alice"][key] for key in ("fingerprint", "nonce", "exporter", "proof")]
        self.assertTrue(login_is_proven(alice, *login))
        roster = Roster(file["room"]["entries"][0], file["room"]["name"])
        self.assertEqual(len(roster.follow(file["room"]["entries"])), 7)
        self.assertEqual(sorted(each.name for each in roster.members.values()), ["alice", "bob"])
        session = file["session_of_alice"]
        for prekey, way in zip(file["prekeys_of_bob"], ("sealed_by_x25519", "sealed_by_x_wing"), strict=True):
            record = read_prekey(prekey["record"], bob.device, NOW)
            private = {record.prekey_id: (read_suite(prekey["suite"]), prekey["private"])}
            self.assertEqual(record.suite, Suite(prekey["suite"]))
            key = open_key(read_blob(session[way]["blob"]), roster.room_id, bob.device, private.get)
            self.assertEqual((key.index, key.chain_key), (0, session["messages"][0]["chain_key"]))
            self.assertEqual(key.descriptor.packed, session["descriptor"])
        for message in session["messages"]:
            said = unpack(message["plaintext"], roster.room_id)
            self.assertEqual((said.text, said.time_ms), (message["text"], message["time"]))


def items(data: bytes) -> list[bytes]:
    """What stands behind its lengths."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def joined(*parts: bytes) -> bytes:
    """Items behind their lengths."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def check(public: bytes, label: str, message: bytes, signature: bytes) -> None:
    """A signature is good, or raises."""
    Ed25519PublicKey.from_public_bytes(public).verify(signature, label.encode() + b"\x00" + message)


class ByTheNotesTests(SynchronousTestCase):
    """The file by docs/SC1-notes.md, with `hashlib`, `hmac` and bare primitives."""

    def setUp(self) -> None:
        """Read the file."""
        self.file = load()
        self.alice, self.bob, self.carol = self.file["people"]
        self.session = self.file["session_of_alice"]

    def test_people(self) -> None:
        """Seeds, public keys, certificates."""
        for each in self.file["people"]:
            for kind in ("identity", "device"):
                private = Ed25519PrivateKey.from_private_bytes(each[f"{kind}_seed"])
                self.assertEqual(private.public_key().public_bytes_raw(), each[kind])
            name, identity, device, created, signature = items(each["certificate"])
            self.assertEqual((name.decode(), identity, device), (each["name"], each["identity"], each["device"]))
            self.assertEqual(int.from_bytes(created, "big"), each["created"])
            check(identity, "securechat/1 device", joined(name, device, created), signature)

    def test_prekeys(self) -> None:
        """Suites, lengths, two weeks, signatures."""
        for each, size in zip(self.file["prekeys_of_bob"], (32, 1_216), strict=True):
            *fields, signature = items(each["record"])
            self.assertEqual([len(field) for field in fields], [8, 6, size, 8, 8])
            self.assertEqual((fields[1], fields[2]), (each["suite"], each["public"]))
            begin, end = (int.from_bytes(field, "big") for field in fields[3:])
            self.assertEqual(end - begin, 14 * 86_400_000)
            check(self.bob["device"], "securechat/1 prekey", joined(*fields), signature)

    def test_login(self) -> None:
        """The answer to a greeting."""
        login = self.file["login_of_alice"]
        signed = joined(login["fingerprint"], b"alice", self.alice["device"], login["nonce"], login["exporter"])
        check(self.alice["device"], "securechat/1 login", signed, login["proof"])

    def test_room(self) -> None:
        """The chain of entries, their signatures, room_id and epoch."""
        previous = bytes(32)
        hashes = []
        people = {each["identity"]: each for each in self.file["people"]}
        for number, entry in enumerate(self.file["room"]["entries"]):
            body, actor, signature = items(entry)
            count, before, op, subject, role, time, detail = items(body)
            self.assertEqual((int.from_bytes(count, "big"), before), (number, previous))
            self.assertEqual(op.decode(), self.file["room"]["operations"][number])
            self.assertIn(role, (b"", b"owner", b"admin", b"member"))
            self.assertEqual(len(time), 8)
            check(actor, "securechat/1 room", body, signature)
            self.assertIn(actor, [each["device"] for each in self.file["people"]])
            if op in (b"join", b"add"):
                self.assertEqual(detail, people[subject]["certificate"])
            previous = hashlib.sha256(entry).digest()
            hashes.append(previous)
        certificate, name, salt, policy = items(items(items(self.file["room"]["entries"][0])[0])[6])
        self.assertEqual((certificate, name, len(salt)), (self.alice["certificate"], b"#den", 16))
        self.assertEqual(items(policy), [b"closed", bytes(4)])
        self.assertEqual(
            (hashes[0], hashes[1]), (self.file["room"]["room_id"], self.file["room"]["epoch_of_the_messages"])
        )

    def test_sealed_key(self) -> None:
        """The descriptor, and what pyhpke finds in the blob."""
        room = self.file["room"]
        descriptor = joined(
            b"securechat/1 session",
            room["room_id"],
            room["epoch_of_the_messages"],
            self.alice["device"],
            self.session["sid"],
            self.session["created"].to_bytes(8, "big"),
        )
        self.assertEqual(descriptor, self.session["descriptor"])
        sealed_key = self.session["sealed_by_x25519"]
        outside, prekey_id, sealed = items(sealed_key["blob"])
        self.assertEqual(outside, descriptor)
        info = joined(b"securechat/1 seal", descriptor, self.bob["device"], prekey_id)
        self.assertEqual(info, sealed_key["info"])
        suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
        private = X25519PrivateKey.from_private_bytes(self.file["prekeys_of_bob"][0]["private"])
        context = suite.create_recipient_context(sealed[:32], KEMKey.from_pyca_cryptography_key(private), info=info)
        opened = context.open(sealed[32:])
        inner, signature = opened[:-64], opened[-64:]
        self.assertEqual((inner, signature), (sealed_key["inner"], sealed_key["signature"]))
        first = self.session["messages"][0]
        self.assertEqual(items(inner), [descriptor, bytes(4), first["chain_key"], self.bob["device"], prekey_id])
        check(self.alice["device"], "securechat/1 key", inner, signature)

    def test_messages(self) -> None:
        """Chain, keys, header, cipher, tag, digest, signature, padding and body of each message."""
        epoch = self.file["room"]["epoch_of_the_messages"]
        prev = hashlib.sha256(self.session["descriptor"]).digest()
        chain_key = self.session["messages"][0]["chain_key"]
        for index, message in enumerate(self.session["messages"]):
            self.assertEqual(message["chain_key"], chain_key)
            seed = hmac.digest(chain_key, b"\x01", "sha256")
            chain_key = hmac.digest(chain_key, b"\x02", "sha256")
            extracted = hmac.digest(self.session["session_key"], seed, "sha512")
            info = b"securechat/1 message" + self.session["sid"] + index.to_bytes(4, "big")
            key = hmac.digest(extracted, info + b"\x01", "sha512")
            self.assertEqual((seed, key), (message["seed"], message["key"]))
            frame = message["frame"]
            header, iv, ciphertext, tag = frame[:88], frame[88:104], frame[104:-96], frame[-96:-64]
            expected = b"SC1\x01" + epoch + self.session["sid"] + index.to_bytes(4, "big") + prev
            self.assertEqual((header, iv), (expected, message["iv"]))
            authenticated = header + iv + ciphertext + (8 * 88).to_bytes(8, "big")
            self.assertEqual(hmac.digest(key[:32], authenticated, "sha512")[:32], tag)
            prev = hashlib.sha256(header + iv + ciphertext + tag).digest()
            self.assertEqual(prev, message["digest"])
            check(self.alice["device"], "securechat/1 frame", prev, frame[-64:])
            decryptor = Cipher(AES(key[32:]), CBC(iv)).decryptor()
            padded = decryptor.update(ciphertext) + decryptor.finalize()
            plaintext = padded[: -padded[-1]]
            self.assertEqual(plaintext, message["plaintext"])
            self.assertIn(len(plaintext), (128, 256, 512))
            size = int.from_bytes(plaintext[:4], "big")
            self.assertFalse(any(plaintext[4 + size :]))
            body = msgspec.msgpack.decode(plaintext[4 : 4 + size])
            room_id = self.file["room"]["room_id"]
            self.assertEqual(body, ["text", room_id, message["time"], message["message_id"], 0, message["text"]])

    def test_safety_number(self) -> None:
        """The 60 digits."""
        halves = []
        for each in (self.alice, self.bob):
            digest = b"\x00\x00" + each["identity"] + each["name"].encode()
            for _ in range(5_200):
                digest = hashlib.sha512(digest + each["identity"]).digest()
            numbers = (int.from_bytes(digest[at : at + 5], "big") % 100_000 for at in range(0, 30, 5))
            halves.append("".join(f"{each:05d}" for each in numbers))
        self.assertEqual("".join(sorted(halves)), self.file["safety_number_of_alice_and_bob"])
