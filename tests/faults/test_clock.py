"""A wall clock that is set forward and back: nobody is cut off, no timer fires early or late, all is heard."""

from __future__ import annotations

import os
import sys
import time
from random import Random
from typing import Final

from securechat.wire.messages import Greeting, Refused
from tests.faults.programs import Client, FaultCase, Relay
from tests.faults.stepped import Stepped
from tests.relay.process import Talker

HOUR: Final = 3_600.0
YEAR: Final = 365 * 24 * HOUR
STEPPED: Final = (sys.executable, "-m", "tests.faults.stepped")


class SteppedRelay(Relay):
    """A relay whose clock can be stepped."""

    program = (*STEPPED, "twistd")


class ClockTests(FaultCase):
    """Two people who talk while a clock jumps."""

    def setUp(self) -> None:
        """A clock that is right, until it is not."""
        folder = self.home("clock")
        folder.mkdir(parents=True)
        self.clock = Stepped(folder / "wrong")
        self.patch(os, "environ", {**os.environ, "STEPPED_BY": str(self.clock.path)})

    def steps(self, since: int, alice: Client, bob: Client, jumps: list[float]) -> None:
        """Step the clock and talk, in turns; then nobody has lost a link, or a message."""
        for number, wrong in enumerate(jumps):
            self.clock.by(wrong)
            self.all_hear(f"alice {number}", alice, bob, within_s=10)
            self.all_hear(f"bob {number}", bob, alice, within_s=10)
        for client in (alice, bob):
            links = [event for event in client.events() if event["type"] == "link"]
            self.assertEqual([True], [event["up"] for event in links], links)
        self.assert_clean(alice.life(since), bob.life(since))

    def jumps(self) -> list[float]:
        """An hour, ten years, and a hundred of anything in between."""
        random = Random(18)
        few = [HOUR, -HOUR, 0.0, 10 * YEAR, 0.0, -10 * YEAR, 0.0]
        return few + [random.choice((HOUR, YEAR)) * random.uniform(-1, 1) for _ in range(93)]

    def test_relay(self) -> None:
        """Where the relay's clock is stepped 100 times nobody is cut off, and a login has its ten seconds."""
        relay = SteppedRelay(self, "--plaintext")
        alice, bob = self.clients(relay.address, "alice", "bob")
        since = self.all_hear("begin", alice, bob)
        self.all_hear("begin as well", bob, alice)
        stranger = Talker(self, relay.address)
        stranger.until(Greeting)
        began = time.monotonic()
        self.steps(since, alice, bob, self.jumps())
        self.assertEqual("timed-out", str(stranger.until(Refused).code))
        self.assertGreater(time.monotonic() - began, 9)
        self.assertLess(time.monotonic() - began, 13)
        self.clock.by(0)
        Talker(self, relay.address).login("carol")
        relay.ends()

    def test_client(self) -> None:
        """Where a client's clock is stepped by an hour it keeps its link, hears everything and is heard."""
        relay = self.relay("--plaintext")
        alice = self.client("alice", relay.address, module="tests.faults.stepped")
        bob = self.client("bob", relay.address)
        since = self.all_hear("begin", alice, bob)
        self.all_hear("begin as well", bob, alice)
        self.steps(since, alice, bob, [sign * HOUR * 0.98 for sign in (1, -1, 0) * 7])
        relay.ends()

    def test_client_returns(self) -> None:
        """A client that lost its link comes back as soon as it said, though its clock is set back meanwhile."""
        relay = self.relay("--plaintext")
        proxy = self.proxy(relay)
        alice = self.client("alice", proxy.address, module="tests.faults.stepped")
        proxy.now(down={"reset": 1.0})
        proxy.does("reset")
        alice.gets("link", up=False)
        # By then it has tried several times, and waits for seconds.
        time.sleep(4)
        self.clock.by(-0.98 * HOUR)
        proxy.now()
        alice.says("here again")
        alice.gets("sent", 20, text="here again")
        relay.ends()
