"""Secrets in files: written whole or not at all, and never where others can read them."""

import os
from pathlib import Path
from stat import S_IMODE

from securechat.relay.errors import RelayError


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a new file whole or not at all, never readable by more than `mode` allows; it outlives a power loss."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def check_private(path: Path, forbidden: int = 0o077) -> None:
    """Raise `RelayError` where others than the owner may use a file."""
    if S_IMODE(path.stat().st_mode) & forbidden:
        raise RelayError(f"others can read {path}; run chmod 600 on it, or make a new key if they have")
