"""The widgets of the screen: rows of messages, a line about the state, and the input below it.

The three are drawn anew each time from what the terminal has, so nothing that arrives can get into the input.
"""

from collections.abc import Callable
from typing import Final

import urwid

from securechat.client.command_line import Completion
from securechat.client.safe import showable
from securechat.client.screen_lines import Row

INPUT_CHARACTERS: Final = 20_000
"""How long the input may grow: more than fits into a message, so that it can be shortened here."""

_HISTORY: Final = 500
_PASTE_PAUSE_S: Final = 1.0
"""A paste whose end does not come is over after a pause."""


class _Edit(urwid.Edit):
    """Takes the characters that can be shown, up to a bound."""

    def valid_char(self, ch: str) -> bool:
        return super().valid_char(ch) and showable(ch) == ch and len(self.edit_text) < INPUT_CHARACTERS


class InputLine:
    """What is being typed: editing, history, completion, and pastes of several lines as one text.

    `submit` gets each text when Enter is pressed; a newline of a paste or Meta-Enter stays in the text.
    """

    def __init__(
        self,
        submit: Callable[[str], None],
        complete: Callable[[str, int], Completion],
        seconds: Callable[[], float],
    ) -> None:
        self.edit = _Edit("> ", multiline=True)
        self._submit = submit
        self._complete = complete
        self._seconds = seconds
        self._history: list[str] = []
        self._back = 0
        """How far back in the history the text is; 0 for what is typed now, which is kept in `_draft` meanwhile."""
        self._draft = ""
        self._paste: list[str] | None = None
        self._pasted_at = 0.0
        self._cycle: tuple[Completion, int, str] | None = None
        """What Tab goes through: the candidates, which one the line has, and what stood there before."""
        self._keys: dict[str, Callable[[], None]] = {
            "enter": self._enter,
            "meta enter": lambda: self._insert("\n"),
            "tab": lambda: self._complete_next(1),
            "shift tab": lambda: self._complete_next(-1),
            "ctrl u": lambda: self._delete_back_to(0),
            "ctrl w": self._delete_word,
            "ctrl k": self._delete_rest,
            "ctrl a": lambda: self.edit.set_edit_pos(self._line_start()),
            "ctrl e": lambda: self.edit.set_edit_pos(self._line_end()),
        }

    @property
    def text(self) -> str:
        """What is typed and not submitted."""
        return str(self.edit.edit_text)

    def clear(self) -> None:
        """Empty the line; the history keeps what it was."""
        self._remember(self.text)
        self._replace("")

    def keypress(self, columns: int, key: str) -> bool:
        """Whether a key was meant for the input, where the screen is so wide."""
        if self._paste is not None and self._seconds() - self._pasted_at > _PASTE_PAUSE_S:
            self._end_paste()
        if key == "begin paste":
            self._paste = []
        if self._paste is not None:
            self._pasted_at = self._seconds()
            self._pasted(key)
            return True
        if key not in ("tab", "shift tab"):
            self._cycle = None
        if key in self._keys:
            self._keys[key]()
        elif self.edit.keypress((columns,), key) is not None:
            if key not in ("up", "down"):
                return False
            self._go_back(1 if key == "up" else -1)
        return True

    def _enter(self) -> None:
        text = self.text
        self._remember(text)
        self._replace("")
        self._submit(text)

    def _remember(self, text: str) -> None:
        self._back = 0
        if text.strip() and self._history[-1:] != [text]:
            self._history.append(text)
            del self._history[:-_HISTORY]

    def _go_back(self, steps: int) -> None:
        back = self._back + steps
        if not 0 <= back <= len(self._history):
            return
        if self._back == 0:
            self._draft = self.text
        self._back = back
        self._replace(self._history[-back] if back else self._draft)

    def _pasted(self, key: str) -> None:
        assert self._paste is not None
        if key == "end paste":
            self._end_paste()
        elif len(self._paste) < INPUT_CHARACTERS:
            self._paste.append({"enter": "\n", "tab": "\t"}.get(key, key if len(key) == 1 else ""))

    def _end_paste(self) -> None:
        paste, self._paste = self._paste, None
        self._cycle = None
        self._insert(showable("".join(paste or ())))

    def _insert(self, text: str) -> None:
        self.edit.insert_text(text[: max(INPUT_CHARACTERS - len(self.text), 0)])

    def _replace(self, text: str, cursor: int | None = None) -> None:
        self.edit.set_edit_text(text)
        self.edit.set_edit_pos(len(text) if cursor is None else cursor)

    def _delete_back_to(self, start: int) -> None:
        self._replace(self.text[:start] + self.text[self.edit.edit_pos :], start)

    def _delete_word(self) -> None:
        before = self.text[: self.edit.edit_pos].rstrip()
        self._delete_back_to(max(before.rfind(" "), before.rfind("\n")) + 1)

    def _delete_rest(self) -> None:
        cursor = self.edit.edit_pos
        self._replace(self.text[:cursor] + self.text[self._line_end() :], cursor)

    def _line_start(self) -> int:
        return self.text.rfind("\n", 0, self.edit.edit_pos) + 1

    def _line_end(self) -> int:
        end = self.text.find("\n", self.edit.edit_pos)
        return len(self.text) if end < 0 else end

    def _complete_next(self, step: int) -> None:
        """Put the next candidate into the line; after the last one what was typed stands there again."""
        cursor = self.edit.edit_pos
        if self._cycle is None:
            completion = self._complete(self.text, cursor)
            if not completion.candidates:
                return
            self._cycle = completion, -1, self.text[completion.start : cursor]
        completion, shown, typed = self._cycle
        every = (*completion.candidates, typed)
        shown = (shown + step) % len(every)
        put = every[shown]
        self._replace(self.text[: completion.start] + put + self.text[cursor:], completion.start + len(put))
        # After the only candidate Tab completes what follows it.
        self._cycle = None if len(completion.candidates) == 1 else (completion, shown, typed)


