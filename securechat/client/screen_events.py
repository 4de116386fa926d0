"""What the screen says of each event of a conversation: where it stands, and in which words. No widgets.

Everything that somebody else wrote passes through `safe` here, before it becomes a part of a line.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Final

from securechat.client import events
from securechat.client.archive import HISTORY
from securechat.client.safe import safe_body, safe_line, safe_name
from securechat.client.screen_lines import Span
from securechat.client.screen_rooms import REASON_CHARACTERS, Room, Rooms, Spoken

_NAMES_SHOWN: Final = 12


class Telling:
    """Writes what happens into the rooms of the screen."""

    def __init__(self, conversation: Spoken, rooms: Rooms, now: Callable[[], datetime]) -> None:
        self._conversation = conversation
        self._rooms = rooms
        self._now = now

    def recall(self) -> None:
        """Begin with what was said before, in every room."""
        for name in self._conversation.remembered:
            room = self._rooms.room(name)
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
                self._heard(self._rooms.room(event.room), event.seq, event.time, self._message(event))
            case events.Unreadable():
                whose = f"of {safe_name(event.sender)} " if event.sender else ""
                why = f"!! a message {whose}cannot be read: {_reason(event.reason)}"
                self._heard(self._rooms.room(event.room), event.seq, event.time, [("error", why)])
            case events.Held():
                why = f"-- a message of {safe_name(event.sender)} is here: {_reason(event.reason)}"
                room = self._rooms.room(event.room)
                room.held[event.seq] = self._rooms.add(room, [("dim", why)], self._local(event.time))
            case events.Gap():
                count = event.last - event.first + 1
                what = "a message" if count == 1 else f"{count} messages"
                self._rooms.remark(
                    f"{what} of {safe_name(event.sender)} did not come yet", self._rooms.room(event.room)
                )
            case events.KeyChanged():
                self._key_changed(event)
            case events.Fault():
                why = f"!! the log of {safe_name(event.room)} does not hold: {_reason(event.reason)}. "
                spans: list[Span] = [("error", f"{why}Nothing more is said or taken here.")]
                room = self._rooms.room(event.room)
                room.is_faulty = True
                self._rooms.add(room, spans, self._now())
            case events.Info():
                self._rooms.remark("\n".join(safe_line(line, REASON_CHARACTERS) for line in event.lines))
            case events.Sent():
                self._sent(event)
            case events.NotSent():
                self._not_sent(event)
            case events.History():
                self._history(event)
            case events.Policy():
                who = safe_name(event.name)
                self._rooms.remark(f"{who} has decided: {_kept(event.history_days)}", self._rooms.room(event.room))
            case events.Entered():
                self._entered(event)
            case events.NotEntered():
                self._rooms.wanted = None
                self._rooms.complain(f"cannot enter {safe_name(event.room)}: {_reason(event.reason)}")
            case events.Joined():
                self._rooms.remark(f"{safe_name(event.name)} is a member now", self._rooms.room(event.room))
            case events.Came():
                self._rooms.remark(f"{safe_name(event.name)} has come", self._rooms.room(event.room))
            case events.Gone():
                self._rooms.remark(f"{safe_name(event.name)} is away", self._rooms.room(event.room))
            case events.Left():
                self._left(event)
            case events.Missed():
                count = event.last - event.first + 1
                what = "a message" if count == 1 else f"{count} messages"
                self._rooms.remark(f"{what} did not come here", self._rooms.room(event.room))
            case events.Keyed():
                fingerprint = safe_line(event.fingerprint, 64)
                text = f"a new session key of {event.bytes} bytes, with the fingerprint {fingerprint}"
                self._rooms.remark(text, self._rooms.room(event.room))
            case events.Link():
                self._linked(event)
            case events.Motd():
                self._rooms.remark(f"the relay says: {safe_body(event.text)}")
            case events.Error():
                self._rooms.complain(_reason(event.text))

    def _is_recalled(self, event: events.Message) -> bool:
        return (event.sender, event.text, event.seq) in self._rooms.room(event.room).recalled

    def _history(self, event: events.History) -> None:
        room = self._rooms.room(event.room)
        self._past(room, event.messages)
        policy = "" if event.days is None else f"; {_kept(event.days)}"
        if not event.messages:
            self._rooms.remark(f"nothing that was said here is kept{policy}", room)
        elif policy:
            self._rooms.remark(_kept(event.days or 0), room)

    def _past(self, room: Room, messages: list[events.Message]) -> None:
        """Lines of messages that were told before, between two that say so."""
        if not messages:
            return
        self._rooms.add_rule(room, "what was said before")
        room.day = date.min
        for message in messages:
            self._rooms.add(room, self._message(message), self._local(message.time))
        self._rooms.add_rule(room, "that was before")

    def _message(self, event: events.Message) -> list[Span]:
        """What was said, behind marks for what is unusual about it."""
        spans = self._rooms.body(event.sender, event.text)
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
        self._rooms.add(
            self._rooms.room(event.room) if event.room else self._rooms.shown, [("error", text)], self._now()
        )

    def _heard(self, room: Room, seq: int, time: datetime, spans: list[Span]) -> None:
        """A message was opened, or never will be: at its place where it has one, else at the end."""
        when = self._local(time)
        held = room.held.pop(seq, None)
        if held is None or not room.log.replace(held, [("time", f"{when:%H:%M} "), *spans]):
            self._rooms.add(room, spans, when, news=True)
        if room is self._rooms.shown:
            return
        room.unread += 1
        if room.other is not None:
            self._rooms.bell = True
            if room.unread == 1:
                self._rooms.remark(
                    f"{safe_name(room.other)} wrote to you alone; /msg {safe_name(room.other)} shows it"
                )

    def _sent(self, event: events.Sent) -> None:
        room = self._rooms.room(event.room)
        room.log.waiting.pop(event.id or "", None)
        if (self._conversation.name, event.text, event.seq) in room.recalled:
            # The last run was killed when it had heard of this, and it stands above.
            return
        self._rooms.add(room, self._rooms.body(self._conversation.name, event.text), self._now())
        if room is not self._rooms.shown and room.other is not None:
            self._rooms.remark(f"sent to {safe_name(room.other)} alone")

    def _not_sent(self, event: events.NotSent) -> None:
        room = self._rooms.room(event.room)
        room.log.waiting.pop(event.id or "", None)
        # The text stands below, where nothing but its own lines can be taken for it.
        why = f"!! not sent, {_reason(event.reason)}:"
        self._rooms.add(room, [("error", why), ("plain", f"\n{safe_body(event.text)}")], self._now())
        if room is not self._rooms.shown:
            self._rooms.complain(f"a message to {room.title} was not sent: {_reason(event.reason)}")

    def _entered(self, event: events.Entered) -> None:
        room = self._rooms.room(event.room)
        others = [safe_name(name) for name in event.members if name != self._conversation.name]
        more = f" and {len(others) - _NAMES_SHOWN} more" if len(others) > _NAMES_SHOWN else ""
        company = f"with {', '.join(others[:_NAMES_SHOWN])}{more}" if others else "alone"
        self._rooms.remark(
            f"you are in {safe_name(event.room)} {company}" if room.other is None else f"you are {company}", room
        )
        if event.history_days:
            self._rooms.remark(_kept(event.history_days), room)
        if self._rooms.wanted == room.name:
            self._rooms.wanted = None
            self._rooms.show_unless_typing(room)

    def _left(self, event: events.Left) -> None:
        room = self._rooms.room(event.room)
        if event.name != self._conversation.name:
            self._rooms.remark(f"{safe_name(event.name)} has left", room)
            return
        room.is_faulty = False
        self._rooms.remark("you have left", room)
        still_in = [name for name in self._conversation.rooms if name != room.name]
        if room is self._rooms.shown and still_in:
            self._rooms.show_unless_typing(self._rooms.room(still_in[0]))

    def _linked(self, link: events.Link) -> None:
        before, self._rooms.link = self._rooms.link, link
        self._rooms.next_try = ""
        if link.up:
            if before is None or not before.up:
                self._rooms.remark(f"connected to {safe_line(link.relay, REASON_CHARACTERS)}")
            return
        retry = "it is not tried again"
        if link.retry_s is not None:
            retry = f"trying again in {max(link.retry_s, 1):.0f} s"
            self._rooms.next_try = f", next try {self._now() + timedelta(seconds=link.retry_s):%H:%M:%S}"
        if before is None or before.up:
            reason = _reason(link.reason) or "the connection is lost"
            self._rooms.complain(f"{reason}; {retry}. What you write is kept.")

    def _local(self, when: datetime) -> datetime:
        try:
            return when.astimezone(self._now().tzinfo)
        except (OverflowError, ValueError):
            # The last moment that the calendar has is later in some zones.
            return when


def _kept(days: int) -> str:
    """What a room's policy means, in words."""
    if not days:
        return "what is said here is not kept, and nobody can read it again"
    return f"what is said here is kept for {days} {'day' if days == 1 else 'days'}, to be read again"


def _reason(text: str) -> str:
    return safe_line(text, REASON_CHARACTERS)
