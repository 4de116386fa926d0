"""What each message may hold, and with which code everything else is refused."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.codes import REASONS, Code
from securechat.wire.framing import MessageDecoder, decode_refusal, frame, names_of
from securechat.wire.messages import (
    BLOB_BYTES,
    BUNDLE_ITEMS,
    CERTIFICATE_BYTES,
    ENTRY_BYTES,
    FRAME_BYTES,
    LAST_SEQ,
    MEMBER_ROOMS,
    PREKEY_BYTES,
    ROOM_MEMBERS,
    RUN_ITEMS,
    SEALED_BYTES,
    Ack,
    Append,
    Ask,
    Asked,
    Declined,
    Delivery,
    Enter,
    Found,
    FromClient,
    FromRelay,
    Gap,
    Goodbye,
    Greeting,
    Hand,
    Hello,
    Limits,
    Lookup,
    Message,
    Ping,
    Pong,
    Post,
    Prekeys,
    Presence,
    Present,
    Refused,
    Renew,
    Repost,
    Roster,
    SealedKey,
    Seen,
    SessionKey,
    Want,
    Welcome,
)
from tests.wire.harness import from_client, from_relay
from tests.wire.strategies import from_clients, from_relays

ID: Final = bytes(16)
KEY: Final = bytes(32)
COUNT: Final = ([0, 2**32 - 1], [-1, 2**32, "1", 1.0, True, None])
SEQ: Final = ([0, 2**63 - 1], [-1, 2**63, "1", 1.0, None])
ROOM: Final = (["#a", "#" * 66, "é" * 66], ["", "#", "#" * 67, b"#a", 1, None])
HANDLE: Final = (["a", "a" * 32], ["", "a" * 33, b"a", 1, None])
BYTES32: Final = ([KEY], [bytes(31), bytes(33), "a" * 32, None])
CODE: Final = ([*Code], ["", "quiet", 1, None])
REASON: Final = (["", "a" * 200], ["a" * 201, b"a", None])
FLAG: Final = ([True, False], [0, 1, None, "true"])
SESSION: Final = ([ID], [bytes(15), bytes(17), "a" * 16, None])


def opaque(most: int, least: int = 1) -> tuple[list[Any], list[Any]]:
    """Bytes of which the wire knows no more than their bounds."""
    return [bytes(least), bytes(most)], [*([b""] if least else []), bytes(most + 1), "a", None]


def devices_with(most: int, least: int = 1) -> tuple[list[Any], list[Any]]:
    """Devices, each with bytes."""
    return (
        [[(KEY, bytes(most))], [(KEY, bytes(least))] * BUNDLE_ITEMS],
        [
            [],
            [(KEY, bytes(least))] * (BUNDLE_ITEMS + 1),
            [(KEY, bytes(most + 1))],
            *([[(KEY, b"")]] if least else []),
            [(bytes(31), b"b")],
            [(KEY,)],
            [(KEY, b"b", 0)],
            [(KEY, "b")],
            None,
        ],
    )


EDGES: Final[list[tuple[type, dict[str, tuple[list[Any], list[Any]]]]]] = [
    (
        Greeting,
        {"version": COUNT, "nonce": BYTES32, "motd": (["", "a" * 1_000], ["a" * 1_001, b"a", None])},
    ),
    (
        Hello,
        {
            "version": COUNT,
            "certificate": opaque(CERTIFICATE_BYTES),
            "prekey": opaque(PREKEY_BYTES),
            "proof": ([bytes(64)], [bytes(63), bytes(65), "a" * 64, None]),
        },
    ),
    (Renew, {"prekey": opaque(PREKEY_BYTES)}),
    (
        Welcome,
        {
            "name": HANDLE,
            "rooms": ([[], ["#a"] * MEMBER_ROOMS], [["#a"] * (MEMBER_ROOMS + 1), ["#"], ["#" * 67], [b"#a"], None]),
            "limits": ([Limits(0, 0, 2**32 - 1)], [[1, 2], [1, 2, 3, 4], [1, 2, -1], [1, 2, 2**32], None]),
        },
    ),
    (Refused, {"code": CODE, "reason": REASON}),
    (Enter, {"room": ROOM, "have": COUNT, "after": SEQ}),
    (Append, {"room": ROOM, "entry": opaque(ENTRY_BYTES)}),
    (
        Roster,
        {
            "room": ROOM,
            "first": COUNT,
            "entries": (
                [[], [b"e"] * RUN_ITEMS, [bytes(ENTRY_BYTES)]],
                [[b"e"] * (RUN_ITEMS + 1), [b""], [bytes(ENTRY_BYTES + 1)], ["e"], b"e", None],
            ),
            "total": COUNT,
            "last_seq": SEQ,
        },
    ),
    (
        Present,
        {
            "room": ROOM,
            "names": ([[], ["a"] * ROOM_MEMBERS], [["a"] * (ROOM_MEMBERS + 1), [""], ["a" * 33], "a", None]),
        },
    ),
    (
        Want,
        {
            "devices": (
                [[KEY], [KEY] * BUNDLE_ITEMS],
                [[], [KEY] * (BUNDLE_ITEMS + 1), [bytes(31)], ["a" * 32], None],
            )
        },
    ),
    (Prekeys, {"items": devices_with(PREKEY_BYTES, 0)}),
    (Lookup, {"name": HANDLE}),
    (Found, {"name": HANDLE, "certificate": opaque(CERTIFICATE_BYTES, 0), "online": FLAG}),
    (Hand, {"room": ROOM, "items": devices_with(BLOB_BYTES)}),
    (
        SealedKey,
        {
            "room": ROOM,
            "handed": SEQ,
            "items": (
                [[("a" * 32, bytes(BLOB_BYTES))], [("a", b"b")] * BUNDLE_ITEMS],
                [
                    [],
                    [("a", b"b")] * (BUNDLE_ITEMS + 1),
                    [("", b"b")],
                    [("a", b"")],
                    [("a", bytes(BLOB_BYTES + 1))],
                    [("a",)],
                    [("a", b"b", 0)],
                    None,
                ],
            ),
        },
    ),
    (Ask, {"room": ROOM, "device": BYTES32, "sid": SESSION}),
    (Asked, {"room": ROOM, "device": BYTES32, "sid": SESSION}),
    (SessionKey, {"room": ROOM, "epoch": BYTES32, "key": BYTES32}),
    (Presence, {"room": ROOM, "name": HANDLE, "here": FLAG}),
    (
        Post,
        {
            "room": ROOM,
            "epoch": BYTES32,
            "items": (
                [[(ID, b"s")], [(ID, bytes(SEALED_BYTES))], [(ID, b"s")] * RUN_ITEMS],
                [
                    [],
                    [(ID, b"s")] * (RUN_ITEMS + 1),
                    [(ID, b"")],
                    [(ID, bytes(SEALED_BYTES + 1))],
                    [(bytes(15), b"s")],
                    [(bytes(17), b"s")],
                    [(ID,)],
                    [(ID, b"s", 0)],
                    [(ID, "s")],
                    [None],
                    None,
                ],
            ),
        },
    ),
    (
        Repost,
        {"room": ROOM, "epoch": BYTES32, "after": SEQ, "post_id": SESSION, "sealed": opaque(SEALED_BYTES)},
    ),
    (
        Ack,
        {
            "room": ROOM,
            "items": (
                [[(ID, 0)], [(ID, 2**63 - 1)] * RUN_ITEMS],
                [[], [(ID, 1)] * (RUN_ITEMS + 1), [(ID, 2**63)], [(bytes(15), 1)], [(ID, 1, 1)]],
            ),
        },
    ),
    (
        Delivery,
        {
            "room": ROOM,
            "first_seq": SEQ,
            "items": (
                [[("a" * 32, 2**63 - 1, b"s")], [("a", 0, b"s")] * RUN_ITEMS, [("a", 0, bytes(SEALED_BYTES))]],
                [
                    [],
                    [("a", 0, b"s")] * (RUN_ITEMS + 1),
                    [("", 0, b"s")],
                    [("a" * 33, 0, b"s")],
                    [("a", -1, b"s")],
                    [("a", 2**63, b"s")],
                    [("a", 0, b"")],
                    [("a", 0, bytes(SEALED_BYTES + 1))],
                    [("a", 0)],
                ],
            ),
        },
    ),
    (Gap, {"room": ROOM, "first": SEQ, "last": SEQ, "code": CODE}),
    (
        Seen,
        {
            "items": (
                [[("#a", 0, 0)], [("#a", 2**63 - 1, 2**63 - 1)] * BUNDLE_ITEMS],
                [
                    [],
                    [("#a", 0, 0)] * (BUNDLE_ITEMS + 1),
                    [("#", 0, 0)],
                    [("#a", -1, 0)],
                    [("#a", 2**63, 0)],
                    [("#a", 0, 2**63)],
                    [("#a", 0)],
                    None,
                ],
            ),
        },
    ),
    (
        Declined,
        {
            "room": ROOM,
            "ids": ([[], [ID] * RUN_ITEMS], [[ID] * (RUN_ITEMS + 1), [bytes(15)], [None], None]),
            "code": CODE,
        },
    ),
    (Goodbye, {"code": CODE, "reason": REASON}),
    (Ping, {}),
    (Pong, {}),
]
"""Each message's fields, each with values that it may have, out to its bounds, and values that it may not."""


