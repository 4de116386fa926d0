"""Lines in, lines out: what becomes of each, and how a pipe ends."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.client import events
from securechat.client.errors import ClientError, Exit
from securechat.client.pipe import GIVE_UP_S, LINE_BYTES, WAITING_MOST, failure_line
from securechat.e2e.body import TEXT_BYTES
from tests.client.pipe_harness import RELAY, WHEN, PipeCase

HOSTILE = "a\x1b[31mb\r\nc\u202ed\x9be\u2028f\ud800"


class InputTests(PipeCase):
    """Plain input: a message a line."""

    def test_lines(self) -> None:
        """Each line is said in the room, which is entered once."""
        self.types("one\ntwo\n")
        self.assertEqual(self.talk.said, [("#lobby", "one", None), ("#lobby", "two", None)])
        self.assertEqual(self.talk.entered, ["#lobby"])

    def test_any_split(self) -> None:
        """Lines may come in any pieces, also within a character."""
        for byte in "ä\r\n\nö\n".encode():
            self.types(bytes([byte]))
        self.assertEqual(self.texts(), ["ä", "ö"])

    def test_line_ends(self) -> None:
        """A line ends with LF or CRLF; an empty one says nothing; other white space is part of the line."""
        self.types("a\r\n\r\n\n  b \nc\rd\n\t\n")
        self.assertEqual(self.texts(), ["a", "  b ", "c\rd", "\t"])

    def test_last_line(self) -> None:
        """A last line without its end is said when the input ends."""
        self.types("one\ntwo")
        self.assertEqual(self.texts(), ["one"])
        self.pipe.readConnectionLost()
        self.assertEqual(self.texts(), ["one", "two"])

    def test_bad_utf8(self) -> None:
        """A line that is no UTF-8 is told by its number, the others are said, and the end is status 65."""
        self.types(b"one\n\xff\xfe\ntwo\n\xed\xa0\x80\n")
        self.assertEqual(self.texts(), ["one", "two"])
        self.assertEqual(
            self.remarks(),
            [f"securechat: line {n} of the input was not sent: it is not UTF-8" for n in (2, 4)],
        )
        self.acknowledge(2)
        self.pipe.readConnectionLost()
        self.assertEqual(self.ends, [(Exit.BAD_DATA, "")])

    def test_too_long(self) -> None:
        """A line over the bound is told once and costs no memory; the line behind it is said."""
        self.types("x" * LINE_BYTES + "\n")
        self.talk.said.clear()
        for _ in range(100):
            self.types("y" * 10_000)
        self.types("y\nnext\n")
        self.assertEqual(self.texts(), ["next"])
        self.assertEqual(len(self.remarks()), 1)
        self.assertIn(f"line 2 of the input was not sent: it is longer than {LINE_BYTES}", self.remarks()[0])
        self.types("z" * (LINE_BYTES + 1))
        self.pipe.readConnectionLost()
        self.assertEqual(len(self.remarks()), 2)
        self.acknowledge(2)
        self.assertEqual(self.ends, [(Exit.BAD_DATA, "")])

    def test_text_too_long(self) -> None:
        """A line too long for a message is refused by the conversation, and the end is status 65."""
        self.types("x" * (TEXT_BYTES + 1) + "\n")
        self.assertEqual(len(self.talk.said), 1)
        self.talk.unacknowledged = 0
        self.pipe.tell(events.NotSent("#lobby", "too long", "x"))
        self.pipe.readConnectionLost()
        self.assertEqual(self.ends, [(Exit.BAD_DATA, "")])

    @given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)), st.data())
    @settings(deadline=None)
    def test_any_lines_in_any_pieces(self, lines: list[str], data: st.DataObject) -> None:
        """Whatever the lines, and wherever their bytes are cut, the same is said."""
        self.types("\n")  # an example before this one may have been cut off within a line
        self.talk.said.clear()
        left = "".join(line + "\n" for line in lines).encode()
        while left:
            size = data.draw(st.integers(1, len(left)))
            self.types(left[:size])
            left = left[size:]
        self.assertEqual(self.texts(), [line for line in lines if line])

    def test_paused(self) -> None:
        """Over a thousand waiting messages the input is not read; under half of them it is again."""
        self.types("x\n" * WAITING_MOST)
        self.assertEqual(self.standard.producerState, "producing")
        self.types("x\n")
        self.assertEqual(self.standard.producerState, "paused")
        self.acknowledge(WAITING_MOST // 2 + 1)
        self.assertEqual(self.standard.producerState, "paused")
        self.acknowledge()
        self.assertEqual(self.standard.producerState, "producing")
        self.types("y\n" * WAITING_MOST)
        self.assertEqual(self.standard.producerState, "paused")


class EndTests(PipeCase):
    """How it ends after the input."""

    def test_waits_for_acknowledgements(self) -> None:
        """After the end of the input it ends with the last acknowledgement, and says nothing."""
        self.up()
        self.types("one\ntwo\n")
        self.pipe.readConnectionLost()
        self.acknowledge()
        self.assertEqual(self.ends, [])
        self.acknowledge()
        self.assertEqual(self.ends, [(Exit.DONE, "")])
        self.assertEqual(self.remarks(), [])

    def test_nothing_to_say(self) -> None:
        """An input of nothing ends at once."""
        self.pipe.readConnectionLost()
        self.assertEqual(self.ends, [(Exit.DONE, "")])

    def test_not_sent(self) -> None:
        """Something that could not be sent is one line, and status 1."""
        self.up()
        self.types("one\n")
        self.pipe.readConnectionLost()
        self.talk.unacknowledged = 0
        self.pipe.tell(events.NotSent("@alice+bob", "bob is not here", "one"))
        self.assertEqual(self.ends, [(Exit.FAILED, "")])
        self.assertEqual(self.remarks(), ["securechat: not sent: bob is not here: one"])

    def test_gives_up(self) -> None:
        """Without a link what is left is given up after a minute, counted, with status 69."""
        self.up()
        self.types("one\ntwo\n")
        self.down()
        self.clock.advance(10 * GIVE_UP_S)
        self.pipe.readConnectionLost()
        self.clock.advance(GIVE_UP_S - 1)
        self.assertEqual(self.ends, [])
        self.clock.advance(1)
        ((status, text),) = self.ends
        self.assertEqual(status, Exit.UNREACHABLE)
        self.assertIn("2 messages were not acknowledged", text)

    def test_does_not_give_up_with_a_link(self) -> None:
        """A link that comes back in time is waited for without end; each loss begins a new minute."""
        self.types("one\n")
        self.pipe.readConnectionLost()
        self.clock.advance(GIVE_UP_S - 1)
        self.up()
        self.clock.advance(10 * GIVE_UP_S)
        self.down()
        self.clock.advance(GIVE_UP_S - 1)
        self.down()
        self.assertEqual(self.ends, [])
        self.clock.advance(1)
        self.assertEqual(self.ends[0][0], Exit.UNREACHABLE)

    def test_other_room_that_does_not_take_us(self) -> None:
        """Another room that does not take us is told, and we go on."""
        self.pipe.tell(events.NotEntered("#other", "full"))
        self.assertEqual(self.ends, [])
        self.assertEqual(self.remarks(), ["securechat: cannot enter #other: full"])

    def test_broken_pipe(self) -> None:
        """Where nobody reads the output any more it ends with status 141, and closing waits for nothing."""
        self.pipe.writeConnectionLost()
        self.message("nobody hears this")
        self.assertEqual(self.ends, [(Exit.BROKEN_PIPE, "")])
        self.successResultOf(self.pipe.close())

    def test_both_gone(self) -> None:
        """Where both are gone at once it is the same."""
        self.lose()
        self.assertEqual(self.ends, [(Exit.BROKEN_PIPE, "")])

    def test_ends_once(self) -> None:
        """The first end counts; closing waits until the output is taken, and nothing is told after it."""
        self.pipe.readConnectionLost()
        closed = self.pipe.close()
        self.assertNoResult(closed)
        self.message("too late")
        self.assertTrue(self.standard.closing)
        self.standard.taken()
        self.successResultOf(closed)
        self.assertEqual((self.ends, self.printed()), ([(Exit.DONE, "")], []))


class ArrivingTests(PipeCase):
    """An input that ends before we are where we wanted to be."""

    arrived = False

    def test_entered(self) -> None:
        """An input of nothing ends once the room was entered: only then is it known that we may be there."""
        self.pipe.readConnectionLost()
        self.up()
        self.assertEqual(self.ends, [])
        self.pipe.tell(events.Entered("#other", ["alice"]))
        self.assertEqual(self.ends, [])
        self.pipe.tell(events.Entered("#lobby", ["alice"]))
        self.assertEqual(self.ends, [(Exit.DONE, "")])

    def test_room_that_does_not_take_us(self) -> None:
        """Where our room does not take us it ends with status 77, and one line."""
        self.pipe.tell(events.NotEntered("#lobby", "this room has as many members as it takes"))
        self.assertEqual(self.ends, [(Exit.NOT_PERMITTED, "")])
        self.assertEqual(len(self.remarks()), 1)


class OutputTests(PipeCase):
    """Plain output: a line a message, and remarks on stderr."""

    def test_message(self) -> None:
        """A message is its sender and text; one of another room says which."""
        self.message("hello: there")
        self.message("over here", room="#other")
        self.message("psst", room="@alice+bob")
        self.assertEqual(self.printed(), ["bob: hello: there", "[#other] bob: over here", "[direct] bob: psst"])
        self.assertEqual(self.remarks(), [])

    def test_hostile_text(self) -> None:
        """Whatever a message, a name or a room holds, it is one line without a control character."""
        self.message(HOSTILE, sender=HOSTILE[:32], room="#" + HOSTILE[:20])
        (line,) = self.printed()
        self.assertTrue(line.isprintable(), repr(line))
        self.assertEqual(len(self.standard.value().splitlines()), 1)

    def test_hostile_remarks(self) -> None:
        """Nor does anything on stderr move a cursor or begin a line."""
        for event in (
            events.NotSent("#lobby", HOSTILE, HOSTILE),
            events.NotEntered("#other" + HOSTILE, HOSTILE),
            events.Unreadable("#lobby", HOSTILE, WHEN, 1, HOSTILE),
            events.Error(HOSTILE),
            events.Link(False, RELAY, HOSTILE, 1.0),
        ):
            before = len(self.remarks())
            self.pipe.tell(event)
            self.assertEqual(len(self.remarks()), before + 1)
            self.assertTrue(self.remarks()[-1].isprintable())
        line = failure_line(ClientError(HOSTILE))
        self.assertTrue(line.startswith("securechat: "))
        self.assertTrue(line.isprintable())

    def test_quiet(self) -> None:
        """Who comes and goes, keys, the first link and the message of the day are not told unasked."""
        self.up()
        for event in (
            events.Entered("#lobby", ["alice"]),
            events.Joined("#lobby", "bob"),
            events.Left("#lobby", "bob"),
            events.Keyed("#lobby", "0123", 32),
            events.Motd("hello"),
            events.Sent("#lobby", 1, "x"),
        ):
            self.pipe.tell(event)
        self.assertEqual((self.printed(), self.remarks()), ([], []))

    def test_reconnecting(self) -> None:
        """A lost link is announced with its reason and the wait, and its return as well."""
        self.up()
        self.down(12.3)
        self.up()
        self.assertEqual(
            self.remarks(),
            ["securechat: the connection broke; trying again in 12 s", "securechat: connected again"],
        )

    def test_missed(self) -> None:
        """Missed messages are counted, and unreadable ones told without their content."""
        self.pipe.tell(events.Missed("#lobby", 3, 5))
        self.pipe.tell(events.Unreadable("#lobby", "bob", WHEN, 6, "it is not authentic"))
        self.assertEqual(
            self.remarks(),
            [
                "securechat: missed 3 messages in #lobby",
                "securechat: a message of bob in #lobby cannot be read: it is not authentic",
            ],
        )

    def test_not_taken(self) -> None:
        """While the output is not taken the link is not read."""
        self.pipe.pauseProducing()
        self.pipe.pauseProducing()
        self.assertEqual(self.flow.held, {"output"})
        self.pipe.resumeProducing()
        self.assertEqual(self.flow.held, set())

    def test_is_taken(self) -> None:
        """What was told is taken when the system has it, or when nobody reads it any more."""
        self.assertTrue(self.pipe.is_taken())
        self.standard.reader_takes = False
        self.assertFalse(self.pipe.is_taken())
        self.pipe.writeConnectionLost()
        self.assertTrue(self.pipe.is_taken())

    def test_producer(self) -> None:
        """The pipe is its output's producer until it closes."""
        self.assertIs(self.standard.producer, self.pipe)
        self.pipe.finish(Exit.DONE, "")
        self.pipe.close()
        self.assertIsNone(self.standard.producer)
        self.pipe.stopProducing()


