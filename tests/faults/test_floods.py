"""Peers that take too much: connections, time, messages. Everybody else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Final

from securechat.wire.address import parse
from securechat.wire.messages import Ack, Delivery, Post, Refused, SessionKey
from tests.faults import swarm
from tests.faults.programs import MIB, FaultCase
from tests.faults.swarm import End, Peer
from tests.relay.harness import post_id
from tests.relay.people import Chain
from tests.relay.process import Talker

TOO_LATE_S: Final = 10.0
"""What the relay gives a connection to log in."""
AT_ONCE: Final = 16


class StrangerTests(FaultCase):
    """Connections that come and do not log in."""

    def setUp(self) -> None:
        """Nothing has ended yet."""
        self.ends: list[End] = []

    def loiter(self, address: str, byte_every_s: float) -> Callable[[], Awaitable[None]]:
        """A link that says nothing, or a byte of a frame now and then, until it ends."""

        async def act() -> None:
            peer = await Peer.connect(parse(address))
            began = time.monotonic()
            ending = asyncio.ensure_future(peer.end())
            for byte in b"\0\0\0\x10\x92":
                if byte_every_s:
                    with contextlib.suppress(ConnectionError):
                        peer.writer.write(bytes([byte]))
                await asyncio.wait([ending], timeout=byte_every_s or None)
                if ending.done():
                    break
            self.ends.append(End((await ending).code, time.monotonic() - began))

        return act

    def test_loiterers(self) -> None:
        """200 links that say nothing or a byte now and then end after ten seconds; an honest login goes on."""
        relay = self.relay("--listen", "unix:chat.sock")
        before = relay.descriptors()
        address, unix = str(relay.address), f"securechat+unix://{relay.directory / 'chat.sock'}"
        kinds = [(address, 0.0), (address, 5.0), (unix, 0.0), (unix, 5.0)]
        work = [self.loiter(*kinds[number % 4]) for number in range(200)]
        loitering = Thread(target=swarm.run, args=(work, 200, 25), daemon=True)
        loitering.start()
        self.until(lambda: relay.descriptors() >= before + 200, 8)
        Talker(self, relay.address).login("warm")
        began = time.monotonic()
        Talker(self, relay.address).login("honest")
        self.assertLess(time.monotonic() - began, 3)
        loitering.join(30)
        self.assertEqual(200, len(self.ends))
        # Those that never spoke TLS can be told nothing, and have two more seconds to close.
        self.assertEqual({"": 100, "timed-out": 100}, Counter(end.code for end in self.ends))
        self.assertGreater(min(end.after_s for end in self.ends), TOO_LATE_S - 0.5)
        self.assertLess(max(end.after_s for end in self.ends), TOO_LATE_S + 4)
        relay.ends()

    def test_many_connections(self) -> None:
        """Of 1,000 connections of one address sixteen are let in at most; others log in at once."""
        relay = self.relay("--plaintext", "--limit-loopback")
        there = most = welcome = 0

        async def connect() -> None:
            nonlocal there, most, welcome
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                peer = await Peer.connect(relay.address, "127.0.0.2")
                try:
                    await peer.message()
                    welcome, there = welcome + 1, there + 1
                    most = max(most, there)
                    await asyncio.sleep(0.2)
                    there -= 1
                finally:
                    peer.close()

        connecting = Thread(target=swarm.run, args=([connect] * 1_000, 100, 30), daemon=True)
        connecting.start()
        took = []
        for number in range(5):
            began = time.monotonic()
            Talker(self, relay.address, source=f"127.0.0.{number + 3}").login(f"honest{number}")
            took.append(time.monotonic() - began)
        connecting.join(40)
        self.assertFalse(connecting.is_alive())
        self.assertGreaterEqual(welcome, AT_ONCE)
        self.assertLessEqual(most, AT_ONCE)
        # Sixteen at first, then one every ten seconds.
        self.assertLessEqual(welcome, AT_ONCE + 5)
        # A connection that finds the kernel's queue full is tried again by the kernel, after a second.
        self.assertLess(sorted(took)[2], 2)
        self.assertLess(max(took), 8)
        relay.ends()


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
