"""What a client knows of one room: whether it is in, who else is, and what it has said there that was not taken."""

from dataclasses import dataclass, field

from securechat.client.numbers import Numbers


@dataclass(slots=True, eq=False)
class Pending:
    """Something said that the relay has not acknowledged."""

    post_id: bytes
    text: str
    label: str | None
    posted: bool = False


@dataclass(slots=True, eq=False)
class Room:
    """One room that we are in, want to be in, or have something to say in."""

    name: str
    stay: bool = False
    """Enter it again on every new link."""
    members: list[str] | None = None
    """Who is there; None while we are not."""
    entering: bool = False
    leaving: bool = False
    """We have asked to leave, and nobody wants to come back."""
    sealing: bool = False
    numbers: Numbers = field(default_factory=Numbers)
    outbox: dict[bytes, Pending] = field(default_factory=dict)
