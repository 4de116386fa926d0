"""The rows as a picture: time for each message against the number of messages, in SVG.

A panel for each size, sealing on the left and opening on the right, both axes logarithmic. A colour for
each engine, a dash for each path, upright strokes from the fastest to the slowest round, and a ring wherever
a way gets ahead of the loop or of another engine; the words below the panel say where that is. An estimate,
which knows no number of messages, is a level line. Lines stand a little apart, so that strokes at the same
number of messages do not cover each other.

Everything is drawn on a ground of its own, in colours for light and for dark screens; text is text.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from securechat.bench.axes import Axis
from securechat.bench.crossover import Crossover, crossovers
from securechat.bench.rows import LOOP, PATHS, Name, Row
from securechat.bench.units import count_name, size_name

WIDTH: Final = 960
_PANEL_WIDTH: Final = 390
_PANEL_HEIGHT: Final = 210
_LEFT: Final = 60
_GUTTER: Final = 80
_INSET: Final = 18
_LARGEST_STEP: Final = 4.0
"""Lines stand apart by so much, or less where there are many: all of them within the inset."""
_HEADER: Final = 44
_TEXT_LINE: Final = 14
_LEGEND_LINE: Final = 18
_BELOW_AXIS: Final = 40
_BETWEEN: Final = 34
_FACTS_LETTERS: Final = 132
_CAPTION_LETTERS: Final = 62
"""A letter takes up to 6.3 units on average in the fonts that browsers choose."""
_LEGEND_COLUMN: Final = 168
_LABEL: Final = 24.0
"""The least distance of two labels below an axis."""

COLOURS: Final = {
    "cryptography": ("#57606a", "#9ea7b3"),
    "cpu": ("#0969da", "#58a6ff"),
    "native": ("#bc4c00", "#f0883e"),
    "cuda": ("#1a7f37", "#3fb950"),
    "ipsec-mb": ("#8250df", "#bc8cff"),
    "openssl": ("#9a6700", "#d4b106"),
}
"""The colour of each engine on a light ground, and on a dark one."""
DASHES: Final = {"packed": "6 3", "list-1key": "2 3", "estimate": "1 4"}
"""The dash of each path; the others are whole lines."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What one panel shows."""

    operation: str
    size: int
    lines: dict[Name, list[Row]]
    levels: list[Row]
    crossings: list[Crossover]


def plot(rows: Iterable[Row], caption: str) -> str:
    """Draw rows of seal and open; others are left out. `caption` says what they were measured on.

    Gives an SVG document. Raises ValueError where there is nothing to draw.
    """
    panels = _panels([row for row in rows if row.operation in ("seal", "open")])
    if not panels:
        raise ValueError("there is nothing to draw")
    operations = list(dict.fromkeys(panel.operation for panel in panels))
    sizes = sorted({panel.size for panel in panels})
    names = list(dict.fromkeys(name for panel in panels for name in _names(panel)))
    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", role="img")
    SubElement(svg, "title").text = "Sealing and opening: microseconds per message"
    SubElement(svg, "desc").text = caption
    SubElement(svg, "style").text = _style()
    ground = SubElement(svg, "rect", {"class": "ground", "x": "0", "y": "0"})
    _text(svg, _LEFT, 26, "Microseconds per message, by the number of messages in one call", "title")
    top: float = _HEADER
    for words in wrap(caption, _FACTS_LETTERS):
        _text(svg, _LEFT, top, words, "small")
        top += _TEXT_LINE
    top = _legend(svg, names, top + 6) + _BETWEEN
    for size in sizes:
        bottom = top
        for panel in (panel for panel in panels if panel.size == size):
            left = _LEFT + operations.index(panel.operation) * (_PANEL_WIDTH + _GUTTER)
            bottom = max(bottom, _draw(svg, panel, left, top))
        top = bottom + _BETWEEN
    for element in (svg, ground):
        element.set("width", str(WIDTH))
        element.set("height", str(top))
    svg.set("viewBox", f"0 0 {WIDTH} {top}")
    indent(svg)
    return tostring(svg, encoding="unicode") + "\n"


