"""The root of what this package raises, and how a mistake of ours is logged."""

import traceback
from pathlib import PurePath


class WireError(Exception):
    """Something about an address, a name or a message was not as the protocol wants it."""


def kind_and_place(error: BaseException) -> str:
    """What to log of a mistake of ours: never its text, which may hold what a peer sent or is called."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}"
