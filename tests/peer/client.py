"""A second client, written from docs/PROTOCOL.md alone: blocking, plain, and without anything of ours.

It is the measure of the document: where the two disagree, one of them is wrong. It reads only while somebody waits
for something, believes nothing that the document does not allow, and keeps all that it heard in plain lists.
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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Message = list[Any]
"""A message as it is on the wire: its name, then its fields."""


class PeerError(Exception):
    """The relay says no: `args[0]` is the code."""


class BrokenError(PeerError):
    """The relay has another key than its address says, or does not keep to the document."""


class EndedError(PeerError):
    """The relay has closed the link in good order, with TLS by its `close_notify`."""


class LostError(PeerError):
    """The link was cut off, or nothing was heard for too long."""


class UnreadableError(PeerError):
    """A sealed message is not authentic, or its content is wrong."""


def fits(value: Any, shape: Any) -> bool:
    """Whether a value has the shape of a field; the comment at `FROM_RELAY` says which shapes there are."""
    match shape:
        case str():
            return type(value) is str and value == shape
        case re.Pattern():
            return type(value) is str and shape.fullmatch(value) is not None
        case range():
            return type(value) is int and value in shape
        case int():
            return type(value) is bytes and len(value) == shape
        case tuple():
            return type(value) is list and len(value) == len(shape) and all(map(fits, value, shape))
        case [item]:
            return type(value) is list and len(value) <= 1_024 and all(fits(each, item) for each in value)
    return type(value) is shape


HANDLE: Final = "[a-z0-9][a-z0-9._-]{0,31}"
NAME: Final = re.compile(HANDLE)
ROOM: Final = re.compile(rf"#{HANDLE}|@{HANDLE}\+{HANDLE}")
COUNT, SEQ = range(2**32), range(2**63)
REASON: Final = re.compile(r"(?s).{0,200}")
REFUSED: Final = re.compile(
    "version|full|bad-name|name-too-long|name-taken|timed-out|empty-frame|oversized-frame|not-a-message"
    "|unknown-message|bad-field|out-of-order|flood"
)
DECLINED: Final = re.compile("bad-room|room-full|too-many-rooms|not-permitted|not-a-member|stale-epoch|failed")
GOODBYE: Final = re.compile("quit|shutdown|slow|silent|failed")

# A string is itself, a pattern a string, a range an integer in it, a number bytes of that length, a tuple an array
# with exactly these fields, a list an array of such items, a type itself.
FROM_RELAY: Final = (
    ("Greeting", COUNT, 32, re.compile(r"(?s).{0,1000}")),
    ("Welcome", NAME, (COUNT, COUNT, COUNT)),
    ("Refused", REFUSED, REASON),
    ("Roster", ROOM, [NAME], SEQ),
    ("SessionKey", ROOM, 32, 32),
    ("Presence", ROOM, NAME, bool),
    ("Ack", ROOM, [(16, SEQ)]),
    ("Delivery", ROOM, SEQ, [(NAME, SEQ, bytes)]),
    ("Declined", re.compile(r"(?s).{2,66}"), [16], DECLINED),
    ("Ping",),
    ("Pong",),
    ("Goodbye", GOODBYE, REASON),
)


def keys_of(key: bytes, epoch: bytes) -> tuple[bytes, bytes]:
    """The MAC key and the encryption key: HKDF-SHA-512 without salt; its 64 bytes are one block."""
    extracted = hmac.digest(bytes(64), key, "sha512")
    expanded = hmac.digest(extracted, b"securechat/0 message" + epoch + b"\x01", "sha512")
    return expanded[:32], expanded[32:]


def tag_of(mac_key: bytes, room: str, sender: str, untagged: bytes) -> bytes:
    """The tag of a sealed message that has none yet."""
    associated = untagged[:36] + room.encode() + b"\0" + sender.encode()
    return hmac.digest(mac_key, associated + untagged[36:] + struct.pack(">Q", 8 * len(associated)), "sha512")[:32]


def seal(content: bytes, key: bytes, epoch: bytes, room: str, sender: str, iv: bytes = b"") -> bytes:
    """Content of any making, sealed by a sender for the members of a room."""
    mac_key, encryption_key = keys_of(key, epoch)
    iv = iv or os.urandom(16)
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES256(encryption_key), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    untagged = b"SC0\x01" + epoch + iv + ciphertext
    return untagged + tag_of(mac_key, room, sender, untagged)


def unseal(sealed: bytes, key: bytes, epoch: bytes, room: str, sender: str) -> bytes:
    """The content of a sealed message. UnreadableError is raised for any that is not authentic."""
    if sealed[:36] != b"SC0\x01" + epoch or len(sealed) < 36 + 16 + 16 + 32 or (len(sealed) - 84) % 16:
        raise UnreadableError("header or length")
    mac_key, encryption_key = keys_of(key, epoch)
    if not hmac.compare_digest(sealed[-32:], tag_of(mac_key, room, sender, sealed[:-32])):
        raise UnreadableError("tag")
    decryptor = Cipher(algorithms.AES256(encryption_key), modes.CBC(sealed[36:52])).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        return unpadder.update(decryptor.update(sealed[52:-32]) + decryptor.finalize()) + unpadder.finalize()
    except ValueError:
        raise UnreadableError("padding") from None


def content_of(text: str) -> bytes:
    """The content of a message of text."""
    return msgspec.msgpack.encode(["text", text])


def text_of(content: bytes) -> str:
    """The text in a message's content. UnreadableError is raised for other kinds, and for what is broken."""
    try:
        decoded = msgspec.msgpack.decode(content)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise UnreadableError("content") from None
    if not fits(decoded, ("text", str)) or not 1 <= len(decoded[1].encode()) <= 16_256:
        raise UnreadableError("kind of content, or length of text")
    return str(decoded[1])


