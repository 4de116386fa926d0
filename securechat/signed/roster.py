"""Who is in a room: the log of entries, and the right to each checked as of before it (SC1 §3).

The relay stores and orders the entries and can neither make nor alter one: each is signed by a member's device (for
a `join` by the newcomer's) and names the hash of the one before. Two members who see different logs see different
epochs, and each frame names its epoch. What an entry may do is for `rights`.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from os import urandom
from typing import Final, Protocol

from securechat.signed.certificates import Certificate, parse_certificate, read_certificate
from securechat.signed.encoding import number, u32
from securechat.signed.entries import (
    NO_PREVIOUS,
    SALT_BYTES,
    Entry,
    Founding,
    Op,
    Policy,
    Role,
    entry_is_signed,
    read_entry,
    read_founding,
    read_policy,
    sign_entry,
)
from securechat.signed.errors import NotAuthentic
from securechat.signed.rights import (
    Fault,
    Member,
    RosterError,
    comer_of,
    has_point,
    has_right,
    is_founding,
    is_free,
    is_known_actor,
    is_named,
    is_next,
)
from securechat.signed.signing import SigningKey
from securechat.wire.messages import ROOM_MEMBERS

MAX_ENTRIES: Final = 65_536
"""The longest log that is followed."""

_CHANGES_MEMBERS: Final = frozenset({Op.CREATE, Op.JOIN, Op.ADD, Op.REMOVE, Op.LEAVE})


class Author(Protocol):
    """Whoever appends entries: the keys and the certificate of a device."""

    @property
    def identity(self) -> SigningKey:
        """IK."""

    @property
    def device(self) -> SigningKey:
        """DK."""

    @property
    def certificate(self) -> Certificate:
        """That DK is IK's."""


@dataclass(slots=True)
class _Stay:
    """One stay of a device: from the entry that brought it in up to the one, not included, that ended it."""

    member: Member
    first: int
    end: int | None = None


