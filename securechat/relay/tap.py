"""`twistd -n securechat`: the options of the relay, and the one place that builds it."""

import os
import resource
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.application.service import IService
from twisted.python import usage

if TYPE_CHECKING:
    from securechat.relay.log import MessageLog
    from securechat.relay.service import RelayService


def _number(least: float, kind: type, beyond: float = 1e9) -> Any:
    def coerce(text: str) -> Any:
        number = kind(text)
        if not least <= number < beyond:
            raise ValueError(f"must be at least {least}")
        return number

    coerce.coerceDoc = f"Must be a number, {least} or more."  # type: ignore[attr-defined]
    return coerce


def _motd(text: str) -> str:
    if len(text) > 1_000:
        raise ValueError("at most 1000 characters")
    text.encode()  # raises a ValueError where the command line was no UTF-8
    return text


class Options(usage.Options):
    """What an operator can choose."""

    synopsis = "[--listen ENDPOINT]... [options]"
    longdesc = (
        "A chat relay. A name belongs to the key that first logs in under it, and a room is a log that its members "
        "sign. The relay hands out random session keys, and passes sealed messages on unopened. Listeners speak "
        "TLS 1.3 with a key that is made at the first start; the relay prints its address, "
        "securechat://host:port/#fingerprint, for clients to use."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["data", "d", None, "Directory for the relay's keys, its certificate and its store (made if missing). "
         "[default: $STATE_DIRECTORY, or one of your user's]"],
        ["storage-key", None, None, "File with the 32 bytes that the store is sealed under. "
         "[default: storage.key in the data directory, made at the first start]"],
        ["store-limit", None, 8 * 1024**3, "Bytes that the store may take; over it messages are declined.",
         _number(1, int, 1e15)],
        ["max-clients", "m", 1_000, "Clients at once; the next one is refused. 2 gives a private line.",
         _number(1, int)],
        ["motd", None, "", "Message of the day, shown to everybody who logs in.", _motd],
        ["engine", "e", "auto", "Crypto engine for what the relay seals itself: auto, cpu, native or cuda. "
         "Messages of clients are never opened here."],
        ["host", None, None, "Name of this machine in the printed address."],
        ["per-address", None, 16, "Connections at once from one address; loopback is exempt.", _number(1, int)],
        ["post-rate", None, 50.0, "Messages per second that one client may send for long; 0 for no bound.",
         _number(0, float)],
        ["byte-rate", None, 131_072.0, "Bytes per second of sealed messages that one client may send for "
         "long; 0 for no bound.", _number(0, float)],
    ]  # fmt: skip
    optFlags: ClassVar[list[list[Any]]] = [
        ["plaintext", None, "No TLS. Only for loopback; Unix sockets have none anyway."],
        ["insecure-plaintext", None, "No TLS, wherever the relay listens: anybody on the way can read names, "
         "rooms and session keys, and take over a login that passes through them."],
        ["in-memory", None, "Keep nothing: names, rooms and what waits for somebody end with the relay."],
        ["limit-loopback", None, "Count connections from loopback addresses too (for tests of abuse)."],
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.listen: list[str] = []

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen, as a Twisted endpoint: tcp:12345, tcp6:..., unix:/path, systemd:..., haproxy:tcp:...
        May be given more than once. [default: tcp:12345:interface=127.0.0.1]
        """
        self.listen.append(endpoint)

    opt_l = opt_listen

    def postOptions(self) -> None:
        """Check what one option alone cannot know."""
        from securechat.crypto.engines import NAMES

        if self["engine"] not in NAMES:
            raise usage.UsageError(f"--engine is {', '.join(NAMES[:-1])} or {NAMES[-1]}")

    def parseArgs(self, *rest: str) -> None:
        """Take no arguments."""
        if rest:
            raise usage.UsageError("the relay takes options only; see --help")


def _data_directory(options: Options) -> Path:
    if options["data"]:
        return Path(options["data"])
    if os.environ.get("STATE_DIRECTORY"):
        return Path(os.environ["STATE_DIRECTORY"])
    from platformdirs import user_data_path

    return user_data_path("securechat") / "relay"


def build_relay(reactor: Any, options: Options, log: "MessageLog | None" = None) -> "tuple[IService, RelayService]":
    """The relay's service with all that belongs to it, and the part of it that listens. Raises `RelayError`.

    `log` is for a relay that keeps nothing, as with `--in-memory`; by default it is one in memory.
    """
    from twisted.application.service import MultiService

    from securechat.crypto.engines import EngineUnavailable, check, choose
    from securechat.relay.errors import RelayError
    from securechat.relay.log import MemoryLog
    from securechat.relay.sealing import Sealing

    try:
        check(options["engine"])
    except EngineUnavailable as wrong:
        raise RelayError(str(wrong)) from wrong
    if log is None and not options["in-memory"]:
        return _durable_relay(reactor, options)
    relay = _relay(reactor, options, log=log or MemoryLog())
    service = MultiService()
    Sealing(lambda: choose(options["engine"]), reactor).setServiceParent(service)
    relay.setServiceParent(service)
    return service, relay


def _durable_relay(reactor: Any, options: Options) -> "tuple[IService, RelayService]":
    from securechat.crypto.engines import EngineUnavailable, choose
    from securechat.relay.certificate import prepare_directory
    from securechat.relay.durable import Durable
    from securechat.relay.errors import RelayError
    from securechat.relay.journal import Journal
    from securechat.relay.kept import KeptLog, KeptOwners, restore
    from securechat.relay.space import Space
    from securechat.relay.storage_key import load_or_make
    from securechat.relay.store import Store, open_locked
    from securechat.relay.writer import Writer
    from securechat.wire.outbox import Turn

    directory = _data_directory(options)
    prepare_directory(directory)
    path = directory / "relay.db"
    elsewhere = options["storage-key"]
    key = load_or_make(directory, Path(elsewhere) if elsewhere else None, path)

    def open_store() -> Store:
        try:
            engine = choose(options["engine"])
        except EngineUnavailable as wrong:
            raise RelayError(str(wrong)) from wrong
        return open_locked(path, key, engine)

    # What is built first is told by what is built later, and only once the reactor runs.
    writer = Writer(reactor, open_store, lambda words: service.broken(words))
    journal = Journal(reactor, Turn(reactor), writer.write)
    owners, log = KeptOwners(journal), KeptLog(journal, key)
    space = Space(reactor, path, options["store-limit"])
    relay = _relay(reactor, options, log=log, owners=owners, journal=journal, is_full=space.is_full)
    service = Durable(
        reactor,
        writer,
        journal,
        relay,
        lambda kept: restore(kept, owners, log, relay.factory.rooms.memberships),
        _now_ms,
        give_up=lambda: _give_up(reactor),
    )
    return service, relay


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _relay(reactor: Any, options: Options, **kept: Any) -> "RelayService":
    """The part that listens; `kept` is what a `RelayFactory` keeps things in."""
    from securechat.relay.certificate import load_or_make, tls_options
    from securechat.relay.factory import RelayFactory
    from securechat.relay.limits import RelayLimits
    from securechat.relay.listening import DEFAULT_LISTEN, Protection, listener
    from securechat.relay.service import RelayService
    from securechat.wire.address import fingerprint

    plaintext = bool(options["plaintext"] or options["insecure-plaintext"])
    if plaintext:
        protection = Protection(None, "", anywhere=bool(options["insecure-plaintext"]))
    else:
        key, certificate = load_or_make(_data_directory(options), datetime.now(UTC))
        protection = Protection(tls_options(key, certificate), fingerprint(certificate))
    limits = RelayLimits(
        max_clients=options["max-clients"],
        per_address=options["per-address"],
        posts_per_s=options["post-rate"],
        bytes_per_s=options["byte-rate"],
    )
    factory = RelayFactory(
        reactor,
        _now_ms,
        limits=limits,
        motd=options["motd"],
        exempt_loopback=not options["limit-loopback"],
        **kept,
    )
    return RelayService(
        reactor,
        factory,
        [listener(reactor, description) for description in options.listen or [DEFAULT_LISTEN]],
        protection,
        give_up=lambda: _give_up(reactor),
        host=options["host"],
    )


def _give_up(reactor: Any) -> None:
    """Stop a running reactor and exit with status 1, which twistd itself has no way to say."""
    from twisted.internet.error import ReactorNotRunning

    reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
    with suppress(ReactorNotRunning):
        # It may be stopping already.
        reactor.stop()


def _raise_descriptor_limit() -> None:
    """Every connection is a descriptor; take as many as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def makeService(options: Options) -> IService:
    """Build the relay. Ends the program with one line where the options or the machine do not allow it."""
    from twisted.internet import reactor as the_reactor

    from securechat.relay.errors import RelayError, fail

    reactor: Any = the_reactor
    # The wall clock can be set back or forward; timers then fire late or all at once (RELIABILITY.md §4).
    reactor.seconds = time.monotonic
    _raise_descriptor_limit()
    try:
        return build_relay(reactor, options)[0]
    except RelayError as wrong:
        fail(wrong)
