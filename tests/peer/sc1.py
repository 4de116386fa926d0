"""What the plain client signs, seals and checks: docs/SC1-notes.md, by `cryptography` and `pyhpke`."""

from __future__ import annotations

import hmac
import os
import re
import struct
from dataclasses import dataclass, field
from hashlib import sha256, sha512, shake_256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.padding import PKCS7
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from pyhpke.exceptions import PyHPKEError

DAY_MS: Final = 86_400_000
X25519, X_WING = bytes.fromhex("002000010002"), bytes.fromhex("647a00010002")
NAME: Final = re.compile(rb"[a-z0-9][a-z0-9._-]{0,31}")
FRAME_SIZES: Final = {88 + 16 + 2**power + 16 + 32 + 64 for power in range(7, 15)}


class RefusedError(Exception):
    """Something is not what it should be: `args[0]` is what a user is told."""


class LogError(Exception):
    """An entry does not hold."""


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


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a room."""

    name: str
    identity: bytes
    device: bytes
    role: str = "member"


def entry(
    device: Ed25519PrivateKey,
    number: int,
    previous: bytes,
    op: str,
    subject: bytes,
    role: str,
    now_ms: int,
    detail: bytes,
) -> bytes:
    """A signed entry of a log."""
    times = number.to_bytes(4, "big"), now_ms.to_bytes(8, "big")
    body = lp(times[0], previous, op.encode(), subject, role.encode(), times[1], detail)
    return lp(body, device.public_key().public_bytes_raw(), sign(device, "room", body))


class Log:
    """The log of a room, every entry of it checked."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.entries: list[bytes] = []
        self.members: dict[bytes, Member] = {}
        self.at: dict[bytes, dict[bytes, Member]] = {}
        """By epoch, in their order: the members of then, by device."""
        self.shrunk: set[bytes] = set()
        """The epochs that began with somebody's leaving."""
        self.is_open = False
        self.room_id = self.epoch = b""
        self.last = bytes(32)
        self._devices: dict[bytes, bytes] = {}

    def named(self, name: str) -> Member | None:
        """The member of a name."""
        return next((each for each in self.members.values() if each.name == name), None)

    def member(self, name: str) -> Member:
        """The member of a name, whom there is."""
        return next(each for each in self.members.values() if each.name == name)

    def place(self, epoch: bytes) -> int:
        """Where an epoch stands among the epochs."""
        return list(self.at).index(epoch)

    def only_grew(self, since: bytes, until: bytes) -> bool:
        """Whether nobody left after one epoch and up to another, and they are in that order."""
        first, last = self.place(since), self.place(until)
        return first <= last and not self.shrunk.intersection(list(self.at)[first + 1 : last + 1])

    def take(self, packed: bytes) -> None:
        """Take the next entry, or one that is known. LogError is raised for any that does not hold."""
        try:
            self._take(packed)
        except RefusedError:
            raise LogError("an entry is malformed or not signed") from None

    def _take(self, packed: bytes) -> None:
        body, actor_device, signature = split(packed, (107, 420), 32, 64)
        count, previous, op_, subject, role_, _, detail = split(body, 4, 32, (3, 6), 32, (0, 6), 8, (0, 304))
        number, op, role = int.from_bytes(count, "big"), op_.decode("latin"), role_.decode("latin")
        if number < len(self.entries) and self.entries[number] == packed:
            return
        comer, policy = self._detail(op, role, subject, actor_device, detail)
        if number > len(self.entries):
            raise LogError("entries are missing")
        actor = next((each for each in self.members.values() if each.device == actor_device), None)
        if actor is None and op not in ("create", "join"):
            raise LogError("its actor is no member")
        check(actor_device, "room", body, signature)
        if number != len(self.entries) or previous != self.last:
            raise LogError("members were shown different logs")
        if (op == "create") is not (number == 0) or not self._has_right(op, actor, subject):
            raise LogError("its actor has no right to it")
        if op != "create" and (subject in self.members) is (op in ("join", "add")):
            raise LogError("it has no point")
        if comer and (
            self.named(comer.name)
            or self._devices.get(comer.device, subject) != subject
            or (self.room[0] == "@" and comer.name not in self.room[1:].split("+"))
        ):
            raise LogError("its name or device is another's")
        if len(self.entries) >= 65_536 or (comer and len(self.members) >= 1_024):
            raise LogError("the room is full")
        self.entries.append(packed)
        self.last = sha256(packed).digest()
        if comer:
            self.members[subject] = comer
            self._devices[comer.device] = subject
        elif op in ("remove", "leave"):
            del self.members[subject]
            self.shrunk.add(self.last)
        elif op == "role":
            known = self.members[subject]
            self.members[subject] = Member(known.name, known.identity, known.device, role)
        if policy:
            self.is_open = policy == b"open"
        if op not in ("role", "policy"):
            self.room_id, self.epoch = self.room_id or self.last, self.last
            self.at[self.last] = {each.device: each for each in self.members.values()}

    def _detail(
        self, op: str, role: str, subject: bytes, actor: bytes, detail: bytes
    ) -> tuple[Member | None, bytes]:
        """Who comes in, and the policy that begins."""
        policy = b""
        if op == "create":
            certificate, room, _, packed = split(detail, (157, 188), (2, 66), 16, (16, 18))
            if room != self.room.encode():
                raise LogError("it is another room")
            policy = self._policy(packed)
            if self.room[0] == "@" and policy != b"closed":
                raise LogError("a direct room is closed")
        elif op == "policy":
            policy, certificate = self._policy(detail), b""
        else:
            certificate = detail
        roles = {"create": ["owner"], "join": ["member"], "add": ["member"], "role": ["owner", "admin", "member"]}
        if role not in roles.get(op, [""]) or (op in ("remove", "leave", "role") and detail):
            raise LogError("it is malformed")
        if op not in ("create", "join", "add"):
            return None, policy
        name, identity, device = read_certificate(certificate)
        if identity != subject or (op != "add" and device != actor):
            raise LogError("its certificate is another's")
        return Member(name, identity, device, role), policy

    def _policy(self, packed: bytes) -> bytes:
        join, days = split(packed, (4, 6), 4)
        if join not in (b"open", b"closed") or int.from_bytes(days, "big") > 3_650:
            raise LogError("its policy is malformed")
        return join

    def _has_right(self, op: str, actor: Member | None, subject: bytes) -> bool:
        direct = self.room[0] == "@"
        if op == "create":
            return True
        if direct and op not in ("add", "leave"):
            return False
        if op == "join":
            return self.is_open and actor is None
        assert actor is not None
        ranks = {"member": 0, "admin": 1, "owner": 2}
        if op == "remove":
            return subject in self.members and ranks[actor.role] > ranks[self.members[subject].role]
        return {
            "add": direct or self.is_open or ranks[actor.role] > 0,
            "leave": subject == actor.identity,
            "role": actor.role == "owner",
            "policy": actor.role == "owner" and subject == actor.identity,
        }.get(op, False)


