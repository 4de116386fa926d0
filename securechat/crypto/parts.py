"""A call of an engine as a value: done as a whole, or cut in two by a mask, for two engines to do a part each."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np

from securechat.crypto.batch import Batch, Bytes, Offsets
from securechat.crypto.engine import Flags

Result = tuple[Batch, Flags | None]
"""What a call gives; flags where it opens or decrypts."""


class Engines(Protocol):
    """The packed half of an engine, or what does the same without checking its arguments."""

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""

    def encrypt(self, keys: Bytes, ivs: Bytes, plaintext: Batch) -> Batch:
        """See Engine."""

    def decrypt(self, keys: Bytes, ivs: Bytes, ciphertext: Batch) -> tuple[Batch, Flags]:
        """See Engine."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One of the four operations with its arguments, which were checked."""

    operation: Literal["seal", "open", "encrypt", "decrypt"]
    keys: Bytes
    ivs: Bytes | None
    associated: Batch | None
    data: Batch

    def on(self, engine: Engines) -> Result:
        """Have an engine do it."""
        if self.operation == "seal":
            assert self.ivs is not None
            assert self.associated is not None
            return engine.seal(self.keys, self.ivs, self.associated, self.data), None
        if self.operation == "open":
            assert self.associated is not None
            return engine.open(self.keys, self.associated, self.data)
        assert self.ivs is not None
        if self.operation == "encrypt":
            return engine.encrypt(self.keys, self.ivs, self.data), None
        return engine.decrypt(self.keys, self.ivs, self.data)

    def longest(self) -> Offsets:
        """The bytes of each item, or of its associated data where that is longer."""
        lengths = self.data.lengths
        return lengths if self.associated is None else np.maximum(lengths, self.associated.lengths)

    def part(self, chosen: Flags) -> "Call":
        """Give the same call for the chosen items only, in their order."""
        return Call(
            self.operation,
            self.keys if len(self.keys) == 1 else self.keys[chosen],
            None if self.ivs is None else self.ivs[chosen],
            None if self.associated is None else select(self.associated, chosen),
            select(self.data, chosen),
        )


def select(batch: Batch, chosen: Flags) -> Batch:
    """Copy the chosen items, run by run: what is done in Python grows with the runs, not with the items."""
    offsets = np.zeros(int(chosen.sum()) + 1, np.int64)
    np.cumsum(batch.lengths[chosen], out=offsets[1:])
    buffer = np.empty(int(offsets[-1]), np.uint8)
    at = 0
    for first, end, kind in _runs(chosen):
        if kind:
            piece = batch.buffer[batch.offsets[first] : batch.offsets[end]]
            buffer[at : at + len(piece)] = piece
            at += len(piece)
    return Batch(buffer, offsets)


def merge(chosen: Flags, some: Result, others: Result) -> Result:
    """Put together again what `part(chosen)` and `part(~chosen)` gave."""
    lengths = np.empty(len(chosen), np.int64)
    lengths[chosen], lengths[~chosen] = some[0].lengths, others[0].lengths
    offsets = np.zeros(len(chosen) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    buffer = np.empty(int(offsets[-1]), np.uint8)
    at = {True: 0, False: 0}
    for first, end, kind in _runs(chosen):
        source = (some if kind else others)[0]
        stop = at[kind] + end - first
        buffer[offsets[first] : offsets[end]] = source.buffer[source.offsets[at[kind]] : source.offsets[stop]]
        at[kind] = stop
    if some[1] is None or others[1] is None:
        return Batch(buffer, offsets), None
    ok = np.empty(len(chosen), np.bool_)
    ok[chosen], ok[~chosen] = some[1], others[1]
    return Batch(buffer, offsets), ok


def _runs(chosen: Flags) -> Iterator[tuple[int, int, bool]]:
    """Give the runs of equal flags: first item, end, and their flag."""
    changes = np.flatnonzero(chosen[1:] != chosen[:-1]) + 1
    bounds = [0, *changes.tolist(), len(chosen)] if len(chosen) else []
    for first, end in pairwise(bounds):
        yield first, end, bool(chosen[first])
