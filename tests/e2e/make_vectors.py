"""Write docs/vectors/sc1.json: every step of SC1 by fixed keys, for other clients and for our own tests.

    python3 run.py python -m tests.e2e.make_vectors

Everything comes out the same each time, but for the key that is sealed by X-Wing: its encapsulation draws its own
randomness, so the one in the file is kept as long as it opens.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey, KEMKeyPair

from securechat.crypto import aead
from securechat.e2e.chain import (
    Header,
    frame_digest,
    message_key,
    message_seed,
    next_chain_key,
    sign_frame,
)
from securechat.e2e.content import Said, pack
from securechat.e2e.hpke import public_of
from securechat.e2e.identity import Person, new_person
from securechat.e2e.safety import safety_number
from securechat.e2e.sealing import Descriptor, SenderKey, open_key, read_blob, seal_key
from securechat.signed.certificates import prove_login
from securechat.signed.encoding import LABEL_KEY, LABEL_SEAL, lp, u32
from securechat.signed.entries import Policy, Role, read_entry
from securechat.signed.errors import NotAuthentic
from securechat.signed.prekeys import PrekeyRecord, offer
from securechat.signed.roster import Roster, found
from securechat.signed.suites import Suite

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "vectors" / "sc1.json"
NOW: Final = 1_800_000_000_000


def fixed(label: str, size: int = 32) -> bytes:
    """Bytes that stand for random ones: the beginning of SHA-256 of a label."""
    return sha256(f"securechat/1 vector {label}".encode()).digest()[:size]


def person(name: str) -> Person:
    """Somebody with fixed keys."""
    seeds = iter((fixed(f"identity of {name}"), fixed(f"device of {name}")))
    return new_person(name, NOW, lambda _: next(seeds))


def prekey(of: Person, suite: Suite) -> PrekeyRecord:
    """A fixed prekey of somebody."""
    label = f"{suite.name} prekey of {of.name}"
    return offer(of.device, fixed(f"id of {label}", 8), suite, public_of(suite, fixed(label)), NOW)


ALICE, BOB, CAROL = (person(name) for name in ("alice", "bob", "carol"))


def log() -> list[bytes]:
    """A room of Alice's: its founding and one entry of every kind."""
    roster = Roster(found(ALICE, "#den", Policy(), NOW, lambda size: fixed("salt", size)))
    roster.append(roster.add(ALICE, BOB.certificate, NOW + 1))
    roster.append(roster.change_role(ALICE, BOB.identity.public, Role.ADMIN, NOW + 2))
    roster.append(roster.change_policy(ALICE, Policy(True, 30), NOW + 3))
    roster.append(roster.join(CAROL, NOW + 4))
    roster.append(roster.remove(BOB, CAROL.identity.public, NOW + 5))
    roster.append(roster.join(CAROL, NOW + 6))
    roster.append(roster.leave(CAROL, NOW + 7))
    return roster.packed


def sealed_by_x25519(key: SenderKey, record: PrekeyRecord) -> dict[str, bytes]:
    """Alice's key, sealed to Bob by pyhpke with a fixed ephemeral key."""
    packed, device = key.descriptor.packed, BOB.device.public
    inner = lp(packed, u32(key.index), key.chain_key, device, record.prekey_id)
    info = lp(LABEL_SEAL, packed, device, record.prekey_id)
    signature = ALICE.device.sign(LABEL_KEY, inner)
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
    ephemeral = X25519PrivateKey.from_private_bytes(fixed("ephemeral"))
    public = KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(record.public))
    pair = KEMKeyPair(*map(KEMKey.from_pyca_cryptography_key, (ephemeral, ephemeral.public_key())))
    enc, sender = suite.create_sender_context(public, info=info, eks=pair)
    blob = lp(packed, record.prekey_id, enc + sender.seal(inner + signature))
    return {"ephemeral": fixed("ephemeral"), "inner": inner, "signature": signature, "info": info, "blob": blob}


