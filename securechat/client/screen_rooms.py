"""The rooms as the screen has them: events of a conversation in, lines and a row of state out. No widgets.

Everything that somebody else wrote passes through `safe` here, before it becomes a part of a line.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, Protocol

from securechat.client import events
from securechat.client.archive import HISTORY
from securechat.client.command_line import Talk
from securechat.client.safe import safe_body, safe_line, safe_name
from securechat.client.screen_lines import Line, Log, Row, Span, name_style
from securechat.wire.names import direct_pair

_REASON_CHARACTERS: Final = 200
_NAMES_SHOWN: Final = 12
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
        self._link: events.Link | None = None
        self._next_try = ""
        self.shown = self.room(room)

    @property
    def known(self) -> list[str]:
        """The names of all rooms that can be shown."""
        return list(self._rooms)

    @property
    def up(self) -> bool:
        """Whether there is a link."""
        return self._link is not None and self._link.up

    def recall(self) -> None:
        """Begin with what was said before, in every room."""
        for name in self._conversation.remembered:
            room = self.room(name)
            messages = self._conversation.past(name, HISTORY)
            room.recalled = {(each.sender, each.text, each.seq) for each in messages}
            self._past(room, messages)

    def tell(self, event: events.Event) -> None:
        """Something happened in the conversation."""
        match event:
            case events.Message(again=True) if self._is_recalled(event):
                # The last run was killed when it had told this, or was about to; it stands above.
                return
            case events.Message():
                self._heard(self.room(event.room), event.seq, event.time, self._message(event))
            case events.Unreadable():
                whose = f"of {safe_name(event.sender)} " if event.sender else ""
                why = f"!! a message {whose}cannot be read: {_reason(event.reason)}"
                self._heard(self.room(event.room), event.seq, event.time, [("error", why)])
            case events.Held():
                why = f"-- a message of {safe_name(event.sender)} is here: {_reason(event.reason)}"
                room = self.room(event.room)
                room.held[event.seq] = self._add(room, [("dim", why)], self._local(event.time))
            case events.Gap():
                count = event.last - event.first + 1
                what = "a message" if count == 1 else f"{count} messages"
                self.remark(f"{what} of {safe_name(event.sender)} did not come yet", self.room(event.room))
            case events.KeyChanged():
                self._key_changed(event)
            case events.Fault():
                why = f"!! the log of {safe_name(event.room)} does not hold: {_reason(event.reason)}. "
                spans: list[Span] = [("error", f"{why}Nothing more is said or taken here.")]
                room = self.room(event.room)
                room.is_faulty = True
                self._add(room, spans, self._now())
            case events.Info():
                self.remark("\n".join(safe_line(line, _REASON_CHARACTERS) for line in event.lines))
            case events.Sent():
                self._sent(event)
            case events.NotSent():
                self._not_sent(event)
            case events.History():
                self._history(event)
            case events.Policy():
                who = safe_name(event.name)
                self.remark(f"{who} has decided: {_kept(event.history_days)}", self.room(event.room))
            case events.Entered():
                self._entered(event)
            case events.NotEntered():
                self.wanted = None
                self.complain(f"cannot enter {safe_name(event.room)}: {_reason(event.reason)}")
            case events.Joined():
                self.remark(f"{safe_name(event.name)} is a member now", self.room(event.room))
            case events.Came():
                self.remark(f"{safe_name(event.name)} has come", self.room(event.room))
            case events.Gone():
                self.remark(f"{safe_name(event.name)} is away", self.room(event.room))
            case events.Left():
                self._left(event)
            case events.Missed():
                count = event.last - event.first + 1
                what = "a message" if count == 1 else f"{count} messages"
                self.remark(f"{what} did not come here", self.room(event.room))
            case events.Keyed():
                fingerprint = safe_line(event.fingerprint, 64)
                text = f"a new session key of {event.bytes} bytes, with the fingerprint {fingerprint}"
                self.remark(text, self.room(event.room))
            case events.Link():
                self._linked(event)
            case events.Motd():
                self.remark(f"the relay says: {safe_body(event.text)}")
            case events.Error():
                self.complain(_reason(event.text))

    def _is_recalled(self, event: events.Message) -> bool:
        return (event.sender, event.text, event.seq) in self.room(event.room).recalled

    def _history(self, event: events.History) -> None:
        room = self.room(event.room)
        self._past(room, event.messages)
        policy = "" if event.days is None else f"; {_kept(event.days)}"
        if not event.messages:
            self.remark(f"nothing that was said here is kept{policy}", room)
        elif policy:
            self.remark(_kept(event.days or 0), room)

    def _past(self, room: Room, messages: list[events.Message]) -> None:
        """Lines of messages that were told before, between two that say so."""
        if not messages:
            return
        self._add_rule(room, "what was said before")
        room.day = date.min
        for message in messages:
            self._add(room, self._message(message), self._local(message.time))
        self._add_rule(room, "that was before")

    def _message(self, event: events.Message) -> list[Span]:
        """What was said, behind marks for what is unusual about it."""
        spans = self._body(event.sender, event.text)
        if event.key == "changed":
            spans.insert(0, ("error", "! "))
        if event.forked:
            spans.insert(0, ("error", "!! others were told something else before this: "))
        if event.former:
            spans.insert(0, ("error", "(not in the room any more) "))
        if event.again:
            spans.insert(0, ("dim", "(again) "))
        if event.late:
            spans.insert(0, ("dim", "(late) "))
        return spans

    def _key_changed(self, event: events.KeyChanged) -> None:
        name = safe_name(event.name)
        text = (
            f"!! the key of {name} is ANOTHER than before: {safe_line(event.key, 64)}. Nothing is sealed to {name} "
            f"until you decide: /verify {name} shows the number to compare, /trust {name} accepts the new key."
        )
        self._add(self.room(event.room) if event.room else self.shown, [("error", text)], self._now())

    def _heard(self, room: Room, seq: int, time: datetime, spans: list[Span]) -> None:
        """A message was opened, or never will be: at its place where it has one, else at the end."""
        when = self._local(time)
        held = room.held.pop(seq, None)
        if held is None or not room.log.replace(held, [("time", f"{when:%H:%M} "), *spans]):
            self._add(room, spans, when, news=True)
        if room is self.shown:
            return
        room.unread += 1
        if room.other is not None:
            self.bell = True
            if room.unread == 1:
                self.remark(f"{safe_name(room.other)} wrote to you alone; /msg {safe_name(room.other)} shows it")

    def _sent(self, event: events.Sent) -> None:
        room = self.room(event.room)
        room.log.waiting.pop(event.id or "", None)
        if (self._conversation.name, event.text, event.seq) in room.recalled:
            # The last run was killed when it had heard of this, and it stands above.
            return
        self._add(room, self._body(self._conversation.name, event.text), self._now())
        if room is not self.shown and room.other is not None:
            self.remark(f"sent to {safe_name(room.other)} alone")

    def _not_sent(self, event: events.NotSent) -> None:
        room = self.room(event.room)
        room.log.waiting.pop(event.id or "", None)
        # The text stands below, where nothing but its own lines can be taken for it.
        why = f"!! not sent, {_reason(event.reason)}:"
        self._add(room, [("error", why), ("plain", f"\n{safe_body(event.text)}")], self._now())
        if room is not self.shown:
            self.complain(f"a message to {room.title} was not sent: {_reason(event.reason)}")

    def _entered(self, event: events.Entered) -> None:
        room = self.room(event.room)
        others = [safe_name(name) for name in event.members if name != self._conversation.name]
        more = f" and {len(others) - _NAMES_SHOWN} more" if len(others) > _NAMES_SHOWN else ""
        company = f"with {', '.join(others[:_NAMES_SHOWN])}{more}" if others else "alone"
        self.remark(
            f"you are in {safe_name(event.room)} {company}" if room.other is None else f"you are {company}", room
        )
        if event.history_days:
            self.remark(_kept(event.history_days), room)
        if self.wanted == room.name:
            self.wanted = None
            self._show_unless_typing(room)

    def _left(self, event: events.Left) -> None:
        room = self.room(event.room)
        if event.name != self._conversation.name:
            self.remark(f"{safe_name(event.name)} has left", room)
            return
        room.is_faulty = False
        self.remark("you have left", room)
        still_in = [name for name in self._conversation.rooms if name != room.name]
        if room is self.shown and still_in:
            self._show_unless_typing(self.room(still_in[0]))

    def _show_unless_typing(self, room: Room) -> None:
        """Show a room that the user wants to see, but never under a half-typed text, which is meant for another."""
        if room is self.shown:
            return
        if self._typing():
            self.remark(f"{room.title} is there: Ctrl-N shows it")
        else:
            self.show(room)

    def _linked(self, link: events.Link) -> None:
        before, self._link = self._link, link
        self._next_try = ""
        if link.up:
            if before is None or not before.up:
                self.remark(f"connected to {safe_line(link.relay, _REASON_CHARACTERS)}")
            return
        retry = "it is not tried again"
        if link.retry_s is not None:
            retry = f"trying again in {max(link.retry_s, 1):.0f} s"
            self._next_try = f", next try {self._now() + timedelta(seconds=link.retry_s):%H:%M:%S}"
        if before is None or before.up:
            reason = _reason(link.reason) or "the connection is lost"
            self.complain(f"{reason}; {retry}. What you write is kept.")

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

    def _add(self, room: Room, spans: list[Span], when: datetime, *, news: bool = False) -> Line:
        if when.date() != room.day:
            room.day = when.date()
            self._add_rule(room, room.day.isoformat())
        line = Line([("time", f"{when:%H:%M} "), *spans])
        room.log.add(line, news=news)
        return line

    def _add_rule(self, room: Room, text: str) -> None:
        room.log.add(Line([("dim", f"──── {text} ────")]))

    def remark(self, text: str, room: Room | None = None) -> None:
        """A safe line of ours, where the room is that it is about, or where the user looks."""
        self._add(room or self.shown, [("dim", f"-- {text}")], self._now())

    def complain(self, text: str) -> None:
        """A safe line about something that did not work, where the user looks."""
        self._add(self.shown, [("error", f"!! {text}")], self._now())

    def _body(self, name: str, text: str) -> list[Span]:
        style = "own" if name == self._conversation.name else name_style(name)
        return [(style, safe_name(name)), ("plain", f": {safe_body(text)}")]

    def _local(self, when: datetime) -> datetime:
        try:
            return when.astimezone(self._now().tzinfo)
        except (OverflowError, ValueError):
            # The last moment that the calendar has is later in some zones.
            return when

    def messages(self, columns: int, rows: int) -> list[Row]:
        """The rows of the room that is shown, at most so many."""
        return self.shown.log.shown(columns, rows)

    def status(self) -> Row:
        """What matters most comes first, as a narrow screen cuts off the end."""
        room = self.shown
        here = len(self._conversation.present(room.name))
        parts = [f"{room.title}, {here} here" if room.other is None and here else f"{room.title}{self._mark(room)}"]
        link = self._link
        if link is None:
            parts.append("connecting")
        elif not link.up:
            parts.append(f"NOT CONNECTED{self._next_try}")
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
            parts.append(safe_line(link.relay, _REASON_CHARACTERS))
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

    def show_next(self, step: int) -> None:
        """Show the next of the rooms that we are in, or have something to read in, or the one before."""
        there = self._conversation.rooms
        rooms = [room for room in self._rooms.values() if room.name in there or room.unread or room is self.shown]
        self.show(rooms[(rooms.index(self.shown) + step) % len(rooms)])

    def wait_for(self, room: Room, label: str, text: str) -> None:
        """Show something that we say, until `Sent` or `NotSent` tells of it under the same label."""
        room.log.waiting[label] = Line([("dim", "  …   "), *self._body(self._conversation.name, text)])


def _kept(days: int) -> str:
    """What a room's policy means, in words."""
    if not days:
        return "what is said here is not kept, and nobody can read it again"
    return f"what is said here is kept for {days} {'day' if days == 1 else 'days'}, to be read again"


def _reason(text: str) -> str:
    return safe_line(text, _REASON_CHARACTERS)
