"""Sockets in deep directories: the kernel takes names of 107 bytes."""

import os
from pathlib import Path
from typing import Final

SOCKET_NAME_BYTES: Final = 107


def short_path(path: Path) -> str:
    """A name for a socket that the kernel takes, through a descriptor of its directory that is left open."""
    if len(os.fsencode(path)) <= SOCKET_NAME_BYTES:
        return str(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{folder}/{path.name}"
