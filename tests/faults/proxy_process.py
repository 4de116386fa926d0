"""The proxy in a process of its own: `python -m tests.faults.proxy_process TO [SEED]`; TO is a client endpoint.

It prints its port. Each line of input is an object: `up` and `down` (from the client and to it) hold the faults
from now on, or `do` is what happens at once to every link. The answer is the number of links.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from tests.faults.proxy import FaultProxy, Faults


class Control(LineOnlyReceiver):
    """Standard input and output. The proxy ends with its input."""

    delimiter = b"\n"

    def __init__(self, reactor: Any, proxy: FaultProxy) -> None:
        self._reactor, self._proxy = reactor, proxy

    def connectionMade(self) -> None:
        """Say where the proxy is."""
        self.sendLine(b"%d" % self._proxy.port.getHost().port)

    def lineReceived(self, line: bytes) -> None:
        """Do what a line says."""
        asked = json.loads(line)
        ends = list(self._proxy.ends)
        if "do" in asked:
            for end in ends:
                end.do(asked["do"])
        else:
            self._proxy.faults = {way: Faults(**asked.get(way, {})) for way in ("up", "down")}
            for end in ends:
                end.wake()
        self.sendLine(b"%d" % (len(ends) // 2))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The test is over."""
        if self._reactor.running:
            self._reactor.stop()


def main(to: str, seed: str = "0") -> None:
    """Run until the input ends."""
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    proxy = FaultProxy(reactor, to, int(seed))
    proxy.startService()
    standard_io: Any = StandardIO
    standard_io(Control(reactor, proxy), reactor=reactor)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
