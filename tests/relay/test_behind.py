"""What was said while somebody was away or did not read: all of it, in order, once, and only what is theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from securechat.relay.bus import Bus, LocalBus
from securechat.relay.limits import RelayLimits
from securechat.relay.pages import PAGE_BYTES, PAGE_ROWS
from securechat.relay.store import HOUR_MS, KEEP_HOURS
from securechat.signed.entries import Policy
from securechat.wire.codes import Code
from securechat.wire.messages import Ack, Delivery, Enter, Gap, Message, Roster, Seen, SessionKey
from tests.relay.harness import Client, RelayCase, kinds, of, only
from tests.relay.keeping import KeptCase, open_store, store_path
from tests.relay.people import NOW_MS

ROOM: Final = "#tea"


def told(messages: Sequence[Message], room: str = ROOM) -> list[tuple[int, bytes]]:
    """What was delivered: numbers and texts."""
    return [
        (seq, sealed)
        for each in of(Delivery, messages)
        if each.room == room
        for seq, (_, _, sealed) in enumerate(each.items, each.first_seq)
    ]


def numbers(messages: Sequence[Message]) -> list[int]:
    """The numbers of all that was delivered."""
    return [seq for seq, _ in told(messages)]


class HistoryCase(KeptCase):
    """A relay with a real store; its clients' outboxes take what they are given."""

    def bus(self) -> Bus:
        """What its hints go through."""
        return LocalBus()

    def setUp(self) -> None:
        """Make it, with Alice and Bob in a room."""
        self.store = open_store(store_path(self))
        self.addCleanup(self.store.close)
        limits = RelayLimits(posts_per_s=0, bytes_per_s=0, window=100_000)
        self.here = self.kept_relay(self.store, limits, bus=self.bus())
        self.alice, self.bob = self.here.room(ROOM, "alice", "bob")

    def say(self, *texts: bytes, by: Client | None = None) -> None:
        """Somebody says something, and it is kept."""
        (by or self.alice).post(ROOM, *texts)
        self.here.turn()

    def away(self, client: Client) -> None:
        """Somebody is gone."""
        client.transport.lose()
        self.here.turn()

    def back(self, name: str, after: int) -> list[Message]:
        """What somebody hears who is back."""
        (self.last,) = self.here.login(name)
        return self.last.does(Enter(ROOM, 0, after))


