"""Frames and messages as the plain client reads and writes them: docs/PROTOCOL.md, Frames, Messages."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tests.peer.link import EndedError, LostError, connect

Message = list[Any]
"""A message as it is on the wire: its name, then its fields."""


class PeerError(Exception):
    """The relay says no: `args[0]` is the code."""


class BrokenError(PeerError):
    """The relay does not keep to the document."""


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
        case slice():
            return type(value) is bytes and shape.start <= len(value) <= shape.stop
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
    "version|full|bad-certificate|name-owned|banned|timed-out|too-many-logins|busy|empty-frame|oversized-frame|not-a-message"
    "|unknown-message|bad-field|out-of-order|flood"
)
DECLINED: Final = re.compile(
    "bad-room|no-such-room|not-permitted|bad-entry|stale-entry|room-full|too-many-rooms|full|not-a-member"
    "|stale-epoch|storage-full|busy|failed"
)
GOODBYE: Final = re.compile("quit|replaced|banned|busy|shutdown|slow|silent|failed")
ENTRY, BLOB = slice(1, 4_096), slice(1, 4_096)

# A string is itself, a pattern a string, a range an integer in it, a number bytes of that length, a slice bytes of
# so many to so many, a tuple an array with exactly these fields, a list an array of such items, a type itself.
FROM_RELAY: Final = (
    ("Greeting", COUNT, 32, re.compile(r"(?s).{0,1000}")),
    ("Welcome", NAME, [ROOM], (COUNT, COUNT, COUNT)),
    ("Refused", REFUSED, REASON),
    ("Roster", ROOM, COUNT, [ENTRY], COUNT, SEQ),
    ("Present", ROOM, [NAME]),
    ("SessionKey", ROOM, 32, 32),
    ("Presence", ROOM, NAME, bool),
    ("Prekeys", [(32, slice(0, 2_048))]),
    ("Found", NAME, slice(0, 256), bool),
    ("SealedKey", ROOM, SEQ, [(NAME, BLOB)]),
    ("Asked", ROOM, 32, 16),
    ("Ack", ROOM, [(16, SEQ)]),
    ("Delivery", ROOM, SEQ, [(NAME, SEQ, slice(1, 16_600))]),
    ("Gap", ROOM, SEQ, SEQ, re.compile("expired|not-kept|not-a-member")),
    ("Declined", re.compile(r"(?s).{2,66}"), [16], DECLINED),
    ("Ping",),
    ("Pong",),
    ("Goodbye", GOODBYE, REASON),
)


def frame(message: Sequence[object]) -> bytes:
    """A message as it travels, its length in front."""
    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


class Wire:
    """One link to one relay. Nothing is read but while one of the methods waits."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self.ping_s = 3_600
        self._buffer = b""
        self._heard_at = self._pinged_at = time.monotonic()
        self._timeout_s = timeout_s
        self.link = connect(address, timeout_s)

    def send(self, *message: object) -> None:
        """Send a message: its name and its fields, right or wrong."""
        self.link.sendall(frame(message))

    def receive(self, timeout_s: float | None = None) -> Message:
        """Wait for a message, act on it, and return it. TimeoutError, EndedError or LostError where none comes."""
        deadline = self._deadline(timeout_s)
        while len(self._buffer) < (end := 4 + int.from_bytes(self._buffer[:4], "big")):
            self._fill(deadline)
        body, self._buffer = self._buffer[4:end], self._buffer[end:]
        message = msgspec.msgpack.decode(body)
        if len(body) > 65_536 or not any(fits(message, shape) for shape in FROM_RELAY):
            raise BrokenError(repr(message))
        getattr(self, f"on_{message[0].lower()}", lambda *_: None)(*message[1:])
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
        except ConnectionError:
            raise LostError from None
        finally:
            self.link.settimeout(self._timeout_s)
        if not data:
            raise EndedError
        self._buffer += data
        self._heard_at = time.monotonic()
