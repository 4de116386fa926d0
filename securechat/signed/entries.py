"""One entry of a room's log, as it is written, signed and read (SC1 §3). What it may say is for `roster`.

    body    lp(n, previous, op, subject, role, time, detail)
    entry   lp(body, actor, signature)      signature = Sig_DK("securechat/1 room", body)

    n         u32, counting from 0
    previous  H(entry n - 1), the whole entry; 32 zero bytes for n = 0
    op        create, join, add, remove, leave, role or policy, in ASCII
    subject   IK of the member that it is about; for policy that of the actor
    role      owner, admin or member for create (owner), join and add (member), and role; else empty
    time      when the actor made it, for people to read; nothing is decided by it
    detail    create: lp(certificate, room name, salt16, policy) · join, add: the subject's certificate ·
              policy: the new policy · else empty
    policy    lp(join, history): join is "open" or "closed", history u32 days, 0 for none
    actor     DK of the device that signed

The salt makes two rooms different that one person founds under one name at one time. `room_id` is H of entry 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from securechat.signed.certificates import CERTIFICATE, Certificate, read_certificate
from securechat.signed.encoding import (
    HASH,
    HASH_BYTES,
    KEY,
    LABEL_ROOM,
    SIGNATURE,
    U32,
    U64,
    Bounds,
    lp,
    number,
    split,
    u32,
    u64,
)
from securechat.signed.errors import NotAuthentic
from securechat.signed.signing import SigningKey, is_signed
from securechat.wire.names import is_room

SALT_BYTES: Final = 16
NO_PREVIOUS: Final = bytes(HASH_BYTES)
HISTORY_DAYS: Final = 3_650
"""The longest history that a policy may ask for."""

_ROOM_NAME: Final[Bounds] = (2, 66)
_POLICY: Final[Bounds] = (16, 18)
_OP: Final[Bounds] = (3, 6)
_ROLE: Final[Bounds] = (0, 6)
_DETAIL: Final[Bounds] = (0, 304)
_BODY: Final[Bounds] = (107, 420)
ENTRY: Final[Bounds] = (215, 528)
"""The bounds of a packed entry, in bytes."""


class Op(StrEnum):
    """What an entry does."""

    CREATE = "create"
    JOIN = "join"
    ADD = "add"
    REMOVE = "remove"
    LEAVE = "leave"
    ROLE = "role"
    POLICY = "policy"


class Role(StrEnum):
    """What a member may do; `roster` says how much."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Policy:
    """How a room is kept."""

    is_open: bool = False
    """Whether anybody may append their own `join`."""
    history_days: int = 0
    """For how long its messages are kept to be read again (SC1 §10)."""

    @property
    def packed(self) -> bytes:
        """As an entry holds it."""
        return lp(b"open" if self.is_open else b"closed", u32(self.history_days))


@dataclass(frozen=True, slots=True)
class Founding:
    """What `create` says of a room."""

    certificate: Certificate
    """The founder's."""
    room: str
    """The room's name: `#name`, or `@one+other` for a direct room."""
    salt: bytes
    policy: Policy

    @property
    def packed(self) -> bytes:
        """The detail of the entry."""
        return lp(self.certificate.packed, self.room.encode(), self.salt, self.policy.packed)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `detail` as it was written."""

    number: int
    previous: bytes
    op: Op
    subject: bytes
    role: Role | None
    time_ms: int
    detail: bytes
    actor: bytes
    signature: bytes = b""

    @property
    def body(self) -> bytes:
        """What is signed."""
        role = b"" if self.role is None else self.role.encode()
        return lp(
            u32(self.number), self.previous, self.op.encode(), self.subject, role, u64(self.time_ms), self.detail
        )

    @property
    def packed(self) -> bytes:
        """The bytes that travel."""
        return lp(self.body, self.actor, self.signature)

    @property
    def digest(self) -> bytes:
        """H of the whole entry, the signature included: what the next one points to. 32 bytes."""
        return sha256(self.packed).digest()


def sign_entry(
    device: SigningKey,
    number: int,
    previous: bytes,
    op: Op,
    subject: bytes,
    role: Role | None,
    time_ms: int,
    detail: bytes,
) -> Entry:
    """Make an entry and sign it by the acting device. Nothing is checked: `Roster.draft` does that."""
    body = Entry(number, previous, op, subject, role, time_ms, detail, device.public).body
    signature = device.sign(LABEL_ROOM, body)
    return Entry(number, previous, op, subject, role, time_ms, detail, device.public, signature)


def read_entry(data: bytes) -> Entry:
    """Read an entry, without its detail and before any check but that of its form. Raises `NotAuthentic`."""
    body, actor, signature = split(data, _BODY, KEY, SIGNATURE)
    count, previous, op, subject, role, time, detail = split(body, U32, HASH, _OP, KEY, _ROLE, U64, _DETAIL)
    try:
        known_op = Op(op.decode("ascii"))
        known_role = Role(role.decode("ascii")) if role else None
    except ValueError:
        raise NotAuthentic from None
    return Entry(number(count), previous, known_op, subject, known_role, number(time), detail, actor, signature)


def entry_is_signed(entry: Entry) -> bool:
    """Whether the device that it names as its actor signed it."""
    return is_signed(entry.actor, LABEL_ROOM, entry.body, entry.signature)


def read_policy(data: bytes) -> Policy:
    """Read a policy. Raises `NotAuthentic`."""
    join, history = split(data, (4, 6), U32)
    if join not in (b"open", b"closed") or number(history) > HISTORY_DAYS:
        raise NotAuthentic
    return Policy(join == b"open", number(history))


def read_founding(data: bytes, read: Callable[[bytes], Certificate] = read_certificate) -> Founding:
    """Read the detail of a `create`, its certificate checked by `read`. Raises `NotAuthentic`."""
    certificate, room, salt, policy = split(data, CERTIFICATE, _ROOM_NAME, (SALT_BYTES, SALT_BYTES), _POLICY)
    try:
        name = room.decode("ascii")
    except UnicodeDecodeError:
        raise NotAuthentic from None
    if not is_room(name):
        raise NotAuthentic
    return Founding(read(certificate), name, salt, read_policy(policy))
