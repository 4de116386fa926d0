"""Every sealed row of a store, some at a time: what to open it with, and what it is found by."""

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

from securechat.relay.rows import associated

PAGE: Final = 500
"""Rows that are read at once."""


class SealedTable(NamedTuple):
    """A table with sealed rows."""

    name: str
    source: str
    """Where its rows come from, those without anything sealed left out."""
    tag: str
    """The tag that a row is bound to."""
    is_own: bool
    """Whether that tag stands in the row itself, so that it goes with the row when keys change."""
    number: str = "0"
    """Its place among rows of the same tag."""
    room: str = "0"
    """Of which room it is."""


TABLES: Final = (
    SealedTable("keys", "keys", "x''", is_own=False),
    SealedTable("owners", "owners", "name_tag", is_own=True),
    SealedTable("rooms", "rooms WHERE room_tag IS NOT NULL", "room_tag", is_own=True, room="rooms.id"),
    SealedTable(
        "entries",
        "entries JOIN rooms ON rooms.id = entries.room WHERE room_tag IS NOT NULL",
        "room_tag",
        is_own=False,
        number="n",
        room="room",
    ),
    SealedTable(
        "epochs",
        "epochs JOIN rooms ON rooms.id = epochs.room WHERE room_tag IS NOT NULL",
        "room_tag",
        is_own=False,
        room="room",
    ),
    SealedTable("messages", "messages WHERE row IS NOT NULL", "post_tag", is_own=True, room="room"),
    SealedTable("cursors", "cursors", "cursor_tag", is_own=True, room="room"),
    SealedTable("handouts", "handouts", "x''", is_own=False),
    SealedTable("bans", "bans", "ban_tag", is_own=True),
)


class SealedRow(NamedTuple):
    """One row."""

    id: int
    room: int
    tag: bytes
    number: int
    row: bytes

    def bound_to(self, table: SealedTable) -> bytes:
        """What it is sealed with, see `rows.associated`."""
        return associated(table.name, self.tag, self.number)


def present(connection: sqlite3.Connection) -> list[SealedTable]:
    """Those of the tables that a store has, which may be of an older version."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return [table for table in TABLES if table.name in names]


def count(connection: sqlite3.Connection, table: SealedTable) -> int:
    """How many sealed rows a table has."""
    found: int = connection.execute(f"SELECT count(*) FROM {table.source}").fetchone()[0]  # noqa: S608 - constants
    return found


def pages(connection: sqlite3.Connection, table: SealedTable) -> Iterator[list[SealedRow]]:
    """All sealed rows of a table. What was read may be changed before the next are."""
    joint = "AND" if "WHERE" in table.source else "WHERE"
    statement = (
        f"SELECT {table.name}.id, {table.room}, {table.tag}, {table.number}, {table.name}.row "  # noqa: S608
        f"FROM {table.source} {joint} {table.name}.id > ? ORDER BY {table.name}.id LIMIT {PAGE}"
    )
    last = -1
    while found := connection.execute(statement, (last,)).fetchall():
        last = found[-1][0]
        yield [SealedRow(*each) for each in found]