def _panels(rows: Sequence[Row]) -> list[Panel]:
    found: dict[tuple[str, int], Panel] = {}
    for row in rows:
        panel = found.setdefault((row.operation, row.size), Panel(row.operation, row.size, {}, [], []))
        if row.path == "estimate":
            panel.levels.append(row)
        elif row.name == LOOP or row.path in PATHS:
            panel.lines.setdefault(row.name, []).append(row)
    for panel in found.values():
        for line in panel.lines.values():
            line.sort(key=lambda row: row.n)
        panel.crossings.extend(crossovers(row for line in panel.lines.values() for row in line))
    return [panel for panel in found.values() if panel.lines]


def _names(panel: Panel) -> list[Name]:
    return [*panel.lines, *(row.name for row in panel.levels)]


def _draw(svg: Element, panel: Panel, left: float, top: float) -> float:
    """Draw one panel with its caption; give the height at which it ends."""
    rows = [row for line in panel.lines.values() for row in line]
    ends = [end / row.n for row in rows for end in (row.fastest, row.slowest)]
    ends += [row.seconds / row.n for row in panel.levels]
    least, most = min(row.n for row in rows), max(row.n for row in rows)
    x = Axis(least, most, left + _INSET, left + _PANEL_WIDTH - _INSET)
    y = Axis(1e6 * min(ends), 1e6 * max(ends), top + _PANEL_HEIGHT, top).rounded()
    group = SubElement(svg, "g")
    _text(group, left, top - 8, f"{panel.operation}, {size_name(panel.size)}", "panel")
    for tick in y.decades():
        _line(group, left, y.at(tick), left + _PANEL_WIDTH, y.at(tick), "rule")
        _text(group, left - 6, y.at(tick) + 4, f"{tick:g}", "small end")
    free_from = left
    for n in sorted({row.n for row in rows}):
        _line(group, x.at(n), top, x.at(n), top + _PANEL_HEIGHT, "rule")
        if x.at(n) >= free_from:
            _text(group, x.at(n), top + _PANEL_HEIGHT + 15, count_name(n), "small middle")
            free_from = x.at(n) + _LABEL
    for row in panel.levels:
        level = y.at(1e6 * row.seconds / row.n)
        _line(group, left, level, left + _PANEL_WIDTH, level, _class(row.name))
    asides = _asides(panel)
    for name, line in panel.lines.items():
        points = [(x.at(row.n) + asides[name], y.at(1e6 * row.seconds / row.n)) for row in line]
        for row, (across, _) in zip(line, points, strict=True):
            low, high = (y.at(1e6 * end / row.n) for end in (row.fastest, row.slowest))
            _line(group, across, low, across, high, f"spread {_class(name)}")
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
        SubElement(group, "polyline", {"class": _class(name), "points": path})
        for across, down in points:
            dot = {"class": f"dot {_class(name)}", "cx": f"{across:.1f}", "cy": f"{down:.1f}", "r": "2"}
            SubElement(group, "circle", dot)
    for crossing in panel.crossings:
        _ring(group, panel.lines[crossing.ahead], crossing, x, y, asides[crossing.ahead])
    height = top + _PANEL_HEIGHT + _BELOW_AXIS
    for words in _captions(panel):
        _text(group, left, height, words, "small")
        height += _TEXT_LINE
    return height


def _asides(panel: Panel) -> dict[Name, float]:
    """Tell how far to the right of its place each line stands."""
    count = len(panel.lines)
    step = min(_LARGEST_STEP, 2 * (_INSET - 4) / max(1, count - 1))
    return {name: (number - (count - 1) / 2) * step for number, name in enumerate(panel.lines)}


