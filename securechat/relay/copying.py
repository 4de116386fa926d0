"""A copy of a store that is open, made page by page on the store's one connection."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

COPY_PAGES: Final = 100
"""Pages, 4 KiB each, that are copied at once."""


def copy_store(source: sqlite3.Connection, path: Path, between: Callable[[int, int], None]) -> None:
    """Copy all of it into a file that is empty, which is not flushed; what is committed meanwhile goes in.

    `between` is called between steps of the copy with how many pages are done and of how many. It may commit: on
    the one connection this does not make the copy begin anew. What it raises ends the copy.
    """
    target = sqlite3.connect(path, isolation_level=None)
    try:
        # Flushing it as well would keep batches waiting.
        target.execute("PRAGMA synchronous=OFF")
        source.backup(target, pages=COPY_PAGES, progress=lambda _, left, total: between(total - left, total))
        # So that it is one file, and stays one when it is read.
        target.execute("PRAGMA journal_mode=DELETE").fetchall()
    finally:
        target.close()