def frame(message: Sequence[object]) -> bytes:
    """A message as it travels, its length in front."""
    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of a room: its text, or what is wrong with it."""

    room: str
    seq: int
    sender: str
    ms: int
    text: str | None
    problem: str = ""


@dataclass(slots=True)
class Pending:
    """A text that the relay has not acknowledged; not posted, while there is no key or no place in the window."""

    room: str
    text: str
    posted: bool = False


def connect(address: str, timeout_s: float) -> socket.socket:
    """A link to a relay that has, where its address says which, the right key."""
    parts = urlsplit(address)
    if parts.scheme == "securechat+unix":
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(timeout_s)
        link.connect(unquote(parts.path))
        return link
    link = socket.create_connection((parts.hostname or "", parts.port or 12_345), timeout_s)
    if parts.scheme == "securechat+tcp":
        return link
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    secured = context.wrap_socket(link, suppress_ragged_eofs=False)
    certificate = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if parts.fragment and hashlib.sha256(spki).hexdigest() != parts.fragment:
        secured.close()
        raise BrokenError("key")
    return secured


class PlainClient:
    """One link to one relay, from its greeting on. Nothing is read but while one of the methods waits."""

    def __init__(self, address: str, timeout_s: float = 10.0) -> None:
        self.name = ""
        self.window, self.rooms, self.ping_s = 0, 0, 3_600
        self.members: dict[str, list[str]] = {}
        self.last_seqs: dict[str, int] = {}
        self.keys: dict[str, tuple[bytes, bytes]] = {}
        """Epoch and session key of each room."""
        self.pending: dict[bytes, Pending] = {}
        self.acked: dict[bytes, int] = {}
        self.heard: deque[Heard] = deque()
        self._unanswered = 0
        self._buffer = b""
        self._heard_at = self._pinged_at = time.monotonic()
        self._timeout_s = timeout_s
        self.link = connect(address, timeout_s)
        self.greeting = self.wait_for("Greeting")
        if self.greeting[1] != 1:
            raise BrokenError("version")

    # What one does with it.

    def login(self, name: str) -> None:
        """Log in. PeerError is raised with the code where the relay refuses."""
        self.send("Hello", 1, name)
        self._answer("Welcome", "Refused")

    def enter(self, room: str) -> None:
        """Enter a room, and wait until there is a key. PeerError is raised where the relay declines."""
        self.send("Enter", room)
        self._answer("SessionKey", "Declined")

    def leave(self, room: str) -> None:
        """Leave a room, and wait until the relay agrees. PeerError is raised where it declines."""
        self.send("Leave", room)
        while self._answer("Presence", "Declined")[1:] != [room, self.name, False]:
            pass

    def say(self, room: str, text: str) -> bytes:
        """Say something in a room as soon as its key and the window allow, and return its id."""
        post_id = os.urandom(16)
        self.pending[post_id] = Pending(room, text)
        self._post_pending()
        return post_id

    def settle(self) -> None:
        """Wait until everything said has been acknowledged."""
        while self.pending:
            self.receive()

    def next_message(self, timeout_s: float | None = None) -> Heard:
        """The next message that somebody else said, readable or not."""
        deadline = self._deadline(timeout_s)
        while not self.heard:
            self.receive(deadline - time.monotonic())
        return self.heard.popleft()

    def ping(self) -> None:
        """Ask for a sign of life, and wait for it."""
        self.send("Ping")
        self.wait_for("Pong")

    def quit(self) -> None:
        """Leave in good order."""
        self.send("Goodbye", "quit", "")
        self.wait_for("Goodbye")
        self.wait_for_end()

    # The wire.

    def send(self, *message: object) -> None:
        """Send a message: its name and its fields, right or wrong."""
        self.link.sendall(frame(message))

    def post(self, room: str, items: Sequence[tuple[bytes, bytes]], epoch: bytes | None = None) -> None:
        """Post sealed messages of any making, for the room's epoch unless another one is given."""
        self._unanswered += len(items)
        self.send("Post", room, self.keys[room][0] if epoch is None else epoch, items)

    def receive(self, timeout_s: float | None = None) -> Message:
        """Wait for a message, act on it, and return it. TimeoutError, EndedError or LostError where none comes."""
        deadline = self._deadline(timeout_s)
        while len(self._buffer) < (end := 4 + int.from_bytes(self._buffer[:4], "big")):
            self._fill(deadline)
        body, self._buffer = self._buffer[4:end], self._buffer[end:]
        message = msgspec.msgpack.decode(body)
        if len(body) > 65_536 or not any(fits(message, shape) for shape in FROM_RELAY):
            raise BrokenError(repr(message))
        getattr(self, f"_on_{message[0].lower()}", lambda *_: None)(*message[1:])
        return list(message)

    def wait_for(self, *names: str, timeout_s: float | None = None) -> Message:
        """Receive until a message with one of the names comes, and return that."""
        deadline = self._deadline(timeout_s)
        while (message := self.receive(deadline - time.monotonic()))[0] not in names:
            pass
        return message

    def wait_for_end(self, timeout_s: float | None = None) -> list[Message]:
        """Receive until the relay has closed the link in good order, close it too, and return what still came."""
        deadline, last = self._deadline(timeout_s), []
        try:
            while True:
                last.append(self.receive(deadline - time.monotonic()))
        except EndedError:
            self.link.close()
            return last

    def _answer(self, good: str, bad: str) -> Message:
        answer = self.wait_for(good, bad)
        if answer[0] == bad:
            raise PeerError(answer[-2 if bad == "Refused" else -1])
        return answer

    def _deadline(self, timeout_s: float | None) -> float:
        return time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)

    def _fill(self, deadline: float) -> None:
        now = time.monotonic()
        if now >= deadline:
            raise TimeoutError
        if now >= self._heard_at + 3 * self.ping_s:
            raise LostError
        ping_at = max(self._heard_at, self._pinged_at) + self.ping_s
        if now >= ping_at:
            self._pinged_at = now
            self.send("Ping")
            return
        self.link.settimeout(min(deadline, ping_at) - now)
        try:
            data = self.link.recv(65_536)
        except TimeoutError:
            return
        except ssl.SSLZeroReturnError:
            raise EndedError from None
        except (ssl.SSLEOFError, ConnectionError):
            raise LostError from None
        finally:
            self.link.settimeout(self._timeout_s)
        if not data:
            raise EndedError
        self._buffer += data
        self._heard_at = time.monotonic()

    # What the relay says.

    def _on_welcome(self, name: str, limits: list[int]) -> None:
        self.name = name
        self.window, self.rooms, self.ping_s = limits

    def _on_ping(self) -> None:
        self.send("Pong")

    def _on_roster(self, room: str, members: list[str], last_seq: int) -> None:
        self.members[room], self.last_seqs[room] = members, last_seq

    def _on_sessionkey(self, room: str, epoch: bytes, key: bytes) -> None:
        if self.keys.get(room) != (epoch, key):
            # Whatever is unanswered in the room was posted for the epoch before, and is declined.
            self.keys[room] = epoch, key
            for each in self.pending.values():
                each.posted = each.posted and each.room != room
        self._post_pending()

    def _on_presence(self, room: str, name: str, here: bool) -> None:
        self.members[room] = [member for member in self.members[room] if member != name] + [name] * here
        if name == self.name and not here:
            del self.members[room], self.keys[room], self.last_seqs[room]

    def _on_ack(self, room: str, items: list[tuple[bytes, int]]) -> None:
        self.acked.update(items)
        self._on_declined(room, [post_id for post_id, _ in items], "acknowledged")

    def _on_declined(self, room: str, ids: list[bytes], code: str) -> None:
        for post_id in ids:
            self._unanswered -= 1
            if code != "stale-epoch":
                self.pending.pop(post_id, None)
        self._post_pending()

    def _post_pending(self) -> None:
        for post_id, each in self.pending.items():
            if not each.posted and each.room in self.keys and self._unanswered < self.window:
                epoch, key = self.keys[each.room]
                each.posted = True
                self.post(each.room, [(post_id, seal(content_of(each.text), key, epoch, each.room, self.name))])

    def _on_delivery(self, room: str, first_seq: int, items: list[tuple[str, int, bytes]]) -> None:
        epoch, key = self.keys[room]
        for seq, (sender, ms, sealed) in enumerate(items, first_seq):
            if sender == self.name or seq <= self.last_seqs[room]:
                continue
            self.last_seqs[room] = seq
            try:
                self.heard.append(Heard(room, seq, sender, ms, text_of(unseal(sealed, key, epoch, room, sender))))
            except UnreadableError as why:
                self.heard.append(Heard(room, seq, sender, ms, None, str(why)))
