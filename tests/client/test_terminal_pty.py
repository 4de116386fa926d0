"""The screen on real pseudo-terminals: drawn, typed into, resized, ended in every way, and always put back.

A small program runs `Terminal` under a real reactor, with a conversation that acknowledges what is said at once and
a message that arrives whenever SIGUSR1 does. No network.
"""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from select import select
from tempfile import TemporaryFile
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.terminal import usable

CHECKOUT: Final = Path(__file__).resolve().parents[2]
WAIT_S: Final = 20.0

PROGRAM: Final = """
import signal, sys
from datetime import UTC, datetime
from twisted.internet import reactor
from securechat.client import events
from securechat.client.terminal import Terminal
from tests.client.test_terminal import HOSTILE, FakeConversation

class Conversation(FakeConversation):
    def say(self, room, text, label=None):
        terminal.tell(events.Sent(room, 1, text, label))

def arrive(*_):
    for room, text in (("#lobby", "arrived " + HOSTILE), ("@alice+bob", "psst")):
        reactor.callFromThread(terminal.tell, events.Message(room, "bob", text, datetime.now(UTC), 1))

terminal = Terminal(reactor, Conversation(), "#lobby", quit=reactor.stop,
                    color="no-color" not in sys.argv, now=lambda: datetime.now().astimezone())
signal.signal(signal.SIGUSR1, arrive)
terminal.start()
reactor.run()
"""

ENTER_ALTERNATE: Final = b"\x1b[?1049h"
LEAVE_ALTERNATE: Final = b"\x1b[?1049l"


