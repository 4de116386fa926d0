"""Which names and rooms there can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.codes import Code
from securechat.wire.names import LOBBY, direct_pair, direct_room, is_room, name_refusal
from tests.wire.strategies import handles


class NameTests(SynchronousTestCase):
    """Names of users."""

    @given(handles())
    def test_handles(self, name: str) -> None:
        """A lower-case handle of up to 32 characters is a name."""
        self.assertIsNone(name_refusal(name))

    def test_bounds(self) -> None:
        """One to 32 characters are a name, 33 are too many."""
        self.assertIsNone(name_refusal("a"))
        self.assertIsNone(name_refusal("a" * 32))
        self.assertEqual(Code.NAME_TOO_LONG, name_refusal("a" * 33))

    def test_bad(self) -> None:
        """Anything but a lower-case handle is a bad name."""
        for name in ["", "Alice", ".a", "_a", "-a", "a b", "a+b", "é", "a\n", "a\0", "#a", "@a", "٣", "\uff41"]:
            self.assertEqual(Code.BAD_NAME, name_refusal(name), name)


class RoomTests(SynchronousTestCase):
    """Names of rooms."""

    def test_rooms(self) -> None:
        """The lobby, named rooms and direct rooms in order are rooms."""
        for room in [LOBBY, "#a", "#" + "a" * 32, "@a+b", "@" + "a" * 32 + "+" + "b" * 32]:
            self.assertTrue(is_room(room), room)

    def test_no_rooms(self) -> None:
        """Names without '#', bad names, pairs out of order, of one person or of three are no rooms."""
        for room in ["", "a", "#", "#A", "##a", "#a\n", "#" + "a" * 33, "@", "@a", "@a+", "@+a", "@b+a", "@a+a",
                     "@a+b+c", "@a+B", "@a +b", "#a+b", "@a+b\n"]:  # fmt: skip
            self.assertFalse(is_room(room), room)

    @given(handles(), handles())
    def test_direct_room(self, one: str, other: str) -> None:
        """Two people have one direct room, whoever of them asks, and it names them both."""
        if one != other:
            room = direct_room(one, other)
            self.assertEqual(room, direct_room(other, one))
            self.assertEqual(tuple(sorted((one, other))), direct_pair(room))
            self.assertTrue(is_room(room))

    @given(st.text(max_size=70))
    def test_any_text(self, room: str) -> None:
        """A direct pair is found in direct rooms only, and only in the spelling that `direct_room` makes."""
        pair = direct_pair(room)
        if pair is not None:
            self.assertEqual(room, direct_room(*pair))
