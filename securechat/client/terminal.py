"""The screen of `securechat chat` on a terminal: events of a conversation in, commands for it out.

Above are the messages of one room, below them a line about the state, at the bottom the input. A frame is drawn at
most once in a turn of the reactor, however much happened in it.
"""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TextIO

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from securechat.client import command_line, commands, events
from securechat.client.safe import safe_name
from securechat.client.screen_device import Device, usable
from securechat.client.screen_events import Telling
from securechat.client.screen_frame import ChatFrame, InputLine
from securechat.client.screen_rooms import Room, Rooms, Spoken
from securechat.wire.names import is_room

__all__ = ["Speaking", "Terminal", "usable"]


class Speaking(Spoken, Protocol):
    """What the screen asks of a conversation; `Conversation` does it."""

    def say(self, room: str, text: str, label: str | None = None) -> None:
        """Say something in a room."""

    def enter(self, room: str) -> None:
        """Enter a room, now and on every new link."""

    def found_closed(self, room: str) -> None:
        """Found a room that only those enter whom we add."""

    def leave(self, room: str) -> None:
        """Leave a room."""

    def invite(self, room: str, name: str) -> None:
        """Bring somebody into a room."""

    def remove(self, room: str, name: str) -> None:
        """Put somebody out of a room."""

    def rekey(self, room: str) -> None:
        """Begin a new session with the next message."""

    def history(self, room: str, count: int) -> None:
        """Tell the last messages of a room that were kept."""

    def keep_history(self, room: str, days: int) -> None:
        """Have what is said in a room be kept for so many days."""

    def safety(self, name: str) -> None:
        """Tell a safety number."""

    def verify(self, name: str) -> None:
        """Mark somebody as verified."""

    def trust(self, name: str) -> None:
        """Accept somebody's new key."""

    def whois(self, name: str) -> None:
        """Tell what is known of somebody."""


