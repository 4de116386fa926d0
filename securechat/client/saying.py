"""From what is said to a `Post`: our key handed to whoever lacks it, one message sealed after another (SC1 §5, §6).

Frames of one session are linked, so a room seals one at a time. What was sealed for an epoch that is over, or
posted on a link that was lost, is given up and sealed again, under the same id and in the same order.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.client.events import Event, NotSent
from securechat.client.room import Pending, Room
from securechat.client.seldom import Seldom
from securechat.e2e.chain import read_header
from securechat.e2e.content import Said, pack
from securechat.e2e.errors import E2EError
from securechat.e2e.room import NotReadyError, SecureRoom
from securechat.e2e.safety import ChangedKeyError
from securechat.e2e.sender import SealJob
from securechat.signed.errors import SignedError
from securechat.signed.prekeys import read_prekey
from securechat.wire import messages as wire
from securechat.wire.names import direct_pair

ASKED: Final = 4
"""How often in a minute a device may have us look up its prekey in a room by asking for our key."""

_HAND_BYTES: Final = wire.FRAME_BYTES - 512
_HAND_ITEM_BYTES: Final = 48


class Sealer(Protocol):
    """Seals a batch; `CryptoWorker` does."""

    def seal_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> Deferred[list[bytes]]:
        """Seal (key, associated data, plaintext), each."""


class Saying:
    """What goes out, over all rooms of one link."""

    _log = Logger()

    def __init__(
        self,
        worker: Sealer,
        send: Callable[[wire.FromClient], None],
        tell: Callable[[Event], None],
        now_ms: Callable[[], int],
        changed: Callable[[], None],
        freed: Callable[[], None],
        flush: Callable[[], None],
    ) -> None:
        """Take the worker, what sends to the relay, where events go, the clock, and two who hear of changes.

        `changed` hears of new secrets, `freed` when a room's job is done: it lets every room post what it can.
        `flush` brings to the disk what was said.
        """
        self._worker = worker
        self._send = send
        self._tell = tell
        self._now_ms = now_ms
        self._changed = changed
        self._freed = freed
        self._flush = flush
        self._link = 0
        self._window = 0
        self._unanswered = 0
        self._asks = Seldom(ASKED)

    def link_up(self, number: int, window: int) -> None:
        """A link is up, of which nothing was asked yet."""
        self._link, self._window, self._unanswered = number, window, 0

    def link_down(self, rooms: Sequence[Room]) -> None:
        """The link is gone: whatever was posted on it may be lost."""
        self._link = 0
        for room in rooms:
            room.wanted.clear()
            for pending in room.outbox.values():
                pending.repeated = pending.repeated or pending.posted
            if room.secure is not None:
                room.secure.hands_lost()
            self.again(room)

    def answered(self, posts: int) -> None:
        """So many posts were acknowledged or declined."""
        self._unanswered -= posts

    def again(self, room: Room, epoch: bytes = b"") -> None:
        """What is posted and not answered is sealed anew: its link is over, or its epoch, if it is not this one."""
        for pending in room.outbox.values():
            if pending.job is not None and read_header(pending.job.header).epoch == epoch:
                continue
            if pending.posted and pending.job is not None and room.secure is not None:
                room.secure.void(pending.job)
            pending.posted, pending.job = False, None

    def declined(self, room: Room, pending: Pending) -> None:
        """The relay has not taken a message, which is to be posted again: nobody was given how it was sealed."""
        self.not_delivered(room, pending)
        pending.posted, pending.job = False, None

    def not_delivered(self, room: Room, pending: Pending) -> None:
        """The relay had taken a message before, and passes on nothing of how it was sealed the last time."""
        if pending.job is not None and room.secure is not None:
            room.secure.void(pending.job)

    def rekey(self, room: Room) -> None:
        """Begin a new session with the next message; one that is being sealed still belongs to this one."""
        if room.sealing:
            room.rekeying = True
        elif room.secure is not None:
            room.secure.rekey()

    def post(self, room: Room) -> None:
        """Say what waits in a room, as far as it can be said now."""
        secure = room.secure
        waiting = next((each for each in room.outbox.values() if not each.posted), None)
        if waiting is None or secure is None or not self._may_say(room) or self._unanswered >= self._window:
            return
        if room.is_repeating:
            return  # the next message has to say whether this one was delivered as it is sealed now
        if room.refusals and any(each.posted for each in room.outbox.values()):
            return  # one tries whether there is room, or they might be taken in another order
        try:
            if self._hand(room, secure):
                return
            said = Said(secure.roster.room_id, self._now_ms(), waiting.post_id, secure.voided, waiting.text)
            job = secure.begin(pack(said), self._now_ms())
        except NotReadyError:
            return  # the session key is on its way
        except (E2EError, SignedError) as wrong:
            self.give_up(room, str(wrong))
            return
        room.sealing = True
        self._unanswered += 1
        sealing = self._worker.seal_many([(job.key, job.header, job.plaintext)])
        sealing.addCallbacks(
            self._sealed,
            self._failed,
            (room, secure, waiting, job, secure.roster.epoch, self._link),
            {},
            (room, secure, self._link),
        )
        sealing.addErrback(lambda failure: self._log.failure("posting failed", failure))

    def give_up(self, room: Room, why: str) -> None:
        """What is not posted yet is not sent."""
        for pending in [each for each in room.outbox.values() if not each.posted]:
            del room.outbox[pending.post_id]
            self._tell(NotSent(room.name, why, pending.text, pending.label))

    def prekeys(self, rooms: Sequence[Room], items: Sequence[tuple[bytes, bytes]]) -> None:
        """Prekeys came: hand our key to the devices that they are of, wherever that was wanted."""
        for room in rooms:
            blobs: list[tuple[bytes, bytes]] = []
            for device, record in items:
                if device in room.wanted and room.secure is not None:
                    room.wanted.discard(device)
                    blobs += ((device, blob) for blob in self._sealed_keys(room, room.secure, device, record))
            self._send_blobs(room.name, blobs)
            if blobs:
                self._changed()
            self.post(room)

    def asked(self, room: Room, device: bytes, sid: bytes) -> None:
        """A member's device asks for the key of a session of ours."""
        secure = room.secure
        if secure is None or secure.roster.member_with(device) is None:
            return
        if self._asks.may((room.name, device), self._now_ms()):
            room.asked.setdefault(device, set()).add(sid)
            self._want(room, [device])

    def _may_say(self, room: Room) -> bool:
        if (
            room.secure is None
            or not self._link
            or not room.entered
            or not room.whole
            or room.sealing
            or room.waits
        ):
            return False
        # In a room of two nobody would hear it before the other one is in.
        alone = direct_pair(room.name) is not None and len(room.secure.roster.members) == 1
        return not alone and not room.leaving and room.fault is None

    def _hand(self, room: Room, secure: SecureRoom) -> bool:
        """Ask for the prekeys of those who lack our key. True while there are any."""
        missing = [each.device for each in secure.to_hand(self._now_ms())]
        self._want(room, [device for device in missing if device not in room.wanted])
        return bool(missing)

    def _want(self, room: Room, devices: Sequence[bytes]) -> None:
        for at in range(0, len(devices), wire.BUNDLE_ITEMS):
            some = list(devices[at : at + wire.BUNDLE_ITEMS])
            room.wanted.update(some)
            self._send(wire.Want(some))

    def _sealed_keys(self, room: Room, secure: SecureRoom, device: bytes, record: bytes) -> list[bytes]:
        """Our key of each session that a device asked for, and of the present one if it lacks that."""
        member = secure.roster.member_with(device)
        sids = room.asked.pop(device, set())
        if member is None:
            return []
        now_ms = self._now_ms()
        lacks = member in secure.to_hand(now_ms)
        if not sids and not lacks:
            return []
        try:
            prekey = read_prekey(record, device, now_ms)
            blobs = [secure.hand(member, prekey, now_ms, sid) for sid in sids]
            if member in secure.to_hand(now_ms):
                blobs.append(secure.hand(member, prekey, now_ms))
            return blobs
        except ChangedKeyError:
            return []  # they get our key when the change is accepted
        except (E2EError, SignedError):
            # They have offered none that is good: they ask for our key when they are back.
            if lacks:
                secure.pass_over(member)
            return []

    def _send_blobs(self, room: str, blobs: list[tuple[bytes, bytes]]) -> None:
        items: list[tuple[bytes, bytes]] = []
        size = 0
        for device, blob in blobs:
            if len(items) == wire.BUNDLE_ITEMS or size + len(blob) + _HAND_ITEM_BYTES > _HAND_BYTES:
                self._send(wire.Hand(room, items))
                items, size = [], 0
            items.append((device, blob))
            size += len(blob) + _HAND_ITEM_BYTES
        if items:
            self._send(wire.Hand(room, items))

    def _sealed(
        self,
        sealed: list[bytes],
        room: Room,
        secure: SecureRoom,
        pending: Pending,
        job: SealJob,
        epoch: bytes,
        link: int,
    ) -> None:
        frame = secure.finish(job, sealed[0])
        current = link == self._link and room.secure is secure and pending.post_id in room.outbox and room.entered
        if current and epoch == secure.roster.epoch:
            pending.job, pending.posted = job, True
            self._flush()
            if pending.repeated:
                self._send(wire.Repost(room.name, epoch, pending.after, pending.post_id, frame))
            else:
                pending.after = room.numbers.known
                self._send(wire.Post(room.name, epoch, [(pending.post_id, frame)]))
        else:
            # Nobody was given it: the next message says so.
            secure.void(job)
            self._unposted(link)
        self._done(room, secure)

    def _failed(self, failure: Failure, room: Room, secure: SecureRoom, link: int) -> None:
        self._log.failure("sealing failed", failure)
        self._unposted(link)
        secure.rekey()
        self.give_up(room, "it could not be sealed")
        self._done(room, secure)

    def _unposted(self, link: int) -> None:
        if link == self._link:
            self._unanswered -= 1

    def _done(self, room: Room, secure: SecureRoom) -> None:
        room.sealing = False
        if room.rekeying:
            room.rekeying = False
            secure.rekey()
        # Other rooms may have waited for what this one did not use of the window.
        self._freed()


def other_of(room: str, name: str) -> str | None:
    """Who the other one of a direct room of ours is; None for any other room."""
    pair = direct_pair(room)
    if pair is None or name not in pair:
        return None
    return pair[0] if pair[1] == name else pair[1]
