"""What becomes of a frame or a sealed key that came: typed, so that a screen can say it in its own words.

All cryptographic failures are the one `Refusal.NOT_AUTHENTIC`. The others tell a person what happened or a client
what to do; each is decided by what the relay can see as well, or by a sender whose signature was good.
"""

from dataclasses import dataclass
from enum import StrEnum

from securechat.e2e.content import Said
from securechat.e2e.safety import Standing
from securechat.signed.rights import Member


class Refusal(StrEnum):
    """Why something is not shown, now or ever."""

    NOT_AUTHENTIC = "it is not authentic: somebody changed it, or made it for another place"
    REPLAYED = "it came before"
    TOO_FAR = "too many messages before it are missing"
    KEY_GONE = "its key was deleted, or never handed to us"
    NOT_A_MEMBER = "its sender was no member of the room"
    STALE_EPOCH = "it was sealed for members who are no more"
    FORKED = "its sender made two different messages with one number"
    UNKNOWN_KIND = "its content is of a kind that is not known here"
    TOO_MANY_HELD = "too many messages wait for their keys"


class Awaited(StrEnum):
    """What a frame or a sealed key is held for."""

    SENDER_KEY = "the key of its sender"
    ROSTER = "the latest entries of the room's log"
    SESSION_KEY = "the relay's session key"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame as it came."""

    seq: int
    """The caller's number for it; comes back in the outcome."""
    sender: str
    """Whom the relay says it is from: where to look for its session, and nothing more."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """An authentic message."""

    seq: int
    sender: Member
    """Whose device signed it; the relay has no say in this."""
    standing: Standing
    """What we know of the sender's key."""
    index: int
    said: Said
    gap: tuple[int, int] | None = None
    """The first and the last of the sender's messages that are missing right before it. They may still come."""
    is_late: bool = False
    """Whether it fills such a gap."""
    is_former: bool = False
    """Whether its sender is no member any more."""
    is_forked: bool = False
    """Whether its sender made another message before it than the one that we were given."""


@dataclass(frozen=True, slots=True)
class Held:
    """A frame that is kept until something else comes."""

    seq: int
    sender: str
    """Whom the relay says it is from, and whom to ask for a sender's key."""
    sid: bytes
    epoch: bytes
    awaited: Awaited
    ask: bool
    """Whether to ask for it now: once for each session, log or session key."""

    @property
    def wanted(self) -> tuple[str, bytes]:
        """What is missing: the same for all that wait for the same."""
        return (self.sender, self.sid) if self.awaited is Awaited.SENDER_KEY else (self.awaited, self.epoch)


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame or a sealed key that is never shown or used."""

    seq: int
    refusal: Refusal


Outcome = Opened | Held | Refused


@dataclass(frozen=True, slots=True)
class KeyTaken:
    """A sealed key was opened: `retry` may open what was held for it."""

    sender: Member
    standing: Standing
    sid: bytes
    index: int
    """The first message that it opens."""


KeyOutcome = KeyTaken | Held | Refused
