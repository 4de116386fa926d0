"""The bytes in which a device keeps its keys: sealed under a passphrase or not, and whole or refused.

    "SCKS" 0x02 ‖ way 1 ‖ u64 counter ‖ body ‖ H(lp(place) ‖ all before)

    way 0     body = content
    way 1     body = salt 16 ‖ u32 memory KiB ‖ u32 passes ‖ u32 lanes ‖ iv 16 ‖ ciphertext ‖ tag 32
    content   lp(person, prekeys, pins, rooms, places)  rooms = lp of lp(room_id, room), see `room`
              places = lp of lp(name, room_id, u64 known, u64 top), see `Place`; version 1 has none

Way 1 is A256CBC-HS512 under the 64 bytes of Argon2id (RFC 9106) of the passphrase (NFC, UTF-8), with all that
stands before the iv, and `place`, as associated data. `place` is what the caller says the store belongs to, such as
the relay's fingerprint and the name: a copy in another place is refused. The checksum is no protection: it tells a
store that a disk or an editor damaged from one whose passphrase was wrong.

The counter rises with every writing. A caller that remembers it elsewhere is told of a store that was rolled back;
where both were rolled back together, nobody can tell. Reading and writing files, with mode 0600 and at once or not
at all, is the caller's.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from os import urandom
from typing import Final
from unicodedata import normalize

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from securechat.crypto import aead
from securechat.e2e.errors import E2EError
from securechat.e2e.identity import Person, read_person
from securechat.e2e.prekeys import PrekeyRing, read_ring
from securechat.e2e.safety import Pins, read_pins
from securechat.signed.encoding import HASH_BYTES, KEY, U64, Bounds, lp, number, split, split_list, u32, u64
from securechat.signed.errors import NotAuthentic

MAGIC: Final = b"SCKS\x02"
_BEFORE: Final = b"SCKS\x01"
SALT_BYTES: Final = 16
MAX_ROOMS: Final = 1_024

_PLAIN: Final = b"\x00"
_LOCKED: Final = b"\x01"
_COUNTER: Final = len(MAGIC) + 1
_BODY: Final = _COUNTER + 8
_COST: Final = _BODY + SALT_BYTES
_SEALED: Final = _COST + 12
_SOME: Final[Bounds] = (0, 2**31)
_ROOM_NAME: Final[Bounds] = (2, 66)


class StoreFault(StrEnum):
    """Why a key store was not opened."""

    DAMAGED = "this key store is damaged, cut off, or of another place"
    NEWER = "this key store was made by a newer version"
    LOCKED = "this key store has a passphrase, and that was not it"
    NOT_LOCKED = "this key store should have a passphrase, and has none"
    ROLLED_BACK = "this key store is older than the last one that was written"
    NO_ARGON2 = "a key store with a passphrase needs OpenSSL 3.2 or newer"


@dataclass(eq=False)
class StoreError(E2EError):
    """A key store was not opened; nothing of it was used."""

    fault: StoreFault

    def __str__(self) -> str:
        """Give the user's text."""
        return str(self.fault)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess of a passphrase costs: the second choice of RFC 9106, section 4, unless a test wants less."""

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 4

    def is_bearable(self) -> bool:
        """Whether it is within what any device of ours would choose: a damaged store must not eat the memory."""
        return 8 * self.lanes <= self.memory_kib <= 1024 * 1024 and 1 <= self.passes <= 16 and 1 <= self.lanes <= 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where we are in a room, as of the sessions that are stored with it."""

    room_id: bytes
    known: int
    """The number up to which we know of all messages what became of them."""
    top: int
    """The highest number that has come: up to there a message that comes again was told."""

    def pack(self, name: str) -> bytes:
        """As a store has it."""
        return lp(name.encode(), self.room_id, u64(self.known), u64(self.top))


@dataclass(slots=True)
class Secrets:
    """All that a device must not lose. Never printed."""

    person: Person
    ring: PrekeyRing
    pins: Pins = field(default_factory=Pins)
    rooms: dict[bytes, bytes] = field(default_factory=dict)
    """By room_id: `SecureRoom.packed`."""
    places: dict[str, Place] = field(default_factory=dict)
    """By the name of a room."""

    def __repr__(self) -> str:
        """Say nothing of the keys."""
        return "Secrets(…)"

    @property
    def packed(self) -> bytes:
        """The content of a store."""
        rooms = lp(*(lp(room_id, sessions) for room_id, sessions in self.rooms.items()))
        places = lp(*(place.pack(name) for name, place in self.places.items()))
        return lp(self.person.packed, self.ring.packed, self.pins.packed, rooms, places)


class Lock:
    """The key that a passphrase gives, so that it is asked for once. Never printed."""

    def __init__(self, passphrase: str, salt: bytes, cost: Cost) -> None:
        """Derive it: some 100 ms and `cost` of memory.

        Raises `StoreError` where OpenSSL has no Argon2, and ValueError for a cost that `is_bearable` does not let
        by.
        """
        if not cost.is_bearable():
            raise ValueError("cost: out of bounds")
        self.salt = salt
        self.cost = cost
        secret = normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
        try:
            argon2 = Argon2id(
                salt=salt,
                length=aead.KEY_BYTES,
                iterations=cost.passes,
                lanes=cost.lanes,
                memory_cost=cost.memory_kib,
            )
        except UnsupportedAlgorithm as missing:
            raise StoreError(StoreFault.NO_ARGON2) from missing
        self.key = argon2.derive(secret)

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return "Lock(…)"


