"""Many byte strings in one buffer: item i is `buffer[offsets[i]:offsets[i + 1]]`.

No pointers and no objects per item, so a batch of any size goes to native code or to a device as two
addresses. Offsets are 64-bit, never decrease, and may begin and end inside the buffer, so a run of items
is itself a batch over the same buffer.
"""

import operator
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import overload

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """An immutable sequence of byte strings, stored in one piece.

    Raises TypeError for arrays of another kind (type, dtype, byte order), ValueError for arrays of
    another shape and for offsets that do not lie in order within the buffer. The arrays are not copied;
    the batch sees them through views that cannot be written to, and the owner must not write either.
    """

    buffer: Bytes
    """The bytes of all items, uint8, one dimension, contiguous."""
    offsets: Offsets
    """Where each item begins, and where the last one ends: int64 in native order, n + 1 of them."""

    def __post_init__(self) -> None:
        """Check the arrays and shut them against writing."""
        _check_array("buffer", self.buffer, np.dtype(np.uint8))
        _check_array("offsets", self.offsets, np.dtype(np.int64))
        offsets = self.offsets
        if not len(offsets):
            raise ValueError("offsets: expected n + 1 of them, got none")
        if offsets[0] < 0:
            raise ValueError(f"offsets: begin at {offsets[0]}, before the buffer")
        if (offsets[1:] < offsets[:-1]).any():
            raise ValueError("offsets: must never decrease")
        if offsets[-1] > len(self.buffer):
            raise ValueError(f"offsets: end at {offsets[-1]}, the buffer at {len(self.buffer)}")
        for name in ("buffer", "offsets"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    @classmethod
    def trusted(cls, buffer: Bytes, offsets: Offsets) -> "Batch":
        """Take an engine's own results without the checks, which for a lone message cost more than sealing it."""
        batch = object.__new__(cls)
        for name, array in (("buffer", buffer), ("offsets", offsets)):
            array.setflags(write=False)
            object.__setattr__(batch, name, array)
        return batch

    @classmethod
    def join(cls, items: Iterable[bytes]) -> "Batch":
        """Copy byte strings, in order, into a new batch. Raises TypeError where one is not bytes-like."""
        parts = list(items)
        try:
            joined = b"".join(parts)
        except TypeError as error:
            raise TypeError(f"items: expected byte strings: {error}") from None
        offsets = np.fromiter(accumulate(map(len, parts), initial=0), np.int64, len(parts) + 1)
        if offsets[-1] != len(joined):
            raise TypeError("items: expected bytes, got views whose elements are wider")
        return cls(np.frombuffer(joined, np.uint8), offsets)

    def split(self) -> list[bytes]:
        """Copy the items out, each its own byte string."""
        offsets = self.offsets.tolist()
        start = offsets[0]
        whole = self.buffer[start : offsets[-1]].tobytes()
        return [whole[a - start : b - start] for a, b in pairwise(offsets)]

    @property
    def lengths(self) -> Offsets:
        """The length of each item in bytes."""
        return np.diff(self.offsets)

    @property
    def total_bytes(self) -> int:
        """The length of all items together."""
        return int(self.offsets.item(-1)) - int(self.offsets.item(0))

    def __len__(self) -> int:
        """Give the number of items."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "Batch": ...
    def __getitem__(self, index: int | slice) -> "bytes | Batch":
        """Copy one item out, or give a run of items as a batch over the same buffer."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"index: a run of items has step 1, got {step}")
            return Batch(self.buffer, self.offsets[start : max(start, stop) + 1])
        position = operator.index(index)
        if position < 0:
            position += len(self)
        if not 0 <= position < len(self):
            raise IndexError(f"index: {index} in a batch of {len(self)}")
        return self.buffer[self.offsets[position] : self.offsets[position + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        """Go through the items as byte strings."""
        return iter(self.split())

    def __repr__(self) -> str:
        """Tell sizes, never contents."""
        return f"<Batch of {len(self)} items, {self.total_bytes} bytes>"


def _check_array(name: str, array: object, dtype: "np.dtype[np.generic]") -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a numpy array of {dtype}, got {type(array).__name__}")
    if array.dtype != dtype:
        order = " in the other byte order" if array.dtype.newbyteorder() == dtype else ""
        kind = dtype if order else array.dtype
        raise TypeError(f"{name}: expected {dtype} ({sys.byteorder}-endian), got {kind}{order}")
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got {array.ndim}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: expected contiguous memory, got a stride of {array.strides[0]}")
