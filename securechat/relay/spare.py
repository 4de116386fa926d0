"""Room on the disk that is kept for one moment: when the disk is full in the middle of a commit.

What is to be committed has happened in memory by then and cannot be taken back, and nothing is taken that would not
find room in a while (see `space`); but others write to the disk as well. So a file lies beside the store that is
deleted then, and the same batch is committed again: SQLite has taken back all of it. Until there is room for such
a file again nothing new is taken.
"""

from pathlib import Path
from threading import Lock
from typing import Final

SPARE_BYTES: Final = 16 * 1024 * 1024
"""More than a batch takes, and some for leaving, deleting and new prekeys, which go on meanwhile."""


class Spare:
    """The file; the reactor's thread makes it, the writer's gives it up."""

    def __init__(self, path: Path, size: int = SPARE_BYTES) -> None:
        self.size = size
        self.is_there = False
        self._path = path
        self._lock = Lock()

    def make(self) -> None:
        """Make it. Where that fails there is none, and nothing is left of it."""
        with self._lock:
            try:
                # Written, as a hole would be no room.
                self._path.write_bytes(bytes(self.size))
                self.is_there = True
            except OSError:
                self._path.unlink(missing_ok=True)

    def give_up(self) -> bool:
        """Delete it, one that another run of the relay has left as well; whether there was one of ours."""
        with self._lock:
            was_there, self.is_there = self.is_there, False
            self._path.unlink(missing_ok=True)
            return was_there
