"""A relay that is used for long: people come, talk and go, and what it takes of the machine stays as it was."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random
from signal import SIGTERM
from typing import Final

from tests.faults.ackcheck import Life
from tests.faults.ends import EndCase
from tests.faults.members import Members, Pace, found_room, p50_p99
from tests.faults.programs import MIB, Client, Relay
from tests.relay.process import Talker

ROOMS: Final = 10
EACH: Final = 20
"""Members of each room: 200 in all."""
PACE: Final = Pace(run=1, every_s=ROOMS * EACH / 50, tells=True)
"""All of them together say 50 things a second."""
CHURN_S: Final = 5.0
"""So often somebody's link is lost, and somebody else looks in."""
ROUND_S: Final = 60.0
"""After so long all fall silent for a moment, and everything is looked at."""
IDS_BYTES: Final = 24 * MIB
"""What a relay may grow by once: the ids of the last 8,192 messages of each room, and what an allocator keeps."""
MORE_BYTES_PER_H: Final = MIB


@dataclass(frozen=True)
class Sample:
    """What a relay takes while nobody says anything."""

    memory: int
    descriptors: int
    log: int
    """Bytes of the store's log, as of its store."""
    store: int

    def __str__(self) -> str:
        sizes = (
            f"{self.memory / MIB:.1f} MiB of memory, log {self.log / MIB:.1f} MiB, store {self.store / MIB:.1f} MiB"
        )
        return f"{sizes}, {self.descriptors} descriptors"


class SoakCase(EndCase):
    """Two hundred members, two real clients, and some who look in."""

    def sample(self, relay: Relay) -> Sample:
        """What the relay takes now."""
        store, log = (self.data / name for name in ("relay.db", "relay.db-wal"))
        return Sample(relay.resident_bytes(), relay.descriptors(), log.stat().st_size, store.stat().st_size)

    def goes_on(self, relay: Relay, members: Members, random: Random, seconds: float) -> None:
        """Everybody talks, and links are lost."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            members.cut(random.choice(members.each))
            guest = Talker(self, relay.address)
            guest.login(f"guest{random.randrange(20)}")
            guest.socket.close()
            time.sleep(min(CHURN_S, left))

    def falls_silent(self, members: Members) -> None:
        """Everybody knows everything, and the checker finds nothing wrong; they begin anew."""
        members.post(False)
        self.until(lambda: members.are_level, 60)
        self.assertEqual([], members.wrong)
        for room in {each.room for each in members.each}:
            self.assert_clean(*(each.life for each in members.each if each.room == room))
        for each in members.each:
            each.forget()

    def comes_again(self, alice: Client, bob: Client, relay: Relay, number: int) -> Client:
        """A real client ends and is started again; it gets what was said meanwhile."""
        bob.signals(SIGTERM)
        bob.ends()
        alice.says(f"meanwhile {number}")
        alice.gets("sent", text=f"meanwhile {number}")
        bob = self.client("bob", relay.address)
        self.all_know(f"meanwhile {number}", alice, bob)
        return bob

    def soak(self, seconds: float) -> None:
        """All of it for so long; samples of what the relay takes."""
        random = Random(21)
        relay = self.start()
        rooms = {f"#soak{room}": [f"member{room}x{number}" for number in range(EACH)] for room in range(ROOMS)}
        for room, names in rooms.items():
            found_room(self, relay.address, names, room)
        members = self.all_come(Members(relay.address, rooms, PACE))
        alice, bob = self.clients(relay.address, "alice", "bob")
        since = self.all_hear("begin", alice, bob)
        lives: list[Life] = []
        samples: list[Sample] = []
        began, acked = time.monotonic(), 0
        while not samples or time.monotonic() - began < seconds:
            members.post()
            self.goes_on(relay, members, random, min(ROUND_S, seconds / 2))
            took = p50_p99([each for member in members.each for each in member.ack_s])
            acked += members.acked
            self.falls_silent(members)
            lives.append(bob.life(since if not lives else lives[-1].shown[-1][0] + 1, cut=True))
            bob = self.comes_again(alice, bob, relay, len(samples))
            samples.append(self.sample(relay))
            self.measured(
                f"{(time.monotonic() - began) / 60:.1f} min, {acked} acknowledged, Ack p50 {took[0] * 1e3:.1f} ms, "
                f"p99 {took[1] * 1e3:.1f} ms: {samples[-1]}"
            )
        self.all_hear("end", alice, bob)
        lives.append(bob.life(lives[-1].shown[-1][0] + 1))
        self.assert_clean(alice.life(since), *lives)
        self.assertGreater(acked, 25 * seconds)
        first, hours = samples[0], seconds / 3600
        for sample in samples:
            self.assertLessEqual(abs(sample.descriptors - first.descriptors), 4)
            self.assertLessEqual(sample.log, 64 * MIB)
            self.assertLess(sample.memory - first.memory, IDS_BYTES + hours * MORE_BYTES_PER_H)
        relay.ends()
