"""`twistd -n securechat` with a store: what was acknowledged is there after any end, and a broken disk is one."""

from __future__ import annotations

import re
import sqlite3
from os import urandom
from random import Random
from resource import RLIMIT_FSIZE, prlimit
from signal import SIGTERM
from threading import Event, Thread
from time import monotonic, sleep
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.messages import (
    LAST_SEQ,
    Ack,
    Declined,
    Enter,
    Found,
    Greeting,
    Hand,
    Lookup,
    Ping,
    Pong,
    Post,
    Refused,
    Repost,
    Roster,
    SealedKey,
    Seen,
    SessionKey,
)
from tests.relay.people import Chain, person
from tests.relay.process import PATIENCE_S, RelayProcess, Talker, fresh_directory, run_twistd

ROOM: Final = "#tea"
FAST: Final = ("--plaintext", "--engine", "cpu", "--post-rate", "0", "--byte-rate", "0")


class Poster(Thread):
    """Posts one message after the other until its link is lost; afterwards it knows what was acknowledged."""

    def __init__(self, talker: Talker, epoch: bytes) -> None:
        super().__init__(daemon=True)
        self.acked: dict[bytes, int] = {}
        self.posted: list[bytes] = []
        self.began = Event()
        self._talker = talker
        self._epoch = epoch

    def run(self) -> None:
        """Post, several at a time."""
        try:
            while True:
                ids = [urandom(16) for _ in range(4)]
                self.posted += ids
                self._talker.send(Post(ROOM, self._epoch, [(each, each * 10) for each in ids]))
                waiting = set(ids)
                for message in self._talker.messages():
                    if isinstance(message, Ack):
                        self.acked.update(message.items)
                        waiting.difference_update(each for each, _ in message.items)
                    if not waiting:
                        self.began.set()
                        break
                else:
                    return
        except OSError:
            return


class DurableCase(SynchronousTestCase):
    """A case with a data directory that outlives its relays."""

    def setUp(self) -> None:
        """Make it."""
        self.data = fresh_directory(self) / "data"

    def start(self, *options: str) -> RelayProcess:
        """A relay on it."""
        return RelayProcess(self, "--data", str(self.data), *FAST, *options)

    def enter(self, relay: RelayProcess, name: str) -> tuple[Talker, Roster, SessionKey]:
        """Somebody logs in and enters the room."""
        talker = Talker(self, relay.address)
        talker.login(name)
        talker.send(Enter(ROOM, 0, LAST_SEQ))
        return talker, talker.until(Roster), talker.until(SessionKey)

    def again(self, talker: Talker, ids: list[bytes], epoch: bytes) -> dict[bytes, int]:
        """Post these again, a window at a time; the numbers."""
        numbers: dict[bytes, int] = {}
        for at in range(0, len(ids), 64):
            some = ids[at : at + 64]
            for each in some:
                talker.send(Repost(ROOM, epoch, 0, each, each * 10))
            for message in talker.messages():
                assert not isinstance(message, Declined), message.code
                if isinstance(message, Ack):
                    numbers.update(message.items)
                if not set(some) - set(numbers):
                    break
        return numbers


class RestartTests(DurableCase):
    """Relays one after the other on one directory."""

    def test_in_order(self) -> None:
        """After SIGTERM names, rooms, the key, numbers and waiting keys are there; the log tells of nobody."""
        first = self.start()
        alice = Talker(self, first.address)
        away = Talker(self, first.address)
        me, bob = alice.login("alice"), away.login("bob")
        away.socket.close()
        chain = Chain(ROOM)
        alice.send(chain.found(me), chain.add(me, bob))
        keys = [alice.until(SessionKey)]
        while keys[-1].epoch != chain.known.epoch:
            keys.append(alice.until(SessionKey))
        ids = [urandom(16) for _ in range(10)]
        before = self.again(alice, ids, keys[-1].epoch)
        alice.send(Hand(ROOM, [(bob.device.public, b"blob")]), Lookup("bob"))
        alice.until(Found)
        first.terminate()
        self.assertIn(first.wait(), (0, -SIGTERM))
        second = self.start()
        again, roster, key = self.enter(second, "alice")
        self.assertEqual((chain.known.packed, 10, keys[-1]), (roster.entries, roster.last_seq, key))
        self.assertEqual(before, self.again(again, ids, key.epoch))
        thief = Talker(self, second.address)
        thief.send(thief.hello(person("bob", 1)))
        self.assertEqual("name-owned", thief.until(Refused).code)
        back, _, _ = self.enter(second, "bob")
        waited = back.until(SealedKey)
        self.assertEqual([("alice", b"blob")], waited.items)
        back.send(Seen([(ROOM, 0, waited.handed)]), Ping())
        back.until(Pong)
        for talker in (again, thief, back):
            talker.socket.close()
        second.terminate()
        second.wait()
        # A store that was closed has no log beside it, and that the key was stored is kept.
        self.assertFalse((self.data / "relay.db-wal").exists())
        last, _, _ = self.enter(self.start(), "bob")
        last.send(Ping())
        for message in last.messages():
            self.assertNotIsInstance(message, SealedKey)
            if isinstance(message, Pong):
                break
        for output in (first.output, second.output):
            for secret in ("alice", "bob", ROOM, "Traceback"):
                self.assertNotIn(secret, output)

    def test_killed_under_load(self) -> None:
        """After `kill -9` at any moment each acknowledged post has its number, and no number is two posts'."""
        random = Random(1)
        chain = Chain(ROOM)
        known: dict[bytes, int] = {}
        names = ("alice", "bob", "carol", "dan")
        posters: list[Poster] = []
        for turn in range(4):
            relay = self.start()
            if turn == 0:
                talkers = [Talker(self, relay.address) for _ in names]
                people = [talker.login(name) for talker, name in zip(talkers, names, strict=True)]
                talkers[0].send(chain.found(people[0]), *(chain.add(people[0], each) for each in people[1:]))
                for talker in talkers:
                    while talker.until(SessionKey).epoch != chain.known.epoch:
                        pass
            else:
                entered = [self.enter(relay, name) for name in names]
                talkers = [talker for talker, _, _ in entered]
                for _, roster, _ in entered:
                    self.assertEqual(chain.known.packed, roster.entries)
                    self.assertGreaterEqual(roster.last_seq, max(known.values()))
                for talker, poster in zip(talkers, posters, strict=True):
                    numbers = self.again(talker, poster.posted, chain.known.epoch)
                    self.assertEqual({}, {each: seq for each, seq in poster.acked.items() if numbers[each] != seq})
                    known |= numbers
                self.assertEqual(len(known), len(set(known.values())))
            posters = [Poster(talker, chain.known.epoch) for talker in talkers]
            for poster in posters:
                poster.start()
            for poster in posters:
                self.assertTrue(poster.began.wait(PATIENCE_S))
            sleep(random.uniform(0, 0.2))  # any moment will do
            relay.kill()
            for poster in posters:
                poster.join(PATIENCE_S)
                known |= poster.acked
        connection = sqlite3.connect(self.data / "relay.db")
        self.addCleanup(connection.close)
        self.assertEqual([("ok",)], connection.execute("PRAGMA integrity_check").fetchall())

    def test_in_memory(self) -> None:
        """With --in-memory nothing is written but the relay's own key and certificate."""
        relay = RelayProcess(self, "--data", str(self.data), "--in-memory")
        Talker(self, relay.address).login("alice")
        self.assertEqual({"relay.key", "relay.crt"}, {path.name for path in self.data.iterdir()})


