"""A second client, written from docs/PROTOCOL.md alone: blocking, plain, and without anything of ours.

It is the measure of the document: where the two disagree, one of them is wrong. It does one thing at a time, reads
only while somebody waits for something, and keeps all that it heard in plain lists.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

VERSION: Final = 1
DEFAULT_PORT: Final = 12_345
FRAME_BYTES: Final = 65_536
SEALED_BYTES: Final = 16_600
TEXT_BYTES: Final = 16_256
MAGIC: Final = b"SC0\x01"
HEADER_BYTES: Final = 36
IV_BYTES: Final = 16
TAG_BYTES: Final = 32

Message = list[Any]
"""A message as it is on the wire: its name, then its fields."""

Check = Callable[[Any], bool]


class PeerError(Exception):
    """What went wrong between this client and a relay."""


class WrongKeyError(PeerError):
    """The relay's certificate has another key than the address says; nothing was sent."""


class BrokenError(PeerError):
    """The other side does not keep to the document."""


class EndedError(PeerError):
    """The link has ended; `clean` is false where TLS was cut off without a word."""

    def __init__(self, clean: bool = True) -> None:
        super().__init__("the link has ended" if clean else "the link was cut off")
        self.clean = clean


class UnreadableError(PeerError):
    """A sealed message is not authentic, or its content is wrong."""


# Types of fields, as the document's table has them.

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}\Z")


def is_name(value: Any) -> bool:
    """`name`."""
    return type(value) is str and NAME.match(value) is not None


def is_room(value: Any) -> bool:
    """`room`: a `#` and a name, or `@` and two names in order."""
    if type(value) is not str or value[:1] not in ("#", "@"):
        return False
    if value[0] == "#":
        return is_name(value[1:])
    first, plus, second = value[1:].partition("+")
    return is_name(first) and plus == "+" and is_name(second) and first < second


def integer(bits: int) -> Check:
    """An integer of at most so many bits; a boolean is none."""
    return lambda value: type(value) is int and 0 <= value < 1 << bits


def binary(least: int, most: int) -> Check:
    """Bytes within bounds."""
    return lambda value: type(value) is bytes and least <= len(value) <= most


def string(most: int) -> Check:
    """A string of at most so many characters."""
    return lambda value: type(value) is str and len(value) <= most


def array(least: int, most: int, item: Check) -> Check:
    """An array of items of one kind."""
    return lambda value: type(value) is list and least <= len(value) <= most and all(map(item, value))


def fields(*checks: Check) -> Check:
    """An array with exactly these fields."""
    return lambda value: (
        type(value) is list and len(value) == len(checks) and all(c(v) for c, v in zip(checks, value, strict=True))
    )


def one_of(words: str) -> Check:
    """One of the words."""
    return lambda value: type(value) is str and value in words.split()


REFUSED: Final = (
    "version full bad-name name-too-long name-taken timed-out empty-frame oversized-frame not-a-message"
    " unknown-message bad-field out-of-order flood"
)
DECLINED: Final = "bad-room room-full too-many-rooms not-permitted not-a-member stale-epoch"
GOODBYE: Final = "quit shutdown slow silent failed"
COUNT: Final = integer(32)
SEQ: Final = integer(63)
REASON: Final = string(200)
ID: Final = binary(16, 16)

FROM_RELAY: Final[dict[str, Check]] = {
    "Greeting": fields(COUNT, binary(32, 32), string(1_000)),
    "Welcome": fields(is_name, fields(COUNT, COUNT, COUNT)),
    "Refused": fields(one_of(REFUSED), REASON),
    "Roster": fields(is_room, array(0, 1_024, is_name), SEQ),
    "SessionKey": fields(is_room, binary(32, 32), binary(32, 32)),
    "Presence": fields(is_room, is_name, lambda value: type(value) is bool),
    "Ack": fields(is_room, array(1, 1_024, fields(ID, SEQ))),
    "Delivery": fields(is_room, SEQ, array(1, 1_024, fields(is_name, SEQ, binary(1, SEALED_BYTES)))),
    "Declined": fields(is_room, array(0, 1_024, ID), one_of(DECLINED)),
    "Ping": fields(),
    "Pong": fields(),
    "Goodbye": fields(one_of(GOODBYE), REASON),
}
"""What a relay may say."""


