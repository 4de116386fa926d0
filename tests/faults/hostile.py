"""Peers that mean harm, in a process of their own, so that they cost no time of who measures.

`python -m tests.faults.hostile WHAT ADDRESS COUNT [PER_S]`: so many, so many a second, or as fast as it goes; those
that are `slow` for so many seconds instead. It says `began`, and at its end how much they did.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Final

from securechat.wire.address import Address, parse
from securechat.wire.messages import Ack, Delivery, Enter, Pong, Post, Roster, SessionKey
from tests.faults import swarm
from tests.faults.mutators import MUTATORS, codes_of_stranger
from tests.faults.swarm import Peer
from tests.relay.harness import post_id
from tests.relay.people import Chain, person

AT_ONCE: Final = 50
LONGEST_S: Final = 300.0
FLOOD_S: Final = 8.0
OURS: Final = f"hostile{os.getpid()}-"
"""What the names of this process begin with: it has keys of its own."""
SLOW_BYTES: Final = 1_024
"""What a slow reader reads in a second."""


def malformed(address: Address, count: int, per_s: float) -> int:
    """Links on which something is said that is no message, some after a login; how many are refused."""
    random = Random(1)
    refused = 0
    began = time.monotonic()

    def spoil(number: int) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            nonlocal refused
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            data, codes = MUTATORS[number % len(MUTATORS)](random)
            peer = await Peer.connect(address)
            if number // len(MUTATORS) % 2:
                await peer.login(f"{OURS}{number % 2_000}")
            else:
                codes = codes_of_stranger(data, codes)
                await peer.message()
            peer.writer.write(data)
            end = await peer.end()
            refused += end.code in codes

        return act

    swarm.run((spoil(number) for number in range(count)), AT_ONCE, LONGEST_S)
    return refused


def half_open(address: Address, count: int, per_s: float) -> int:
    """Connections that say nothing, and are kept open; how many the relay has ended."""
    ended = 0
    connecting = asyncio.Semaphore(AT_ONCE)

    def loiter() -> Iterator[Callable[[], Awaitable[None]]]:
        async def act() -> None:
            nonlocal ended
            async with connecting:
                peer = await Peer.connect(address)
            await peer.end()
            ended += 1

        for _ in range(count):
            yield act

    swarm.run(loiter(), count, LONGEST_S, LONGEST_S)
    return ended


def flood(address: Address, count: int, per_s: float) -> int:
    """Clients, each in a room of its own, that post as fast as they are read; how much was acknowledged."""
    acked = 0

    def post(number: int) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            nonlocal acked
            peer = await Peer.connect(address)
            name, room = f"{OURS}{number}", f"#{OURS}{number}"
            await peer.login(name)
            peer.send(Chain(room).found(person(name)))
            epoch = (await peer.until(SessionKey)).epoch
            posted = answered = 0
            end = time.monotonic() + FLOOD_S
            while time.monotonic() < end:
                while posted - answered <= 200:
                    items = [(post_id(posted + each), b"x" * 344) for each in range(50)]
                    peer.send(Post(room, epoch, items))
                    posted += 50
                answered += len((await peer.until(Ack)).items)
            acked += answered
            peer.close()

        return act

    swarm.run((post(number) for number in range(count)), count, LONGEST_S)
    return acked


def slow(address: Address, count: int, seconds: float) -> int:
    """Readers of a room in which much is said, a KiB a second each; how many of them are there at the end.

    One more reads all of it as it comes: `AssertionError` where it does not hear everything at once.
    """
    room = "#slow"
    speaker = person("speaker")
    chain = Chain(room)
    names = ["swift", *(f"slow{number}" for number in range(count))]
    appends = [chain.found(speaker), *(chain.add(speaker, person(name)) for name in names)]
    have = len(appends)
    there = 0
    said: list[bytes] = []
    began = asyncio.Event()
    over = asyncio.Event()

    async def speak() -> None:
        for name in names:
            # Whom a relay has never met nobody can add.
            peer = await Peer.connect(address)
            await peer.login(name)
            peer.close()
        peer = await Peer.connect(address)
        await peer.login(speaker.name)
        for append in appends:
            peer.send(append)
        while (epoch := (await peer.until(SessionKey)).epoch) != chain.known.epoch:
            pass
        began.set()
        await asyncio.sleep(1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            items = [(post_id(len(said) + each), bytes(15_000)) for each in range(4)]
            said.extend(each for each, _ in items)
            peer.send(Post(room, epoch, items))
            acked = 0
            while acked < len(items):
                acked += len((await peer.until(Ack)).items)
        over.set()
        peer.close()

    async def listen() -> None:
        await began.wait()
        peer = await Peer.connect(address)
        await peer.login("swift")
        peer.send(Enter(room, have, 0))
        heard = 0
        while not over.is_set() or heard < len(said):
            heard += len((await asyncio.wait_for(peer.until(Delivery), 10)).items)
            peer.send(Pong())
        assert heard == len(said), (heard, len(said))
        peer.close()

    def read(name: str) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            nonlocal there
            await began.wait()
            plain = socket.socket()
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * SLOW_BYTES)
            plain.connect((address.host, address.port))
            peer = Peer(*await asyncio.open_connection(sock=plain, limit=SLOW_BYTES))
            await peer.login(name)
            peer.send(Enter(room, have, 0))
            await peer.until(Roster)
            while not over.is_set():
                await peer.reader.readexactly(SLOW_BYTES)
                peer.send(Pong())
                await asyncio.sleep(1)
            there += 1
            peer.close()

        return act

    swarm.run([speak, listen, *map(read, names[1:])], count + 2, LONGEST_S, LONGEST_S)
    return there


def main(what: str, address: str, count: str, per_s: str = "inf") -> None:
    """Do harm. As it comes from other machines in earnest, it waits for what has to be done on this one."""
    os.nice(19)
    print("began", flush=True)
    kinds: dict[str, Callable[[Address, int, float], int]] = {
        "malformed": malformed,
        "half-open": half_open,
        "flood": flood,
        "slow": slow,
    }
    print(kinds[what](parse(address), int(count), float(per_s)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
