"""Our own session in a room: one chain, signed and linked frame by frame (SC1 §5, §6, §9).

A session is never stored. After a restart there is a new one, so a store that was rolled back cannot make two
frames under one key. What is sealed is linked to the frame before it, so a session seals one message at a time:
`begin` gives the job for an engine, `finish` takes its result, and only then can the next one begin.

A key of the chain is erased with the message that it was for, but where somebody begins to read: that one is kept
beside the chain, so that who lost it on the way can be handed it again and nothing of theirs stays closed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import urandom
from typing import Final

from securechat.e2e.chain import (
    CHAIN_KEY_BYTES,
    SID_BYTES,
    Header,
    frame_digest,
    message_key,
    message_seed,
    next_chain_key,
    read_header,
    sign_frame,
)
from securechat.e2e.sealing import Descriptor, SenderKey
from securechat.signed.roster import Roster
from securechat.signed.signing import SigningKey

SESSION_MESSAGES: Final = 256
"""A new session after so many messages (SC1 §9)."""
SESSION_MS: Final = 24 * 3600 * 1000
"""A new session after this long."""


@dataclass(frozen=True, slots=True)
class SealJob:
    """One message for an engine: seal the plaintext under the key, with the header as associated data."""

    key: bytes
    """64 bytes."""
    header: bytes
    """88 bytes."""
    plaintext: bytes
    index: int

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return f"SealJob({self.index})"


class SendingSession:
    """A chain of ours. Never printed."""

    def __init__(
        self,
        device: SigningKey,
        room_id: bytes,
        epoch: bytes,
        now_ms: int,
        random: Callable[[int], bytes] = urandom,
    ) -> None:
        """Begin a session in a room (its 32-byte id) and an epoch."""
        self._device = device
        self.descriptor = Descriptor(room_id, epoch, device.public, random(SID_BYTES), now_ms)
        self.index = 0
        self._chain_key = random(CHAIN_KEY_BYTES)
        self._prev = self.descriptor.digest
        self._job: SealJob | None = None
        self._void: set[int] = set()
        self._starts: dict[bytes, SenderKey] = {}
        """By device, where each begins to read."""

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return f"SendingSession({self.index})"

    @property
    def key(self) -> SenderKey:
        """What opens the next message and those after it."""
        return SenderKey(self.descriptor, self.index, self._chain_key)

    def key_for(self, device: bytes) -> SenderKey:
        """What a device needs to open all that is sealed for it: from where it stood when this was first asked."""
        return self._starts.setdefault(device, self.key)

    def is_for(self, device: bytes) -> bool:
        """Whether a device reads in this session, having been handed its key or passed over."""
        return device in self._starts

    def is_over(self, now_ms: int) -> bool:
        """Whether the session began 24 hours ago, or by a clock that went back."""
        return not 0 <= now_ms - self.descriptor.created_ms < SESSION_MS

    @property
    def is_sealing(self) -> bool:
        """Whether a job was begun and not finished."""
        return self._job is not None

    @property
    def voided(self) -> int:
        """How many messages right before the next one were given up: what its body has to say."""
        count = 0
        while self.index - 1 - count in self._void:
            count += 1
        return count

    def void(self, job: SealJob) -> None:
        """The message of a job was declined, or may be lost, and is to be sealed again."""
        if read_header(job.header).sid == self.descriptor.sid:
            self._void.add(job.index)

    def is_spent(self, roster: Roster, now_ms: int) -> bool:
        """Whether the next message must begin a new session: 256 messages, 24 h, or somebody is gone (SC1 §9)."""
        return (
            self.index >= SESSION_MESSAGES
            or self.is_over(now_ms)
            or not roster.only_grew(self.descriptor.epoch, roster.epoch)
        )

    def begin(self, epoch: bytes, session_key: bytes, plaintext: bytes) -> SealJob:
        """Take the next key of the chain, and erase what it was made from.

        `session_key` is the relay's, 32 bytes, of that epoch; the plaintext is a padded body. Raises RuntimeError
        while another message is being sealed.
        """
        if self._job is not None:
            raise RuntimeError("the message before is not finished")
        sid, index = self.descriptor.sid, self.index
        key = message_key(session_key, message_seed(self._chain_key), sid, index)
        header = Header(epoch, sid, index, self._prev).packed
        self._chain_key = next_chain_key(self._chain_key)
        self.index += 1
        self._job = SealJob(key, header, plaintext, index)
        return self._job

    def finish(self, job: SealJob, sealed: bytes) -> bytes:
        """Make the frame of what an engine sealed: iv ‖ ciphertext ‖ tag. Raises RuntimeError for another's job."""
        if job is not self._job:
            raise RuntimeError("this message is not the one that is being sealed")
        self._job = None
        self._prev = frame_digest(job.header, sealed)
        return sign_frame(self._device, job.header, sealed)
