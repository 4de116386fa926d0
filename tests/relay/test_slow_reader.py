"""Clients that never read, with real sockets: what they cost the relay, and that nobody else notices."""

from __future__ import annotations

from threading import Condition, Thread
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.codes import Code
from securechat.wire.messages import Ack, Declined, Delivery, Goodbye, Post, Presence, SessionKey
from tests.relay.harness import post_id
from tests.relay.people import Chain
from tests.relay.process import RelayProcess, Talker

ROOM: Final = "#tea"
TEXT: Final = bytes(4_000)
RUN: Final = 15
MIB: Final = 1024 * 1024


class Sender:
    """Posts runs of messages and waits for each to be acknowledged."""

    def __init__(self, talker: Talker, relay: RelayProcess, key: SessionKey, sent: int = 0) -> None:
        self.sent = sent
        self.most_bytes = 0
        self.gone = 0
        """How many members have gone meanwhile."""
        self._talker = talker
        self._relay = relay
        self._epoch = key.epoch

    def post(self, runs: int) -> None:
        """Post so many runs, looking at the relay's memory after each."""
        for _ in range(runs):
            self._post([post_id(self.sent + number) for number in range(RUN)])
            self.sent += RUN
            self.most_bytes = max(self.most_bytes, self._relay.resident_bytes())

    def _post(self, ids: list[bytes]) -> None:
        self._talker.send(Post(ROOM, self._epoch, [(each, TEXT) for each in ids]))
        waiting = set(ids)
        for message in self._talker.messages():
            match message:
                case Ack():
                    waiting -= {each for each, _ in message.items}
                case Presence(here=False):
                    self.gone += 1
                case Declined():
                    raise AssertionError(message.code)
            if not waiting:
                return


class Reader(Thread):
    """Reads all that is delivered, until the relay closes."""

    def __init__(self, talker: Talker) -> None:
        super().__init__(daemon=True)
        self.seqs: list[int] = []
        self.last: Goodbye | None = None
        self._talker = talker
        self._read = Condition()

    def run(self) -> None:
        """Read."""
        for message in self._talker.messages():
            if isinstance(message, Delivery):
                with self._read:
                    self.seqs.extend(range(message.first_seq, message.first_seq + len(message.items)))
                    self._read.notify()
            elif isinstance(message, Goodbye):
                self.last = message

    def wait_for(self, seq: int) -> None:
        """Wait, not for ever, until a message was read: on a busy machine this thread may be behind."""
        with self._read:
            self._read.wait_for(lambda: seq in self.seqs[-1:], 20)


class SlowReaderTests(SynchronousTestCase):
    """One sender, one reader, and some that do not read."""

    def test_never_reads(self) -> None:
        """Two stuck readers cost at most 4 MiB each, and nobody else misses anything."""
        relay = RelayProcess(self, "--plaintext", "--post-rate", "0", "--byte-rate", "0", "--engine", "cpu")
        names = ("alice", "bob", "slow0", "slow1")
        talkers = [Talker(self, relay.address, receive_buffer=4_096 if "slow" in name else None) for name in names]
        people = [talker.login(name) for talker, name in zip(talkers, names, strict=True)]
        alice, bob, *slow = talkers
        chain = Chain(ROOM)
        alice.send(chain.found(people[0]), chain.add(people[0], people[1]))
        reader, sender = Reader(bob), Sender(alice, relay, alice.until(SessionKey))
        bob.until(SessionKey)
        reader.start()
        # Warm up, so that what is measured is not the allocator's first stretch.
        sender.post(40)
        alice.send(*(chain.add(people[0], each) for each in people[2:]))
        for each in slow:
            each.until(SessionKey)
        sender = Sender(alice, relay, alice.until(SessionKey), sender.sent)
        before = relay.resident_bytes()
        sender.most_bytes = before
        sender.post(130)
        self.assertLess(sender.most_bytes - before, len(slow) * 4 * MIB)
        reader.wait_for(sender.sent)
        self.assertEqual(0, sender.gone)
        relay.terminate()
        relay.wait()
        reader.join(20)
        self.assertEqual(list(range(1, sender.sent + 1)), reader.seqs)
        assert reader.last is not None
        self.assertEqual(Code.SHUTDOWN, reader.last.code)
        self.assertNotIn("'slow'", relay.output)
        for secret in ("alice", "bob", "slow0", ROOM):
            self.assertNotIn(secret, relay.output)

    def test_reads_at_last(self) -> None:
        """A slow reader that begins to read at last reads everything in order, and then hears what is said."""
        relay = RelayProcess(self, "--plaintext", "--post-rate", "0", "--byte-rate", "0", "--engine", "cpu")
        alice, slow = Talker(self, relay.address), Talker(self, relay.address)
        people = [alice.login("alice"), slow.login("slow")]
        chain = Chain(ROOM)
        alice.send(chain.found(people[0]), chain.add(*people))
        sender = Sender(alice, relay, alice.until(SessionKey))
        slow.until(SessionKey)
        # Longer than all the buffers on the way.
        sender.post(200)
        reader = Reader(slow)
        reader.start()
        reader.wait_for(sender.sent)
        sender.post(1)
        reader.wait_for(sender.sent)
        self.assertEqual(list(range(1, sender.sent + 1)), reader.seqs)
        self.assertEqual(0, sender.gone)
        relay.terminate()
        relay.wait()
        reader.join(20)
        assert reader.last is not None
        self.assertEqual(Code.SHUTDOWN, reader.last.code)
