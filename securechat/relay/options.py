"""What an operator can choose: the options of `twistd securechat`."""

from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar, TypeVar

from twisted.python import usage

from securechat.relay.limit_options import LIMITS, number
from securechat.relay.limits import Network
from securechat.relay.overrides import read_bot, read_network, read_proxy

Result = TypeVar("Result")


def _motd(text: str) -> str:
    from securechat.wire.messages import MOTD_CHARACTERS

    if len(text) > MOTD_CHARACTERS:
        raise ValueError(f"at most {MOTD_CHARACTERS} characters")
    text.encode()  # raises a ValueError where the command line was no UTF-8
    return text


def _read(option: str, read: Callable[[str], Result], text: str) -> Result:
    try:
        return read(text)
    except ValueError as wrong:
        raise usage.UsageError(f"{option}: {wrong}") from wrong


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
         number("store-limit", int, 1, 10**15)],
        ["disk-reserve", None, 256 * 1024**2, "Bytes that are left free on the store's disk; below it messages are "
         "declined.", number("disk-reserve", int, 0, 10**15)],
        ["motd", None, "", "Message of the day, shown to everybody who logs in.", _motd],
        ["motd-file", None, None, "File with the message of the day, instead of --motd; read again at SIGHUP."],
        ["status", None, None, "Where to answer /live, /ready and /metrics by HTTP, as a Twisted endpoint on "
         "loopback or a Unix socket: tcp:12346:interface=127.0.0.1, unix:/run/securechat/status:mode=600."],
        ["engine", "e", "auto", "Crypto engine for what the relay seals itself: auto, cpu, native or cuda. "
         "Messages of clients are never opened here."],
        ["host", None, None, "Name of this machine in the printed address."],
        *(each.parameter for each in LIMITS),
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
        self.proxies: list[Network] = []
        self.networks: list[tuple[Network, int]] = []
        self.bots: list[tuple[str, float]] = []

    def getUsage(self, width: int | None = None) -> str:
        """What --help says: the limits, which are many, come last."""
        limits = {f"{each.option}=" for each in LIMITS}
        first, last = copy(self), copy(self)
        first.longOpt = [option for option in self.longOpt if option not in limits]
        last.longOpt = [option for option in self.longOpt if option in limits]
        last.longdesc = ""
        first.docs = last.docs = {option: " ".join(about.split()) for option, about in self.docs.items()}
        shown = usage.Options.getUsage(last, width).removeprefix("Options")
        return f"{usage.Options.getUsage(first, width)}\nLimits; docs/OPERATIONS.md says what is beyond each{shown}"

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen, as a Twisted endpoint: tcp:12345, tcp6:..., unix:/path, systemd:..., haproxy:tcp:...
        May be given more than once. [default: tcp:12345:interface=127.0.0.1]
        """
        self.listen.append(endpoint)

    opt_l = opt_listen

    def opt_trust_proxy(self, text: str) -> None:
        """Address or network of a proxy, whose word for where a client comes from counts with --listen haproxy:...;
        loopback and Unix sockets are trusted anyway. May be given more than once.
        """
        self.proxies.append(_read("--trust-proxy", read_proxy, text))

    def opt_allow_network(self, text: str) -> None:
        """NETWORK=N: each address of a network may have N connections at once, and as many times more of all that
        is bounded by address; for offices behind one address: 192.0.2.7/32=200. May be given more than once.
        """
        self.networks.append(_read("--allow-network", read_network, text))

    def opt_bot(self, text: str) -> None:
        """NAME=N: the owner of a name may send N messages a second for long, and as many times more of all that
        bounds messages; 0: any number. May be given more than once.
        """
        self.bots.append(_read("--bot", read_bot, text))

    def postOptions(self) -> None:
        """Check what one option alone cannot know."""
        from securechat.crypto.engines import NAMES

        if self["engine"] not in NAMES:
            raise usage.UsageError(f"--engine is {', '.join(NAMES[:-1])} or {NAMES[-1]}")
        if self["motd"] and self["motd-file"]:
            raise usage.UsageError("--motd and --motd-file cannot both be given")
        if self.bots and not self["post-rate"]:
            raise usage.UsageError("--bot has no meaning with --post-rate 0")

    def parseArgs(self, *rest: str) -> None:
        """Take no arguments."""
        if rest:
            raise usage.UsageError("the relay takes options only; see --help")
