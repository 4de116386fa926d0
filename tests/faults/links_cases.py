"""What takes a minute: links on which nothing passes any more, and bad ones for longer."""

from __future__ import annotations

import time
from typing import Final

from tests.faults.bad_links import BROKEN, BadLinkCase
from tests.faults.programs import FaultCase, asked_s
from tests.relay.process import Talker

SILENT: Final = 48
"""Links that say nothing anyway, beside those of two clients."""
SILENT_S: Final = 45.0
"""Who is not heard for so long is gone."""


class BlackholeTests(FaultCase):
    """Links that are there and carry nothing."""

    def test_blackhole(self) -> None:
        """Of fifty links relay and clients notice after 45 seconds of silence, names are free, and all goes on."""
        relay = self.relay("--plaintext")
        proxy = self.proxy(relay)
        (near,) = self.clients(relay.address, "near")
        far = self.clients(proxy.address, "far0", "far1")
        for number in range(SILENT):
            Talker(self, proxy.address).login(f"silent{number}")
        since = self.all_hear("before", near, *far)
        self.all_hear("far before", far[0], near, far[1])
        descriptors = relay.descriptors()
        began = time.monotonic()
        proxy.now(up={"blackhole": True}, down={"blackhole": True})
        near.says("while they hear nothing")
        far[0].says("said into nothing")
        for each in far:
            near.gets("gone", 64, name=each.name)
        gone = time.monotonic() - began
        for each in far:
            each.gets("link", 64, up=False)
        noticed = time.monotonic() - began
        self.until(lambda: relay.descriptors() <= descriptors - SILENT, 15)
        self.measured(
            f"the relay knew after {gone:.1f} s, clients as well after {noticed:.1f} s, all was closed after "
            f"{time.monotonic() - began:.1f} s"
        )
        # The last bytes were heard a little before they were lost; a busy machine is late.
        self.assertGreater(gone, 25)
        self.assertLess(noticed, SILENT_S + 3)
        Talker(self, relay.address).login("silent7")
        proxy.now()
        self.all_know("said into nothing", far[0], near)
        for each in far:
            self.all_hear(f"{each.name} is back", each, near, *[other for other in far if other is not each])
        self.all_know("while they hear nothing", near, *far)
        self.assert_clean(near.life(since), *(each.life(since) for each in far))
        relay.ends()


class LongTests(BadLinkCase):
    """A bad link for longer: 300 ms late, give or take 100, with a reset of one piece in a hundred."""

    def test_long(self) -> None:
        """After two minutes of bad links, or `FAULT_MINUTES`, everything acknowledged was shown to everybody."""
        self.bad_talk(asked_s(120), {**BROKEN, "latency_s": 0.2, "jitter_s": 0.2, "reset": 0.01})
