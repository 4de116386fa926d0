"""The loop, and what is sealed and opened."""

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.loop import loop_open, loop_seal
from securechat.bench.material import make_sealed, make_texts, random_batch
from securechat.crypto import aead
from securechat.crypto.cpu import CpuEngine


class LoopTests(SynchronousTestCase):
    """One message after the other."""

    def test_format(self) -> None:
        """What it seals the reference opens, and it opens what the reference sealed, at every padding."""
        for size in (0, 1, 15, 16, 17, 200):
            it = make_texts(size, 3)
            sealed = loop_seal(it.key_list, it.associated_list, it.item_list)
            self.assertEqual(list(map(aead.open, it.key_list, it.associated_list, sealed)), it.item_list)
            ivs = [row.tobytes() for row in it.ivs]
            others = list(map(aead.seal, it.key_list, it.associated_list, it.item_list, ivs))
            self.assertEqual(loop_open(it.key_list, it.associated_list, others), it.item_list)

    def test_fresh_ivs(self) -> None:
        """Each message gets an iv of its own, each time."""
        it = make_texts(16, 2)
        sealed = [one[:16] for _ in range(2) for one in loop_seal(it.key_list, it.associated_list, it.item_list)]
        self.assertEqual(len(set(sealed)), 4)

    def test_verifies(self) -> None:
        """A message that was changed is a ValueError."""
        it = make_sealed(16, 1, CpuEngine())
        for at in (0, 16, -1):
            changed = bytearray(it.item_list[0])
            changed[at] ^= 1
            with self.assertRaises(ValueError):
                loop_open(it.key_list, it.associated_list, [bytes(changed)])


class MaterialTests(SynchronousTestCase):
    """Messages of one size."""

    def test_lists_are_the_batches(self) -> None:
        """Lists and arrays hold the same, n of each, all different."""
        it = make_texts(24, 5)
        self.assertEqual(it.key_list, [row.tobytes() for row in it.keys])
        self.assertEqual((it.associated.split(), it.items.split()), (it.associated_list, it.item_list))
        self.assertEqual([len(set(one)) for one in (it.key_list, it.associated_list, it.item_list)], [5] * 3)
        self.assertEqual({len(one) for one in it.item_list}, {24})

    def test_sealed(self) -> None:
        """Sealed messages open under their own keys, or all under the first."""
        it = make_sealed(24, 3, CpuEngine())
        self.assertNotIn(None, CpuEngine().open_list(it.key_list, it.associated_list, it.item_list))
        it = make_sealed(24, 3, CpuEngine(), one_key=True)
        self.assertNotIn(None, CpuEngine().open_list(it.key_list[0], it.associated_list, it.item_list))
        self.assertEqual(CpuEngine().open_list(it.key_list, it.associated_list, it.item_list)[1:], [None, None])

    def test_large(self) -> None:
        """More than is drawn repeats it."""
        batch = random_batch(3, 1 << 24)
        self.assertEqual(batch.total_bytes, 3 << 24)
        self.assertTrue(np.array_equal(batch.buffer[: 1 << 24], batch.buffer[1 << 24 : 2 << 24]))
