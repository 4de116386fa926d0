"""Descriptors: every connection takes one, and when there are none left nothing works, the store least of all.

So the soft limit is raised as far as the system lets us, some are kept back, and what is left is shared between
clients and connections that have not logged in, which cannot take them all.
"""

import fcntl
import os
import resource
from contextlib import suppress
from dataclasses import replace
from typing import Final

from twisted.logger import Logger

from securechat.relay.limits import RelayLimits

KEPT: Final = 128
"""What is not for connections: the store, listeners, `--status` and the operator's commands take half of it at
most."""

LEAST: Final = 16
"""So many connections there may be, however few descriptors there are."""

_log = Logger()


def raise_limit() -> None:
    """Take as many descriptors as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_for(descriptors: int) -> int | None:
    """How many connections so many descriptors are good for; None where there is no limit on them."""
    return None if descriptors == resource.RLIM_INFINITY else max(LEAST, descriptors - KEPT)


def make_room(descriptors: int) -> None:
    """Have the kernel make room for so many now, as far as the system lets us.

    Where it has to make more while other threads run it lets us wait until all processors have noticed: at
    descriptor 256, 512 and so on nobody hears anything for 7 to 15 ms (docs/performance.md).
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY:
        descriptors = min(descriptors, allowed)
    with open(os.devnull) as anything, suppress(OSError):
        os.close(fcntl.fcntl(anything, fcntl.F_DUPFD_CLOEXEC, descriptors - 1))


def fit(limits: RelayLimits, connections: int | None) -> RelayLimits:
    """The limits with no more connections than there can be; those that are not logged in get a third at most."""
    if connections is None or limits.max_clients + limits.handshakes <= connections:
        return limits
    strangers = min(limits.handshakes, connections // 3)
    clients = min(limits.max_clients, connections - strangers)
    _log.warn(
        "the system allows few descriptors: {clients} clients at once, and {strangers} that have not logged in",
        clients=clients,
        strangers=strangers,
    )
    return replace(limits, max_clients=clients, handshakes=strangers)
