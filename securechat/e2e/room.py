"""One room as a client holds it: the log, our own session, everybody else's, and the relay's session keys.

Nothing here has a socket, a thread or a clock. To say something: hand our key to whoever lacks it (`to_hand`,
`hand`), `begin`, have an engine seal the job, `finish`, post the frame. To hear: `receive`, have an engine open the
jobs, `finish`. docs/SC1-notes.md has both step by step.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from os import urandom
from typing import Final

from securechat.e2e.errors import E2EError
from securechat.e2e.identity import Person
from securechat.e2e.inbox import MAX_PACKED_BYTES, Batch, Inbox
from securechat.e2e.outcomes import Arrived, Awaited, Held, KeyOutcome, KeyTaken, Refusal, Refused
from securechat.e2e.prekeys import PrekeyRing
from securechat.e2e.safety import ChangedKeyError, Pins
from securechat.e2e.sealing import Blob, open_key, read_blob, seal_key
from securechat.e2e.sender import SealJob, SendingSession
from securechat.signed.encoding import HASH, U32, Bounds, lp, split
from securechat.signed.entries import Entry
from securechat.signed.errors import NotAuthentic
from securechat.signed.prekeys import PrekeyRecord
from securechat.signed.rights import Member
from securechat.signed.roster import Roster
from securechat.wire.names import direct_pair

HELD_BLOBS: Final = 64
"""The most sealed keys that wait for entries of the log."""
FORMER_SESSIONS: Final = 3
"""So many sessions of ours that are over are handed again to who asks, for 24 hours after they began."""

_PACKED: Final[tuple[Bounds, ...]] = ((0, 66), U32, HASH, (0, MAX_PACKED_BYTES))


class NotReadyError(E2EError):
    """Nothing can be sealed for the room yet; the message says why."""


class SecureRoom:
    """A room that we are a member of, want to join, or were one of. Never printed."""

    def __init__(
        self,
        person: Person,
        ring: PrekeyRing,
        roster: Roster,
        pins: Pins,
        random: Callable[[int], bytes] = urandom,
    ) -> None:
        """Take a log that begins with its first entry. `ring` and `pins` are shared by all rooms."""
        self.roster = roster
        self._person = person
        self._ring = ring
        self._pins = pins
        self._random = random
        self._inbox = Inbox(person.device.public, roster, pins)
        self._sending: SendingSession | None = None
        self._former: deque[SendingSession] = deque(maxlen=FORMER_SESSIONS)
        self._reviewed = 0, -1
        self._audience: list[Member] = []
        self._withheld: list[Member] = []
        self._unhanded: dict[bytes, Member] = {}
        """By device; these three as of the entries and the changes of pins that were last looked at."""
        self._unsure: set[bytes] = set()
        """Devices whose key is on its way to the relay, which has not shown yet that it came there."""
        self._lost: set[bytes] = set()
        """Those of them whose link is gone."""
        self._held_blobs: list[tuple[int, str, bytes]] = []
        self._meet()

    def __repr__(self) -> str:
        """Say nothing of the keys."""
        return f"SecureRoom({self.roster.name!r})"

    # What the relay tells.

    def follow(self, entries: Iterable[bytes]) -> list[Entry]:
        """Take entries of the log; gives the new ones. Raises `RosterError`.

        Afterwards `retry_keys` and `retry` may open what was held for them.
        """
        try:
            return self.roster.follow(entries)
        finally:
            self._meet()

    def take_session_key(self, epoch: bytes, key: bytes) -> None:
        """The relay's key of an epoch, 32 bytes each. Afterwards `retry` may open what was held for it."""
        self._inbox.take_session_key(epoch, key)

    # What we say.

    def rekey(self) -> None:
        """Begin a new session with the next message: `/rekey`, or after a message that did not get sealed."""
        if self._sending is not None:
            self._former.append(self._sending)
        self._sending = None

    def to_hand(self, now_ms: int) -> list[Member]:
        """To whom our key must be handed before the next message. Begins a new session where it is time (SC1 §9).

        Members whose key changed are left out until it is accepted: see `withheld`.
        """
        self._review()
        session = self._sending
        if session is None or (not session.is_sealing and self._is_spent(session, now_ms)):
            self.rekey()
            device, room_id = self._person.device, self.roster.room_id
            self._sending = SendingSession(device, room_id, self.roster.epoch, now_ms, self._random)
            self._unhanded = {each.device: each for each in self._audience}
        self._forget_former(now_ms)
        return list(self._unhanded.values())

    @property
    def withheld(self) -> list[Member]:
        """The members who are handed nothing, as their key is another than before."""
        self._review()
        return list(self._withheld)

    def hand(self, member: Member, prekey: PrekeyRecord, now_ms: int, sid: bytes = b"") -> bytes:
        """Seal our key to a member: the answer to `to_hand`, and to somebody who asks for that of a session.

        It is our present session's where that session is not known any more, or was never theirs. Who has not been
        handed it gets it from the next message on, everybody else from where they were.

        `prekey` is what `read_prekey` gave. Raises `NotReadyError` for somebody who is no member now,
        `ChangedKeyError` for one whose key changed, `NotAuthentic` for a prekey that is a step back,
        `NoMlKemError`.
        """
        if not is_member_now(self.roster, member):
            raise NotReadyError(f"{member.name} is not a member of {self.roster.name}")
        if self._blocked(member):
            raise ChangedKeyError(f"the key of {member.name} changed, and nobody has accepted the new one")
        self.to_hand(now_ms)
        assert self._sending is not None
        self._pins.use(member.name, member.device, prekey)
        former = (each for each in self._former if each.descriptor.sid == sid and each.is_for(member.device))
        session = next(former, self._sending)
        blob = seal_key(self._person.device, session.key_for(member.device), member.device, prekey)
        if session is self._sending:
            self._pass(member)
            self._unsure.add(member.device)
        return blob

    def hands_came(self) -> None:
        """The relay has answered what was said behind our keys, so it has had these as well."""
        self._unsure.clear()

    def hands_lost(self) -> None:
        """The link is gone: who was handed our key lately may not have got it, and is handed it again."""
        self._lost |= self._unsure
        self._unsure.clear()
        self._reviewed = 0, -1

    def pass_over(self, member: Member) -> None:
        """No prekey of theirs can be used: talk on without them. They ask for our key when they are back."""
        if self._sending is not None:
            self._sending.key_for(member.device)
        self._pass(member)

    @property
    def voided(self) -> int:
        """What the body of the next message has to say in `voided`; ask after `to_hand`."""
        return 0 if self._sending is None else self._sending.voided

    def void(self, job: SealJob) -> None:
        """The relay declined the message of a job, or may have lost it: it is going to be sealed again."""
        if self._sending is not None:
            self._sending.void(job)

    def begin(self, plaintext: bytes, now_ms: int) -> SealJob:
        """Begin to seal a message for the epoch of now; the plaintext is what `content.pack` gave.

        Raises `NotReadyError` where the session key is missing, we are no member, or somebody must be handed our
        key first; `ChangedKeyError` in a direct room whose other member's key changed. Members who are merely
        withheld do not get to read it, and the others do.
        """
        session_key = self._inbox.session_key(self.roster.epoch)
        if session_key is None:
            raise NotReadyError("the session key of this room has not come yet")
        if self._person.identity.public not in self.roster.members:
            raise NotReadyError(f"you are not a member of {self.roster.name}")
        withheld = self.withheld
        if withheld and direct_pair(self.roster.name) is not None:
            raise ChangedKeyError(f"the key of {withheld[0].name} changed, and nobody has accepted the new one")
        if self.to_hand(now_ms):
            raise NotReadyError("somebody has not been handed your key yet")
        assert self._sending is not None
        return self._sending.begin(self.roster.epoch, session_key, plaintext)

    def finish(self, job: SealJob, sealed: bytes) -> bytes:
        """The frame of a job that an engine sealed. Raises RuntimeError after `rekey`."""
        if self._sending is None:
            raise RuntimeError("the session of this message is over")
        return self._sending.finish(job, sealed)

    # What we hear.

    def sealed_key(self, seq: int, sender: str, data: bytes) -> KeyOutcome:
        """A blob that came for us in this room.

        `seq` is the caller's number for it, `sender` whom the relay says it is from, which decides nothing. Raises
        `NoMlKemError` where our own prekey cannot be used on this machine any more.
        """
        try:
            blob = read_blob(data)
        except NotAuthentic:
            return Refused(seq, Refusal.NOT_AUTHENTIC)
        if self.roster.place(blob.descriptor.epoch) is None:
            return self._hold(seq, sender, data, blob)
        member = self.roster.member_at(blob.descriptor.device, blob.descriptor.epoch)
        if member is None:
            return Refused(seq, Refusal.NOT_A_MEMBER)
        try:
            key = open_key(blob, self.roster.room_id, self._person.device.public, self._ring.private)
        except NotAuthentic:
            return Refused(seq, Refusal.NOT_AUTHENTIC)
        refusal = self._inbox.take_key(key)
        if refusal is not None:
            return Refused(seq, refusal)
        standing = self._pins.standing(member.name, member.identity)
        return KeyTaken(member, standing, key.descriptor.sid, key.index)

    def retry_keys(self) -> list[KeyOutcome]:
        """Take again the blobs that were held for entries of the log."""
        waiting, self._held_blobs = self._held_blobs, []
        return [self.sealed_key(*each) for each in waiting]

    def receive(self, run: Sequence[Arrived], now_ms: int) -> Batch:
        """Take frames in the order in which they came. See `Batch`."""
        self._forget_former(now_ms)
        return self._inbox.receive(run, now_ms)

    def retry(self, now_ms: int) -> Batch:
        """Take again the frames that were held."""
        return self._inbox.retry(now_ms)

    @property
    def held(self) -> int:
        """How many frames wait."""
        return self._inbox.held

    @property
    def first_held(self) -> int | None:
        """The lowest number of a frame that waits."""
        return self._inbox.first_held

    @property
    def holds_keys(self) -> bool:
        """Whether sealed keys wait for entries of the log."""
        return bool(self._held_blobs)

    @property
    def awaited(self) -> list[Held]:
        """What they wait for, each thing once: to be asked for again, on a new link."""
        return self._inbox.awaited

    def forget_held(self) -> list[Arrived]:
        """Hold no frame any more; gives what was held."""
        return self._inbox.forget_held()

    @property
    def packed(self) -> bytes:
        """What the key store keeps: where the log ended, and the sessions of others; our own is never stored.

        Of a closed room in which we are it has the name as well: see `guarded_name`.
        """
        closed = not self.roster.policy.is_open and direct_pair(self.roster.name) is None
        guarded = closed and self._person.identity.public in self.roster.members
        return lp(self.roster.name.encode() if guarded else b"", *self.roster.head, self._inbox.packed)

    def restore(self, data: bytes) -> None:
        """Undo `packed`, once the log has been followed again.

        Raises `NotAuthentic` for what is no such thing, and `RosterError` where the relay now shows another log
        than before, or one that ends earlier: somebody's removal may be what is missing.
        """
        _, count, digest, sessions = split(data, *_PACKED)
        self.roster.check_reaches(count, digest)
        self._inbox.restore(sessions)

    def _hold(self, seq: int, sender: str, data: bytes, blob: Blob) -> KeyOutcome:
        if len(self._held_blobs) >= HELD_BLOBS:
            return Refused(seq, Refusal.TOO_MANY_HELD)
        self._held_blobs.append((seq, sender, data))
        ask = len(self._held_blobs) == 1
        return Held(seq, sender, blob.descriptor.sid, blob.descriptor.epoch, Awaited.ROSTER, ask)

    def _forget_former(self, now_ms: int) -> None:
        """Erase those of our sessions that are over for longer than they are kept."""
        for session in [each for each in self._former if each.is_over(now_ms)]:
            self._former.remove(session)

    def _is_spent(self, session: SendingSession, now_ms: int) -> bool:
        """Whether a session must end: of itself, or as somebody has its key who is blocked since."""
        return session.is_spent(self.roster, now_ms) or any(session.is_for(each.device) for each in self._withheld)

    def _review(self) -> None:
        """Look at the members again where something has changed: a message in a large room must not cost a look."""
        now = len(self.roster), self._pins.changes
        if now != self._reviewed:
            self._reviewed = now
            others = self._others()
            self._withheld = [each for each in others if self._blocked(each)]
            self._audience = [each for each in others if not self._blocked(each)]
            self._unhanded = {each.device: each for each in self._audience if not self._reads(each)}

    def _reads(self, member: Member) -> bool:
        return self._sending is not None and self._sending.is_for(member.device) and member.device not in self._lost

    def _pass(self, member: Member) -> None:
        self._lost.discard(member.device)
        self._unhanded.pop(member.device, None)

    def _others(self) -> list[Member]:
        ours = self._person.device.public
        return [each for each in self.roster.members.values() if each.device != ours]

    def _blocked(self, member: Member) -> bool:
        return self._pins.is_blocked(member.name, member.identity)

    def _meet(self) -> None:
        for each in self._others():
            self._pins.meet(each.name, each.identity)


def guarded_name(data: bytes) -> str | None:
    """The name of a closed room in which we were when `SecureRoom.packed` gave this; None for any other room.

    What the relay shows under that name later must be that room: nobody but its members can end it, and whoever
    founded another one would read what is meant for them. Raises `NotAuthentic`.
    """
    name = split(data, *_PACKED)[0]
    return name.decode("ascii", "replace") if name else None


def unguarded(data: bytes) -> bytes:
    """The same without the name: whoever leaves a room has no claim to it any more. Raises `NotAuthentic`."""
    return lp(b"", *split(data, *_PACKED)[1:])


def is_member_now(roster: Roster, member: Member) -> bool:
    """Whether somebody is a member as of the latest entry, with this device."""
    now = roster.members.get(member.identity)
    return now is not None and now.device == member.device
