"""What a client knows of one room: its log and keys, who is there, and what it said that was not taken."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from securechat.client.numbers import Numbers
from securechat.e2e.room import SecureRoom
from securechat.e2e.sender import SealJob
from securechat.signed.certificates import Certificate
from securechat.signed.roster import Roster

SHOWN_IDS: Final = 4_096
"""Messages of a room that are remembered as shown, so that one that was sealed again is not shown again."""


@dataclass(slots=True, eq=False)
class Pending:
    """Something said that the relay has not acknowledged."""

    post_id: bytes
    text: str
    label: str | None
    job: SealJob | None = None
    """How it was sealed the last time."""
    epoch: bytes = b""
    """For which epoch that was."""
    posted: bool = False


@dataclass(slots=True, eq=False)
class Wish:
    """A change of a room's log that somebody asked for: made anew for as long as others' entries are faster."""

    what: tuple[str, bytes]
    """The same for two that ask for the same."""
    draft: Callable[[Roster], bytes]
    is_done: Callable[[Roster], bool]


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
    wishes: list[Wish] = field(default_factory=list)
    """Changes that are not in the log yet, in the order in which they were asked for."""
    appending: bool = False
    """Whether the first of them is on its way, or was too late and waits for its next turn."""
    races: int = 0
    """How many races for the next entry were lost since we entered, or since one was won."""
    racing: bool = False
    """Whether the next one is about to begin."""
    sealing: bool = False
    rekeying: bool = False
    """Whether a new session begins once what is being sealed is done."""
    fault: str | None = None
    """Why nothing is said or taken here any more."""
    wanted: set[bytes] = field(default_factory=set)
    """Devices whose prekeys were asked for."""
    asked: dict[bytes, bytes] = field(default_factory=dict)
    """Devices that asked for our key, and their session's number."""
    keys: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Session keys that came before the log did."""
    blobs: int = 0
    guests: list[Certificate] = field(default_factory=list)
    """Those for whom the room is: they are added as soon as that can be."""
    names: dict[bytes, str] = field(default_factory=dict)
    """What the members, of now and before, are called, by identity."""
    restored: bool = False
    """Whether the sessions of the last run were taken up."""
    numbers: Numbers = field(default_factory=Numbers)
    outbox: dict[bytes, Pending] = field(default_factory=dict)
    shown: "OrderedDict[tuple[bytes, bytes], None]" = field(default_factory=OrderedDict)
    changed: set[str] = field(default_factory=set)
    """Members whose key is another than before, and of whom that was told."""

    @property
    def whole(self) -> bool:
        """Whether all of the log is known."""
        return self.secure is not None and len(self.secure.roster) >= self.total

    @property
    def known(self) -> int:
        """How many entries of the log are known."""
        return 0 if self.secure is None else len(self.secure.roster)

    def is_new(self, identity: bytes, message_id: bytes) -> bool:
        """Note a message of somebody as shown; False where it was already."""
        if (identity, message_id) in self.shown:
            return False
        self.shown[identity, message_id] = None
        if len(self.shown) > SHOWN_IDS:
            self.shown.popitem(last=False)
        return True
