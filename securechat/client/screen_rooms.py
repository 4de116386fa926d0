"""The rooms as the screen has them: lines in, those of one room and a row of state out. No widgets.

Everything that somebody else wrote passes through `safe` here, before it becomes a part of a line.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Protocol

from securechat.client import events
from securechat.client.command_line import Talk
from securechat.client.safe import safe_body, safe_line, safe_name
from securechat.client.screen_lines import Line, Log, Row, Span, name_style
from securechat.wire.names import direct_pair

REASON_CHARACTERS: Final = 200
_MARKS: Final = {"verified": "✓", "changed": "!"}
"""Before a name: the key was compared, or is another than before."""


class Spoken(Talk, Protocol):
    """What the lines show of a conversation; `Conversation` has it."""

    @property
    def unacknowledged(self) -> int:
        """How many messages the relay has not acknowledged."""

    @property
    def changed(self) -> list[str]:
        """Whose key is another than before."""

    @property
    def remembered(self) -> list[str]:
        """The rooms of the last run of the program."""

    def past(self, room: str, count: int) -> list[events.Message]:
        """The last messages of a room that were kept."""

    def present(self, room: str) -> list[str]:
        """Which members of a room are there now."""

    def mark(self, room: str, name: str) -> str:
        """What is known of a member's key: verified, changed, or nothing special."""


@dataclass(slots=True, eq=False)
class Room:
    """A room as the screen has it."""

    name: str
    other: str | None
    """Who else is in a direct room."""
    day: date
    """The day of its last line."""
    log: Log = field(default_factory=Log)
    unread: int = 0
    is_faulty: bool = False
    """Whether what the relay shows of it does not hold."""
    recalled: set[tuple[str, str, int]] = field(default_factory=set)
    """Who said what, and under which number, of what was shown at the start as kept by the last run."""
    held: dict[int, Line] = field(default_factory=dict)
    """The lines of messages that cannot be opened yet, by number: where they are filled in."""

    @property
    def title(self) -> str:
        """What it is called here; safe."""
        return safe_name(self.name) if self.other is None else f"direct with {safe_name(self.other)}"


class Rooms:
    """All rooms that were seen, and which one of them is shown.

    `typing` says whether the input line holds a half-typed text. `bell` is set where somebody wrote to us alone
    while another room was shown; whoever rings it takes it back.
    """

    def __init__(
        self, conversation: Spoken, room: str, now: Callable[[], datetime], typing: Callable[[], bool]
    ) -> None:
        self.bell = False
        self.wanted: str | None = None
        """The room to show as soon as it is entered."""
        self._conversation = conversation
        self._now = now
        self._typing = typing
        self._rooms: dict[str, Room] = {}
        self.link: events.Link | None = None
        """What was told of the link last."""
        self.next_try = ""
        """When it is tried again, as the row of state says it."""
        self.shown = self.room(room)

    @property
    def known(self) -> list[str]:
        """The names of all rooms that can be shown."""
        return list(self._rooms)

    @property
    def up(self) -> bool:
        """Whether there is a link."""
        return self.link is not None and self.link.up

    def room(self, name: str) -> Room:
        """The room of a name, made where there is none yet."""
        room = self._rooms.get(name)
        if room is None:
            pair = direct_pair(name)
            other = None
            if pair is not None and self._conversation.name in pair:
                other = pair[0] if pair[1] == self._conversation.name else pair[1]
            room = self._rooms[name] = Room(name, other, self._now().date())
        return room

    def add(self, room: Room, spans: list[Span], when: datetime, *, news: bool = False) -> Line:
        """Add a line to a room, and before it a rule where a day begins."""
        if when.date() != room.day:
            room.day = when.date()
            self.add_rule(room, room.day.isoformat())
        line = Line([("time", f"{when:%H:%M} "), *spans])
        room.log.add(line, news=news)
        return line

    def add_rule(self, room: Room, text: str) -> None:
        """Add a line that parts what is above from what is below."""
        room.log.add(Line([("dim", f"──── {text} ────")]))

    def remark(self, text: str, room: Room | None = None) -> None:
        """A safe line of ours, where the room is that it is about, or where the user looks."""
        self.add(room or self.shown, [("dim", f"-- {text}")], self._now())

    def complain(self, text: str) -> None:
        """A safe line about something that did not work, where the user looks."""
        self.add(self.shown, [("error", f"!! {text}")], self._now())

    def body(self, name: str, text: str) -> list[Span]:
        """Who says what."""
        style = "own" if name == self._conversation.name else name_style(name)
        return [(style, safe_name(name)), ("plain", f": {safe_body(text)}")]

    def messages(self, columns: int, rows: int) -> list[Row]:
        """The rows of the room that is shown, at most so many."""
        return self.shown.log.shown(columns, rows)

    def status(self) -> Row:
        """What matters most comes first, as a narrow screen cuts off the end."""
        room = self.shown
        here = len(self._conversation.present(room.name))
        parts = [f"{room.title}, {here} here" if room.other is None and here else f"{room.title}{self._mark(room)}"]
        link = self.link
        if link is None:
            parts.append("connecting")
        elif not link.up:
            parts.append(f"NOT CONNECTED{self.next_try}")
        changed = self._conversation.changed
        if changed:
            parts.append(f"KEY CHANGED: {', '.join(map(safe_name, changed))}")
        faulty = [each.title for each in self._rooms.values() if each.is_faulty]
        if faulty:
            parts.append(f"LOG DOES NOT HOLD: {', '.join(faulty)}")
        if room.log.new:
            parts.append(f"↓ {room.log.new} new, Ctrl-L")
        if self._conversation.unacknowledged:
            parts.append(f"{self._conversation.unacknowledged} waiting")
        unread = [f"{each.title} {each.unread}" for each in self._rooms.values() if each.unread]
        if unread:
            parts.append(f"unread: {', '.join(unread)}")
        if link is not None and link.up:
            parts.append(safe_line(link.relay, REASON_CHARACTERS))
        return [("status" if link is not None and link.up else "warning", f" {' | '.join(parts)} ")]

    def _mark(self, room: Room) -> str:
        """What is known of the other one's key in a direct room."""
        mark = "" if room.other is None else _MARKS.get(self._conversation.mark(room.name, room.other), "")
        return f" {mark}" if mark else ""

    def company(self, room: str) -> str:
        """Who is in a room, in one line."""
        there = self._conversation.present(room)
        names = [
            f"{_MARKS.get(self._conversation.mark(room, name), '')}{safe_name(name)}"
            f"{'' if name in there else ' (away)'}"
            for name in sorted(self._conversation.members(room))
        ]
        return f"{self.room(room).title}: {', '.join(names)}"

    def show(self, room: Room) -> None:
        """Show a room."""
        self.shown = room
        room.unread = 0

    def show_unless_typing(self, room: Room) -> None:
        """Show a room that the user wants to see, but never under a half-typed text, which is meant for another."""
        if room is self.shown:
            return
        if self._typing():
            self.remark(f"{room.title} is there: Ctrl-N shows it")
        else:
            self.show(room)

    def show_next(self, step: int) -> None:
        """Show the next of the rooms that we are in, or have something to read in, or the one before."""
        there = self._conversation.rooms
        rooms = [room for room in self._rooms.values() if room.name in there or room.unread or room is self.shown]
        self.show(rooms[(rooms.index(self.shown) + step) % len(rooms)])

    def wait_for(self, room: Room, label: str, text: str) -> None:
        """Show something that we say, until `Sent` or `NotSent` tells of it under the same label."""
        room.log.waiting[label] = Line([("dim", "  …   "), *self.body(self._conversation.name, text)])
