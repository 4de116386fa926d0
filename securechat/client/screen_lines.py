"""The lines of a room as a screen shows them: cut into rows of a width, kept to a bound, scrolled through.

No widgets and no terminal. A line is made of spans, each a style and a text that `safe` has let through. Every row
of a line after the first one begins with a gutter, whether the text broke there or was too wide, so nothing that
somebody says can look like a line of its own.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Final

import urwid

Span = tuple[str, str]
"""A style, see `PALETTE`, and a text."""

Row = list[Span]

_Place = tuple[int, int]
"""The number of a line, counted from the first there ever was, and of a row in it."""

LINES: Final = 2_000
"""How many lines a room keeps."""

CHARACTERS: Final = 2_000_000
"""How many characters the lines of a room have together, as each may be as long as a message."""

_GUTTER: Final = "      │ "
_NARROW_GUTTER: Final = "│"
_NARROW: Final = 24

_NAME_COLORS: Final = (
    "dark red",
    "dark green",
    "brown",
    "dark magenta",
    "dark cyan",
    "light red",
    "light green",
    "yellow",
    "light blue",
    "light magenta",
    "light cyan",
)

# Style, foreground, background, and what stands for them where there is no colour.
PALETTE: Final[list[tuple[str, str, str, str]]] = [
    ("plain", "default", "default", "default"),
    ("time", "dark cyan", "default", "default"),
    ("dim", "dark cyan", "default", "default"),
    ("error", "light red", "default", "bold"),
    ("own", "default,bold", "default", "bold"),
    ("status", "black", "light gray", "standout"),
    ("warning", "white", "dark red", "standout"),
    *((f"name{number}", color, "default", "default") for number, color in enumerate(_NAME_COLORS)),
]


def name_style(name: str) -> str:
    """The style of somebody's name: the same for the same name on every screen."""
    return f"name{sha256(name.encode(errors='replace')).digest()[0] % len(_NAME_COLORS)}"


@dataclass(slots=True, eq=False)
class Line:
    """One line of a room, which may take many rows."""

    spans: list[Span]
    _width: int = 0
    _rows: list[Row] = field(default_factory=list)

    @property
    def characters(self) -> int:
        """How long the line is."""
        return sum(len(text) for _, text in self.spans)

    def put(self, spans: list[Span]) -> None:
        """Have another text."""
        self.spans, self._width = spans, 0

    def rows(self, width: int) -> list[Row]:
        """The line in rows of at most `width` columns; at least one row."""
        if width != self._width:
            self._rows = wrap(self.spans, width)
            self._width = width
        return self._rows


def wrap(spans: list[Span], width: int) -> list[Row]:
    """Cut spans into rows at newlines, at spaces, and where a word is wider than a row."""
    text = "".join(part for _, part in spans)
    gutter = _GUTTER if width >= _NARROW else _NARROW_GUTTER if width > 2 else ""
    rows: list[Row] = []
    styles = _Styles(spans)
    start = 0
    while True:
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        for first, last in _pieces(text, start, end, width, width - len(gutter), bool(rows)):
            row = styles.cut(first, last)
            rows.append([("dim", gutter), *row] if rows and gutter else row)
        if end == len(text):
            return rows
        start = end + 1


def _pieces(text: str, start: int, end: int, width: int, narrower: int, below: bool) -> Iterator[tuple[int, int]]:
    """Where the rows of one line without newlines begin and end; `below` where none of them is the first of all."""
    while True:
        room = narrower if below else width
        # The window keeps the cost linear; no row holds more characters, as runs of marks are bounded.
        window = min(end, start + 8 * room + 8)
        fits, _ = urwid.calc_text_pos(text, start, window, room)
        if fits >= end:
            yield start, end
            return
        space = text.rfind(" ", start, fits + 1)
        if space > start:
            yield start, space
            start = space + 1
        else:
            # A wide character does not fit into a single column: it is cut off there, rather than never reached.
            fits = max(fits, start + 1)
            yield start, fits
            start = fits
        below = True


class _Styles:
    """Cuts pieces, each after the one before, out of spans."""

    def __init__(self, spans: list[Span]) -> None:
        self._spans = spans
        self._number = 0
        self._offset = 0
        """Where in the text the current span begins."""

    def cut(self, first: int, last: int) -> Row:
        row: Row = []
        while self._number < len(self._spans):
            style, text = self._spans[self._number]
            part = text[max(first - self._offset, 0) : last - self._offset]
            if part:
                row.append((style, part))
            if self._offset + len(text) > last:
                break
            self._offset += len(text)
            self._number += 1
        return row


