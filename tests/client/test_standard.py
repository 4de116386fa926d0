"""Standard output: what the system has taken of it, and what not."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.standard import Standard


class FlushTests(SynchronousTestCase):
    """A pipe that a test reads, and a reactor that does nothing by itself."""

    def setUp(self) -> None:
        """Open it."""
        self.output, stdout = os.pipe()
        stdin, never = os.pipe()
        self.standard: Any = Standard(Protocol(), stdin, stdout, MemoryReactorClock())
        os.set_blocking(self.output, False)
        for each in (self.output, stdout, stdin, never):
            self.addCleanup(os.close, each)

    def read(self) -> bytes:
        """What the reader finds."""
        try:
            return os.read(self.output, 1 << 20)
        except BlockingIOError:
            return b""

    def test_in_the_pipe(self) -> None:
        """What was written is in the pipe at once, in its order, without a turn of the reactor."""
        for each in (b"one ", b"two ", b"three"):
            self.standard.write(each)
        self.assertEqual(b"", self.read())
        self.assertTrue(self.standard.flush())
        self.assertEqual(b"one two three", self.read())
        self.assertTrue(self.standard.flush())
        self.assertEqual(b"", self.read())

    def test_full(self) -> None:
        """Of more than the pipe holds the rest is left, and goes when there is room; nothing comes twice."""
        data = os.urandom(1 << 19)
        self.standard.write(data)
        self.assertFalse(self.standard.flush())
        self.assertFalse(self.standard.flush())
        read = b""
        while not self.standard.flush():
            read += self.read()
        while piece := self.read():
            read += piece
        self.assertEqual(data, read)

    def test_closing(self) -> None:
        """While it closes the reactor does it, which closes the pipe behind the last of it."""
        self.standard.write(b"last")
        self.standard.loseConnection()
        self.assertFalse(self.standard.flush())
        self.assertEqual(b"", self.read())

    def test_closed(self) -> None:
        """Of an output that is gone nothing is left."""
        self.standard.write(b"lost")
        self.standard._writer = None
        self.assertTrue(self.standard.flush())
