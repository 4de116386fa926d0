"""A log that takes its time: nothing is acknowledged before it is kept, and changes of members wait."""

from __future__ import annotations

from securechat.relay.limits import RelayLimits
from securechat.wire.codes import Code
from securechat.wire.messages import LAST_SEQ, Ack, Declined, Delivery, Enter, Presence, Present, Roster, SessionKey
from tests.relay.harness import Client, LaterLog, RelayCase, acked, declined, of, only, post_id, texts


class LaterLogTests(RelayCase):
    """Two in a room whose log is slow."""

    def setUp(self) -> None:
        """Alice and Bob drink tea."""
        self.log = LaterLog()
        self.here = self.relay(RelayLimits(window=10), self.log)
        self.alice, self.bob = self.here.room("#tea", "alice", "bob")

    def test_nothing_before_it_is_kept(self) -> None:
        """A post is neither acknowledged nor delivered until the log has kept it."""
        self.alice.post("#tea", b"hi")
        self.assertEqual([], self.alice.hears() + self.bob.hears())
        self.log.keep()
        self.assertEqual(([1], [b"hi"]), ([seq for _, seq in acked(self.alice.hears())], texts(self.bob.hears())))

    def test_one_batch_at_a_time(self) -> None:
        """What is posted meanwhile becomes the next batch, in the order of arrival."""
        self.alice.post("#tea", b"1")
        self.here.turn()
        for client, text in ((self.bob, b"2"), (self.alice, b"3"), (self.bob, b"4")):
            client.post("#tea", text, ids=[post_id(int(text))])
            self.here.turn()
        self.log.keep()
        self.here.turn()
        ((runs, _),) = self.log.waiting
        self.assertEqual([b"2", b"3", b"4"], [text for run in runs for _, text in run.items])
        self.log.keep()
        self.assertEqual([b"1", b"2", b"3", b"4"], texts(self.bob.hears()))

    def test_joining_waits(self) -> None:
        """Who joins meanwhile does not get the post, and everybody gets the new key behind it."""
        (carol,) = self.here.login("carol")
        self.alice.post("#tea", b"old")
        self.here.turn()
        self.assertEqual([], carol.does(carol.now("#tea").join(carol.me)))
        self.log.keep()
        self.assertEqual([Ack, Roster, Presence, SessionKey], [type(each) for each in self.alice.hears()])
        self.assertEqual([Delivery, Roster, Presence, SessionKey], [type(each) for each in self.bob.hears()])
        heard = carol.hears()
        self.assertEqual([Roster, Present, SessionKey], [type(each) for each in heard])
        self.assertEqual(1, only(Roster, heard).last_seq)

    def test_entering_waits(self) -> None:
        """A member who enters meanwhile is told where things stand when the post is kept, and does not get it."""
        self.bob.transport.lose()
        (again,) = self.here.login("bob")
        self.alice.post("#tea", b"old")
        self.here.turn()
        self.assertEqual([], again.does(Enter("#tea", 0, LAST_SEQ)))
        self.log.keep()
        heard = again.hears()
        self.assertEqual([Roster, Present, SessionKey], [type(each) for each in heard])
        self.assertEqual(1, only(Roster, heard).last_seq)

    def test_leaving_waits(self) -> None:
        """Who leaves meanwhile still gets what was posted before."""
        self.alice.post("#tea", b"old")
        self.here.turn()
        self.bob.send(self.bob.now("#tea").leave(self.bob.me))
        self.assertEqual([], self.bob.hears())
        self.log.keep()
        self.assertEqual([Delivery, Roster], [type(each) for each in self.bob.hears()])

    def test_post_behind_a_waiting_change(self) -> None:
        """A post that arrives behind a waiting change is for the old epoch and is declined."""
        (carol,) = self.here.login("carol")
        self.alice.post("#tea", b"old")
        self.here.turn()
        carol.send(carol.now("#tea").join(carol.me))
        self.bob.post("#tea", b"late")
        self.here.turn()
        self.log.keep()
        self.here.turn()
        self.log.keep()
        self.assertEqual([Code.STALE_EPOCH], declined(self.bob.hears()))
        self.assertEqual([], texts(carol.hears()) + texts(self.alice.hears()))

    def test_sender_vanishes(self) -> None:
        """A post whose sender is gone when it is kept is delivered; then the others hear who is gone."""
        self.alice.post("#tea", b"last")
        self.here.turn()
        self.alice.transport.lose()
        self.assertEqual([], self.bob.hears())
        self.log.keep()
        self.assertEqual([Delivery, Presence], [type(each) for each in self.bob.hears()])

    def test_room_empties(self) -> None:
        """A room that all leave while a post is being kept is forgotten after that, not before."""
        self.alice.post("#tea", b"last")
        self.here.turn()
        chain = self.alice.now("#tea")
        self.alice.send(chain.leave(self.alice.me))
        self.bob.send(chain.leave(self.bob.me))
        self.here.turn()
        self.assertEqual(0, self.log.last_seq("#tea"))
        self.log.keep()
        self.assertEqual(1, self.log.last_seq("#tea"))
        self.here.turn()
        self.assertEqual(0, self.log.last_seq("#tea"))

    def test_on_two_links(self) -> None:
        """Who logs in again while a post is being kept posts on, and hears the rest on the new link."""
        self.alice.post("#tea", b"x", ids=[post_id(1)])
        self.here.turn()
        newer = self.here.connect_silently(self.alice.me)
        newer.send(Enter("#tea", 0, LAST_SEQ))
        newer.post("#tea", b"y", ids=[post_id(2)], epoch=self.bob.key("#tea").epoch)
        self.here.turn()
        self.log.keep()
        self.here.turn()
        self.log.keep()
        self.assertEqual([b"x", b"y"], texts(self.bob.hears()))
        heard = newer.hears()
        self.assertEqual([Roster, Present, SessionKey, Ack], [type(each) for each in heard[2:]])
        self.assertEqual(2, acked(heard)[0][1])
        self.bob.post("#tea", b"z")
        self.here.turn()
        self.log.keep()
        self.assertEqual([b"z"], texts(newer.hears()))

    def test_window_over_turns(self) -> None:
        """Posts that the log has not kept yet count against the window, in whatever turn they came."""
        for number in range(10):
            self.alice.post("#tea", b"%d" % number)
            self.here.turn()
        self.assertFalse(self.alice.protocol.closing)
        self.alice.post("#tea", b"one too many")
        self.assertEqual(Code.FLOOD, self.alice.code())
        self.log.keep()
        self.here.turn()
        self.log.keep()
        self.assertEqual(10, len(texts(self.bob.hears())))

    def test_same_order_for_all(self) -> None:
        """However batches and turns fall, all members hear the same order, numbered without a hole."""
        clients: list[Client] = [*self.here.room("#cake", "carol", "dan", "erin")]
        for number in range(12):
            clients[number % 3].post("#cake", b"%d" % number)
            if number % 2:
                self.here.turn()
            if number % 5 == 4:
                self.log.keep()
        while self.log.waiting:
            self.log.keep()
            self.here.turn()
        for place, client in enumerate(clients):
            client.hears()
            seqs = {seq for _, seq in acked(client.heard)}
            heard = {
                delivery.first_seq + at: text
                for delivery in of(Delivery, client.heard)
                for at, (_, _, text) in enumerate(delivery.items)
            }
            self.assertEqual(set(range(1, 13)), seqs | set(heard))
            self.assertEqual([b"%d" % n for n in range(12) if n % 3 != place],
                             [text for seq, text in sorted(heard.items()) if seq not in seqs])  # fmt: skip


class BrokenLogTests(RelayCase):
    """A log that fails, once."""

    def test_declined_and_on_it_goes(self) -> None:
        """What could not be kept is declined, and the relay answers what comes next."""
        log = LaterLog()
        here = self.relay(RelayLimits(window=2), log)
        alice, bob = here.room("#tea", "alice", "bob")
        works = log.append

        def fails(runs: object, kept: object) -> None:
            raise OSError("no space left")

        self.patch(log, "append", fails)
        alice.post("#tea", b"lost", ids=[post_id(1)])
        alice.post("#tea", b"lost too", ids=[post_id(2)])
        (answer,) = of(Declined, alice.hears())
        self.assertEqual((Code.FAILED, [post_id(1), post_id(2)]), (answer.code, answer.ids))
        self.assertEqual([], texts(bob.hears()))
        self.patch(log, "append", works)
        alice.post("#tea", b"kept", ids=[post_id(3)])
        alice.post("#tea", b"kept too", ids=[post_id(4)])
        here.turn()
        log.keep()
        self.assertEqual([b"kept", b"kept too"], texts(bob.hears()))
        self.assertEqual([Roster], [type(each) for each in bob.leave("#tea")])
