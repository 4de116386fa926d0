"""Whether there is room for more: the operator's bound on the store, a reserve on its disk, and the spare file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from securechat.relay.spare import Spare

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

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: Path,
        limit_bytes: int,
        spare: Spare,
        reserve_bytes: int = RESERVE_BYTES,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._clock = clock
        self._files = [store, store.with_name(f"{store.name}-wal")]
        self._limit_bytes = limit_bytes
        self._spare = spare
        self._reserve_bytes = reserve_bytes
        self._free = free
        self._looked: float | None = None
        self._is_full = self._was_full = False

    @property
    def sizes(self) -> tuple[int, int]:
        """The bytes of the store, and of its log."""
        store, log = (path.stat().st_size if path.exists() else 0 for path in self._files)
        return store, log

    @property
    def free(self) -> int:
        """The bytes that are free on its disk."""
        return self._free(self._files[0].parent)

    def is_full(self) -> bool:
        """Whether nothing more should be taken, as it was a second ago at most.

        That the spare file was given up is known at once: what comes next would find no room.
        """
        now = self._clock.seconds()
        if self._looked is None or now - self._looked >= LOOK_S:
            self._looked = now
            size, free = sum(self.sizes), self.free
            if not self._spare.is_there and free >= self._spare.size:
                self._spare.make()
            self._is_full = size >= self._limit_bytes or free < self._reserve_bytes
        is_full = self._is_full or not self._spare.is_there
        if is_full is not self._was_full:
            self._was_full = is_full
            if is_full:
                self._log.warn("there is no room for more: new names, entries and messages are declined")
            else:
                self._log.info("there is room again")
        return is_full


def never() -> bool:
    """What a relay says that keeps nothing."""
    return False
