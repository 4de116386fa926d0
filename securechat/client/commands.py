"""What a line of a chat's input can mean: something to say, something to do, or a mistake to show."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty line."""


@dataclass(frozen=True, slots=True)
class Say:
    """Say a text in the current room."""

    text: str


@dataclass(frozen=True, slots=True)
class Help:
    """Show these lines of help."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Who:
    """Show who is in a room."""

    room: str


@dataclass(frozen=True, slots=True)
class Join:
    """Enter a room, and show it."""

    room: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave a room."""

    room: str


@dataclass(frozen=True, slots=True)
class Direct:
    """Say a text to one person alone in their direct room; without a text, show that room."""

    name: str
    room: str
    text: str


@dataclass(frozen=True, slots=True)
class Rooms:
    """Show the rooms that we are in."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Show another room."""

    room: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Empty the screen."""


@dataclass(frozen=True, slots=True)
class Quit:
    """End the chat."""


@dataclass(frozen=True, slots=True)
class New:
    """Found a room that only those enter whom we invite, and show it."""

    room: str


@dataclass(frozen=True, slots=True)
class About:
    """Do something about one person: invite or remove (in the room that is shown), verify, trust, whois."""

    what: str
    name: str


@dataclass(frozen=True, slots=True)
class Safety:
    """Show the safety number of us and one person."""

    name: str


@dataclass(frozen=True, slots=True)
class Rekey:
    """Begin a new session with the next message in a room."""

    room: str


@dataclass(frozen=True, slots=True)
class History:
    """Show again the last messages of the room that is shown."""

    count: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Have what is said in the room that is shown be kept for so many days, or not at all."""

    days: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """Nothing was done; one line says why. It is safe to show."""

    text: str


Command = (
    Nothing
    | Say
    | Help
    | Who
    | Join
    | New
    | Leave
    | Direct
    | Rooms
    | Switch
    | About
    | Safety
    | Rekey
    | History
    | Keep
    | Clear
    | Quit
    | Wrong
)