@dataclass(slots=True, eq=False)
class Log:
    """The lines of a room, those that wait below them, and which part of them is shown.

    The last row shown is a place, or None to follow the end: what comes pushes the rest up then, and otherwise
    moves nothing.
    """

    lines: deque[Line] = field(default_factory=deque)
    waiting: dict[str, Line] = field(default_factory=dict)
    """What we said that is not acknowledged, by its label."""
    new: int = 0
    """How many messages came while the end was not shown."""
    _gone: int = 0
    """How many lines were dropped at the start."""
    _characters: int = 0
    _last: _Place | None = None

    def add(self, line: Line, *, news: bool = False) -> None:
        """Put a line at the end of what has happened; `news` is what somebody else said."""
        self.lines.append(line)
        self._characters += line.characters
        while len(self.lines) > LINES or (self._characters > CHARACTERS and len(self.lines) > 1):
            self._characters -= self.lines.popleft().characters
            self._gone += 1
        if news and self._last is not None:
            self.new += 1

    def replace(self, line: Line, spans: list[Span]) -> bool:
        """Put other text into a line, in its place; False where that line is gone."""
        if line not in self.lines:
            return False
        self._characters -= line.characters
        line.put(spans)
        self._characters += line.characters
        return True

    def clear(self) -> None:
        """Forget what has happened; what waits stays."""
        self._gone += len(self.lines)
        self.lines.clear()
        self._characters = 0
        self.follow()

    def follow(self) -> None:
        """Show the end, and what comes."""
        self._last = None
        self.new = 0

    def shown(self, width: int, height: int) -> list[Row]:
        """The rows to show, at most `height`."""
        if self._last is not None:
            # Lines may have been dropped, or cut into fewer rows, since.
            self._show_up_to(max(self._within(self._last, width), self._first(width, height)), width)
        rows: list[Row] = []
        for _, row in self._upwards(self._last, width):
            if len(rows) >= height:
                break
            rows.append(row)
        rows.reverse()
        return rows

    def scroll(self, rows: int, width: int, height: int) -> None:
        """Show what is that many rows further down, or up where it is negative."""
        if rows < 0:
            first = self._first(width, height)
            above = (place for place, _ in self._upwards(self._last, width))
            self._show_up_to(max(_nth(above, -rows, first), first), width)
        elif self._last is not None:
            self._show_up_to(_nth(self._downwards(self._last, width), rows, self._last), width)

    def _show_up_to(self, place: _Place, width: int) -> None:
        self._last = place
        if len(list(islice(self._downwards(place, width), 2))) < 2:
            self.follow()

    def _all(self) -> list[Line]:
        return [*self.lines, *self.waiting.values()]

    def _within(self, place: _Place, width: int) -> _Place:
        """The nearest place that there is."""
        lines = self._all()
        number = min(max(place[0] - self._gone, 0), len(lines) - 1)
        if number < 0:
            return self._gone, 0
        return number + self._gone, min(place[1], len(lines[number].rows(width)) - 1)

    def _first(self, width: int, height: int) -> _Place:
        """The highest place that the last row can have: the first row of all is then at the top."""
        top = (self._gone, 0)
        return _nth(self._downwards(top, width), height - 1, top)

    def _upwards(self, last: _Place | None, width: int) -> Iterator[tuple[_Place, Row]]:
        lines = self._all()
        bottom = len(lines) - 1 if last is None else last[0] - self._gone
        for number in range(min(bottom, len(lines) - 1), -1, -1):
            rows = lines[number].rows(width)
            end = last[1] + 1 if last is not None and number == bottom else len(rows)
            for offset in range(min(end, len(rows)) - 1, -1, -1):
                yield (number + self._gone, offset), rows[offset]

    def _downwards(self, first: _Place, width: int) -> Iterator[_Place]:
        lines = self._all()
        start = max(first[0] - self._gone, 0)
        for number in range(start, len(lines)):
            for offset in range(first[1] if number == start else 0, len(lines[number].rows(width))):
                yield number + self._gone, offset


def _nth(places: Iterator[_Place], number: int, otherwise: _Place) -> _Place:
    """The place with this number, counting from 0, or the last one there is."""
    place = deque(islice(places, number + 1), maxlen=1)
    return place[0] if place else otherwise
