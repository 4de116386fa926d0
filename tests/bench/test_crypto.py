"""The grid, and what is timed on it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.crypto import BenchError, Cell, Ways, check, grid, measure_cell, runs
from securechat.bench.loop import loop_open, loop_seal
from securechat.bench.material import make_sealed, make_texts, random_batch
from securechat.bench.rows import LOOP
from securechat.crypto import aead
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.engine import Flags
from tests.bench.fakes import HandClock

CPU = {"cpu": CpuEngine()}


class Ruler(CpuEngine):
    """A yardstick."""

    longest_text = 300


class GridTests(SynchronousTestCase):
    """Which cells there are."""

    def test_everything_that_fits(self) -> None:
        """Each size meets each count, sealing and opening."""
        cells, left_out = grid([64, 200], [1, 16], 1 << 20)
        self.assertEqual(len(cells), 8)
        self.assertEqual(cells[:3], [Cell("seal", 64, 1), Cell("open", 64, 1), Cell("seal", 64, 16)])
        self.assertEqual(left_out, [])

    def test_memory_bound(self) -> None:
        """A batch may have just as many bytes of text as the bound; one more is left out, with a line."""
        self.assertEqual(len(grid([1024], [16], 16 * 1024)[0]), 2)
        cells, left_out = grid([1024], [16], 16 * 1024 - 1)
        self.assertEqual((cells, left_out), ([], ["16 x 1 KiB: more than 16383 B of text at once"]))

    def test_short_messages_count_more(self) -> None:
        """A million messages of a byte take more than a million bytes, and are left out accordingly."""
        self.assertEqual(grid([1], [1 << 20], 1 << 20)[0], [])

    def test_default_grid_fits(self) -> None:
        """Of the default grid the largest batch just fits the default bound."""
        self.assertEqual(len(grid([16384], [65536], 1 << 30)[0]), 2)

    def test_engines_limit(self) -> None:
        """What an engine could not take as one batch is left out however much memory there is."""
        self.assertEqual(grid([1 << 20], [4096], 1 << 50)[0], [])


class MaterialTests(SynchronousTestCase):
    """What is sealed and opened."""

    def test_lists_and_batches_agree(self) -> None:
        """Lists and batches hold the same messages under the same keys."""
        it = make_texts(200, 5)
        self.assertEqual(it.items.split(), it.item_list)
        self.assertEqual(it.associated.split(), it.associated_list)
        self.assertEqual([key.tobytes() for key in it.keys], it.key_list)
        self.assertEqual((it.items.lengths.tolist(), len(set(it.key_list))), ([200] * 5, 5))

    def test_sealed_opens(self) -> None:
        """Sealed messages open, under their own keys or under the first one's."""
        for one_key in (False, True):
            it = make_sealed(200, 3, CpuEngine(), one_key)
            keys = [it.key_list[0]] * 3 if one_key else it.key_list
            for key, additional, sealed in zip(keys, it.associated_list, it.item_list, strict=True):
                self.assertEqual(len(aead.open(key, additional, sealed)), 200)

    def test_long_material_repeats_itself(self) -> None:
        """More bytes than are drawn repeat those that were."""
        batch = random_batch(3, 1 << 23)
        self.assertEqual(batch[2], batch[0])
        self.assertNotEqual(batch[1], batch[0])


class LoopTests(SynchronousTestCase):
    """The baseline."""

    def test_agrees_with_the_reference(self) -> None:
        """The loop and the reference open each other's messages."""
        it = make_texts(77, 3)
        sealed = loop_seal(it.key_list, it.associated_list, it.item_list)
        self.assertEqual(list(map(aead.open, it.key_list, it.associated_list, sealed)), it.item_list)
        theirs = list(map(aead.seal, it.key_list, it.associated_list, it.item_list))
        self.assertEqual(loop_open(it.key_list, it.associated_list, theirs), it.item_list)

    def test_verifies(self) -> None:
        """The loop opens nothing that was changed: it does all the work that it is the measure of."""
        it = make_sealed(77, 1, CpuEngine())
        changed = it.item_list[0][:-1] + bytes([it.item_list[0][-1] ^ 1])
        with self.assertRaises(ValueError):
            loop_open(it.key_list, it.associated_list, [changed])


