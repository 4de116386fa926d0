"""Ten thousand malformed frames, against a relay in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from random import Random
from threading import Thread
from typing import Final

from tests.faults import swarm
from tests.faults.mutators import MUTATORS, Mutator, codes_of_stranger
from tests.faults.programs import MIB, FaultCase, Relay
from tests.faults.swarm import End, Peer

FRAMES: Final = 10_000
LINKS: Final = 50
WARMING: Final = 1_000


class MalformedTests(FaultCase):
    """Peers that say what is no message, before and after they have logged in."""

    def setUp(self) -> None:
        """How links ended, for each mutator."""
        self.random = Random(1)
        self.ends: list[End] = []
        self.strange: list[str] = []
        self.broken: list[BaseException] = []

    def spoil(self, relay: Relay, mutator: Mutator, number: int) -> Callable[[], Awaitable[None]]:
        """One link, on which a malformed frame is sent: every other round by somebody who has logged in."""
        data, codes = mutator(self.random)

        async def act() -> None:
            expected = codes
            peer = await Peer.connect(relay.address)
            if number // len(MUTATORS) % 2:
                # A name comes round long after its last link has gone.
                await peer.login(f"peer{number % 2_000}")
            else:
                expected = codes_of_stranger(data, codes)
                await peer.message()
            peer.writer.write(data)
            end = await peer.end()
            self.ends.append(end)
            if end.code not in expected:
                self.strange.append(f"{mutator.__name__}: {end.code} for {data[:60]!r}")

        return act

    def spoils(self, relay: Relay, frames: int) -> None:
        """So many malformed frames over so many links at once, of all mutators in turn."""

        def work() -> Iterator[Callable[[], Awaitable[None]]]:
            for number in range(frames):
                yield self.spoil(relay, MUTATORS[number % len(MUTATORS)], number)

        try:
            swarm.run(work(), LINKS, 240)
        except BaseException as wrong:
            self.broken.append(wrong)

    def test_malformed(self) -> None:
        """Each link is closed with a right code within a second, the relay hardly grows, and others talk on."""
        relay = self.relay("--plaintext", "--stranger-rate", "0")
        alice, bob = self.clients(relay.address, "alice", "bob")
        since = self.all_hear("begin", alice, bob)
        self.all_hear("begin as well", bob, alice)
        self.spoils(relay, WARMING)
        before = relay.resident_bytes()
        spoiling = Thread(target=self.spoils, args=(relay, FRAMES), daemon=True)
        spoiling.start()
        for number in count():
            self.all_hear(f"alice {number}", alice, bob)
            self.all_hear(f"bob {number}", bob, alice)
            if not spoiling.is_alive():
                break
            time.sleep(0.1)
        self.assertEqual([], self.broken)
        self.assertEqual([], self.strange[:10])
        self.assertEqual(FRAMES + WARMING, len(self.ends))
        late = [end.after_s for end in self.ends if end.after_s > 1]
        self.assertLess(len(late), FRAMES / 100, late[:10])
        self.assertLess(max(end.after_s for end in self.ends), 5)
        self.assert_grew(relay, before, 5 * MIB)
        self.assertGreater(number, 5)
        self.assert_clean(alice.life(since), bob.life(since))
        relay.ends()
