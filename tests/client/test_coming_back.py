"""Clients over a relay that keeps what is said: what they missed, once, after a lost link or a new start."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from securechat.client.events import Error, Gap, Held, Keyed, Link, Missed, Unreadable
from securechat.client.keys import KeyFile
from securechat.e2e.keystore import Place
from securechat.e2e.room import SecureRoom
from securechat.relay.factory import RelayFactory
from securechat.relay.journal import Journal
from securechat.relay.kept import KeptBans, KeptLog, KeptOwners, restore
from securechat.relay.limits import RelayLimits
from securechat.relay.records import Record
from securechat.relay.store import HOUR_MS, KEEP_HOURS, Store
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from securechat.wire.outbox import Turn
from tests.client.town import LOBBY, Person, Town, TownCase
from tests.relay.keeping import KEY, StoredHistory, open_store, store_path
from tests.relay.people import NOW_MS


class KeptTown(Town):
    """A town whose relay has a store; what is to be kept is kept at once."""

    store: Store
    is_full = False

    def start_relay(self) -> None:
        """Start a relay with what its store has."""
        journal = Journal(self.clock, Turn(self.clock), self.keep)
        history = StoredHistory(self.store, partial(self.clock.callLater, 0))
        owners, bans, log = KeptOwners(journal), KeptBans(journal), KeptLog(journal, KEY, history)
        self.factory = RelayFactory(
            self.clock,
            self.now_ms,
            log,
            self._limits,
            owners=owners,
            bans=bans,
            journal=journal,
            history=history,
            is_full=lambda: self.is_full,
        )
        restore(self.store.load(), owners, bans, log, self.factory.rooms.memberships)

    def keep(self, records: list[Record], kept: Callable[[], None]) -> None:
        """Keep a batch."""
        self.store.commit(records)
        kept()


class BackCase(TownCase):
    """Alice and Bob in the lobby of such a relay."""

    def setUp(self) -> None:
        """Begin."""
        store = open_store(store_path(self))
        self.addCleanup(store.close)
        self.store = KeptTown.store = store
        self.town_ = KeptTown(RelayLimits(posts_per_s=0, bytes_per_s=0))
        self.addCleanup(self.end)
        self.alice, self.bob = self.town_.enter("alice", "bob")

    def end(self) -> None:
        """End everything, and what may be kept a second later as well."""
        for each in self.town_.people:
            if each.linked:
                each.lose()
        self.town_.clock.advance(2)
        self.town_.close()

    def says(self, who: Person, *texts: str, room: str = LOBBY) -> None:
        """Somebody says something, and everything settles."""
        for text in texts:
            who.conversation.say(room, text)
        self.town_.settle()

    def back(self, who: Person) -> None:
        """Somebody has a link again."""
        who.connect()
        self.town_.settle()

    def stores(self, who: Person) -> None:
        """Somebody's key store is written."""
        who.conversation.pack()
        who.conversation.stored()
        self.town_.settle()

    def restart(self, who: Person) -> None:
        """Somebody's program ends, or is killed, and starts again with what its key store has."""
        if who.linked:
            who.lose()
        file = KeyFile(Path(self.mktemp()), "relay", who.name)
        store = file.open(NOW_MS)
        store.secrets = who.secrets
        file.save(store)
        file.close()
        again = file.open(NOW_MS)
        file.close()
        who.secrets = again.secrets
        who.begin()
        self.back(who)

    def nothing_odd(self, who: Person) -> None:
        """Nobody was told of anything that is missing or cannot be read."""
        odd = [each for each in who.events if isinstance(each, Missed | Unreadable | Gap | Error)]
        self.assertEqual([], odd)


