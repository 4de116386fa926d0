"""Posts sent again that may have been taken long ago: the relay looks for them in its store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, cast

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay import history
from securechat.relay import sqlite_store as store
from securechat.relay.history import KeptHistory
from securechat.relay.records import EntryTaken, MessageTaken
from securechat.relay.store import Store
from securechat.relay.tags import post_tag
from securechat.relay.writer import Writer
from securechat.wire.codes import Code
from securechat.wire.messages import Declined, Ping, Post, Repost
from tests.relay.harness import Client, acked, kinds, only, post_id, texts
from tests.relay.keeping import KEY, KeptCase, KeptRelay, open_store, store_path
from tests.relay.people import NOW_MS

ROOM: Final = "#tea"
RECENT: Final = 10


class RepostTests(KeptCase):
    """Alice and Bob at a relay with a store, which has only ten ids in mind."""

    def setUp(self) -> None:
        """Alice says something, and then Bob so much that it is forgotten."""
        kept = open_store(store_path(self))
        self.addCleanup(kept.close)
        self.store = kept
        self.here = self.relay_here()
        self.alice, self.bob = self.here.room(ROOM, "alice", "bob")
        self.epoch = self.alice.key(ROOM).epoch
        self.alice.post(ROOM, b"once", ids=[post_id(1)])
        self.bob_talks(2, 32)
        self.assertEqual([(post_id(1), 1)], acked(self.alice.hears()))
        self.bob.hears()

    def relay_here(self) -> KeptRelay:
        """A relay that begins with what the store has."""
        relay = self.kept_relay(self.store)
        relay.kept_log._recent_ids = RECENT
        return relay

    def bob_talks(self, first: int, end: int) -> None:
        """Bob says something under many ids."""
        for number in range(first, end):
            self.bob.post(ROOM, b"much", ids=[post_id(number)])
            self.here.turn()

    def repost(self, client: Client, number: int, after: int = 0, epoch: bytes = b"") -> None:
        """Somebody posts again what may have been taken."""
        client.send(Repost(ROOM, epoch or self.epoch, after, post_id(number), b"sealed anew"))

    def test_taken_long_ago(self) -> None:
        """It is acknowledged with its first number, and not delivered again."""
        self.repost(self.alice, 1)
        self.assertEqual([(post_id(1), 1)], acked(self.alice.hears()))
        self.assertEqual([], self.bob.hears())
        self.assertEqual(1, self.here.history.looked)

    def test_as_a_post_it_would_be_new(self) -> None:
        """A `Post` is not looked for: what is not among the latest ids counts as new."""
        self.alice.post(ROOM, b"twice", ids=[post_id(1)])
        self.assertEqual([(post_id(1), 32)], acked(self.alice.hears()))
        self.assertEqual([b"twice"], texts(self.bob.hears()))

    def test_under_an_old_epoch(self) -> None:
        """What was taken is acknowledged whatever epoch it names now; what was not is declined."""
        self.repost(self.alice, 1, epoch=bytes(32))
        self.repost(self.alice, 100, epoch=bytes(32))
        heard = self.alice.hears()
        self.assertEqual([(post_id(1), 1)], acked(heard))
        self.assertEqual(Declined(ROOM, [post_id(100)], Code.STALE_EPOCH), only(Declined, heard))

    def test_never_taken(self) -> None:
        """It is taken now, once, however often it comes."""
        self.repost(self.alice, 100)
        self.repost(self.alice, 100)
        self.assertEqual([(post_id(100), 32)] * 2, acked(self.alice.hears()))
        self.assertEqual([b"sealed anew"], texts(self.bob.hears()))

    def test_ids_belong_to_their_sender(self) -> None:
        """Another member's message of the same id is another one."""
        self.repost(self.bob, 1)
        self.assertEqual([(post_id(1), 32)], acked(self.bob.hears()))

    def test_after(self) -> None:
        """It is looked for only above the number that its sender knew, and not at all where that is in mind."""
        self.repost(self.alice, 1, after=1)
        self.assertEqual([(post_id(1), 32)], acked(self.alice.hears()))
        self.assertEqual(1, self.here.history.looked)
        self.repost(self.alice, 200, after=25)
        self.assertEqual([(post_id(200), 33)], acked(self.alice.hears()))
        self.assertEqual(1, self.here.history.looked)

    def test_what_comes_behind_waits(self) -> None:
        """Nothing that comes behind it on its link is carried out before it; other clients go on."""
        self.here.history.held = True
        self.repost(self.alice, 100)
        self.alice.send(Post(ROOM, self.epoch, [(post_id(101), b"later")]), Ping())
        self.assertEqual([], self.alice.hears())
        self.bob.post(ROOM, b"meanwhile", ids=[post_id(300)])
        self.assertEqual([b"meanwhile"], texts(self.alice.hears()))
        self.here.history.let_go()
        heard = self.alice.hears()
        self.assertEqual([(post_id(100), 33), (post_id(101), 34)], acked(heard))
        self.assertEqual({"Ack", "Pong"}, set(kinds(heard)))
        self.assertEqual([b"sealed anew", b"later"], texts(self.bob.hears()))

    def test_after_a_restart(self) -> None:
        """So it is with what was taken before the relay was started."""
        self.here.end(self)
        self.patch(store, "RECENT_IDS", RECENT)
        again = self.relay_here()
        (alice,) = again.login("alice")
        self.repost(alice, 1, epoch=self.epoch)
        self.assertEqual([(post_id(1), 1)], acked(alice.hears()))

    def test_seen_by_all(self) -> None:
        """So it is when the message itself is gone, as everybody has it."""
        self.store.tidy(NOW_MS, {ROOM: 31})
        self.assertEqual([], self.store.page(ROOM, 1).messages)
        self.repost(self.alice, 1)
        self.assertEqual([(post_id(1), 1)], acked(self.alice.hears()))

    def test_unreadable(self) -> None:
        """Where it cannot be looked for the link ends with `failed`, and nothing is taken."""
        self.here.history.fails = True
        self.repost(self.alice, 1)
        self.assertEqual(Code.FAILED, self.alice.code())
        self.assertEqual([], texts(self.bob.hears()))

    def test_gone_meanwhile(self) -> None:
        """Who is gone by the time when it is known posts nothing any more."""
        self.here.history.held = True
        self.repost(self.alice, 100)
        self.alice.transport.lose()
        self.here.history.let_go()
        self.here.turn()
        self.assertEqual([], texts(self.bob.hears()))

    def test_before_a_login(self) -> None:
        """It is out of order before a login."""
        stranger = self.here.connect()
        self.repost(stranger, 1)
        self.assertEqual(Code.OUT_OF_ORDER, stranger.code())

    def test_counts_as_a_post(self) -> None:
        """While it waits for the disk it is bounded as posts are."""
        self.here.disk.held = True
        self.bob_talks(100, 101)
        self.repost(self.alice, 200)
        for _ in range(3):
            self.here.turn()
        self.assertEqual(len(b"sealed anew"), self.here.factory.in_flight.bytes)
        self.here.disk.held = False
        self.here.disk.keep()
        self.here.turn()
        self.assertEqual([(post_id(200), 33)], acked(self.alice.hears()))


