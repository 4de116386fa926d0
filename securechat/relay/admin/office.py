"""What the operator can ask of a relay that runs.

What changes something goes into the journal as what clients do does, and is answered once it is kept. Long lists
are told some at a time, so that nobody waits for them.
"""

import os
import re
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, inlineCallbacks

from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.admin.explaining import explained
from securechat.relay.admin.messages import (
    Answer,
    Backup,
    Ban,
    Banned,
    Bans,
    Done,
    Progress,
    RemoveName,
    Request,
    Room,
    Rooms,
    Unban,
    User,
    Users,
)
from securechat.relay.bans import BANS, BanError, Kind, network
from securechat.relay.bans import Ban as KeptBan
from securechat.relay.directory import Owner
from securechat.relay.errors import StoreError
from securechat.relay.factory import RelayFactory
from securechat.relay.room import Room as KeptRoom
from securechat.relay.space import RESERVE_BYTES, free_bytes
from securechat.relay.store import Store
from securechat.relay.writer import Writer
from securechat.wire.names import name_refusal

SOME: Final = 50
"""How many lines of a list are told at once."""

COPY_PREFIX: Final = "backup-"
COPY_SUFFIX: Final = ".part"

_PREKEY_MS: Final = 14 * 24 * 3_600_000
"""For how long a prekey is good."""

_KEY: Final = re.compile("[0-9a-fA-F]{64}")
Item = TypeVar("Item")


class Caller(Protocol):
    """Who asks."""

    is_gone: bool

    def tell(self, answer: Answer) -> None:
        """Answer something."""

    def ready(self) -> Deferred[None]:
        """Fires when more can be told, in another turn; fails with `EndedError` where they are gone."""

    def when_gone(self, call: Callable[[], None]) -> None:
        """Make `call` once they are gone."""