def sealed_by_xwing(key: SenderKey, record: PrekeyRecord, kept: str) -> bytes:
    """The blob that is kept in the file, or a new one where it is not of this key any more."""
    private = {record.prekey_id: (Suite.X_WING, fixed("X_WING prekey of bob"))}
    try:
        blob = read_blob(bytes.fromhex(kept))
        is_good = open_key(blob, key.descriptor.room_id, BOB.device.public, private.get) == key
    except (NotAuthentic, ValueError):
        is_good = False
    return bytes.fromhex(kept) if is_good else seal_key(ALICE.device, key, BOB.device.public, record)


def messages(descriptor: Descriptor, chain_key: bytes, session_key: bytes) -> list[dict[str, Any]]:
    """Three messages of Alice's, one of them long."""
    made = []
    prev = descriptor.digest
    for index, text in enumerate(("hello, bob", "h\u00e9 \u2713", "x" * 200)):
        seed = message_seed(chain_key)
        key = message_key(session_key, seed, descriptor.sid, index)
        header = Header(descriptor.epoch, descriptor.sid, index, prev).packed
        message_id = fixed(f"message {index}", 16)
        plaintext = pack(Said(descriptor.room_id, NOW + 100 + index, message_id, 0, text))
        iv = fixed(f"iv {index}", 16)
        sealed = aead.seal(key, header, plaintext, iv)
        prev = frame_digest(header, sealed)
        made.append(
            {
                "index": index,
                "text": text,
                "time": NOW + 100 + index,
                "message_id": message_id,
                "plaintext": plaintext,
                "chain_key": chain_key,
                "seed": seed,
                "key": key,
                "header": header,
                "iv": iv,
                "digest": prev,
                "frame": sign_frame(ALICE.device, header, sealed),
            }
        )
        chain_key = next_chain_key(chain_key)
    return made


def vectors(kept: str = "") -> dict[str, Any]:
    """All of it, byte strings as hexadecimal digits; `kept` is the key sealed by X-Wing that the file has."""
    entries = log()
    rosters = [read_entry(packed) for packed in entries]
    room_id, epoch = rosters[0].digest, rosters[1].digest
    descriptor = Descriptor(room_id, epoch, ALICE.device.public, fixed("sid", 16), NOW + 50)
    key = SenderKey(descriptor, 0, fixed("chain key"))
    records = {suite: prekey(BOB, suite) for suite in Suite}
    login = {name: fixed(name) for name in ("fingerprint", "nonce", "exporter")}
    names = tuple(each.name.encode() for each in (ALICE, BOB))
    whole = {
        "people": [
            {
                "name": each.name,
                "identity_seed": each.identity.seed,
                "identity": each.identity.public,
                "device_seed": each.device.seed,
                "device": each.device.public,
                "created": NOW,
                "certificate": each.certificate.packed,
            }
            for each in (ALICE, BOB, CAROL)
        ],
        "prekeys_of_bob": [
            {
                "suite": suite.value,
                "private": fixed(f"{suite.name} prekey of bob"),
                "public": record.public,
                "record": record.packed,
            }
            for suite, record in records.items()
        ],
        "login_of_alice": {**login, "proof": prove_login(ALICE.device, ALICE.certificate, *login.values())},
        "room": {
            "name": "#den",
            "entries": entries,
            "operations": [each.op.value for each in rosters],
            "room_id": room_id,
            "epoch_of_the_messages": epoch,
        },
        "session_of_alice": {
            "sid": descriptor.sid,
            "created": descriptor.created_ms,
            "descriptor": descriptor.packed,
            "sealed_by_x25519": sealed_by_x25519(key, records[Suite.X25519]),
            "sealed_by_x_wing": {"blob": sealed_by_xwing(key, records[Suite.X_WING], kept)},
            "session_key": fixed("session key"),
            "messages": messages(descriptor, key.chain_key, fixed("session key")),
        },
        "safety_number_of_alice_and_bob": safety_number(
            names[0], ALICE.identity.public, names[1], BOB.identity.public
        ),
    }
    printable: dict[str, Any] = json.loads(json.dumps(whole, default=bytes.hex))
    return printable


def kept_blob() -> str:
    """The key sealed by X-Wing that the file has; empty where there is none."""
    if not FILE.exists():
        return ""
    blob: str = json.loads(FILE.read_text())["session_of_alice"]["sealed_by_x_wing"]["blob"]
    return blob


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(vectors(kept_blob()), indent=1) + "\n")
