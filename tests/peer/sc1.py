"""What the plain client signs, seals and checks: docs/SC1-notes.md, by `cryptography` and `pyhpke`."""

from __future__ import annotations

import os
import re
import struct
from hashlib import sha512, shake_256
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from pyhpke.exceptions import PyHPKEError

DAY_MS: Final = 86_400_000
X25519, X_WING = bytes.fromhex("002000010002"), bytes.fromhex("647a00010002")
NAME: Final = re.compile(rb"[a-z0-9][a-z0-9._-]{0,31}")


class RefusedError(Exception):
    """Something is not what it should be: `args[0]` is what a user is told."""


def lp(*items: bytes) -> bytes:
    """Each item behind its length."""
    return b"".join(struct.pack(">I", len(item)) + item for item in items)


def split(data: bytes, *sizes: int | tuple[int, int]) -> list[bytes]:
    """Undo `lp`: items of exactly these sizes, or from one to another."""
    items = []
    for size in sizes:
        end = 4 + int.from_bytes(data[:4], "big")
        least, most = (size, size) if isinstance(size, int) else size
        if len(data) < 4 or not least <= end - 4 <= most or end > len(data):
            raise RefusedError("not authentic")
        items.append(data[4:end])
        data = data[end:]
    if data:
        raise RefusedError("not authentic")
    return items


def sign(key: Ed25519PrivateKey, label: str, data: bytes) -> bytes:
    """A signature for a purpose."""
    return key.sign(b"securechat/1 " + label.encode() + b"\0" + data)


def check(public: bytes, label: str, data: bytes, signature: bytes) -> None:
    """RefusedError unless it is a signature for this purpose."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            signature, b"securechat/1 " + label.encode() + b"\0" + data
        )
    except (InvalidSignature, ValueError):
        raise RefusedError("not authentic") from None


def read_certificate(data: bytes) -> tuple[str, bytes, bytes]:
    """Name, IK and DK in a certificate that IK has signed."""
    name, identity, device, created, signature = split(data, (1, 32), 32, 32, 8, 64)
    check(identity, "device", lp(name, device, created), signature)
    if not NAME.fullmatch(name):
        raise RefusedError("not authentic")
    return name.decode(), identity, device


def read_prekey(data: bytes, device: bytes, now_ms: int) -> tuple[bytes, bytes, bytes]:
    """Id, suite and public key in a prekey record of a device that can be sealed to now."""
    *fields, signature = split(data, 8, 6, (32, 1_216), 8, 8, 64)
    check(device, "prekey", lp(*fields), signature)
    begin, end = (int.from_bytes(each, "big") for each in fields[3:])
    size = {X25519: 32, X_WING: 1_216}.get(fields[1])
    if len(fields[2]) != size or end - begin > 14 * DAY_MS or not begin - 3_600_000 <= now_ms < end:
        raise RefusedError("not authentic")
    return fields[0], fields[1], fields[2]


def _wing(private: bytes) -> tuple[mlkem.MLKEM768PrivateKey, X25519PrivateKey]:
    expanded = shake_256(private).digest(96)
    return mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(
        expanded[64:]
    )


WING: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
PLAIN: Final = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)


def public_of(suite: bytes, private: bytes) -> bytes:
    """The public half of a prekey."""
    if suite == X25519:
        return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    return b"".join(each.public_key().public_bytes_raw() for each in _wing(private))


def hpke_seal(suite: bytes, public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """HPKE in base mode: encapsulated key and ciphertext."""
    try:
        if suite == X25519:
            key = KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(public))
            encapsulated, context = PLAIN.create_sender_context(key, info=info)
            return bytes(encapsulated + context.seal(plaintext))
        first = mlkem.MLKEM768PublicKey.from_public_bytes(public[:1_184])
        second = X25519PublicKey.from_public_bytes(public[1_184:])
        return WING.encrypt(plaintext, MLKEM768X25519PublicKey(first, second), info)
    except (ValueError, PyHPKEError):
        raise RefusedError("not authentic") from None


def hpke_open(suite: bytes, private: bytes, info: bytes, sealed: bytes) -> bytes:
    """Undo `hpke_seal`."""
    try:
        if suite == X25519:
            key = KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(private))
            return bytes(PLAIN.create_recipient_context(sealed[:32], key, info=info).open(sealed[32:]))
        return WING.decrypt(sealed, MLKEM768X25519PrivateKey(*_wing(private)), info)
    except (ValueError, InvalidTag, PyHPKEError):
        raise RefusedError("not authentic") from None


class Keys:
    """The keys of a person and their one device."""

    def __init__(self, name: str, identity_seed: bytes = b"", device_seed: bytes = b"", now_ms: int = 0) -> None:
        self.name = name
        self.identity_key = Ed25519PrivateKey.from_private_bytes(identity_seed or os.urandom(32))
        self.device_key = Ed25519PrivateKey.from_private_bytes(device_seed or os.urandom(32))
        self.identity = self.identity_key.public_key().public_bytes_raw()
        self.device = self.device_key.public_key().public_bytes_raw()
        created = now_ms.to_bytes(8, "big")
        signature = sign(self.identity_key, "device", lp(name.encode(), self.device, created))
        self.certificate = lp(name.encode(), self.identity, self.device, created, signature)
        self.prekeys: dict[bytes, tuple[bytes, bytes]] = {}
        """Suite and private half, by id."""
        self._newest = b"", 0

    def offer(self, now_ms: int, suite: bytes = X_WING) -> bytes:
        """Make a prekey, and give its record."""
        prekey_id, private = os.urandom(8), os.urandom(32)
        self.prekeys[prekey_id] = suite, private
        times = [each.to_bytes(8, "big") for each in (now_ms, now_ms + 14 * DAY_MS)]
        fields = lp(prekey_id, suite, public_of(suite, private), *times)
        self._newest = fields + lp(sign(self.device_key, "prekey", fields)), now_ms
        return self._newest[0]

    def newest_record(self, now_ms: int) -> bytes:
        """The record of a prekey that is not a day old."""
        record, made_ms = self._newest
        return record if 0 <= now_ms - made_ms < DAY_MS else self.offer(now_ms)


def safety_number(*people: tuple[str, bytes]) -> str:
    """The 60 digits of two people, each a name and an identity key."""
    halves = []
    for name, identity in people:
        digest = b"\0\0" + identity + name.encode()
        for _ in range(5_200):
            digest = sha512(digest + identity).digest()
        fives = (int.from_bytes(digest[at : at + 5], "big") % 100_000 for at in range(0, 30, 5))
        halves.append("".join(f"{each:05d}" for each in fives))
    return "".join(sorted(halves))
