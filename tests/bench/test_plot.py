"""The picture."""

import re
from itertools import pairwise
from xml.etree.ElementTree import Element, fromstring

from hypothesis import given
from hypothesis.strategies import characters, text
from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.plot import COLOURS, WIDTH, plot
from securechat.bench.rows import LOOP, Row
from tests.bench.harness import curve, row

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    *curve(LOOP, {1: 1.0, 16: 1.0, 256: 1.0}),
    *curve(("cryptography", "again"), {1: 1.0, 16: 1.0, 256: 1.0}),
    *curve(("cpu", "list"), {1: 1.0, 16: 1.2, 256: 1.2}),
    *curve(("native", "packed"), {1: 0.25, 16: 4.0, 256: 5.0}),
    *curve(("ipsec-mb", "packed"), {1: 0.5, 16: 4.0, 256: 8.0}),
    row(("openssl", "estimate"), 256, 20.0, 12.0),
]


class PlotTestCase(SynchronousTestCase):
    """A case that looks into pictures."""

    def drawn(self, rows: list[Row], caption: str = "a machine") -> Element:
        """Draw; the picture must be valid XML."""
        return fromstring(plot(rows, caption))

    def of_class(self, svg: Element, tag: str, style: str) -> list[Element]:
        """Find elements by their tag and a class."""
        return [one for one in svg.iter(SVG + tag) if style in one.get("class", "").split()]

    def words(self, svg: Element) -> list[str]:
        """Give all text, with ordinary spaces."""
        return [(one.text or "").replace("\N{NO-BREAK SPACE}", " ") for one in svg.iter(SVG + "text")]


