"""Too many messages wait for their key: what falls is told, and fetched again when the key is here."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.dropped import MOST, Dropped
from securechat.client.events import Held, Keyed, Message, Unreadable
from securechat.e2e import inbox
from securechat.relay.store import HOUR_MS, KEEP_HOURS
from securechat.wire.messages import Enter
from tests.client.test_coming_back import BackCase
from tests.client.town import LOBBY
from tests.relay.keeping import open_store, store_path
from tests.relay.people import NOW_MS

HELD = 3
"""So many of one sender's messages wait here."""
SAID = [str(number) for number in range(10)]


class FetchedTests(BackCase):
    """Bob was away while alice began a session whose key the relay has lost; by now she is away herself."""

    def setUp(self) -> None:
        """Hear what can be heard."""
        super().setUp()
        self.patch(inbox, "HELD_EACH", HELD)
        (self.carol,) = self.town_.enter("carol")
        self.says(self.carol, "before")
        self.says(self.alice, "hello")
        self.bob.lose()
        self.alice.conversation.rekey(LOBBY)
        for text in SAID:
            self.says(self.alice, text)
            self.says(self.carol, f"carol {text}")
        waiting = self.town_.factory.rooms.memberships.hands.waiting
        for each in list(waiting._of_device[self.bob.keys.device.public]):
            waiting._drop(each)
        self.alice.lose()
        self.bob.forget()
        self.back(self.bob)

    def of_alice(self) -> list[str]:
        """What bob has heard of her."""
        return [text for name, text in self.bob.heard() if name == "alice"]

    def assert_all_is_there(self) -> None:
        """Everything that was said was heard, once, and nothing waits or is asked for any more."""
        self.assertEqual(SAID, sorted(self.of_alice()))
        self.assertEqual([f"carol {text}" for text in SAID], [t for name, t in self.bob.heard() if name == "carol"])
        room = self.bob.conversation._rooms.by_name[LOBBY]
        self.assertIsNone(room.dropped.first)
        self.assertEqual((room.numbers.known, {}), (room.known, room.arrived))
        self.bob.forget()
        self.says(self.alice, "later")
        self.assertEqual([("alice", "later")], self.bob.heard())
        self.assertEqual([], self.bob.said(Enter))

    def test_told(self) -> None:
        """What waits and what falls is told, each once; of others nothing is missed."""
        self.assertEqual(HELD, len(self.bob.told(Held)))
        told = self.bob.told(Unreadable)
        self.assertEqual(len(SAID) - HELD, len(told))
        self.assertEqual({"too many messages wait for their keys"}, {each.reason for each in told})
        self.assertEqual([f"carol {text}" for text in SAID], [text for _, text in self.bob.heard()])

    def test_fetched(self) -> None:
        """When the key comes all is there, with the mark of what comes late, and nothing else is told again."""
        self.bob.events.clear()
        self.back(self.alice)
        self.assertEqual(SAID, self.of_alice())
        self.assertEqual([True] * len(SAID), [each.late for each in self.bob.told(Message)])
        self.assertEqual([], [*self.bob.told(Held), *self.bob.told(Unreadable), *self.bob.told(Keyed)])
        self.assertEqual(1, len(self.bob.said(Enter)) - 1)

    def test_once(self) -> None:
        """It is fetched once, and everything goes on."""
        self.back(self.alice)
        self.assert_all_is_there()

    def test_link_lost(self) -> None:
        """It comes on a new link as well, where the key waits."""
        self.bob.lose()
        self.back(self.alice)
        self.back(self.bob)
        self.assert_all_is_there()

    def asks(self) -> None:
        """Alice's key is here, what waited for it was told, and what fell was asked for."""
        self.alice.connect()
        for _ in range(200):
            if len(self.bob.said(Enter)) == 2:
                break
            self.town_.turn()
            for each in self.town_.people:
                each.move_up(1)
                each.move_down(1)
        self.assertEqual((2, SAID[:HELD]), (len(self.bob.said(Enter)), self.of_alice()))

    def test_link_lost_on_the_way(self) -> None:
        """A link that is lost while it is fetched is in nobody's way."""
        self.asks()
        self.bob.lose()
        self.back(self.bob)
        self.assert_all_is_there()

    def test_program_ends_on_the_way(self) -> None:
        """A program that ends while it is fetched has not stored that it knows it."""
        self.asks()
        self.bob.conversation.pack()
        self.bob.lose()
        self.restart(self.bob)
        self.assertEqual(SAID, sorted(self.of_alice()))

    def test_begun_anew(self) -> None:
        """In a room that begins anew, as its relay has forgotten it, nothing is known of what fell before."""
        for each in self.town_.people:
            if each.linked:
                each.lose()
        store = open_store(store_path(self))
        self.addCleanup(store.close)
        self.town_.store = store
        self.town_.start_relay()
        for each in self.town_.people:
            self.back(each)
        self.bob.forget()
        for text in SAID:
            self.says(self.alice, text)
            self.says(self.carol, text)
        self.assertEqual([(False, False)] * 2 * len(SAID), [(e.late, e.forked) for e in self.bob.told(Message)])

    def test_program_ends(self) -> None:
        """The next run of the program is told of what fell: the place that was stored is before it."""
        self.stores(self.bob)
        self.restart(self.bob)
        self.bob.events.clear()
        self.back(self.alice)
        self.assertEqual(SAID, sorted(self.of_alice()))

    def test_gone(self) -> None:
        """What the relay has nothing of any more is not asked for again and again."""
        while self.store.tidy(NOW_MS + (KEEP_HOURS + 1) * HOUR_MS):
            pass
        self.back(self.alice)
        self.assertEqual(SAID[:HELD], self.of_alice())
        room = self.bob.conversation._rooms.by_name[LOBBY]
        self.assertEqual((None, room.numbers.known), (room.dropped.first, room.known))