class AwayTests(HistoryCase):
    """Coming back."""

    def test_what_was_missed(self) -> None:
        """Whoever comes back is told what was said after the number that they know, behind the room's key."""
        self.say(b"1", b"2")
        self.away(self.bob)
        self.say(b"3", b"4")
        heard = self.back("bob", 2)
        self.assertEqual(["Roster", "Present", "SessionKey", "Delivery"], kinds(heard))
        self.assertEqual([(3, b"3"), (4, b"4")], told(heard))
        self.assertEqual(("alice", NOW_MS), only(Delivery, heard).items[0][:2])

    def test_then_live(self) -> None:
        """Behind what was missed comes what is said, without a hole and once."""
        self.away(self.bob)
        self.say(b"1")
        self.back("bob", 0)
        self.say(b"2")
        self.assertEqual([(2, b"2")], told(self.last.hears()))

    def test_nothing_missed(self) -> None:
        """Who knows everything, or asks from now on, is told of nothing that was said before."""
        self.say(b"1")
        for after in (1, 2, 2**63 - 1):
            self.away(self.bob)
            self.assertEqual([], numbers(self.back("bob", after)))
            self.bob = self.last
        self.say(b"2")
        self.assertEqual([2], numbers(self.bob.hears()))

    def test_own(self) -> None:
        """Of what one has said oneself the numbers come as well."""
        self.say(b"mine", by=self.bob)
        self.away(self.bob)
        self.assertEqual([(1, b"mine")], told(self.back("bob", 0)))

    def test_after_a_restart(self) -> None:
        """A relay that was started again tells what it had kept, under its numbers."""
        self.say(b"1", b"2")
        self.away(self.bob)
        self.here.end(self)
        self.here = self.kept_relay(self.store)
        self.assertEqual([(2, b"2")], told(self.back("bob", 1)))

    def test_pages(self) -> None:
        """Many messages come a page at a time, each when the one before has been read."""
        self.away(self.bob)
        for at in range(0, 3 * PAGE_ROWS, 100):
            self.say(*(b"%d" % number for number in range(at, at + 100)))
        count = self.here.factory.rooms.last_seq(ROOM)
        (bob,) = self.here.login("bob")
        bob.stops_reading()
        bob.send(Enter(ROOM, 0, 0))
        self.here.turn()
        self.assertEqual(0, self.here.history.pages)
        bob.reads_again()
        self.assertEqual(list(range(1, count + 1)), numbers(bob.hears()))
        self.assertEqual(-(-count // PAGE_ROWS), self.here.history.pages)

    def test_long_pages(self) -> None:
        """A page is bounded in bytes as well."""
        self.away(self.bob)
        for _ in range(20):
            self.say(bytes(16_000))
        self.assertEqual(list(range(1, 21)), numbers(self.back("bob", 0)))
        self.assertGreaterEqual(self.here.history.pages, 20 * 16_000 // PAGE_BYTES)

    def test_said_meanwhile(self) -> None:
        """What is said while a page is read comes behind it, once; what is too much comes with the next page."""
        for text in (b"x", bytes(15_000)):
            before = self.here.factory.rooms.last_seq(ROOM)
            self.away(self.bob)
            self.say(b"missed")
            self.here.history.held = True
            (self.bob,) = self.here.login("bob")
            self.assertEqual([], numbers(self.bob.does(Enter(ROOM, 0, before))))
            for _ in range(12):
                self.say(text)
            self.here.history.held = False
            self.here.history.let_go()
            last = self.here.factory.rooms.last_seq(ROOM)
            self.assertEqual(list(range(before + 1, last + 1)), numbers(self.bob.hears()))

    def test_not_kept_yet(self) -> None:
        """A page is read when all that was said is kept: what is being written then is not missed."""
        self.away(self.bob)
        (bob,) = self.here.login("bob")
        self.here.disk.held = True
        self.alice.post(ROOM, b"1")
        self.here.turn()
        bob.send(Enter(ROOM, 0, 0))
        self.here.turn()
        self.here.disk.held = False
        self.here.disk.keep()
        self.assertEqual([1], numbers(bob.hears()))

    def test_again_on_the_same_link(self) -> None:
        """To enter again with a lower number has it all told again, and a page that was under way is not used."""
        self.say(b"1", b"2")
        self.here.history.held = True
        self.bob.does(Enter(ROOM, 0, 1))
        self.bob.does(Enter(ROOM, 0, 0))
        self.here.history.held = False
        self.here.history.let_go()
        self.say(b"3")
        self.assertEqual([1, 2, 3], numbers(self.bob.hears()))

    def test_gone_meanwhile(self) -> None:
        """A page for somebody who is gone, was put out or whose room has ended goes to nobody."""
        self.away(self.bob)
        self.say(b"1")
        self.here.history.held = True
        self.back("bob", 0)
        self.away(self.last)
        self.back("bob", 0)
        only(Roster, self.alice.remove(ROOM, self.last.me))
        self.here.history.held = False
        self.here.history.let_go()
        self.assertEqual([], numbers(self.last.hears()))
        self.assertEqual(0, len(self.here.factory.rooms.behind))

    def test_many_rooms(self) -> None:
        """Of several rooms all is told, of one after the other."""
        self.alice.found("#cake", self.bob.me)
        self.away(self.bob)
        self.alice.post(ROOM, b"1")
        self.alice.post("#cake", b"2")
        self.here.turn()
        (bob,) = self.here.login("bob")
        heard = bob.does(Enter(ROOM, 0, 0), Enter("#cake", 0, 0))
        self.assertEqual(([(1, b"1")], [(1, b"2")]), (told(heard), told(heard, "#cake")))

    def test_unreadable(self) -> None:
        """Where a page cannot be read the link ends, and nothing is passed over in silence."""
        self.away(self.bob)
        self.say(b"1")
        (bob,) = self.here.login("bob")
        self.patch(self.here.history, "read", lambda room, first, read: read(None))
        bob.send(Enter(ROOM, 0, 0))
        self.assertEqual(Code.FAILED, bob.code())


class EpochTests(HistoryCase):
    """Keys of the past, and who gets them."""

    def test_past_keys(self) -> None:
        """Before messages of a past epoch comes its key."""
        first = self.alice.key(ROOM)
        self.say(b"old")
        self.away(self.bob)
        (carol,) = self.here.login("carol")
        second = carol.join(ROOM)
        self.say(b"new")
        heard = self.back("bob", 0)
        self.assertEqual(["Roster", "Present", "SessionKey", "SessionKey", "Delivery"], kinds(heard))
        self.assertEqual([second, first], of(SessionKey, heard))
        self.assertEqual([(1, b"old"), (2, b"new")], told(heard))

    def test_what_was_said_before_one_came(self) -> None:
        """Who was added while away gets no message and no key of before, and is told that it is not theirs."""
        self.say(b"1", b"2")
        (carol,) = self.here.login("carol")
        self.away(carol)
        self.alice.add(ROOM, carol.me)
        self.say(b"3")
        heard = self.back("carol", 0)
        self.assertEqual([(3, b"3")], told(heard))
        self.assertEqual([Gap(ROOM, 1, 2, Code.NOT_A_MEMBER)], of(Gap, heard))
        self.assertEqual([self.alice.key(ROOM)], of(SessionKey, heard))

    def test_what_was_said_between(self) -> None:
        """Who was put out and brought in again gets nothing of the time between."""
        self.say(b"1")
        self.alice.remove(ROOM, self.bob.me)
        between = self.alice.key(ROOM)
        self.say(b"2", b"3")
        self.away(self.bob)
        self.alice.add(ROOM, self.bob.me)
        self.say(b"4")
        heard = self.back("bob", 0)
        self.assertEqual([(1, b"1"), (4, b"4")], told(heard))
        self.assertEqual([Gap(ROOM, 2, 3, Code.NOT_A_MEMBER)], of(Gap, heard))
        self.assertNotIn(between, of(SessionKey, heard))

    def test_keys_last_as_long_as_messages(self) -> None:
        """The key of a past epoch is kept as long as a message of it, and the present one in any case."""
        self.say(b"1")
        for name in ("carol", "dave"):
            (client,) = self.here.login(name)
            client.join(ROOM)
        self.here.turn()
        count = "SELECT count(*) FROM epochs"
        self.store.tidy(NOW_MS)
        # That of Carol's coming was of no message.
        self.assertEqual([(2,)], self.store._all(count))
        self.store.tidy(NOW_MS + (KEEP_HOURS + 1) * HOUR_MS)
        self.assertEqual([(1,)], self.store._all(count))


class GoneTests(HistoryCase):
    """What is not kept any more."""

    def test_expired(self) -> None:
        """Numbers whose messages have expired are named, with what is left behind them."""
        self.away(self.bob)
        self.say(b"1", b"2")
        self.here.skip(10 * HOUR_MS)
        self.say(b"3")
        self.store.tidy(NOW_MS + (KEEP_HOURS + 1) * HOUR_MS)
        heard = self.back("bob", 0)
        self.assertEqual([Gap(ROOM, 1, 2, Code.EXPIRED)], of(Gap, heard))
        self.assertEqual([(3, b"3")], told(heard))
        self.store.tidy(NOW_MS + (KEEP_HOURS + 11) * HOUR_MS)
        self.away(self.last)
        self.assertEqual([Gap(ROOM, 2, 3, Code.EXPIRED)], of(Gap, self.back("bob", 1)))

    def test_seen_by_all(self) -> None:
        """In a room without a history a message goes when every member's device has seen it."""
        self.say(b"1", b"2", b"3")
        rooms = self.here.factory.rooms
        self.alice.does(Seen([(ROOM, 3, 0)]))
        self.assertEqual({}, rooms.done_with())
        self.bob.does(Seen([(ROOM, 2, 0)]))
        self.assertEqual({ROOM: 2}, rooms.done_with())
        self.store.tidy(NOW_MS, rooms.done_with())
        self.away(self.bob)
        heard = self.back("bob", 0)
        self.assertEqual(([Gap(ROOM, 1, 2, Code.EXPIRED)], [(3, b"3")]), (of(Gap, heard), told(heard)))

    def test_seen_too_much(self) -> None:
        """Nobody has seen what was not said, no number goes back, and who is no member has seen nothing."""
        self.say(b"1", b"2")
        (carol,) = self.here.login("carol")
        for client, seq in ((self.alice, 2**63 - 1), (self.bob, 2), (self.bob, 1), (carol, 1)):
            client.does(Seen([(ROOM, seq, 0), ("#nowhere", 1, 0)]))
        self.assertEqual({ROOM: 2}, self.here.factory.rooms.done_with())
        self.say(b"3")
        self.bob.does(Seen([(ROOM, 3, 0)]))
        self.assertEqual({ROOM: 2}, self.here.factory.rooms.done_with())

    def test_cursors_are_kept(self) -> None:
        """What was seen is known after a restart."""
        self.say(b"1")
        for client in (self.alice, self.bob):
            client.does(Seen([(ROOM, 1, 0)]))
        self.here.end(self)
        self.assertEqual({ROOM: 1}, self.kept_relay(self.store).factory.rooms.done_with())

    def test_history(self) -> None:
        """In a room with a history messages stay, seen or not, for as many days as it says."""
        self.alice.found("#long", policy=Policy(history_days=30))
        self.alice.post("#long", b"1")
        self.here.turn()
        self.alice.does(Seen([("#long", 1, 0)]))
        self.assertEqual({}, self.here.factory.rooms.done_with())
        self.store.tidy(NOW_MS + 29 * 24 * HOUR_MS)
        self.assertEqual(1, len(self.store.page("#long", 1).messages))
        self.store.tidy(NOW_MS + 31 * 24 * HOUR_MS)
        self.assertEqual([], self.store.page("#long", 1).messages)


class SlowTests(HistoryCase):
    """Who reads more slowly than a room talks."""

    def test_lagging(self) -> None:
        """Who does not read costs half of the bound at most, is not dropped, and reads everything in the end."""
        self.bob.stops_reading()
        for _ in range(100):
            self.say(bytes(8_000))
        limits = RelayLimits()
        self.assertLess(self.here.factory.waiting_bytes, limits.outbox_bytes // 2 + 10_000)
        self.assertEqual(1, len(self.here.factory.rooms.behind))
        self.assertFalse(self.bob.transport.lost)
        self.bob.reads_again()
        self.assertEqual(list(range(1, 101)), numbers(self.bob.hears()))
        self.assertEqual(0, len(self.here.factory.rooms.behind))
        self.say(b"more")
        self.assertEqual([101], numbers(self.bob.hears()))

    def test_answers_come(self) -> None:
        """Whoever is behind in reading has their own posts acknowledged, and misses none of those answers."""
        self.bob.stops_reading()
        for _ in range(30):
            self.say(bytes(8_000))
        self.say(b"mine", by=self.bob)
        self.bob.reads_again()
        heard = self.bob.hears()
        self.assertEqual([31], [seq for each in of(Ack, heard) for _, seq in each.items])
        self.assertEqual(list(range(1, 31)), numbers(heard)[:30])

    @given(st.lists(st.sampled_from(["say", "long", "stop", "read", "leave", "turn", "hold", "keep"]), max_size=60))
    @settings(max_examples=150, deadline=None)
    def test_whatever_happens(self, steps: list[str]) -> None:
        """However somebody reads, is lost and comes back, whatever is read late: each number once, in order."""
        self.setUp()
        heard: list[int] = []

        def hears() -> None:
            heard.extend(numbers(self.bob.hears()))

        for step in steps:
            if step in ("say", "long"):
                self.alice.post(ROOM, b"text" if step == "say" else bytes(12_000))
            elif step == "stop":
                self.bob.stops_reading()
            elif step == "read":
                self.bob.reads_again()
            elif step == "leave":
                hears()
                self.bob.transport.lose()
                (self.bob,) = self.here.login("bob")
                self.bob.send(Enter(ROOM, 0, heard[-1] if heard else 0))
            elif step == "turn":
                self.here.turn()
            else:
                self.here.history.held = step == "hold"
                if step == "keep":
                    self.here.history.let_go()
        self.here.history.held = False
        self.here.history.let_go()
        self.here.turn()
        self.bob.reads_again()
        hears()
        self.assertEqual(list(range(1, self.here.factory.rooms.last_seq(ROOM) + 1)), heard)


class NothingKeptTests(RelayCase):
    """A relay that keeps nothing."""

    def test_says_so(self) -> None:
        """It says of which numbers it has nothing."""
        relay = self.relay()
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.transport.lose()
        alice.post(ROOM, b"1", b"2")
        relay.turn()
        (again,) = relay.login("bob")
        heard = again.does(Enter(ROOM, 0, 1))
        self.assertEqual([Gap(ROOM, 2, 2, Code.NOT_KEPT)], of(Gap, heard))
        alice.post(ROOM, b"3")
        relay.turn()
        self.assertEqual([3], numbers(again.hears()))

    def test_lagging(self) -> None:
        """Who reads too slowly is told what was not put in line, and hears again what is said."""
        relay = self.relay(RelayLimits(posts_per_s=0, bytes_per_s=0))
        alice, bob = relay.room(ROOM, "alice", "bob")
        bob.stops_reading()
        for _ in range(40):
            alice.post(ROOM, bytes(8_000))
            relay.turn()
        bob.reads_again()
        heard = bob.hears()
        gap = only(Gap, heard)
        self.assertEqual((40, Code.NOT_KEPT), (gap.last, gap.code))
        self.assertEqual(list(range(1, gap.first)), numbers(heard))
        alice.post(ROOM, b"more")
        relay.turn()
        self.assertEqual([41], numbers(bob.hears()))
