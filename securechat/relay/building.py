"""The one place that builds a relay: the parts, and which of them know each other."""

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit
from typing import Any, Final, NamedTuple

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ReactorNotRunning

from securechat.crypto.engine import Engine
from securechat.crypto.engines import EngineUnavailable, check, choose
from securechat.relay.admin.listening import AdminFactory, AdminService
from securechat.relay.admin.office import Office
from securechat.relay.admin.place import Place
from securechat.relay.admin.rotation import new_key_path, settle
from securechat.relay.certificate import prepare_directory
from securechat.relay.descriptors import KEPT, connections_for, fit, make_room
from securechat.relay.durable import Durable
from securechat.relay.errors import RelayError
from securechat.relay.factory import RelayFactory
from securechat.relay.history import KeptHistory
from securechat.relay.journal import Journal
from securechat.relay.kept import KeptBans, KeptLog, KeptOwners, restore
from securechat.relay.limit_options import limits_of
from securechat.relay.listening import DEFAULT_LISTEN, Protection, listener, one_line
from securechat.relay.lock import locked
from securechat.relay.log import MemoryLog, MessageLog
from securechat.relay.measures import Disk, Sealed
from securechat.relay.options import Options
from securechat.relay.place import STORE_FILE, data_directory
from securechat.relay.renewal import Certified, Reload, read_motd
from securechat.relay.sealing import Sealing
from securechat.relay.service import RelayService
from securechat.relay.space import Space
from securechat.relay.spare import Spare
from securechat.relay.sqlite_store import lock_file, open_locked
from securechat.relay.status import Probe, status_service
from securechat.relay.storage_key import StorageKey, load_or_make
from securechat.relay.store import Store
from securechat.relay.systemd import Notifier
from securechat.relay.writer import Writer
from securechat.wire.outbox import Turn

STUCK_S: Final = 5.0
"""A commit that takes longer than this makes the relay unready."""


class _Keeping(NamedTuple):
    """A relay with what it keeps things in."""

    relay: RelayService
    services: Sequence[IService]
    """These begin in their order."""
    probes: Sequence[Probe]
    sealed: Callable[[], Sealed | None]
    """What its engine has done, once there is one."""
    admin: IService | None = None
    """What the operator's commands talk to."""
    disk: Callable[[], Disk] | None = None
    """How its store and its disk are."""
    answers: Callable[[], Deferred[None]] = lambda: succeed(None)
    """Fires when its store has answered."""


def build_relay(
    reactor: Any, options: Options, log: MessageLog | None = None, is_program: bool = False
) -> tuple[IService, RelayService]:
    """The relay's service with all that belongs to it, and the part of it that listens. Raises `RelayError`.

    `log` is for a relay that keeps nothing, as with `--in-memory`; by default it is one in memory. Where the relay
    `is_program`, the whole one, it takes the program's signals and talks to systemd.
    """
    try:
        check(options["engine"])
    except EngineUnavailable as wrong:
        raise RelayError(str(wrong)) from wrong
    certified = None
    if not (options["plaintext"] or options["insecure-plaintext"]):
        certified = Certified(data_directory(options["data"], os.environ), lambda: datetime.now(UTC))
    keep = _durable if log is None and not options["in-memory"] else _in_memory
    keeping = keep(reactor, options, log, lambda **kept: _relay(reactor, options, certified, **kept))
    relay = keeping.relay
    service = MultiService()
    if is_program:
        # First of all: a signal that comes before this ends the program.
        parts: list[Callable[[], None]] = [] if certified is None else [certified.reload]
        if options["motd-file"]:
            parts.append(lambda: setattr(relay.factory, "motd", read_motd(Path(options["motd-file"]))))
        Reload(reactor, parts, lambda: os.isatty(0)).setServiceParent(service)
        Notifier(reactor, os.environ, keeping.answers).setServiceParent(service)
    if options["status"]:
        # Each is asked by `/ready`, in this order.
        probes = [
            Probe("stopping", lambda: bool(relay.running)),
            Probe("starting", lambda: relay.listens),
            *keeping.probes,
            Probe("busy", lambda: not relay.factory.load.is_too_much()),
        ]
        not_after = certified.not_after if certified is not None else None
        status = status_service(
            reactor, options["status"], relay.factory, keeping.sealed, not_after, probes, keeping.disk
        )
        status.setServiceParent(service)
    relay.factory.load.setServiceParent(service)
    for each in keeping.services:
        each.setServiceParent(service)
    if is_program and keeping.admin is not None:
        # Last: by then the lock says that no other relay is here.
        keeping.admin.setServiceParent(service)
    return service, relay


