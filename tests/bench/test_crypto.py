"""The grid, and what is timed in each of its cells."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.crypto import (
    LONGEST_TEXT,
    BenchError,
    Cell,
    Ways,
    check,
    grid,
    measure_cell,
    runs,
)
from securechat.bench.measure import TURN_S
from securechat.bench.rows import LOOP, PATHS
from securechat.crypto.cpu import CpuEngine
from tests.bench.harness import CpuYardstick, HandClock, WatchedEngine, WrongOpen, WrongSeal

CPU = {"cpu": CpuEngine()}


class GridTests(SynchronousTestCase):
    """Cells, and the bound on memory."""

    def test_cells(self) -> None:
        """Every size and count is sealed and opened, in this order."""
        cells, left_out = grid((64, 200), (1, 16), 1 << 20)
        pairs = [(cell.size, cell.n, cell.operation) for cell in cells]
        self.assertEqual(pairs[:4], [(64, 1, "seal"), (64, 1, "open"), (64, 16, "seal"), (64, 16, "open")])
        self.assertEqual((len(cells), left_out), (8, []))

    def test_memory_bound(self) -> None:
        """A batch that holds exactly as much as is allowed is measured, and one message more left out and told."""
        cells, left_out = grid((1024,), (1024, 1025), 1 << 20)
        self.assertEqual({cell.n for cell in cells}, {1024})
        self.assertEqual(left_out, ["1025 x 1 KiB: more than 1 MiB at once, which --memory bounds"])

    def test_short_messages_take_room_too(self) -> None:
        """Many short messages are bounded as well: each has a key, and is an object of Python's."""
        cells, left_out = grid((1,), (4096,), 1 << 20)
        self.assertEqual((cells, len(left_out)), ([], 1))

    def test_bound_of_the_engines(self) -> None:
        """What no engine takes in one call is left out: too much in all, or one text too long."""
        cells, left_out = grid((1 << 20, LONGEST_TEXT, LONGEST_TEXT + 1), (1, 4096), 1 << 62)
        self.assertEqual({(cell.size, cell.n) for cell in cells}, {(1 << 20, 1), (LONGEST_TEXT, 1)})
        self.assertEqual(len(left_out), 4)
        self.assertEqual(left_out[0], "4 k x 1 MiB: more than engines take in one call")


class RunsTests(SynchronousTestCase):
    """What is timed in a cell."""

    def test_ways(self) -> None:
        """The loop comes first, twice, then each engine by each path, then yardsticks by packed batches."""
        for operation in ("seal", "open"):
            wanted = runs(Cell(operation, 64, 2), Ways(CPU, {"ipsec-mb": CpuYardstick()}, PATHS))
            names = [LOOP, ("cryptography", "again"), *(("cpu", path) for path in PATHS), ("ipsec-mb", "packed")]
            self.assertEqual(list(wanted), names)

    def test_everything_is_right(self) -> None:
        """Every way gives n messages that are what they have to be."""
        ways = Ways(CPU, {"ipsec-mb": CpuYardstick()}, PATHS)
        for name, run in runs(Cell("open", 64, 3), ways).items():
            found = run()
            if name[1] == "packed":
                assert isinstance(found, tuple)
                texts, ok = found[0].split(), found[1].tolist()
                self.assertEqual(ok, [True] * 3, name)
            else:
                assert isinstance(found, list)
                texts = found
            self.assertEqual([len(text) for text in texts], [64] * 3, name)
        for name, run in runs(Cell("seal", 64, 3), ways).items():
            found = run()
            self.assertEqual([len(one) for one in found], [128] * 3, name)  # type: ignore[attr-defined]

    def test_yardsticks_where_they_fit(self) -> None:
        """A yardstick has its place where it takes texts that long, and where batches are asked for."""
        yardsticks = {"ipsec-mb": CpuYardstick()}
        for size, paths, there in ((100, ("packed",), True), (101, ("packed",), False), (64, ("list",), False)):
            for operation in ("seal", "open"):
                wanted = runs(Cell(operation, size, 1), Ways(CPU, yardsticks, paths))
                self.assertEqual(("ipsec-mb", "packed") in wanted, there)


class MeasureTests(SynchronousTestCase):
    """Timing a cell."""

    def test_rows(self) -> None:
        """Each way gives a row of the cell; what took longer by the clock has the lower ratio."""
        clock = HandClock(step=TURN_S)
        engine = WatchedEngine(clock.work(1.0))
        rows = measure_cell(Cell("seal", 64, 2), Ways({"slow": engine}, {}, ("packed",)), 0.0, clock)
        self.assertEqual([row.name for row in rows], [LOOP, ("cryptography", "again"), ("slow", "packed")])
        self.assertEqual({(row.operation, row.size, row.n) for row in rows}, {("seal", 64, 2)})
        for row, seconds in zip(rows, (TURN_S, TURN_S, TURN_S + 1), strict=True):
            self.assertAlmostEqual(row.seconds, seconds)
            self.assertAlmostEqual(row.ratio or 0, TURN_S / seconds)


class CheckTests(SynchronousTestCase):
    """No times of what is wrong."""

    def test_right(self) -> None:
        """What agrees with the loop passes."""
        for size in (1, 64, 200):
            check("cpu", CpuEngine(), size, 3)

    def test_wrong(self) -> None:
        """What seals or opens otherwise is named, with the size."""
        with self.assertRaisesRegex(BenchError, r"^the loop does not open what odd sealed \(64 B\)$"):
            check("odd", WrongSeal(), 64, 3)
        with self.assertRaisesRegex(BenchError, r"^odd does not open what the loop sealed \(64 B\)$"):
            check("odd", WrongOpen(), 64, 3)
