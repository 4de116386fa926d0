"""Calls of an engine cut in two and put together again."""

from typing import Literal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.batch import Batch
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.parts import Call, merge, select

ITEMS = st.lists(st.tuples(st.binary(max_size=20), st.booleans()), max_size=30)


class SelectTests(SynchronousTestCase):
    """Choosing items."""

    @given(ITEMS, st.integers(0, 5))
    def test_as_a_list_would(self, items: list[tuple[bytes, bool]], skipped: int) -> None:
        """The chosen items of any run of a batch are those that a list would give, in their order."""
        batch = Batch.join(item for item, _ in items)[skipped:]
        chosen = np.array([flag for _, flag in items], np.bool_)[skipped:]
        expected = [item for item, flag in items[skipped:] if flag]
        self.assertEqual(select(batch, chosen).split(), expected)


class MergeTests(SynchronousTestCase):
    """Putting results together."""

    @given(ITEMS)
    def test_undoes_the_cut(self, items: list[tuple[bytes, bool]]) -> None:
        """What was cut by any mask comes together as it was, flags included."""
        batch = Batch.join(item for item, _ in items)
        chosen = np.array([flag for _, flag in items], np.bool_)
        ok = np.array([len(item) % 2 == 0 for item, _ in items], np.bool_)
        some, others = select(batch, chosen), select(batch, ~chosen)
        merged, flags = merge(chosen, (some, ok[chosen]), (others, ok[~chosen]))
        assert flags is not None
        self.assertEqual((merged.split(), flags.tolist()), (batch.split(), ok.tolist()))
        self.assertIsNone(merge(chosen, (some, None), (others, None))[1])


class CallTests(SynchronousTestCase):
    """All four operations in parts."""

    def setUp(self) -> None:
        """Make ten messages."""
        self.engine = CpuEngine()
        self.ivs = np.arange(160, dtype=np.uint8).reshape(10, 16)
        self.texts = Batch.join(bytes([i]) * (7 * i) for i in range(10))
        self.associated = Batch.join(bytes([i]) * i for i in range(10))
        self.chosen = np.array([1, 0, 0, 1, 1, 0, 1, 0, 0, 0], np.bool_)

    def in_parts(self, call: Call) -> tuple[list[bytes], list[bool] | None]:
        """Do a call in two parts."""
        parts = call.part(self.chosen).on(self.engine), call.part(~self.chosen).on(self.engine)
        batch, ok = merge(self.chosen, *parts)
        return batch.split(), None if ok is None else ok.tolist()

    def test_sealed_and_opened(self) -> None:
        """Sealing and opening in parts is sealing and opening, with own keys and with one."""
        for count in (10, 1):
            keys = np.arange(64 * count, dtype=np.int64).astype(np.uint8).reshape(count, 64)
            sealed = self.engine.seal(keys, self.ivs, self.associated, self.texts)
            call = Call("seal", keys, self.ivs, self.associated, self.texts)
            self.assertEqual(self.in_parts(call), (sealed.split(), None))
            call = Call("open", keys, None, self.associated, sealed)
            self.assertEqual(self.in_parts(call), (self.texts.split(), [True] * 10))

    def test_encrypted_and_decrypted(self) -> None:
        """So is raw encrypting and decrypting."""
        keys = np.arange(320, dtype=np.int64).astype(np.uint8).reshape(10, 32)
        ciphertext = self.engine.encrypt(keys, self.ivs, self.texts)
        call = Call("encrypt", keys, self.ivs, None, self.texts)
        self.assertEqual(self.in_parts(call), (ciphertext.split(), None))
        call = Call("decrypt", keys, self.ivs, None, ciphertext)
        self.assertEqual(self.in_parts(call), (self.texts.split(), [True] * 10))

    def test_longest(self) -> None:
        """The longer of an item and its associated data counts."""
        keys = np.zeros((1, 64), np.uint8)
        lengths: list[tuple[Literal["seal", "encrypt"], Batch | None, list[int]]] = [
            ("seal", Batch.join([bytes(3), bytes(9)]), [5, 9]),
            ("encrypt", None, [5, 2]),
        ]
        for operation, associated, expected in lengths:
            call = Call(operation, keys, self.ivs[:2], associated, Batch.join([bytes(5), bytes(2)]))
            self.assertEqual(call.longest().tolist(), expected)
