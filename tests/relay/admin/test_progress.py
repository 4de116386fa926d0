"""The progress bar: it moves on a terminal, and leaves nothing behind."""

from __future__ import annotations

import io

from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.admin.commands import printable
from securechat.relay.admin.progress import WIDTH, Bar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


class BarTests(SynchronousTestCase):
    """`Bar`."""

    def test_moves(self) -> None:
        """It fills, is written only when it looks different, and its line is empty in the end."""
        stream = Terminal()
        with Bar(stream) as bar:
            for done in range(1_001):
                bar.tell("copied", done, 1_000)
            bar.tell("verified", 0, 0)
        drawn = stream.getvalue().split("\r")
        self.assertEqual("copied   " + "." * WIDTH + "   0%", drawn[1])
        self.assertEqual("copied   " + "#" * WIDTH + " 100%", drawn[101])
        self.assertEqual("verified " + "#" * WIDTH + " 100%", drawn[102])
        self.assertEqual("\x1b[K", drawn[103])

    def test_no_terminal(self) -> None:
        """In a file or a pipe there is nothing of it."""
        stream = io.StringIO()
        with Bar(stream) as bar:
            bar.tell("copied", 1, 2)
        self.assertEqual("", stream.getvalue())

    def test_nothing_to_show(self) -> None:
        """A command that fails at once has no line to clear."""
        stream = Terminal()
        with Bar(stream):
            pass
        self.assertEqual("", stream.getvalue())


class PrintableTests(SynchronousTestCase):
    """What is printed of an answer."""

    def test_control(self) -> None:
        """Nothing can move a cursor, start a line or turn the reading direction."""
        self.assertEqual("a\ufffd[2Jb\ufffdc\ufffd", printable("a\x1b[2Jb\nc\u202e"))
        self.assertEqual("#tea zoë", printable("#tea zoë"))
