"""The log of a room as the plain client follows it: docs/SC1-notes.md, Rooms."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.peer.sc1 import RefusedError, check, lp, read_certificate, sign, split


class LogError(Exception):
    """An entry does not hold."""


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
