"""The content of a sealed message: what may be said, how it is packed, and what is refused on the way in."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from securechat.e2e.sessions import HEADER_BYTES
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.aead import sealed_bytes
from securechat.e2e.body import PLAINTEXT_BYTES, TEXT_BYTES, BodyError, Text, check_text, pack_text, unpack
from securechat.e2e.errors import E2EError
from securechat.wire.messages import SEALED_BYTES

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


def packed(value: Any) -> bytes:
    """Any value as MessagePack."""
    return msgspec.msgpack.encode(value)


class SayingTests(SynchronousTestCase):
    """Texts that may be sent, and texts that may not."""

    def assert_refused(self, text: str, why: str) -> None:
        """A text is refused for a reason that a person reads."""
        self.assertIn(why, str(self.assertRaises(BodyError, check_text, text)))

    def test_bounds(self) -> None:
        """A text of one byte and one of 16,256 are taken; none and one more are not, and the bound is named."""
        check_text("x")
        check_text("x" * TEXT_BYTES)
        self.assert_refused("", "nothing to send")
        self.assert_refused("x" * (TEXT_BYTES + 1), "16257 bytes")
        self.assert_refused("x" * (TEXT_BYTES + 1), "at most 16256")

    def test_bytes_count_and_not_characters(self) -> None:
        """The bound is on the UTF-8, so a text of few but wide characters can be too long."""
        check_text("€" * (TEXT_BYTES // 3))
        self.assert_refused("€" * (TEXT_BYTES // 3 + 1), "bytes")
        self.assert_refused("\N{PILE OF POO}" * (TEXT_BYTES // 4 + 1), "bytes")

    def test_lone_surrogates(self) -> None:
        """Half a surrogate pair, as `json.loads` lets it through, is no text, wherever it stands."""
        for text in ("\ud800", "a\udfffb", "\udc80" * 20_000):
            self.assert_refused(text, "not valid Unicode")

    def test_the_longest_fits_the_wire(self) -> None:
        """The longest text, packed and sealed, is within what the relay takes."""
        plaintext = pack_text("x" * TEXT_BYTES)
        self.assertLessEqual(len(plaintext), PLAINTEXT_BYTES)
        self.assertLessEqual(HEADER_BYTES + sealed_bytes(PLAINTEXT_BYTES), SEALED_BYTES)

    def test_packed_as_documented(self) -> None:
        """A text is a MessagePack array of its kind and itself."""
        self.assertEqual(pack_text("hé"), b"\x92\xa4text\xa3h\xc3\xa9")

    @given(texts)
    def test_round_trip(self, text: str) -> None:
        """Whatever may be said comes out as it went in."""
        check_text(text)
        self.assertEqual(unpack(pack_text(text)), Text(text))


class HearingTests(SynchronousTestCase):
    """Plaintexts of anybody's making."""

    def assert_unknown(self, plaintext: bytes) -> None:
        """A plaintext is refused by the package's own error, which repeats nothing of it."""
        wrong = self.assertRaises(BodyError, unpack, plaintext)
        self.assertIsInstance(wrong, E2EError)
        self.assertIn(str(wrong), {UNKNOWN, OUT_OF_BOUNDS})

    def test_other_kinds(self) -> None:
        """A kind that is not known, and a kind that is no string, are of an unknown kind."""
        for value in (["file", "x"], ["Text", "x"], ["", "x"], [1, "x"], [None, "x"], [["text"], "x"]):
            self.assert_unknown(packed(value))

    def test_shape(self) -> None:
        """An array with an element too many or too few, and what is no array, are refused."""
        for value in ([], ["text"], ["text", "x", "y"], ["text", "x", None], {"text": "x"}, "text", 7, None):
            self.assert_unknown(packed(value))

    def test_types_are_strict(self) -> None:
        """A text is a string in UTF-8, and not bytes, a number or nil."""
        for value in (["text", b"x"], ["text", 1], ["text", None], ["text", ["x"]], ["text", True]):
            self.assert_unknown(packed(value))
        self.assert_unknown(b"\x92\xa4text\xa2\xff\xfe")
        self.assert_unknown(b"\x92\xa4text\xa3\xed\xa0\x80")

    def test_bounds(self) -> None:
        """An empty text is refused, the longest one is taken, and one byte more is refused, as when it is sent."""
        self.assert_unknown(packed(["text", ""]))
        self.assertEqual(unpack(packed(["text", "x" * TEXT_BYTES])).text, "x" * TEXT_BYTES)
        self.assert_unknown(packed(["text", "x" * (TEXT_BYTES + 1)]))
        self.assert_unknown(packed(["text", "€" * (TEXT_BYTES // 3 + 1)]))

    def test_nothing_behind_it(self) -> None:
        """Bytes after the array, and an array that is cut off, are refused."""
        whole = pack_text("hello")
        self.assert_unknown(whole + b"\xc0")
        for end in range(len(whole)):
            self.assert_unknown(whole[:end])

    def test_deep_nesting(self) -> None:
        """Arrays in arrays without end are refused and exhaust nothing."""
        self.assert_unknown(b"\x91" * 16_000)
        self.assert_unknown(b"\x92\xa4text" + b"\x91" * 16_000)

    @given(st.binary(max_size=64) | st.binary(max_size=40).map(lambda tail: b"\x92\xa4text" + tail))
    def test_any_bytes(self, plaintext: bytes) -> None:
        """Any bytes are either a text that could have been sent or a `BodyError`."""
        try:
            said = unpack(plaintext)
        except BodyError:
            return
        check_text(said.text)


UNKNOWN = "its content is of a kind that is not known here"
OUT_OF_BOUNDS = "its text is empty, or longer than a message holds"