class DroppedTests(SynchronousTestCase):
    """The numbers."""

    def test_bound(self) -> None:
        """The latest are kept, so many and no more, and each is told once."""
        dropped = Dropped()
        self.assertEqual([True] * MOST, [dropped.drop(seq) for seq in range(1, MOST + 1)])
        self.assertEqual(1, dropped.first)
        self.assertEqual([True, False, False], [dropped.drop(seq) for seq in (MOST + 1, MOST + 1, MOST)])
        self.assertEqual((1, 2), (dropped.fetch(MOST), dropped.first))

    def test_too_far_behind(self) -> None:
        """What fell so long ago that much was said since is not fetched: all of that would come with it."""
        for known, is_wanted in ((7 + MOST - 1, True), (7 + MOST, False)):
            asked, fetched = Dropped(), Dropped()
            asked.drop(7)
            fetched.drop(7)
            self.assertEqual(is_wanted, asked.is_wanted(known))
            self.assertEqual(6 if is_wanted else known, fetched.fetch(known))

    def test_nothing_fell(self) -> None:
        """Where nothing fell everything is looked at, new or not, and asked for behind what is known."""
        dropped = Dropped()
        self.assertEqual(7, dropped.fetch(7))
        self.assertTrue(dropped.takes(3, is_new=False))

    @given(st.sets(st.integers(1, 40), min_size=1), st.integers(40, 60))
    def test_fetched(self, fell: set[int], known: int) -> None:
        """Of what is fetched exactly that is looked at which fell, and then everything as before."""
        dropped = Dropped()
        for seq in fell:
            dropped.drop(seq)
        after = dropped.fetch(known)
        taken = [seq for seq in range(after + 1, known + 1) if dropped.takes(seq, is_new=False)]
        self.assertEqual(sorted(fell), [seq for seq in taken if seq <= max(fell)])
        self.assertIsNone(dropped.first)
        self.assertTrue(dropped.takes(1, is_new=False))
        self.assertEqual(fell, set(_late(dropped)))


def _late(dropped: Dropped) -> Iterator[int]:
    """Which of the numbers fell."""
    return (seq for seq in range(1, 61) if dropped.is_late(seq))
