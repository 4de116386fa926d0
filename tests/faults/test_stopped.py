"""A reader that stops in the middle of a lot, as a laptop does that is shut: it costs the relay next to nothing."""

from __future__ import annotations

import contextlib
from signal import SIGCONT, SIGSTOP
from threading import Thread
from typing import Final

from securechat.wire.messages import LAST_SEQ, Delivery, Enter, Roster, SessionKey
from tests.faults.programs import LOBBY, MIB, Client, FaultCase, Relay
from tests.relay.people import Chain
from tests.relay.process import Talker

PLAIN: Final = 17
"""Readers that only count: with alice and three more clients they are twenty-one."""
TEXT: Final = "x" * 16_000
WARMING: Final = 200
RUN: Final = 10
TALK: Final = 1_300
"""More than 20 MiB as they are sealed."""


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


class StoppedTests(FaultCase):
    """One who talks, and twenty who read, of whom one stops."""

    def talk(self, first: int, count: int, alice: Client, *readers: Client) -> None:
        """Alice says a lot, never further ahead of those who read than the relay would wait for."""
        for at in range(first, first + count, RUN):
            for number in range(at, at + RUN):
                alice.writes({"text": f"{number} {TEXT}", "id": str(number), "room": LOBBY})
            seq = alice.gets("sent", id=str(number))["seq"]
            for reader in readers:
                reader.gets("message", seq=seq)
            self.until(lambda seq=seq: all(each.seqs[-1:] >= [seq] for each in self.counters), 20)  # type: ignore[misc]

    def test_stopped(self) -> None:
        """20 MiB pass a reader that is stopped: the relay hardly grows, all others hear it, and it does later."""
        relay = self.relay("--plaintext", "--post-rate", "0", "--byte-rate", "0")
        alice, bob, carol, stopped = clients = self.clients(relay.address, "alice", "bob", "carol", "stopped")
        self.counters = [Counter(self, relay, f"plain{number}") for number in range(PLAIN)]
        for counter in self.counters:
            counter.start()
        since = self.all_hear("begin", *clients)
        self.talk(0, WARMING, *clients)
        self.all_hear("warm", *clients)
        before = relay.resident_bytes()
        stopped.signals(SIGSTOP)
        self.talk(WARMING, TALK, alice, bob, carol)
        last = self.all_hear("all is said", alice, bob, carol)
        self.measured(f"the relay grew by {(relay.resident_bytes() - before) / MIB:.1f} MiB")
        self.assert_grew(relay, before, 4 * MIB)
        self.until(lambda: all(each.seqs[-1:] == [last] for each in self.counters), 20)
        for counter in self.counters:
            self.assertEqual(list(range(since, last + 1)), counter.seqs)
        stopped.signals(SIGCONT)
        stopped.gets("message", seq=last)
        self.all_hear("again", *clients)
        self.assert_clean(*(client.life(since) for client in clients))
        self.assertEqual([True], [event["up"] for event in stopped.events() if event["type"] == "link"])
        relay.ends()
