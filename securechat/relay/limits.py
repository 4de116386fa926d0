"""What the relay allows, in one place; `limit_options` turns the ones an operator changes into options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Every bound that the relay enforces. Sizes in bytes, times in seconds."""

    max_clients: int = 1_000
    """Clients logged in at once; 2 makes the server of the original."""

    handshakes: int = 512
    """Connections that have not logged in; over it the oldest is cut off that has said nothing, or the newest."""

    strangers_per_s: float = 300.0
    """Connections a second that are listened to for the first time; the others wait in line. 0 is no bound."""

    handshake_s: float = 10.0
    """From the connection to `Welcome`, the TLS handshake included."""

    per_address: int = 16
    """Connections at once from one address (IPv6: one /64)."""

    new_per_address: int = 16
    """New connections that an address may make at once."""

    new_every_s: float = 10.0
    """After those, seconds for each further one."""

    networks: tuple[tuple[Network, int], ...] = ()
    """Networks with the connections that each address in them may have; all that addresses are bounded by grows
    with it."""

    window: int = 256
    """Posts of one client that the relay has not answered; a client that sends more is flooding."""

    posts_per_s: float = 50.0
    """Posts of one client that are read for long; faster ones are read more slowly."""

    posts_burst: int = 500
    """Posts of one client that are read at once."""

    bytes_per_s: float = 128 * 1024
    """Bytes of sealed messages of one client that are read for long."""

    bytes_burst: int = 256 * 1024
    """Bytes of sealed messages of one client that are read at once."""

    address_posts_per_s: float = 200.0
    """Posts of all clients of one address together that are read for long: those of four."""

    address_posts_burst: int = 2_000
    """Posts of all clients of one address that are read at once."""

    address_bytes_per_s: float = 512 * 1024
    """Bytes of sealed messages of all clients of one address that are read for long."""

    address_bytes_burst: int = 1024 * 1024
    """Bytes of sealed messages of all clients of one address that are read at once."""

    bots: Mapping[str, float] = field(default_factory=dict)
    """Names whose owners may send other numbers of posts a second for long, 0 being no bound."""

    requests_per_s: float = 10.0
    """Requests of one client: `Enter`, `Want`, `Lookup`, `Ask`, `Renew`, `Ping`, `Pong`. More are a flood."""

    requests_burst: int = 250
    """Requests of one client at once."""

    appends_per_s: float = 1.0
    """`Append`s of one client; one that sends more is flooding."""

    appends_burst: int = 20
    """`Append`s of one client at once."""

    hands_per_s: float = 64.0
    """Sealed keys in one client's `Hand`s that are read for long; faster ones are read more slowly."""

    hands_burst: int = 4_096
    """Sealed keys of one client that are read at once: a room of a thousand, four times."""

    hand_bytes_per_s: float = 128 * 1024
    """Bytes of sealed keys of one client that are read for long."""

    hand_bytes_burst: int = 8 * 1024 * 1024
    """Bytes of sealed keys of one client that are read at once."""

    names: int = 100_000
    """Names that are owned, for good."""

    rooms: int = 200
    """Rooms that one identity may be a member of; others can bring it into half of that."""

    all_rooms: int = 10_000
    """Rooms that there may be."""

    log_bytes: int = 256 * 1024 * 1024
    """Bytes of all entries of all rooms, which take about three times that in memory; over it only leaving and
    removing go on."""

    waiting_keys: int = 1_000
    """Sealed keys that wait for a device; over it the oldest of them goes, as with the next two."""

    waiting_keys_of_sender: int = 64
    """Sealed keys of one device that wait for another."""

    waiting_bytes: int = 128 * 1024 * 1024
    """Bytes of all sealed keys that wait, what keeping them costs included."""

    waiting_s: float = 14 * 24 * 3600.0
    """For how long a sealed key waits: as long as the prekey may be used that it is sealed to."""

    outbox_bytes: int = 256 * 1024
    """Bytes that wait for a client that does not read."""

    outbox_frames: int = 1_000
    """Frames that wait for a client that does not read."""

    outboxes_bytes: int = 256 * 1024 * 1024
    """Bytes that wait for all clients that do not read; the one for which most waits goes first."""

    unread_bytes: int = 128 * 1024 * 1024
    """Bytes of frames that have come in part, or wait to be handled, over all connections; the one with most of it
    goes first."""

    unanswered_bytes: int = 64 * 1024 * 1024
    """Bytes of posts of all clients that have been read and not been answered; over it who posts is not read."""

    send_buffer: int = 256 * 1024
    """What the kernel is asked to hold for each connection."""

    ping_s: float = 15.0
    """Silence before a ping; three such spans and the client is gone."""

    stop_s: float = 4.0
    """Seconds that clients have to leave when the relay stops."""