def direction(kind: type) -> tuple[MessageDecoder, frozenset[str]]:
    """The decoder of a side that may receive such a message, and the names it knows."""
    if kind.__name__ in names_of(FromClient):
        return from_client, names_of(FromClient)
    return from_relay, names_of(FromRelay)


def encoded(kind: type, values: list[Any]) -> bytes:
    """A message's body, whatever its fields hold."""
    return msgspec.msgpack.encode([kind.__name__, *values])


class BoundsTests(SynchronousTestCase):
    """Every field of every message."""

    def test_table_is_complete(self) -> None:
        """Every message and every field of it stands in the table."""
        table = {kind.__name__: set(fields) for kind, fields in EDGES}
        self.assertEqual(names_of(FromClient) | names_of(FromRelay), set(table))
        for kind, fields in EDGES:
            self.assertEqual({field.name for field in msgspec.structs.fields(kind)}, set(fields), kind)

    def test_within_bounds(self) -> None:
        """A field at its bounds is taken and arrives as it was."""
        for kind, fields in EDGES:
            usual = [good[0] for good, _ in fields.values()]
            for place, (good, _) in enumerate(fields.values()):
                for value in good:
                    message = kind(*usual[:place], value, *usual[place + 1 :])
                    body = msgspec.msgpack.encode(message)
                    self.assertEqual(message, direction(kind)[0].decode(body))

    def test_out_of_bounds(self) -> None:
        """One over a bound, or another type, is refused as a bad field."""
        for kind, fields in EDGES:
            decoder, names = direction(kind)
            usual = [good[0] for good, _ in fields.values()]
            for place, (_, bad) in enumerate(fields.values()):
                for value in bad:
                    body = encoded(kind, [*usual[:place], value, *usual[place + 1 :]])
                    with self.assertRaises(msgspec.ValidationError, msg=f"{kind.__name__} {value!r:.60}"):
                        decoder.decode(body)
                    self.assertEqual(Code.BAD_FIELD, decode_refusal(body, names))

    def test_number_of_fields(self) -> None:
        """A message with a field too few or too many is refused as a bad field."""
        for kind, fields in EDGES:
            decoder, names = direction(kind)
            usual = [good[0] for good, _ in fields.values()]
            for values in [usual[:-1], [*usual, None]] if usual else [[None]]:
                body = encoded(kind, values)
                with self.assertRaises(msgspec.ValidationError):
                    decoder.decode(body)
                self.assertEqual(Code.BAD_FIELD, decode_refusal(body, names))

    def test_the_longest_fit_a_frame(self) -> None:
        """What is sent at all of its bounds fits a frame, in the names that exist."""
        room = "@" + "a" * 32 + "+" + "b" * 32
        longest: list[Message] = [
            Welcome("a" * 32, ["#" + "a" * 32] * MEMBER_ROOMS, Limits(2**32 - 1, 2**32 - 1, 2**32 - 1)),
            Roster(room, 2**32 - 1, [bytes(ENTRY_BYTES)] * 15, 2**32 - 1, 2**63 - 1),
            Present(room, ["a" * 32] * ROOM_MEMBERS),
            Want([KEY] * BUNDLE_ITEMS),
            Prekeys([(KEY, bytes(PREKEY_BYTES))] * 30),
            Hand(room, [(KEY, bytes(950))] * BUNDLE_ITEMS),
            Ack(room, [(ID, 2**63 - 1)] * RUN_ITEMS),
            Declined(room, [ID] * RUN_ITEMS, Code.NOT_A_MEMBER),
            Post(room, KEY, [(ID, bytes(SEALED_BYTES))] * 3),
            Greeting(1, KEY, "\U0001f512" * 1_000),
        ]
        for message in longest:
            self.assertLessEqual(len(frame(message)), 4 + FRAME_BYTES)

    def test_too_long_is_our_mistake(self) -> None:
        """A message that no frame holds is never sent."""
        with self.assertRaises(AssertionError):
            frame(Post("#a", KEY, [(ID, bytes(SEALED_BYTES))] * 4))

    def test_every_code_has_its_sentence(self) -> None:
        """Each code has a reason that fits its field."""
        self.assertEqual(set(Code), set(REASONS))
        for code, reason in REASONS.items():
            self.assertEqual(Refused(code, reason), from_relay.decode(frame(Refused(code, reason))[4:]))


