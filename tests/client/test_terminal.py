"""The screen drawn in memory: what is shown, what is typed, and what other people's text cannot do."""

import contextlib
import os
import pty
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from select import select
from unicodedata import category

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from securechat.client import events
from securechat.client.conversation import Conversation
from securechat.client.screen_frame import INPUT_CHARACTERS
from securechat.client.screen_lines import CHARACTERS, LINES, PALETTE, Line, Log, name_style, wrap
from securechat.client.terminal import Terminal
from securechat.e2e.identity import new_person
from securechat.e2e.keystore import Secrets
from securechat.e2e.prekeys import PrekeyRing
from securechat.signed.roster import Roster as SignedLog
from securechat.wire import messages as wire
from securechat.wire.codes import Code
from securechat.wire.names import direct_room, name_refusal

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SIZE = (60, 14)

HOSTILE = (
    "\x1b[2J\x1b]0;t\x07\x9b1m\r\n\x00\u202e\u2066\u2028\u2029\x85\u200b\ufeff\u00ad\U000e0041\ud800q"
    + "\u0316" * 1000
)


@dataclass
class FakeConversation:
    """A conversation that remembers what it was asked for."""

    name: str = "alice"
    there: dict[str, list[str]] = field(default_factory=lambda: {"#lobby": ["alice", "bob", "bert"]})
    said: list[tuple[str, str, str | None]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    unacknowledged: int = 0
    changed: list[str] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    marks: dict[str, str] = field(default_factory=dict)
    kept: dict[str, list[events.Message]] = field(default_factory=dict)

    @property
    def rooms(self) -> list[str]:
        """The rooms that alice is in."""
        return list(self.there)

    def members(self, room: str) -> list[str]:
        """Who is there."""
        return self.there.get(room, [])

    def present(self, room: str) -> list[str]:
        """Who of them is there now."""
        return [name for name in self.members(room) if name not in self.away]

    def mark(self, room: str, name: str) -> str:
        """What is known of a key."""
        return self.marks.get(name, "")

    def direct_room(self, name: str) -> str | None:
        """The room of alice and one other."""
        if name == self.name or name_refusal(name) is not None:
            return None
        return direct_room(self.name, name)

    def say(self, room: str, text: str, label: str | None = None) -> None:
        """Remember what was said."""
        self.said.append((room, text, label))

    def enter(self, room: str) -> None:
        """Remember which room was to be entered."""
        self.asked.append(("enter", room))

    def leave(self, room: str) -> None:
        """Remember which room was to be left."""
        self.asked.append(("leave", room))

    def found_closed(self, room: str) -> None:
        """Remember which room was to be founded."""
        self.asked.append(("new", room))

    def invite(self, room: str, name: str) -> None:
        """Remember who was invited."""
        self.asked.append(("invite", f"{room} {name}"))

    def remove(self, room: str, name: str) -> None:
        """Remember who was put out."""
        self.asked.append(("remove", f"{room} {name}"))

    def rekey(self, room: str) -> None:
        """Remember where a new session was wanted."""
        self.asked.append(("rekey", room))

    @property
    def remembered(self) -> list[str]:
        """The rooms of the last run."""
        return list(self.kept)

    def past(self, room: str, count: int) -> list[events.Message]:
        """What the last run has kept."""
        return self.kept.get(room, [])[-count:]

    def history(self, room: str, count: int) -> None:
        """Remember of which room what was said before was wanted."""
        self.asked.append(("history", f"{room} {count}"))

    def keep_history(self, room: str, days: int) -> None:
        """Remember for how long what is said was to be kept."""
        self.asked.append(("keep", f"{room} {days}"))

    def safety(self, name: str) -> None:
        """Remember whose number was wanted."""
        self.asked.append(("safety", name))

    def verify(self, name: str) -> None:
        """Remember who was verified."""
        self.asked.append(("verify", name))

    def trust(self, name: str) -> None:
        """Remember whose key was accepted."""
        self.asked.append(("trust", name))

    def whois(self, name: str) -> None:
        """Remember who was asked for."""
        self.asked.append(("whois", name))


class ScreenTestCase(SynchronousTestCase):
    """A terminal that was not started, drawn in memory."""

    def setUp(self) -> None:
        """Make a terminal for alice in the lobby, at noon."""
        self.time = NOON
        self.quits = 0
        self.reactor = MemoryReactorClock()
        self.conversation = FakeConversation()
        self.terminal = Terminal(
            self.reactor, self.conversation, "#lobby", quit=self.quit, color=True, now=lambda: self.time
        )

    def quit(self) -> None:
        """Count."""
        self.quits += 1

    def rows(self, size: tuple[int, int] = SIZE) -> list[str]:
        """What the screen shows, without the spaces at the ends of rows."""
        rows = [row.decode() for row in self.terminal.frame.render(size, focus=True).text]
        self.assertEqual(len(rows), size[1])
        return [row.rstrip() for row in rows]

    def messages(self, size: tuple[int, int] = SIZE) -> list[str]:
        """The rows of messages."""
        status = max(number for number, row in enumerate(self.rows(size)) if row.startswith(" "))
        return [row for row in self.rows(size)[:status] if row]

    def status(self, size: tuple[int, int] = (200, 8)) -> str:
        """The row about the state, while the input takes one row."""
        return self.rows(size)[-2]

    def typed(self) -> str:
        """What the input shows on one row."""
        return self.rows((200, 8))[-1]

    def type(self, text: str, *keys: str, size: tuple[int, int] = SIZE) -> None:
        """Press a key for each character, then the others."""
        for key in (*text, *keys):
            self.terminal.frame.keypress(size, key)

    def paste(self, text: str) -> None:
        """Paste, as a terminal reports it."""
        self.type("", "begin paste", *("enter" if each == "\n" else each for each in text), "end paste")

    def hear(self, text: str, sender: str = "bob", room: str = "#lobby", minutes: int = 0) -> None:
        """Have somebody say something."""
        self.terminal.tell(events.Message(room, sender, text, self.time + timedelta(minutes=minutes), 1))


class MessageTests(ScreenTestCase):
    """What arrives."""

    def test_messages(self) -> None:
        """A message is a line with the time and the name, in the zone of the clock."""
        self.time = NOON.astimezone(timezone(timedelta(hours=-3)))
        self.terminal.tell(events.Message("#lobby", "bob", "hello", NOON, 1))
        self.assertEqual(self.messages(), ["09:00 bob: hello"])

    def test_no_body_forges_a_line(self) -> None:
        """Every row of a message but the first begins with a gutter, after newlines and where it is wrapped."""
        self.hear(
            "look\n12:00 alice: I pay\n" + "x" * 52 + "12:01 alice: too " + " " * 60 + "12:02 alice: and this"
        )
        rows = self.messages()
        self.assertEqual(rows[0], "12:00 bob: look")
        self.assertGreater(len(rows), 3)
        for row in rows[1:]:
            self.assertTrue(row.startswith("      │"), row)

    def test_half_typed_text_stays(self) -> None:
        """Whatever arrives, the half-typed text and the cursor stay where they are."""
        self.type("half a li", "left")
        before = self.terminal.frame.render(SIZE, focus=True)
        for number in range(40):
            self.hear(f"{HOSTILE} {number}\n" * 5)
            self.terminal.tell(events.Joined("#lobby", f"new{number}"))
            self.terminal.tell(events.Link(number % 2 == 0, "relay", "gone", 1.0))
        after = self.terminal.frame.render(SIZE, focus=True)
        self.assertEqual(after.text[-1], before.text[-1])
        self.assertEqual(after.cursor, before.cursor)
        self.type("X", "enter")
        self.assertEqual(self.conversation.said[0][1], "half a lXi")

    def test_change_of_day(self) -> None:
        """The first line of another day stands below its date."""
        self.hear("late", minutes=719)
        self.hear("early", minutes=721)
        self.assertEqual(self.messages(), ["23:59 bob: late", "──── 2026-03-02 ────", "00:01 bob: early"])

    def test_the_last_moment_of_the_calendar(self) -> None:
        """A time that is beyond the calendar in our zone is shown as it came."""
        self.time = NOON.astimezone(timezone(timedelta(hours=9)))
        self.terminal.tell(events.Message("#lobby", "bob", "hi", datetime.max.replace(tzinfo=UTC), 1))
        self.assertEqual(self.messages(), ["──── 9999-12-31 ────", "23:59 bob: hi"])

    def test_members_keys_and_gaps(self) -> None:
        """Who comes and goes, new keys, what was missed and what cannot be read are told in lines of their own."""
        self.terminal.tell(events.Entered("#lobby", ["alice", "bob"]))
        self.terminal.tell(events.Joined("#lobby", "carol"))
        self.terminal.tell(events.Left("#lobby", "carol"))
        self.terminal.tell(events.Keyed("#lobby", "00ff", 32))
        self.terminal.tell(events.Missed("#lobby", 4, 5))
        self.terminal.tell(events.Missed("#lobby", 7, 7))
        self.terminal.tell(events.Unreadable("#lobby", "bob", NOON, 8, "it is not authentic"))
        self.terminal.tell(events.Motd("be kind"))
        self.terminal.tell(events.Error("no such thing"))
        self.assertEqual(
            [row.removeprefix("12:00 ") for row in self.messages((100, 14))],
            [
                "-- you are in #lobby with bob",
                "-- carol is a member now",
                "-- carol has left",
                "-- a new session key of 32 bytes, with the fingerprint 00ff",
                "-- 2 messages did not come here",
                "-- a message did not come here",
                "!! a message of bob cannot be read: it is not authentic",
                "-- the relay says: be kind",
                "!! no such thing",
            ],
        )

    def test_many_members(self) -> None:
        """Of a full room only some names are told."""
        self.terminal.tell(events.Entered("#lobby", [f"n{number}" for number in range(500)]))
        self.assertIn("and 488 more", " ".join(self.messages()))

    def test_the_link(self) -> None:
        """That the link is down and up again is told once each, with the delay, and the state is in the status."""
        self.assertIn("connecting", self.status())
        for retry_s in (0.3, 2.0, 4.0):
            self.terminal.tell(events.Link(False, "relay:1", "nobody answers", retry_s))
        self.assertIn("NOT CONNECTED, next try 12:00:04", self.status())
        for _ in range(2):
            self.terminal.tell(events.Link(True, "relay:1"))
        self.assertIn("relay:1", self.status())
        self.terminal.tell(events.Link(False, "relay:1", "", None))
        self.assertEqual(
            self.messages((100, 10)),
            [
                "12:00 !! nobody answers; trying again in 1 s. What you write is kept.",
                "12:00 -- connected to relay:1",
                "12:00 !! the connection is lost; it is not tried again. What you write is kept.",
            ],
        )

    def test_name_colors(self) -> None:
        """A name has one colour, which is in the palette, and our own has its own."""
        self.assertEqual(name_style("bob"), name_style("bob"))
        self.assertGreater(len({name_style(f"name{number}") for number in range(100)}), 8)
        self.assertIn(name_style("bob"), {name for name, *_ in PALETTE})
        self.hear("hello")
        used = {attribute for row in self.terminal.frame.render(SIZE).content() for attribute, _, _ in row}
        self.assertIn(name_style("bob"), used)


class HostileTests(ScreenTestCase):
    """What other people's strings cannot do."""

    def assert_clean(self) -> None:
        """Check every character that is drawn, in every room, on several sizes."""
        for _ in range(6):
            for size in ((300, 60), SIZE, (7, 30)):
                for row in self.terminal.frame.render(size, focus=True).text:
                    text = row.decode()
                    for each in text:
                        self.assertNotIn(category(each), {"Cc", "Cf", "Cs", "Zl", "Zp"}, ascii(text))
                    self.assertLess(text.count("\u0316"), 5 * size[0])
            self.type("", "ctrl n")

    def test_no_string_gets_through(self) -> None:
        """Escape codes, directions, hidden characters and stacks of marks are in no row, wherever they came in."""
        for room in ("#lobby", "@alice+bob", HOSTILE, f"@{HOSTILE}+bob"):
            self.terminal.tell(events.Entered(room, ["alice", HOSTILE]))
            self.terminal.tell(events.Message(room, HOSTILE, HOSTILE, NOON, 1))
            self.terminal.tell(events.Unreadable(room, HOSTILE, NOON, 1, HOSTILE))
            self.terminal.tell(events.Sent(room, 1, HOSTILE, HOSTILE))
            self.terminal.tell(events.NotSent(room, HOSTILE, HOSTILE, HOSTILE))
            self.terminal.tell(events.NotEntered(room, HOSTILE))
            self.terminal.tell(events.Joined(room, HOSTILE))
            self.terminal.tell(events.Left(room, HOSTILE))
            self.terminal.tell(events.Keyed(room, HOSTILE, 32))
            self.terminal.tell(events.Missed(room, 1, 2))
            self.conversation.there[room] = ["alice", HOSTILE]
        self.terminal.tell(events.Link(True, HOSTILE))
        self.terminal.tell(events.Link(False, HOSTILE, HOSTILE, 2.0))
        self.terminal.tell(events.Motd(HOSTILE))
        self.terminal.tell(events.Error(HOSTILE))
        self.type("/who", "enter")
        self.type("/rooms", "enter")
        self.type("/" + HOSTILE.replace("\ud800", ""), "enter")
        self.assert_clean()

    def test_a_long_reason_is_cut(self) -> None:
        """A reason takes some rows, however long it is."""
        self.terminal.tell(events.Error("because " * 10_000))
        self.assertLess(len(self.messages()), 6)


class TypingTests(ScreenTestCase):
    """What is typed."""

    def test_a_text_is_said(self) -> None:
        """Enter says the text in the room that is shown, once, and the input is empty again."""
        self.type("hello", "enter", "enter")
        self.assertEqual([said[:2] for said in self.conversation.said], [("#lobby", "hello")])
        self.assertEqual(self.typed(), ">")

    def test_sent(self) -> None:
        """What is said waits below everything else until the relay has it, and then stands where it belongs."""
        self.type("one", "enter")
        self.type("two", "enter")
        self.conversation.unacknowledged = 2
        self.hear("between")
        self.assertEqual(self.messages(), ["12:00 bob: between", "  …   alice: one", "  …   alice: two"])
        self.assertIn("2 waiting", self.status())
        for room, text, label in self.conversation.said:
            self.time += timedelta(minutes=1)
            self.terminal.tell(events.Sent(room, 1, text, label))
        self.assertEqual(self.messages(), ["12:00 bob: between", "12:01 alice: one", "12:02 alice: two"])

    def test_not_sent(self) -> None:
        """What was not sent stays on the screen with the reason, and in the history."""
        self.type("first", "meta enter")
        self.type("second", "enter")
        room, text, label = self.conversation.said[0]
        self.terminal.tell(events.NotSent(room, "bob is not here", text, label))
        self.assertEqual(
            self.messages(), ["12:00 !! not sent, bob is not here:", "      │ first", "      │ second"]
        )
        self.type("", "up", "enter")
        self.assertEqual(self.conversation.said[1][1], "first\nsecond")

    def test_not_sent_elsewhere(self) -> None:
        """What was not sent in a room that is not shown is told where the user looks."""
        self.type("/msg bob secret", "enter")
        self.terminal.tell(events.NotSent("@alice+bob", "bob is not here", "secret", self.conversation.said[0][2]))
        self.assertEqual(
            self.messages((100, 8)), ["12:00 !! a message to direct with bob was not sent: bob is not here"]
        )
        self.type("/msg bob", "enter")
        self.assertEqual(self.messages(), ["12:00 !! not sent, bob is not here:", "      │ secret"])

    def test_unknown_commands_are_not_said(self) -> None:
        """A command that is not known is said nowhere."""
        self.type("/mgs bob secret", "enter")
        self.assertEqual(self.conversation.said, [])
        self.assertIn("/msg", " ".join(self.messages()))

    def test_a_paste_is_one_message(self) -> None:
        """A paste of several lines stays in the input, all of it shown, and is one message after Enter."""
        self.paste("one\ntwo\t2\n/quit\n")
        self.assertEqual(self.conversation.said, [])
        self.assertEqual(self.quits, 0)
        self.assertEqual(self.rows()[-4:], ["> one", "two    2", "/quit", ""])
        self.type("", "backspace", "enter")
        self.assertEqual([text for _, text, _ in self.conversation.said], ["one\ntwo    2\n/quit"])

    def test_what_a_paste_hides_is_left_out(self) -> None:
        """Control and direction characters of a paste get neither to the screen nor into the message."""
        self.paste("a\u202eb\u200bc\x9b")
        self.type("", "begin paste", "f1", "up", "ctrl c", "d", "end paste", "enter")
        self.assertEqual(self.conversation.said[0][1], "abcd")
        self.assertEqual(self.quits, 0)

    def test_a_paste_without_an_end(self) -> None:
        """A paste whose end does not come is over after a pause."""
        self.type("", "begin paste", "a", "enter")
        self.reactor.advance(2)
        self.type("b", "enter")
        self.assertEqual(self.conversation.said[0][1], "a\nb")

    def test_the_input_is_bounded(self) -> None:
        """However much is pasted or typed, the input keeps to its bound and the screen to its size."""
        self.paste("x\n" * INPUT_CHARACTERS)
        self.paste("y" * 10)
        self.type("zz")
        self.rows()
        self.type("", "enter")
        self.assertEqual(len(self.conversation.said[0][1]), INPUT_CHARACTERS)

    def test_a_long_input_leaves_room(self) -> None:
        """An input of many rows takes half of the screen, the part around the cursor."""
        self.hear("still here")
        self.paste("\n".join(f"line {number}" for number in range(40)))
        rows = self.rows((40, 10))
        self.assertEqual(rows[-1], "line 39")
        self.assertIn("12:00 bob: still here", rows)
        for _ in range(39):
            self.type("", "up", size=(40, 10))
        self.assertIn("> line 0", self.rows((40, 10)))

    def test_history(self) -> None:
        """Up and Down go through what was typed, and back to what was being typed."""
        for text in ("one", "two", "two"):
            self.type(text, "enter")
        self.type("dra", "up")
        self.assertEqual(self.typed(), "> two")
        self.type("", "up", "up", "up")
        self.assertEqual(self.typed(), "> one")
        self.type("", "down", "down", "down")
        self.assertEqual(self.typed(), "> dra")

    def test_completion(self) -> None:
        """Tab goes through the candidates and back to what was typed; Shift-Tab goes the other way."""
        self.type("b", "tab")
        self.assertEqual(self.typed(), "> bert:")
        self.type("", "tab")
        self.assertEqual(self.typed(), "> bob:")
        self.type("", "tab")
        self.assertEqual(self.typed(), "> b")
        self.type("", "shift tab")
        self.assertEqual(self.typed(), "> bob:")
        self.type("hi", "enter")
        self.assertEqual(self.conversation.said[0][1], "bob: hi")
        self.type("/jo", "tab")
        self.assertEqual(self.typed(), "> /join")
        self.type("l", "tab", "tab")
        self.assertEqual(self.typed(), "> /join #lobby")
        self.type("", "ctrl u", "tab")
        self.assertEqual(self.typed(), ">")

    def test_completion_in_the_middle(self) -> None:
        """What stands behind the cursor stays behind it."""
        self.type("ask bo now", "left", "left", "left", "left", "tab")
        self.assertEqual(self.typed(), "> ask bob  now")

    def test_editing(self) -> None:
        """The usual keys delete a word, what is before and what is after the cursor, in the line."""
        self.type("one two three", "ctrl w")
        self.assertEqual(self.typed(), "> one two")
        self.type("", "left", "left", "ctrl k")
        self.assertEqual(self.typed(), "> one tw")
        self.type("", "ctrl a", "right", "ctrl u")
        self.assertEqual(self.typed(), "> ne tw")
        self.type("", "ctrl e")
        self.type("o", "enter")
        self.assertEqual(self.conversation.said[0][1], "ne two")

    def test_how_it_ends(self) -> None:
        """Ctrl-C empties the input, or ends the chat where it is empty; Ctrl-D ends it there only; /quit does."""
        self.type("text", "ctrl d", "ctrl c")
        self.assertEqual((self.quits, self.typed()), (0, ">"))
        self.type("", "ctrl c")
        self.type("", "ctrl d")
        self.type("/quit", "enter")
        self.assertEqual(self.quits, 3)
        self.type("", "up", "up")
        self.assertEqual(self.typed(), "> text")


class RoomTests(ScreenTestCase):
    """Several rooms."""

    def test_join(self) -> None:
        """A room is shown when it has been entered, and its lines are its own."""
        self.type("/join dev", "enter")
        self.assertEqual(self.conversation.asked, [("enter", "#dev")])
        self.assertEqual(self.terminal.room, "#lobby")
        self.assertIn("when there is a connection", " ".join(self.messages()))
        self.conversation.there["#dev"] = ["alice"]
        self.terminal.tell(events.Entered("#dev", ["alice"]))
        self.assertEqual(self.terminal.room, "#dev")
        self.assertEqual(self.messages(), ["12:00 -- you are in #dev alone"])
        self.type("here", "enter")
        self.assertEqual(self.conversation.said[0][:2], ("#dev", "here"))
        self.type("/join lobby", "enter")
        self.assertEqual(self.terminal.room, "#lobby")
        self.assertEqual(len(self.conversation.asked), 1)

    def test_no_room_comes_under_a_half_typed_text(self) -> None:
        """A room that is entered, or left, while something is typed is not changed under it."""
        self.type("/join dev", "enter")
        self.type("for the lobby")
        self.conversation.there["#dev"] = ["alice"]
        self.terminal.tell(events.Entered("#dev", ["alice"]))
        self.terminal.tell(events.Left("#lobby", "alice"))
        self.assertEqual(self.terminal.room, "#lobby")
        self.assertIn("Ctrl-N", " ".join(self.messages()))

    def test_not_entered(self) -> None:
        """A room that cannot be entered is told of, and not shown later."""
        self.type("/join dev", "enter")
        self.terminal.tell(events.NotEntered("#dev", "this room is full"))
        self.terminal.tell(events.Entered("#dev", ["alice"]))
        self.assertEqual(self.terminal.room, "#lobby")
        self.assertIn("12:00 !! cannot enter #dev: this room is full", self.messages())

    def test_leave(self) -> None:
        """After a room was left another one is shown."""
        self.conversation.there["#dev"] = ["alice"]
        self.type("/leave", "enter")
        self.assertEqual(self.conversation.asked, [("leave", "#lobby")])
        del self.conversation.there["#lobby"]
        self.terminal.tell(events.Left("#lobby", "alice"))
        self.assertEqual(self.terminal.room, "#dev")

    def test_unread(self) -> None:
        """What is said in other rooms is counted until they are shown."""
        self.hear("a", room="#dev")
        self.hear("b", room="#dev")
        self.assertIn("unread: #dev 2", self.status())
        self.assertEqual(self.messages(), [])
        self.type("", "ctrl n")
        self.assertEqual(self.messages(), ["12:00 bob: a", "12:00 bob: b"])
        self.assertNotIn("unread", self.status())
        self.type("", "ctrl p")
        self.assertEqual(self.terminal.room, "#lobby")

    def test_a_direct_message_is_announced(self) -> None:
        """A direct message is announced once in the room that is shown, without its text."""
        for text in ("psst", "secret"):
            self.hear(text, room="@alice+bob")
        self.assertEqual(self.messages(), ["12:00 -- bob wrote to you alone; /msg bob shows it"])
        self.assertIn("unread: direct with bob 2", self.status())
        self.type("/msg bob", "enter")
        self.assertEqual(self.messages(), ["12:00 bob: psst", "12:00 bob: secret"])
        self.assertIn("direct with bob", self.status())
        self.hear("seen", room="@alice+bob")
        self.assertNotIn("unread", self.status())

    def test_a_direct_message_is_sent(self) -> None:
        """A message to one person goes to their direct room, and the room that is shown stays."""
        self.type("/msg bob secret", "enter")
        room, text, label = self.conversation.said[0]
        self.assertEqual((room, text), ("@alice+bob", "secret"))
        self.terminal.tell(events.Sent(room, 1, text, label))
        self.assertEqual(self.terminal.room, "#lobby")
        self.assertEqual(self.messages(), ["12:00 -- sent to bob alone"])

    def test_a_direct_room_of_others_is_not_ours(self) -> None:
        """A direct room of two others is shown under its own name."""
        self.hear("x", sender="carol", room="@bob+carol")
        self.assertIn("unread: @bob+carol 1", self.status())

    def test_start_in_a_direct_room(self) -> None:
        """The first room may be given as a person."""
        terminal = Terminal(
            self.reactor, self.conversation, "@bob", quit=self.quit, color=True, now=lambda: self.time
        )
        self.assertEqual(terminal.room, "@alice+bob")

    def test_who_rooms_and_help(self) -> None:
        """Questions are answered on the screen alone."""
        self.type("/who", "enter")
        self.type("/rooms", "enter")
        self.assertEqual(self.messages(), ["12:00 -- #lobby: alice, bert, bob"] * 2)
        self.type("/clear", "enter")
        self.assertEqual(self.messages(), [])
        self.type("/help", "enter")
        self.assertTrue(any("/join ROOM" in row for row in self.messages((80, 20))))
        self.conversation.there.clear()
        self.type("/rooms", "enter")
        self.assertIn("no room", self.messages()[-1])
        self.type("/room lobby", "enter")
        self.assertEqual(self.terminal.room, "#lobby")
        self.assertEqual(self.conversation.said, [])


class BeforeTests(ScreenTestCase):
    """What was said before this run of the program."""

    def start_with(self, *messages: events.Message) -> None:
        """Begin with what the last run has kept."""
        for each in messages:
            self.conversation.kept.setdefault(each.room, []).append(each)
        self.terminal = Terminal(
            self.reactor, self.conversation, "#lobby", quit=self.quit, color=True, now=lambda: self.time
        )

    def test_begins_with_it(self) -> None:
        """Every room begins with its last messages, ours among them, between two lines that nobody can say."""
        yesterday = NOON - timedelta(days=1)
        self.start_with(
            events.Message("#lobby", "bob", "old", yesterday, 1),
            events.Message("#lobby", "alice", "mine", yesterday, 2, late=True),
            events.Message("#dev", "bob", "elsewhere", NOON, 1),
        )
        self.hear("new")
        day = f"──── {yesterday:%Y-%m-%d} ────"
        old = ["──── what was said before ────", day, "12:00 bob: old", "12:00 (late) alice: mine"]
        now = ["──── that was before ────", f"──── {NOON:%Y-%m-%d} ────", "12:00 bob: new"]
        self.assertEqual(self.messages((80, 20)), [*old, *now])
        self.assertNotIn("unread", self.status())
        self.type("/room dev", "enter")
        self.assertEqual("12:00 bob: elsewhere", self.messages()[2])

    def test_not_a_second_time(self) -> None:
        """What the last run may have shown when it was killed stands there already; anything else does not."""
        self.start_with(events.Message("#lobby", "bob", "old", NOON, 1))
        for text, seq, again in (("old", 1, True), ("other", 1, True), ("old", 2, True), ("old", 1, False)):
            self.terminal.tell(events.Message("#lobby", "bob", text, NOON, seq, again=again))
        expected = ["12:00 bob: old", "──── that was before ────"]
        expected += ["12:00 (again) bob: other", "12:00 (again) bob: old", "12:00 bob: old"]
        self.assertEqual(self.messages((80, 20))[2:], expected)

    def test_not_sent_a_second_time(self) -> None:
        """A line of ours whose acknowledgement the last run may have shown stands there already; others do not."""
        self.start_with(events.Message("#lobby", "alice", "mine", NOON, 2))
        for text, seq in (("mine", 2), ("other", 2), ("mine", 3)):
            self.terminal.tell(events.Sent("#lobby", seq, text))
        expected = ["12:00 alice: mine", "──── that was before ────", "12:00 alice: other", "12:00 alice: mine"]
        self.assertEqual(self.messages((80, 20))[2:], expected)

    def test_history(self) -> None:
        """What was asked for is shown where it belongs, with the room's policy; hostile text stays text."""
        self.type("/history 20", "enter")
        self.type("/keep 30", "enter")
        self.assertEqual(self.conversation.asked, [("history", "#lobby 20"), ("keep", "#lobby 30")])
        self.terminal.tell(events.History("#lobby", [events.Message("#lobby", "bob", HOSTILE, NOON, 1)], 1))
        self.terminal.tell(events.Policy("#lobby", HOSTILE, True, 0))
        shown = self.messages((80, 30))
        self.assertEqual("12:00 -- what is said here is kept for 1 day, to be read again", shown[-3].strip())
        self.assertTrue("".join(shown).isprintable())

    def test_no_history(self) -> None:
        """Where there is nothing, that is said, and why."""
        self.terminal.tell(events.History("#lobby", [], 0))
        self.terminal.tell(events.History("#lobby", []))
        none = "12:00 -- nothing that was said here is kept"
        why = f"{none}; what is said here is not kept, and nobody can read it again"
        self.assertEqual(self.messages((120, 20)), [why, none])


class ScrollTests(ScreenTestCase):
    """Going back in what was said."""

    def test_scrolling(self) -> None:
        """While an earlier page is shown nothing moves it; what comes is counted, until the end is shown again."""
        for number in range(50):
            self.hear(f"message {number}")
        self.type("", "page up")
        self.assertEqual(self.messages()[-1], "12:00 bob: message 38")
        before = self.messages()
        for number in range(50, 53):
            self.hear(f"message {number}")
        self.assertEqual(self.messages(), before)
        self.assertIn("↓ 3 new", self.status(SIZE))
        self.type("", "ctrl l")
        self.assertEqual(self.messages()[-1], "12:00 bob: message 52")
        self.assertNotIn("new", self.status())

    def test_the_top_and_the_bottom(self) -> None:
        """Scrolling stops where the first line is at the top, and follows the end again at the bottom."""
        for number in range(30):
            self.hear(f"message {number}")
        for _ in range(10):
            self.type("", "page up")
        self.assertEqual(self.messages()[0], "12:00 bob: message 0")
        self.assertEqual(len(self.messages()), 12)
        for _ in range(10):
            self.type("", "page down")
        self.hear("newest")
        self.assertEqual(self.messages()[-1], "12:00 bob: newest")

    def test_nothing_to_scroll(self) -> None:
        """With no more than a page, scrolling changes nothing, and the end is followed."""
        self.type("", "page up", "page down")
        self.hear("one")
        self.type("", "page up")
        for number in range(20):
            self.hear(f"message {number}")
        self.assertEqual(self.messages()[-1], "12:00 bob: message 19")

    def test_saying_something_shows_the_end(self) -> None:
        """Whoever says something sees it."""
        for number in range(50):
            self.hear(f"message {number}")
        self.type("", "page up")
        self.type("here", "enter")
        self.assertEqual(self.messages()[-1], "  …   alice: here")

    def test_lines_are_bounded(self) -> None:
        """A room keeps its last lines, also while an earlier page is shown that is dropped meanwhile."""
        for number in range(LINES):
            self.hear(f"message {number}")
        for _ in range(2):
            self.type("", "page up")
        for number in range(LINES, 2 * LINES):
            self.hear(f"message {number}")
        self.assertEqual(self.messages()[0], f"12:00 bob: message {LINES}")

    def test_characters_are_bounded(self) -> None:
        """A room keeps fewer lines where they are long, but always the last one."""
        log = Log()
        for _ in range(300):
            log.add(Line([("plain", "x" * 16_000)]))
        self.assertLessEqual(sum(line.characters for line in log.lines), CHARACTERS)
        log.add(Line([("plain", "x" * (CHARACTERS + 1))]))
        self.assertEqual(len(log.lines), 1)


class SizeTests(ScreenTestCase):
    """Screens of any size."""

    def test_tiny_screens(self) -> None:
        """Nothing fails on any small size, whatever is shown and typed."""
        self.hear("wide 漢字 👩‍👩‍👧‍👦 and\nmore " + "x" * 100)
        self.terminal.tell(events.Link(False, "relay", "gone", 1.0))
        for text in ("", "typed 漢字 text that is longer\nthan a row"):
            self.paste(text)
            for columns in range(1, 12):
                for rows in range(1, 8):
                    size = (columns, rows)
                    self.assertEqual(len(self.terminal.frame.render(size, focus=True).text), rows)
                    for key in ("page up", "page down", "ctrl l", "left", "up", "down"):
                        self.terminal.frame.keypress(size, key)
                        self.terminal.frame.render(size, focus=True)

    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.just("s"), st.text(st.sampled_from("ab \n漢é\u0301"), max_size=30))),
        st.integers(1, 40),
    )
    def test_wrapping_loses_nothing(self, spans: list[tuple[str, str]], width: int) -> None:
        """For any text and width: all but spaces and newlines is in the rows, and no row is empty for nothing."""
        rows = wrap(spans, width)
        shown = "".join(text for row in rows for style, text in row if style == "s")
        expected = "".join(text for _, text in spans)
        self.assertEqual(shown.replace(" ", ""), expected.replace(" ", "").replace("\n", ""))
        self.assertLessEqual(len(rows), len(expected) + 1)


