"""The gate: nothing leaves the relay before what it is about, and all that came before, is kept."""

from __future__ import annotations

from securechat.relay.journal import BATCH, LATER_S
from securechat.relay.limits import RelayLimits
from securechat.relay.records import KeyGone, KeyWaits, OwnerChanged
from securechat.wire.codes import Code
from securechat.wire.messages import (
    LAST_SEQ,
    Ack,
    Delivery,
    Enter,
    Found,
    Goodbye,
    Greeting,
    Hand,
    Lookup,
    Message,
    Ping,
    Pong,
    Post,
    Present,
    Renew,
    Roster,
    SealedKey,
    Seen,
    SessionKey,
    Want,
    Welcome,
)
from tests.relay.harness import Client, acked, declined, kinds, of, only, post_id, texts
from tests.relay.keeping import KeptCase
from tests.relay.people import NOW_MS, Chain, hello, person, prekey

ROOM = "#tea"


class GateTests(KeptCase):
    """Alice and Bob drink tea at a relay whose disk is held up by each test."""

    def setUp(self) -> None:
        """They are there, and the disk is at rest."""
        self.here = self.kept_relay()
        self.alice, self.bob = self.here.room(ROOM, "alice", "bob")
        self.here.disk.held = True

    def all_hear(self) -> list[Message]:
        """Everything that anybody hears."""
        return [message for client in self.here.connections for message in client.hears()]

    def assert_held(self) -> None:
        """A batch is being kept, and nobody hears anything, however many turns pass."""
        for _ in range(3):
            self.assertEqual([], self.all_hear())
        self.assertIsNotNone(self.here.disk.waiting)

    def test_posts(self) -> None:
        """Neither `Ack` nor `Delivery` leaves before the post is kept."""
        self.alice.post(ROOM, b"hi")
        self.assert_held()
        self.here.disk.keep()
        self.assertEqual([1], [seq for _, seq in acked(self.alice.hears())])
        self.assertEqual([b"hi"], texts(self.bob.hears()))

    def test_how_long(self) -> None:
        """For how long a batch has been under way is counted anew for each, and is nothing at rest."""
        self.assertEqual(0, self.here.journal.committing_s)
        for _ in range(2):
            self.alice.post(ROOM, b"hi")
            self.here.turn()
            self.here.clock.advance(3)
            self.assertEqual(3, self.here.journal.committing_s)
            self.here.disk.keep()
            self.assertEqual(0, self.here.journal.committing_s)

    def test_login(self) -> None:
        """A new name's `Welcome` does not leave before the name is kept."""
        carol = self.here.connect()
        carol.login(person("carol"))
        self.assert_held()
        self.here.disk.keep()
        only(Welcome, carol.hears())

    def test_known_login(self) -> None:
        """Who logs in with nothing new waits for nobody's disk."""
        self.bob.transport.lose()
        again = self.here.connect()
        again.login(person("bob"))
        only(Welcome, again.hears())
        self.assertIsNone(self.here.disk.waiting)

    def test_entries(self) -> None:
        """Neither `Roster` nor `SessionKey` leaves before entry and key are kept, and both are one batch."""
        self.alice.send(Chain("#cake").found(self.alice.me))
        self.assert_held()
        self.here.disk.keep()
        self.assertEqual(["Roster", "Present", "SessionKey"], kinds(self.alice.hears()))
        self.assertEqual(["EntryTaken", "KeyDrawn"], kinds(self.here.disk.batches[-1]))

    def test_sealed_keys(self) -> None:
        """A sealed key is not passed on before it is kept; that it is stored is kept a second later."""
        self.alice.send(Hand(ROOM, [(self.bob.me.device.public, b"blob")]))
        self.assert_held()
        self.here.disk.keep()
        handed = only(SealedKey, self.bob.hears()).handed
        self.assertEqual(["KeyWaits"], kinds(self.here.disk.batches[-1]))
        self.bob.does(Seen([(ROOM, 0, handed)]))
        self.assertIsNone(self.here.disk.waiting)
        self.here.clock.advance(LATER_S)
        assert self.here.disk.waiting is not None
        self.assertEqual(["KeyGone"], kinds(self.here.disk.waiting[0]))

    def test_everybody_waits(self) -> None:
        """What is asked meanwhile is answered when the batch is kept: an answer may tell of what is in it."""
        self.alice.post(ROOM, b"hi")
        self.here.turn()
        self.bob.send(Ping(), Lookup("alice"), Want([self.alice.me.device.public]))
        self.here.try_connect()
        self.assert_held()
        self.here.disk.keep()
        self.assertEqual(["Delivery", "Pong", "Found", "Prekeys"], kinds(self.bob.hears()))
        only(Greeting, self.here.connections[-1].hears())

    def test_asked_before(self) -> None:
        """What was asked before a change is answered at the end of its turn."""
        self.bob.send(Ping())
        self.assertEqual([Pong], [type(each) for each in self.bob.hears()])

    def test_rooms_wait(self) -> None:
        """Posts, entries and the loss of links that come meanwhile are the next batch, in their order."""
        self.alice.post(ROOM, b"1")
        self.here.turn()
        self.bob.post(ROOM, b"2")
        self.alice.send(self.alice.now(ROOM).remove(self.alice.me, self.bob.me))
        self.assert_held()
        self.here.disk.keep()
        self.assertEqual(([1], [b"1"]), ([seq for _, seq in acked(self.alice.hears())], texts(self.bob.hears())))
        self.assert_held()
        self.assertEqual(["MessageTaken", "EntryTaken", "KeyDrawn"], kinds(self.waiting()))
        self.here.disk.keep()
        self.assertEqual(["Ack", "Roster"], kinds(self.bob.hears()))
        self.assertEqual(["Delivery", "Roster", "SessionKey"], kinds(self.alice.hears()))

    def waiting(self) -> list[object]:
        """The records of the batch that is being kept."""
        self.here.turn()
        assert self.here.disk.waiting is not None
        return list(self.here.disk.waiting[0])

    def test_login_waits(self) -> None:
        """A `Hello` that comes meanwhile waits, and so does all that comes behind it, in one piece or more."""
        self.alice.post(ROOM, b"hi")
        self.here.turn()
        dan = self.here.try_connect()
        assert dan is not None
        dan.person = person("dan")
        dan.send(hello(person("dan"), dan.nonce()), Lookup("alice"))
        dan.send(Lookup("bob"), Chain("#dan").found(person("dan")))
        self.assert_held()
        self.assertEqual(["MessageTaken"], kinds(self.waiting()))
        self.here.disk.keep()
        self.assertEqual(["OwnerChanged", "EntryTaken", "KeyDrawn"], kinds(self.waiting()))
        self.all_hear()
        self.assert_held()
        self.here.disk.keep()
        self.assertEqual(["Welcome", "Found", "Found", "Roster", "Present", "SessionKey"], kinds(dan.hears()))

    def test_debt_after_a_login_that_waited(self) -> None:
        """Who comes back too soon is not read for as long, also where their login had to wait."""
        here = self.kept_relay(limits=RelayLimits(posts_burst=1, posts_per_s=1.0))
        alice, bob = here.room(ROOM, "alice", "bob")
        alice.post(ROOM, b"a", b"b", b"c", b"d")
        alice.hears()
        alice.transport.lose()
        here.disk.held = True
        bob.post(ROOM, b"under way")
        here.turn()
        again = here.connect_silently(alice.me)
        again.send(Enter(ROOM, 0, LAST_SEQ))
        here.disk.held = False
        here.disk.keep()
        here.clock.advance(2.5)
        self.assertEqual(["Greeting", "Welcome"], kinds(again.hears()))
        here.clock.advance(1.0)
        self.assertIn("Roster", kinds(again.hears()))

    def test_gone_while_its_login_waits(self) -> None:
        """A `Hello` whose link is lost before its turn is nobody's login."""
        self.alice.post(ROOM, b"hi")
        self.here.turn()
        self.here.connect_silently(person("carol")).transport.lose()
        self.here.disk.keep()
        self.here.turn()
        self.assertIsNone(self.here.disk.waiting)
        self.assertEqual(2, self.here.factory.clients)

    def test_renew_waits(self) -> None:
        """A `Renew` that comes meanwhile is kept in the next batch, before what comes behind it."""
        self.alice.post(ROOM, b"hi")
        self.here.turn()
        newer = prekey(self.alice.me, NOW_MS + 1)
        self.here.skip(1)
        self.alice.send(Renew(newer), Ping())
        self.assert_held()
        self.here.disk.keep()
        self.assertEqual([Ack], [type(each) for each in self.alice.hears()])
        (record,) = self.waiting()
        assert isinstance(record, OwnerChanged)
        self.assertEqual(newer, record.owner.prekey)
        self.here.disk.keep()
        self.assertEqual([Pong], [type(each) for each in self.alice.hears()])

    def test_steady_changes(self) -> None:
        """However many new names come, what was kept is told after each batch."""
        self.alice.post(ROOM, b"hi")
        self.here.turn()
        for number in range(5):
            self.here.connect_silently(person(f"p{number}"))
            self.here.turn()
        self.here.disk.keep()
        only(Ack, self.alice.hears())

    def test_goodbye_waits(self) -> None:
        """A link that closes does so behind what it is owed and its last word, when the batch is kept."""
        self.alice.post(ROOM, b"last")
        self.here.turn()
        self.alice.send(Goodbye(Code.QUIT, ""))
        self.assert_held()
        self.assertFalse(self.alice.transport.half_closed)
        self.here.disk.keep()
        self.assertEqual([Ack, Goodbye], [type(each) for each in self.alice.hears()])
        self.assertTrue(self.alice.transport.half_closed)

    def test_gone_while_closing(self) -> None:
        """A link that is lost while its last word waits is written nothing."""
        self.alice.post(ROOM, b"last")
        self.here.turn()
        self.alice.send(Goodbye(Code.QUIT, ""))
        self.alice.transport.lose()
        before = len(self.alice.transport.writes)
        self.here.disk.keep()
        self.here.turn()
        self.assertEqual(before, len(self.alice.transport.writes))
        self.assertFalse(self.alice.transport.half_closed)

    def test_reading_again(self) -> None:
        """That a client reads again does not open the gate, for frames and for streams."""
        for what in (Ping(), Enter(ROOM, 0, LAST_SEQ)):
            self.here.disk.held = False
            self.bob.stops_reading()
            self.bob.send(what)
            self.here.turn()
            self.here.disk.held = True
            self.alice.post(ROOM, b"hi")
            self.here.turn()
            self.bob.reads_again()
            self.assert_held()
            self.here.disk.keep()
            self.assertIn({"Ping": "Pong", "Enter": "Roster"}[type(what).__name__], kinds(self.bob.hears()))
            self.all_hear()

    def test_overflow_opens_nothing(self) -> None:
        """More than the bound of what may wait neither leaves early nor counts as slow reading."""
        here = self.kept_relay(limits=RelayLimits(outbox_frames=3, window=50))
        alice, bob = here.room(ROOM, "alice", "bob")
        here.disk.held = True
        alice.post(ROOM, b"hi")
        here.turn()
        bob.send(*[Ping()] * 20)
        self.assertEqual([], bob.hears())
        here.disk.keep()
        self.assertEqual(["Delivery", *["Pong"] * 20], kinds(bob.hears()))

    def test_slow_is_slow(self) -> None:
        """Who does not read is dropped over the bound also while the gate is closed; the last word waits."""
        here = self.kept_relay(limits=RelayLimits(outbox_frames=3))
        alice, bob = here.room(ROOM, "alice", "bob")
        here.disk.held = True
        alice.post(ROOM, b"hi")
        here.turn()
        bob.stops_reading()
        bob.send(*[Ping()] * 5)
        self.assertEqual([], bob.hears())
        here.disk.keep()
        self.assertEqual(Code.SLOW, bob.code())

    def test_never_kept(self) -> None:
        """With a disk that never answers nothing ever leaves, whatever is said and however long it takes."""
        self.alice.post(ROOM, b"hi")
        self.here.turn()
        self.alice.post(ROOM, b"again")
        self.bob.send(Ping(), Enter(ROOM, 0, LAST_SEQ))
        self.here.connect_silently(person("carol"))
        for _ in range(100):
            self.here.clock.advance(1)
        self.assertEqual([], self.all_hear())

    def test_one_batch_a_turn(self) -> None:
        """All that a turn brings is one batch, a login among it."""
        carol = self.here.connect()
        carol.login(person("carol"))
        self.alice.post(ROOM, b"1")
        self.bob.post(ROOM, b"2")
        self.assertEqual(["OwnerChanged", "MessageTaken", "MessageTaken"], kinds(self.waiting()))


