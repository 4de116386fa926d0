"""A store is one process's: two connections can damage it (docs of SQLite, "WAL-reset bug")."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from securechat.relay.errors import InUseError


def lock(path: Path) -> int:
    """Lock a file for as long as the descriptor that this gives is open. Raises `InUseError` where it is locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as wrong:
        os.close(descriptor)
        raise InUseError(f"another relay uses {path.parent}") from wrong
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a file for a while. Raises `InUseError` where it is locked."""
    descriptor = lock(path)
    try:
        yield
    finally:
        os.close(descriptor)