class Roster:
    """The log of one room, as far as it is known here; every entry of it has been checked."""

    def __init__(self, first: bytes, room: str | None = None, *, was_checked: bool = False) -> None:
        """Begin with entry 0, of the room that the relay says it is of. Raises `RosterError`."""
        entry = _read(first)
        try:
            founding = read_founding(entry.detail, parse_certificate if was_checked else read_certificate)
        except NotAuthentic:
            raise RosterError(Fault.MALFORMED) from None
        if room is not None and not is_named(founding, room):
            raise RosterError(Fault.WRONG_ROOM)
        if not is_founding(entry, founding):
            raise RosterError(Fault.NO_RIGHT)
        if not was_checked and not entry_is_signed(entry):
            raise RosterError(Fault.UNSIGNED)
        self.name = founding.room
        self.room_id = entry.digest
        self.policy = founding.policy
        self.members: dict[bytes, Member] = {}
        """By identity key, in the order of their coming."""
        self._digests: list[bytes] = []
        self._packed: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self._shrunk: list[int] = []
        self._stays: dict[bytes, list[_Stay]] = {}
        self._stays_by_name: dict[str, list[_Stay]] = {}
        certificate = founding.certificate
        self._take(entry, Member(certificate.name, certificate.identity, certificate.device, Role.OWNER))

    def __len__(self) -> int:
        """How many entries are known; the next one has this number."""
        return len(self._digests)

    @property
    def epoch(self) -> bytes:
        """H of the latest entry that changed who is a member: 32 bytes (SC1 §3)."""
        return next(reversed(self._places))

    @property
    def packed(self) -> list[bytes]:
        """All entries as they came."""
        return list(self._packed)

    @property
    def last(self) -> bytes:
        """H of the last entry, which the next one must name: 32 bytes."""
        return self._digests[-1]

    def part(self, first: int, end: int) -> list[bytes]:
        """The entries from number `first` up to `end`, not included, as they came."""
        return self._packed[first:end]

    @property
    def head(self) -> tuple[bytes, bytes]:
        """The number of the last entry, as u32, and its hash: what a client remembers over a restart."""
        return u32(len(self) - 1), self._digests[-1]

    def check_reaches(self, count: bytes, digest: bytes) -> None:
        """Raise `RosterError` unless the log has what was its `head` once: a log only grows."""
        at = number(count)
        if at >= len(self):
            raise RosterError(Fault.OUT_OF_ORDER)
        if self._digests[at] != digest:
            raise RosterError(Fault.FORKED)

    def place(self, epoch: bytes) -> int | None:
        """The number of the entry that began an epoch; None where our log has no such entry."""
        return self._places.get(epoch)

    def member_at(self, device: bytes, epoch: bytes) -> Member | None:
        """Whom a device belonged to in an epoch that we know, in the role of their coming; None for no member."""
        return self._staying(self._stays.get(device, []), epoch)

    def named_at(self, name: str, epoch: bytes) -> Member | None:
        """Who was called so in an epoch that we know, in the role of their coming; None for no member."""
        return self._staying(self._stays_by_name.get(name, []), epoch)

    def _staying(self, stays: list[_Stay], epoch: bytes) -> Member | None:
        place = self._places.get(epoch)
        if place is None:
            return None
        found = (each for each in stays if each.first <= place and (each.end is None or place < each.end))
        return next((each.member for each in found), None)

    def named(self, name: str) -> Member | None:
        """The member of this name now."""
        return self._now(self._stays_by_name.get(name))

    def only_grew(self, since: bytes, until: bytes) -> bool:
        """Whether nobody left or was removed after one epoch and up to another, and both are in that order."""
        start, end = self._places.get(since), self._places.get(until)
        if start is None or end is None or start > end:
            return False
        return bisect_right(self._shrunk, start) == bisect_right(self._shrunk, end)

    @classmethod
    def restored(cls, entries: Sequence[bytes], room: str) -> "Roster":
        """A log that was followed before, and was kept where nobody but us could alter it.

        All is checked that `follow` checks but the signatures, which take most of the time. Raises `RosterError`.
        """
        if not entries:
            raise RosterError(Fault.MALFORMED)
        log = cls(entries[0], room, was_checked=True)
        for packed in entries[1:]:
            log.append(packed, was_checked=True)
        return log

    def append(self, packed: bytes, *, was_checked: bool = False) -> Entry | None:
        """Take the next entry. Gives it, or None for one that is known already. Raises `RosterError`."""
        entry = _read(packed)
        if entry.number < len(self) and entry.digest == self._digests[entry.number]:
            return None
        member = self._judge(entry, was_checked=was_checked)
        self._take(entry, member)
        return entry

    def follow(self, entries: Iterable[bytes]) -> list[Entry]:
        """Take a run of entries, some of which may be known; gives the new ones.

        Raises `RosterError` at the first that is refused; those before it have been taken.
        """
        return [entry for packed in entries if (entry := self.append(packed)) is not None]

    # What we may append ourselves. Each gives the packed entry for the relay, and changes nothing here: the entry
    # counts when the relay has given it its place. All raise `RosterError` for what the others would refuse.

    def join(self, person: Author, now_ms: int) -> bytes:
        """Enter an open room."""
        certificate = person.certificate
        return self._draft(person, Op.JOIN, certificate.identity, Role.MEMBER, now_ms, certificate.packed)

    def add(self, person: Author, certificate: Certificate, now_ms: int) -> bytes:
        """Bring somebody in, whose identity key the caller has compared with the pinned one."""
        return self._draft(person, Op.ADD, certificate.identity, Role.MEMBER, now_ms, certificate.packed)

    def remove(self, person: Author, identity: bytes, now_ms: int) -> bytes:
        """Put a member out."""
        return self._draft(person, Op.REMOVE, identity, None, now_ms)

    def leave(self, person: Author, now_ms: int) -> bytes:
        """Leave."""
        return self._draft(person, Op.LEAVE, person.identity.public, None, now_ms)

    def change_role(self, person: Author, identity: bytes, role: Role, now_ms: int) -> bytes:
        """Give a member another role."""
        return self._draft(person, Op.ROLE, identity, role, now_ms)

    def change_policy(self, person: Author, policy: Policy, now_ms: int) -> bytes:
        """Open or close the room, or change how long its history is kept."""
        return self._draft(person, Op.POLICY, person.identity.public, None, now_ms, policy.packed)

    def _draft(
        self, person: Author, op: Op, subject: bytes, role: Role | None, now_ms: int, detail: bytes = b""
    ) -> bytes:
        entry = sign_entry(person.device, len(self), self._digests[-1], op, subject, role, now_ms, detail)
        self._judge(entry)
        return entry.packed

    def _judge(self, entry: Entry, *, was_checked: bool = False) -> Member | None:
        """Check an entry against the log as it stands. Gives whom it brings in. Raises `RosterError`."""
        comer = comer_of(entry, parse_certificate if was_checked else read_certificate)
        if entry.number > len(self):
            # Who its actor is may stand in what is missing.
            raise RosterError(Fault.OUT_OF_ORDER)
        actor = self.member_with(entry.actor)
        if not is_known_actor(self, actor, entry) or not (was_checked or entry_is_signed(entry)):
            raise RosterError(Fault.UNSIGNED)
        if not is_next(entry, len(self), self._digests[-1]):
            raise RosterError(Fault.FORKED)
        if not has_right(self, actor, entry):
            raise RosterError(Fault.NO_RIGHT)
        if not has_point(self, entry):
            raise RosterError(Fault.POINTLESS)
        if comer is not None and not is_free(self, comer):
            raise RosterError(Fault.TAKEN)
        if len(self) >= MAX_ENTRIES or (comer is not None and len(self.members) >= ROOM_MEMBERS):
            raise RosterError(Fault.FULL)
        return comer

    def member_with(self, device: bytes) -> Member | None:
        """The member whose device this is now."""
        return self._now(self._stays.get(device))

    def _now(self, stays: list[_Stay] | None) -> Member | None:
        """The member whose latest stay has not ended; nobody comes under a name or device that is in the room."""
        if not stays or stays[-1].end is not None:
            return None
        return self.members[stays[-1].member.identity]

    def stays_of(self, device: bytes) -> list[Member]:
        """Everybody to whom a device has belonged here; one identity, or none."""
        return [stay.member for stay in self._stays.get(device, ())]

    def _take(self, entry: Entry, comer: Member | None) -> None:
        count = len(self)
        if comer is not None:
            self.members[comer.identity] = comer
            stay = _Stay(comer, count)
            self._stays.setdefault(comer.device, []).append(stay)
            self._stays_by_name.setdefault(comer.name, []).append(stay)
        elif entry.op in (Op.REMOVE, Op.LEAVE):
            gone = self.members.pop(entry.subject)
            self._stays[gone.device][-1].end = count
            self._shrunk.append(count)
        elif entry.op is Op.ROLE and entry.role is not None:
            self.members[entry.subject] = replace(self.members[entry.subject], role=entry.role)
        else:
            self.policy = read_policy(entry.detail)
        self._digests.append(entry.digest)
        self._packed.append(entry.packed)
        if entry.op in _CHANGES_MEMBERS:
            self._places[entry.digest] = count


def found(
    person: Author, room: str, policy: Policy, now_ms: int, random: Callable[[int], bytes] = urandom
) -> bytes:
    """Make entry 0 of a new room of this name; `Roster` takes it, or says what is wrong with it."""
    detail = Founding(person.certificate, room, random(SALT_BYTES), policy).packed
    identity = person.identity.public
    return sign_entry(person.device, 0, NO_PREVIOUS, Op.CREATE, identity, Role.OWNER, now_ms, detail).packed


def _read(packed: bytes) -> Entry:
    try:
        return read_entry(packed)
    except NotAuthentic:
        raise RosterError(Fault.MALFORMED) from None
