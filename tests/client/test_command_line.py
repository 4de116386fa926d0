"""What lines of input mean, and what Tab makes of them."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.command_line import complete, parse
from securechat.client.commands import (
    Clear,
    Command,
    Direct,
    Help,
    History,
    Join,
    Keep,
    Leave,
    Nothing,
    Quit,
    Rooms,
    Say,
    Switch,
    Who,
    Wrong,
)
from securechat.wire.names import direct_room, name_refusal


@dataclass
class FakeTalk:
    """A conversation of alice, who is in two rooms and talks with bob alone."""

    name: str = "alice"
    there: dict[str, list[str]] = field(
        default_factory=lambda: {
            "#lobby": ["alice", "bob", "bert", "carol", "x\x1b[2J"],
            "#dev": ["alice", "dave"],
            "@alice+bob": ["alice", "bob"],
        }
    )

    @property
    def rooms(self) -> list[str]:
        """The rooms that alice is in."""
        return list(self.there)

    def members(self, room: str) -> list[str]:
        """Who is there."""
        return self.there.get(room, [])

    def direct_room(self, name: str) -> str | None:
        """The room of alice and one other."""
        if name == self.name or name_refusal(name) is not None:
            return None
        return direct_room(self.name, name)


class ParseTests(SynchronousTestCase):
    """`parse`."""

    def parse(self, line: str, room: str = "#lobby") -> Command:
        """What alice's line means."""
        return parse(line, room, FakeTalk(), known=("#old",))

    def assert_wrong(self, line: str, *words: str) -> None:
        """Check that a line is a mistake, told in one line that has these words."""
        wrong = self.parse(line)
        assert isinstance(wrong, Wrong), wrong
        self.assertTrue(wrong.text.isprintable(), wrong.text)
        for word in words:
            self.assertIn(word, wrong.text)

    def test_text_is_said_as_it_is(self) -> None:
        """A line that does not begin with a slash is said with all its white space."""
        self.assertEqual(self.parse("  hello /quit \n there "), Say("  hello /quit \n there "))

    def test_nothing(self) -> None:
        """White space alone is nothing."""
        self.assertEqual([self.parse(""), self.parse(" \n ")], [Nothing(), Nothing()])

    def test_two_slashes_say_one(self) -> None:
        """Two slashes say a text that begins with one."""
        self.assertEqual(self.parse("//quit now"), Say("/quit now"))
        self.assertEqual(self.parse(" //x"), Say("/x"))

    def test_simple_commands(self) -> None:
        """Commands without arguments are known in any case, and after white space."""
        self.assertEqual(self.parse("/rooms"), Rooms())
        self.assertEqual(self.parse("/CLEAR"), Clear())
        self.assertEqual(self.parse("  /quit "), Quit())
        self.assert_wrong("/quit now", "/quit")
        self.assert_wrong("/rooms #a", "/rooms")

    def test_an_unknown_command_is_never_said(self) -> None:
        """An unknown command is a mistake that names the near one, and is not said."""
        self.assert_wrong("/mgs bob secret", "/mgs", "/msg", "Nothing was sent")
        self.assert_wrong(" /mgs bob secret", "/msg")
        self.assert_wrong("/xyzzy", "/help")
        self.assert_wrong("/usr/bin/python\nis a path", "//")
        self.assert_wrong("/", "/help")
        self.assert_wrong("/\x1b[2J" + "y" * 100, "…")

    @settings(deadline=None)
    @given(st.text())
    def test_no_line_with_a_slash_is_said(self, text: str) -> None:
        """Whatever follows one slash, it is not said in the room."""
        if not text.startswith("/"):
            self.assertNotIsInstance(self.parse(f"/{text}"), Say)

    def test_join(self) -> None:
        """To join takes one room; the '#' may be left out, and capitals do not matter."""
        self.assertEqual(self.parse("/join #news"), Join("#news"))
        self.assertEqual(self.parse("/join News"), Join("#news"))
        self.assert_wrong("/join", "/join ROOM")
        self.assert_wrong("/join a b", "/join ROOM")
        self.assert_wrong("/join #a!b", "room")

    def test_history(self) -> None:
        """How many messages are shown again is a number up to 1,000, or 50."""
        self.assertEqual(self.parse("/history"), History(50))
        self.assertEqual(self.parse("/history 1000"), History(1000))
        for rest in ("0", "1001", "-1", "all", "1 2", "²", "9" * 5000):
            self.assert_wrong(f"/history {rest}", "/history [N]")

    def test_keep(self) -> None:
        """For how long what is said is kept is a number of days up to ten years; 0 is one, nothing is none."""
        self.assertEqual(self.parse("/keep 0"), Keep(0))
        self.assertEqual(self.parse("/keep 3650"), Keep(3650))
        for rest in ("", "3651", "for ever", "٣"):
            self.assert_wrong(f"/keep {rest}", "/keep DAYS")

    def test_leave(self) -> None:
        """To leave takes the room that is shown, or another."""
        self.assertEqual(self.parse("/leave", "#dev"), Leave("#dev"))
        self.assertEqual(self.parse("/leave lobby"), Leave("#lobby"))
        self.assert_wrong("/leave a b", "/leave [ROOM]")

    def test_who(self) -> None:
        """Who is there can be asked of rooms that we are in."""
        self.assertEqual(self.parse("/who", "#dev"), Who("#dev"))
        self.assertEqual(self.parse("/who lobby"), Who("#lobby"))
        self.assert_wrong("/who other", "#other")

    def test_msg(self) -> None:
        """To write to one person takes a name and the text with all that is in it."""
        self.assertEqual(self.parse("/msg bob hi  you\n/quit"), Direct("bob", "@alice+bob", "hi  you\n/quit"))
        self.assertEqual(self.parse("/msg Zed"), Direct("zed", "@alice+zed", ""))
        self.assertEqual(self.parse("/msg\nbob hi"), Direct("bob", "@alice+bob", "hi"))
        self.assertEqual(self.parse("/msg bob: hi"), Direct("bob", "@alice+bob", "hi"))
        self.assert_wrong("/msg", "/msg NAME")
        self.assert_wrong("/msg alice hi", "own name")
        self.assert_wrong("/msg b!b hi", "name", "Nothing was sent")
        self.assert_wrong("/msg " + "b" * 33, "32")

    def test_room(self) -> None:
        """Another room is shown by its name or, for a direct room, by the other's; also one that is known only."""
        self.assertEqual(self.parse("/room dev"), Switch("#dev"))
        self.assertEqual(self.parse("/room #dev"), Switch("#dev"))
        self.assertEqual(self.parse("/room bob"), Switch("@alice+bob"))
        self.assertEqual(self.parse("/room @alice+bob"), Switch("@alice+bob"))
        self.assertEqual(self.parse("/room old"), Switch("#old"))
        self.assert_wrong("/room other", "/join #other")
        self.assert_wrong("/room", "/room ROOM")
        self.assert_wrong("/room a!", "room")

    def test_help(self) -> None:
        """Help has a line for each command, or about one."""
        every = self.parse("/help")
        assert isinstance(every, Help)
        for name in ("help", "who", "join", "leave", "msg", "rooms", "room", "clear", "quit"):
            self.assertTrue(any(line.startswith(f"/{name}") for line in every.lines), name)
        one = self.parse("/help /join")
        assert isinstance(one, Help)
        self.assertEqual(len(one.lines), 1)
        self.assertIn("/join ROOM", one.lines[0])
        self.assert_wrong("/help jion", "/join")


