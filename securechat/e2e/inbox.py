"""What comes in a room: frames in, outcomes out, in the order of SC1 §7 and by the run of SC1 §8.

For each frame: its form; its epoch is in our log; its device was a member then, and ours; its session is known; the
relay's session key of the epoch is there; nobody left between the session's epoch and its own; it did not come
before and is not too far ahead. Then the run: frames of one session that follow each other by index and `prev`
vouch for one another, so **one** signature is checked, the last one's; where that is bad the frame is dropped and
the one before it is asked. What has passed is a list of independent jobs for an engine, whose results
`Batch.finish` turns into outcomes: tag, padding, the room inside.

What waits for something is held here, within bounds and no more of it than its share for any device, and asked for
once. A frame whose device was no member is refused before it could be held: nobody would answer for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from securechat.e2e.body import BodyError
from securechat.e2e.chain import SID_BYTES, Frame, frame_is_signed, message_key, read_frame
from securechat.e2e.content import Said, unpack
from securechat.e2e.outcomes import Arrived, Awaited, Held, Opened, Outcome, Refusal, Refused
from securechat.e2e.receiver import PACKED, Accepted, ReceivingSession, read_session
from securechat.e2e.safety import Pins
from securechat.e2e.sealing import Descriptor, SenderKey
from securechat.signed.encoding import KEY_BYTES, lp, split, split_list
from securechat.signed.errors import NotAuthentic
from securechat.signed.rights import Member
from securechat.signed.roster import Roster
from securechat.wire.messages import ROOM_MEMBERS

DEVICE_SESSIONS: Final = 72
"""The most sessions that are followed of one device; the oldest goes first. A relay keeps 64 keys of one sender."""
HELD_FRAMES: Final = 256
"""The most frames that wait in one room."""
HELD_EACH: Final = 64
"""The most of them that may be of one device."""
GONE_SESSIONS: Final = 1_024
"""Of so many sessions of a device that are followed no more it is remembered that they were."""
EPOCH_KEYS: Final = 1_024
"""For so many epochs the relay's session keys are kept in one room."""

MAX_PACKED_BYTES: Final = 2**30
"""The most that the sessions of a room may take in a store."""