class PlotTests(PlotTestCase):
    """What it shows."""

    def test_one_line_each(self) -> None:
        """In each panel there is one line for the loop and for each engine and path, the loop drawn once."""
        rows = ROWS + [
            made for name in (LOOP, ("cpu", "list")) for made in curve(name, {1: 1.0, 16: 1.5}, size=200)
        ]
        lines = [one.get("class") for one in self.drawn(rows).iter(SVG + "polyline")]
        first = ["line cryptography loop", "line cpu list", "line native packed", "line ipsec-mb packed"]
        self.assertEqual(lines, [*first, *first[:2]])

    def test_points_in_order(self) -> None:
        """A line goes through its points from left to right, whatever the order of the rows."""
        (line,) = self.drawn(ROWS[2::-1]).iter(SVG + "polyline")
        across = [float(point.partition(",")[0]) for point in (line.get("points") or "").split()]
        self.assertEqual(across, sorted(across))
        self.assertEqual(len(across), 3)

    def test_higher_is_slower(self) -> None:
        """What takes longer stands higher."""
        rows = [row(), row(("cpu", "list"), 1, 0.1, 10.0)]
        loop, cpu = self.drawn(rows).iter(SVG + "polyline")
        heights = [float((line.get("points") or "").partition(",")[2]) for line in (loop, cpu)]
        self.assertLess(heights[0], heights[1])

    def test_panels(self) -> None:
        """There is a panel for each size and operation, sealing on the left, smaller sizes above."""
        rows = [row(operation=operation, size=size) for operation in ("seal", "open") for size in (4096, 64)]
        svg = self.drawn(rows)
        titles = {one.text: one for one in self.of_class(svg, "text", "panel")}
        self.assertEqual(set(titles), {"seal, 64 B", "open, 64 B", "seal, 4 KiB", "open, 4 KiB"})
        places = {name: (float(one.get("x", "")), float(one.get("y", ""))) for name, one in titles.items()}
        self.assertLess(places["seal, 64 B"][0], places["open, 64 B"][0])
        self.assertEqual(places["seal, 64 B"][1], places["open, 64 B"][1])
        self.assertLess(places["seal, 64 B"][1], places["seal, 4 KiB"][1])

    def test_spread(self) -> None:
        """An upright stroke goes from the fastest round to the slowest, and is longer where they differ more."""
        calm, wild = row(fastest=0.9, slowest=1.1), row(("cpu", "list"), fastest=0.5, slowest=2.0)
        strokes = self.of_class(self.drawn([calm, wild]), "line", "spread")
        lengths = [abs(float(one.get("y1", "")) - float(one.get("y2", ""))) for one in strokes]
        self.assertEqual(len(lengths), 2)
        self.assertLess(lengths[0], lengths[1])

    def test_strokes_stand_apart(self) -> None:
        """Strokes at the same number of messages stand beside each other."""
        strokes = self.of_class(self.drawn(ROWS), "line", "spread")
        self.assertEqual(len({one.get("x1") for one in strokes}), len(strokes))

    def test_crossover_marked(self) -> None:
        """A ring stands where a line gets ahead, says so when it is pointed at, and lies on that line."""
        svg = self.drawn([*curve(LOOP, {1: 1.0, 16: 1.0}), *curve(("native", "list"), {1: 0.25, 16: 4.0})])
        (ring,) = [one for one in self.of_class(svg, "circle", "ring") if len(one)]
        self.assertEqual(ring[0].text, "native list is faster than the loop from n = about 4 on")
        self.assertIn("native", ring.get("class", ""))
        line = list(svg.iter(SVG + "polyline"))[1]
        ends = [tuple(map(float, point.split(","))) for point in (line.get("points") or "").split()]
        self.assertAlmostEqual(float(ring.get("cx", "")), (ends[0][0] + ends[1][0]) / 2, places=0)
        self.assertAlmostEqual(float(ring.get("cy", "")), (ends[0][1] + ends[1][1]) / 2, places=0)

    def test_no_crossover_no_ring(self) -> None:
        """What is ahead from the start, or never, gets words and no ring."""
        svg = self.drawn([row(), row(("cpu", "list"), 1, 0.5, 2.0), row(("native", "list"), 1, 0.6, 1.5)])
        self.assertEqual([one for one in self.of_class(svg, "circle", "ring") if len(one)], [])
        said = " ".join(self.words(svg))
        self.assertIn("Ahead of the loop from n on: cpu list 1, native list 1", said)
        self.assertIn("Ahead of cpu from n on: native list not in the end", said)

    def test_crossover_in_words(self) -> None:
        """The words below a panel say from about where on a way is ahead."""
        self.assertIn("native packed ≈ 4", " ".join(self.words(self.drawn(ROWS))))

    def test_estimate(self) -> None:
        """An estimate is a level line over the whole panel, as wide as the panel's own rules."""
        (panel,) = self.drawn(ROWS).iter(SVG + "g")
        (level,) = self.of_class(panel, "line", "estimate")
        self.assertEqual(level.get("y1"), level.get("y2"))
        rule = self.of_class(panel, "line", "rule")[0]
        self.assertEqual((level.get("x1"), level.get("x2")), (rule.get("x1"), rule.get("x2")))

    def test_legend(self) -> None:
        """The legend names every line, the estimate and the ring, each once."""
        said = self.words(self.drawn(ROWS))
        for name in ("cryptography loop", "cpu list", "native packed", "openssl estimate", "gets ahead"):
            self.assertEqual(said.count(name), 1, name)

    def test_caption(self) -> None:
        """The machine stands above, broken into lines that fit, and whole in the description."""
        caption = ", ".join(f"fact{number} {number}" for number in range(40))
        svg = self.drawn(ROWS, caption)
        self.assertEqual([one.text for one in svg.iter(SVG + "desc")], [caption])
        lines = [line for line in self.words(svg) if "fact" in line]
        self.assertEqual(" ".join(lines), caption)
        self.assertGreater(len(lines), 1)

    def test_labels_do_not_touch(self) -> None:
        """Of numbers of messages that stand close together only some are written out."""
        svg = self.drawn(curve(LOOP, dict.fromkeys((1, *range(1000, 1100)), 1.0)))
        places = [float(one.get("x", "")) for one in self.of_class(svg, "text", "middle")]
        self.assertGreater(len(places), 1)
        self.assertTrue(all(after - before >= 24 for before, after in pairwise(places)))

    def test_within_the_picture(self) -> None:
        """Every text begins, and every place lies, within the width and height that the picture says it has."""
        svg = self.drawn(ROWS, "word " * 200)
        height = float(svg.get("height", ""))
        self.assertEqual(svg.get("viewBox"), f"0 0 {WIDTH} {svg.get('height')}")
        for one in svg.iter():
            for name, most in (
                ("x", WIDTH),
                ("cx", WIDTH),
                ("x2", WIDTH),
                ("y", height),
                ("cy", height),
                ("y2", height),
            ):
                self.assertTrue(0 <= float(one.get(name, "0")) <= most, (one.tag, one.attrib))

    def test_other_rows(self) -> None:
        """What a device does alone is left out; where nothing else is there, nothing can be drawn."""
        alone = [row(("cuda", "kernel")), row(("cuda", "pcie"), operation="in")]
        self.assertEqual(plot([*ROWS, *alone], "a machine"), plot(ROWS, "a machine"))
        with self.assertRaises(ValueError):
            plot(alone, "a machine")

    @given(text(characters(codec="utf-8", exclude_categories=["C", "Z"])))
    def test_text_is_escaped(self, caption: str) -> None:
        """Whatever a machine calls itself is text and nothing else."""
        svg = self.drawn(ROWS, f"<script>&{caption}]]>")
        self.assertEqual([one.text for one in svg.iter(SVG + "desc")], [f"<script>&{caption}]]>"])
        self.assertEqual(list(svg.iter(SVG + "script")), [])


class ColourTests(PlotTestCase):
    """Light and dark."""

    def test_every_engine_has_its_colours(self) -> None:
        """The style has one colour for each engine on either ground."""
        (style,) = self.drawn(ROWS).iter(SVG + "style")
        light, _, dark = (style.text or "").partition("@media (prefers-color-scheme:dark)")
        for name, (on_light, on_dark) in COLOURS.items():
            self.assertIn(f".{name}{{stroke:{on_light};", light)
            self.assertIn(f".{name}{{stroke:{on_dark};", dark)

    def test_contrast(self) -> None:
        """Text and lines stand out from their ground at 3 to 1 at least (WCAG 2.2, 1.4.11), text at 4.5 to 1."""
        (style,) = self.drawn(ROWS).iter(SVG + "style")
        halves = (style.text or "").split("@media (prefers-color-scheme:dark)")
        for half, colours in zip(halves, zip(*COLOURS.values(), strict=True), strict=True):
            found = re.search(r"\.ground\{fill:(#\w+)\}text\{fill:(#\w+)", half)
            assert found is not None
            ground, ink = found.groups()
            self.assertGreater(contrast(ground, ink), 4.5)
            for colour in colours:
                self.assertGreater(contrast(ground, colour), 3, colour)


def luminance(colour: str) -> float:
    """Give the relative luminance of a colour such as #fff or #0969da, as WCAG defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Give the contrast of two colours, from 1 to 21."""
    lower, higher = sorted((luminance(one), luminance(other)))
    return (higher + 0.05) / (lower + 0.05)
