"""When a line that was said is forgotten: when whoever said it knows what became of it."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.events import Error, Event
from securechat.client.ledger import DiskLedger, Line
from securechat.client.lines import Lines
from securechat.client.ordered import InOrder
from securechat.client.sealed_file import SealedFile
from tests.relay.people import NOW_MS

FIRST, SECOND, THIRD = (bytes([number]) * 16 for number in (1, 2, 3))


class LinesTests(SynchronousTestCase):
    """Three lines in a ledger."""

    def setUp(self) -> None:
        """Say them."""
        self.told: list[Event] = []
        self.in_order = InOrder(self.told.append)
        file = SealedFile(Path(self.mktemp()), b"s" * 32)
        self.addCleanup(file.close)
        self.ledger = DiskLedger(file)
        for each in (FIRST, SECOND, THIRD):
            self.ledger.say(Line(each, "#tea", "text", None, NOW_MS))
        self.taken = True
        self.flushes = 0
        self.lines = Lines(self.ledger, self.in_order, lambda: self.taken, self.flush_soon)

    def flush_soon(self) -> None:
        """Count."""
        self.flushes += 1

    def left(self) -> set[bytes]:
        """What is not forgotten."""
        return set(self.ledger.lines)

    def test_told(self) -> None:
        """A line is forgotten at the first writing after what became of it was told, which is asked for."""
        self.lines.keep_only([FIRST, SECOND, THIRD])
        self.assertEqual(({FIRST, SECOND, THIRD}, 0), (self.left(), self.flushes))
        self.in_order.tell(Error("second"))
        self.lines.keep_only([FIRST, THIRD])
        self.assertEqual(1, self.flushes)
        self.lines.keep_only([FIRST, THIRD])
        self.assertEqual({FIRST, THIRD}, self.left())

    def test_behind_what_is_being_opened(self) -> None:
        """It is not while what became of it waits for what came before; others go meanwhile."""
        slot = self.in_order.hold()
        self.in_order.tell(Error("second"))
        for _ in range(3):
            self.lines.keep_only([FIRST, THIRD])
        self.assertEqual(([], {FIRST, SECOND, THIRD}), (self.told, self.left()))
        slot.fill([Error("before")])
        self.assertEqual((2, 1), (len(self.told), self.flushes))
        # What happens now is no part of that.
        self.in_order.hold()
        self.lines.keep_only([FIRST])
        self.assertEqual({FIRST, THIRD}, self.left())

    def test_not_taken(self) -> None:
        """It is not while what was told is still in our hands."""
        self.taken = False
        for _ in range(3):
            self.lines.keep_only([])
        self.assertEqual({FIRST, SECOND, THIRD}, self.left())
        self.taken = True
        self.lines.keep_only([])
        self.assertEqual(set(), self.left())