class RefusalTests(SynchronousTestCase):
    """The code for a body that is no message of this direction."""

    def assert_refused(self, code: Code, body: bytes) -> None:
        """The relay's decoder does not take the body, and gives the code."""
        with self.assertRaises((msgspec.MsgspecError, ValueError, RecursionError)):
            from_client.decode(body)
        self.assertEqual(code, decode_refusal(body, names_of(FromClient)))

    def test_unknown(self) -> None:
        """A name that no message has is an unknown message."""
        self.assert_refused(Code.UNKNOWN_MESSAGE, msgspec.msgpack.encode(["Shout", "hey"]))

    def test_wrong_direction(self) -> None:
        """What only the relay says is unknown to it, however well formed."""
        for kind, fields in EDGES:
            if kind.__name__ not in names_of(FromClient):
                body = encoded(kind, [good[0] for good, _ in fields.values()])
                self.assert_refused(Code.UNKNOWN_MESSAGE, body)

    def test_not_a_message(self) -> None:
        """Maps, scalars, arrays without a name, cut or trailing bytes are no messages."""
        whole = msgspec.msgpack.encode(Enter("#a", 0, LAST_SEQ))
        for body in [
            msgspec.msgpack.encode({"type": "Enter", "room": "#a", "have": 0}),
            msgspec.msgpack.encode("Enter"),
            msgspec.msgpack.encode(7),
            msgspec.msgpack.encode([]),
            msgspec.msgpack.encode([7]),
            msgspec.msgpack.encode([["Enter"]]),
            msgspec.msgpack.encode([b"Enter", "#a", 0]),
            whole[:-1],
            whole + b"\xc0",
            b"\xc1",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
        ]:
            self.assert_refused(Code.NOT_A_MESSAGE, body)

    def test_bad_utf8(self) -> None:
        """Text that is no UTF-8 is a bad field, and in place of the name no message."""
        self.assert_refused(Code.BAD_FIELD, b"\x93\xa5Enter\xa2\xff\xfe\x00")
        self.assert_refused(Code.BAD_FIELD, b"\x93\xa5Enter\xa3\xed\xa0\x80\x00")
        self.assert_refused(Code.NOT_A_MESSAGE, b"\x92\xa2\xff\xfe\xa2#a")

    def test_nesting_bombs(self) -> None:
        """Arrays in arrays to the end of the frame are refused without an exception of another kind."""
        deep = b"\x91" * (FRAME_BYTES - 1) + b"\xc0"
        self.assert_refused(Code.NOT_A_MESSAGE, deep)
        self.assert_refused(Code.NOT_A_MESSAGE, b"\x92\xa5Enter" + b"\x91" * 60_000 + b"\xc0")
        self.assert_refused(Code.UNKNOWN_MESSAGE, b"\x92\xa5Shout" + b"\x91" * 500 + b"\xc0")

    def test_promised_lengths(self) -> None:
        """A few bytes that promise four thousand million elements are refused, and no room is made for them."""
        for body in [
            b"\xdd\xff\xff\xff\xff",
            b"\xdd\xff\xff\xff\xff\xa5Enter",
            b"\x94\xa4Post\xa2#a\xc4\x20" + KEY + b"\xdd\xff\xff\xff\xff",
            b"\x92\xa5Enter\xdb\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
        ]:
            self.assert_refused(Code.NOT_A_MESSAGE, body)


class RoundTripTests(SynchronousTestCase):
    """Any message there and back."""

    @given(from_clients())
    def test_from_client(self, message: Message) -> None:
        """What a client encodes the relay decodes to the same."""
        self.assertEqual(message, from_client.decode(frame(message)[4:]))

    @given(from_relays())
    def test_from_relay(self, message: Message) -> None:
        """What the relay encodes a client decodes to the same."""
        self.assertEqual(message, from_relay.decode(frame(message)[4:]))

    @given(from_clients())
    def test_layout(self, message: Message) -> None:
        """A message travels as an array of its name and its fields in order."""
        fields = list(msgspec.structs.astuple(message))
        self.assertEqual(frame(message)[4:], msgspec.msgpack.encode([type(message).__name__, *fields]))

    @given(st.binary(max_size=300))
    def test_any_bytes(self, body: bytes) -> None:
        """Any bytes decode to a message or to a refusal, and to no other exception."""
        try:
            from_client.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self.assertIn(
                decode_refusal(body, names_of(FromClient)),
                {Code.NOT_A_MESSAGE, Code.UNKNOWN_MESSAGE, Code.BAD_FIELD},
            )
