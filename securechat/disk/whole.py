"""Files written whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Put a file in its place, whole or not at all, also where the power fails. Raises `OSError`.

    Others never have more of it than `mode` allows, from its first byte on.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    flush_directory(path.parent)


def flush(path: Path) -> None:
    """Have what was written into a file on the disk. Raises `OSError`."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_directory(directory: Path) -> None:
    """Have the names of its files on the disk. Raises `OSError`."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
