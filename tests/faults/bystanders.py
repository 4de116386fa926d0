"""Members who do no harm, beside those who do; and how long everything takes them."""

from __future__ import annotations

import sys
import time
from typing import Final

from tests.client.programs import Program, environment
from tests.faults.ends import EndCase
from tests.faults.members import Pace, p50_p99
from tests.faults.programs import MIB, Relay
from tests.relay.process import Talker
from tests.relay.scraping import parsed
from tests.relay.test_operating import get, over_tcp

CALM_S: Final = 4.0
NAMES: Final = tuple(f"member{number}" for number in range(8))
PACE: Final = Pace(run=1, every_s=0.05)
MOST: Final = 0.5
"""Seconds. What is meant is twice as long as in calm at most; where two cores are there for three busy programs it
would be the machine that is measured. The figures are printed."""


class BystanderCase(EndCase):
    """Eight members who talk, and how long each acknowledgement takes them."""

    options: tuple[str, ...] = ()
    """Of the relay, besides."""

    def look(self, relay: Relay) -> None:
        """Called now and then while harm is done."""

    def hostile(self, what: str, relay: Relay, *words: object) -> Program:
        """Peers of a kind, who have begun."""
        command = [sys.executable, "-m", "tests.faults.hostile", what, str(relay.address), *map(str, words)]
        program = Program(command, environment(self.home("hostile"), PYTHONWARNINGS="ignore"))
        self.addCleanup(program.clean_up)
        self.assertEqual("began", program.line())
        return program

    def bystanders(self, most_bytes: int, what: str, *words: object) -> int:
        """Members talk in calm, and then beside others; how much harm those did, by their own account."""
        relay = Relay(self, "--data", str(self.data), "--plaintext", *self.options)
        members = self.members(relay.address, NAMES, PACE)
        with members.measured() as calm:
            time.sleep(CALM_S)
        before = relay.resident_bytes()
        hostile = self.hostile(what, relay, *words)
        honest: list[float] = []
        harm_began = time.monotonic()
        with members.measured() as harmed:
            while hostile.process.poll() is None:
                began = time.monotonic()
                talker = Talker(self, relay.address)
                talker.login(f"honest{len(honest)}")
                honest.append(time.monotonic() - began)
                talker.socket.close()
                self.look(relay)
                time.sleep(0.2)
        harm_s = time.monotonic() - harm_began
        done = int(hostile.line())
        (calm50, calm99), (harmed50, harmed99) = p50_p99(calm), p50_p99(harmed)
        self.times = harmed99 / calm99
        self.pace = len(harmed) / harm_s / (len(calm) / CALM_S)
        grown = relay.resident_bytes() - before
        self.measured(
            f"{what} {words}: Ack p50 {calm50 * 1e3:.1f} -> {harmed50 * 1e3:.1f} ms, "
            f"p99 {calm99 * 1e3:.1f} -> {harmed99 * 1e3:.1f} ms ({self.times:.1f}x), {self.pace:.0%} as many; "
            f"a login took {max(honest) * 1e3:.0f} ms at most; grew by {grown / MIB:.1f} MiB"
        )
        self.all_is_there(members, [], 0)
        self.assertEqual({1}, {len(each.entered) for each in members.each})
        self.assertLess(harmed99, MOST)
        self.assertLess(max(honest), 5)
        self.assertLess(grown, most_bytes)
        relay.ends()
        return done


class SlowCase(BystanderCase):
    """Beside readers who are slow, at a relay that says how much waits for them."""

    options = ("--append-burst", "1000", "--status", "tcp:0:interface=127.0.0.1")

    def setUp(self) -> None:
        """Nothing has waited yet."""
        super().setUp()
        self.waited: list[float] = []
        self.lagged: list[float] = []

    def look(self, relay: Relay) -> None:
        """How much waits."""
        found = parsed(get(over_tcp(relay), "/metrics")[1])
        self.waited.append(found["securechat_outbox_bytes"])
        self.lagged.append(found["securechat_lagging_links"])

    def slow(self, readers: int, seconds: int, most_bytes: int) -> None:
        """Beside so many readers of a KiB a second others are hardly slower, and what waits is bounded."""
        self.assertEqual(readers, self.bystanders(most_bytes, "slow", readers, seconds))
        self.measured(f"{max(self.waited) / MIB:.1f} MiB waited at most, {max(self.lagged):.0f} lagged")
        # All of them are behind, or nothing was tested.
        self.assertEqual(readers, max(self.lagged))
        self.assertLess(max(self.waited), most_bytes)
        # What is meant is 80 %; see MOST.
        self.assertGreater(self.pace, 0.5)