class FindTests(SynchronousTestCase):
    """Looking for a message in a store."""

    def test_some_at_a_time(self) -> None:
        """It is found wherever it is, from the latest back, and nothing looks at more than so many at once."""
        self.patch(history, "FIND_ROWS", 10)
        kept = open_store(store_path(self))
        self.addCleanup(kept.close)
        tags = [post_tag(KEY, ROOM, "alice", post_id(number)) for number in range(1, 36)]
        kept.commit([EntryTaken(ROOM, 0, b"entry")])
        kept.commit(
            [
                MessageTaken(ROOM, seq, tag, "alice", post_id(seq), bytes(32), NOW_MS, b"x", 0)
                for seq, tag in enumerate(tags, 1)
            ]
        )
        spans: list[tuple[int, int]] = []
        find = kept.find

        def watched(room: str, tag: bytes, after: int, up_to: int) -> int:
            spans.append((after, up_to))
            return find(room, tag, after, up_to)

        self.patch(kept, "find", watched)
        past = KeptHistory(cast(Writer, _AtOnce(kept)))
        for seq, tag in enumerate(tags, 1):
            numbers: list[int | None] = []
            past.find(ROOM, tag, 3, 35, numbers.append)
            self.assertEqual([seq if seq > 3 else 0], numbers)
        self.assertEqual({(25, 35), (15, 25), (5, 15), (3, 5)}, set(spans))


Result = TypeVar("Result")


class _AtOnce:
    """Reads a store where it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, work: Callable[[Store], Result]) -> Deferred[Result]:
        """Read it."""
        return succeed(work(self._store))