class DrawTests(ScreenTestCase):
    """When the screen is drawn."""

    def test_nothing_is_drawn_before_it_starts(self) -> None:
        """Events before the start leave nothing for the reactor to do, and stopping then is harmless."""
        self.hear("hello")
        self.type("hi", "enter")
        self.terminal.stop()
        self.assertEqual(self.successResultOf(self.terminal.close()), None)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def start(self) -> tuple[int, int]:
        """Start on a pseudo-terminal; the descriptors of its two sides."""
        master, slave = pty.openpty()
        files = open(slave), open(os.dup(slave), "w")  # noqa: SIM115

        def close() -> None:
            # A test may have closed the other side.
            self.terminal.stop()
            for each in files:
                with contextlib.suppress(OSError):
                    each.close()

        self.addCleanup(close)
        self.terminal.start(*files)
        return master, slave

    def test_one_frame_for_many_events(self) -> None:
        """However much happens in one turn of the reactor, one frame is drawn, and the bell rings once."""
        master, _ = self.start()
        for number in range(100):
            self.hear(f"message {number}")
            self.hear(f"psst {number}", room="@alice+bob")
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(0)
        written = b""
        # A pseudo-terminal gives what was written in pieces.
        while select([master], [], [], 0.2)[0]:
            written += os.read(master, 65536)
        self.assertEqual(written.count(b"\x1b[?25l"), 1)
        self.assertEqual(written.count(b"\a"), 1)
        self.assertIn(b"message 99", written)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.terminal.stop()
        os.close(master)

    def test_nothing_is_left_behind(self) -> None:
        """After stopping no reader and no call is left, and what happens then is not drawn."""
        master, slave = self.start()
        self.assertNotEqual(self.reactor.getReaders(), [])
        self.terminal.stop()
        self.hear("later")
        self.assertEqual((self.reactor.getReaders(), self.reactor.getDelayedCalls()), ([], []))
        self.assertTrue(termios.tcgetattr(slave)[3] & termios.ECHO)
        os.close(master)

    def test_escape_and_a_key_that_fails(self) -> None:
        """A lone Escape is waited for and does nothing, and a key that fails is logged and stops no other key."""
        master, _ = self.start()
        self.reactor.advance(0)
        self.patch(self.terminal.frame, "keypress", lambda size, key: 1 / 0)
        os.write(master, b"\x1b")
        self.read_keys()
        self.assertEqual(self.flushLoggedErrors(ZeroDivisionError), [])
        self.reactor.advance(1)
        os.write(master, b"ab\x0c")
        self.read_keys()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        os.write(master, b"\x1b")
        self.read_keys()
        self.terminal.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        os.close(master)

    def read_keys(self) -> None:
        """Let the reactor find what was written to the pseudo-terminal."""
        for reader in self.reactor.getReaders():
            if select([reader], [], [], 0)[0]:
                reader.doRead()

    def test_drawn_anew(self) -> None:
        """Ctrl-L draws everything anew, also what seems to be there."""
        master, _ = self.start()
        self.hear("hello")
        self.reactor.advance(0)
        while select([master], [], [], 0.2)[0]:
            os.read(master, 65536)
        os.write(master, b"\x0c")
        self.read_keys()
        self.reactor.advance(0)
        self.assertIn(b"hello", os.read(master, 65536))
        self.terminal.stop()
        os.close(master)

    def test_a_terminal_that_the_reactor_finds_gone(self) -> None:
        """A terminal that the reactor finds hung up ends the chat, once."""
        master, _ = self.start()
        for reader in self.reactor.getReaders():
            reader.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.quits, 1)
        os.close(master)

    def test_a_terminal_that_cannot_be_written(self) -> None:
        """A terminal that is gone when a frame is drawn ends the chat, once."""
        master, _ = self.start()
        os.close(master)
        self.reactor.advance(0)
        self.hear("more")
        self.reactor.advance(0)
        self.assertEqual(self.quits, 1)
        self.assertEqual((self.reactor.getReaders(), self.reactor.getDelayedCalls()), ([], []))