class BrokenTests(DurableCase):
    """What cannot go on."""

    def test_disk_fails(self) -> None:
        """When a commit fails nothing leaves any more, and the relay says so in one line and ends with status 1."""
        relay = self.start()
        alice = Talker(self, relay.address)
        me = alice.login("alice")
        prlimit(relay.pid, RLIMIT_FSIZE, (1, 1))
        began = monotonic()
        alice.send(Chain(ROOM).found(me))
        with self.assertRaises((AssertionError, OSError)):
            alice.until(SessionKey)
        self.assertEqual(1, relay.wait())
        self.assertLess(monotonic() - began, 8)
        self.assertEqual(1, len(re.findall("the store cannot be written, and the relay ends", relay.output)))
        for secret in ("alice", ROOM, "Traceback"):
            self.assertNotIn(secret, relay.output)
        # Another one finds what was kept, and nothing of what was not.
        again = Talker(self, self.start().address)
        again.login("alice")
        again.send(Enter(ROOM, 0, LAST_SEQ))
        self.assertEqual("no-such-room", again.until(Declined).code)

    def test_second_relay(self) -> None:
        """A second relay on the same directory ends with one line and status 1, and the first goes on."""
        first = self.start()
        self.refused("another relay uses")
        Talker(self, first.address).login("alice")

    def test_newer_schema(self) -> None:
        """A store of a newer version is refused with one line and status 1."""
        self.start_and_kill()
        connection = sqlite3.connect(self.data / "relay.db")
        connection.execute("PRAGMA user_version=99")
        connection.close()
        self.refused("newer version")

    def test_key_is_lost(self) -> None:
        """A store whose key is missing is refused with one line and status 1, and no new key is made."""
        self.start_and_kill()
        (self.data / "storage.key").rename(self.data / "elsewhere")
        self.refused("storage.key is missing")
        self.assertFalse((self.data / "storage.key").exists())
        relay = self.start("--storage-key", str(self.data / "elsewhere"))
        Talker(self, relay.address).until(Greeting)

    def start_and_kill(self) -> None:
        """A relay makes the store, and is gone."""
        relay = self.start()
        Talker(self, relay.address).login("alice")
        relay.kill()

    def refused(self, words: str) -> None:
        """A relay ends with one line."""
        done = run_twistd(self, "--data", str(self.data), "--listen", "tcp:0:interface=127.0.0.1", "--plaintext")
        self.assertEqual(1, done.returncode)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        (line,) = [line for line in done.stderr.splitlines() if "securechat: " in line]
        self.assertIn(words, line)

    def test_store_limit(self) -> None:
        """Over --store-limit posts and entries are declined, and what is kept is served."""
        first = self.start()
        alice = Talker(self, first.address)
        me = alice.login("alice")
        alice.send(Chain(ROOM).found(me))
        alice.until(SessionKey)
        first.terminate()
        first.wait()
        full, _, key = self.enter(self.start("--store-limit", "4096"), "alice")
        full.send(Post(ROOM, key.epoch, [(bytes(16), b"x")]), Chain("#cake").found(me))
        self.assertEqual(["storage-full", "full"], [full.until(Declined).code for _ in range(2)])
