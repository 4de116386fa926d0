"""What every store promises (see `relay/store.py`), as cases to inherit from that say how it is opened."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.bans import Ban, Kind
from securechat.relay.directory import Owner
from securechat.relay.errors import NoRoomError, RelayError, StoreError
from securechat.relay.kept import KeptBans, KeptOwners, restore
from securechat.relay.log import RECENT_IDS, MemoryLog
from securechat.relay.pages import PAGE_BYTES, PAGE_ROWS, Told
from securechat.relay.records import (
    Banned,
    CursorMoved,
    EntryTaken,
    KeyDrawn,
    KeyGone,
    KeyWaits,
    MessageTaken,
    OwnerChanged,
    OwnerRemoved,
    Record,
    RoomEnded,
    Unbanned,
)
from securechat.relay.store import HOUR_MS, KEEP_HOURS, TIDY_ROWS, Kept, KeptRoom, Store
from securechat.wire.messages import LAST_SEQ, Enter, Hand, Lookup, Post, Roster, SealedKey, Seen, SessionKey
from tests.relay.harness import acked, declined, of, only, post_id
from tests.relay.keeping import KEY, KeptCase
from tests.relay.people import CLOSED, NOW_MS, Chain, person


def message(
    room: str,
    seq: int,
    sealed: bytes = b"sealed",
    time_ms: int = NOW_MS,
    keep_days: int = 0,
    epoch: bytes = bytes(32),
) -> MessageTaken:
    """A message of Alice's."""
    tag = KEY.tag("messages", room.encode(), b"alice", post_id(seq))
    return MessageTaken(room, seq, tag, "alice", post_id(seq), epoch, time_ms, sealed, keep_days)


def founded(room: str) -> list[Record]:
    """What founds a room."""
    return [EntryTaken(room, 0, b"founding"), KeyDrawn(room, b"e" * 32, b"k" * 32, 1)]


def owner(name: str, key: bytes = b"") -> Owner:
    """Somebody who has a name."""
    return Owner(name, name.encode() + key, b"device" + key, b"certificate", b"prekey", NOW_MS)


def waits(serial: int) -> KeyWaits:
    """A sealed key."""
    return KeyWaits(serial, b"d", "#tea", b"e", "alice", b"blob", NOW_MS)


