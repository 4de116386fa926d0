"""Descriptors: how many connections they are good for, and who gets them."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay import building
from securechat.relay.building import build_relay
from securechat.relay.descriptors import KEPT, LEAST, connections_for, fit, make_room
from securechat.relay.limits import RelayLimits
from securechat.relay.options import Options
from tests.relay.harness import RelayCase
from tests.relay.process import TWISTD, RelayProcess


class FrugalRelay(RelayProcess):
    """One that is given fewer descriptors than it may take."""

    program = ("/bin/bash", "-c", 'ulimit -n 900; ulimit -S -n 300; exec "$0" "$@"', TWISTD)


class FitTests(SynchronousTestCase):
    """The arithmetic."""

    def test_connections(self) -> None:
        """Some descriptors are kept back; without a limit there is none."""
        self.assertEqual(4_096 - KEPT, connections_for(4_096))
        self.assertEqual(LEAST, connections_for(KEPT))
        self.assertIsNone(connections_for(resource.RLIM_INFINITY))

    def test_enough(self) -> None:
        """Where there are enough the limits stay."""
        limits = RelayLimits()
        most = limits.max_clients + limits.handshakes
        self.assertIs(limits, fit(limits, most))
        self.assertIs(limits, fit(limits, None))

    def test_too_few(self) -> None:
        """Where there are not, a third is for those who log in, and no more than can be are let in."""
        for connections in (16, 300, 1_511):
            limits = fit(RelayLimits(), connections)
            self.assertLessEqual(limits.max_clients + limits.handshakes, connections)
            self.assertEqual(min(512, connections // 3), limits.handshakes)
        self.assertEqual((1_000, 10), _shares(fit(RelayLimits(handshakes=10), 1_015 - 5)))


def _shares(limits: RelayLimits) -> tuple[int, int]:
    return limits.max_clients, limits.handshakes


class FullTests(RelayCase):
    """A relay with as many connections as the system allows."""

    def test_full(self) -> None:
        """One more is cut off before anything is said, and does not count for its address; then there is room."""
        relay = self.relay(RelayLimits(per_address=10))
        relay.factory._most_connections = 3
        for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            relay.connect(host)
        self.assertIsNone(relay.try_connect("192.0.2.4"))
        self.assertEqual((1, 0), (relay.factory.refused_for_all, relay.factory.refused_addresses))
        self.assertIsNone(relay.factory._addresses._open.get("192.0.2.4"))
        relay.connections[0].transport.lose()
        relay.connect("192.0.2.4")
        self.assertEqual(3, relay.factory.connections)


class StartTests(SynchronousTestCase):
    """A relay as it begins."""

    def test_counted(self) -> None:
        """What the system allows is what the relay keeps to."""
        self.patch(building, "getrlimit", lambda what: (KEPT + 30, 4_096))
        options = Options()
        options.parseOptions(["--plaintext", "--in-memory", "--engine", "cpu"])
        _, relay = build_relay(MemoryReactorClock(), options)
        self.assertEqual(30, relay.factory._most_connections)
        self.assertEqual((20, 10), _shares(relay.factory.limits))

    def test_raised(self) -> None:
        """It takes as many descriptors as the system lets it have."""
        relay = FrugalRelay(self, "--plaintext", "--in-memory", "--engine", "cpu")
        limits = Path(f"/proc/{relay.pid}/limits").read_text()
        self.assertRegex(limits, r"Max open files +900 +900 ")

    def test_room(self) -> None:
        """The kernel has made room for all that may come, so that nobody waits for that later."""
        for options, least in (((), 1_000 + 512), (("--max-clients", "5000"), 5_000 + 512)):
            relay = RelayProcess(self, "--plaintext", "--in-memory", "--engine", "cpu", *options)
            self.assertGreaterEqual(self.room_of(relay), least)

    def test_little_room(self) -> None:
        """Where the system allows fewer, there is room for those."""
        relay = FrugalRelay(self, "--plaintext", "--in-memory", "--engine", "cpu")
        self.assertGreaterEqual(self.room_of(relay), 900)

    def room_of(self, relay: RelayProcess) -> int:
        """For how many descriptors of a relay the kernel has room."""
        found = re.search(r"FDSize:\s(\d+)", Path(f"/proc/{relay.pid}/status").read_text())
        assert found is not None
        return int(found[1])

    def test_no_room(self) -> None:
        """There is no more room than the system allows, and asking for more harms nobody."""
        for allowed in (LEAST, resource.RLIM_INFINITY):
            self.patch(resource, "getrlimit", lambda _, allowed=allowed: (allowed, allowed))
            before = os.listdir("/proc/self/fd")
            make_room(2**40)
            self.assertEqual(before, os.listdir("/proc/self/fd"))
