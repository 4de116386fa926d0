"""Talk over bad links, with the checker's eyes on it."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any, Final

from tests.faults.programs import Client, FaultCase, Proxy

BAD: Final[dict[str, Any]] = {"latency_s": 0.05, "jitter_s": 0.05, "split": 1}
"""What every piece of a bad link goes through."""
BROKEN: Final[dict[str, Any]] = {**BAD, "reset": 0.02}
BENT: Final[dict[str, Any]] = {**BAD, "corrupt": 0.01, "duplicate": 0.01}
"""TLS takes what is bent for the end of a link."""


def are_sent(texts: set[str], events: list[dict[str, Any]]) -> bool:
    """Whether all of these were acknowledged."""
    return texts <= {event["text"] for event in events if event["type"] == "sent"}


class BadLinkCase(FaultCase):
    """Three people behind a bad link, and one on a good one."""

    def setUp(self) -> None:
        """Nobody has come back yet."""
        self.away_s: list[float] = []
        """For how long each link was down."""
        self._down: dict[str, float] = {}

    def look(self, client: Client) -> None:
        """Whether a client's link is up now, to a tenth of a second."""
        ups = [event["up"] for event in client.events() if event["type"] == "link"]
        now = time.monotonic()
        if not ups[-1]:
            self._down.setdefault(client.name, now)
        elif client.name in self._down:
            self.away_s.append(now - self._down.pop(client.name))

    def talk(self, seconds: float, *clients: Client) -> list[tuple[Client, str]]:
        """Everybody says something twice a second, for a while; what was said.

        A relay takes five a second of anybody, and what is said again on a new link counts as well. A client that
        is to say more falls behind, until it reads no more of what we say to it, and we see nothing of it.
        """
        said: list[tuple[Client, str]] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in clients:
                text = f"{client.name} {len(said)}"
                client.says(text)
                said.append((client, text))
            for _ in range(5):
                time.sleep(0.1)
                for client in clients:
                    self.look(client)
        return said

    def heals(self, proxy: Proxy, said: list[tuple[Client, str]], *clients: Client) -> None:
        """The links are good again: whatever was said is taken, and what is said now is heard by everybody."""
        proxy.now()
        for client in clients:
            own = {text for who, text in said if who is client}
            client.waits("answer", partial(are_sent, own))
        for client in clients:
            client.waits("link", lambda events: [e for e in events if e["type"] == "link"][-1]["up"])
        for client in clients:
            self.all_hear(f"{client.name} is back", client, *[each for each in clients if each is not client])

    def bad_talk(self, seconds: float, faults: dict[str, Any]) -> None:
        """Talk over bad links, with the checker's eyes on it."""
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
        self.assert_clean(*(each.life(since) for each in clients))
        if self.away_s:
            self.measured(
                f"{len(said)} said in {seconds:.0f} s, {lost} links lost; back after {median(self.away_s):.1f} s "
                f"(median), {max(self.away_s):.1f} s at most"
            )
        relay.ends()
