"""The real terminal: keys come in, frames go out, and whatever happens it is left as it was found.

urwid draws and reads; the reactor waits. Ctrl-C and Ctrl-S are ordinary keys while the screen is on: the first
shall end the chat in an orderly way, and a terminal that the second has stopped would stop the whole reactor with
the next frame. Ctrl-Z suspends, as everywhere.
"""

import os
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TextIO

import urwid
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from urwid.display.common import INPUT_DESCRIPTORS_CHANGED
from urwid.display.raw import Screen

from securechat.client.screen_lines import PALETTE

DEFAULT_SIZE: Final = (80, 24)
"""Columns and rows where the terminal does not know its own, as a pseudo-terminal that was just opened."""

# No cursor can be placed on these; TERM that is not set counts as the first.
_TOO_PLAIN: Final = frozenset({"", "dumb", "unknown", "emacs", "network", "vt52"})


def usable(stdin: TextIO, stdout: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a screen can be drawn: both are terminals, of a kind on which the cursor can be placed."""
    if environ.get("TERM", "").lower() in _TOO_PLAIN:
        return False
    try:
        return stdin.isatty() and stdout.isatty()
    except ValueError:
        # A closed file does not know whether it was one.
        return False


class _Screen(Screen):
    """urwid's screen with keys in place of signals, and a size in any case."""

    def _start(self, *args: Any, **kwargs: Any) -> None:
        super()._start(*args, **kwargs)
        # Undone by `stop`, which puts back all the settings that were there before.
        none = "undefined"
        self.tty_signal_keys(none, none, none, none, fileno=self._input_fileno())  # type: ignore[arg-type]

    def get_cols_rows(self) -> tuple[int, int]:
        columns, rows = super().get_cols_rows()
        if columns <= 0 or rows <= 0:
            columns, rows = DEFAULT_SIZE
        self.maxrow = rows
        return columns, rows


class _Reader(FileDescriptor):
    """A descriptor of urwid's, watched by the reactor."""

    def __init__(self, reactor: Any, number: int, ready: Callable[[], object], lost: Callable[[], None]) -> None:
        super().__init__(reactor)
        self._number = number
        self._ready = ready
        self._lost = lost

    def fileno(self) -> int:
        return self._number

    def doRead(self) -> None:
        self._ready()

    def connectionLost(self, reason: object) -> None:
        # A terminal that was hung up: the reactor has found out before urwid could.
        self._lost()


class _EventLoop:
    """The four things that urwid's screen asks of an event loop."""

    _log = Logger()

    def __init__(self, reactor: Any, lost: Callable[[], None]) -> None:
        self._reactor = reactor
        self._lost = lost
        self._readers: dict[int, _Reader] = {}

    def watch_file(self, number: int, ready: Callable[[], object]) -> int:
        """Call `ready` whenever there is something to read."""

        def read() -> None:
            try:
                ready()
            except Exception as error:
                # Mostly the terminal is closed, and would be ready to say so for ever.
                self._log.info("the terminal cannot be read: {error!r}", error=error)
                self._lost()

        self._readers[number] = reader = _Reader(self._reactor, number, read, self._lost)
        self._reactor.addReader(reader)
        return number

    def remove_watch_file(self, number: int) -> bool:
        """Call no more."""
        reader = self._readers.pop(number, None)
        if reader is not None:
            self._reactor.removeReader(reader)
        return reader is not None

    def alarm(self, seconds: float, callback: Callable[[], object]) -> IDelayedCall:
        """Call once, later."""
        call: IDelayedCall = self._reactor.callLater(seconds, callback)
        return call

    def remove_alarm(self, call: IDelayedCall) -> bool:
        """Do not call after all."""
        if not call.active():
            return False
        call.cancel()
        return True


class Device:
    """A terminal with a frame on it.

    `pressed` gets the size and a key; `lost` is called, perhaps more than once, when the terminal is gone.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        frame: urwid.Widget,
        *,
        stdin: TextIO,
        stdout: TextIO,
        color: bool,
        pressed: Callable[[tuple[int, int], str], None],
        lost: Callable[[], None],
    ) -> None:
        self._frame = frame
        self._stdout = stdout
        self._pressed = pressed
        self._lost = lost
        self._screen = _Screen(stdin, stdout, bracketed_paste_mode=True, focus_reporting=False)
        if not color:
            self._screen.set_terminal_properties(colors=1)
        self._screen.register_palette(PALETTE)
        self._loop: Any = _EventLoop(reactor, lost)
        self._size = (0, 0)

    def start(self) -> None:
        """Take the terminal, and read its keys from now on."""
        with suppress(OSError, ValueError):
            # Half a frame would be lost on a terminal that some other program has left non-blocking.
            os.set_blocking(self._stdout.fileno(), True)
        urwid.connect_signal(self._screen, INPUT_DESCRIPTORS_CHANGED, self._watch)
        try:
            self._screen.start()
            self._watch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Give the terminal back as it was, if it is still there; harmless when done twice."""
        urwid.disconnect_signal(self._screen, INPUT_DESCRIPTORS_CHANGED, self._watch)
        self._screen.unhook_event_loop(self._loop)
        with suppress(OSError, termios.error):
            self._screen.stop()

    def draw(self) -> None:
        """Show the frame as it is now."""
        size = self._screen.get_cols_rows()
        if size != self._size:
            self._size = size
            self._screen.clear()
        try:
            self._screen.draw_screen(size, self._frame.render(size, focus=True))
        except OSError:
            self._lost()

    def clear(self) -> None:
        """Draw everything anew the next time, also what seems to be there."""
        self._screen.clear()

    def ring(self) -> None:
        """Ring the bell."""
        with suppress(OSError):
            self._screen.write("\a")
            self._screen.flush()

    def _watch(self) -> None:
        self._screen.unhook_event_loop(self._loop)
        self._screen.hook_event_loop(self._loop, self._keys)

    def _keys(self, keys: list[Any], raw: list[int]) -> None:
        size = self._screen.get_cols_rows()
        for key in keys:
            if isinstance(key, str):
                try:
                    self._pressed(size, key)
                except Exception:
                    # One key that cannot be handled must not end the chat, as `_EventLoop` would have it.
                    self._log.failure("handling a key failed")
