"""Who may do what in a room, by its log as it stands before an entry (SC1 §3). The log itself is for `roster`.

Rights, by the actor's role before the entry:

    create   the founder, as entry 0; is the owner then
    join     anybody, for themselves, while the policy is open
    add      owners and admins; in an open room every member
    remove   owners for admins and members, admins for members; nobody for themselves
    leave    every member, for themselves
    role     owners, for anybody in the room
    policy   owners

A direct room, whose name is the names of two people, is closed and stays so: who founded it, or is in it, may add
the other one, both may leave, and nothing else can be done. In one room no two members have one name or one device.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from securechat.signed.certificates import Certificate, read_certificate
from securechat.signed.entries import NO_PREVIOUS, Entry, Founding, Op, Policy, Role, read_policy
from securechat.signed.errors import NotAuthentic, SignedError
from securechat.wire.names import direct_pair

_PLAIN: Final = frozenset({(Op.REMOVE, True), (Op.LEAVE, True), (Op.ROLE, False)})
"""The kinds without a detail, each with whether it is without a role."""
_RANK: Final = {Role.MEMBER: 0, Role.ADMIN: 1, Role.OWNER: 2}


class Fault(StrEnum):
    """Why an entry was not taken."""

    MALFORMED = "it is no entry"
    UNSIGNED = "no member signed it"
    OUT_OF_ORDER = "entries before it are missing"
    FORKED = "members were shown different entries"
    NO_RIGHT = "its author has no right to it"
    POINTLESS = "it is about somebody who is in the room already, or is not"
    TAKEN = "its name or its device is another member's"
    FULL = "the room has as many members or entries as it can"
    WRONG_ROOM = "it is of another room"


@dataclass(eq=False)
class RosterError(SignedError):
    """An entry was not taken, and the log is as it was before it."""

    fault: Fault

    def __str__(self) -> str:
        """Give the user's text."""
        return f"an entry of the room's log was refused: {self.fault}"


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a room."""

    name: str
    identity: bytes
    device: bytes
    role: Role


class Known(Protocol):
    """What is known of a room before an entry."""

    name: str
    policy: Policy

    @property
    def members(self) -> Mapping[bytes, Member]:
        """Who is in it, by identity key."""

    def __len__(self) -> int:
        """How many entries there are."""

    def named(self, name: str) -> Member | None:
        """The member of this name now."""

    def stays_of(self, device: bytes) -> Sequence[Member]:
        """Everybody to whom a device has belonged here."""


def is_founding(entry: Entry, founding: Founding) -> bool:
    """Whether an entry 0 is by its founder, of itself, and for a room that this founder may found."""
    certificate = founding.certificate
    pair = direct_pair(founding.room)
    return (
        (entry.op, entry.number, entry.previous, entry.role) == (Op.CREATE, 0, NO_PREVIOUS, Role.OWNER)
        and (entry.subject, entry.actor) == (certificate.identity, certificate.device)
        and (pair is None or (certificate.name in pair and not founding.policy.is_open))
    )


def is_named(founding: Founding, room: str) -> bool:
    """Whether a room was founded under the name under which the relay shows it."""
    return founding.room == room


def is_known_actor(log: Known, actor: Member | None, entry: Entry) -> bool:
    """Whether the device that an entry names as its actor is a member's, or a newcomer's in a `join`.

    For an entry whose number is taken a former member's will do: it is refused in any case, and the question is
    only whether it proves that members were shown different logs.
    """
    if actor is not None or entry.op is Op.JOIN:
        return True
    return entry.number < len(log) and bool(log.stays_of(entry.actor))


def is_next(entry: Entry, count: int, last: bytes) -> bool:
    """Whether an entry follows the last of `count` known ones, whose hash is given."""
    return entry.number == count and entry.previous == last


def has_right(log: Known, actor: Member | None, entry: Entry) -> bool:
    """Whether the actor may do this, as the log stands before it; `actor` is None for who is no member."""
    if direct_pair(log.name) is not None and entry.op not in (Op.ADD, Op.LEAVE):
        return False
    if entry.op is Op.JOIN:
        return actor is None and log.policy.is_open
    if actor is None:
        return False
    if entry.op is Op.ADD:
        return log.policy.is_open or actor.role is not Role.MEMBER or direct_pair(log.name) is not None
    if entry.op is Op.REMOVE:
        subject = log.members.get(entry.subject)
        return subject is not None and _RANK[actor.role] > _RANK[subject.role]
    if entry.op in (Op.LEAVE, Op.POLICY) and entry.subject != actor.identity:
        return False
    return entry.op is Op.LEAVE or (actor.role is Role.OWNER and entry.op is not Op.CREATE)


def has_point(log: Known, entry: Entry) -> bool:
    """Whether who comes is not in the room, and everybody else that an entry is about is."""
    return (entry.subject in log.members) is not (entry.op in (Op.JOIN, Op.ADD))


def is_free(log: Known, comer: Member) -> bool:
    """Whether a newcomer's name and device are nobody else's here, and a direct room is for them."""
    pair = direct_pair(log.name)
    return (
        log.named(comer.name) is None
        and all(each.identity == comer.identity for each in log.stays_of(comer.device))
        and (pair is None or comer.name in pair)
    )


def comer_of(entry: Entry, read: Callable[[bytes], Certificate] = read_certificate) -> Member | None:
    """Check that role and detail are what the entry's kind has; give whom it brings in. Raises `RosterError`.

    A certificate is checked by `read`.
    """
    try:
        if entry.op in (Op.JOIN, Op.ADD) and entry.role is Role.MEMBER:
            certificate = read(entry.detail)
            own = entry.op is Op.ADD or certificate.device == entry.actor
            if own and certificate.identity == entry.subject:
                return Member(certificate.name, certificate.identity, certificate.device, Role.MEMBER)
        elif entry.op is Op.POLICY and entry.role is None:
            read_policy(entry.detail)
            return None
        elif not entry.detail and (entry.op, entry.role is None) in _PLAIN:
            return None
    except NotAuthentic:
        pass
    raise RosterError(Fault.MALFORMED)