class CountTests(KeptCase):
    """What is counted."""

    def test_commits(self) -> None:
        """Batches count when they are kept, with how long that took."""
        here = self.kept_relay()
        alice, _ = here.room(ROOM, "alice", "bob")
        here.turn()
        before = here.journal.commits, here.journal.committing_total_s
        here.disk.held = True
        alice.post(ROOM, b"hi")
        here.turn()
        here.clock.advance(0.5)
        self.assertEqual(before, (here.journal.commits, here.journal.committing_total_s))
        here.disk.held = False
        here.disk.keep()
        self.assertEqual((before[0] + 1, before[1] + 0.5), (here.journal.commits, here.journal.committing_total_s))

    def test_waiting(self) -> None:
        """What is asked for while a batch is being committed waits since then; what came to nothing does not."""
        here = self.kept_relay()
        alice, bob = here.room(ROOM, "alice", "bob")
        here.turn()
        before = here.journal.waited_total_s
        here.disk.held = True
        alice.post(ROOM, b"hi")
        here.turn()
        here.clock.advance(0.5)
        self.assertEqual(0, here.journal.backlog)
        bob.post(ROOM, b"hello")
        newcomer = here.connect_silently(person("carol"))
        here.turn()
        self.assertEqual(2, here.journal.backlog)
        here.clock.advance(0.25)
        here.disk.keep()
        here.turn()
        self.assertEqual(0.75, here.journal.waited_total_s - before)
        here.clock.advance(1.0)
        here.disk.keep()
        self.assertEqual(0.75 + 1.25, here.journal.waited_total_s - before)
        self.assertIn("Welcome", kinds(newcomer.hears()))
        alice.post(ROOM, b"more")
        here.turn()
        bob.post("#nowhere", b"for nobody", epoch=bytes(32))
        here.turn()
        here.clock.advance(1.0)
        here.disk.keep()
        here.turn()
        here.clock.advance(50.0)
        alice.post(ROOM, b"later")
        here.turn()
        here.disk.keep()
        self.assertEqual(3.0, here.journal.waited_total_s - before)


