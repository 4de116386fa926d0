"""The root of what this package raises, and how a relay that cannot start says so."""

import sys
from typing import NoReturn


class RelayError(Exception):
    """The relay cannot start or go on; the message is one line for its operator."""


class InUseError(RelayError):
    """Somebody else uses the store."""


class WrongKeyError(RelayError):
    """The store was made with another storage key."""


class NewerStoreError(RelayError):
    """A newer version has made the store."""


class DamagedError(RelayError):
    """The store is no store, or not as it was left."""


class StoreError(RelayError):
    """A store cannot do what it was asked for; the message is what its database calls that, and nothing else."""


class NoRoomError(StoreError):
    """There is no room for it; nothing has happened."""


def fail(error: RelayError) -> NoReturn:
    """End the program with one line on the console and status 1.

    twistd prints a traceback for any other exception, and has redirected `sys.stderr` into its log by the time
    that a listener fails.
    """
    sys.stderr = sys.__stderr__
    raise SystemExit(f"securechat: {error}")
