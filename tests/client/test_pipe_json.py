"""JSON lines in, JSON lines out."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from securechat.client import events
from securechat.client.errors import Exit
from tests.client.pipe_harness import WHEN, PipeCase


class JsonInputTests(PipeCase):
    """One object a line."""

    json = True

    def types_objects(self, *objects: Any) -> None:
        """Let some objects come."""
        for each in objects:
            self.types(json.dumps(each) + "\n")

    def test_objects(self) -> None:
        """Text alone goes to the room of the command line; `room` and `id` are taken where they are given."""
        self.types_objects(
            {"text": "one"},
            {"text": "two", "room": "#other", "id": "x1"},
            {"text": "three", "room": "@bob", "id": None},
            {"text": "four", "room": "@alice+bob"},
            {"text": "five", "room": None},
        )
        self.assertEqual(
            self.talk.said,
            [
                ("#lobby", "one", None),
                ("#other", "two", "x1"),
                ("@bob", "three", None),
                ("@alice+bob", "four", None),
                ("#lobby", "five", None),
            ],
        )
        self.assertEqual(self.talk.entered, ["#lobby", "#other", "@alice+bob"])

    def test_history(self) -> None:
        """What was said before is asked for, 50 messages or as many as are named, and nothing is said."""
        self.types_objects({"history": "#other"}, {"history": "@bob", "last": 1000})
        self.assertEqual([("#other", 50), ("@bob", 1000)], self.talk.asked)
        self.assertEqual(([], ["#lobby"]), (self.talk.said, self.talk.entered))

    def test_bad_history(self) -> None:
        """A question that is none asks nothing, and neither is it said."""
        bad = [
            {"history": 5},
            *({"history": "#a", **more} for more in ({"last": 0}, {"last": 1001}, {"text": "b"})),
        ]
        self.types_objects(*bad)
        self.assertEqual(([], []), (self.talk.asked, self.talk.said))
        self.assertEqual(len(bad), len([each for each in self.objects() if each["type"] == "error"]))

    def test_empty_room(self) -> None:
        """An empty room is a mistake and does not mean the room of the command line."""
        self.types_objects({"text": "for somebody else", "room": ""})
        self.assertEqual(self.talk.said, [("", "for somebody else", None)])

    def test_escapes(self) -> None:
        """Escapes are what they stand for: newlines, pairs of surrogates, line separators."""
        self.types('{"text": "a\\nb\\u2028\\ud83d\\ude00\\u0000"}\r\n\n')
        self.assertEqual(self.texts(), ["a\nb\u2028\N{GRINNING FACE}\x00"])

    def test_bad_lines(self) -> None:
        """Each bad line is an error event with its number; the others are said, and the end is status 65."""
        bad = [
            "not json",
            "[]",
            "{}",
            '"text"',
            '{"text": 1}',
            '{"text": "a", "rom": "#b"}',
            '{"text": "a", "id": 7}',
            '{"text": "a"} {"text": "b"}',
            '{"text": "a"',
            '{"text": "\\ud800"}',
            '{"text": "a", "room": "\\udfff"}',
            "[" * 10_000,
        ]
        self.types('{"text": "first"}\n' + "".join(line + "\n" for line in bad) + '{"text": "last"}\n')
        self.types(b'{"text": "\xff"}\n')
        self.assertEqual(self.texts(), ["first", "last"])
        errors = self.objects()
        self.assertEqual({each["type"] for each in errors}, {"error"})
        numbers = [int(each["text"].split()[1]) for each in errors]
        self.assertEqual(numbers, [*range(2, len(bad) + 2), len(bad) + 3])
        self.acknowledge(2)
        self.pipe.readConnectionLost()
        self.assertEqual(self.ends, [(Exit.BAD_DATA, "")])
        self.assertEqual(self.remarks(), [])

    @given(st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")))
    @settings(deadline=None)
    def test_any_line(self, line: bytes) -> None:
        """Any line is said, passed over or told as an error, and the next one is said."""
        self.talk.said.clear()
        self.types(line + b'\n{"text": "next"}\n')
        self.assertEqual(self.texts()[-1], "next")


class JsonOutputTests(PipeCase):
    """One object an event."""

    json = True

    def test_events(self) -> None:
        """Every event is one object in the order of happening, and nothing goes to stderr."""
        self.up()
        self.pipe.tell(events.Sent("#lobby", 3, "hi", "x1"))
        self.pipe.tell(events.NotSent("#lobby", "why", "hi", "x2"))
        self.message("hello")
        self.down()
        self.assertEqual(
            [(each["type"], each.get("id")) for each in self.objects()],
            [("link", None), ("sent", "x1"), ("not-sent", "x2"), ("message", None), ("link", None)],
        )
        self.assertEqual(self.objects()[3]["time"], "2026-01-02T03:04:05.678000Z")
        self.assertEqual(self.remarks(), [])

    def assert_one_line(self, text: str) -> None:
        """A text comes out whole, in one line for every way to count lines, and harmless on a terminal."""
        self.standard.clear()
        self.message(text)
        data = self.standard.value()
        self.assertEqual(json.loads(data)["text"], text)
        self.assertEqual(len(data.decode().splitlines()), 1)
        self.assertTrue(data[:-1].decode().isprintable(), data)

    def test_one_line(self) -> None:
        """Newlines, separators, escape codes and bidirectional controls are written as escapes."""
        for text in (
            "a\nb\r\n",
            "\u2028\u2029\x85\x0b\x0c",
            "\x1b[31m\x9b31m\x7f",
            "\u202e\u2066",
            "\U000e0041\xad",
        ):
            self.assert_one_line(text)
        self.assert_one_line("ä€\N{GRINNING FACE} stay as they are")
        self.assertIn("ä€\N{GRINNING FACE}".encode(), self.standard.value())

    @given(st.text(st.characters(codec="utf-8"), max_size=30))
    @settings(deadline=None)
    def test_any_text(self, text: str) -> None:
        """That holds for any text."""
        self.assert_one_line(text)

    def test_unreadable(self) -> None:
        """What cannot be read is told without content."""
        self.pipe.tell(events.Unreadable("#lobby", "bob", WHEN, 6, "it is not authentic"))
        self.assertNotIn("text", self.objects()[0])
