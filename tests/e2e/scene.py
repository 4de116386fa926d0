"""People in a room with an honest relay between them, for tests that then stop being honest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from securechat.crypto import aead
from securechat.e2e.content import Said, pack
from securechat.e2e.identity import Person, new_person
from securechat.e2e.inbox import Batch
from securechat.e2e.outcomes import Arrived, Opened, Outcome, Refusal, Refused
from securechat.e2e.prekeys import PrekeyRing
from securechat.e2e.room import SecureRoom
from securechat.e2e.safety import Pins
from securechat.signed.entries import Policy
from securechat.signed.prekeys import PrekeyRecord, read_prekey
from securechat.signed.roster import Roster, found

NOW = 1_800_000_000_000
"""Some moment, in ms."""
HOUR = 3600 * 1000
DAY = 24 * HOUR


def randomness(seed: str) -> Callable[[int], bytes]:
    """Random bytes that are the same in every run."""
    return Random(seed).randbytes


@dataclass
class Someone:
    """A person with a ring of prekeys and a memory of others."""

    person: Person
    ring: PrekeyRing
    pins: Pins = field(default_factory=Pins)

    @property
    def device(self) -> bytes:
        """The public key of the device."""
        return self.person.device.public

    @property
    def identity(self) -> bytes:
        """The public key of the person."""
        return self.person.identity.public

    def prekey(self, now_ms: int = NOW) -> PrekeyRecord:
        """The record that the relay would hand out, checked."""
        self.ring.rotate(now_ms)
        assert self.ring.newest is not None
        return read_prekey(self.ring.newest.packed, self.device, now_ms)


def someone(name: str, seed: str | None = None) -> Someone:
    """The same person for the same name and seed, in every run."""
    random = randomness(seed or name)
    person = new_person(name, NOW, random)
    return Someone(person, PrekeyRing(person.device, random))


class Scene:
    """A room with members, who all follow its log; the relay's part is played honestly."""

    def __init__(self, *names: str, room: str = "#den", is_open: bool = False) -> None:
        """The first one founds the room, and the others are added, or join where it is open."""
        self.now = NOW
        self._opened = 0
        self.people = {name: someone(name) for name in names}
        self.rooms: dict[str, SecureRoom] = {}
        self.session_keys: dict[bytes, bytes] = {}
        self.hands: list[tuple[str, str, bytes]] = []
        """Every sealed key that was handed: from, to, blob."""
        self.sent: list[tuple[str, bytes]] = []
        """Every frame that was posted, and by whom."""
        founder = self.people[names[0]]
        first = found(founder.person, room, Policy(is_open), NOW, randomness(room))
        self.log = [first]
        self._open(names[0])
        for name in names[1:]:
            self.enter(name)

    def enter(self, name: str) -> None:
        """Become a member: by joining, or by being added by the founder."""
        someone_new = self.people.setdefault(name, someone(name))
        roster = Roster(self.log[0])
        roster.follow(self.log[1:])
        if roster.policy.is_open:
            entry = roster.join(someone_new.person, self.now)
        else:
            by = next(iter(self.people.values()))
            entry = roster.add(by.person, someone_new.person.certificate, self.now)
        self.publish(entry)
        if name not in self.rooms:
            self._open(name)

    def remove(self, by: str, name: str) -> None:
        """Put somebody out, who hears nothing more of the room."""
        roster = self.rooms[by].roster
        self.publish(roster.remove(self.people[by].person, self.people[name].identity, self.now), without=name)

    def publish(self, entry: bytes, without: str = "") -> None:
        """Give an entry its place, tell everybody, and hand out a session key if the epoch is new."""
        self.log.append(entry)
        for name, room in self.rooms.items():
            if name != without:
                room.follow(self.log[len(room.roster) :])
        self._hand_session_keys()

    def prekey(self, name: str) -> PrekeyRecord:
        """What the relay hands out for somebody now."""
        return self.people[name].prekey(self.now)

    def hand(self, name: str) -> None:
        """Hand somebody's key to everybody who lacks it."""
        room = self.rooms[name]
        for member in room.to_hand(self.now):
            blob = room.hand(member, self.prekey(member.name), self.now)
            self.hands.append((name, member.name, blob))
            self.rooms[member.name].sealed_key(0, name, blob)

    def say(self, name: str, text: str = "hello", voided: int = 0, room_id: bytes | None = None) -> bytes:
        """Seal and post a message; gives the frame."""
        self.hand(name)
        return self.seal(name, self.body(text, voided, room_id))

    def body(self, text: str, voided: int = 0, room_id: bytes | None = None) -> bytes:
        """The padded body of a message of this room, unless another is said."""
        own_id = next(iter(self.rooms.values())).roster.room_id
        message_id = sha256(f"{text}{len(self.sent)}".encode()).digest()[:16]
        return pack(Said(room_id or own_id, self.now, message_id, voided, text))

    def seal(self, name: str, plaintext: bytes) -> bytes:
        """Seal and post any plaintext."""
        room = self.rooms[name]
        job = room.begin(plaintext, self.now)
        frame = room.finish(job, aead.seal(job.key, job.header, job.plaintext))
        self.sent.append((name, frame))
        return frame

    def hear(self, name: str, sender: str, *frames: bytes) -> list[Outcome]:
        """Let somebody receive frames that are said to be of a sender, numbered from 0."""
        run = [Arrived(seq, sender, frame) for seq, frame in enumerate(frames)]
        return finish(self.rooms[name].receive(run, self.now))

    def retry(self, name: str) -> list[Outcome]:
        """Let somebody receive again what was held."""
        return finish(self.rooms[name].retry(self.now))

    def give_session_key(self, name: str, epoch: bytes, key: bytes | None = None) -> None:
        """Hand somebody the relay's key of an epoch, or another one."""
        self.rooms[name].take_session_key(epoch, key or session_key(epoch))

    def _open(self, name: str) -> None:
        each = self.people[name]
        self._opened += 1
        random = randomness(f"room {self._opened} of {name}")
        room = SecureRoom(each.person, each.ring, Roster(self.log[0]), each.pins, random)
        room.follow(self.log[1:])
        self.rooms[name] = room
        self._hand_session_keys()

    def _hand_session_keys(self) -> None:
        for name, room in self.rooms.items():
            epoch = room.roster.epoch
            if self.people[name].identity in room.roster.members:
                self.give_session_key(name, epoch)


def session_key(epoch: bytes) -> bytes:
    """The key that the relay draws for an epoch."""
    return sha256(b"R" + epoch).digest()


def finish(batch: Batch) -> list[Outcome]:
    """Open the jobs of a batch as an engine would, and finish it."""
    results: list[bytes | None] = []
    for key, associated, sealed in batch.jobs:
        try:
            results.append(aead.open(key, associated, sealed))
        except aead.OpenError:
            results.append(None)
    return batch.finish(results)


def texts(outcomes: list[Outcome]) -> list[str]:
    """What is shown."""
    return [each.said.text for each in outcomes if isinstance(each, Opened)]


def refusals(outcomes: list[Outcome]) -> list[Refusal]:
    """Why what is not shown is not."""
    return [each.refusal for each in outcomes if isinstance(each, Refused)]