class LaterTests(KeptCase):
    """Records that may get lost."""

    def setUp(self) -> None:
        """A relay, and a key that waits for Bob."""
        self.here = self.kept_relay()
        self.alice, self.bob = self.here.room(ROOM, "alice", "bob")
        self.bob.transport.lose()
        self.here.turn()
        self.alice.does(Hand(ROOM, [(self.bob.me.device.public, b"blob")]))

    def come(self) -> Client:
        """Bob comes back, is given the key and stores it."""
        (bob,) = self.here.login("bob")
        handed = only(SealedKey, bob.does(Enter(ROOM, 0, LAST_SEQ))).handed
        bob.does(Seen([(ROOM, 0, handed)]))
        return bob

    def test_they_ride_along(self) -> None:
        """They go with the next batch that comes, and cost none of their own."""
        before = len(self.here.disk.batches)
        self.come()
        self.assertEqual(before, len(self.here.disk.batches))
        self.alice.post(ROOM, b"hi")
        self.here.turn()
        self.assertEqual(["KeyGone", "MessageTaken"], kinds(self.here.disk.batches[-1]))
        self.here.clock.advance(LATER_S)
        self.assertEqual(before + 1, len(self.here.disk.batches))

    def test_finish(self) -> None:
        """At the end they are kept at once, and with nothing left the end is at once."""
        self.come()
        ended: list[object] = []
        self.here.journal.finish().addCallback(ended.append)
        self.assertEqual([], ended)
        self.here.turn()
        self.assertEqual([None], ended)
        records = [record for batch in self.here.disk.batches for record in batch]
        self.assertEqual(1, len(of(KeyGone, records)))
        self.assertEqual(
            [each.serial for each in of(KeyWaits, records)], [each.serial for each in of(KeyGone, records)]
        )
        self.here.journal.finish().addCallback(ended.append)
        self.assertEqual([None, None], ended)

    def test_finish_under_way(self) -> None:
        """An end that is asked for while a batch is being kept comes after it."""
        self.here.disk.held = True
        self.alice.post(ROOM, b"hi")
        self.here.turn()
        ended: list[object] = []
        self.here.journal.finish().addCallback(ended.append)
        self.here.turn()
        self.assertEqual([], ended)
        self.here.disk.keep()
        self.here.turn()
        self.assertEqual([None], ended)


