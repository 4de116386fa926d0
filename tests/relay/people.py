"""People for the tests: their keys, their logins, and rooms as they see and change them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Final

from securechat.e2e.identity import Person, new_person
from securechat.e2e.prekeys import PrekeyRing
from securechat.signed.certificates import prove_login
from securechat.signed.entries import Op, Policy, Role, sign_entry
from securechat.signed.prekeys import PrekeyRecord
from securechat.signed.roster import Roster as Log
from securechat.signed.roster import found
from securechat.signed.suites import Suite
from securechat.wire.messages import VERSION, Append, Hello

NOW_MS: Final = 1_700_000_000_000
OPEN: Final = Policy(is_open=True)
CLOSED: Final = Policy()


@cache
def person(name: str, number: int = 0) -> Person:
    """Somebody of this name; another number is somebody else."""
    return new_person(name, NOW_MS + number)


def prekey(who: Person, now_ms: int = NOW_MS) -> bytes:
    """The prekey that somebody made at some time: the same one each time."""
    return _prekey(who, now_ms)


@cache
def _prekey(who: Person, now_ms: int) -> bytes:
    return prekey_record(who, now_ms).packed


def prekey_record(who: Person, now_ms: int) -> PrekeyRecord:
    """The same, not packed; of the cheaper suite."""
    record = PrekeyRing(who.device).rotate(now_ms, Suite.X25519)
    assert record is not None
    return record


def hello(
    who: Person, nonce: bytes, fingerprint: bytes = b"", exporter: bytes = b"", now_ms: int = NOW_MS
) -> Hello:
    """An honest login, with a prekey of now."""
    proof = prove_login(who.device, who.certificate, fingerprint, nonce, exporter)
    return Hello(VERSION, who.certificate.packed, prekey(who, now_ms), proof)


def hello_now(who: Person, nonce: bytes, fingerprint: bytes = b"", exporter: bytes = b"") -> Hello:
    """An honest login at a relay whose clock is the real one."""
    return hello(who, nonce, fingerprint, exporter, time.time_ns() // 1_000_000)


@dataclass
class Chain:
    """A room's log as its members write it, without the relay: each method gives what to send."""

    room: str
    log: Log | None = None

    @classmethod
    def copy(cls, log: Log) -> Chain:
        """The same log, to be gone on with."""
        chain = cls(log.name)
        for entry in log.packed:
            chain.take(entry)
        return chain

    @property
    def known(self) -> Log:
        """The log so far."""
        assert self.log is not None
        return self.log

    def take(self, entry: bytes) -> Append:
        """Go on with an entry; what to send."""
        if self.log is None:
            self.log = Log(entry, self.room)
        else:
            self.log.append(entry)
        return Append(self.room, entry)

    def found(self, who: Person, policy: Policy = OPEN) -> Append:
        """Found the room."""
        return self.take(found(who, self.room, policy, NOW_MS))

    def founding(self, who: Person, policy: Policy = OPEN) -> Append:
        """The same, whether or not they may."""
        return Append(self.room, found(who, self.room, policy, NOW_MS))

    def join(self, who: Person) -> Append:
        """Somebody joins."""
        return self.take(self.known.join(who, NOW_MS))

    def add(self, who: Person, other: Person) -> Append:
        """Somebody adds another."""
        return self.take(self.known.add(who, other.certificate, NOW_MS))

    def remove(self, who: Person, other: Person) -> Append:
        """Somebody removes another."""
        return self.take(self.known.remove(who, other.identity.public, NOW_MS))

    def leave(self, who: Person) -> Append:
        """Somebody leaves."""
        return self.take(self.known.leave(who, NOW_MS))

    def policy(self, who: Person, policy: Policy) -> Append:
        """An owner changes the policy."""
        return self.take(self.known.change_policy(who, policy, NOW_MS))

    def signed(self, who: Person, op: Op, subject: Person, role: Role | None = None, detail: bytes = b"") -> bytes:
        """Any next entry, whether or not its author may make it."""
        return sign_entry(
            who.device, len(self.known), self.known.last, op, subject.identity.public, role, NOW_MS, detail
        ).packed
