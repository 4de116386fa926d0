"""What the relay allows, in one place; `tap.py` turns the ones an operator changes into options."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Every bound that the relay enforces. Sizes in bytes, times in seconds."""

    max_clients: int = 1_000
    """Clients logged in at once; 2 makes the server of the original."""

    handshakes: int = 512
    """Connections that have not logged in; over it the oldest of them is cut off."""

    handshake_s: float = 10.0
    """From the connection to `Welcome`, the TLS handshake included."""

    per_address: int = 16
    """Connections at once from one address (IPv6: one /64)."""

    new_per_address: int = 16
    """New connections that an address may make at once."""

    new_every_s: float = 10.0
    """After those, seconds for each further one."""

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

    requests_per_s: float = 10.0
    """`Enter`, `Leave`, `Ping` and `Pong` of one client; one that sends more is flooding."""

    requests_burst: int = 250
    """`Enter`, `Leave`, `Ping` and `Pong` of one client at once."""

    rooms: int = 200
    """Rooms that one client may be in."""

    outbox_bytes: int = 256 * 1024
    """Bytes that wait for a client that does not read."""

    outbox_frames: int = 1_000
    """Frames that wait for a client that does not read."""

    send_buffer: int = 256 * 1024
    """What the kernel is asked to hold for each connection."""

    ping_s: float = 15.0
    """Silence before a ping; three such spans and the client is gone."""

    ghost_s: float = 5.0
    """Seconds in which the holder of a name must answer once somebody else asks for it."""

    stop_s: float = 4.0
    """Seconds that clients have to leave when the relay stops."""
