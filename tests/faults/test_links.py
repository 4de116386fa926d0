"""Links that are slow, broken and bent, clients that are killed: nothing is lost in silence or comes twice."""

from __future__ import annotations

import time
from signal import SIGKILL
from typing import Any, Final

from tests.faults.ackcheck import Life
from tests.faults.programs import Client, FaultCase, Proxy

BAD: Final[dict[str, Any]] = {"latency_s": 0.05, "jitter_s": 0.05, "split": 1}
"""What every piece of a bad link goes through."""
BROKEN: Final[dict[str, Any]] = {**BAD, "reset": 0.02}
BENT: Final[dict[str, Any]] = {**BAD, "corrupt": 0.01, "duplicate": 0.01}
"""TLS takes what is bent for the end of a link."""


class BadLinkTests(FaultCase):
    """Three people behind a bad link, and one on a good one."""

    def talk(self, seconds: float, *clients: Client) -> list[tuple[Client, str]]:
        """Everybody says something every now and then, for a while; what was said."""
        said: list[tuple[Client, str]] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in clients:
                text = f"{client.name} {len(said)}"
                client.says(text)
                said.append((client, text))
                time.sleep(0.02)
            time.sleep(0.1)
        return said

    def heals(self, proxy: Proxy, said: list[tuple[Client, str]], *clients: Client) -> None:
        """The links are good again: whatever was said is taken, and what is said now is heard by everybody."""
        proxy.now()
        for client in clients:
            for text in (text for who, text in said if who is client):
                client.gets("sent", text=text)
        for client in clients:
            client.waits("link", lambda events: [e for e in events if e["type"] == "link"][-1]["up"])
        for client in clients:
            self.all_hear(f"{client.name} is back", client, *[each for each in clients if each is not client])

    def bad_talk(self, seconds: float, faults: dict[str, Any], told: int | None) -> list[str]:
        """Talk over bad links, with the checker's eyes on it; what clients told that they missed."""
        relay = self.relay()
        proxy = self.proxy(relay)
        far = self.clients(proxy.address, "alice", "bob", "carol")
        clients = [*far, self.client("dave", relay.address)]
        since, *_ = [self.all_hear(f"{each.name} begins", each, *clients) for each in clients]
        proxy.now(up=faults, down=faults)
        said = self.talk(seconds, *clients)
        self.heals(proxy, said, *clients)
        lost = sum(event["type"] == "link" and not event["up"] for each in far for event in each.events())
        self.assertEqual(bool(faults.keys() - BAD.keys()), lost > 0)
        found = self.assert_clean(*(each.life(since) for each in clients), told=told)
        relay.ends()
        return found

    def test_slow_and_split(self) -> None:
        """Over links that are late and come byte by byte everything that was acknowledged is shown to everybody."""
        self.bad_talk(5, BAD, told=0)

    def test_resets(self) -> None:
        """With resets as well everything acknowledged is shown, once and in order, or told to be missed."""
        self.bad_talk(20, BROKEN, told=None)

    def test_bent(self) -> None:
        """Where bytes are altered and doubled on the way nothing that was altered or doubled is shown."""
        self.bad_talk(8, BENT, told=None)


class KillTests(FaultCase):
    """Clients that are killed in the middle of a sentence, and started again."""

    def test_killed(self) -> None:
        """What was acknowledged to a client that is killed is shown to the others once, and nothing to it twice."""
        relay = self.relay()
        bob, carol = self.clients(relay.address, "bob", "carol")
        since = self.all_hear("bob begins", bob, carol)
        self.all_hear("carol begins", carol, bob)
        lives: list[Life] = []
        for round_ in range(4):
            alice = self.client("alice", relay.address)
            first = self.all_hear(f"now {round_}", bob, carol, alice)
            for number in range(40):
                alice.says(f"alice {round_} {number}")
                bob.says(f"bob {round_} {number}")
            alice.gets("sent", text=f"alice {round_} {5 * round_}")
            if round_ < 3:
                alice.signals(SIGKILL)
                alice.ends()
            else:
                alice.gets("sent", text=f"alice {round_} 39")
            bob.gets("sent", text=f"bob {round_} 39")
            lives.append(alice.life(first, cut=round_ < 3))
        self.all_hear("all is said", bob, carol, alice)
        lives[-1] = alice.life(first)
        self.assertGreater(sum(len(life.acked) for life in lives), 40)
        told = self.assert_clean(bob.life(since), carol.life(since), *lives, told=3)
        # What bob said while alice was away, as she knows by his own numbers.
        self.assertEqual(3, sum(each.startswith("alice: gap of bob") for each in told))
        relay.ends()
