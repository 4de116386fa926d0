"""What the screen shows of keys: marks, changes and faults that stay, and messages filled in at their place."""

from datetime import timedelta

from securechat.client.events import Fault, Gap, Held, KeyChanged, Left, Message, Unreadable
from tests.client.test_terminal import NOON, ScreenTestCase


class HeldTests(ScreenTestCase):
    """Messages that wait for a key."""

    def held(self, seq: int, sender: str = "bob") -> None:
        """A message came that cannot be opened yet."""
        self.terminal.tell(Held("#lobby", sender, NOON, seq, "it waits for the key of its sender"))

    def test_filled_in_at_its_place(self) -> None:
        """A message that waited stands where it came, once it is opened, and not below what came since."""
        self.hear("first")
        self.held(7)
        self.assertIn("a message of bob is here: it waits for", self.messages()[-2])
        self.hear("later", sender="bert")
        self.terminal.tell(Message("#lobby", "bob", "at last", NOON + timedelta(minutes=1), 7, late=True))
        shown = self.messages()
        self.assertEqual(
            [line.strip() for line in shown][-3:],
            [
                "12:00 bob: first",
                "12:01 (late) bob: at last",
                "12:00 bert: later",
            ],
        )

    def test_marks(self) -> None:
        """A message of somebody who is gone since, or who forked their session, has its mark before it."""
        self.terminal.tell(Message("#lobby", "bob", "one", NOON, 7, former=True))
        self.terminal.tell(Message("#lobby", "bob", "two", NOON, 8, forked=True))
        shown = " ".join(line.strip() for line in self.messages()[-3:])
        self.assertIn("12:00 (not in the room any more) bob: one", shown)
        self.assertIn("12:00 !! others were told something else before this: bob:", shown)

    def test_never_opened(self) -> None:
        """One that can never be opened says so at its place."""
        self.held(7)
        self.hear("later")
        self.terminal.tell(Unreadable("#lobby", "bob", NOON, 7, "its key was deleted"))
        text = "\n".join(self.messages())
        self.assertNotIn("waits", text)
        self.assertLess(text.index("cannot be read"), text.index("later"))

    def test_cleared(self) -> None:
        """Where the place is gone the message comes at the end."""
        self.held(7)
        self.type("/clear", "enter")
        self.hear("later")
        self.terminal.tell(Message("#lobby", "bob", "at last", NOON, 7, late=True))
        self.assertIn("at last", self.messages()[-1])

    def test_gap(self) -> None:
        """Messages that did not come are told as missing, with whose they are."""
        self.terminal.tell(Gap("#lobby", "bob", 3, 5))
        self.assertIn("3 messages of bob did not come yet", self.messages()[-1])


class MarkTests(ScreenTestCase):
    """Verified, changed, and faults."""

    def test_changed_stays(self) -> None:
        """A changed key stays on the screen however much is said since, until it is decided on."""
        self.conversation.changed = ["bob"]
        self.terminal.tell(KeyChanged("#lobby", "bob", "aaaa bbbb"))
        for number in range(50):
            self.hear(f"line {number}", sender="bert")
        self.assertNotIn("ANOTHER", "\n".join(self.messages()))
        self.assertIn("KEY CHANGED: bob", self.status())
        self.conversation.changed = []
        self.assertNotIn("KEY CHANGED", self.status())

    def test_changed_tells_the_key(self) -> None:
        """The notice has the new key's beginning, and both commands."""
        self.terminal.tell(KeyChanged("#lobby", "bob", "aaaa bbbb"))
        text = " ".join(" ".join(self.messages((70, 14))).replace("│", "").split())
        for part in ("aaaa bbbb", "/verify bob", "/trust bob"):
            self.assertIn(part, text)

    def test_fault_stays(self) -> None:
        """A log that does not hold stays on the screen until the room is left."""
        self.terminal.tell(Fault("#lobby", "members were shown different entries"))
        for number in range(50):
            self.hear(f"line {number}", room="#other")
        self.assertIn("LOG DOES NOT HOLD: #lobby", self.status())
        self.terminal.tell(Left("#lobby", "alice"))
        self.assertNotIn("DOES NOT HOLD", self.status())

    def test_direct_rooms(self) -> None:
        """The title of a room of two has the mark of the other's key; the list of members has everybody's."""
        self.conversation.there["@alice+bob"] = ["alice", "bob"]
        self.type("/msg bob", "enter")
        for mark, shown in (("verified", " ✓"), ("changed", " !"), ("", "")):
            self.conversation.marks["bob"] = mark
            self.assertTrue(self.status().startswith(f" direct with bob{shown} | "), self.status())
        self.conversation.marks["bob"] = "verified"
        self.type("/who #lobby", "enter")
        self.assertIn("✓bob", "\n".join(self.messages()))


class CommandTests(ScreenTestCase):
    """Commands about rooms and people."""

    def test_commands(self) -> None:
        """Each command asks the conversation for what it says, in the room that is shown where it is about one."""
        for line, asked in (
            ("/new #den", ("new", "#den")),
            ("/invite bob", ("invite", "#lobby bob")),
            ("/remove BOB", ("remove", "#lobby bob")),
            ("/verify bob", ("safety", "bob")),
            ("/verify bob yes", ("verify", "bob")),
            ("/trust bob:", ("trust", "bob")),
            ("/whois bob", ("whois", "bob")),
            ("/rekey", ("rekey", "#lobby")),
            ("/rekey den", ("rekey", "#den")),
        ):
            self.conversation.asked.clear()
            self.type(line, "enter")
            self.assertEqual(self.conversation.asked, [asked], line)

    def test_wrong(self) -> None:
        """A command without a name, with a bad one, or about ourselves, does nothing and says why."""
        for line in ("/invite", "/invite a b", "/trust Ä", "/verify bob no", "/verify alice", "/new", "/new @a+b"):
            self.conversation.asked.clear()
            before = len(self.messages((80, 60)))
            self.type(line, "enter")
            self.assertEqual((self.conversation.asked, self.conversation.said), ([], []), line)
            self.assertGreater(len(self.messages((80, 60))), before, line)
