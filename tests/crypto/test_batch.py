"""Batches: joining, splitting, and arrays that are refused."""

from array import array
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.batch import Batch

byte_strings = st.lists(st.binary(max_size=40), max_size=12)


def buffer_of(data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    """Give an array over these bytes."""
    return np.frombuffer(data, np.uint8)


class BatchTests(SynchronousTestCase):
    """What a batch is."""

    @settings(deadline=None)
    @given(byte_strings)
    def test_join_and_split(self, items: list[bytes]) -> None:
        """Joining and splitting gives the same items, by every way of looking at them."""
        batch = Batch.join(items)
        self.assertEqual(batch.split(), items)
        self.assertEqual(list(batch), items)
        self.assertEqual([batch[i] for i in range(len(batch))], items)
        self.assertEqual([batch[i - len(items)] for i in range(len(batch))], items)
        self.assertEqual(len(batch), len(items))
        self.assertEqual(batch.lengths.tolist(), [len(item) for item in items])
        self.assertEqual(batch.total_bytes, sum(map(len, items)))

    @settings(deadline=None)
    @given(byte_strings, st.integers(0, 12), st.integers(0, 12))
    def test_run_of_items(self, items: list[bytes], start: int, stop: int) -> None:
        """A slice is a batch of those items over the same memory."""
        batch = Batch.join(items)
        run = batch[start:stop]
        self.assertEqual(run.split(), items[start:stop])
        self.assertEqual(run.total_bytes, sum(map(len, items[start:stop])))
        self.assertTrue(not run.buffer.size or np.shares_memory(run.buffer, batch.buffer))

    def test_joins_views(self) -> None:
        """Bytearrays and views of bytes join as well."""
        views: list[Any] = [bytearray(b"ab"), memoryview(b"cd")]
        self.assertEqual(Batch.join(views).split(), [b"ab", b"cd"])

    def test_begins_and_ends_inside(self) -> None:
        """Offsets may leave out both ends of the buffer."""
        batch = Batch(buffer_of(b"--abc--"), np.array([2, 3, 3, 5]))
        self.assertEqual(batch.split(), [b"a", b"", b"bc"])
        self.assertEqual(batch.total_bytes, 3)
        self.assertEqual(batch[2], b"bc")

    def test_no_such_item(self) -> None:
        """Reaching past either end, or in steps, is refused."""
        batch = Batch.join([b"a", b"b"])
        for index in (2, -3):
            with self.assertRaisesRegex(IndexError, "^index: "):
                batch[index]
        with self.assertRaisesRegex(ValueError, "^index: "):
            batch[::2]

    def test_cannot_be_changed(self) -> None:
        """Neither its arrays nor what is in them can be set; the owner's arrays stay as they were."""
        buffer, offsets = np.zeros(4, np.uint8), np.array([0, 4])
        batch = Batch(buffer, offsets)
        for column in (batch.buffer, batch.offsets):
            with self.assertRaises(ValueError):
                column[0] = 1
        with self.assertRaises(AttributeError):
            batch.buffer = buffer  # type: ignore[misc]
        self.assertTrue(buffer.flags.writeable)
        self.assertTrue(offsets.flags.writeable)

    def test_tells_no_contents(self) -> None:
        """Its representation tells sizes only."""
        self.assertEqual(repr(Batch.join([b"secret", b""])), "<Batch of 2 items, 6 bytes>")


class RefusalTests(SynchronousTestCase):
    """Arrays that are no batch."""

    def assert_refused(self, error: type[Exception], pattern: str, buffer: object, offsets: object) -> None:
        """Expect an error that begins with the argument's name."""
        with self.assertRaisesRegex(error, pattern):
            Batch(buffer, offsets)  # type: ignore[arg-type]

    def test_buffer(self) -> None:
        """A buffer must be an array of uint8, one dimension, contiguous."""
        offsets = np.array([0, 1])
        self.assert_refused(TypeError, "^buffer: .* got bytes", b"abc", offsets)
        self.assert_refused(TypeError, "^buffer: .* got int8", np.zeros(4, np.int8), offsets)
        self.assert_refused(ValueError, "^buffer: .* got 2", np.zeros((2, 2), np.uint8), offsets)
        self.assert_refused(ValueError, "^buffer: .* stride", np.zeros(8, np.uint8)[::2], offsets)

    def test_offsets(self) -> None:
        """Offsets must be an array of int64 in native order, one dimension, contiguous."""
        buffer = np.zeros(8, np.uint8)
        offsets = np.array([0, 1, 2, 3])
        swapped = offsets.astype(offsets.dtype.newbyteorder())
        self.assert_refused(TypeError, "^offsets: .* got list", buffer, [0, 1])
        self.assert_refused(TypeError, "^offsets: .* got int32", buffer, offsets.astype(np.int32))
        self.assert_refused(TypeError, "^offsets: .* got uint64", buffer, offsets.astype(np.uint64))
        self.assert_refused(TypeError, "^offsets: .* other byte order", buffer, swapped)
        self.assert_refused(ValueError, "^offsets: .* got 2", buffer, offsets.reshape(2, 2))
        self.assert_refused(ValueError, "^offsets: .* stride", buffer, offsets[::2])

    def test_order(self) -> None:
        """Offsets must be there, must not decrease, and must lie within the buffer."""
        buffer = np.zeros(8, np.uint8)
        self.assert_refused(ValueError, "^offsets: .* none", buffer, np.array([], np.int64))
        self.assert_refused(ValueError, "^offsets: begin at -1", buffer, np.array([-1, 3]))
        self.assert_refused(ValueError, "^offsets: must never", buffer, np.array([0, 3, 2, 8]))
        self.assert_refused(ValueError, "^offsets: end at 9", buffer, np.array([0, 9]))
        huge = np.array([0, np.iinfo(np.int64).max, np.iinfo(np.int64).min, 1])
        self.assert_refused(ValueError, "^offsets: must never", buffer, huge)

    def test_items(self) -> None:
        """Only byte strings join: no text, no integers, no views of wider elements."""
        wrong: list[Any] = ["text", 1, None, memoryview(array("i", [1, 2]))]
        for item in wrong:
            with self.assertRaisesRegex(TypeError, "^items: "):
                Batch.join([item])
