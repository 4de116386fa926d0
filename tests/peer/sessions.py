"""Sessions and messages as the plain client seals and opens them: docs/SC1-notes.md, Sessions to Receiving."""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from tests.peer.log import Log
from tests.peer.sc1 import DAY_MS, Keys, RefusedError, check, hpke_open, hpke_seal, lp, read_prekey, sign, split

FRAME_SIZES: Final = {88 + 16 + 2**power + 16 + 32 + 64 for power in range(7, 15)}


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
    place: int | None = None
    """Where the epoch of the highest stands, once one has come."""
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
            self.place = None

    def open(
        self, frame: Frame, session_key: bytes, log: Log, now_ms: int
    ) -> tuple[bytes, str, tuple[int, int] | None]:
        """Message id, text, and what is missing before it: the steps of Receiving from the sixth on."""
        index, place = frame.index, log.place(frame.epoch)
        known = place if self.place is None else self.place
        timely = place >= known if index > self.highest else place <= known
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
