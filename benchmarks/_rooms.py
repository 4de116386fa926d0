"""People, rooms and messages of version 2 made for a measurement: no relay, no client, no socket.

Everything is honest and made by the parts that a client has: keys for each person, a log that they signed, sessions
that end after 256 messages, and frames that an engine sealed.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from securechat.crypto.engine import Engine
from securechat.e2e.content import Said, pack
from securechat.e2e.identity import new_person
from securechat.e2e.inbox import Batch
from securechat.e2e.outcomes import Arrived, KeyTaken, Opened, Outcome
from securechat.e2e.prekeys import PrekeyRing
from securechat.e2e.room import SecureRoom
from securechat.e2e.safety import Pins
from securechat.signed.entries import Policy
from securechat.signed.prekeys import read_prekey
from securechat.signed.roster import Roster, found
from securechat.signed.suites import Suite

ROOM: Final = "#bench"
NOW_MS: Final = time.time_ns() // 1_000_000
"""One moment for everything: nothing is over while it is measured."""


class WrongResultError(Exception):
    """What was timed did not do what it should: no figure of it means anything."""


class Someone:
    """A person, and the prekeys of their device: one ring for each suite."""

    def __init__(self, name: str) -> None:
        """Make the keys."""
        self.name = name
        self.person = new_person(name, NOW_MS)
        self._rings: dict[Suite, PrekeyRing] = {}

    @cached_property
    def device(self) -> bytes:
        """The public key of the device."""
        return self.person.device.public

    def ring(self, suite: Suite) -> PrekeyRing:
        """The private halves of their prekeys."""
        if suite not in self._rings:
            self._rings[suite] = PrekeyRing(self.person.device)
            self._rings[suite].rotate(NOW_MS, suite)
        return self._rings[suite]

    def record(self, suite: Suite) -> bytes:
        """What the relay would hand out for them."""
        newest = self.ring(suite).newest
        assert newest is not None
        return newest.packed

    def enter(self, log: Sequence[bytes], suite: Suite = Suite.X25519) -> SecureRoom:
        """The room as their client holds it, once it has followed the whole log and met everybody in it."""
        room = SecureRoom(self.person, self.ring(suite), Roster(log[0], ROOM), Pins())
        room.follow(log[1:])
        give_session_key(room)
        return room


def people(count: int, prefix: str = "member") -> list[Someone]:
    """So many people."""
    return [Someone(f"{prefix}{number}") for number in range(count)]


def room_of(members: Sequence[Someone]) -> Roster:
    """An open room that the first one founded and the others joined, one after the other."""
    roster = Roster(found(members[0].person, ROOM, Policy(is_open=True), NOW_MS))
    for each in members[1:]:
        roster.append(roster.join(each.person, NOW_MS))
    return roster


def give_session_key(room: SecureRoom) -> None:
    """Give a room the relay's key of the present epoch: the same to everybody."""
    epoch = room.roster.epoch
    room.take_session_key(epoch, sha256(b"R" + epoch).digest())


def text_of(size: int) -> str:
    """A text of so many characters, of a byte each."""
    return ("It is raining here, and the train is late again. " * (size // 49 + 1))[:size]


def plaintext_of(room: SecureRoom, text: str) -> bytes:
    """The body of a message that says this, padded."""
    return pack(Said(room.roster.room_id, NOW_MS, os.urandom(16), room.voided, text))


class Speaker:
    """A member who talks to one other member; the rest of the room is passed over."""

    def __init__(self, someone: Someone, listener: Someone, hearing: SecureRoom, log: Sequence[bytes]) -> None:
        """Enter the room. `hearing` is the listener's, which takes our keys as they are handed."""
        self.name = someone.name
        self.room = someone.enter(log)
        self._listener = listener
        self._hearing = hearing

    def make_ready(self) -> None:
        """See that the next message can be sealed: hand out the key of a session that begins with it."""
        for member in self.room.to_hand(NOW_MS):
            if member.device != self._listener.device:
                self.room.pass_over(member)
                continue
            record = read_prekey(self._listener.record(Suite.X25519), member.device, NOW_MS)
            taken = self._hearing.sealed_key(0, self.name, self.room.hand(member, record, NOW_MS))
            if not isinstance(taken, KeyTaken):
                raise WrongResultError(f"a sealed key was not taken: {taken}")

    def say(self, text: str, engine: Engine) -> bytes:
        """Seal a message; gives the frame."""
        self.make_ready()
        job = self.room.begin(plaintext_of(self.room, text), NOW_MS)
        [sealed] = engine.seal_list([job.key], [job.header], [job.plaintext])
        return self.room.finish(job, sealed)

    def check(self, frame: bytes, text: str, engine: Engine) -> None:
        """See that the listener can open a message, which was not heard before, and that it says this."""
        [outcome] = opened(self._hearing.receive([Arrived(0, self.name, frame)], NOW_MS), engine)
        if not isinstance(outcome, Opened) or outcome.said.text != text:
            raise WrongResultError(f"a message was not opened as it was said: {outcome}")


@dataclass
class Burst:
    """Messages that came for somebody who has every key, and can hear them again and again."""

    owner: Someone
    """The one who hears them."""
    listener: SecureRoom
    """Their room."""
    arrived: list[Arrived]
    devices: list[bytes]
    """Whose each of them is."""
    text: str
    start: bytes
    """The listener's sessions before the first of them."""

    def rewind(self) -> None:
        """Let none of them have come."""
        self.listener.restore(self.start)

    def check(self, outcomes: Sequence[Outcome], first: int = 0) -> None:
        """See that these are the messages from number `first` on, opened, and what was said. Not to be timed."""
        for seq, outcome in enumerate(outcomes, first):
            if not isinstance(outcome, Opened) or outcome.seq != seq or outcome.said.text != self.text:
                raise WrongResultError(f"message {seq} was not opened as it was said: {outcome}")
            if outcome.gap is not None or outcome.is_forked or outcome.is_late:
                raise WrongResultError(f"message {seq} was taken for one out of order")


def burst(senders: int, count: int, text: str, engine: Engine) -> Burst:
    """So many messages in all, of senders who take turns."""
    listener, *others = people(1 + senders)
    log = room_of([listener, *others]).packed
    hearing = listener.enter(log)
    speakers = [Speaker(each, listener, hearing, log) for each in others]
    arrived, devices = [], []
    for seq in range(count):
        speaker = speakers[seq % senders]
        arrived.append(Arrived(seq, speaker.name, speaker.say(text, engine)))
        devices.append(others[seq % senders].device)
    return Burst(listener, hearing, arrived, devices, text, hearing.packed)


def opened(batch: Batch, engine: Engine) -> list[Outcome]:
    """Have an engine open what was received, and finish it."""
    keys, associated, sealed = [], [], []
    for key, header, data in batch.jobs:
        keys.append(key)
        associated.append(header)
        sealed.append(data)
    return batch.finish(engine.open_list(keys, associated, sealed) if keys else [])
