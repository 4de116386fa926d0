"""Hints, and that nothing is wrong for long where they come twice, late or never."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count, repeat
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.bus import Bus, LocalBus
from securechat.wire.codes import Code
from securechat.wire.messages import Enter, Found, Lookup
from tests.relay.harness import Client, RelayCase
from tests.relay.people import person
from tests.relay.test_behind import ROOM, HistoryCase, numbers, told

FATES: Final = ["lost", "heard", "twice", "late"]


class BadWay:
    """Where hints get lost, are doubled, or come when others have come, as it is said beforehand."""

    def __init__(self, fates: Iterable[str]) -> None:
        self._fates: Iterator[str] = chain(fates, repeat("lost"))
        self._late: list[Callable[[], None]] = []

    def take(self, hint: Callable[[], None]) -> None:
        """A hint sets out."""
        fate = next(self._fates)
        if fate == "late":
            self._late.insert(0, hint)
        for _ in range({"heard": 1, "twice": 2}.get(fate, 0)):
            hint()

    def let_go(self) -> None:
        """What is late comes, in the wrong order."""
        late, self._late = self._late, []
        for hint in late:
            hint()


class BadBus(LocalBus):
    """A bus whose way to whoever waits for a room is bad."""

    def __init__(self, fates: Iterable[str] = ()) -> None:
        super().__init__()
        self.way = BadWay(fates)
        self.said: list[tuple[str, int]] = []

    def reached(self, room: str, seq: int) -> None:
        """Tell those who listen, or not."""
        self.said.append((room, seq))
        self.way.take(lambda: self.say_again(room, seq))

    def say_again(self, room: str, seq: int) -> None:
        """What reading the rows again would do."""
        super().reached(room, seq)


class Node(LocalBus):
    """A bus of one of two nodes: here it is heard at once, and the way to the other one is bad."""

    def __init__(self, way: BadWay) -> None:
        super().__init__()
        self.other: Node | None = None
        self._way = way

    def moved(self, identity: bytes, term: int) -> None:
        """Tell those who listen here, and perhaps the other node."""
        self.hear(identity, term)
        other = self.other
        assert other is not None
        self._way.take(lambda: other.hear(identity, term))

    def hear(self, identity: bytes, term: int) -> None:
        """Tell those who listen here."""
        super().moved(identity, term)


class LocalBusTests(SynchronousTestCase):
    """A relay that is alone."""

    def test_at_once(self) -> None:
        """Everybody who listens has heard a hint when the call that says it returns, and none of the other kind."""
        bus: Bus = LocalBus()
        heard: list[object] = []
        for _ in range(2):
            bus.hear_reached(lambda *hint: heard.append(hint))
            bus.hear_moved(lambda *hint: heard.append(hint))
        bus.reached("#tea", 1)
        self.assertEqual([("#tea", 1)] * 2, heard)
        bus.moved(b"key", 2)
        self.assertEqual([(b"key", 2)] * 2, heard[2:])


class ReachedTests(HistoryCase):
    """How far rooms are; every hint gets lost."""

    fates: Iterable[str] = ()

    def bus(self) -> Bus:
        """One whose hints a test says again."""
        self.hints = BadBus(self.fates)
        return self.hints

    def waits(self, *rooms: str) -> Client:
        """Bob comes back while a batch is written, and by the time of his first page the next but one is."""
        self.away(self.bob)
        (bob,) = self.here.login("bob")
        self.here.disk.held = True
        self.alice.post(ROOM, b"1")
        self.here.turn()
        bob.send(*(Enter(room, 0, 0) for room in (ROOM, *rooms)))
        for text in (b"2", b"3"):
            self.alice.post(ROOM, text)
            self.here.turn()
            self.here.disk.keep()
            self.here.turn()
        self.assertEqual((1, 0), (len(self.here.factory.rooms.behind), self.here.history.pages))
        return bob

    def keep(self) -> None:
        """What is being written is kept, and whatever comes then."""
        self.here.disk.held = False
        self.here.disk.keep()
        self.here.turn()

    def test_said_after_the_commit(self) -> None:
        """How far a room is is said once for a batch, when that is kept."""
        self.here.disk.held = True
        self.alice.post(ROOM, b"1", b"2")
        self.here.turn()
        self.alice.post(ROOM, b"3")
        self.alice.post(ROOM, b"4")
        self.here.turn()
        self.assertEqual([], self.hints.said)
        self.keep()
        self.here.turn()
        self.assertEqual([(ROOM, 2), (ROOM, 4)], self.hints.said)

    def test_woken(self) -> None:
        """Who waits for what is being written is told it upon the hint, however late that comes, and once."""
        bob = self.waits()
        self.keep()
        self.assertEqual([], numbers(bob.hears()))
        self.say(b"4")
        for _ in range(2):
            self.hints.say_again(ROOM, 4)
        self.assertEqual([1, 2, 3, 4], numbers(bob.hears()))
        self.say(b"5")
        self.assertEqual([5], numbers(bob.hears()))
        self.assertEqual({}, self.here.factory.rooms.behind._waiting)

    def test_woken_by_the_commit(self) -> None:
        """Where no hint gets lost it is the commit that wakes who waits for it."""
        bob = self.waits()
        self.hints.way = BadWay(repeat("heard"))
        self.keep()
        self.assertEqual([1, 2, 3], numbers(bob.hears()))

    def test_too_early(self) -> None:
        """A hint that is not true yet, or of another room, has nothing read that is not kept."""
        bob = self.waits()
        for room, seq in ((ROOM, 3), (ROOM, 9), ("#cake", 1)):
            self.hints.say_again(room, seq)
        self.here.turn()
        self.assertEqual(0, self.here.history.pages)
        self.keep()
        self.hints.say_again(ROOM, 3)
        self.assertEqual([1, 2, 3], numbers(bob.hears()))

    def test_gone_meanwhile(self) -> None:
        """A hint for somebody who is gone is for nobody."""
        bob = self.waits()
        bob.transport.lose()
        self.keep()
        self.hints.say_again(ROOM, 3)
        self.here.turn()
        self.assertEqual((0, 0), (len(self.here.factory.rooms.behind), self.here.history.pages))

    def test_put_out_meanwhile(self) -> None:
        """Who was put out of the room that they wait for hears nothing of it, and goes on with another one."""
        self.alice.found("#cake", self.bob.me)
        self.alice.post("#cake", b"1")
        self.here.turn()
        bob = self.waits("#cake")
        self.keep()
        self.alice.remove(ROOM, bob.me)
        self.hints.say_again(ROOM, 3)
        heard = bob.hears()
        self.assertEqual(([], [(1, b"1")]), (told(heard), told(heard, "#cake")))

    def test_another_room_is_written(self) -> None:
        """Who comes back to a room that is kept does not wait for what is written of another one."""
        self.alice.found("#cake")
        self.say(b"1")
        self.away(self.bob)
        (bob,) = self.here.login("bob")
        bob.stops_reading()
        bob.send(Enter(ROOM, 0, 0))
        self.here.turn()
        self.here.disk.held = True
        self.alice.post("#cake", b"1")
        bob.reads_again()
        self.here.turn()
        self.assertEqual(1, self.here.history.pages)
        self.keep()
        self.assertEqual([1], numbers(bob.hears()))

    @given(
        st.lists(
            st.sampled_from(["say", "say", "long", "stop", "read", "leave", "keep", "keep", "late"]), max_size=50
        ),
        st.lists(st.sampled_from(FATES), max_size=50),
    )
    @settings(max_examples=400, deadline=None)
    def test_whatever_gets_lost(self, steps: list[str], fates: list[str]) -> None:
        """Whatever becomes of hints: said again, how far the room is has each number told once, in order."""
        self.fates = fates
        self.setUp()
        disk, heard = self.here.disk, list[int]()

        def keep() -> None:
            if disk.waiting is not None:
                disk.keep()
            self.here.turn()

        def say(text: bytes) -> None:
            self.alice.post(ROOM, text)
            self.here.turn()

        def leave() -> None:
            heard.extend(numbers(self.bob.hears()))
            self.bob.transport.lose()
            disk.held = False
            keep()
            (self.bob,) = self.here.login("bob")
            disk.held = True
            self.bob.send(Enter(ROOM, 0, heard[-1] if heard else 0))

        does: dict[str, Callable[[], None]] = {
            "say": lambda: say(b"text"),
            "long": lambda: say(bytes(12_000)),
            "stop": lambda: self.bob.stops_reading(),
            "read": lambda: self.bob.reads_again(),
            "leave": leave,
            "keep": keep,
            "late": lambda: self.hints.way.let_go(),
        }
        disk.held = True
        for step in steps:
            does[step]()
        disk.held = False
        keep()
        self.bob.reads_again()
        self.here.turn()
        last = self.here.factory.rooms.last_seq(ROOM)
        self.hints.say_again(ROOM, last)
        heard.extend(numbers(self.bob.hears()))
        self.assertEqual(list(range(1, last + 1)), heard)


class MovedTests(RelayCase):
    """Whose link has a name."""

    def test_elsewhere(self) -> None:
        """A name that has moved to a link elsewhere ends the one that is here, as a login here would."""
        bus = LocalBus()
        here = self.relay(bus=bus)
        alice, bob = here.login("alice", "bob")
        bus.moved(alice.me.identity.public, 99)
        self.assertEqual(Code.REPLACED, alice.code())
        self.assertEqual([Found("alice", alice.me.certificate.packed, False)], bob.does(Lookup("alice")))

    def test_late_or_twice(self) -> None:
        """A hint of the link that is here, of an earlier one, or of somebody who is not here ends nothing."""
        bus = LocalBus()
        here = self.relay(bus=bus)
        heard: list[int] = []
        bus.hear_moved(lambda identity, term: heard.append(term))
        here.login("alice")
        (alice,) = here.login("alice")
        for term in [*heard, *heard]:
            bus.moved(alice.me.identity.public, term)
        bus.moved(person("bob").identity.public, 99)
        self.assertEqual(2, len(set(heard) - {99}))
        self.assertEqual([], alice.hears())
        self.assertFalse(alice.transport.lost)

    @given(
        st.lists(st.tuples(st.sampled_from([0, 1]), st.booleans()), min_size=1, max_size=8),
        st.lists(st.sampled_from(FATES), max_size=10),
    )
    @settings(max_examples=100, deadline=None)
    def test_whatever_gets_lost(self, logins: list[tuple[int, bool]], fates: list[str]) -> None:
        """Two nodes, and whatever becomes of their hints: said again from the rows, the last login has the name."""
        way = BadWay(fates)
        terms = count(1)
        nodes = [Node(way), Node(way)]
        nodes[0].other, nodes[1].other = nodes[1], nodes[0]
        relays = [self.relay(bus=node) for node in nodes]
        for relay in relays:
            # What a row would count.
            relay.factory.directory._terms = terms
        who = person("alice").identity.public
        for at, is_late in logins:
            relays[at].login("alice")
            if is_late:
                way.let_go()
            self.assertLessEqual(max(relay.factory.clients for relay in relays), 1)
        way.let_go()
        for node in nodes:
            node.hear(who, len(logins))
        for relay in relays:
            relay.turn()
        last, _ = logins[-1]
        self.assertEqual([at == last for at in (0, 1)], [relay.factory.clients == 1 for relay in relays])