class FullTests(KeptCase):
    """A store that has no room for more."""

    def setUp(self) -> None:
        """Alice and Bob drink tea, and there is room."""
        self.full = False
        self.here = self.kept_relay(is_full=lambda: self.full)
        self.alice, self.bob = self.here.room(ROOM, "alice", "bob")
        self.alice.post(ROOM, b"before", ids=[post_id(1)])
        self.alice.hears()
        self.full = True

    def test_declined(self) -> None:
        """Posts, entries and new names are declined; what is known already is answered as before."""
        key = self.alice.key(ROOM)
        heard = self.alice.does(Post(ROOM, key.epoch, [(post_id(1), b"x"), (post_id(2), b"y")]))
        self.assertEqual([(post_id(1), 1)], acked(heard))
        self.assertEqual(["Ack", "Declined"], kinds(heard))
        self.assertEqual([Code.STORAGE_FULL], declined(heard))
        self.assertEqual([Code.FULL], declined(self.alice.does(Chain("#cake").found(self.alice.me))))
        carol = self.here.connect()
        carol.login(person("carol"))
        self.assertEqual(Code.FULL, carol.code())

    def test_what_goes_on(self) -> None:
        """Reading, logging in, leaving and removing go on, and so does everything once there is room."""
        self.bob.transport.lose()
        (bob,) = self.here.login("bob")
        self.assertEqual(["Roster", "Present", "SessionKey"], kinds(bob.does(Enter(ROOM, 0, LAST_SEQ))))
        self.assertTrue(only(Found, bob.does(Lookup("alice"))).certificate)
        only(Roster, self.alice.remove(ROOM, bob.me))
        self.full = False
        self.alice.post(ROOM, b"after", ids=[post_id(3)])
        self.assertEqual([2], [seq for _, seq in acked(self.alice.hears())])
        only(SessionKey, self.alice.does(Chain("#cake").found(self.alice.me)))
        self.assertEqual([], of(Delivery, bob.hears()))
        only(Present, self.alice.does(Enter(ROOM, 0, LAST_SEQ)))


