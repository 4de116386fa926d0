"""Whether there is room for more: the operator's bound on the store, and a reserve on its disk."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime

RESERVE_BYTES: Final = 256 * 1024 * 1024
"""What is left free on the disk, for all that goes on when there is no room: leaving, new prekeys, deleting."""

LOOK_S: Final = 1.0
"""How often we look at most."""


def free_bytes(directory: Path) -> int:
    """What is free for us on a directory's disk."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


class Space:
    """The room for a store, which is a file and what SQLite puts beside it."""

    def __init__(
        self,
        clock: IReactorTime,
        store: Path,
        limit_bytes: int,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._clock = clock
        self._files = [store, store.with_name(f"{store.name}-wal")]
        self._limit_bytes = limit_bytes
        self._free = free
        self._looked: float | None = None
        self._is_full = False

    def is_full(self) -> bool:
        """Whether nothing more should be taken, as it was a second ago at most."""
        now = self._clock.seconds()
        if self._looked is None or now - self._looked >= LOOK_S:
            self._looked = now
            size = sum(path.stat().st_size for path in self._files if path.exists())
            self._is_full = size >= self._limit_bytes or self._free(self._files[0].parent) < RESERVE_BYTES
        return self._is_full


def never() -> bool:
    """What a relay says that keeps nothing."""
    return False
