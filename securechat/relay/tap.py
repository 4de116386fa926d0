"""`twistd -n securechat`: what twistd asks a plugin for. The relay itself is built by `building`."""

import time
from typing import Any

from twisted.application.service import IService

from securechat.relay.options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Build the relay. Ends the program with one line where the options or the machine do not allow it."""
    from twisted.internet import reactor as the_reactor

    from securechat.disk.cores import forbid_core_files
    from securechat.relay.building import build_relay
    from securechat.relay.collector import spare_what_is_here
    from securechat.relay.descriptors import raise_limit
    from securechat.relay.errors import RelayError, fail

    reactor: Any = the_reactor
    # The wall clock can be set back or forward; timers then fire late or all at once (RELIABILITY.md §4).
    reactor.seconds = time.monotonic
    # All services have started when the reactor runs, and what was kept has been read.
    reactor.callWhenRunning(spare_what_is_here)
    forbid_core_files()
    raise_limit()
    try:
        return build_relay(reactor, options, is_program=True)[0]
    except RelayError as wrong:
        fail(wrong)
