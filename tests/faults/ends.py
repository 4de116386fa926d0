"""Relays that end in the middle of everything, one after the other on one directory and one port."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random, randrange
from signal import SIGKILL, SIGTERM
from statistics import median
from typing import Final

from securechat.crypto.cpu import CpuEngine
from securechat.relay.sqlite_store import SqliteStore
from securechat.relay.storage_key import StorageKey
from securechat.wire.address import Address
from tests.faults.members import QUICK, ROOM, USUAL, Members, Pace, Retries, found_room
from tests.faults.programs import Client, FaultCase, Relay
from tests.relay.process import Talker, fresh_directory

FAST: Final = ("--plaintext", "--post-rate", "0", "--byte-rate", "0")
ENDED_WELL: Final = (0, -SIGTERM)
"""twistd ends itself by the signal that it was told to stop by, once everything is in order."""
NAMES: Final = tuple(f"member{number}" for number in range(20))


def low_port() -> int:
    """A free port that no outgoing connection gets: one to itself would be a relay's that is not there."""
    while True:
        port = randrange(20_000, 32_000)
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class EndCase(FaultCase):
    """Twenty members and some real clients, whose relay ends again and again."""

    def setUp(self) -> None:
        """A directory and a port."""
        self.data = fresh_directory(self) / "data"
        self.port = low_port()
        self.environment: dict[str, str] = {}
        """What relays need besides."""
        self.serving_s: list[float] = []
        """How long each relay took from its start to the first login."""

    def start(self, *options: str) -> Relay:
        """A relay, which somebody has logged in to."""
        began = time.monotonic()
        listen = f"tcp:{self.port}:interface=127.0.0.1"
        relay = Relay(
            self, "--data", str(self.data), *FAST, *options, listen=listen, stdin=None, **self.environment
        )
        talker = Talker(self, relay.address)
        talker.login("first")
        self.serving_s.append(time.monotonic() - began)
        talker.socket.close()
        return relay

    def members(
        self, address: Address, names: Sequence[str] = NAMES, pace: Pace = USUAL, retries: Retries = QUICK
    ) -> Members:
        """Members who are in their room and talk."""
        found_room(self, address, names)
        return self.all_come(Members(address, {ROOM: names}, pace, retries))

    def all_come(self, members: Members) -> Members:
        """Members who are in their rooms by now and talk."""
        self.addCleanup(members.end)
        members.start()
        # Where thousands come at once the kernel has many of them try again, after 1, 3, 7 and 15 seconds.
        self.until(lambda: members.are_there, 60)
        members.post()
        return members

    def more_is_acknowledged(self, members: Members, count: int = 100) -> None:
        """Wait until all are back and so many more messages are acknowledged."""
        self.until(lambda: members.are_there, 30)
        before = members.acked
        self.until(lambda: members.acked >= before + count, 30)

    def all_is_there(
        self, members: Members, clients: Sequence[Client], since: int, declined: Sequence[str] = ()
    ) -> None:
        """Nobody says anything more: the checker finds nothing wrong, and nobody was told that anything was missed.

        Nothing was declined but by the codes that are given.
        """
        members.post(False)
        self.until(lambda: members.are_level, 30)
        self.assertEqual([], members.wrong)
        self.assertEqual({*declined}, {*members.declined})
        self.assert_clean(*(each.life for each in members.each))
        self.assert_clean(*(client.life(since) for client in clients))

    def copy(self) -> Path:
        """A copy of the store as it lies on the disk, so that the next relay finds what the last one left."""
        copy = fresh_directory(self) / "relay.db"
        for beside in ("", "-wal"):
            path = self.data / f"relay.db{beside}"
            if path.exists():
                shutil.copyfile(path, Path(f"{copy}{beside}"))
        return copy

    def has_kept(self, copy: Path, members: Members, acked: Sequence[int]) -> None:
        """A copy of the store is in order, and has the latest that was acknowledged, each under its number.

        `acked` is how many were acknowledged to each member when the relay ended.
        """
        connection = sqlite3.connect(copy)
        self.assertEqual([("ok",)], connection.execute("PRAGMA integrity_check").fetchall())
        connection.close()
        key = StorageKey((self.data / "storage.key").read_bytes())
        store = SqliteStore(str(copy), key, CpuEngine())
        self.addCleanup(store.close)
        (room,) = (room for room in store.load().rooms if room.name == ROOM)
        oldest = min(room.ids.values())
        for member, count in zip(members.each, acked, strict=True):
            for post_id, _, seq in member.life.acked[:count]:
                if seq >= oldest:
                    tag = key.tag("messages", ROOM.encode(), member.name.encode(), bytes.fromhex(post_id))
                    self.assertEqual(seq, room.ids.get(tag), f"of {member.name}")

    def kills(self, times: int) -> None:
        """A relay with members who talk and two real clients is killed so many times, and started again."""
        random = Random(4)
        relay, members, clients, since = self.begins()
        for number in range(times):
            for client in clients:
                client.says(f"{client.name} {number}")
            self.more_is_acknowledged(members)
            time.sleep(random.uniform(0, 0.5))
            # At any moment, or at the worst one for who acknowledges what is not kept yet.
            if number % 3 == 1 or not members.at_next_ack(partial(os.kill, relay.pid, SIGKILL)).wait(10):
                relay.kill()
            self.assertEqual(-SIGKILL, relay.wait())
            copy, acked = self.copy(), [len(each.life.acked) for each in members.each]
            relay = self.start()
            self.has_kept(copy, members, acked)
            # A client whose relay is lost again and again waits longer each time: not every kill waits for it.
            for client in clients if number % 5 == 4 else ():
                self.all_know(f"{client.name} {number}", client)
        self.finishes(members, clients, since)
        self.served_again(f"{times} kills, {members.acked} acknowledged")
        relay.ends()

    def stops(self, times: int) -> None:
        """The same with a relay that is told to stop; the real clients say so once, and that they are back."""
        relay, members, clients, since = self.begins()
        took = []
        for number in range(times):
            for client in clients:
                client.says(f"{client.name} before {number}")
            self.more_is_acknowledged(members)
            began = time.monotonic()
            relay.terminate()
            for client in clients:
                client.says(f"{client.name} meanwhile {number}")
            self.assertIn(relay.wait(), ENDED_WELL)
            took.append(time.monotonic() - began)
            self.assertIn("relay stopped", relay.output)
            copy, acked = self.copy(), [len(each.life.acked) for each in members.each]
            for client in clients:
                client.says(f"{client.name} after {number}")
            relay = self.start()
            self.has_kept(copy, members, acked)
            for client in clients:
                for when in ("before", "meanwhile", "after"):
                    self.all_know(f"{client.name} {when} {number}", client)
        self.finishes(members, clients, since)
        for client in clients:
            links = [event["up"] for event in client.events() if event["type"] == "link"]
            self.assertEqual([True, *[False, True] * times], links)
        self.assertEqual({"shutdown"}, {word for each in members.each for word in each.last_words})
        self.served_again(f"{times} stops, each within {max(took):.2f} s, {members.acked} acknowledged")
        self.assertLess(max(took), 5)
        relay.ends()

    def begins(self, *options: str) -> tuple[Relay, Members, list[Client], int]:
        """A relay, and those who talk there; the number of the first message that both real clients know of."""
        relay = self.start(*options)
        members = self.members(relay.address)
        clients = self.clients(relay.address, "alice", "bob")
        since, _ = (self.all_hear(f"{each.name} begins", each, *clients) for each in clients)
        return relay, members, clients, since

    def finishes(
        self, members: Members, clients: Sequence[Client], since: int, declined: Sequence[str] = ()
    ) -> None:
        """All are back, and hear each other; then `all_is_there`."""
        self.more_is_acknowledged(members)
        for client in clients:
            client.is_back()
        for client in clients:
            self.all_hear(f"{client.name} ends", client, *clients)
        self.all_is_there(members, clients, since, declined)

    def served_again(self, words: str) -> None:
        """A relay serves again as soon as a busy machine lets it start a program."""
        back = sorted(self.serving_s[1:])
        self.measured(f"{words}; served again after {median(back):.2f} s (median), {back[-1]:.2f} s at most")
        self.assertLess(back[-1], 10)
