"""Clients that are killed in the middle of a sentence, one after the other, and started again."""

from __future__ import annotations

from random import Random
from signal import SIGKILL
from typing import Final

from tests.faults.ackcheck import Life
from tests.faults.programs import Client, FaultCase

NAMES: Final = ("alice", "bob", "carol")
LINES: Final = 30
"""What each says in a round; the client that is killed has heard of some of them that they were taken."""


class ClientEndCase(FaultCase):
    """Three people who talk, and whose programs are killed."""

    def kills(self, times: int) -> None:
        """Each time one of the three is killed while all of them talk; the checker looks at all of their lives."""
        random = Random(5)
        relay = self.relay()
        clients = dict(zip(NAMES, self.clients(relay.address, *NAMES), strict=True))
        since = dict.fromkeys(NAMES, self.all_hear("begin", *clients.values()))
        lives: list[Life] = []
        for number in range(times):
            for name, client in clients.items():
                for line in range(LINES):
                    client.says(f"{name} {number} {line}")
            name = random.choice(NAMES)
            killed = clients.pop(name)
            killed.gets("sent", text=f"{name} {number} {random.randrange(LINES)}")
            killed.signals(SIGKILL)
            killed.ends()
            lives.append(killed.life(since[name], cut=True))
            for other, client in clients.items():
                client.gets("sent", text=f"{other} {number} {LINES - 1}")
            clients[name] = self.client(name, relay.address)
            since[name] = self.comes_back(f"{name} is back, {number}", name, clients)
        last = self.all_hear("all is said", *clients.values())
        for name, client in clients.items():
            client.gets("sent" if name == next(iter(clients)) else "message", seq=last)
            lives.append(client.life(since[name]))
        self.assert_clean(*lives)
        acked = sum(len(life.acked) for life in lives)
        self.assertGreater(acked, times * LINES)
        silent = sum(len(self.untold([life for life in lives if life.name == name], last)) for name in NAMES)
        again = sum(len(life.again) for life in lives)
        self.assertEqual(0, silent)
        self.measured(f"{times} kills, {acked} acknowledged, {again} shown again and marked, {silent} never")
        relay.ends()

    def untold(self, lives: list[Life], last: int) -> set[int]:
        """The numbers that a client was never told in any of its lives: it was killed when it was about to."""
        known = {seq for life in lives for seq in life.known}
        return set(range(min(known), last + 1)) - known

    def comes_back(self, text: str, name: str, clients: dict[str, Client]) -> int:
        """Somebody says that they are back; its number."""
        return self.all_hear(text, clients[name], *(each for each in clients.values() if each is not clients[name]))
