"""What an operator can choose: the options of `twistd securechat`."""

from typing import Any, ClassVar

from twisted.python import usage


def _number(least: float, kind: type, beyond: float = 1e9) -> Any:
    def coerce(text: str) -> Any:
        number = kind(text)
        if not least <= number < beyond:
            raise ValueError(f"must be at least {least}")
        return number

    coerce.coerceDoc = f"Must be a number, {least} or more."  # type: ignore[attr-defined]
    return coerce


def _motd(text: str) -> str:
    from securechat.wire.messages import MOTD_CHARACTERS

    if len(text) > MOTD_CHARACTERS:
        raise ValueError(f"at most {MOTD_CHARACTERS} characters")
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
        ["disk-reserve", None, 256 * 1024**2, "Bytes that are left free on the store's disk; below it messages are "
         "declined.", _number(0, int, 1e15)],
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
        if self["motd"] and self["motd-file"]:
            raise usage.UsageError("--motd and --motd-file cannot both be given")

    def parseArgs(self, *rest: str) -> None:
        """Take no arguments."""
        if rest:
            raise usage.UsageError("the relay takes options only; see --help")