def _ring(group: Element, line: Sequence[Row], crossing: Crossover, x: Axis, y: Axis, aside: float) -> None:
    """Mark where a line gets ahead, by the ratios that were taken round by round, on that line."""
    if crossing.n is None or not crossing.inside:
        return
    before = max((row for row in line if row.n <= crossing.n), key=lambda row: row.n)
    after = min((row for row in line if row.n >= crossing.n), key=lambda row: row.n)
    low, high = (math.log(row.seconds / row.n) for row in (before, after))
    span = math.log(after.n / before.n)
    part = math.log(crossing.n / before.n) / span if span else 0.0
    place = y.at(1e6 * math.exp(low + part * (high - low)))
    ring = {
        "class": f"ring {_class(crossing.ahead)}",
        "cx": f"{x.at(crossing.n) + aside:.1f}",
        "cy": f"{place:.1f}",
        "r": "6",
    }
    SubElement(SubElement(group, "circle", ring), "title").text = str(crossing)


def _captions(panel: Panel) -> list[str]:
    """Say in a few lines from how many messages on each way is ahead: of the loop, and of another engine."""
    said: dict[str, list[str]] = {}
    for crossing in panel.crossings:
        passed = "the loop" if crossing.behind == LOOP else crossing.behind[0]
        # Words that belong together are kept together by spaces that do not break.
        words = f"{' '.join(crossing.ahead)} {_where(crossing)}".replace(" ", "\N{NO-BREAK SPACE}")
        said.setdefault(passed, []).append(words)
    sentences = (f"Ahead of {passed} from n on: {', '.join(ways)}" for passed, ways in said.items())
    return [line for words in sentences for line in wrap(words, _CAPTION_LETTERS, break_on_hyphens=False)]


def _where(crossing: Crossover) -> str:
    if crossing.n is None:
        return "not in the end"
    if not crossing.inside:
        return count_name(round(crossing.n))
    return f"≈ {round(float(f'{crossing.n:.2g}'))}"


def _legend(svg: Element, names: Sequence[Name], top: float) -> float:
    """Name every line and mark in columns; give the height of the last row."""
    columns = (WIDTH - _LEFT) // _LEGEND_COLUMN
    height = top
    for number, name in enumerate([*names, None]):
        row, column = divmod(number, columns)
        left, height = _LEFT + column * _LEGEND_COLUMN, top + _LEGEND_LINE * row
        if name is not None:
            _line(svg, left, height - 4, left + 24, height - 4, _class(name))
        else:
            ring = {"class": "ring line cryptography", "cx": str(left + 12), "cy": str(height - 4), "r": "6"}
            SubElement(svg, "circle", ring)
        _text(svg, left + 30, height, "gets ahead" if name is None else " ".join(name), "small")
    return height


def _class(name: Name) -> str:
    """Give the style classes of a line: its engine and its path."""
    return f"line {name[0]} {name[1]}"


def _style() -> str:
    def engines(ground: int) -> str:
        return "".join(f".{name}{{stroke:{both[ground]};color:{both[ground]}}}" for name, both in COLOURS.items())

    dashes = "".join(f".{path}{{stroke-dasharray:{dash}}}" for path, dash in DASHES.items())
    return (
        ".ground{fill:#fff}text{fill:#1f2328;font-family:system-ui,sans-serif}.rule{stroke:#d0d7de;stroke-width:.7}"
        ".title{font-size:16px;font-weight:600}.panel{font-size:13px;font-weight:600}.small{font-size:11px}"
        f".end{{text-anchor:end}}.middle{{text-anchor:middle}}.line{{fill:none;stroke-width:1.8}}{dashes}"
        ".spread{stroke-width:3;stroke-dasharray:none;opacity:.4}.dot{fill:currentColor;stroke-dasharray:none}"
        f".ring{{stroke-width:1.5;stroke-dasharray:none}}{engines(0)}"
        "@media (prefers-color-scheme:dark){.ground{fill:#0d1117}text{fill:#e6edf3}.rule{stroke:#30363d}"
        f"{engines(1)}}}"
    )


def _line(parent: Element, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    SubElement(parent, "line", {"class": style, **ends})


def _text(parent: Element, x: float, y: float, words: str, style: str) -> None:
    SubElement(parent, "text", {"class": style, "x": f"{x:.1f}", "y": f"{y:.1f}"}).text = words
