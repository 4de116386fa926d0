"""What keeping the sessions costs: how large they are, and how long writing and reading holds the reactor."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

from _messages import OURS, SHORT
from _rooms import NOW_MS, WrongResultError, burst, opened, text_of
from _table import Way, Work

from securechat.bench.measure import Timer, timer
from securechat.client.keys import KeyFile
from securechat.crypto.engine import Engine
from securechat.e2e.room import SecureRoom

ROOMS: Final = 50
SESSIONS: Final = 20
PLACE: Final = "relay.example:5555"
PASSPHRASE: Final = "a passphrase for a benchmark"


class Kept:
    """A key store of many rooms, in a folder of its own, as a client has it open."""

    def __init__(self, folder: Path, messages: int, engine: Engine) -> None:
        """Hear so many messages of each session, in every room, and write the store once."""
        self._heard = burst(SESSIONS, SESSIONS * messages, text_of(SHORT), engine)
        room = self._heard.listener
        self._heard.check(opened(room.receive(self._heard.arrived, NOW_MS), engine))
        self.packed_room = room.packed
        self._log = room.roster.packed
        # All rooms have one content, under ids of their own: reading and writing does not ask whose they are.
        self._ids = [os.urandom(32) for _ in range(ROOMS)]
        self._rooms = [self._bare_room() for _ in self._ids]
        for each in self._rooms:
            each.restore(self.packed_room)
        self._bare = folder / "bare"
        self._plain, self._locked = KeyFile(folder, PLACE, "plain"), KeyFile(folder, PLACE, "locked")
        self._store = self._plain.open(NOW_MS)
        self._locked_store = self._locked.open(NOW_MS, PASSPHRASE)
        self.pack()
        self.save()
        self.save_locked()
        self._content = self._plain.path.read_bytes()

    @property
    def size(self) -> int:
        """The bytes of the store."""
        return len(self._content)

    def write_bare(self) -> None:
        """Write as many bytes as the store has, and force them to the disk: no more than that."""
        with self._bare.open("wb") as file:
            file.write(self._content)
            file.flush()
            os.fsync(file.fileno())

    def pack(self) -> None:
        """Pack the sessions of all rooms, as the client does before each writing."""
        for store in (self._store, self._locked_store):
            store.secrets.rooms = {}
        for room_id, room in zip(self._ids, self._rooms, strict=True):
            self._store.secrets.rooms[room_id] = room.packed
        self._locked_store.secrets.rooms = self._store.secrets.rooms

    def save(self) -> None:
        """Write the store as it was packed: two files forced to the disk, and twice their folder."""
        self._plain.save(self._store)

    def save_locked(self) -> None:
        """The same under a passphrase, whose key is there already."""
        self._locked.save(self._locked_store)

    def keep(self) -> None:
        """What the client does within a second of whatever changed."""
        self.pack()
        self.save()

    def open_timer(self, passphrase: str | None) -> Timer:
        """Time the store being read at the start of a client."""
        file = self._plain if passphrase is None else self._locked

        def timed(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                file.close()
                begun = perf_counter()
                store = file.open(NOW_MS, passphrase)
                seconds += perf_counter() - begun
                if [*store.secrets.rooms] != self._ids or store.secrets.rooms[self._ids[-1]] != self.packed_room:
                    raise WrongResultError("the store has not what was written")
            return seconds / times

        return timed

    def restore_timer(self) -> Timer:
        """Time the sessions of all rooms being read, which follows when their logs have come."""

        def timed(times: int) -> float:
            seconds = 0.0
            for _ in range(times):
                rooms = [self._bare_room() for _ in self._ids]
                begun = perf_counter()
                for room in rooms:
                    room.restore(self.packed_room)
                seconds += perf_counter() - begun
                if rooms[-1].packed != self.packed_room:
                    raise WrongResultError("the sessions are not those that were packed")
            return seconds / times

        return timed

    def close(self) -> None:
        """Let go of the files."""
        self._plain.close()
        self._locked.close()

    def _bare_room(self) -> SecureRoom:
        return self._heard.owner.enter(self._log)


def key_store(folder: Path, engine: Engine, cases: Sequence[int]) -> Iterator[Work]:
    """Write and read a store of many rooms whose sessions have heard so many messages each."""
    for messages in cases:
        kept = Kept(folder / str(messages), messages, engine)
        sizes = f"{megabytes(kept.size)}, {megabytes(len(kept.packed_room))} a room"
        yield Work(
            f"The key store: {ROOMS} rooms with {SESSIONS} sessions of others in each",
            f"{messages} messages heard in each session: {sizes}",
            [
                Way("plain: as many bytes written and forced to the disk", "Python", timer(kept.write_bare)),
                Way("all sessions packed", OURS, timer(kept.pack)),
                Way("the packed store written", OURS, timer(kept.save)),
                Way("**packed and written**, at most once a second", OURS, timer(kept.keep)),
                Way("written under a passphrase", OURS, timer(kept.save_locked)),
                Way("read at the start", OURS, kept.open_timer(None)),
                Way("read at the start, under a passphrase", OURS, kept.open_timer(PASSPHRASE)),
                Way("all sessions read, as the logs come", OURS, kept.restore_timer()),
            ],
        )
        kept.close()


def megabytes(count: int) -> str:
    """Give a number of bytes as people read it."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