class ChattyTests(PipeCase):
    """With --verbose."""

    chatty = True

    def test_told(self) -> None:
        """Everything that happens is one line on stderr."""
        self.up()
        for event in (
            events.Motd("be kind"),
            events.Entered("#lobby", ["alice", "bob"]),
            events.Keyed("#lobby", "0123", 32),
            events.Joined("#lobby", "carol"),
            events.Left("#lobby", "bob"),
            events.Sent("#lobby", 1, "x"),
        ):
            self.pipe.tell(event)
        self.assertEqual(
            [line.removeprefix("securechat: ") for line in self.remarks()],
            [
                f"connected to {RELAY}",
                "be kind",
                "you are in #lobby with alice, bob",
                "new session key for #lobby: 0123",
                "carol is a member of #lobby now",
                "bob left #lobby",
            ],
        )


class CountTests(PipeCase):
    """`listen --count`."""

    count = 2

    def test_count(self) -> None:
        """It ends with the last message of the count, and prints none beyond it."""
        for text in ("one", "two", "three"):
            self.message(text)
        self.assertEqual(self.printed(), ["bob: one", "bob: two"])
        self.assertEqual(self.ends, [(Exit.DONE, "")])

    def test_other_rooms_do_not_count(self) -> None:
        """What comes from elsewhere is printed with its place and is none of the count."""
        self.message("psst", room="@alice+bob")
        for text in ("one", "two"):
            self.message(text)
        self.assertEqual(self.printed(), ["[direct] bob: psst", "bob: one", "bob: two"])


class DirectTests(PipeCase):
    """A room that is one person."""

    room = "@bob"

    def test_direct(self) -> None:
        """Lines are said to that person, and no room is entered for it."""
        self.types("psst\n")
        self.assertEqual((self.talk.said, self.talk.entered), ([("@bob", "psst", None)], []))


class FailureLineTests(SynchronousTestCase):
    """The line that a program ends with."""

    def test_line(self) -> None:
        """It begins with the program's name."""
        self.assertEqual(failure_line(ClientError("no luck")), "securechat: no luck")