class Terminal:
    """Shows a conversation and takes what is typed. `frame` is all of it as one urwid widget.

    `room` is shown first; "@bob" stands for the direct room with bob. `quit` is called when the user wants to end,
    or the terminal is gone; it shall have `stop` called before the program ends. `now` gives the time with its
    zone, which is the one that all times are shown in. `tell` is the sink for the conversation's events, and works
    before `start` and after `stop` too, unseen.
    """

    def __init__(
        self,
        reactor: Any,
        conversation: Speaking,
        room: str,
        *,
        quit: Callable[[], None],
        color: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._reactor = reactor
        self._conversation = conversation
        self._quit = quit
        self._color = color
        self._labels = 0
        self._device: Device | None = None
        self._drawing: IDelayedCall | None = None
        self._trigger: Any = None
        self._line = InputLine(self._submitted, self._completion, reactor.seconds)
        first = room if is_room(room) else conversation.direct_room(room.removeprefix("@")) or room
        self._rooms = Rooms(conversation, first, now, lambda: bool(self._line.text))
        self._telling = Telling(conversation, self._rooms, now)
        self._telling.recall()
        self.frame = ChatFrame(self._rooms.messages, self._rooms.status, self._line, self._other_key)

    @property
    def room(self) -> str:
        """The name of the room that is shown."""
        return self._rooms.shown.name

    def start(self, stdin: TextIO | None = None, stdout: TextIO | None = None) -> None:
        """Take the terminal; see `usable`. The reactor may run already, or not yet."""
        self._device = Device(
            self._reactor,
            self.frame,
            stdin=stdin or sys.stdin,
            stdout=stdout or sys.stdout,
            color=self._color,
            pressed=self._pressed,
            lost=self._terminal_lost,
        )
        try:
            self._device.start()
        except BaseException:
            self._device = None
            raise
        # Whatever stops the reactor, the terminal does not stay as it is now.
        self._trigger = self._reactor.addSystemEventTrigger("before", "shutdown", self._reactor_stops)
        self._draw_soon()

    def stop(self) -> None:
        """Give the terminal back as it was; nothing of the chat stays on it. Harmless when done twice."""
        device, self._device = self._device, None
        if device is None:
            return
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._reactor.removeSystemEventTrigger(trigger)
        if self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None
        device.stop()

    def is_taken(self) -> bool:
        """What is on the screen ends with us, and what is kept of it is shown again."""
        return True

    def close(self) -> Deferred[None]:
        """The same, for whoever waits for it."""
        self.stop()
        return succeed(None)

    def _reactor_stops(self) -> None:
        # A trigger that runs cannot be removed any more.
        self._trigger = None
        self.stop()

    def tell(self, event: events.Event) -> None:
        """Something happened in the conversation."""
        self._telling.tell(event)
        self._draw_soon()

    def _draw_soon(self) -> None:
        if self._device is not None and self._drawing is None:
            self._drawing = self._reactor.callLater(0, self._draw)

    def _draw(self) -> None:
        self._drawing = None
        if self._device is not None:
            bell, self._rooms.bell = self._rooms.bell, False
            if bell:
                self._device.ring()
            self._device.draw()

    def _pressed(self, size: tuple[int, int], key: str) -> None:
        self.frame.keypress(size, key)
        self._draw_soon()

    def _terminal_lost(self) -> None:
        if self._device is not None:
            self.stop()
            self._quit()

    def _other_key(self, key: str, columns: int, rows: int) -> None:
        """A key that the input has no use for."""
        log = self._rooms.shown.log
        if key in ("page up", "page down"):
            page = max(rows - 1, 1)
            log.scroll(-page if key == "page up" else page, columns, rows)
        elif key == "ctrl l":
            log.follow()
            if self._device is not None:
                self._device.clear()
        elif key == "ctrl c" and self._line.text:
            self._line.clear()
        elif key == "ctrl c" or (key == "ctrl d" and not self._line.text):
            self._quit()
        elif key in ("ctrl n", "ctrl p"):
            self._rooms.show_next(1 if key == "ctrl n" else -1)

    def _completion(self, line: str, cursor: int) -> command_line.Completion:
        return command_line.complete(line, cursor, self.room, self._conversation, self._rooms.known)

    def _submitted(self, text: str) -> None:
        rooms, room = self._rooms, self._rooms.shown
        room.log.follow()
        match command_line.parse(text, room.name, self._conversation, self._rooms.known):
            case commands.Say(said):
                self._say(room, said)
            case commands.Direct(_, name, said):
                if said:
                    self._say(rooms.room(name), said)
                else:
                    rooms.show(rooms.room(name))
            case commands.Join(name):
                self._join(name)
            case commands.New(name):
                self._rooms.wanted = name
                self._conversation.found_closed(name)
            case commands.About(what, name):
                self._about(what, room, name)
            case commands.Safety(name):
                self._conversation.safety(name)
            case commands.Rekey(name):
                self._conversation.rekey(name)
            case commands.History(count):
                self._conversation.history(room.name, count)
            case commands.Keep(days):
                self._conversation.keep_history(room.name, days)
            case commands.Leave(name):
                self._conversation.leave(name)
            case commands.Switch(name):
                rooms.show(rooms.room(name))
            case commands.Who(name):
                rooms.remark(rooms.company(name))
            case commands.Rooms():
                every = [rooms.company(name) for name in self._conversation.rooms]
                rooms.remark("\n".join(every) or "you are in no room now")
            case commands.Help(lines):
                rooms.remark("\n".join(("help", *lines)))
            case commands.Clear():
                room.log.clear()
            case commands.Quit():
                self._quit()
            case commands.Wrong(why):
                rooms.complain(why)

    def _about(self, what: str, room: Room, name: str) -> None:
        """Do something about one person, where the command belongs to a room in the one that is shown."""
        talk = self._conversation
        match what:
            case "invite":
                talk.invite(room.name, name)
            case "remove":
                talk.remove(room.name, name)
            case "verify":
                talk.verify(name)
            case "trust":
                talk.trust(name)
            case _:
                talk.whois(name)

    def _say(self, room: Room, text: str) -> None:
        self._labels += 1
        label = f"typed-{self._labels}"
        # Shown first, as the answer may come at once.
        self._rooms.wait_for(room, label, text)
        self._conversation.say(room.name, text, label)

    def _join(self, name: str) -> None:
        if name in self._conversation.rooms:
            self._rooms.show(self._rooms.room(name))
            return
        self._rooms.wanted = name
        self._conversation.enter(name)
        if not self._rooms.up:
            self._rooms.remark(f"{safe_name(name)} will be entered when there is a connection")
