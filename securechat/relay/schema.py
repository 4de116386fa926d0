"""The store's tables: numbered migrations, and the checks that a file is ours and not newer than we are."""

import sqlite3
from contextlib import closing
from typing import Final

from securechat.relay.errors import DamagedError, NewerStoreError

APPLICATION_ID: Final = 0x53435231
"""SQLite's mark for whose file this is: "SCR1"."""

MIGRATIONS: Final = (
    (
        # One row that says whether the storage key is the right one.
        "CREATE TABLE keys (id INTEGER PRIMARY KEY CHECK (id = 1), row BLOB NOT NULL) STRICT",
        "CREATE TABLE owners (id INTEGER PRIMARY KEY, name_tag BLOB NOT NULL UNIQUE, row BLOB NOT NULL) STRICT",
        # A room that has ended loses its tag at once, and then its messages, some at a time.
        "CREATE TABLE rooms (id INTEGER PRIMARY KEY, room_tag BLOB UNIQUE, row BLOB NOT NULL) STRICT",
        "CREATE TABLE entries (id INTEGER PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (id), "
        "n INTEGER NOT NULL, row BLOB NOT NULL, UNIQUE (room, n)) STRICT",
        "CREATE TABLE epochs (id INTEGER PRIMARY KEY, room INTEGER NOT NULL UNIQUE REFERENCES rooms (id), "
        "row BLOB NOT NULL) STRICT",
        # A message that is too old loses its row, and stays as a number and a tag while its id is remembered.
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (id), "
        "seq INTEGER NOT NULL, post_tag BLOB NOT NULL, expires_hour INTEGER NOT NULL, row BLOB, "
        "UNIQUE (room, seq)) STRICT",
        "CREATE INDEX messages_by_expiry ON messages (expires_hour)",
        "CREATE TABLE handouts (id INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT",
    ),
    ("CREATE TABLE bans (id INTEGER PRIMARY KEY, ban_tag BLOB NOT NULL UNIQUE, row BLOB NOT NULL) STRICT",),
    (
        # The session keys of past epochs stay as long as messages that were sealed for them. The last one is the
        # present one, and each begins where the next message did when it was drawn.
        "CREATE TABLE all_epochs (id INTEGER PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (id), "
        "from_seq INTEGER NOT NULL, row BLOB NOT NULL) STRICT",
        "INSERT INTO all_epochs (id, room, from_seq, row) SELECT id, room, "
        "(SELECT coalesce(max(seq), 0) FROM messages WHERE messages.room = epochs.room) + 1, row FROM epochs",
        "DROP TABLE epochs",
        "ALTER TABLE all_epochs RENAME TO epochs",
        "CREATE INDEX epochs_by_room ON epochs (room, from_seq)",
        # Up to where each member's device has what was said; in the row is which device that is.
        "CREATE TABLE cursors (id INTEGER PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (id), "
        "cursor_tag BLOB NOT NULL UNIQUE, seen_seq INTEGER NOT NULL, row BLOB NOT NULL) STRICT",
        "CREATE INDEX cursors_by_room ON cursors (room)",
    ),
)
"""What brings a store from each version to the next; version 0 is an empty file."""

_PRAGMAS: Final = (
    "auto_vacuum=INCREMENTAL",  # before the first table
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "secure_delete=ON",
    "trusted_schema=OFF",
    "journal_size_limit=67108864",
    "wal_autocheckpoint=1000",
)


def connect(path: str) -> sqlite3.Connection:
    """The only connection to a store, whose schema is made or brought up to date. Raises `RelayError`."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        version = checked_version(connection, path)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _migrate(connection, version)
        # What the last relay deleted may still stand in the log of a store that was not closed.
        truncate_log(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def truncate_log(connection: sqlite3.Connection) -> bool:
    """Bring the whole log into the store; whether there was room for it."""
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as wrong:
        if not lacks_room(wrong):
            raise
        return False
    return True


def lacks_room(wrong: sqlite3.Error) -> bool:
    """Whether SQLite says that the disk is full; it has then taken back what it was about.

    The second name is for a disk that is full when the index of the log has to grow. What fsync reports is neither,
    whatever the reason: the kernel may then take for written what is not.
    """
    return getattr(wrong, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")


def tables_there(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """The tables and indexes of a store: their names, and how each was made."""
    found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
    return {(name, sql) for name, sql in found}


def tables_of_version(version: int) -> set[tuple[str, str]]:
    """The same of a store as each version's first start makes it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for migration in MIGRATIONS[:version]:
            for statement in migration:
                connection.execute(statement)
        return tables_there(connection)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    found: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return found


def checked_version(connection: sqlite3.Connection, path: str) -> int:
    """The version of the schema, 0 for a new file; before anything is changed in what may not be ours."""
    application, version = _number(connection, "application_id"), _number(connection, "user_version")
    is_new = not application and not version and not _number(connection, "schema_version")
    if not is_new and application != APPLICATION_ID:
        raise DamagedError(f"{path} is no store of a relay")
    if version > len(MIGRATIONS):
        raise NewerStoreError(
            f"{path} was made by a newer version (schema {version}; this one knows {len(MIGRATIONS)})"
        )
    return version


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for number in range(version, len(MIGRATIONS)):
        connection.execute("BEGIN EXCLUSIVE")
        try:
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={number + 1}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
