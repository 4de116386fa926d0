"""Events as JSON: what programs read."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from unittest import SkipTest

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.client import events

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def as_json(event: events.Event) -> Any:
    """What another program makes of an event."""
    return json.loads(msgspec.json.encode(event))


class JsonTests(SynchronousTestCase):
    """One object for each event, `type` first."""

    def test_message(self) -> None:
        """A message has room, sender, text, time in UTC and number."""
        text = msgspec.json.encode(events.Message("#lobby", "bob", "hi", WHEN, 7)).decode()
        self.assertEqual(
            text,
            '{"type":"message","room":"#lobby","sender":"bob","text":"hi","time":"2026-01-02T03:04:05.678000Z","seq":7}',
        )

    def test_others(self) -> None:
        """Each other event is its type and its fields; an id that the input did not give is left out."""
        for event, expected in (
            (events.Sent("#a", 1, "hi"), {"type": "sent", "room": "#a", "seq": 1, "text": "hi"}),
            (events.Sent("#a", 1, "hi", "x"), {"type": "sent", "room": "#a", "seq": 1, "text": "hi", "id": "x"}),
            (events.NotSent("#a", "why", "hi"), {"type": "not-sent", "room": "#a", "reason": "why", "text": "hi"}),
            (events.Missed("#a", 2, 5), {"type": "missed", "room": "#a", "first": 2, "last": 5}),
            (events.Entered("#a", ["b"]), {"type": "entered", "room": "#a", "members": ["b"]}),
            (events.NotEntered("#a", "why"), {"type": "not-entered", "room": "#a", "reason": "why"}),
            (events.Joined("#a", "b"), {"type": "joined", "room": "#a", "name": "b"}),
            (events.Left("#a", "b"), {"type": "left", "room": "#a", "name": "b"}),
            (events.Keyed("#a", "f", 32), {"type": "key", "room": "#a", "fingerprint": "f", "bytes": 32}),
            (events.Motd("hello"), {"type": "motd", "text": "hello"}),
            (events.Error("oh"), {"type": "error", "text": "oh"}),
            (
                events.Unreadable("#a", "b", WHEN, 1, "why"),
                {
                    "type": "unreadable",
                    "room": "#a",
                    "sender": "b",
                    "time": "2026-01-02T03:04:05.678000Z",
                    "seq": 1,
                    "reason": "why",
                },
            ),
        ):
            self.assertEqual(as_json(event), expected)

    def test_link_always_says_all(self) -> None:
        """A link's event has all its fields also where they say nothing."""
        self.assertEqual(
            as_json(events.Link(True, "relay")),
            {"type": "link", "up": True, "relay": "relay", "reason": "", "retry_s": None},
        )


class TimeTests(SynchronousTestCase):
    """Times from the wire."""

    def test_milliseconds(self) -> None:
        """Milliseconds since 1970 become a time in UTC."""
        self.assertEqual(events.time_of(0), datetime(1970, 1, 1, tzinfo=UTC))
        self.assertEqual(events.time_of(1_767_323_045_678), WHEN)

    def test_beyond_the_calendar(self) -> None:
        """A time that no calendar has becomes the last moment that it has, and can be written."""
        for milliseconds in (2**63 - 1, 253_402_300_800_000):
            self.assertEqual(events.time_of(milliseconds), datetime.max.replace(tzinfo=UTC))
            as_json(events.Message("#a", "b", "c", events.time_of(milliseconds), 1))

    @given(st.integers(0, 2**63 - 1))
    def test_any_time(self, milliseconds: int) -> None:
        """Whatever the relay says a message's time is, there is one."""
        as_json(events.Message("#a", "b", "c", events.time_of(milliseconds), 1))


class DocumentedTests(SynchronousTestCase):
    """docs/CLIENT.md, which programs are written from."""

    def test_every_event(self) -> None:
        """Each event stands in the table of docs/CLIENT.md with all of its fields."""
        path = Path(__file__).parents[2] / "docs" / "CLIENT.md"
        if not path.exists():
            raise SkipTest("only in a checkout")
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line.split("|")[1:3] for line in lines if line.startswith("|")]
        for kind in get_args(events.Event):
            tag = kind.__struct_config__.tag
            (fields,) = [fields for names, fields in rows if f"`{tag}`" in names]
            for field in kind.__struct_fields__:
                self.assertIn(f"`{field}`", fields, tag)
