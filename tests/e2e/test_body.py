"""Texts: which may be sent, and which may not."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.aead import sealed_bytes
from securechat.e2e.body import PLAINTEXT_BYTES, TEXT_BYTES, BodyError, check_text
from securechat.e2e.chain import FRAME_BYTES
from securechat.wire.messages import SEALED_BYTES


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
        """The longest frame is within what the relay takes."""
        self.assertLessEqual(max(FRAME_BYTES), SEALED_BYTES)
        self.assertLess(sealed_bytes(PLAINTEXT_BYTES), max(FRAME_BYTES))