class LinkTests(BackCase):
    """A link that was lost."""

    def test_no_room_and_no_ledger(self) -> None:
        """A client that keeps nothing is told that the relay has no room for what it said."""
        self.town_.is_full = True
        self.says(self.alice, "text")
        self.assertEqual([("text", REASONS[Code.STORAGE_FULL])], self.alice.given_up())

    def test_missed(self) -> None:
        """What was said meanwhile comes when the link is back, in order and once, and then what is said."""
        self.says(self.alice, "1")
        self.bob.lose()
        self.says(self.alice, "2", "3")
        self.back(self.bob)
        self.says(self.alice, "4")
        self.assertEqual([("alice", each) for each in "1234"], self.bob.heard())
        self.nothing_odd(self.bob)

    def test_own(self) -> None:
        """What one said oneself and was not acknowledged comes once to the others, and is no hole here."""
        self.bob.conversation.say(LOBBY, "mine")
        self.town_.settle(self.bob)
        self.bob.move_up()
        self.town_.turn()
        self.bob.worker.work()
        self.bob.lose()
        self.says(self.alice, "hers")
        self.back(self.bob)
        self.says(self.alice, "later")
        self.assertEqual([("alice", "hers"), ("alice", "later")], self.bob.heard())
        self.assertEqual(["mine"], [text for _, text in self.alice.heard()])
        self.nothing_odd(self.bob)
        self.nothing_odd(self.alice)

    def test_new_epochs(self) -> None:
        """What was said in epochs that are over opens, and nothing is said under their keys."""
        self.bob.lose()
        self.says(self.alice, "1")
        for number, name in enumerate(("carol", "dave")):
            (other,) = self.town_.come(name)
            other.conversation.enter(LOBBY)
            self.town_.settle()
            self.says(self.alice, f"2{number}")
        self.bob.forget()
        self.back(self.bob)
        # One of the present epoch; those of the past are for reading only.
        self.assertEqual(1, len(self.bob.told(Keyed)))
        self.says(self.bob, "all read")
        self.assertEqual([("alice", each) for each in ("1", "20", "21")], self.bob.heard())
        self.assertEqual([("bob", "all read")], self.alice.heard())
        self.nothing_odd(self.bob)

    def test_a_new_relay(self) -> None:
        """A relay that was started again has it all."""
        self.bob.lose()
        self.says(self.alice, "1", "2")
        self.alice.lose()
        self.town_.clock.advance(2)
        self.town_.start_relay()
        self.back(self.bob)
        self.assertEqual([("alice", "1"), ("alice", "2")], self.bob.heard())
        self.nothing_odd(self.bob)

    def test_told_once(self) -> None:
        """That the link is lost is told once, however often it is tried in vain, and the next time again."""
        self.bob.forget()
        self.bob.lose()
        for _ in range(3):
            self.bob.conversation.link_down("relay", "nobody answers", 2.0)
        self.back(self.bob)
        self.bob.lose()
        self.assertEqual([False, True, False], [link.up for link in self.bob.told(Link)])

    def test_to_somebody_who_is_away(self) -> None:
        """What is said to one who is away is kept for them, also when it is the first thing that is said there."""
        (carol,) = self.town_.come("carol")
        for each in (self.bob, carol):
            each.lose()
        for name in ("bob", "carol"):
            self.alice.conversation.direct(name, f"hello {name}")
        self.town_.settle()
        self.assertEqual([], self.alice.given_up())
        for each in (self.bob, carol):
            self.back(each)
        self.assertEqual([("alice", "hello bob")], self.bob.heard("@alice+bob"))
        self.assertEqual([("alice", "hello carol")], carol.heard("@alice+carol"))

    def test_expired(self) -> None:
        """What the relay does not have any more is told, with the reason, and nothing else is missing."""
        self.says(self.alice, "1")
        self.bob.lose()
        self.says(self.alice, "2", "3")
        self.town_.skipped_ms = 10 * HOUR_MS
        self.says(self.alice, "4")
        self.store.tidy(NOW_MS + (KEEP_HOURS + 1) * HOUR_MS)
        self.back(self.bob)
        self.assertEqual([Missed(LOBBY, 2, 3, REASONS[Code.EXPIRED])], self.bob.told(Missed))
        self.assertEqual(["1", "4"], [text for _, text in self.bob.heard()])

    def test_many(self) -> None:
        """A thousand messages over many sessions come in one run; keys waited for all of them."""
        self.bob.lose()
        texts = [f"{number}" for number in range(1_000)]
        for at in range(0, 1_000, 100):
            self.says(self.alice, *texts[at : at + 100])
        self.back(self.bob)
        self.assertEqual(texts, [text for _, text in self.bob.heard()])
        self.nothing_odd(self.bob)