class RunsTests(SynchronousTestCase):
    """What is timed."""

    def test_names(self) -> None:
        """The loop is first, then itself again, then each engine by each path, then yardsticks that fit."""
        ways = Ways(CPU, {"ruler": Ruler()}, ("list", "packed"))
        for operation in ("seal", "open"):
            names = list(runs(Cell(operation, 200, 2), ways))
            self.assertEqual(
                names, [LOOP, ("cryptography", "again"), ("cpu", "list"), ("cpu", "packed"), ("ruler", "packed")]
            )

    def test_yardstick_that_does_not_fit(self) -> None:
        """A yardstick is left out above its longest text, and where no packed path is wanted."""
        long = runs(Cell("seal", 301, 1), Ways(CPU, {"ruler": Ruler()}, ("packed",)))
        lists = runs(Cell("open", 200, 1), Ways(CPU, {"ruler": Ruler()}, ("list",)))
        self.assertNotIn(("ruler", "packed"), long.keys() | lists.keys())

    def test_everything_opens_everything(self) -> None:
        """Every way of opening gives all texts: none is fast because it refuses."""
        for name, run in runs(
            Cell("open", 200, 3), Ways(CPU, {"ruler": Ruler()}, ("list", "packed", "list-1key"))
        ).items():
            found: Any = run()
            texts = found[0].split() if isinstance(found, tuple) else found
            self.assertEqual([len(text) for text in texts], [200] * 3, name)

    def test_everything_seals_everything(self) -> None:
        """Every way of sealing gives as many bytes as sealing n messages must."""
        for name, run in runs(Cell("seal", 200, 3), Ways(CPU, {}, ("list", "packed", "list-1key"))).items():
            found: Any = run()
            self.assertEqual([len(item) for item in found], [aead.sealed_bytes(200)] * 3, name)

    def test_cell(self) -> None:
        """A cell gives a row for everything, which says what it is of."""
        found = measure_cell(Cell("seal", 200, 2), Ways(CPU, {}, ("list",)), 1.0, HandClock(step=0.25))
        self.assertEqual([row.name for row in found], [LOOP, ("cryptography", "again"), ("cpu", "list")])
        self.assertEqual((found[2].operation, found[2].size, found[2].n, found[2].seconds), ("seal", 200, 2, 0.25))


class Forger(CpuEngine):
    """Seals under another key than it was told."""

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        return super().seal(keys[::-1], ivs, associated, plaintext)


class Swapper(CpuEngine):
    """Opens everything as something else."""

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        return Batch.join([b"?"] * len(sealed)), np.ones(len(sealed), np.bool_)


class Refuser(CpuEngine):
    """Opens nothing."""

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        texts, ok = super().open(keys, associated, sealed)
        return texts, np.zeros_like(ok)


class CheckTests(SynchronousTestCase):
    """An engine is checked before its times mean anything."""

    def refused(self, engine: CpuEngine) -> str:
        """Give the words that refuse an engine."""
        return str(self.assertRaises(BenchError, check, "it", engine, 200))

    def test_right(self) -> None:
        """An engine that agrees with the loop is passed."""
        sizes: Sequence[int] = (1, 16, 200)
        for size in sizes:
            check("cpu", CpuEngine(), size)

    def test_wrong_seal(self) -> None:
        """An engine whose messages the loop does not open is named with the size."""
        self.assertEqual(self.refused(Forger()), "the loop does not open what it sealed (200 B)")

    def test_wrong_open(self) -> None:
        """So is one that opens to other texts, or does not open."""
        for engine in (Swapper(), Refuser()):
            self.assertEqual(self.refused(engine), "it does not open what the loop sealed (200 B)")
