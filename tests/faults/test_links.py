"""Links that are slow, broken and bent, clients that are killed: nothing is lost in silence or comes twice."""

from __future__ import annotations

from signal import SIGKILL

from tests.faults.ackcheck import Life
from tests.faults.bad_links import BAD, BENT, BROKEN, BadLinkCase
from tests.faults.programs import FaultCase


class BadLinkTests(BadLinkCase):
    """Three people behind a bad link, and one on a good one."""

    def test_slow_and_split(self) -> None:
        """Over links that are late and come byte by byte everything that was acknowledged is shown to everybody."""
        self.bad_talk(5, BAD)

    def test_resets(self) -> None:
        """With resets as well everything acknowledged is shown to everybody, once and in order."""
        self.bad_talk(12, BROKEN)

    def test_bent(self) -> None:
        """Where bytes are altered and doubled on the way nothing that was altered or doubled is shown."""
        self.bad_talk(6, BENT)


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
        self.assert_clean(bob.life(since), carol.life(since), *lives)
        relay.ends()