class CompleteTests(SynchronousTestCase):
    """`complete`."""

    def candidates(self, line: str, room: str = "#lobby", cursor: int | None = None) -> list[str]:
        """What alice's line may become, up to the cursor."""
        at = len(line) if cursor is None else cursor
        completion = complete(line, at, room, FakeTalk(), known=("#old", "#bad room"))
        return [line[: completion.start] + each for each in completion.candidates]

    def test_commands(self) -> None:
        """A slash at the start of the line becomes each of the commands that go on like that."""
        self.assertEqual(self.candidates("/r"), ["/rooms ", "/room ", "/remove ", "/rekey "])
        self.assertEqual(self.candidates("/JO"), ["/join "])
        self.assertEqual(self.candidates("//r"), [])
        self.assertEqual(self.candidates("say /r"), [])
        self.assertEqual(len(self.candidates("/")), 18)

    def test_names(self) -> None:
        """Names of those in the room are completed, as an address at the start of the line; never our own."""
        self.assertEqual(self.candidates("b"), ["bert: ", "bob: "])
        self.assertEqual(self.candidates("hello B"), ["hello bert ", "hello bob "])
        self.assertEqual(self.candidates("b", room="#dev"), [])
        self.assertEqual(self.candidates("al"), [])
        self.assertEqual(self.candidates(""), [])
        self.assertEqual(self.candidates("hello "), [])

    def test_names_that_are_none(self) -> None:
        """A member whose name no relay should have let in is not put into the line."""
        self.assertEqual(self.candidates("x"), [])

    def test_rooms(self) -> None:
        """Rooms are completed in a text."""
        self.assertEqual(self.candidates("see #"), ["see #lobby ", "see #dev ", "see #old "])

    def test_arguments(self) -> None:
        """Each command completes what it takes, and one that takes nothing completes nothing."""
        self.assertEqual(self.candidates("/join l"), ["/join #lobby "])
        self.assertEqual(self.candidates("/join "), ["/join #lobby ", "/join #dev ", "/join #old "])
        self.assertEqual(self.candidates("/room b"), ["/room bob "])
        self.assertEqual(self.candidates("/msg d"), ["/msg dave "])
        self.assertEqual(self.candidates("/msg b"), ["/msg bert ", "/msg bob "])
        self.assertEqual(self.candidates("/help q"), ["/help quit "])
        self.assertEqual(self.candidates("/leave #d"), ["/leave #dev "])
        self.assertEqual(self.candidates("/quit b"), [])
        self.assertEqual(self.candidates("/nope b"), [])
        self.assertEqual(self.candidates("/msg bob c"), ["/msg bob carol "])

    def test_up_to_the_cursor(self) -> None:
        """Only what stands before the cursor is completed."""
        self.assertEqual(self.candidates("/jo #dev", cursor=3), ["/join "])
        self.assertEqual(self.candidates("first line\nbo"), ["first line\nbob "])
