"""The picture."""

from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.axes import Axis
from securechat.bench.plot import COLOURS, plot
from securechat.bench.rows import LOOP, Row
from tests.bench import fakes
from tests.bench.fakes import row

SVG = "{http://www.w3.org/2000/svg}"
LOOP_ROWS = fakes.line(*LOOP, {1: 10.0, 16: 10.0, 256: 10.0})
CROSSING = fakes.line("native", "packed", {1: 20.0, 16: 5.0, 256: 2.0})


def drawn(rows: list[Row], caption: str = "an abacus") -> ElementTree.Element:
    """Draw, and read what was drawn as XML."""
    return ElementTree.fromstring(plot(rows, caption))


def texts(svg: ElementTree.Element) -> list[str]:
    """Give all words of a picture."""
    return [(found.text or "").replace("\N{NO-BREAK SPACE}", " ") for found in svg.iter(f"{SVG}text")]


def of_class(svg: ElementTree.Element, kind: str, *classes: str) -> list[ElementTree.Element]:
    """Give the elements of a kind that have all these classes."""
    return [found for found in svg.iter(SVG + kind) if set(classes) <= set(found.get("class", "").split())]


class PlotTests(SynchronousTestCase):
    """What is on it."""

    def test_panels(self) -> None:
        """There is a panel for each operation and size, with its name and the counts below it."""
        rows = [
            row(*LOOP, n, 10.0, 1.0, operation=operation, size=size)
            for operation in ("seal", "open")
            for size in (64, 1024)
            for n in (1, 4096)
        ]
        found = texts(drawn(rows))
        for title in ("seal, 64 B", "open, 64 B", "seal, 1 KiB", "open, 1 KiB"):
            self.assertIn(title, found)
        self.assertEqual(found.count("4 k"), 4)

    def test_lines(self) -> None:
        """Each way is one line through all its counts, and stands in the legend."""
        svg = drawn(LOOP_ROWS + CROSSING)
        for name in (LOOP, ("native", "packed")):
            lines = of_class(svg, "polyline", *name)
            self.assertEqual(len(lines), 1)
            self.assertEqual(len(lines[0].get("points", "").split()), 3)
            self.assertIn(" ".join(name), texts(svg))

    def test_slower_is_higher(self) -> None:
        """More time for each message stands higher, more messages further to the right."""
        points = of_class(drawn(LOOP_ROWS + CROSSING), "polyline", "native")[0].get("points", "").split()
        places = [tuple(map(float, point.split(","))) for point in points]
        self.assertEqual(places, sorted(places))
        self.assertEqual([down for _, down in places], sorted(down for _, down in places))

    def test_spread(self) -> None:
        """Every point has a stroke from the fastest to the slowest round."""
        self.assertEqual(len(of_class(drawn(LOOP_ROWS + CROSSING), "line", "spread")), 6)

    def test_crossover_is_marked(self) -> None:
        """A ring stands where a way passes the loop, on its line, and the words below say where that is."""
        svg = drawn(LOOP_ROWS + CROSSING)
        (ring,) = of_class(svg, "circle", "ring")
        dots = [
            tuple(float(dot.get(key, "")) for key in ("cx", "cy"))
            for dot in of_class(svg, "circle", "dot", "native")
        ]
        across, down = float(ring.get("cx", "")), float(ring.get("cy", ""))
        # 20 to 5 us from 1 to 16 messages: 10 us are half way, on logarithmic axes.
        self.assertAlmostEqual(across, (dots[0][0] + dots[1][0]) / 2, delta=0.2)
        self.assertAlmostEqual(down, (dots[0][1] + dots[1][1]) / 2, delta=0.2)
        self.assertIn("Faster than the loop from n on: native packed ≈ 4", texts(svg))

    def test_no_crossing_no_ring(self) -> None:
        """What is ahead everywhere or never has no ring, and words that say so."""
        fast, slow = (
            fakes.line("native", "list", {1: 2.0, 16: 2.0}),
            fakes.line("cpu", "packed", {1: 20.0, 16: 20.0}),
        )
        svg = drawn(LOOP_ROWS + fast + slow)
        self.assertEqual(of_class(svg, "circle", "ring"), [])
        self.assertIn("Faster than the loop from n on: native list ≥ 1, cpu packed never", texts(svg))

    def test_estimate_is_level(self) -> None:
        """An estimate, which is of no number of messages, is a level line."""
        (level,) = [
            found
            for found in of_class(
                drawn([*LOOP_ROWS, row("openssl", "estimate", 256, 1.0, 10.0)]), "line", "openssl"
            )
            if float(found.get("x2", "")) - float(found.get("x1", "")) > 100
        ]
        self.assertEqual(level.get("y1"), level.get("y2"))

    def test_other_rows_are_left_out(self) -> None:
        """The loop's second run, copies and kernels are not drawn."""
        svg = drawn([*LOOP_ROWS, row("cryptography", "again", 1, 9.0, 1.1), row("cuda", "kernel", 16, 0.1, 99.0)])
        self.assertEqual(len(of_class(svg, "polyline")), 1)

    def test_caption_is_text(self) -> None:
        """The machine stands on it as text, whatever letters it has."""
        self.assertIn('5 < 6 & "so on"', texts(drawn(LOOP_ROWS, '5 < 6 & "so on"')))

    def test_light_and_dark(self) -> None:
        """Each engine has a colour on a light ground and another on a dark one."""
        style = next(drawn(LOOP_ROWS).iter(f"{SVG}style")).text or ""
        light, dark = style.split("@media (prefers-color-scheme:dark)")
        for engine, (on_light, on_dark) in COLOURS.items():
            self.assertIn(f".{engine}{{stroke:{on_light}", light)
            self.assertIn(f".{engine}{{stroke:{on_dark}", dark)

    def test_one_count(self) -> None:
        """A single count is drawn too, in the middle."""
        (line,) = of_class(drawn([row(*LOOP, 16, 10.0, 1.0)]), "polyline")
        self.assertEqual(len(line.get("points", "").split()), 1)

    def test_everything_lies_inside(self) -> None:
        """Nothing is drawn outside the picture."""
        svg = drawn(LOOP_ROWS + CROSSING)
        for found in svg.iter():
            for key, end in (("x", "width"), ("cx", "width"), ("x2", "width"), ("y", "height"), ("y2", "height")):
                self.assertTrue(0 <= float(found.get(key, "0")) <= float(svg.get(end, "")), found.attrib)

    def test_nothing_to_draw(self) -> None:
        """Without rows of seal or open there is no picture."""
        with self.assertRaises(ValueError):
            plot([row("cuda", "pcie", 1, 1.0, None, operation="in")], "")


class AxisTests(SynchronousTestCase):
    """A logarithmic axis."""

    def test_places(self) -> None:
        """Equal ratios are equal distances."""
        axis = Axis(1, 100, 0, 10)
        self.assertEqual([round(axis.at(value), 6) for value in (1, 10, 100)], [0, 5, 10])

    def test_rounded(self) -> None:
        """Ends are widened to round values, and stay where they are round."""
        self.assertEqual((Axis(0.31, 7, 0, 1).rounded().least, Axis(0.31, 7, 0, 1).rounded().most), (0.2, 10))
        self.assertEqual((Axis(0.5, 20, 0, 1).rounded().least, Axis(0.5, 20, 0, 1).rounded().most), (0.5, 20))

    def test_ticks(self) -> None:
        """Short axes name 1, 2 and 5, long ones powers of ten."""
        self.assertEqual(Axis(1, 20, 0, 1).decades(), [1, 2, 5, 10, 20])
        self.assertEqual(Axis(1, 1000, 0, 1).decades(), [1, 10, 100, 1000])