class KeyStore:
    """A store that was opened or made: it knows how to write its secrets again."""

    def __init__(self, secrets: Secrets, place: bytes, counter: int = 0, lock: Lock | None = None) -> None:
        """Begin a store that is not written yet, or take what `open_store` found."""
        self.secrets = secrets
        self.counter = counter
        """That of the last writing; 0 before the first."""
        self._place = place
        self._lock = lock

    def set_passphrase(
        self, passphrase: str | None, cost: Cost | None = None, random: Callable[[int], bytes] = urandom
    ) -> None:
        """Lock the store from the next writing on, or with None no longer."""
        self._lock = None if passphrase is None else Lock(passphrase, random(SALT_BYTES), cost or Cost())

    def write(self) -> bytes:
        """Give the bytes to put into the file, and count."""
        self.counter += 1
        head = MAGIC + (_PLAIN if self._lock is None else _LOCKED) + u64(self.counter)
        body = self.secrets.packed
        if self._lock is not None:
            cost = self._lock.cost
            head += self._lock.salt + u32(cost.memory_kib) + u32(cost.passes) + u32(cost.lanes)
            body = aead.seal(self._lock.key, head + self._place, body)
        return head + body + _checksum(head + body, self._place)


def open_store(data: bytes, place: bytes, passphrase: str | None = None, at_least: int = 0) -> KeyStore:
    """Open what `write` gave for this place.

    `at_least` is the highest counter that the caller remembers, 0 for none; with a passphrase an unlocked store is
    refused, as somebody may have put it there. Raises `StoreError` for anything that is not a whole store.
    """
    if data[: len(MAGIC) - 1] == MAGIC[:-1] and data[len(MAGIC) - 1 : len(MAGIC)] > MAGIC[-1:]:
        raise StoreError(StoreFault.NEWER)
    way, counter = data[len(MAGIC) : _COUNTER], number(data[_COUNTER:_BODY])
    if len(data) < _BODY + HASH_BYTES or not data.startswith((MAGIC, _BEFORE)) or way not in (_PLAIN, _LOCKED):
        raise StoreError(StoreFault.DAMAGED)
    if not is_whole(data, place):
        raise StoreError(StoreFault.DAMAGED)
    if not is_locked_enough(way, passphrase):
        raise StoreError(StoreFault.NOT_LOCKED)
    lock = None
    body = data[_BODY:-HASH_BYTES]
    if way == _LOCKED:
        lock, body = _unlock(data, place, passphrase)
    if not is_recent(counter, at_least):
        raise StoreError(StoreFault.ROLLED_BACK)
    try:
        return KeyStore(read_secrets(body, has_places=data.startswith(MAGIC)), place, counter, lock)
    except NotAuthentic:
        raise StoreError(StoreFault.DAMAGED) from None


def read_secrets(data: bytes, *, has_places: bool = True) -> Secrets:
    """Undo `Secrets.packed`. Raises `NotAuthentic`."""
    packed_person, packed_ring, packed_pins, packed_rooms, *rest = split(data, *[_SOME] * (4 + has_places))
    person = read_person(packed_person)
    rooms: dict[bytes, bytes] = {}
    for item in split_list(packed_rooms, _SOME, MAX_ROOMS):
        room_id, sessions = split(item, KEY, _SOME)
        rooms[room_id] = sessions
    places: dict[str, Place] = {}
    for packed_places in rest:
        for item in split_list(packed_places, _SOME, MAX_ROOMS):
            name, room_id, known, top = split(item, _ROOM_NAME, KEY, U64, U64)
            places[name.decode("ascii", "replace")] = Place(room_id, number(known), number(top))
    return Secrets(person, read_ring(packed_ring, person.device), read_pins(packed_pins), rooms, places)


def is_whole(data: bytes, place: bytes) -> bool:
    """Whether the checksum is that of the bytes before it, in this place."""
    return hmac.compare_digest(data[-HASH_BYTES:], _checksum(data[:-HASH_BYTES], place))


def is_locked_enough(way: bytes, passphrase: str | None) -> bool:
    """Whether a store is locked where its owner has a passphrase for it."""
    return way == _LOCKED or passphrase is None


def is_recent(counter: int, at_least: int) -> bool:
    """Whether a store is not older than the last one that the caller remembers."""
    return counter >= at_least


def _unlock(data: bytes, place: bytes, passphrase: str | None) -> tuple[Lock, bytes]:
    head, sealed = data[:_SEALED], data[_SEALED:-HASH_BYTES]
    salt, cost = head[_BODY:_COST], Cost(*(number(head[at : at + 4]) for at in range(_COST, _SEALED, 4)))
    if len(head) < _SEALED or not cost.is_bearable():
        raise StoreError(StoreFault.DAMAGED)
    if passphrase is None:
        raise StoreError(StoreFault.LOCKED)
    lock = Lock(passphrase, salt, cost)
    try:
        return lock, aead.open(lock.key, head + place, sealed)
    except aead.OpenError:
        raise StoreError(StoreFault.LOCKED) from None


def _checksum(data: bytes, place: bytes) -> bytes:
    return sha256(lp(place) + data).digest()