class ChatFrame(urwid.Widget):
    """The whole screen. `messages` gives the rows for a width and height, `status` the row below them."""

    _sizing = frozenset([urwid.BOX])
    _selectable = True
    no_cache = ["render"]  # noqa: RUF012

    def __init__(
        self,
        messages: Callable[[int, int], list[Row]],
        status: Callable[[], Row],
        line: InputLine,
        other_key: Callable[[str, int, int], None],
    ) -> None:
        super().__init__()
        self._messages = messages
        self._status = status
        self._line = line
        self._other_key = other_key

    def render(self, size: tuple[int, int], focus: bool = False) -> urwid.Canvas:  # type: ignore[override]
        """Draw everything, on any size from one column and one row up."""
        columns, rows = size
        typed = self._input(columns, rows)
        drawn: list[urwid.Canvas] = []
        left = rows - typed.rows()
        if left > 1:
            drawn = [_drawn(row, columns) for row in self._messages(columns, left - 1)]
            if len(drawn) < left - 1:
                drawn.insert(0, urwid.SolidCanvas(" ", columns, left - 1 - len(drawn)))
        if left:
            drawn.append(_drawn([(style, text + " " * columns) for style, text in self._status()], columns))
        return urwid.CanvasCombine([*((canvas, None, False) for canvas in drawn), (typed, None, True)])

    def keypress(self, size: tuple[int, int], key: str) -> str | None:  # type: ignore[override]
        """Take a key."""
        if not self._line.keypress(size[0], key):
            self._other_key(key, size[0], self.message_rows(size))
        return None

    def message_rows(self, size: tuple[int, int]) -> int:
        """How many rows of messages a screen of this size shows now."""
        return max(size[1] - 1 - self._input(*size).rows(), 1)

    def _input(self, columns: int, rows: int) -> urwid.CompositeCanvas:
        """The input, or the part of it around the cursor: it never takes more than half of the screen."""
        canvas = urwid.CompositeCanvas(self._line.edit.render((columns,), focus=True))
        most = max(rows // 2, 1)
        if canvas.rows() > most:
            row = canvas.cursor[1] if canvas.cursor is not None else 0
            canvas.trim(min(max(row - most + 1, 0), canvas.rows() - most), most)
        return canvas


def _drawn(row: Row, columns: int) -> urwid.Canvas:
    """One row of the screen; what does not fit is cut off."""
    return urwid.Text([span for span in row if span[1]] or "", wrap="clip").render((columns,))
