"""Whether a store or a backup is whole: its schema, its pages, its key, and that every sealed row opens.

Nothing is changed in it, and no name is told.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from securechat.crypto.cpu import CpuEngine
from securechat.relay.errors import DamagedError, WrongKeyError
from securechat.relay.lock import locked
from securechat.relay.schema import checked_version, tables_of_version, tables_there
from securechat.relay.sealed_rows import SealedTable, count, pages, present
from securechat.relay.sqlite_store import PROOF, lock_file
from securechat.relay.storage_key import KEY_ID, StorageKey

Tell = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


def verify(path: Path, key: StorageKey, tell: Tell) -> dict[str, int]:
    """Check a store that nobody uses, or a backup; how many sealed rows there are of each table.

    Raises `RelayError` or `sqlite3.Error` where it is not whole, and `OSError` where it cannot be read.
    """
    with path.open("rb"):
        pass  # SQLite would not say why it cannot
    lock_path = lock_file(path)
    if not lock_path.exists():
        return _verify(path, key, tell)
    with locked(lock_path):
        return _verify(path, key, tell)


def _verify(path: Path, key: StorageKey, tell: Tell) -> dict[str, int]:
    with reading(path) as connection:
        try:
            version = checked_version(connection, str(path))
            if not version:
                raise DamagedError(f"{path} is no store of a relay")
            if tables_there(connection) != tables_of_version(version):
                raise DamagedError(f"{path} is damaged: its tables are not those of schema {version}")
            _check_pages(connection, path)
            tables = present(connection)
            counts = {table.name: count(connection, table) for table in tables}
            done, total = 0, sum(counts.values())
            # The key first: with another one nothing opens, and that is no damage.
            for table in tables:
                for rows_opened in _opened(connection, table, key, path):
                    done += rows_opened
                    tell(done, total)
        except sqlite3.DatabaseError as wrong:
            if isinstance(wrong, sqlite3.OperationalError):
                raise
            raise DamagedError(f"{path} is damaged: {wrong}") from wrong
    return counts


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok" or connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise DamagedError(f"{path} is damaged: its pages do not fit together")


def _opened(connection: sqlite3.Connection, table: SealedTable, key: StorageKey, path: Path) -> Iterator[int]:
    engine = CpuEngine()
    for some in pages(connection, table):
        bound = [each.bound_to(table) for each in some]
        texts = engine.open_list(key.row_key, bound, [each.row[len(KEY_ID) :] for each in some])
        if table.name == "keys" and texts != [PROOF]:
            raise WrongKeyError(f"the storage key is not the one that {path} was made with")
        if None in texts or not all(each.row.startswith(KEY_ID) for each in some):
            raise DamagedError(f"{path} is damaged: not every row of {table.name} opens")
        yield len(some)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing, not even by files beside it where there are none."""
    is_closed = not path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_closed else ''}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        yield connection
    finally:
        connection.close()