class StartTests(BackCase):
    """A program that starts again."""

    def test_missed(self) -> None:
        """What was said while the program did not run is told when it starts, and nothing that was told before."""
        self.says(self.alice, "1")
        self.stores(self.bob)
        self.bob.lose()
        self.says(self.alice, "2", "3")
        self.restart(self.bob)
        self.says(self.alice, "4")
        self.assertEqual([("alice", each) for each in "1234"], self.bob.heard())
        self.nothing_odd(self.bob)

    def test_killed(self) -> None:
        """A program that was killed before it stored what it was told, and keeps no ledger, is told that again."""
        self.says(self.alice, "1")
        self.stores(self.bob)
        self.says(self.alice, "2")
        self.restart(self.bob)
        self.assertEqual([("alice", each) for each in ("1", "2", "2")], self.bob.heard())
        self.nothing_odd(self.bob)

    def test_added_while_away(self) -> None:
        """Who is added while away gets what was said since, and nothing is told of what was said before."""
        (carol,) = self.town_.come("carol")
        self.says(self.alice, "before")
        carol.lose()
        self.alice.conversation.invite(LOBBY, "carol")
        self.town_.settle()
        self.says(self.alice, "for all")
        self.back(carol)
        self.assertEqual([("alice", "for all")], carol.heard())
        self.nothing_odd(carol)

    def test_waits_for_a_key(self) -> None:
        """What could not be opened yet when the program ended comes again when it starts, once its key is there."""
        self.says(self.alice, "1")
        self.stores(self.bob)
        self.bob.conversation.pack()
        self.bob.lose()
        self.says(self.alice, "2")
        self.alice.conversation.rekey(LOBBY)
        self.says(self.alice, "3")
        self.alice.conversation.rekey(LOBBY)
        self.says(self.alice, "4")
        # The key of "3" is lost at the relay.
        waiting = self.town_.factory.rooms.memberships.hands.waiting
        first, *_ = list(waiting._of_device[self.bob.keys.device.public])
        waiting._drop(first)
        self.alice.lose()
        self.back(self.bob)
        self.assertEqual((["1", "2", "4"], 1), ([text for _, text in self.bob.heard()], len(self.bob.told(Held))))
        self.stores(self.bob)
        self.restart(self.bob)
        self.back(self.alice)
        self.assertEqual(["1", "2", "4", "3"], [text for _, text in self.bob.heard()])
        self.assertEqual([], self.bob.told(Unreadable))

    def test_a_place_in_another_room(self) -> None:
        """Where the place that was stored is in another room of that name, all of this one is asked for."""
        self.stores(self.bob)
        self.bob.lose()
        self.says(self.alice, "1", "2")
        self.bob.secrets.places[LOBBY] = Place(b"another room".ljust(32), 50, 60)
        self.restart(self.bob)
        self.assertEqual(["1", "2"], [text for _, text in self.bob.heard()])
        self.nothing_odd(self.bob)

    def test_another_room_of_that_name(self) -> None:
        """Of a room that was founded anew under a name nothing is passed over for what was known of the old one."""
        self.says(self.alice, "1", "2", "3")
        self.stores(self.bob)
        self.bob.conversation.leave(LOBBY)
        self.alice.conversation.leave(LOBBY)
        self.town_.settle()
        self.alice.conversation.enter(LOBBY)
        self.town_.settle()
        self.alice.conversation.invite(LOBBY, "bob")
        self.town_.settle()
        self.bob.lose()
        self.says(self.alice, "new")
        self.back(self.bob)
        self.assertEqual(["1", "2", "3", "new"], [text for _, text in self.bob.heard()])


class SeenTests(BackCase):
    """What we say that we have stored."""

    def seen(self) -> list[tuple[str, int, int]]:
        """All that Bob has said of it."""
        return [item for each in self.bob.said(wire.Seen) for item in each.items]

    def test_after_storing(self) -> None:
        """Numbers and keys are said to be seen when they are stored, once, and not before."""
        self.says(self.alice, "1", "2")
        self.assertEqual([], self.seen())
        self.stores(self.bob)
        ((room, seq, handed),) = self.seen()
        self.assertEqual((LOBBY, 2), (room, seq))
        self.assertGreater(handed, 0)
        self.stores(self.bob)
        self.assertEqual(1, len(self.seen()))
        self.assertEqual(0, len(self.town_.factory.rooms.memberships.hands.waiting))

    def test_not_keys_that_wait(self) -> None:
        """Keys of which one still waits for the log are not said to be stored."""
        self.patch(SecureRoom, "holds_keys", True)
        self.says(self.alice, "1")
        self.stores(self.bob)
        self.assertEqual([(LOBBY, 1, 0)], self.seen())

    def test_not_what_is_being_opened(self) -> None:
        """What is on its way through the worker is neither stored nor seen."""
        self.says(self.alice, "1")
        self.stores(self.bob)
        self.bob.worker.at_once = False
        self.alice.conversation.say(LOBBY, "2")
        for _ in range(5):
            self.town_.turn()
            self.alice.move_up()
            self.bob.move_down()
        self.stores_unsettled()
        self.assertEqual([1], [seq for _, seq, _ in self.seen()])

    def stores_unsettled(self) -> None:
        """Bob's key store is written while something is going on."""
        self.bob.conversation.pack()
        self.bob.conversation.stored()
