"""The limits that an operator can change, as options: each with its name, its bounds, and the field it sets.

Defaults are those of `RelayLimits`. docs/OPERATIONS.md has the same table, with what happens beyond each.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from securechat.relay.limits import RelayLimits
from securechat.wire.messages import MEMBER_ROOMS

Number = int | float

DEFAULTS: Final = RelayLimits()


def number(option: str, kind: type[Number], least: Number, most: Number) -> Callable[[str], Number]:
    """Reads an option's number, which must be within its bounds."""

    def read(text: str) -> Number:
        try:
            found = kind(text)
        except ValueError:
            found = least - 1
        if not least <= found <= most:
            whole = "a whole number" if kind is int else "a number"
            raise ValueError(f"--{option} takes {whole} from {least:,} to {most:,}")
        return found

    return read


class LimitOption(NamedTuple):
    """One limit as an option."""

    option: str
    field: str
    """What it is in `RelayLimits`."""
    least: Number
    most: Number
    about: str
    short: str | None = None

    @property
    def default(self) -> Number:
        """What it is where nobody says anything."""
        return getattr(DEFAULTS, self.field)  # type: ignore[no-any-return]

    @property
    def parameter(self) -> list[Any]:
        """What `usage.Options` wants to know of it."""
        read = number(self.option, type(self.default), self.least, self.most)
        return [self.option, self.short, self.default, self.about, read]


MANY: Final = 10**9
LIMITS: Final = (
    # Who may come.
    LimitOption("max-clients", "max_clients", 1, 10**6, "Clients at once. 2 gives a private line.", "m"),
    LimitOption("max-strangers", "handshakes", 1, 10**6, "Connections at once that have not logged in."),
    LimitOption(
        "stranger-rate",
        "strangers_per_s",
        0,
        10**6,
        "New connections a second that are listened to, the others waiting in line; 0: any number.",
    ),
    LimitOption("login-seconds", "handshake_s", 0.1, 600, "Seconds from a connection to its login."),
    LimitOption("per-address", "per_address", 1, 10**6, "Connections at once from one address."),
    LimitOption(
        "new-per-address", "new_per_address", 1, 10**6, "New connections that one address may make at once."
    ),
    LimitOption("new-every", "new_every_s", 0.001, 3600, "Seconds for each further new connection of an address."),
    # What they may send.
    LimitOption("window", "window", 1, 100_000, "Unanswered messages of a client."),
    LimitOption("post-rate", "posts_per_s", 0, MANY, "Messages a second of a client, for long; 0: any number."),
    LimitOption("post-burst", "posts_burst", 1, MANY, "Messages of a client at once."),
    LimitOption(
        "byte-rate", "bytes_per_s", 0, MANY, "Bytes of messages a second of a client, for long; 0: any number."
    ),
    LimitOption("byte-burst", "bytes_burst", 1, MANY, "Bytes of messages of a client at once."),
    LimitOption(
        "address-post-rate",
        "address_posts_per_s",
        0,
        MANY,
        "Messages a second of all clients of one address, for long; 0: any number.",
    ),
    LimitOption("address-post-burst", "address_posts_burst", 1, MANY, "Messages of an address at once."),
    LimitOption(
        "address-byte-rate",
        "address_bytes_per_s",
        0,
        MANY,
        "Bytes of messages a second of all clients of one address, for long; 0: any number.",
    ),
    LimitOption("address-byte-burst", "address_bytes_burst", 1, MANY, "Bytes of messages of an address at once."),
    LimitOption("request-rate", "requests_per_s", 0.1, MANY, "Requests a second of a client, for long."),
    LimitOption("request-burst", "requests_burst", 1, MANY, "Requests of a client at once."),
    LimitOption("append-rate", "appends_per_s", 0.01, MANY, "Changes of rooms a second by a client, for long."),
    LimitOption("append-burst", "appends_burst", 1, MANY, "Changes of rooms by a client at once."),
    LimitOption("hand-rate", "hands_per_s", 0.1, MANY, "Sealed keys a second of a client, for long."),
    LimitOption("hand-burst", "hands_burst", 1, MANY, "Sealed keys of a client at once."),
    LimitOption("hand-byte-rate", "hand_bytes_per_s", 1, MANY, "Bytes of sealed keys a second, for long."),
    LimitOption("hand-byte-burst", "hand_bytes_burst", 1, MANY, "Bytes of sealed keys at once."),
    # What is kept.
    LimitOption("max-names", "names", 1, 10**7, "Names that are owned, for good."),
    LimitOption("max-rooms", "all_rooms", 1, 10**6, "Rooms that there may be."),
    LimitOption("rooms-each", "rooms", 1, MEMBER_ROOMS, "Rooms that one may be a member of."),
    LimitOption("log-bytes", "log_bytes", 1, 10**12, "Bytes of the logs of all rooms."),
    LimitOption("keys-each", "waiting_keys", 1, 10**6, "Sealed keys that wait for a device."),
    LimitOption(
        "keys-of-sender", "waiting_keys_of_sender", 1, 10**6, "Sealed keys of one device that wait for another."
    ),
    LimitOption("keys-bytes", "waiting_bytes", 1, 10**12, "Bytes of all sealed keys that wait."),
    # Who does not read, and who says nothing.
    LimitOption("outbox-bytes", "outbox_bytes", 128 * 1024, MANY, "Bytes that wait for a client to read."),
    LimitOption("outbox-frames", "outbox_frames", 10, MANY, "Frames that wait for a client to read."),
    LimitOption("outboxes-bytes", "outboxes_bytes", 128 * 1024, 10**12, "Bytes that wait for all clients to read."),
    LimitOption(
        "unread-bytes", "unread_bytes", 128 * 1024, 10**12, "Bytes of frames that have come in part, in all."
    ),
    LimitOption(
        "unanswered-bytes", "unanswered_bytes", 128 * 1024, 10**12, "Bytes of unanswered messages, in all."
    ),
    LimitOption("send-buffer", "send_buffer", 4096, MANY, "Bytes that the kernel is to hold for a connection."),
    LimitOption(
        "ping-seconds",
        "ping_s",
        1,
        300,
        "Seconds of silence before a ping; after three times that a client is gone.",
    ),
    LimitOption("stop-seconds", "stop_s", 0, 60, "Seconds that clients have to leave when the relay stops."),
)


def limits_of(options: Mapping[str, Any]) -> RelayLimits:
    """The limits that the options say."""
    return replace(DEFAULTS, **{each.field: options[each.option] for each in LIMITS})
