"""What the relay tells of itself in numbers; docs/OPERATIONS.md has a line about each.

Everything is read when somebody asks; where messages pass, nothing is counted for this that is not counted anyway.
No label has a value that came from a user.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from securechat import __version__
from securechat.relay.exposition import Family, single
from securechat.relay.factory import LOGIN_RESULTS, RelayFactory
from securechat.relay.lateness import Lateness
from securechat.wire.codes import Code

PREFIX: Final = "securechat_"


class Sealed(Protocol):
    """What an engine has done."""

    @property
    def batches(self) -> int:
        """How many batches."""

    @property
    def items(self) -> int:
        """How many items were in them."""


class Disk(NamedTuple):
    """What a store and its disk tell."""

    commits: int
    commit_s: float
    """What all commits have taken."""
    waited_s: float
    """What the first of each batch has waited."""
    seal_s: float
    """What sealing all of them has taken."""
    backlog: int
    store_bytes: int
    wal_bytes: int
    free_bytes: int


class Measures:
    """Reads the relay's numbers; `not_after` is when its certificate ends, in seconds of Unix time."""

    def __init__(
        self,
        factory: RelayFactory,
        lateness: Lateness,
        sealed: Callable[[], Sealed | None],
        not_after: Callable[[], float] | None,
        disk: Callable[[], Disk] | None = None,
    ) -> None:
        self._factory = factory
        self._lateness = lateness
        self._sealed = sealed
        self._not_after = not_after
        self._disk = disk

    def families(self) -> Iterator[Family]:
        """Every metric as it stands."""
        factory, rooms = self._factory, self._factory.rooms
        yield _gauge("links", "Connections, logged in or not.", factory.connections)
        yield _gauge("clients", "Clients that are logged in.", factory.clients)
        yield _gauge("rooms", "Rooms that have a member.", len(rooms.memberships.rooms))
        yield _counter("posts_total", "Messages that were taken.", rooms.posts)
        yield _counter("deliveries_total", "Messages times the members each was told to.", rooms.deliveries)
        yield _by("declined_total", "code", "Posts and requests that were declined.", rooms.declined, Code)
        closed = {code or "none": count for code, count in factory.closed.items()}
        yield _by(
            "closed_total",
            "code",
            "Connections that ended, by the relay's last word; none: the client left or was lost.",
            closed,
            ["none", *Code],
        )
        yield _counter(
            "refused_connections_total",
            "Connections cut off at once, their address having too many.",
            factory.refused_addresses,
        )
        yield _counter(
            "refused_for_all_total",
            "Connections cut off at once, as there were as many as descriptors allow.",
            factory.refused_for_all,
        )
        yield _by("logins_total", "result", "Logins that were tried.", factory.logins, LOGIN_RESULTS)
        yield _gauge("outbox_bytes", "Bytes that wait for clients that do not read.", factory.waiting_bytes)
        yield _gauge("tick_seconds", "How late a timer was at worst in the last minute.", self._lateness.worst())
        yield _gauge("lagging_links", "Clients that are told from the store, being behind.", len(rooms.behind))
        load = factory.load
        yield _gauge("waiting_strangers", "New connections that wait for their turn.", len(factory.turns))
        yield _gauge("busy", "1 while nobody and nothing new is let in.", int(load.is_too_much()))
        yield _counter("busy_total", "How often that has begun.", load.times)
        yield _gauge("unread_bytes", "Bytes of frames that have come in part.", load.memory.unread)
        yield _gauge("unanswered_bytes", "Bytes of messages that wait for their answers.", factory.in_flight.bytes)
        sealed = self._sealed()
        if sealed is not None:
            yield _counter("engine_batches_total", "Batches that the crypto engine did.", sealed.batches)
            yield _counter("engine_batch_rows_total", "Items in those batches.", sealed.items)
        if self._disk is not None:
            disk = self._disk()
            yield _counter("commits_total", "Batches that the store has kept.", disk.commits)
            yield _counter("commit_seconds_total", "What they have taken, all together.", disk.commit_s)
            yield _counter("ack_seconds_total", "What the first of each has waited to be kept.", disk.waited_s)
            yield _counter("seal_seconds_total", "What the engine has taken for them.", disk.seal_s)
            yield _gauge("backlog", "What waits to be kept.", disk.backlog)
            yield _gauge("store_bytes", "The size of the store.", disk.store_bytes)
            yield _gauge("wal_bytes", "The size of its log.", disk.wal_bytes)
            yield _gauge("disk_free_bytes", "What is free on its disk.", disk.free_bytes)
        if self._not_after is not None:
            yield _gauge("tls_not_after_seconds", "When the certificate ends, in Unix time.", self._not_after())
        yield Family(
            f"{PREFIX}build_info", "gauge", "Always 1; the version is the label.", [({"version": __version__}, 1)]
        )


def _gauge(name: str, about: str, value: float) -> Family:
    return single(PREFIX + name, "gauge", about, value)


def _counter(name: str, about: str, value: float) -> Family:
    return single(PREFIX + name, "counter", about, value)


def _by(name: str, label: str, about: str, counts: dict[str, int], known: Iterable[str]) -> Family:
    # Those that have not happened are there as well: the first time would be no increase of anything otherwise.
    samples = [({label: str(each)}, counts.get(each, 0)) for each in known]
    return Family(PREFIX + name, "counter", about, list(samples))
