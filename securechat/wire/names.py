"""Which names and rooms there can be.

A name is a lower-case handle. A room is `#` and such a handle, or, for two people alone, `@` and their two
names in order joined by `+`; no name holds a `+`, so the two can always be told from the room.
"""

import re
from typing import Final

from securechat.wire.codes import Code

NAME_CHARACTERS: Final = 32
LOBBY: Final = "#lobby"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}", re.ASCII)


def name_refusal(name: str) -> Code | None:
    """Why `name` cannot be a user's name, or None where it can."""
    if len(name) > NAME_CHARACTERS:
        return Code.NAME_TOO_LONG
    return None if _NAME.fullmatch(name) else Code.BAD_NAME


def is_room(room: str) -> bool:
    """Whether `room` is a named room or a direct room."""
    if room.startswith("#"):
        return _NAME.fullmatch(room, 1) is not None
    return direct_pair(room) is not None


def direct_pair(room: str) -> tuple[str, str] | None:
    """The two people of a direct room in order, or None where `room` is not one."""
    if not room.startswith("@"):
        return None
    first, plus, second = room[1:].partition("+")
    if not plus or first >= second or not _NAME.fullmatch(first) or not _NAME.fullmatch(second):
        return None
    return first, second


def direct_room(one: str, other: str) -> str:
    """The direct room of two different people, whoever of them asks."""
    first, second = sorted((one, other))
    return f"@{first}+{second}"
