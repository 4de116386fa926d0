"""Disks that are full, broken or stuck: what was acknowledged is there, and nothing else is said."""

from __future__ import annotations

import time

from securechat.wire.messages import Found, Lookup
from tests.faults.disks import Disk, FaultyDisk, small_disk
from tests.faults.ends import EndCase
from tests.faults.programs import Relay
from tests.relay.process import Talker
from tests.relay.test_operating import get, over_tcp

STATUS = ("--status", "tcp:0:interface=127.0.0.1")


class DiskCase(EndCase):
    """A relay whose store is on a disk of ours."""

    def on(self, disk: Disk) -> None:
        """The store is to be there."""
        self.data = disk.path / "data"
        self.environment = disk.environment

    def becomes(self, relay: Relay, status: int, word: bytes) -> None:
        """Wait for what `/ready` is to say."""
        self.until(lambda: get(over_tcp(relay), "/ready") == (status, word), 10)


class FullDiskTests(DiskCase):
    """A disk that something else fills."""

    def test_full(self) -> None:
        """A disk that is full in the middle of a commit ends nothing; posts are declined until there is room."""
        self.full(small_disk(self))

    def test_full_by_pretence(self) -> None:
        """The same, whoever may mount what, with a disk that says that it is full."""
        self.full(FaultyDisk(self))

    def test_start(self) -> None:
        """On a disk that is full already a relay starts, serves what there is, and takes nothing."""
        disk = small_disk(self)
        self.on(disk)
        relay, members, clients, since = self.begins("--disk-reserve", "0")
        self.more_is_acknowledged(members)
        relay.terminate()
        relay.wait()
        disk.fill()
        relay = self.start("--disk-reserve", "0", *STATUS)
        self.becomes(relay, 503, b"full\n")
        self.until(lambda: len(members.declined) > 0, 10)
        self.reads(relay)
        disk.empty()
        self.becomes(relay, 200, b"ready\n")
        self.finishes(members, clients, since, declined=["failed"])
        relay.ends()

    def full(self, disk: Disk) -> None:
        self.on(disk)
        relay, members, clients, since = self.begins("--disk-reserve", "0", *STATUS)
        self.more_is_acknowledged(members)
        self.becomes(relay, 200, b"ready\n")
        disk.fill()
        self.until(lambda: len(members.declined) > 0, 10)
        self.becomes(relay, 503, b"full\n")
        self.reads(relay)
        acked = members.acked
        time.sleep(2)
        self.assertEqual(acked, members.acked)
        self.assertFalse((self.data / "relay.db.spare").exists())
        disk.empty()
        began = time.monotonic()
        self.until(lambda: members.acked > acked, 10)
        took = time.monotonic() - began
        self.becomes(relay, 200, b"ready\n")
        for client in clients:
            self.assertEqual([True], [event["up"] for event in client.events() if event["type"] == "link"])
        self.finishes(members, clients, since, declined=["failed"])
        relay.kill()
        self.has_kept(self.copy(), members, [len(each.life.acked) for each in members.each])
        self.measured(f"on {disk.name}; {members.declined.total()} declined, and taken again after {took:.2f} s")
        self.assertLess(took, 5)

    def reads(self, relay: Relay) -> None:
        """Somebody who is known logs in, and is told of rooms and people."""
        talker = Talker(self, relay.address)
        talker.login("first")
        talker.send(Lookup("member3"))
        self.assertTrue(talker.until(Found).certificate)
        talker.socket.close()