class Office:
    """Does what is asked for; `store` is the file, in whose directory copies are made."""

    def __init__(self, factory: RelayFactory, writer: Writer, store: Path, now_ms: Callable[[], int]) -> None:
        self._factory = factory
        self._writer = writer
        self._store = store
        self._now_ms = now_ms
        self._copying = False

    def carry_out(self, request: Request, caller: Caller) -> Deferred[Done]:
        """Do it; fails with `AdminError` where it cannot be done, and `EndedError` where nobody waits for it."""
        match request:
            case Backup():
                return self._backup(caller)
            case Users():
                return self._list(caller, self._factory.owners, self._users)
            case Rooms():
                return self._list(caller, list(self._factory.rooms.memberships.rooms.values()), self._rooms)
            case Bans():
                return self._list(caller, self._factory.bans, _bans)
            case Ban(what=what):
                return self._change(lambda: self._ban(what))
            case Unban(what=what):
                return self._change(lambda: self._unban(what))
            case RemoveName(name=name):
                return self._change(lambda: self._remove_name(name))

    # Lists.

    @inlineCallbacks
    def _list(
        self,
        caller: Caller,
        items: Iterable[Item],
        told: Callable[[list[Item]], list[Answer] | Deferred[list[Answer]]],
    ) -> Generator[Deferred[Any], Any, Done]:
        rest = iter(items)
        while some := list(islice(rest, SOME)):
            answers = told(some)
            if isinstance(answers, Deferred):
                answers = yield answers
            for answer in answers:
                caller.tell(answer)
            yield caller.ready()
        return Done()

    def _users(self, owners: list[Owner]) -> list[Answer]:
        factory = self._factory
        return [
            User(
                owner.name,
                owner.identity.hex(),
                owner.device.hex(),
                factory.directory.find(owner.identity) is not None,
                _day(owner.prekey_until_ms - _PREKEY_MS),
                factory.rooms.memberships.rooms_of(owner.identity),
                factory.bans.is_banned(owner.identity),
            )
            for owner in owners
        ]

    @inlineCallbacks
    def _rooms(self, rooms: list[KeptRoom]) -> Generator[Deferred[Any], Any, list[Answer]]:
        answers: list[Answer] = []
        for room in rooms:
            # One by one: batches are kept between.
            used = yield self._writer.use(partial(_usage, room=room.name))
            answers.append(
                Room(
                    room.name,
                    [member.name for member in room.log.members.values()],
                    len(room.entered),
                    len(room.log),
                    self._factory.rooms.last_seq(room.name),
                    *used,
                )
            )
        return answers

    # Changes.

    def _change(self, change: Callable[[], str]) -> Deferred[Done]:
        """Change what is kept, when that may be done, and answer when it is kept."""
        changed: Deferred[Done] = Deferred()
        journal = self._factory.journal

        def settled() -> None:
            try:
                text = change()
            except AdminError as wrong:
                changed.errback(wrong)
            else:
                journal.at_end(lambda: changed.callback(Done(text)))

        journal.when_settled(settled)
        return changed

    def _ban(self, what: str) -> str:
        kind, value, name = self._target(what)
        bans = self._factory.bans
        if bans.find(kind, value) is not None:
            return f"{_named(kind, value, name)} is banned already"
        self._add(kind, value, name)
        factory = self._factory
        cut = int(factory.bar(bytes.fromhex(value))) if kind is Kind.KEY else factory.cut_off_barred()
        return f"banned {_named(kind, value, name)}; {_counted(cut, 'link')} ended"

    def _add(self, kind: Kind, value: str, name: str) -> None:
        bans = self._factory.bans
        if len(bans) >= BANS and bans.find(kind, value) is None:
            raise AdminError(f"there are {BANS} bans already", Exit.NO_SPACE)
        bans.add(KeptBan(kind, value, self._now_ms(), name))

    def _unban(self, what: str) -> str:
        bans = self._factory.bans
        kind, value, name = self._banned(what)
        ban = bans.find(kind, value)
        if ban is None:
            raise AdminError(f"{what} is not banned", Exit.NO_SUCH)
        bans.remove(ban)
        return f"{_named(kind, value, name)} is not banned any more"

    def _banned(self, what: str) -> tuple[Kind, str, str]:
        """What to ban no more. A name may be nobody's by now, or somebody else's."""
        called = [ban for ban in self._factory.bans if ban.name == what]
        if len(called) > 1:
            raise AdminError(f"several keys were called {what}; give the one that you mean", Exit.NO_SUCH)
        if called:
            return called[0].kind, called[0].value, what
        return self._target(what)

    def _remove_name(self, name: str) -> str:
        factory = self._factory
        owner = self._owner(name)
        identity = owner.identity.hex()
        if not factory.bans.is_banned(owner.identity):
            self._add(Kind.KEY, identity, name)
        factory.bar(owner.identity)
        factory.owners.remove(owner)
        return f"{name} is free; {_named(Kind.KEY, identity, '')}, whose it was, is banned"

    def _target(self, what: str) -> tuple[Kind, str, str]:
        """What to ban: a key, a network, or the key that a name belongs to; and the name."""
        if _KEY.fullmatch(what):
            owner = self._factory.owners.identified(bytes.fromhex(what))
            return Kind.KEY, what.lower(), "" if owner is None else owner.name
        try:
            found = network(what)
        except BanError as wrong:
            raise AdminError(str(wrong), Exit.USAGE) from wrong
        if found is not None:
            return Kind.NETWORK, found, ""
        owner = self._owner(what)
        return Kind.KEY, owner.identity.hex(), owner.name

    def _owner(self, name: str) -> Owner:
        owner = None if name_refusal(name) else self._factory.owners.named(name)
        if owner is None:
            raise AdminError("nobody has that name here", Exit.NO_SUCH)
        return owner

    # Copies.

    @inlineCallbacks
    def _backup(self, caller: Caller) -> Generator[Deferred[Any], Any, Done]:
        if self._copying:
            raise AdminError("another backup is being made", Exit.RUNNING)
        self._copying = True
        try:
            path = self._new_copy()
            yield self._writer.copy(
                path, lambda done, total: caller.tell(Progress(done, total)), lambda: not caller.is_gone
            )
        except (OSError, StoreError) as wrong:
            raise explained(wrong) from wrong
        finally:
            # Not before it has ended and they have it: another one would take it away.
            caller.when_gone(self._copied)
        return Done(file=path.name)

    def _copied(self) -> None:
        self._copying = False
        self.drop_copies()

    def _new_copy(self) -> Path:
        directory = self._store.parent
        size = sum(path.stat().st_size for path in _files(self._store))
        if free_bytes(directory) < size + RESERVE_BYTES:
            raise AdminError(f"a copy takes {size} bytes on the disk of {directory} for a while", Exit.NO_SPACE)
        descriptor, name = tempfile.mkstemp(COPY_SUFFIX, COPY_PREFIX, directory)
        os.close(descriptor)
        return Path(name)

    def drop_copies(self) -> None:
        """Delete copies that nobody waits for any more, from a relay that was killed too."""
        for path in self._store.parent.glob(f"{COPY_PREFIX}*{COPY_SUFFIX}*"):
            path.unlink(missing_ok=True)


def _files(store: Path) -> Iterator[Path]:
    return (path for path in (store, store.with_name(f"{store.name}-wal")) if path.exists())


def _usage(store: Store, room: str) -> tuple[int, int]:
    return store.usage(room)


def _bans(bans: list[KeptBan]) -> list[Answer]:
    return [Banned(ban.kind, ban.value, ban.name, _day(ban.since_ms)) for ban in bans]


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).date().isoformat()


def _named(kind: Kind, value: str, name: str) -> str:
    if kind is Kind.NETWORK:
        return value
    return f"the key {value}" + (f" of {name}" if name else "")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