class StoreContract(SynchronousTestCase):
    """All that a store promises."""

    def open(self) -> Store:
        """Open the store that is in its place, or make it there; after a crash the one before is still open."""
        raise NotImplementedError

    def open_copy(self, path: Path) -> Store:
        """Open what `copy` has made."""
        raise NotImplementedError

    def fill(self) -> None:
        """From now on there is room for a few more messages in the store that is open, but not for 200."""
        raise NotImplementedError

    def make_room(self) -> None:
        """There is room again."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Open it."""
        self.store = self.open()
        self.addCleanup(lambda: self.store.close())

    def reopened(self) -> Kept:
        """What is there when the store was closed and opened again."""
        self.store.close()
        self.store = self.open()
        return self.store.load()

    def messages(self, room: str, first: int = 1) -> list[Told]:
        """All messages of a room from a number on, read page by page."""
        found: list[Told] = []
        is_last = False
        while not is_last:
            page = self.store.page(room, first)
            found += page.messages
            is_last = page.is_last
            first = found[-1].seq + 1 if found else first
        return found

    def count(self, room: str = "#tea") -> int:
        """How many messages of a room are kept."""
        return self.store.usage(room)[0]

    def tidy_all(self, now_ms: int) -> int:
        """Tidy until there is nothing more; how often that went on."""
        rounds = 0
        while self.store.tidy(now_ms):
            rounds += 1
        return rounds

    # What is read at the start.

    def test_new(self) -> None:
        """A new store has nothing."""
        self.assertEqual(Kept([], [], [], []), self.reopened())
        self.assertEqual((([], {}, True), (0, 0)), (self.store.page("#tea", 1), self.store.usage("#tea")))

    def everything(self) -> Kept:
        """Keep one of each; what is to be found then."""
        bans = [Ban(Kind.NETWORK, "192.0.2.0/24", NOW_MS), Ban(Kind.KEY, "aa", NOW_MS, "eve")]
        said = [message("#tea", seq) for seq in (1, 2)]
        self.store.commit([OwnerChanged(owner("bob")), *(Banned(ban) for ban in bans), *founded("#tea")])
        self.store.commit([OwnerChanged(owner("alice")), *founded("#cake"), *said, waits(5), waits(3)])
        self.store.commit([EntryTaken("#tea", 1, b"second"), CursorMoved("#tea", b"device", 2)])
        tags: dict[Hashable, int] = {each.tag: each.seq for each in said}
        tea = KeptRoom("#tea", [b"founding", b"second"], b"e" * 32, b"k" * 32, 2, tags, {b"device": 2})
        cake = KeptRoom("#cake", [b"founding"], b"e" * 32, b"k" * 32, 0, {}, {})
        return Kept([owner("bob"), owner("alice")], [tea, cake], [waits(3), waits(5)], bans)

    def test_everything(self) -> None:
        """What was kept in whatever batches is there when the store is opened again, in its order."""
        everything = self.everything()
        kept = self.reopened()
        self.assertEqual(everything, kept)
        self.assertEqual([1, 2], list(kept.rooms[0].ids.values()))

    def test_after_a_crash(self) -> None:
        """What was kept is there, with its messages, though the store was never closed."""
        everything = self.everything()
        crashed, self.store = self.store, self.open()
        self.addCleanup(crashed.close)
        self.assertEqual(everything, self.store.load())
        self.assertEqual([1, 2], [told.seq for told in self.messages("#tea")])

    def test_changed(self) -> None:
        """What is new of an owner, a ban or a cursor takes the place of what was, and its place in the order."""
        ban = Ban(Kind.KEY, "aa", NOW_MS, "eve")
        self.store.commit([*founded("#tea"), CursorMoved("#tea", b"device", 1)])
        self.store.commit([OwnerChanged(owner("alice")), OwnerChanged(owner("bob")), Banned(ban)])
        changed, renamed = owner("alice", b"2"), Ban(Kind.KEY, "aa", NOW_MS + 1, "mallory")
        self.store.commit([OwnerChanged(changed), Banned(renamed), CursorMoved("#tea", b"device", 7)])
        kept = self.reopened()
        self.assertEqual(([changed, owner("bob")], [renamed]), (kept.owners, kept.bans))
        self.assertEqual({b"device": 7}, kept.rooms[0].cursors)

    def test_banned_no_more(self) -> None:
        """A ban that was lifted is gone; one that is not there can be lifted."""
        ban, other = Ban(Kind.KEY, "aa", NOW_MS), Ban(Kind.NETWORK, "aa", NOW_MS)
        self.store.commit([Banned(ban), Banned(other)])
        self.store.commit([Unbanned(ban), Unbanned(Ban(Kind.KEY, "bb", NOW_MS))])
        self.assertEqual([other], self.reopened().bans)

    def test_a_name_that_was_taken_away(self) -> None:
        """Who has lost a name is known as a former owner, beside whoever has it now and themselves once more."""
        first, second = owner("alice", b"1"), owner("alice", b"2")
        self.store.commit([OwnerChanged(first), OwnerRemoved(first), OwnerChanged(second)])
        owners = self.reopened().owners
        self.assertEqual([(b"alice1", True), (b"alice2", False)], [(one.identity, one.is_former) for one in owners])
        self.store.commit([OwnerRemoved(second), OwnerChanged(first)])
        owners = self.reopened().owners
        self.assertEqual(
            [(b"alice1", True), (b"alice2", True), (b"alice1", False)],
            [(each.identity, each.is_former) for each in owners],
        )

    def test_keys(self) -> None:
        """Of a room's session keys the newest is there; a room without any is not."""
        self.store.commit([*founded("#tea"), message("#tea", 1), EntryTaken("#cake", 0, b"founding")])
        for epoch, key, from_seq in ((b"f", b"l", 2), (b"g", b"m", 2)):
            self.store.commit([KeyDrawn("#tea", epoch * 32, key * 32, from_seq)])
        (room,) = self.reopened().rooms
        self.assertEqual((b"g" * 32, b"m" * 32), (room.epoch, room.key))
        self.store.commit([message("#tea", 2)])
        # Under the one between nothing was said.
        self.assertEqual({b"e" * 32, b"g" * 32}, set(self.store.page("#tea", 1).keys))

    def test_a_key_handed_on(self) -> None:
        """A sealed key that came and went in one batch is not there, nor one that went later."""
        self.store.commit([waits(1), KeyGone(1), waits(2), waits(3)])
        self.store.commit([KeyGone(3), KeyGone(9)])
        self.assertEqual([waits(2)], self.reopened().waiting)

    # All or none.

    def test_all_or_none(self) -> None:
        """A batch with something in it that cannot be is not kept at all, and harms nothing that is."""
        everything = self.everything()
        for wrong in (
            message("#nowhere", 1),
            message("#tea", 2),
            EntryTaken("#tea", 1, b"another"),
            EntryTaken("#tea", 0, b"founded twice"),
            EntryTaken("#nowhere", 1, b"entry"),
            KeyDrawn("#nowhere", bytes(32), bytes(32), 1),
            CursorMoved("#nowhere", b"device", 1),
            waits(5),
        ):
            batch: Sequence[Record] = [OwnerChanged(owner("carol")), *founded("#new"), message("#tea", 3), wrong]
            self.assertRaises(StoreError, self.store.commit, batch)
            self.assertEqual((everything, 2), (self.store.load(), self.count()), wrong)
        self.assertEqual(everything, self.reopened())

    def test_full(self) -> None:
        """A batch for which there is no room leaves nothing, and can be kept when there is some."""
        self.store.commit(founded("#tea"))
        self.fill()
        batch = [message("#tea", seq, bytes(500)) for seq in range(1, 201)]
        for _ in range(2):
            self.assertRaises(NoRoomError, self.store.commit, batch)
        self.assertEqual(([], 0), (self.messages("#tea"), self.store.load().rooms[0].last_seq))
        self.make_room()
        self.store.commit(batch)
        self.assertEqual([200], [room.last_seq for room in self.reopened().rooms])

    def test_scrubbed(self) -> None:
        """To leave no copy of what was deleted, once or twice, takes nothing from what is there."""
        everything = self.everything()
        then: list[Record] = [*founded("#new"), message("#new", 1), RoomEnded("#new")]
        self.store.commit(then)
        for _ in range(2):
            self.store.scrub(then)
        self.assertEqual((everything, 2), (self.reopened(), self.count()))

    # Pages.

    def test_page(self) -> None:
        """A page has the messages of a room from a number on, as they were taken, and of no other room."""
        self.store.commit([*founded("#tea"), *founded("#cake"), message("#cake", 2)])
        self.store.commit([message("#tea", seq, b"text %d" % seq, NOW_MS + seq) for seq in (1, 2, 3)])
        expected = [Told(seq, "alice", NOW_MS + seq, bytes(32), b"text %d" % seq) for seq in (2, 3)]
        self.assertEqual((expected, True), self.store.page("#tea", 2)[::2])
        self.assertEqual(([], {}, True), self.store.page("#tea", 4))

    def test_pages_in_messages(self) -> None:
        """A page has so many messages at most, and says whether there are more."""
        for count in (PAGE_ROWS, PAGE_ROWS + 1):
            self.store.commit([*founded("#tea"), *(message("#tea", seq) for seq in range(1, count + 1))])
            page = self.store.page("#tea", 1)
            self.assertEqual((PAGE_ROWS, count == PAGE_ROWS), (len(page.messages), page.is_last))
            self.assertEqual(list(range(1, count + 1)), [told.seq for told in self.messages("#tea")])
            self.store.commit([RoomEnded("#tea")])

    def test_pages_in_bytes(self) -> None:
        """A page has about so many bytes at most, but one message in any case."""
        self.store.commit([*founded("#tea"), *(message("#tea", seq, bytes(20_000)) for seq in range(1, 20))])
        page = self.store.page("#tea", 1)
        self.assertLessEqual(len(page.messages) * 20_000, PAGE_BYTES)
        self.assertGreaterEqual((len(page.messages) + 2) * 20_000, PAGE_BYTES)
        self.assertEqual(list(range(1, 20)), [told.seq for told in self.messages("#tea")])
        self.store.commit([message("#tea", 20, bytes(PAGE_BYTES + 1)), message("#tea", 21)])
        self.assertEqual([20], [told.seq for told in self.store.page("#tea", 20).messages])

    def test_keys_of_a_page(self) -> None:
        """A page has the session keys of the epochs from its first message to its last, and no other."""
        self.store.commit(founded("#tea"))
        for number in range(4):
            drawn = KeyDrawn("#tea", bytes([number]) * 32, bytes([64 + number]) * 32, 2 * number + 1)
            said = [message("#tea", seq, epoch=drawn.epoch) for seq in (2 * number + 1, 2 * number + 2)]
            self.store.commit([drawn, *said])
        for first, epochs in ((8, [3]), (7, [3]), (4, [1, 2, 3]), (1, [0, 1, 2, 3])):
            expected = {bytes([number]) * 32: bytes([64 + number]) * 32 for number in epochs}
            self.assertEqual(expected, self.store.page("#tea", first).keys)
        self.store.commit([message("#tea", seq) for seq in range(9, PAGE_ROWS + 1)])
        self.store.commit([KeyDrawn("#tea", b"f" * 32, b"l" * 32, PAGE_ROWS + 1), message("#tea", PAGE_ROWS + 1)])
        self.assertNotIn(b"f" * 32, self.store.page("#tea", 1).keys)
        self.assertIn(b"f" * 32, self.store.page("#tea", 2).keys)

    def test_find(self) -> None:
        """A message's number is found by its tag, in its room and between two numbers, though all have seen it."""
        self.store.commit([*founded("#tea"), *founded("#cake"), *(message("#tea", seq) for seq in range(1, 6))])
        self.store.tidy(NOW_MS, {"#tea": 4})
        tag = message("#tea", 3).tag
        for room, after, up_to, expected in (
            ("#tea", 0, 5, 3),
            ("#tea", 2, 3, 3),
            ("#tea", 3, 5, 0),
            ("#tea", 0, 2, 0),
            ("#cake", 0, 5, 0),
            ("#nowhere", 0, 5, 0),
        ):
            self.assertEqual(expected, self.store.find(room, tag, after, up_to), (room, after, up_to))
        self.assertEqual(0, self.store.find("#tea", message("#tea", 6).tag, 0, 6))

    # Tidying.

    def test_tidy(self) -> None:
        """After 14 days messages go, 500 at a time, and numbers and recent ids stay."""
        count = RECENT_IDS + TIDY_ROWS + 10
        self.store.commit([*founded("#tea"), *(message("#tea", seq) for seq in range(1, count + 1))])
        self.assertFalse(self.store.tidy(NOW_MS + (KEEP_HOURS - 1) * HOUR_MS))
        self.assertEqual(count, self.count())
        later = NOW_MS + KEEP_HOURS * HOUR_MS
        self.assertTrue(self.store.tidy(later))
        self.assertEqual(count - TIDY_ROWS, self.count())
        self.assertEqual(count // TIDY_ROWS - 1, self.tidy_all(later))
        self.assertEqual((0, 0), self.store.usage("#tea"))
        (room,) = self.reopened().rooms
        self.assertEqual((count, RECENT_IDS), (room.last_seq, len(room.ids)))
        self.assertEqual([], self.messages("#tea"))

    def test_kept_for_longer(self) -> None:
        """A message whose room wants it for longer than 14 days stays as long as it says, and no longer."""
        self.store.commit([*founded("#tea"), message("#tea", 1, keep_days=30), message("#tea", 2, keep_days=3)])
        for days, expected in ((13, [1, 2]), (15, [1]), (29, [1]), (31, [])):
            self.tidy_all(NOW_MS + days * 24 * HOUR_MS)
            self.assertEqual(expected, [told.seq for told in self.messages("#tea")])

    def test_seen(self) -> None:
        """What everybody has seen goes, in the rooms that are named and up to the number, 500 of each at a time."""
        for room in ("#tea", "#cake"):
            said = (message(room, seq) for seq in range(1, TIDY_ROWS + 11))
            self.store.commit([*founded(room), *said])
        seen = {"#tea": TIDY_ROWS + 5, "#nowhere": 3}
        self.assertTrue(self.store.tidy(NOW_MS, seen))
        self.assertEqual((10, TIDY_ROWS + 10), (self.count("#tea"), self.count("#cake")))
        self.assertFalse(self.store.tidy(NOW_MS, seen))
        self.assertEqual(list(range(TIDY_ROWS + 6, TIDY_ROWS + 11)), [told.seq for told in self.messages("#tea")])
        tea, cake = self.reopened().rooms
        self.assertEqual((tea.last_seq, len(tea.ids)), (cake.last_seq, len(cake.ids)))

    def test_a_room_that_ended(self) -> None:
        """Of a room that has ended nothing is there; a new room of its name begins anew."""
        count = TIDY_ROWS + 10
        self.store.commit([*founded("#tea"), *(message("#tea", seq) for seq in range(1, count + 1))])
        self.store.commit([CursorMoved("#tea", b"device", 1), RoomEnded("#tea"), RoomEnded("#nowhere")])
        self.assertEqual(([], [], 0), (self.reopened().rooms, self.messages("#tea"), self.count()))
        self.store.commit([*founded("#tea"), message("#tea", 1, b"new")])
        self.assertTrue(self.store.tidy(NOW_MS))
        self.assertFalse(self.store.tidy(NOW_MS))
        (room,) = self.reopened().rooms
        self.assertEqual((1, {}), (room.last_seq, room.cursors))
        self.assertEqual([b"new"], [told.sealed for told in self.messages("#tea")])

    # The rest.

    def test_usage(self) -> None:
        """A room's messages are counted, with at least the bytes that were sealed; what is not there is nothing."""
        self.store.commit([*founded("#tea"), *founded("#cake")])
        self.store.commit([message("#tea", 1, bytes(1_000)), message("#tea", 2, bytes(2_000))])
        count, size = self.store.usage("#tea")
        self.assertEqual(2, count)
        self.assertTrue(3_000 <= size <= 4_000, size)
        self.assertEqual([(0, 0), (0, 0)], [self.store.usage(room) for room in ("#cake", "#nowhere")])

    def copied(self) -> Path:
        """Where a copy may be made: an empty file."""
        path = Path(self.mktemp())
        path.touch()
        return path

    def test_copy(self) -> None:
        """A copy opens as a store with all that was kept when it began; batches that come meanwhile are kept."""
        everything = self.everything()
        self.store.commit([*founded("#long"), *(message("#long", seq, bytes(2_000)) for seq in range(1, 501))])
        told: list[tuple[int, int]] = []

        def between(done: int, total: int) -> None:
            told.append((done, total))
            self.store.commit([message("#cake", len(told))])
            self.store.tidy(NOW_MS)
            self.assertEqual([1, 2], [each.seq for each in self.messages("#tea")])

        path = self.copied()
        self.store.copy(path, between)
        self.assertEqual(told[-1][0], told[-1][1])
        self.assertEqual(len(told), self.count("#cake"))
        copy = self.open_copy(path)
        self.addCleanup(copy.close)
        kept = copy.load()
        self.assertEqual(everything.owners, kept.owners)
        self.assertEqual(["#tea", "#cake", "#long"], [room.name for room in kept.rooms])
        self.assertEqual((2, 500), (copy.usage("#tea")[0], copy.usage("#long")[0]))

    def test_copy_that_nobody_wants(self) -> None:
        """What is raised between the steps of a copy ends it, and harms nothing."""
        everything = self.everything()

        def between(done: int, total: int) -> None:
            raise KeyError

        self.assertRaises(KeyError, self.store.copy, self.copied(), between)
        self.assertEqual(everything, self.reopened())


class RestartContract(KeptCase):
    """A relay that ends without a word, and another on its store; which kind of store, nobody there knows."""

    def open(self) -> Store:
        """Open the store that is in its place, or make it there; the one before is still open."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Alice and Bob drink tea behind a closed door, and something was said."""
        self.stores: list[Store] = []
        self.here = self.start()
        self.alice, self.bob = self.here.room("#tea", "alice", "bob", policy=CLOSED)
        self.ids = self.alice.post(
            "#tea", b"unmistakable text", b"more of it", ids=[b"unmistakable id.", b"another long id."]
        )
        self.heard = self.alice.hears()

    def start(self) -> Any:
        """A relay on what is kept now, whatever the one before holds in memory."""
        store = self.open()
        self.stores.append(store)
        self.addCleanup(store.close)
        return self.kept_relay(store)

    def test_names(self) -> None:
        """A name is still its owner's, with the newest certificate and prekey, and others do not get it."""
        here = self.start()
        (alice,) = here.login("alice")
        self.assertEqual(self.bob.me.certificate.packed, only_found(alice.does(Lookup("bob"))))
        thief = here.connect()
        thief.login(person("bob", 1))
        self.assertEqual("name-owned", thief.code())

    def test_rooms(self) -> None:
        """Rooms, their logs, their keys and their numbers are there, and go on."""
        here = self.start()
        (alice,) = here.login("alice")
        heard = alice.does(Enter("#tea", 0, LAST_SEQ))
        self.assertEqual(self.here.log_of("#tea").packed, only(Roster, heard).entries)
        self.assertEqual(2, only(Roster, heard).last_seq)
        self.assertEqual(self.alice.key("#tea"), only(SessionKey, heard))
        alice.post("#tea", b"third", ids=[post_id(9)])
        self.assertEqual([(post_id(9), 3)], acked(alice.hears()))
        only(Roster, alice.remove("#tea", self.bob.me))
        self.assertEqual(
            2, len(only(Roster, self.start().login("alice")[0].does(Enter("#tea", 0, LAST_SEQ))).entries) - 1
        )

    def test_repeated_posts(self) -> None:
        """A post that was acknowledged is acknowledged again with its number, and delivered to nobody."""
        here = self.start()
        alice, bob = here.login("alice", "bob")
        key = only(SessionKey, alice.does(Enter("#tea", 0, LAST_SEQ)))
        bob.does(Enter("#tea", 0, LAST_SEQ))
        alice.does(Post("#tea", key.epoch, [(each, b"again") for each in [*self.ids, post_id(9)]]))
        self.assertEqual([*acked(self.heard), (post_id(9), 3)], acked(alice.heard))
        self.assertEqual([], declined(alice.heard))
        (delivery,) = [each for each in bob.hears() if hasattr(each, "first_seq")]
        self.assertEqual((3, 1), (delivery.first_seq, len(delivery.items)))

    def test_waiting_keys(self) -> None:
        """A sealed key that waits for somebody waits on, until they have stored it."""
        self.bob.transport.lose()
        self.here.turn()
        self.alice.does(Hand("#tea", [(self.bob.me.device.public, b"unmistakable blob")]))
        here = self.start()
        (bob,) = here.login("bob")
        self.assertEqual(
            [("alice", b"unmistakable blob")], only(SealedKey, bob.does(Enter("#tea", 0, LAST_SEQ))).items
        )
        bob.does(Seen([("#tea", 0, 1)]))
        here.clock.advance(1)
        (again,) = self.start().login("bob")
        self.assertEqual([], of(SealedKey, again.does(Enter("#tea", 0, LAST_SEQ))))

    def test_rooms_that_ended(self) -> None:
        """A room that all have left is no more, and its name is free for a new one."""
        self.bob.leave("#tea")
        self.alice.leave("#tea")
        here = self.start()
        (alice,) = here.login("alice")
        self.assertEqual(["no-such-room"], declined(alice.does(Enter("#tea", 0, LAST_SEQ))))
        only(SessionKey, alice.does(Chain("#tea").found(alice.me)))
        self.assertEqual(["#tea"], [room.name for room in self.stores[-1].load().rooms])

    def test_damage(self) -> None:
        """A log that does not hold, or a key that is of another epoch than its log, is damage and no room."""
        kept = self.stores[-1].load()
        (room,) = kept.rooms
        log = MemoryLog()
        here = self.kept_relay()
        for wrong in (
            room._replace(epoch=bytes(32)),
            room._replace(entries=room.entries[:1]),
            room._replace(entries=room.entries[1:]),
            room._replace(entries=[]),
            room._replace(name="#cake"),
        ):
            with self.assertRaises(RelayError):
                restore(
                    kept._replace(rooms=[wrong]),
                    KeptOwners(here.journal),
                    KeptBans(here.journal),
                    log,
                    here.factory.rooms.memberships,
                )


def only_found(messages: Sequence[Any]) -> bytes:
    """The certificate in the only answer."""
    (found,) = [each.certificate for each in messages if hasattr(each, "certificate")]
    assert isinstance(found, bytes)
    return found