# Sealed messages.


def keys_of(key: bytes, epoch: bytes) -> tuple[bytes, bytes]:
    """The MAC key and the encryption key: HKDF-SHA-512 without salt, of which 64 bytes are one block."""
    extracted = hmac.digest(bytes(64), key, "sha512")
    expanded = hmac.digest(extracted, b"securechat/0 message" + epoch + b"\x01", "sha512")
    return expanded[:32], expanded[32:]


def tag_of(mac_key: bytes, room: str, sender: str, untagged: bytes) -> bytes:
    """The tag of a sealed message that has none yet."""
    associated = untagged[:HEADER_BYTES] + room.encode() + b"\0" + sender.encode()
    counted = associated + untagged[HEADER_BYTES:] + struct.pack(">Q", 8 * len(associated))
    return hmac.digest(mac_key, counted, "sha512")[:TAG_BYTES]


def seal_content(content: bytes, key: bytes, epoch: bytes, room: str, sender: str) -> bytes:
    """Content, whatever it is, sealed by a sender for the members of a room."""
    mac_key, encryption_key = keys_of(key, epoch)
    iv = os.urandom(IV_BYTES)
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(encryption_key), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    untagged = MAGIC + epoch + iv + ciphertext
    return untagged + tag_of(mac_key, room, sender, untagged)


