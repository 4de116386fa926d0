"""`securechat bench crypto` through PyCUDA: the rows of a GPU, and what it leaves there."""

import json
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO

from securechat.__main__ import main
from securechat.bench import command
from securechat.bench.rows import Row
from securechat.crypto import pycuda_device
from tests.emulated.emulation import EmulatedTestCase, configure

WORDS = ("--sizes", "64", "--counts", "1,16", "--seconds", "0.001", "--yardsticks", "none", "--json")


class BenchTests(EmulatedTestCase):
    """The command, with kernels measured on few messages: the emulation is slow."""

    def setUp(self) -> None:
        """Begin with a GPU that never failed."""
        super().setUp()
        self.patch(pycuda_device, "_lost", None)
        few = partial(command.Surroundings, gpu_cases=((64, 16),), piece_bytes=1 << 16)
        self.patch(command, "Surroundings", few)

    def ran(self, *words: str) -> tuple[int, list[Row], str]:
        """Run the command; its status, its rows, and what it said."""
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["bench", "crypto", *WORDS, *words])
        rows = [Row(**one) for one in json.loads(out.getvalue() or "[]")]
        return status, rows, err.getvalue()

    def test_rows(self) -> None:
        """There are rows of the engine with their limit, of PCIe, of launches and of kernels."""
        status, rows, err = self.ran("--engines", "cpu,cuda")
        self.assertEqual(status, 0, err)
        cuda = [row for row in rows if row.engine == "cuda"]
        engine = [row for row in cuda if row.path in ("list", "packed")]
        both = ("seal", "open")
        wanted = [(path, of, n) for n in (1, 16) for of in both for path in ("list", "packed")]
        self.assertEqual([(row.path, row.operation, row.n) for row in engine], wanted)
        for row in engine:
            assert row.limit_seconds is not None
            assert row.of_limit is not None
            assert row.ratio is not None
            self.assertGreater(row.limit_seconds, 0)
            self.assertAlmostEqual(row.of_limit, row.limit_seconds / row.seconds)
            self.assertGreater(row.ratio, 0)
        alone = [(row.path, row.operation) for row in cuda if row.path not in ("list", "packed")]
        pcie = [("pcie", way) for way in ("in", "out", "duplex")]
        kernels = [("kernel", of) for of in ("seal", "encrypt", "tag", "open", "verify", "decrypt")]
        self.assertEqual(alone, [*pcie, ("launch", "round-trip"), *kernels])
        self.assertEqual(
            {row.ratio is not None for row in cuda if row.path == "kernel" and row.operation in both}, {True}
        )
        self.assertIn(", gpu ", err)

    def test_device_that_fails(self) -> None:
        """A GPU that fails while it is measured alone is out of use, which is said; the rest goes on."""
        configure(fail_launch=200)
        status, rows, err = self.ran()
        self.assertEqual(status, 0, err)
        self.assertIn("not all of the GPU alone: ", err)
        self.assertIn("no cuda engine: the GPU failed earlier in this process", err)
        self.assertEqual({row.path for row in rows if row.engine == "cuda"}, {"pcie"})

    def test_demanded_device_that_fails(self) -> None:
        """Where its engine was asked for by name that is the end, in one line."""
        configure(fail_launch=200)
        status, rows, err = self.ran("--engines", "cuda")
        self.assertEqual((status, rows), (1, []))
        self.assertTrue(err.splitlines()[-1].startswith("securechat: no cuda engine: "), err)
