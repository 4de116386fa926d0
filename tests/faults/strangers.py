"""Connections that come and do not log in, beside people who do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Final

from securechat.wire.address import Address
from securechat.wire.messages import Greeting
from tests.faults import swarm
from tests.faults.programs import LONG_S, FaultCase, Relay
from tests.faults.swarm import End, Peer
from tests.relay.people import hello_now, person
from tests.relay.process import TWISTD, Talker

TOO_LATE_S: Final = 10.0
"""What the relay gives a connection to log in."""
AT_ONCE: Final = 16
DESCRIPTORS: Final = 256
FREE: Final = 64
"""So many descriptors are always free."""


class FrugalRelay(Relay):
    """One that the system allows few descriptors."""

    program = ("/bin/bash", "-c", f'ulimit -n {DESCRIPTORS}; exec "$0" "$@"', TWISTD)


class StrangerCase(FaultCase):
    """A relay, strangers, and somebody honest."""

    def setUp(self) -> None:
        """Nothing has ended yet."""
        self.ends: list[End] = []

    def loiter(self, address: Address, byte_every_s: float) -> Callable[[], Awaitable[None]]:
        """A link that says nothing, or a byte of a frame now and then, until it ends."""

        async def act() -> None:
            peer = await Peer.connect(address)
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

    def loiterers(self, count: int) -> None:
        """Links that say nothing or a byte now and then, of four kinds, and how they end."""
        relay = self.relay("--listen", "unix:chat.sock")
        before = relay.descriptors()
        # A relative path: of a socket's there are 107 bytes.
        address, unix = relay.address, Address(path=os.path.relpath(relay.directory / "chat.sock"), tls=False)
        kinds = [(address, 0.0), (address, 5.0), (unix, 0.0), (unix, 5.0)]
        work = [self.loiter(*kinds[number % 4]) for number in range(count)]
        loitering = Thread(target=swarm.run, args=(work, count, 40), daemon=True)
        loitering.start()
        self.until(lambda: relay.descriptors() >= before + count, 8)
        Talker(self, relay.address).login("warm")
        began = time.monotonic()
        Talker(self, relay.address).login("honest")
        self.assertLess(time.monotonic() - began, 3)
        loitering.join(45)
        self.assertEqual(count, len(self.ends))
        # Those that never spoke TLS can be told nothing, and have two more seconds to close.
        self.assertEqual({"": count // 2, "timed-out": count // 2}, Counter(end.code for end in self.ends))
        self.assertGreater(min(end.after_s for end in self.ends), TOO_LATE_S - 0.5)
        self.assertLess(max(end.after_s for end in self.ends), TOO_LATE_S + 4)
        relay.ends()

    def many_connections(self, count: int) -> None:
        """Connections of one address, a hundred at a time, beside people from elsewhere."""
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

        connecting = Thread(target=swarm.run, args=([connect] * count, 100, LONG_S), daemon=True)
        connecting.start()
        took = []
        for number in range(5):
            began = time.monotonic()
            Talker(self, relay.address, source=f"127.0.0.{number + 3}").login(f"honest{number}")
            took.append(time.monotonic() - began)
        connecting.join(LONG_S)
        self.assertFalse(connecting.is_alive())
        self.assertGreaterEqual(welcome, AT_ONCE)
        self.assertLessEqual(most, AT_ONCE)
        # Sixteen at first, then one every ten seconds.
        self.assertLessEqual(welcome, AT_ONCE + 5)
        # A connection that finds the kernel's queue full is tried again by the kernel, after a second.
        self.assertLess(sorted(took)[2], 2)
        self.assertLess(max(took), 8)
        relay.ends()

    def wrong_logins(self, count: int) -> None:
        """So many logins fail for one name, then one for each of so many, beside those whose names they are."""
        relay = self.relay("--plaintext", "--limit-loopback", "--per-address", "100", "--new-per-address", "10000")
        told: Counter[str] = Counter()

        def own(number: int) -> Callable[[], Awaitable[None]]:
            async def act() -> None:
                peer = await Peer.connect(relay.address, "127.0.0.3")
                await peer.login(f"owner{number}")
                peer.close()

            return act

        def wrong(number: int, name: str, source: str) -> Callable[[], Awaitable[None]]:
            async def act() -> None:
                peer = await Peer.connect(relay.address, source)
                greeting = await peer.until(Greeting)
                peer.send(hello_now(person(name, number), greeting.nonce))
                told[(await peer.end()).code] += 1

            return act

        def attack(names: Callable[[int], str], source: str, looked_at: int) -> None:
            told.clear()
            work = [wrong(number, names(number), source) for number in range(1, count + 1)]
            attacking = Thread(target=swarm.run, args=(work, 20, LONG_S), daemon=True)
            attacking.start()
            # Not from where it all comes, yet: a name whose owner has logged in begins anew there.
            Talker(self, relay.address, source="127.0.0.4").login("owner0")
            attacking.join(LONG_S)
            self.assertEqual({"too-many-logins", "name-owned"}, set(told))
            self.assertEqual(count, told.total())
            self.assertLessEqual(told["name-owned"], looked_at)
            # With the keys that the relay knows.
            Talker(self, relay.address, source=source).login("owner0")

        swarm.run((own(number) for number in range(count)), 20, LONG_S)
        # A minute's worth more of what an address may, as it may take a while. What a name may stays below that, or
        # the address alone would see to it.
        attack(lambda number: "owner0", "127.0.0.2", 5 + 2)
        attack(lambda number: f"owner{number - 1}", "127.0.0.5", 10 + 10)
        relay.ends()

    def gets_in(self, relay: Relay, name: str) -> None:
        """Somebody logs in, who tries again as clients do where they were pushed out."""
        end = time.monotonic() + 5
        while True:
            try:
                Talker(self, relay.address).login(name)
            except (OSError, AssertionError):
                self.assertLess(time.monotonic(), end)
                time.sleep(0.5)
            else:
                return

    def few_descriptors(self, count: int, login_s: float = TOO_LATE_S) -> None:
        """More strangers than there are descriptors, beside people from elsewhere."""
        relay = FrugalRelay(self, "--login-seconds", str(login_s))
        most = 0

        async def loiter() -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                peer = await Peer.connect(relay.address)
                await peer.end()

        loitering = Thread(target=swarm.run, args=([loiter] * count, count, LONG_S), daemon=True)
        loitering.start()
        number = 0
        while loitering.is_alive():
            self.gets_in(relay, f"honest{number % 20}")
            number += 1
            for _ in range(20):
                most = max(most, relay.descriptors())
                time.sleep(0.005)
        self.assertGreater(number, 5)
        self.assertGreater(most, DESCRIPTORS // 4)
        self.assertLessEqual(most, DESCRIPTORS - FREE)
        said = relay.ends()
        self.assertIn("the system allows few descriptors", said)
        # What Twisted says when there are none left; with an address in it.
        self.assertNotIn("EMFILE", said)
