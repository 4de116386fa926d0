"""What is inside a message of SC1: packed as documented, padded to one of eight sizes, strict on the way in."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.e2e.body import TEXT_BYTES, BodyError
from securechat.e2e.content import BUCKETS, Said, pack, unpack
from securechat.e2e.errors import E2EError
from securechat.signed.errors import NotAuthentic

ROOM, MESSAGE_ID = b"r" * 32, b"m" * 16


def said(text: str, voided: int = 0) -> Said:
    """A message."""
    return Said(ROOM, 1_800_000_000_000, MESSAGE_ID, voided, text)


def padded(value: Any) -> bytes:
    """Any value as the body of a message."""
    body = msgspec.msgpack.encode(value)
    plain = len(body).to_bytes(4, "big") + body
    return plain.ljust(next(size for size in BUCKETS if len(plain) <= size), b"\x00")


class PackTests(SynchronousTestCase):
    """On the way out."""

    def test_as_documented(self) -> None:
        """A body is an array of kind, room, time, id, voided and text, behind its length and before zeros."""
        body = (
            b"\x96\xa4text\xc4\x20"
            + ROOM
            + b"\xcf\x00\x00\x01\xa3\x18\x5c\x50\x00\xc4\x10"
            + MESSAGE_ID
            + b"\x02\xa2hi"
        )
        expected = (b"\x00\x00\x00" + bytes([len(body)]) + body).ljust(128, b"\x00")
        self.assertEqual(pack(said("hi", 2)), expected)

    def test_buckets(self) -> None:
        """There are eight sizes, and a message has the smallest that holds it."""
        self.assertEqual(BUCKETS, (128, 256, 512, 1024, 2048, 4096, 8192, 16384))
        seen = {len(pack(said("x" * size))) for size in range(1, TEXT_BYTES + 1, 7)}
        self.assertEqual(seen, set(BUCKETS))
        for text in ("x", "x" * 3_000, "x" * TEXT_BYTES):
            size = len(pack(said(text)))
            body = int.from_bytes(pack(said(text))[:4], "big")
            self.assertEqual(size, min(bucket for bucket in BUCKETS if 4 + body <= bucket))

    def test_bounds(self) -> None:
        """An empty text, one that is too long and one that is no Unicode cannot be sent."""
        for text in ("", "x" * (TEXT_BYTES + 1), "\ud800"):
            self.assertRaises(BodyError, pack, said(text))

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300), st.integers(0, 255))
    def test_round_trip(self, text: str, voided: int) -> None:
        """Whatever may be said comes out as it went in."""
        self.assertEqual(unpack(pack(said(text, voided)), ROOM), said(text, voided))


class UnpackTests(SynchronousTestCase):
    """On the way in."""

    def test_another_room(self) -> None:
        """A message of another room is not authentic here."""
        self.assertRaises(NotAuthentic, unpack, pack(said("x")), b"s" * 32)

    def test_kinds_and_shapes(self) -> None:
        """Another kind, and another shape, are of a kind that is not known."""
        fields = [ROOM, 1, MESSAGE_ID, 0, "x"]
        for value in (
            ["file", *fields],
            ["text", *fields[:-1]],
            ["text", *fields, None],
            ["text", ROOM[:-1], *fields[1:]],
            ["text", ROOM, -1, *fields[2:]],
            ["text", ROOM, 1.0, *fields[2:]],
            ["text", ROOM, 1, MESSAGE_ID + b"x", *fields[3:]],
            ["text", *fields[:3], 2**31, "x"],
            ["text", *fields[:4], b"x"],
            ["text", *fields[:4], ""],
            fields,
            None,
            {"text": fields},
        ):
            self.assertRaises(BodyError, unpack, padded(value), ROOM)
        self.assertRaises(BodyError, unpack, padded(["text", *fields[:4], "x" * (TEXT_BYTES + 1)]), ROOM)

    def test_padding(self) -> None:
        """A plaintext that is no bucket, the wrong one, or not filled with zeros is not authentic."""
        whole = pack(said("x"))
        for broken in (b"", whole[:-1], whole + b"\x00", whole.ljust(256, b"\x00"), whole[:-1] + b"\x01", bytes(3)):
            self.assertRaises(NotAuthentic, unpack, broken, ROOM)
        self.assertRaises(NotAuthentic, unpack, b"\xff\xff\xff\xff" + whole[4:], ROOM)
        self.assertRaises(BodyError, unpack, bytes(128), ROOM)

    @given(st.binary(max_size=140))
    def test_any_bytes(self, data: bytes) -> None:
        """Any plaintext, and any body in an honest one, is a message or an error of ours."""
        for plaintext in (data, (len(data).to_bytes(4, "big") + data).ljust(256, b"\x00")):
            try:
                unpack(plaintext, ROOM)
            except (E2EError, NotAuthentic):
                continue

    def test_deep_nesting(self) -> None:
        """Arrays in arrays without end exhaust nothing."""
        body = b"\x91" * 16_000
        plaintext = (len(body).to_bytes(4, "big") + body).ljust(BUCKETS[-1], b"\x00")
        self.assertRaises(BodyError, unpack, plaintext, ROOM)
