"""Backup and restore.

A backup is one file, sealed as the store is. A relay that runs makes the copy itself, as nothing else may open its
store; the command takes it from there, so that the relay needs no right to write anywhere else.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from securechat.disk.whole import flush, flush_directory
from securechat.relay.admin.asking import Link, connect
from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.admin.messages import Backup, Done, Progress
from securechat.relay.admin.place import Place
from securechat.relay.admin.verifying import verify
from securechat.relay.copying import copy_store
from securechat.relay.errors import WrongKeyError
from securechat.relay.lock import locked
from securechat.relay.schema import checked_version
from securechat.relay.sqlite_store import beside, lock_file

Tell = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and of how much."""


def backup(place: Place, target: Path, tell: Tell) -> dict[str, int]:
    """Put a copy of the store, which was opened and found whole, into `target`; how many rows it has.

    Raises `AdminError`, `RelayError`, `sqlite3.Error` and `OSError`.
    """
    key = place.key()
    with _new_file(target) as part:
        link = connect(place.directory)
        if link is not None:
            with closing(link):
                _from_relay(link, place, part, tell)
        else:
            if not place.store.exists():
                raise AdminError(f"there is no store in {place.directory}", Exit.NO_SUCH)
            _from_file(place, part, tell)
        flush(part)
        return verify(part, key, lambda done, total: tell("verified", done, total))


def _from_relay(link: Link, place: Place, part: Path, tell: Tell) -> None:
    for answer in link.ask(Backup()):
        if isinstance(answer, Progress):
            tell("copied", answer.done, answer.total)
        elif isinstance(answer, Done):
            # Nothing but a name: whoever answers does not choose what we read.
            shutil.copyfile(place.directory / Path(answer.file).name, part)


def _from_file(place: Place, part: Path, tell: Tell) -> None:
    """Without a relay. The store is not opened as such: an older one stays an older one."""
    lock_path = lock_file(place.store)
    with locked(lock_path), closing(sqlite3.connect(place.store, isolation_level=None)) as connection:
        place.give(lock_path)
        checked_version(connection, str(place.store))
        copy_store(connection, part, lambda done, total: tell("copied", done, total))


def restore(place: Place, source: Path, tell: Tell) -> Path | None:
    """Put a backup in the place of the store; where the store that was there is now, if there was one.

    At every moment there is one whole store in its place. Raises as `backup` does.
    """
    if not place.directory.is_dir():
        raise AdminError(f"there is no directory {place.directory}", Exit.NO_SUCH)
    if any(path.exists() for path in beside(source)):
        raise AdminError(f"{source} is no backup, but the store of a relay that was not stopped", Exit.DAMAGED)
    try:
        key = place.key()
        with locked(lock_file(place.store)), _new_file(place.store, is_replaced=False) as part:
            shutil.copyfile(source, part)
            verify(part, key, lambda done, total: tell("verified", done, total))
            flush(part)
            place.give(part, lock_file(place.store))
            kept = _set_aside(place.store)
            part.replace(place.store)
            flush_directory(place.directory)
    except WrongKeyError as wrong:
        raise AdminError(
            f"{source} was made with another storage key than {place.key_path}; put that key back first",
            Exit.WRONG_KEY,
        ) from wrong
    return kept


def _set_aside(store: Path) -> Path | None:
    """Give a store, which stays in its place as well, a second name; what stands beside it goes in."""
    if not store.exists():
        for leftover in beside(store):
            leftover.unlink(missing_ok=True)
        return None
    with suppress(sqlite3.Error), closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    number = 1
    while (kept := store.with_name(f"{store.name}.before-restore-{number}")).exists():
        number += 1
    os.link(store, kept)
    for leftover in beside(store):
        # Of a store that is damaged, or it would be gone. Another store must not find it.
        if leftover.exists():
            leftover.replace(kept.with_name(leftover.name.replace(store.name, kept.name, 1)))
    return kept


@contextmanager
def _new_file(target: Path, is_replaced: bool = True) -> Iterator[Path]:
    """An empty file beside a place, for its owner alone, that gets there where all goes well."""
    part = target.with_name(f"{target.name}.part")
    for leftover in (part, *beside(part)):
        leftover.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield part
        if is_replaced:
            part.replace(target)
            flush_directory(target.parent)
    finally:
        for leftover in (part, *beside(part)):
            leftover.unlink(missing_ok=True)
