"""Peers that take too much: connections, time, messages. Everybody else goes on."""

from __future__ import annotations

import time
from threading import Thread
from typing import Final

from securechat.wire.messages import Ack, Delivery, Post, Refused, SessionKey
from tests.faults.programs import MIB, FaultCase
from tests.faults.strangers import StrangerCase
from tests.relay.harness import post_id
from tests.relay.people import Chain
from tests.relay.process import Talker


class StrangerTests(StrangerCase):
    """Connections that come and do not log in."""

    def test_loiterers(self) -> None:
        """200 links that say nothing or a byte now and then end after ten seconds; an honest login goes on."""
        self.loiterers(200)

    def test_many_connections(self) -> None:
        """Of 1,000 connections of one address sixteen are let in at most; others log in at once."""
        self.many_connections(1_000)

    def test_wrong_logins(self) -> None:
        """Of 1,000 logins that fail for one name, then for 1,000 names, few are looked at; owners get in."""
        self.wrong_logins(1_000)

    def test_few_descriptors(self) -> None:
        """Connections never take all descriptors, however few there are, and users get in all the same."""
        self.few_descriptors(400, login_s=4)


class FloodTests(FaultCase):
    """Clients that say too much."""

    SECONDS: Final = 8.0

    def flood(self, talker: Talker) -> int:
        """Post as fast as posts are acknowledged, for a while; how many were."""
        who = talker.login("flooder")
        talker.send(Chain("#flood").found(who))
        epoch = talker.until(SessionKey).epoch
        acked = posted = 0
        end = time.monotonic() + self.SECONDS
        while time.monotonic() < end:
            while posted - acked <= 200:
                talker.send(Post("#flood", epoch, [(post_id(posted + each), b"x" * 344) for each in range(50)]))
                posted += 50
            acked += len(talker.until(Ack).items)
        return acked

    def test_flood(self) -> None:
        """Who posts as fast as they can is held to burst and rate; others talk on, and nothing piles up."""
        relay = self.relay("--plaintext")
        alice, bob = self.clients(relay.address, "alice", "bob")
        since = self.all_hear("begin", alice, bob)
        self.all_hear("begin as well", bob, alice)
        before = relay.resident_bytes()
        talker = Talker(self, relay.address)
        result: list[int] = []
        flooding = Thread(target=lambda: result.append(self.flood(talker)), daemon=True)
        flooding.start()
        said = 0
        while flooding.is_alive():
            self.all_hear(f"alice {said}", alice, bob)
            self.all_hear(f"bob {said}", bob, alice)
            said += 1
            time.sleep(0.05)
        (acked,) = result
        self.assertGreater(acked, 500)
        # The burst, the rate of 50, and what one more run can bring into debt.
        self.assertLess(acked, 500 + 50 * (self.SECONDS + 1) + 256)
        self.assertGreater(said, 10)
        self.assert_grew(relay, before, 8 * MIB)
        self.assert_clean(alice.life(since), bob.life(since))
        relay.ends()

    def test_window(self) -> None:
        """A client that waits for no acknowledgement at all is told that it floods, and is gone from its room."""
        relay = self.relay("--plaintext")
        talker, other = Talker(self, relay.address), Talker(self, relay.address)
        flooder, friend = talker.login("flooder"), other.login("friend")
        chain = Chain("#flood")
        talker.send(chain.found(flooder), chain.add(flooder, friend))
        key = other.until(SessionKey)
        # Small, so that all of them come at once: what comes later may find the first acknowledged.
        posts = [(post_id(number), b"x") for number in range(300)]
        talker.send(Post("#flood", key.epoch, posts[:150]), Post("#flood", key.epoch, posts[150:]))
        *_, last = talker.messages()
        assert isinstance(last, Refused)
        self.assertEqual("flood", last.code)
        heard = 0
        for message in other.messages():
            if isinstance(message, Delivery):
                heard += len(message.items)
            if type(message).__name__ == "Presence":
                break
        self.assertLessEqual(heard, 150)
        relay.ends()