def chain(key: bytes) -> tuple[bytes, bytes]:
    """What a chain key gives: the message's key, and the next chain key."""
    return hmac.digest(key, b"\1", "sha256"), hmac.digest(key, b"\2", "sha256")


def message_keys(session_key: bytes, message_key: bytes, sid: bytes, index: int) -> tuple[bytes, bytes]:
    """MAC key and encryption key: HKDF-SHA-512, whose 64 bytes are one block."""
    extracted = hmac.digest(session_key, message_key, "sha512")
    expanded = hmac.digest(extracted, b"securechat/1 message" + sid + struct.pack(">IB", index, 1), "sha512")
    return expanded[:32], expanded[32:]


def tag_of(mac_key: bytes, untagged: bytes) -> bytes:
    """The tag over header, iv and ciphertext."""
    return hmac.digest(mac_key, untagged + struct.pack(">Q", 704), "sha512")[:32]


def encrypt(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """AES-256-CBC with PKCS#7."""
    padder, encryptor = PKCS7(128).padder(), Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()


def decrypt(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """Undo `encrypt`."""
    unpadder, decryptor = PKCS7(128).unpadder(), Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
    try:
        return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()
    except ValueError:
        raise RefusedError("not authentic") from None


def padded(body: bytes) -> bytes:
    """The plaintext for a body, up to the next size."""
    plaintext = struct.pack(">I", len(body)) + body
    return plaintext.ljust(min(2**power for power in range(7, 15) if 2**power >= len(plaintext)), b"\0")


def content(room_id: bytes, now_ms: int, message_id: bytes, voided: int, text: str) -> bytes:
    """The plaintext for a text."""
    return padded(msgspec.msgpack.encode(["text", room_id, now_ms, message_id, voided, text]))


def read_content(plaintext: bytes, room_id: bytes) -> tuple[bytes, int, str]:
    """Message id, voided and text."""
    body = plaintext[4 : 4 + int.from_bytes(plaintext[:4], "big")]
    if len(body) > 16_380 or padded(body) != plaintext:
        raise RefusedError("not authentic")
    try:
        kind, room, sent_ms, message_id, voided, text = msgspec.msgpack.decode(
            body, type=tuple[str, bytes, int, bytes, int, str]
        )
    except (ValueError, RecursionError):
        raise RefusedError("unknown kind") from None
    known = kind == "text" and len(room) == 32 and 0 <= sent_ms < 2**63 and len(message_id) == 16
    if not known or not 0 <= voided < 2**31 or (room == room_id and not 1 <= len(text.encode()) <= 16_256):
        raise RefusedError("unknown kind")
    if room != room_id:
        raise RefusedError("not authentic")
    return message_id, voided, text


class Sending:
    """A session of our own in a room."""

    def __init__(self, keys: Keys, log: Log, now_ms: int, sid: bytes = b"", chain_key: bytes = b"") -> None:
        self.keys, self.epoch, self.made_ms = keys, log.epoch, now_ms
        self.sid, self.chain_key = sid or os.urandom(16), chain_key or os.urandom(32)
        made = now_ms.to_bytes(8, "big")
        self.descriptor = lp(b"securechat/1 session", log.room_id, log.epoch, keys.device, self.sid, made)
        self.index, self.prev = 0, sha256(self.descriptor).digest()
        self.void: set[int] = set()
        self.handed: set[bytes] = set()

    def is_spent(self, log: Log, now_ms: int) -> bool:
        """Whether it is time for a new one."""
        fresh = self.index < 256 and 0 <= now_ms - self.made_ms < DAY_MS
        return not fresh or not log.only_grew(self.epoch, log.epoch)

    def inner(self, device: bytes, prekey_id: bytes) -> bytes:
        """What is sealed to a device."""
        return lp(self.descriptor, self.index.to_bytes(4, "big"), self.chain_key, device, prekey_id)

    def seal_to(self, device: bytes, record: bytes, now_ms: int) -> bytes:
        """The blob for a device, by its newest prekey."""
        prekey_id, suite, public = read_prekey(record, device, now_ms)
        inner, info = self.inner(device, prekey_id), lp(b"securechat/1 seal", self.descriptor, device, prekey_id)
        sealed = hpke_seal(suite, public, info, inner + sign(self.keys.device_key, "key", inner))
        return lp(self.descriptor, prekey_id, sealed)

    def seal(self, epoch: bytes, session_key: bytes, plaintext: bytes, iv: bytes = b"") -> bytes:
        """The next frame."""
        key, self.chain_key = chain(self.chain_key)
        mac_key, encryption_key = message_keys(session_key, key, self.sid, self.index)
        iv = iv or os.urandom(16)
        header = b"SC1\1" + epoch + self.sid + self.index.to_bytes(4, "big") + self.prev
        untagged = header + iv + encrypt(encryption_key, iv, plaintext)
        tagged = untagged + tag_of(mac_key, untagged)
        self.index, self.prev = self.index + 1, sha256(tagged).digest()
        return tagged + sign(self.keys.device_key, "frame", self.prev)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame taken apart."""

    data: bytes
    epoch: bytes
    sid: bytes
    index: int
    prev: bytes

    @property
    def digest(self) -> bytes:
        """What is signed."""
        return sha256(self.data[:-64]).digest()


def read_frame(data: bytes) -> Frame:
    """Take a frame apart."""
    index = int.from_bytes(data[52:56], "big")
    if len(data) not in FRAME_SIZES or data[:4] != b"SC1\1" or index >= 2**31:
        raise RefusedError("not authentic")
    return Frame(data, data[4:36], data[36:52], index, data[56:88])


@dataclass(slots=True)
class Receiving:
    """A session of somebody else's."""

    descriptor: bytes
    epoch: bytes
    device: bytes
    sid: bytes
    index: int
    chain_key: bytes
    highest: int = -1
    """One less than the next index that is expected."""
    place: int = 0
    """Where the epoch of the highest stands."""
    kept: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    seen: dict[int, bytes] = field(default_factory=dict)
    prevs: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """What came before it was handed over is not missing."""
        self.highest = self.index - 1

    def renew(self, other: Receiving) -> None:
        """Another key of this session came."""
        if other.descriptor == self.descriptor and other.index > self.index + 2_000:
            self.index, self.chain_key, self.highest = other.index, other.chain_key, other.index - 1

    def open(
        self, frame: Frame, session_key: bytes, log: Log, now_ms: int
    ) -> tuple[bytes, str, tuple[int, int] | None]:
        """Message id, text, and what is missing before it: the steps of Receiving from the sixth on."""
        index, place = frame.index, log.place(frame.epoch)
        timely = place >= self.place if index > self.highest else place <= self.place
        if not timely or not log.only_grew(self.epoch, frame.epoch):
            raise RefusedError("stale epoch")
        if index <= self.highest - 1_024 or self.seen.get(index) == frame.digest:
            raise RefusedError("replayed")
        if index > self.highest + 2_000:
            raise RefusedError("too far")
        if index < self.index and index not in self.kept and index not in self.seen:
            raise RefusedError("key gone")
        check(self.device, "frame", frame.digest, frame.data[-64:])
        if index in self.seen:
            raise RefusedError("forked")
        gap = (self.highest + 1, index - 1) if index > self.highest + 1 else None
        self._skip_to(index, now_ms)
        self.seen[index], self.prevs[index] = frame.digest, frame.prev
        if index > self.highest:
            self.highest, self.place = index, place
        key, _ = self.kept[index]
        mac_key, encryption_key = message_keys(session_key, key, self.sid, index)
        if not hmac.compare_digest(tag_of(mac_key, frame.data[:-96]), frame.data[-96:-64]):
            del self.seen[index]
            raise RefusedError("not authentic")
        del self.kept[index]
        plaintext = decrypt(encryption_key, frame.data[88:104], frame.data[104:-96])
        message_id, voided, text = read_content(plaintext, log.room_id)
        for each in range(max(0, index - voided), index):
            self.kept.pop(each, None)
        if gap:
            gap = (gap[0], min(gap[1], index - 1 - voided))
        return message_id, text, gap if gap and gap[0] <= gap[1] else None

    def _skip_to(self, index: int, now_ms: int) -> None:
        """Keep the keys up to an index, 1,000 of them at most and for 7 days."""
        while self.index <= index:
            key, self.chain_key = chain(self.chain_key)
            self.kept[self.index] = key, now_ms
            self.index += 1
        for each in [each for each, (_, at) in self.kept.items() if now_ms - at >= 7 * DAY_MS]:
            del self.kept[each]
        while len(self.kept) > 1_001:
            del self.kept[min(self.kept)]


def open_blob(blob: bytes, log: Log, keys: Keys) -> Receiving | None:
    """The session in a sealed key that came for us in a room; None where it waits for the log."""
    descriptor, prekey_id, sealed = split(blob, 164, 8, (308, 2_000))
    label, room_id, epoch, device, sid, _ = split(descriptor, 20, 32, 32, 32, 16, 8)
    if label != b"securechat/1 session":
        raise RefusedError("not authentic")
    if epoch not in log.at:
        return None
    if device not in log.at[epoch] or prekey_id not in keys.prekeys or room_id != log.room_id:
        raise RefusedError("not authentic")
    info = lp(b"securechat/1 seal", descriptor, keys.device, prekey_id)
    opened = hpke_open(*keys.prekeys[prekey_id], info, sealed)
    inside, index, chain_key, recipient, named = split(opened[:-64], 164, 4, 32, 32, 8)
    if (inside, recipient, named) != (descriptor, keys.device, prekey_id) or index >= b"\x80":
        raise RefusedError("not authentic")
    check(device, "key", opened[:-64], opened[-64:])
    return Receiving(descriptor, epoch, device, sid, int.from_bytes(index, "big"), chain_key)


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
