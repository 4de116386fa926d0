"""What a client knows of one room: its log and keys, who is there, and what it said that was not taken."""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from securechat.client.dropped import Dropped
from securechat.client.numbers import Absence, Numbers
from securechat.e2e.room import SecureRoom
from securechat.e2e.sender import SealJob
from securechat.signed.certificates import Certificate
from securechat.signed.roster import Roster

SHOWN_IDS: Final = 4_096
"""Messages of a room that are remembered as shown, so that one that was sealed again is not shown again."""
HELD_BACK: Final = 1_024
"""So far behind the latest message one that waits for its key is fetched again by the next run of the program."""


@dataclass(slots=True, eq=False)
class Pending:
    """Something said that the relay has not acknowledged."""

    post_id: bytes
    text: str
    label: str | None
    job: SealJob | None = None
    """How it was sealed the last time."""
    posted: bool = False
    after: int = 0
    """Up to where we knew all messages of the room when it was posted first, so that its number is higher."""
    repeated: bool = False
    """Whether it was posted on a link that was lost, and may have been taken there."""


@dataclass(slots=True, eq=False)
class Wish:
    """A change of a room that is wished for and not made yet."""

    subject: bytes
    """Whom it is about, by identity."""
    draft: Callable[[Roster], bytes]
    """Makes its entry for the log as it stands. Raises `RosterError`."""
    entry: bytes | None = None
    """The entry that is on its way."""
    tries: int = 0


@dataclass(slots=True, eq=False)
class Room:
    """One room that we are a member of, want to be, or have something to say in."""

    name: str
    stay: bool = False
    """Enter it again on every new link, and join it where we are no member."""
    is_open: bool = True
    """How to found it where there is none."""
    secure: SecureRoom | None = None
    total: int = 0
    """How many entries its log has, as far as the relay says."""
    last_seq: int = 0
    present: set[str] = field(default_factory=set)
    """Which members are there now."""
    entered: bool = False
    """Whether the relay has told us everything on this link, and we are a member."""
    asking: bool = False
    from_start: bool = False
    """Whether the log is asked for from its beginning, as it seems to be another one than ours."""
    calling: bool = False
    """Whether the relay is asked for the other one of a room of two, to bring them in again."""
    leaving: bool = False
    """Whether we want out, and the relay has not shown it yet."""
    races: int = 0
    """How many races for the log's next entry were lost since we were last let in."""
    racing: bool = False
    """Whether the next one is about to begin."""
    refusals: int = 0
    """How often what was posted was declined for now, since something was taken."""
    waits: bool = False
    """Whether it is to be posted again in a while, and nothing before that."""
    wishes: deque[Wish] = field(default_factory=deque)
    """Changes that are to be made, one after the other."""
    sealing: bool = False
    rekeying: bool = False
    """Whether a new session begins once what is being sealed is done."""
    fault: str | None = None
    """Why nothing is said or taken here any more."""
    wanted: set[bytes] = field(default_factory=set)
    """Devices whose prekeys were asked for."""
    asked: dict[bytes, set[bytes]] = field(default_factory=dict)
    """Devices that asked for our keys, and of which sessions."""
    keys: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Session keys that came before the log did."""
    told_key: bytes = b""
    """The session key of which was told last on this link."""
    blobs: int = 0
    guests: list[Certificate] = field(default_factory=list)
    """Those for whom the room is: they are added as soon as that can be."""
    names: dict[bytes, str] = field(default_factory=dict)
    """What the members, of now and before, are called, by identity."""
    restored: bool = False
    """Whether the sessions of the last run were taken up, if there were any: before that nothing is stored."""
    numbers: Numbers = field(default_factory=Numbers)
    dropped: Dropped = field(default_factory=Dropped)
    told_up_to: int = 0
    """Up to this number the last run of the program was told what came: it may come again, and is not new."""
    catches_up: bool = False
    """Whether the relay tells us what was said since we were here last."""
    handed: int = 0
    """The relay's number of the sealed keys that we were handed last, and have."""
    place: tuple[int, int] = (0, 0)
    """What of the numbers and of these keys is about to be stored, or is."""
    seen: tuple[int, int] = (0, 0)
    """What of that the relay knows on this link."""
    absence: Absence = field(default_factory=Absence)
    outbox: dict[bytes, Pending] = field(default_factory=dict)
    arrived: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Of messages that are not told yet: whom the relay says they are from, and when they came there."""
    shown: "OrderedDict[tuple[bytes, bytes], None]" = field(default_factory=OrderedDict)

    @property
    def whole(self) -> bool:
        """Whether all of the log is known."""
        return self.secure is not None and len(self.secure.roster) >= self.total

    @property
    def known(self) -> int:
        """The number from which on we would have to be told again: what is held here would be gone with us.

        What is held for too long is given up: whoever sends what nobody can open must not keep us there for ever.
        """
        known = self.numbers.known
        for first in (self.dropped.first, None if self.secure is None else self.secure.first_held):
            if first is not None and self.numbers.top - first <= HELD_BACK:
                known = min(known, first - 1)
        return known

    @property
    def repeats(self) -> bool:
        """Whether it is not known yet of something of ours if it was taken before the link was lost."""
        # Messages are posted in their order, so what was posted before stands first.
        first = next(iter(self.outbox.values()), None)
        return first is not None and first.repeated

    @property
    def is_repeating(self) -> bool:
        """Whether such a message is posted again and not answered yet."""
        return self.repeats and next(iter(self.outbox.values())).posted

    def is_new(self, sender: bytes, message_id: bytes) -> bool:
        """Note a message as shown; False where its sender (an identity key) has said it before.

        Senders choose the ids, and the relay sees them: by the id alone one could keep another's message away.
        """
        if (sender, message_id) in self.shown:
            return False
        self.shown[sender, message_id] = None
        if len(self.shown) > SHOWN_IDS:
            self.shown.popitem(last=False)
        return True
