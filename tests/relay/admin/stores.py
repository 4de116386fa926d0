"""Data directories with something of everything in them, and commands run on them."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.cpu import CpuEngine
from securechat.relay.admin.cli import main
from securechat.relay.admin.place import Place
from securechat.relay.bans import Ban, Kind
from securechat.relay.directory import Owner
from securechat.relay.records import (
    Banned,
    CursorMoved,
    EntryTaken,
    KeyDrawn,
    KeyWaits,
    MessageTaken,
    OwnerChanged,
    OwnerRemoved,
    Record,
    RoomEnded,
)
from securechat.relay.sqlite_store import open_locked
from securechat.relay.storage_key import KEY_FILE, StorageKey, load
from securechat.relay.store import HOUR_MS, KEEP_HOURS, Kept
from securechat.relay.tags import post_tag
from tests.relay.harness import post_id
from tests.relay.people import NOW_MS

SECRET: Final = b"k" * 32
OLD_POSTS: Final = 700
"""Messages that have lost their rows."""
POSTS: Final = 600
"""Messages that are kept."""


def owner(name: str) -> Owner:
    """Somebody whose name can be searched for."""
    unmistakable = f"unmistakable {name}".encode()
    return Owner(name, unmistakable + b" identity", unmistakable + b" device", b"certificate", b"prekey", NOW_MS)


def message(key: StorageKey, room: str, seq: int, time_ms: int) -> MessageTaken:
    """A message of alice's."""
    tag = post_tag(key, room, "alice", post_id(seq))
    return MessageTaken(room, seq, tag, "alice", post_id(seq), bytes(32), time_ms, b"unmistakable sealed")


def records(key: StorageKey) -> list[Record]:
    """Something of everything."""
    said = [
        message(key, "#unmistakable-tea", seq, NOW_MS - (0 if seq > OLD_POSTS else (KEEP_HOURS + 2) * HOUR_MS))
        for seq in range(1, OLD_POSTS + POSTS + 1)
    ]
    return [
        *(OwnerChanged(owner(name)) for name in ("unmistakable-alice", "bob", "carol")),
        OwnerRemoved(owner("carol")),
        OwnerChanged(replace(owner("carol"), identity=b"another")),
        Banned(Ban(Kind.KEY, "unmistakable", NOW_MS, "carol")),
        Banned(Ban(Kind.NETWORK, "192.0.2.0/24", NOW_MS)),
        EntryTaken("#unmistakable-tea", 0, b"unmistakable entry"),
        EntryTaken("#unmistakable-tea", 1, b"second entry"),
        KeyDrawn("#unmistakable-tea", b"e" * 32, b"unmistakable session key".ljust(32), 1),
        *said,
        EntryTaken("#cake", 0, b"entry"),
        KeyDrawn("#cake", b"f" * 32, b"g" * 32, 1),
        CursorMoved("#unmistakable-tea", b"unmistakable device", 3),
        KeyWaits(7, b"device", "#cake", b"sender", "unmistakable-alice", b"unmistakable blob", NOW_MS),
    ]


def ended(key: StorageKey) -> list[Record]:
    """A room that has ended, of which a message is left."""
    founding: list[Record] = [EntryTaken("#ended", 0, b"entry"), KeyDrawn("#ended", b"f" * 32, b"g" * 32, 1)]
    return [*founding, message(key, "#ended", 1, NOW_MS), RoomEnded("#ended")]


class Result(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


class DataCase(SynchronousTestCase):
    """A case with a data directory."""

    def setUp(self) -> None:
        """Make it and fill it."""
        self.data = Path(self.mktemp()).absolute()
        self.data.mkdir(parents=True)
        self.place = Place(self.data)
        (self.data / KEY_FILE).write_bytes(SECRET)
        (self.data / KEY_FILE).chmod(0o600)
        key = StorageKey(SECRET)
        store = open_locked(self.place.store, key, CpuEngine())
        store.commit(records(key))
        store.tidy(NOW_MS)
        store.tidy(NOW_MS)
        store.commit(ended(key))
        store.close()
        self.kept = self.read()

    def read(self, path: Path | None = None) -> Kept:
        """All that a relay would find now, room by room with the numbers that its posts are known by."""
        key = load(self.data, None)
        store = open_locked(path or self.place.store, key, CpuEngine())
        kept = store.load()
        store.close()
        ids = {post_tag(key, "#unmistakable-tea", "alice", post_id(seq)): seq for seq in range(1, 1_301)}
        rooms = [
            room._replace(ids={ids[tag]: seq for tag, seq in room.ids.items() if tag in ids}) for room in kept.rooms
        ]
        return kept._replace(rooms=rooms)

    def run_command(self, name: str, *arguments: str | Path) -> Result:
        """Run a command on it."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main([name, *map(str, arguments), "--data", str(self.data)])
        return Result(int(status), out.getvalue(), err.getvalue())

    def refused(self, status: int, words: str, name: str, *arguments: str | Path) -> None:
        """Run a command that must fail, with one line."""
        result = self.run_command(name, *arguments)
        self.assertEqual((status, ""), (result.status, result.out), result.err)
        (line,) = result.err.splitlines()
        self.assertTrue(line.startswith("securechat-relay: "), line)
        self.assertIn(words, line)

    def files(self) -> list[str]:
        """What is in the directory."""
        return sorted(path.name for path in self.data.iterdir())
