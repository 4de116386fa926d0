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

CALM_S: Final = 3.0
NAMES: Final = tuple(f"member{number}" for number in range(8))
AGAIN_S: Final = 0.1
PACE: Final = Pace(run=1, every_s=0.05)
MOST: Final = 0.5
"""Seconds. What is meant is twice as long as in calm at most; where two cores are there for three busy programs it
would be the machine that is measured. The figures are printed."""


class BystanderCase(EndCase):
    """Eight members who talk, and how long each acknowledgement takes them."""

    _hostile = 0
    _honest = 0
    _cut_off = 0

    options: tuple[str, ...] = ()
    """Of the relay, besides."""

    def look(self, relay: Relay) -> None:
        """Called now and then while harm is done."""

    def hostile(self, what: str, relay: Relay, *words: object) -> Program:
        """Peers of a kind, who have begun."""
        command = [sys.executable, "-m", "tests.faults.hostile", what, str(relay.address), *map(str, words)]
        self._hostile += 1
        home = self.home(f"hostile{self._hostile}")
        program = Program(command, environment(home, PYTHONWARNINGS="ignore"))
        self.addCleanup(program.clean_up)
        self.assertEqual("began", program.line())
        return program

    def bystanders(self, most_bytes: int, what: str, *words: object, rounds: int = 1) -> int:
        """Members talk in calm, and then beside others, round after round; how much harm was done, all in all."""
        relay = Relay(self, "--data", str(self.data), "--plaintext", *self.options)
        members = self.members(relay.address, NAMES, PACE)
        self.times: list[float] = []
        before = None
        done = 0
        for _ in range(rounds):
            with members.measured() as calm:
                time.sleep(CALM_S)
            before = before or relay.resident_bytes()
            harm_began = time.monotonic()
            with members.measured() as harmed:
                did, slowest = self._harm(relay, what, words)
            self.pace = len(harmed) / (time.monotonic() - harm_began) / (len(calm) / CALM_S)
            done += did
            grown = relay.resident_bytes() - before
            (calm50, calm99), (harmed50, harmed99) = p50_p99(calm), p50_p99(harmed)
            self.times.append(harmed99 / calm99)
            self.measured(
                f"{what} {words}: Ack p50 {calm50 * 1e3:.1f} -> {harmed50 * 1e3:.1f} ms, "
                f"p99 {calm99 * 1e3:.1f} -> {harmed99 * 1e3:.1f} ms ({self.times[-1]:.1f}x), "
                f"{self.pace:.0%} as many; "
                f"a login took {slowest * 1e3:.0f} ms at most, {self._cut_off} were cut off; "
                f"grew by {grown / MIB:.1f} MiB"
            )
            self.assertLess(harmed99, MOST)
            self.assertLess(slowest, 5)
            self.assertLess(grown, most_bytes)
        self.all_is_there(members, [], 0)
        self.assertEqual({1}, {len(each.entered) for each in members.each})
        relay.ends()
        return done

    def _harm(self, relay: Relay, what: str, words: tuple[object, ...]) -> tuple[int, float]:
        """Others do harm, while somebody honest logs in every now and then; how much, and the slowest login."""
        hostile = self.hostile(what, relay, *words)
        slowest = 0.0
        while hostile.process.poll() is None:
            began = time.monotonic()
            self._log_in(relay)
            slowest = max(slowest, time.monotonic() - began)
            self.look(relay)
            time.sleep(0.2)
        return int(hostile.line()), slowest

    def _log_in(self, relay: Relay) -> None:
        """Somebody new logs in; who is cut off, so many having come since, tries again as every client does."""
        self._honest += 1
        name = f"honest{self._honest}"
        while True:
            talker = Talker(self, relay.address)
            try:
                talker.login(name)
                return
            except ConnectionError:
                self._cut_off += 1
                time.sleep(AGAIN_S)
            finally:
                talker.socket.close()


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

    def slow(self, readers: int, seconds: int, most_bytes: int, least_pace: float) -> None:
        """Beside so many readers of a KiB a second others are hardly slower, and what waits is bounded."""
        self.assertEqual(readers, self.bystanders(most_bytes, "slow", readers, seconds))
        self.measured(f"{max(self.waited) / MIB:.1f} MiB waited at most, {max(self.lagged):.0f} lagged")
        # All of them are behind, or nothing was tested.
        self.assertEqual(readers, max(self.lagged))
        self.assertLess(max(self.waited), most_bytes)
        self.assertGreater(self.pace, least_pace)
