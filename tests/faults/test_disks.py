"""Disks that are full, broken or stuck: what was acknowledged is there, and nothing else is said."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from os import urandom

from securechat.wire.messages import Ack, Delivery, Found, Lookup, Post, SessionKey
from tests.faults.disks import FINE, SYNC_FAILS, SYNC_HANGS, WRITE_FAILS, Disk, FaultyDisk, small_disk
from tests.faults.ends import NAMES, EndCase
from tests.faults.members import ROOM, enter, found_room
from tests.faults.programs import Relay
from tests.relay.process import PATIENCE_S, Talker
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
        self.finishes(members, clients, since, declined=["storage-full"])
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
        self.finishes(members, clients, since, declined=["storage-full"])
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


class BrokenDiskTests(DiskCase):
    """A disk that fails."""

    def setUp(self) -> None:
        """It is in order yet."""
        super().setUp()
        self.disk = FaultyDisk(self)
        self.on(self.disk)

    def pair(self, relay: Relay) -> tuple[Talker, Talker, bytes]:
        """Two people in a room who say nothing by themselves, and its epoch."""
        found_room(self, relay.address, NAMES[:2])
        one, other = Talker(self, relay.address), Talker(self, relay.address)
        for talker, name in zip((one, other), NAMES, strict=False):
            talker.login(name)
            talker.send(enter(0))
        epoch, _ = (talker.until(SessionKey).epoch for talker in (one, other))
        self.one_by_one(one, other, epoch, 3)
        # A relay that says things too early may still be about the last of them.
        time.sleep(0.2)
        return one, other, epoch

    def one_by_one(self, one: Talker, other: Talker, epoch: bytes, count: int) -> None:
        """Somebody posts, each time when the last one was acknowledged to them and told to the other."""
        for _ in range(count):
            one.send(Post(ROOM, epoch, [(urandom(16), b"x")]))
            one.until(Ack)
            other.until(Delivery)

    def test_synced(self) -> None:
        """Before each acknowledgement the log of the store was synced, and nothing is sent while it is not."""
        relay = self.start()
        one, other, epoch = self.pair(relay)
        before = {word: self.disk[word] for word in ("syncs", "early", "sent")}
        self.one_by_one(one, other, epoch, 50)
        done = {word: self.disk[word] - count for word, count in before.items()}
        self.assertEqual(0, done["early"])
        self.assertGreaterEqual(done["syncs"], 50)
        self.assertGreaterEqual(done["sent"], 100)

    def test_nothing_is_acknowledged(self) -> None:
        """What could not be written, or not be synced, is neither acknowledged nor told to anybody."""
        for mode in (SYNC_FAILS, WRITE_FAILS):
            relay = self.start()
            one, other, epoch = self.pair(relay)
            self.disk["mode"] = mode
            one.send(Post(ROOM, epoch, [(urandom(16), b"x")]))
            for talker in (one, other):
                said = []
                with contextlib.suppress(OSError):
                    said += list(talker.messages())
                self.assertEqual([], [each for each in said if isinstance(each, Ack | Delivery)])
            self.assertEqual(1, relay.wait())
            self.assertGreater(self.disk["failures"], 0)
            self.disk["mode"] = FINE
            shutil.rmtree(self.data)

    def test_nothing_is_said_too_early(self) -> None:
        """While the disk does not say that it has synced nothing is acknowledged or told; then it is."""
        relay = self.start()
        one, other, epoch = self.pair(relay)
        self.disk["mode"] = SYNC_HANGS
        one.send(Post(ROOM, epoch, [(urandom(16), b"x")]))
        self.until(lambda: self.disk["failures"] > 0, 5)
        for talker, kind in ((one, Ack), (other, Delivery)):
            assert isinstance(talker.socket, socket.socket)
            talker.socket.settimeout(0.5)
            with self.assertRaises(TimeoutError):
                talker.until(kind)
            talker.socket.settimeout(PATIENCE_S)
        self.disk["mode"] = FINE
        one.until(Ack)
        other.until(Delivery)
        relay.ends()

    def test_sync_fails(self) -> None:
        """A relay whose disk cannot be synced ends at once, and another one has everything acknowledged."""
        self.fails(SYNC_FAILS)

    def test_write_fails(self) -> None:
        """A relay whose disk cannot be written ends at once, and another one has everything acknowledged."""
        self.fails(WRITE_FAILS)

    def fails(self, mode: int) -> None:
        relay, members, clients, since = self.begins()
        for number in range(3):
            self.more_is_acknowledged(members)
            self.disk["mode"] = mode
            began = time.monotonic()
            self.assertEqual(1, relay.wait())
            took = time.monotonic() - began
            self.assertLess(took, 2)
            # One call for each relay: none is made again, not even by closing the store.
            self.assertEqual(number + 1, self.disk["failures"])
            self.assertEqual(1, relay.output.count("the store cannot be written, and the relay ends"))
            self.disk["mode"] = FINE
            copy, acked = self.copy(), [len(each.life.acked) for each in members.each]
            relay = self.start()
            self.has_kept(copy, members, acked)
        self.finishes(members, clients, since)
        self.served_again(f"ended after {took:.2f} s")
        relay.ends()

    def test_hangs(self) -> None:
        """While the disk does not answer the relay lives, is not ready and acknowledges nothing; then all go on."""
        relay, members, clients, since = self.begins(*STATUS)
        self.more_is_acknowledged(members)
        self.disk["mode"] = SYNC_HANGS
        began = time.monotonic()
        self.until(lambda: self.disk["failures"] > 0, 5)
        self.becomes(relay, 503, b"stuck\n")
        took = time.monotonic() - began
        acked = members.acked
        time.sleep(1)
        self.assertEqual((200, b"live\n"), get(over_tcp(relay), "/live"))
        self.assertEqual(acked, members.acked)
        self.disk["mode"] = FINE
        self.becomes(relay, 200, b"ready\n")
        self.finishes(members, clients, since)
        self.assertLess(took, 7)
        self.measured(f"not ready after {took:.1f} s")
        relay.ends()