@dataclass
class StubWorker:
    """Seals by writing the plaintext as it is."""

    def seal_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> Deferred[list[bytes]]:
        """The plaintexts."""
        return succeed([plaintext for _, _, plaintext in items])

    def open_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> Deferred[list[bytes | None]]:
        """What was written."""
        return succeed([sealed for _, _, sealed in items])


class RealConversationTests(SynchronousTestCase):
    """The screen of a real conversation."""

    def test_from_the_keys_to_the_wire_and_back(self) -> None:
        """What is typed before there is a link is posted when there is one, and shown as sent when acknowledged."""
        posted: list[wire.FromClient] = []
        events_seen: list[events.Event] = []
        person = new_person("alice", 0)
        secrets = Secrets(person, PrekeyRing(person.device))
        conversation = Conversation(secrets, StubWorker(), posted.append, events_seen.append, lambda: 0)
        terminal = Terminal(
            MemoryReactorClock(), conversation, "#lobby", quit=lambda: None, color=True, now=lambda: NOON
        )
        conversation.enter("#lobby")
        for key in ("h", "i", "enter"):
            terminal.frame.keypress(SIZE, key)
        conversation.link_up(wire.Welcome("alice", [], wire.Limits(10, 10, 30)), "relay", "")
        conversation.received(wire.Declined("#lobby", [], Code.NO_SUCH_ROOM))
        (founding,) = [each for each in posted if isinstance(each, wire.Append)]
        conversation.received(wire.Roster("#lobby", 0, [founding.entry], 1, 0))
        conversation.received(wire.Present("#lobby", ["alice"]))
        conversation.received(wire.SessionKey("#lobby", SignedLog(founding.entry).epoch, b"k" * 32))
        (post,) = [each for each in posted if isinstance(each, wire.Post)]
        conversation.received(wire.Ack("#lobby", [(post.items[0][0], 1)]))
        for event in events_seen:
            terminal.tell(event)
        rows = [row.decode().rstrip() for row in terminal.frame.render(SIZE).text]
        self.assertIn("12:00 alice: hi", rows)
        self.assertFalse(any("…" in row for row in rows))