def open_content(sealed: bytes, key: bytes, epoch: bytes, room: str, sender: str) -> bytes:
    """The content of a sealed message. UnreadableError is raised for any that is not authentic."""
    untagged, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
    iv, ciphertext = untagged[HEADER_BYTES:][:IV_BYTES], untagged[HEADER_BYTES + IV_BYTES :]
    if untagged[:HEADER_BYTES] != MAGIC + epoch or not ciphertext or len(ciphertext) % 16:
        raise UnreadableError("header")
    mac_key, encryption_key = keys_of(key, epoch)
    if not hmac.compare_digest(tag, tag_of(mac_key, room, sender, untagged)):
        raise UnreadableError("tag")
    decryptor = Cipher(algorithms.AES256(encryption_key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()
    except ValueError:
        raise UnreadableError("padding") from None


def text_of(content: bytes) -> str:
    """The text in a message's content; UnreadableError for content of other kinds and for broken content."""
    try:
        kind, *rest = msgspec.msgpack.decode(content)
    except (msgspec.DecodeError, TypeError, ValueError):
        raise UnreadableError("content") from None
    if kind != "text":
        raise UnreadableError("kind")
    if not fields(string(TEXT_BYTES))(rest) or not 1 <= len(rest[0].encode()) <= TEXT_BYTES:
        raise UnreadableError("text")
    return str(rest[0])


@dataclass(slots=True, frozen=True)
class Heard:
    """One message of a room: its text, or what is wrong with it."""

    room: str
    seq: int
    sender: str
    ms: int
    text: str | None
    problem: str = ""


def connect(address: str, timeout_s: float) -> socket.socket:
    """A link to a relay, which has proved that it has the key in the address, if the address has one."""
    parts = urlsplit(address)
    if parts.scheme == "securechat+unix":
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(timeout_s)
        plain.connect(unquote(parts.path))
        return plain
    plain = socket.create_connection((parts.hostname or "", parts.port or DEFAULT_PORT), timeout_s)
    if parts.scheme == "securechat+tcp":
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    link = context.wrap_socket(plain, suppress_ragged_eofs=False)
    certificate = x509.load_der_x509_certificate(link.getpeercert(binary_form=True) or b"")
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if parts.fragment and not hmac.compare_digest(hashlib.sha256(spki).hexdigest(), parts.fragment):
        link.close()
        raise WrongKeyError(address)
    return link


class PlainClient:
    """One link to one relay. `rosters`, `keys` and `pending` say what is known; `heard` and `declined` what came."""

    def __init__(self, address: str, timeout_s: float = 10.0) -> None:
        self.timeout_s = timeout_s
        self.link = connect(address, timeout_s)
        self.name = ""
        self.limits: list[int] = []
        self.rosters: dict[str, list[str]] = {}
        self.last_seqs: dict[str, int] = {}
        self.keys: dict[str, tuple[bytes, bytes]] = {}
        """Epoch and session key of each room."""
        self.pending: dict[bytes, tuple[str, str]] = {}
        """Room and text of what the relay has not acknowledged, by id and in order."""
        self.acked: dict[bytes, int] = {}
        self.heard: deque[Heard] = deque()
        self.declined: list[Message] = []
        self._buffer = b""
        self._heard_at = time.monotonic()
        self.greeting = self.wait_for("Greeting")
        if self.greeting[1] != VERSION:
            raise BrokenError("another version")

    # Frames.

    def send_frame(self, body: bytes, length: int | None = None) -> None:
        """Send a frame; a length may be given that lies."""
        self.link.sendall(struct.pack(">I", len(body) if length is None else length) + body)

    def send(self, *message: object) -> None:
        """Send a message: its name and its fields."""
        self.send_frame(msgspec.msgpack.encode(message))

    def receive(self, timeout_s: float | None = None) -> Message:
        """Wait for one message, take it to heart, and return it."""
        until = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            if len(self._buffer) >= 4:
                (length,) = struct.unpack_from(">I", self._buffer)
                if not 1 <= length <= FRAME_BYTES:
                    raise BrokenError("length")
                if len(self._buffer) >= 4 + length:
                    body, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
                    return self._take(body)
            self._fill(until)

    def _fill(self, until: float) -> None:
        """Read some bytes; TimeoutError when there are none in time."""
        now = time.monotonic()
        if now >= until:
            raise TimeoutError
        ping_at = self._heard_at + (self.limits[2] if self.limits else 3_600)
        if now >= ping_at:
            self.send("Ping")
            self._heard_at = now
            return
        self.link.settimeout(min(until, ping_at) - now)
        try:
            data = self.link.recv(65_536)
        except TimeoutError:
            return
        except (ssl.SSLEOFError, ConnectionResetError):
            raise EndedError(clean=False) from None
        finally:
            self.link.settimeout(self.timeout_s)
        if not data:
            raise EndedError
        self._buffer += data
        self._heard_at = time.monotonic()

    def wait_for(self, *kinds: str, timeout_s: float | None = None) -> Message:
        """Take what comes until a message of one of the kinds does, and return that."""
        until = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            message = self.receive(until - time.monotonic())
            if message[0] in kinds:
                return message

    def _take(self, body: bytes) -> Message:
        message = msgspec.msgpack.decode(body)
        if type(message) is not list or not message or message[0] not in FROM_RELAY:
            raise BrokenError(repr(message))
        kind, values = message[0], message[1:]
        if not FROM_RELAY[kind](values):
            raise BrokenError(repr(message))
        handler = getattr(self, f"_take_{kind.lower()}", None)
        if handler is not None:
            handler(*values)
        return message

    # What the relay says.

    def _take_welcome(self, name: str, limits: list[int]) -> None:
        self.name, self.limits = name, limits

    def _take_roster(self, room: str, members: list[str], last_seq: int) -> None:
        self.rosters[room], self.last_seqs[room] = members, last_seq

    def _take_sessionkey(self, room: str, epoch: bytes, key: bytes) -> None:
        before = self.keys.get(room, (b"", b""))
        self.keys[room] = epoch, key
        if epoch != before[0]:
            self._post_again(room)

    def _take_presence(self, room: str, name: str, here: bool) -> None:
        others = [member for member in self.rosters.get(room, []) if member != name]
        self.rosters[room] = [*others, name] if here else others
        if name == self.name and not here:
            del self.rosters[room], self.keys[room]

    def _take_ack(self, room: str, items: Sequence[tuple[bytes, int]]) -> None:
        for post_id, seq in items:
            self.pending.pop(post_id, None)
            self.acked[post_id] = seq

    def _take_declined(self, room: str, ids: list[bytes], code: str) -> None:
        self.declined.append([room, ids, code])
        if code != "stale-epoch":
            for post_id in ids:
                self.pending.pop(post_id, None)

    def _take_delivery(self, room: str, first_seq: int, items: Sequence[tuple[str, int, bytes]]) -> None:
        epoch, key = self.keys[room]
        for seq, (sender, ms, sealed) in enumerate(items, first_seq):
            if seq <= self.last_seqs[room]:
                continue
            self.last_seqs[room] = seq
            if sender == self.name:
                continue
            try:
                text = text_of(open_content(sealed, key, epoch, room, sender))
                self.heard.append(Heard(room, seq, sender, ms, text))
            except UnreadableError as why:
                self.heard.append(Heard(room, seq, sender, ms, None, str(why)))

    def _take_ping(self) -> None:
        self.send("Pong")

    # What one does with it.

    def login(self, name: str) -> None:
        """Log in. PeerError is raised with the code where the relay refuses."""
        self.send("Hello", VERSION, name)
        answer = self.wait_for("Welcome", "Refused")
        if answer[0] == "Refused":
            raise PeerError(answer[1])

    def enter(self, room: str) -> None:
        """Enter a room, and wait until it has a key."""
        self.send("Enter", room)
        answer = self.wait_for("SessionKey", "Declined")
        if answer[0] == "Declined":
            raise PeerError(answer[3])

    def leave(self, room: str) -> None:
        """Leave a room, and wait until the relay agrees."""
        self.send("Leave", room)
        while self.wait_for("Presence", "Declined")[0] == "Presence" and room in self.rosters:
            pass

    def say(self, room: str, text: str) -> bytes:
        """Post a message, and return its id; what an epoch's end overtakes is posted again."""
        post_id = os.urandom(16)
        self.pending[post_id] = room, text
        self.post(room, [(post_id, self.seal(room, text))])
        return post_id

    def seal(self, room: str, text: str) -> bytes:
        """A text, sealed for a room as it is now."""
        epoch, key = self.keys[room]
        return seal_content(msgspec.msgpack.encode(["text", text]), key, epoch, room, self.name)

    def post(self, room: str, items: Sequence[tuple[bytes, bytes]], epoch: bytes | None = None) -> None:
        """Post sealed messages of any making, for the room's epoch unless another one is given."""
        self.send("Post", room, self.keys[room][0] if epoch is None else epoch, items)

    def _post_again(self, room: str) -> None:
        items = [(post_id, self.seal(room, text)) for post_id, (r, text) in self.pending.items() if r == room]
        if items:
            self.post(room, items)

    def next_message(self, timeout_s: float | None = None) -> Heard:
        """The next message that somebody else said."""
        until = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while not self.heard:
            self.receive(until - time.monotonic())
        return self.heard.popleft()

    def quit(self) -> None:
        """Leave in good order."""
        self.send("Goodbye", "quit", "")
        self.wait_for("Goodbye")
        self.wait_for_end()
        self.close()

    def wait_for_end(self, timeout_s: float | None = None) -> list[Message]:
        """Read on until the relay ends the link, and return what it still said."""
        said: list[Message] = []
        until = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            try:
                said.append(self.receive(until - time.monotonic()))
            except EndedError as end:
                if not end.clean:
                    raise
                return said

    def close(self) -> None:
        """Drop the link without a word."""
        self.link.close()
