"""One who talks and many who read, of whom one stops in the middle, and what that costs."""

from __future__ import annotations

import contextlib
import time
from signal import SIGCONT, SIGSTOP
from threading import Thread
from typing import Final

from securechat.wire.messages import LAST_SEQ, Delivery, Enter, Roster, SessionKey
from tests.faults.members import p50_p99
from tests.faults.programs import LOBBY, LONG_S, MIB, Client, FaultCase, Relay
from tests.relay.people import Chain
from tests.relay.process import Talker

REAL: Final = 3
"""Readers that are real clients; all others only count."""
TEXT: Final = "x" * 16_000
WARMING: Final = 200
RUN: Final = 10
SEALED: Final = 16_600
"""Bytes of one as it is sealed."""


class Counter(Thread):
    """A member who looks at the numbers of what comes, and at nothing else."""

    def __init__(self, case: FaultCase, relay: Relay, name: str) -> None:
        super().__init__(daemon=True)
        self.seqs: list[int] = []
        self._talker = Talker(case, relay.address)
        who = self._talker.login(name)
        self._talker.send(Enter(LOBBY, 0, LAST_SEQ))
        entries: list[bytes] = []
        total = 1
        while len(entries) < total:
            roster = self._talker.until(Roster)
            entries, total = [*entries, *roster.entries], roster.total
        chain = Chain(LOBBY)
        for entry in entries:
            chain.take(entry)
        self._talker.send(chain.join(who))
        self._talker.until(SessionKey)

    def run(self) -> None:
        """Read until the relay closes, or the test does."""
        with contextlib.suppress(OSError):
            self._read()

    def _read(self) -> None:
        for message in self._talker.messages():
            if isinstance(message, Delivery):
                self.seqs.extend(range(message.first_seq, message.first_seq + len(message.items)))


class StoppedCase(FaultCase):
    """One who talks, and those who read."""

    def talk(self, first: int, count: int, alice: Client, *readers: Client) -> list[float]:
        """Alice says a lot, never further ahead of those who read than the relay would wait for.

        Gives how long each run took until all of them had it.
        """
        took = []
        for at in range(first, first + count, RUN):
            began = time.monotonic()
            for number in range(at, at + RUN):
                alice.writes({"text": f"{number} {TEXT}", "id": str(number), "room": LOBBY})
            seq = alice.gets("sent", id=str(number))["seq"]
            for reader in readers:
                reader.gets("message", seq=seq)
            self.until(lambda seq=seq: all(each.seqs[-1:] >= [seq] for each in self.counters), 20)  # type: ignore[misc]
            took.append(time.monotonic() - began)
        return took

    def stops(self, readers: int, size: int) -> float:
        """So much passes a reader that is stopped: the relay hardly grows, all others hear it, it does later.

        Gives how many times longer the slowest hundredth of messages took than in calm.
        """
        relay = self.relay("--plaintext", "--post-rate", "0", "--byte-rate", "0")
        alice, bob, carol, stopped = clients = self.clients(relay.address, "alice", "bob", "carol", "stopped")
        self.counters = [Counter(self, relay, f"plain{number}") for number in range(readers - REAL)]
        for counter in self.counters:
            counter.start()
        since = self.all_hear("begin", *clients)
        calm = self.talk(0, WARMING, *clients)
        self.all_hear("warm", *clients)
        before = relay.resident_bytes()
        stopped.signals(SIGSTOP)
        beside = self.talk(WARMING, -(-size // SEALED // RUN) * RUN, alice, bob, carol)
        last = self.all_hear("all is said", alice, bob, carol)
        (calm50, calm99), (beside50, beside99) = p50_p99(calm), p50_p99(beside)
        self.measured(
            f"{size / MIB:.0f} MiB beside one of {readers} that had stopped: the relay grew by "
            f"{(relay.resident_bytes() - before) / MIB:.1f} MiB; until all others had {RUN} messages took, p50 "
            f"{calm50 * 1e3:.0f} -> {beside50 * 1e3:.0f} ms ({beside50 / calm50:.1f}x), p99 {calm99 * 1e3:.0f} -> "
            f"{beside99 * 1e3:.0f} ms ({beside99 / calm99:.1f}x)"
        )
        self.assert_grew(relay, before, 4 * MIB)
        self.until(lambda: all(each.seqs[-1:] == [last] for each in self.counters), 20)
        for counter in self.counters:
            self.assertEqual(list(range(since, last + 1)), counter.seqs)
        stopped.signals(SIGCONT)
        began = time.monotonic()
        stopped.gets("message", 5 * LONG_S, seq=last)
        self.measured(f"what had stopped had all of it after {time.monotonic() - began:.1f} s")
        self.all_hear("again", *clients)
        self.assert_clean(*(client.life(since) for client in clients))
        self.assertEqual([True], [event["up"] for event in stopped.events() if event["type"] == "link"])
        relay.ends()
        return beside99 / calm99
