"""What is sealed and opened: n messages of one size, random, made quickly however many there are."""

import os
from dataclasses import dataclass
from typing import Final

import numpy as np

from securechat.crypto.aead import IV_BYTES, KEY_BYTES
from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.engine import Engine

ASSOCIATED_BYTES: Final = 32
_POOL_BYTES: Final = 1 << 24
"""So much randomness is drawn; longer material repeats it."""


@dataclass(frozen=True, slots=True)
class Material:
    """n messages of one size, packed and as lists: texts, or what was sealed of them."""

    keys: Bytes
    ivs: Bytes
    associated: Batch
    items: Batch
    key_list: list[bytes]
    associated_list: list[bytes]
    item_list: list[bytes]


def make_texts(size: int, n: int) -> Material:
    """Make n messages of random bytes, with keys, ivs and associated data."""
    keys, ivs = random_rows(n, KEY_BYTES), random_rows(n, IV_BYTES)
    associated, items = random_batch(n, ASSOCIATED_BYTES), random_batch(n, size)
    joined = keys.tobytes()
    key_list = [joined[at : at + KEY_BYTES] for at in range(0, len(joined), KEY_BYTES)]
    return Material(keys, ivs, associated, items, key_list, associated.split(), items.split())


def make_sealed(size: int, n: int, engine: Engine, one_key: bool = False) -> Material:
    """Make n sealed messages: each under its own key, or all under the first one's."""
    texts = make_texts(size, n)
    keys = texts.keys[:1] if one_key else texts.keys
    sealed = engine.seal(keys, texts.ivs, texts.associated, texts.items)
    return Material(
        texts.keys, texts.ivs, texts.associated, sealed, texts.key_list, texts.associated_list, sealed.split()
    )


def random_rows(n: int, width: int) -> Bytes:
    """Give an array of random bytes, of shape (n, width)."""
    return _random(n * width).reshape(n, width)


def random_batch(n: int, size: int) -> Batch:
    """Give n random byte strings of one size."""
    return Batch(_random(size * n), np.arange(n + 1, dtype=np.int64) * size)


def _random(size: int) -> Bytes:
    return np.resize(np.frombuffer(os.urandom(min(size, _POOL_BYTES)), np.uint8), size)