class TerminalProgram:
    """The program on a pseudo-terminal of its own, and all that it has written."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.output = b""
        self.errors = TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.errors,
            cwd=CHECKOUT,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )

    def wait_for(self, text: str, since: int = 0) -> bytes:
        """Read until a text has come; what came since a point of the output."""
        wanted = text.encode()
        self._read(lambda: wanted in self.output[since:], text)
        return self.output[since:]

    def write(self, keys: bytes) -> None:
        """Type."""
        os.write(self.master, keys)

    def resize(self, columns: int, rows: int) -> None:
        """Make the window another size; the terminal is not the program's own, so it is told by hand."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def ended(self) -> int:
        """Wait for the end of the program; its status."""
        self._read(lambda: self.process.poll() is not None, "the end")
        self._read_once(0.1)
        return self.process.wait()

    def close(self) -> None:
        """End everything."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.errors.close()
        for number in (self.master, self.slave):
            if number >= 0:
                os.close(number)

    def _read(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WAIT_S
        while not done():
            self._read_once(0.05)
            if time.monotonic() > end:
                self.errors.seek(0)
                raise AssertionError(f"{what!r} did not come: {self.output[-2000:]!r}, {self.errors.read()!r}")

    def _read_once(self, timeout_s: float) -> None:
        if select([self.master], [], [], timeout_s)[0]:
            self.output += os.read(self.master, 65536)


class PtyTests(SynchronousTestCase):
    """The screen where it is used."""

    def program(self, *arguments: str, **environment: str) -> TerminalProgram:
        """Start the program, and wait until its first frame is drawn."""
        program = TerminalProgram(*arguments, **environment)
        self.addCleanup(program.close)
        program.wait_for("connecting")
        return program

    def assert_restored(self, program: TerminalProgram) -> None:
        """Check that the terminal is as it was before the program."""
        self.assertEqual(termios.tcgetattr(program.slave), program.before)
        last = program.output.rsplit(ENTER_ALTERNATE, 1)[1]
        self.assertIn(LEAVE_ALTERNATE, last)
        self.assertIn(b"\x1b[?2004l", last)
        self.assertIn(b"\x1b[?25h", last.split(LEAVE_ALTERNATE)[1])
        program.errors.seek(0)
        self.assertEqual(program.errors.read().decode(), "")

    def test_type_a_line(self) -> None:
        """A window without a size is drawn as 80 by 24; what is typed is said, and Ctrl-D ends and restores."""
        program = self.program()
        self.assertIn(ENTER_ALTERNATE, program.output)
        self.assertIn(b"\x1b[24;3H", program.output)
        self.assertFalse(termios.tcgetattr(program.slave)[3] & termios.ECHO)
        program.write(b"hello everybody\r")
        program.wait_for("alice\x1b")
        program.wait_for(": hello everybody")
        program.write(b"\x04")
        self.assertEqual(program.ended(), 0)
        self.assert_restored(program)

    def test_an_arriving_message_leaves_the_input(self) -> None:
        """A message that arrives under a half-typed line leaves it whole, and nothing in it is obeyed."""
        program = self.program()
        program.write("half a lïne".encode())
        program.wait_for("half a lïne")
        before = len(program.output)
        program.process.send_signal(signal.SIGUSR1)
        arrived = program.wait_for("arrived", before)
        program.wait_for("wrote to you alone", before)
        self.assertIn(b"\a", arrived)
        for forbidden in (b"\x1b[2J", b"\x1b]0;t", "\x9b".encode(), "\u202e".encode(), ("\u0316" * 5).encode()):
            self.assertNotIn(forbidden, program.output[before:])
        before = len(program.output)
        program.resize(100, 30)
        program.wait_for("> half a lïne", before)
        program.write(b" more\r")
        program.wait_for(": half a lïne more")
        program.write(b"\x03")
        self.assertEqual(program.ended(), 0)
        self.assert_restored(program)

    def test_resize(self) -> None:
        """The screen follows its window, also through sizes that hold nothing."""
        program = self.program()
        program.write(b"typed")
        for size in ((1, 1), (2, 2), (5, 3), (0, 0), (200, 60)):
            before = len(program.output)
            program.resize(*size)
            self.assertTrue(program.wait_for("\x1b[?25h", before))
        program.wait_for("\x1b[60;8H")
        program.write(b"\x03\x03")
        self.assertEqual(program.ended(), 0)
        self.assert_restored(program)

    def test_sigterm(self) -> None:
        """SIGTERM leaves the alternate screen and puts the terminal's settings back."""
        program = self.program()
        program.write(b"half a line")
        program.wait_for("half a line")
        program.process.send_signal(signal.SIGTERM)
        program.ended()
        self.assert_restored(program)

    def test_paste(self) -> None:
        """A bracketed paste of several lines is one text, and its commands are not obeyed."""
        program = self.program()
        program.write(b"\x1b[200~one\r/quit\rthree\x1b[201~\r")
        program.wait_for("three")
        program.write(b"\x04")
        self.assertEqual(program.ended(), 0)
        self.assert_restored(program)

    def test_control_s_does_not_stop_it(self) -> None:
        """Ctrl-S, which would stop the output and with it the whole program, does nothing."""
        program = self.program()
        program.write(b"\x13\x11\x1cafter\r")
        program.wait_for(": after")

    def test_a_terminal_that_goes_away(self) -> None:
        """When the window is closed the program ends, instead of waiting for keys that never come."""
        program = self.program()
        os.close(program.slave)
        os.close(program.master)
        program.slave = program.master = -1
        self.assertEqual(program.process.wait(WAIT_S), 0)
        program.errors.seek(0)
        self.assertEqual(program.errors.read(), b"")

    def test_no_color(self) -> None:
        """Without colour no colour is set, and the names are there all the same."""
        program = self.program("no-color")
        program.process.send_signal(signal.SIGUSR1)
        program.wait_for("arrived")
        program.write(b"\x04")
        self.assertEqual(program.ended(), 0)
        for number in (*range(30, 38), *range(40, 48), *range(90, 98)):
            for colored in (f"\x1b[{number}m", f";{number}m", f";{number};", f"\x1b[{number};"):
                self.assertNotIn(colored.encode(), program.output)
        self.assertNotIn(b"38;5", program.output)
        self.assertIn(b"bob", program.output)

    def test_color(self) -> None:
        """With colour the name is coloured."""
        program = self.program()
        program.process.send_signal(signal.SIGUSR1)
        before_name = program.wait_for("arrived").split(b"bob")[0]
        self.assertRegex(before_name[-20:], rb"\x1b\[[0-9;]*m$")


class UsableTests(SynchronousTestCase):
    """`usable`."""

    def test_terminals(self) -> None:
        """A screen needs two terminals, of a kind that can place the cursor."""
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        with open(slave) as terminal:
            self.assertTrue(usable(terminal, terminal, {"TERM": "xterm"}))
            for term in ("dumb", "DUMB", "", "unknown"):
                self.assertFalse(usable(terminal, terminal, {"TERM": term}), term)
            self.assertFalse(usable(terminal, terminal, {}))
            self.assertFalse(usable(StringIO(), terminal, {"TERM": "xterm"}))
            self.assertFalse(usable(terminal, StringIO(), {"TERM": "xterm"}))
        self.assertFalse(usable(terminal, terminal, {"TERM": "xterm"}))
