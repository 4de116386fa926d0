"""When the key store is written: at once where something hangs on it, else once a second at most."""

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.client.errors import ClientError
from securechat.client.keeping import SAVE_S, Keeper
from securechat.client.keys import KeyFile
from tests.client.test_keys import NOW_MS, PLACE


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
