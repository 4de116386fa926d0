"""When the key store is written: at once where something hangs on it, else once a second at most."""

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.conversation import Conversation
from securechat.client.errors import ClientError
from securechat.client.events import Entered
from securechat.client.keeping import SAVE_S, Keeper
from securechat.client.keys import KeyFile
from securechat.wire import messages as wire
from tests.client.link_harness import GREETING, LinkCase
from tests.client.test_keys import NOW_MS, PLACE
from tests.client.town import LOBBY, Person, Town, TownCase
from tests.relay.people import person


class KeeperTests(SynchronousTestCase):
    """A keeper, its clock and its store."""

    def setUp(self) -> None:
        """Open a store."""
        self.clock = Clock()
        self.file = KeyFile(Path(self.mktemp()), PLACE, "alice")
        self.addCleanup(self.file.close)
        self.store = self.file.open(NOW_MS)
        self.failures: list[ClientError] = []
        self.packed = 0
        self.keeper = Keeper(self.file, self.store, self.clock, self.failures.append)
        self.keeper.pack = self.pack

    def pack(self) -> None:
        """Count what is packed."""
        self.packed += 1

    def written(self) -> int:
        """How often the store was written; no call is left where nothing waits."""
        return self.store.counter - 1

    def test_once_a_second(self) -> None:
        """Whatever may wait is written together, a second after the first of it."""
        for _ in range(100):
            self.keeper.soon()
            self.clock.advance(SAVE_S / 200)
        self.assertEqual(self.written(), 0)
        self.clock.advance(SAVE_S / 2)
        self.assertEqual((self.written(), self.packed), (1, 1))
        self.keeper.soon()
        self.clock.advance(SAVE_S)
        self.assertEqual(self.written(), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_until_taken(self) -> None:
        """What may wait waits until all that was told is taken; what must not wait does not wait for that."""
        taken = False
        asked: list[int] = []

        def is_taken() -> bool:
            asked.append(self.packed)
            return taken

        self.keeper.is_taken = is_taken
        self.keeper.soon()
        self.clock.pump([SAVE_S] * 5)
        self.assertEqual(self.written(), 0)
        self.keeper.now()
        self.assertEqual(self.written(), 1)
        # It was asked for before it was packed, so that nothing is told in between.
        self.assertEqual(asked[-1], 0)
        self.keeper.soon()
        self.clock.advance(SAVE_S)
        self.assertEqual(self.written(), 1)
        taken = True
        self.clock.advance(SAVE_S)
        self.assertEqual(self.written(), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        """What must not wait is written before the call returns, and with it what waited."""
        self.keeper.soon()
        self.keeper.now()
        self.assertEqual((self.written(), self.packed), (1, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failure(self) -> None:
        """A store that cannot be written is told, or raised to whoever needs to know before going on."""
        self.file.path.parent.rename(self.file.path.parent.with_name("elsewhere"))
        self.keeper.now()
        self.assertIn("cannot write", str(self.failures[0]))
        self.assertRaises(ClientError, self.keeper.store)
        self.assertEqual(len(self.failures), 1)

    def test_close(self) -> None:
        """At the end what waits is written, and the file is free."""
        self.keeper.soon()
        self.keeper.close()
        self.assertEqual(self.written(), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        other = KeyFile(self.file.path.parent.parent, PLACE, "alice")
        self.addCleanup(other.close)
        self.assertEqual(other.open(NOW_MS).counter, self.store.counter)


class LoginTests(LinkCase):
    """Logins whose prekey cannot be stored."""

    def test_not_offered(self) -> None:
        """A prekey that was not stored is not offered: nothing is said to the relay, and the client ends."""

        def full(fingerprint: bytes, nonce: bytes, exporter: bytes) -> wire.Hello:
            raise ClientError("no space left")

        self.patch(self.login, "hello", full)
        self.open()
        self.hears(GREETING)
        self.assertEqual(self.said(), [])
        self.assertIn("no space left", str(self.error()))


class Storing(Person):
    """Somebody of whom it is remembered what had been told and sent when the keys were stored at once."""

    def begin(self) -> None:
        """Start the program."""
        self.stored: list[tuple[int, int, int]] = []
        self.conversation = Conversation(
            self.secrets, self.worker, self.send, self.events.append, self.town.now_ms, keep_now=self._keep_now
        )

    def _keep_now(self) -> None:
        self.stored.append((len(self.events), len(self.sent), sum(1 for _ in self.secrets.pins)))


class StoringTown(Town):
    """A town of such people."""

    person_class = Storing


class OrderTests(TownCase):
    """What is stored before what."""

    def test_met(self) -> None:
        """A key that is met is stored before it is told whose it is, and before anything is sealed to it."""
        town = StoringTown()
        self.addCleanup(town.close)
        town.enter("alice")
        (bob,) = town.come("bob")
        assert isinstance(bob, Storing)
        bob.conversation.enter(LOBBY)
        bob.conversation.say(LOBBY, "hello")
        town.settle()
        ((events, sent, pins),) = bob.stored
        self.assertEqual(pins, 1)
        entered = next(at for at, event in enumerate(bob.events) if isinstance(event, Entered))
        handed = next(at for at, message in enumerate(bob.sent) if isinstance(message, wire.Hand))
        self.assertTrue(events <= entered and sent <= handed)

    def test_once_for_a_change(self) -> None:
        """Nothing is stored at once for what is said, nor again for members who are known or blocked already."""
        town = StoringTown()
        self.addCleanup(town.close)
        alice, bob = town.enter("alice", "bob")
        assert isinstance(alice, Storing)
        alice.secrets.pins.meet("bob", person("bob", 1).identity.public)
        alice.stored.clear()
        for _ in range(3):
            bob.conversation.say(LOBBY, "hello")
            alice.conversation.say(LOBBY, "hello")
            bob.conversation.leave(LOBBY)
            town.settle()
            bob.conversation.enter(LOBBY)
            town.settle()
        self.assertEqual(alice.stored, [])
