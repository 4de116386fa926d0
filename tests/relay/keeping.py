"""A relay in memory whose journal goes to a disk that a test can hold up, to a real store, or to both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.cpu import CpuEngine
from securechat.relay.bus import Bus
from securechat.relay.factory import RelayFactory
from securechat.relay.journal import Journal
from securechat.relay.kept import KeptBans, KeptLog, KeptOwners, restore
from securechat.relay.limits import RelayLimits
from securechat.relay.pages import Find, Page, Read
from securechat.relay.records import Record
from securechat.relay.sqlite_store import SqliteStore
from securechat.relay.storage_key import StorageKey
from securechat.relay.store import Store
from securechat.wire.codes import Code
from securechat.wire.outbox import Turn
from tests.relay.harness import Relay, RelayCase

KEY: Final = StorageKey(b"k" * 32)


def open_store(path: Path, key: StorageKey = KEY) -> SqliteStore:
    """A store in a file."""
    return SqliteStore(str(path), key, CpuEngine())


def store_path(case: SynchronousTestCase) -> Path:
    """Where a store may be made."""
    directory = Path(case.mktemp())
    directory.mkdir(parents=True)
    return directory / "relay.db"


class Disk:
    """Keeps batches: at once, or, while it is held, when it is told to."""

    def __init__(self, relay: Relay, store: Store | None) -> None:
        self.held = False
        self.waiting: tuple[list[Record], Callable[[], None]] | None = None
        self.batches: list[list[Record]] = []
        self._relay = relay
        self._store = store

    def write(self, records: list[Record], kept: Callable[[], None]) -> None:
        """Take a batch."""
        assert self.waiting is None, "one batch at a time"
        self.waiting = records, kept
        if not self.held:
            self._relay.clock.callLater(0, self.keep)

    def keep(self) -> None:
        """The batch is safe now."""
        assert self.waiting is not None
        (records, kept), self.waiting = self.waiting, None
        self.batches.append(records)
        if self._store is not None:
            self._store.commit(records)
            self._store.scrub(records)
        kept()


class StoredHistory:
    """Reads pages of a store: at once, or, while it is held, when it is told to."""

    missing = Code.EXPIRED

    def __init__(self, store: Store | None, later: Callable[[Callable[[], None]], object]) -> None:
        self.held = False
        self._later = later
        self.fails = False
        self.pages = 0
        self.looked = 0
        self._store = store
        self._waiting: list[Callable[[], None]] = []

    def read(self, room: str, first: int, read: Read) -> None:
        """Read a page."""
        page = Page([], {}, is_last=True) if self._store is None else self._store.page(room, first)
        self.pages += 1
        self._waiting.append(lambda: read(page))
        if not self.held:
            self.let_go()

    def find(self, room: str, tag: bytes, after: int, up_to: int, found: Find) -> None:
        """Look for a message."""
        seq = 0 if self._store is None else self._store.find(room, tag, after, up_to)
        self.looked += 1
        self._waiting.append(lambda: found(None if self.fails else seq))
        if not self.held:
            # Never at once: see `MessageLog.recall`.
            self._later(self.let_go)

    def let_go(self) -> None:
        """Hand out what was read."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()


class KeptRelay(Relay):
    """A relay that keeps everything, and begins with what the store has."""

    def __init__(
        self,
        store: Store | None = None,
        limits: RelayLimits | None = None,
        is_full: Callable[[], bool] = lambda: False,
        bus: Bus | None = None,
    ) -> None:
        super().__init__()
        self.disk = Disk(self, store)
        self.journal = Journal(self.clock, Turn(self.clock), self.disk.write)
        owners = KeptOwners(self.journal)
        bans = KeptBans(self.journal)
        self.history = StoredHistory(store, partial(self.clock.callLater, 0))
        self.kept_log = log = KeptLog(self.journal, KEY, self.history)
        self.factory = RelayFactory(
            self.clock,
            self.now_ms,
            log,
            limits or RelayLimits(),
            owners=owners,
            bans=bans,
            journal=self.journal,
            is_full=is_full,
            history=self.history,
            bus=bus,
        )
        if store is not None:
            restore(store.load(), owners, bans, log, self.factory.rooms.memberships)

    def end(self, case: SynchronousTestCase) -> None:
        """All connections end, and what is left to keep is kept."""
        self.disk.held = False
        if self.disk.waiting is not None:
            self.disk.keep()
        for client in self.connections:
            client.transport.lose()
        self.turn()
        finished: list[object] = []
        self.journal.finish().addCallback(finished.append)
        self.turn()
        case.assertEqual([None], finished)
        super().end(case)


class KeptCase(RelayCase):
    """A case with relays that keep everything."""

    def kept_relay(
        self,
        store: Store | None = None,
        limits: RelayLimits | None = None,
        is_full: Callable[[], bool] = lambda: False,
        bus: Bus | None = None,
    ) -> KeptRelay:
        """A relay that is looked after at the end."""
        relay = KeptRelay(store, limits, is_full, bus)
        self.addCleanup(relay.end, self)
        return relay