class BatchTests(KeptCase):
    """How much is one batch."""

    def test_bounded(self) -> None:
        """What there is in a turn is several batches, each with what it takes and little more, in order."""
        here = self.kept_relay(limits=RelayLimits(posts_per_s=0, bytes_per_s=0))
        clients = here.room(ROOM, "alice", "bob", "carol", "dan", "erin")
        run = 240
        here.disk.held = True
        for client in clients:
            for at in range(0, run, 60):
                client.post(ROOM, *[b"x"] * 60, ids=[post_id(at + each) for each in range(60)])
        here.turn()
        sizes = []
        while here.disk.waiting is not None:
            sizes.append(len(here.disk.waiting[0]))
            here.disk.keep()
            here.turn()
        self.assertEqual(5 * run, sum(sizes))
        self.assertLess(max(sizes), BATCH + run)
        for client in clients:
            heard = client.hears()
            self.assertEqual(run, len(acked(heard)))
            name = client.me.certificate.name
            others = [who for each in of(Delivery, heard) for who, _, _ in each.items if who != name]
            self.assertEqual(4 * run, len(others))

    def test_logins_wait_for_a_full_batch(self) -> None:
        """Once there is enough for a batch a login waits for the next one."""
        here = self.kept_relay()
        here.disk.held = True
        for number in range(BATCH):
            here.journal.add(KeyGone(number))
        here.connect_silently(person("alice"))
        here.turn()
        here.disk.keep()
        here.turn()
        assert here.disk.waiting is not None
        self.assertEqual(["OwnerChanged"], kinds(here.disk.waiting[0]))

    def test_full_of_what_may_be_lost(self) -> None:
        """Also a batch that is full of records that may get lost is kept, so that what waits for it goes on."""
        here = self.kept_relay()
        (alice,) = here.login("alice")
        for number in range(BATCH):
            here.journal.add_later(KeyGone(number))
        only(SessionKey, alice.does(Chain(ROOM).found(alice.me)))
        here.disk.held = True
        alice.post(ROOM, b"hi")
        here.turn()
        for number in range(BATCH):
            here.journal.add_later(KeyGone(number))
        alice.post(ROOM, b"on it goes")
        here.turn()
        here.disk.held = False
        here.disk.keep()
        self.assertEqual(2, len(acked(alice.hears())))
