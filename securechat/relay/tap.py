"""`twistd -n securechat`: the options of the relay, and the one place that builds it."""

import os
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.application.service import IService
from twisted.python import usage

if TYPE_CHECKING:
    from securechat.relay.log import MessageLog
    from securechat.relay.service import RelayService


def _number(least: float, kind: type) -> Any:
    def coerce(text: str) -> Any:
        number = kind(text)
        if not least <= number < 1e9:
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
        ["data", "d", None, "Directory for the relay's key and certificate (made if missing). "
         "[default: $STATE_DIRECTORY, or one of your user's]"],
        ["max-clients", "m", 1_000, "Clients at once; the next one is refused. 2 gives a private line.",
         _number(1, int)],
        ["motd", None, "", "Message of the day, shown to everybody who logs in.", _motd],
        ["motd-file", None, None, "File with the message of the day, instead of --motd; read again at SIGHUP."],
        ["status", None, None, "Where to answer /live, /ready and /metrics by HTTP, as a Twisted endpoint on "
         "loopback or a Unix socket: tcp:12346:interface=127.0.0.1, unix:/run/securechat/status:mode=600."],
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
        if self["motd"] and self["motd-file"]:
            raise usage.UsageError("--motd and --motd-file cannot both be given")

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


def build_relay(
    reactor: Any, options: Options, log: "MessageLog | None" = None, is_program: bool = False
) -> "tuple[IService, RelayService]":
    """The relay's service with all that belongs to it, and the part of it that listens. Raises `RelayError`.

    `log` keeps the messages; by default it is one in memory. Where the relay `is_program`, the whole one, it takes
    the program's signals and talks to systemd.
    """
    from twisted.application.service import MultiService

    from securechat.crypto.engines import EngineUnavailable, check, choose
    from securechat.relay.errors import RelayError
    from securechat.relay.factory import RelayFactory
    from securechat.relay.limits import RelayLimits
    from securechat.relay.listening import DEFAULT_LISTEN, Protection, listener
    from securechat.relay.log import MemoryLog
    from securechat.relay.renewal import Certified, Reload, read_motd
    from securechat.relay.sealing import Sealing
    from securechat.relay.service import RelayService
    from securechat.relay.status import Probe, status_service
    from securechat.relay.systemd import Notifier

    plaintext = bool(options["plaintext"] or options["insecure-plaintext"])
    certified = None if plaintext else Certified(_data_directory(options), lambda: datetime.now(UTC))
    if certified is None:
        protection = Protection(None, "", anywhere=bool(options["insecure-plaintext"]))
    else:
        protection = Protection(certified, certified.fingerprint)
    limits = RelayLimits(
        max_clients=options["max-clients"],
        per_address=options["per-address"],
        posts_per_s=options["post-rate"],
        bytes_per_s=options["byte-rate"],
    )
    factory = RelayFactory(
        reactor,
        lambda: time.time_ns() // 1_000_000,
        log or MemoryLog(),
        limits,
        read_motd(Path(options["motd-file"])) if options["motd-file"] else options["motd"],
        exempt_loopback=not options["limit-loopback"],
    )
    try:
        check(options["engine"])
    except EngineUnavailable as wrong:
        raise RelayError(str(wrong)) from wrong
    relay = RelayService(
        reactor,
        factory,
        [listener(reactor, description) for description in options.listen or [DEFAULT_LISTEN]],
        protection,
        give_up=lambda: _give_up(reactor),
        host=options["host"],
    )
    service = MultiService()
    if is_program:
        # First of all: a signal that comes before this ends the program.
        parts: list[Callable[[], None]] = [] if certified is None else [certified.reload]
        if options["motd-file"]:
            parts.append(lambda: setattr(factory, "motd", read_motd(Path(options["motd-file"]))))
        Reload(reactor, parts, lambda: os.isatty(0)).setServiceParent(service)
        Notifier(reactor, os.environ).setServiceParent(service)
    sealing = Sealing(lambda: choose(options["engine"]), reactor)
    if options["status"]:
        # Each is asked by `/ready`, in this order; what can fail later adds its own.
        probes = [Probe("stopping", lambda: bool(relay.running)), Probe("starting", lambda: relay.listens)]
        not_after = certified.not_after if certified is not None else None
        status_service(reactor, options["status"], factory, sealing, not_after, probes).setServiceParent(service)
    sealing.setServiceParent(service)
    relay.setServiceParent(service)
    return service, relay


def _give_up(reactor: Any) -> None:
    """Stop a running reactor and exit with status 1, which twistd itself has no way to say."""
    reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
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
        return build_relay(reactor, options, is_program=True)[0]
    except RelayError as wrong:
        fail(wrong)