Job = tuple[bytes, bytes, bytes]
"""For an engine: 64-byte key, associated data, iv ‖ ciphertext ‖ tag."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """A frame that has passed all that is asked before its signature."""

    slot: int
    arrived: Arrived
    frame: Frame
    session: ReceivingSession
    sender: Member
    place: int


@dataclass(frozen=True, slots=True)
class _Opening:
    """A frame that is on its way through an engine."""

    checked: _Checked
    accepted: Accepted


@dataclass(slots=True)
class Batch:
    """A run that was received: `jobs` for an engine, then `finish` with their results, in order.

    Batches of one room are finished in the order in which they were made.
    """

    _inbox: "Inbox"
    _now_ms: int
    _slots: list[Outcome | _Opening | None] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    """What to open. Each key serves once."""

    def finish(self, results: Sequence[bytes | None]) -> list[Outcome]:
        """Give an outcome for each frame of the run, in order.

        There is a result for each job, None where a tag was wrong. Raises ValueError for another number of them.
        """
        if len(results) != len(self.jobs):
            raise ValueError(f"results: expected {len(self.jobs)}, got {len(results)}")
        plaintexts = iter(results)
        outcomes: list[Outcome] = []
        for slot in self._slots:
            if isinstance(slot, _Opening):
                outcomes.append(self._inbox.opened(slot, next(plaintexts), self._now_ms))
            else:
                assert slot is not None
                outcomes.append(slot)
        return outcomes


class Inbox:
    """What we hear in one room."""

    def __init__(self, device: bytes, roster: Roster, pins: Pins) -> None:
        """Begin with no keys, for our device (its 32-byte public key).

        The roster and the pins are the caller's, who goes on changing them.
        """
        self._device = device
        self._roster = roster
        self._pins = pins
        self._session_keys: dict[bytes, bytes] = {}
        self._sessions: dict[bytes, dict[bytes, ReceivingSession]] = {}
        self._gone: dict[bytes, dict[bytes, None]] = {}
        self._held: list[tuple[Arrived, Held]] = []
        self._asked: set[tuple[str, bytes]] = set()

    @property
    def held(self) -> int:
        """How many frames wait."""
        return len(self._held)

    @property
    def first_held(self) -> int | None:
        """The lowest number of a frame that waits."""
        return min((arrived.seq for arrived, _ in self._held), default=None)

    @property
    def awaited(self) -> list[Held]:
        """What they wait for, each thing once: to be asked for again, on a new link."""
        return list({held.wanted: held for _, held in reversed(self._held)}.values())

    def session_key(self, epoch: bytes) -> bytes | None:
        """The relay's key of an epoch; None where it has not come."""
        return self._session_keys.get(epoch)

    def take_session_key(self, epoch: bytes, key: bytes) -> None:
        """The relay handed out the key of an epoch, 32 bytes. A second one for it replaces the first."""
        self._session_keys.pop(epoch, None)
        self._session_keys[epoch] = key
        if len(self._session_keys) > EPOCH_KEYS:
            del self._session_keys[next(iter(self._session_keys))]

    def take_key(self, key: SenderKey) -> Refusal | None:
        """Follow a session from now on, or go on following it, by an (opened and checked) key.

        Gives why not, or None. A session that was followed once and is no more would begin anew, and let all of its
        frames come a second time: that is refused as a replay.
        """
        descriptor = key.descriptor
        sessions = self._sessions.setdefault(descriptor.device, {})
        known = sessions.get(descriptor.sid)
        if known is not None:
            return None if known.renew(key) else Refusal.FORKED
        gone = self._gone.setdefault(descriptor.device, {})
        if descriptor.sid in gone:
            return Refusal.REPLAYED
        sessions[descriptor.sid] = ReceivingSession(key)
        if len(sessions) > DEVICE_SESSIONS:
            oldest = next(iter(sessions))
            del sessions[oldest]
            gone[oldest] = None
        if len(gone) > GONE_SESSIONS:
            del gone[next(iter(gone))]
        return None

    def receive(self, run: Sequence[Arrived], now_ms: int) -> Batch:
        """Take frames in the order in which they came."""
        batch = Batch(self, now_ms)
        runs: dict[tuple[bytes, bytes], list[_Checked]] = {}
        for arrived in run:
            batch._slots.append(None)
            checked = self._find(arrived, len(batch._slots) - 1)
            if not isinstance(checked, _Checked):
                batch._slots[-1] = checked
                continue
            # By device and not by name: a signature must never vouch for a frame of another device's session.
            pending = runs.setdefault((checked.sender.device, checked.frame.header.sid), [])
            if pending and not is_linked(pending[-1].frame, checked.frame):
                # It may be one of these again, or come late among them: let them in before it is judged.
                self._verify(pending, batch)
            refusal = self._refusal(checked, pending)
            if refusal is None:
                pending.append(checked)
            else:
                batch._slots[-1] = Refused(arrived.seq, refusal)
        for pending in runs.values():
            self._verify(pending, batch)
        batch.jobs = [self._job(slot) for slot in batch._slots if isinstance(slot, _Opening)]
        return batch

    def retry(self, now_ms: int) -> Batch:
        """Take again what was held: a key, entries of the log or a session key have come."""
        waiting, self._held = [arrived for arrived, _ in self._held], []
        batch = self.receive(waiting, now_ms)
        self._asked &= {held.wanted for _, held in self._held}
        return batch

    def forget_held(self) -> list[Arrived]:
        """Hold nothing any more; gives what was held."""
        waiting, self._held = [arrived for arrived, _ in self._held], []
        self._asked.clear()
        return waiting

    @property
    def packed(self) -> bytes:
        """All sessions and those that are gone, for a client to keep over a restart under its own lock."""
        sessions = (session.packed for of_device in self._sessions.values() for session in of_device.values())
        gone = (device + sid for device, sids in self._gone.items() for sid in sids)
        return lp(lp(*sessions), lp(*gone))

    def restore(self, data: bytes) -> None:
        """Follow again what `packed` gave. Raises `NotAuthentic`."""
        sessions, gone = split(data, (0, MAX_PACKED_BYTES), (0, MAX_PACKED_BYTES))
        for item in split_list(sessions, PACKED, ROOM_MEMBERS * DEVICE_SESSIONS):
            session = read_session(item)
            self._sessions.setdefault(session.descriptor.device, {})[session.descriptor.sid] = session
        for item in split_list(gone, (KEY_BYTES + SID_BYTES,) * 2, ROOM_MEMBERS * GONE_SESSIONS):
            self._gone.setdefault(item[:KEY_BYTES], {})[item[KEY_BYTES:]] = None

    def _find(self, arrived: Arrived, slot: int) -> _Checked | Outcome:
        """The first steps of SC1 §7: form, epoch, member, session, session key."""
        try:
            frame = read_frame(arrived.data)
        except NotAuthentic:
            return Refused(arrived.seq, Refusal.NOT_AUTHENTIC)
        header = frame.header
        place = self._roster.place(header.epoch)
        if place is None:
            return self._hold(arrived, frame, Awaited.ROSTER)
        sender = self._roster.named_at(arrived.sender, header.epoch)
        if sender is None:
            return Refused(arrived.seq, Refusal.NOT_A_MEMBER)
        if self._roster.member_at(self._device, header.epoch) is None:
            # Nobody hands us the keys of a time when we were not there, so there is nothing to wait for.
            return Refused(arrived.seq, Refusal.KEY_GONE)
        session = self._sessions.get(sender.device, {}).get(header.sid)
        if session is None:
            return self._hold(arrived, frame, Awaited.SENDER_KEY)
        if header.epoch not in self._session_keys:
            return self._hold(arrived, frame, Awaited.SESSION_KEY)
        return _Checked(slot, arrived, frame, session, sender, place)

    def _refusal(self, checked: _Checked, before: list[_Checked]) -> Refusal | None:
        """What else is asked before the signature; the frame follows the run `before`, if there is one."""
        header, session = checked.frame.header, checked.session
        place = checked.place
        timely = place >= before[-1].place if before else session.is_in_order(header.index, place)
        if not timely or not is_epoch_of(self._roster, session.descriptor, header.epoch):
            return Refusal.STALE_EPOCH
        refusal = session.refusal(checked.frame)
        return None if before and refusal is Refusal.TOO_FAR else refusal

    def _verify(self, pending: list[_Checked], batch: Batch) -> None:
        """Check the signature of the last frame of a run, and let those that it vouches for in (SC1 §8)."""
        while pending and not frame_is_signed(pending[-1].frame, pending[-1].session.descriptor.device):
            bad = pending.pop()
            batch._slots[bad.slot] = Refused(bad.arrived.seq, Refusal.NOT_AUTHENTIC)
        for checked in pending:
            accepted = checked.session.accept(checked.frame, checked.place, batch._now_ms)
            if isinstance(accepted, Refusal):
                batch._slots[checked.slot] = Refused(checked.arrived.seq, accepted)
            else:
                batch._slots[checked.slot] = _Opening(checked, accepted)
        pending.clear()

    def _hold(self, arrived: Arrived, frame: Frame, awaited: Awaited) -> Outcome:
        of_sender = sum(each.sender == arrived.sender for each, _ in self._held)
        if len(self._held) >= HELD_FRAMES or of_sender >= HELD_EACH:
            return Refused(arrived.seq, Refusal.TOO_MANY_HELD)
        header = frame.header
        held = Held(arrived.seq, arrived.sender, header.sid, header.epoch, awaited, True)
        if held.wanted in self._asked:
            held = replace(held, ask=False)
        self._asked.add(held.wanted)
        self._held.append((arrived, held))
        return held

    def _job(self, opening: _Opening) -> Job:
        """The job of a frame; both locks are opened here and nowhere else."""
        frame = opening.checked.frame
        header = frame.header
        session_key = self._session_keys[header.epoch]
        key = message_key(session_key, opening.accepted.seed, header.sid, header.index)
        return key, frame.associated, frame.sealed

    def opened(self, opening: _Opening, plaintext: bytes | None, now_ms: int) -> Outcome:
        """For `Batch`: what came out of the engine, and the last steps of SC1 §7."""
        checked, accepted = opening.checked, opening.accepted
        index = checked.frame.header.index
        if plaintext is None:
            checked.session.give_back(index, accepted.seed, now_ms)
            return Refused(checked.arrived.seq, Refusal.NOT_AUTHENTIC)
        try:
            said = unpack(plaintext, self._roster.room_id)
        except NotAuthentic:
            return Refused(checked.arrived.seq, Refusal.NOT_AUTHENTIC)
        except BodyError:
            return Refused(checked.arrived.seq, Refusal.UNKNOWN_KIND)
        checked.session.void(index, said.voided)
        return self._outcome(checked, accepted, said)

    def _outcome(self, checked: _Checked, accepted: Accepted, said: Said) -> Opened:
        sender, index = checked.sender, checked.frame.header.index
        gap = accepted.gap
        if gap is not None:
            last = min(gap[1], index - 1 - said.voided)
            gap = (gap[0], last) if gap[0] <= last else None
        now = self._roster.members.get(sender.identity)
        return Opened(
            checked.arrived.seq,
            sender,
            self._pins.standing(sender.name, sender.identity),
            index,
            said,
            gap,
            accepted.is_late,
            now is None or now.device != sender.device,
            accepted.is_forked,
        )


def is_linked(before: Frame, frame: Frame) -> bool:
    """Whether a frame is the one right behind another: the next index, and `prev` its digest."""
    return frame.header.index == before.header.index + 1 and frame.header.prev == before.digest


def is_epoch_of(roster: Roster, descriptor: Descriptor, epoch: bytes) -> bool:
    """Whether a session may be used in an epoch: its own, or a later one before which nobody left (SC1 §9)."""
    return roster.only_grew(descriptor.epoch, epoch)