def _in_memory(
    reactor: Any, options: Options, log: MessageLog | None, relay_with: Callable[..., RelayService]
) -> _Keeping:
    relay = relay_with(log=log or MemoryLog())
    sealing = Sealing(lambda: choose(options["engine"]), reactor)
    return _Keeping(relay, [sealing, relay], [], lambda: None if sealing.worker is None else sealing.worker.stats)


def _durable(
    reactor: Any, options: Options, _: MessageLog | None, relay_with: Callable[..., RelayService]
) -> _Keeping:
    directory = data_directory(options["data"], os.environ)
    prepare_directory(directory)
    path = directory / STORE_FILE
    elsewhere = options["storage-key"]
    key = _key(directory, Path(elsewhere) if elsewhere else None, path)

    def open_store() -> Store:
        try:
            engine: Engine = choose(options["engine"])
        except EngineUnavailable as wrong:
            raise RelayError(str(wrong)) from wrong
        store = open_locked(path, key, engine, spare)
        spare.make()
        return store

    spare = Spare(path.with_name(f"{path.name}.spare"))
    # What is built first is told by what is built later, and only once the reactor runs.
    writer = Writer(reactor, open_store, lambda words: durable.broken(words), spare.give_up)
    journal = Journal(reactor, Turn(reactor), writer.write)
    history = KeptHistory(writer)
    owners, bans, kept_log = KeptOwners(journal), KeptBans(journal), KeptLog(journal, key, history)
    space = Space(reactor, path, options["store-limit"], spare, options["disk-reserve"])
    relay = relay_with(
        log=kept_log, owners=owners, bans=bans, journal=journal, is_full=space.is_full, history=history
    )
    durable = Durable(
        reactor,
        writer,
        journal,
        relay,
        lambda kept: restore(kept, owners, bans, kept_log, relay.factory.rooms.memberships),
        give_up=lambda: _give_up(reactor),
    )
    probes = [Probe("stuck", lambda: journal.committing_s < STUCK_S), Probe("full", lambda: not space.is_full())]
    office = Office(relay.factory, writer, path, _now_ms)
    admin = AdminService(reactor, directory, AdminFactory(reactor, office.carry_out), office.drop_copies)

    def disk() -> Disk:
        times = journal.committing_total_s, journal.waited_total_s, writer.sealing_s
        return Disk(journal.commits, *times, journal.backlog, *space.sizes, space.free)

    return _Keeping(relay, [durable], probes, lambda: writer, admin, disk, lambda: writer.use(lambda _: None))


def _key(directory: Path, elsewhere: Path | None, store: Path) -> StorageKey:
    """The storage key, after what a rotation has left to do that was cut off."""
    key_path = Place(directory, elsewhere).key_path
    try:
        if new_key_path(key_path).exists():
            with locked(lock_file(store)):
                settle(store, key_path)
    except (OSError, sqlite3.Error) as wrong:
        raise RelayError(f"cannot use {new_key_path(key_path)}: {one_line(wrong)}") from wrong
    return load_or_make(directory, elsewhere, store)


def _relay(reactor: Any, options: Options, certified: Certified | None, **kept: Any) -> RelayService:
    """The part that listens; `kept` is what a `RelayFactory` keeps things in."""
    if certified is None:
        protection = Protection(None, "", anywhere=bool(options["insecure-plaintext"]))
    else:
        protection = Protection(certified, certified.fingerprint)
    limits = replace(limits_of(options), networks=tuple(options.networks), bots=dict(options.bots))
    connections = connections_for(getrlimit(RLIMIT_NOFILE)[0])
    make_room(limits.max_clients + limits.handshakes + KEPT)
    factory = RelayFactory(
        reactor,
        _now_ms,
        limits=fit(limits, connections),
        connections=connections,
        motd=read_motd(Path(options["motd-file"])) if options["motd-file"] else options["motd"],
        exempt_loopback=not options["limit-loopback"],
        **kept,
    )
    return RelayService(
        reactor,
        factory,
        [listener(reactor, each, options.proxies) for each in options.listen or [DEFAULT_LISTEN]],
        protection,
        give_up=lambda: _give_up(reactor),
        host=options["host"],
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _give_up(reactor: Any) -> None:
    """Stop a running reactor and exit with status 1, which twistd itself has no way to say."""
    reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
    with suppress(ReactorNotRunning):
        # It may be stopping already.
        reactor.stop()
