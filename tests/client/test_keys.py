"""The key store on disk: for its owner alone, whole or refused, never older than it was, and never made anew."""

import os
import subprocess
import sys
from pathlib import Path
from stat import S_IMODE

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.errors import ClientError, Exit
from securechat.client.keys import KeyFile
from securechat.e2e.keystore import Cost, KeyStore

PLACE = "relay.example:12345"
NOW_MS = 1_800_000_000_000
CHEAP = Cost(memory_kib=64, passes=1, lanes=1)


class KeysCase(SynchronousTestCase):
    """A case with a home directory that does not exist yet."""

    def setUp(self) -> None:
        """Take the directory."""
        self.home = Path(self.mktemp()) / "deeper" / "home"
        self.file = KeyFile(self.home, PLACE, "alice")
        self.addCleanup(self.file.close)

    def opened(self, passphrase: str | None = None) -> KeyStore:
        """Open the store as the next process would."""
        self.file.close()
        return self.file.open(NOW_MS, passphrase, cost=CHEAP)

    def identity(self) -> bytes:
        """Who the store says we are."""
        return self.opened().secrets.person.identity.public

    def assert_refused(self, says: str, status: Exit, passphrase: str | None = None) -> None:
        """The store is not opened, and one line says why; the file is as it was, and free."""
        before = self.file.path.read_bytes() if self.file.path.exists() else None
        with self.assertRaises(ClientError) as caught:
            self.opened(passphrase)
        self.assertIn(says, str(caught.exception))
        self.assertEqual(caught.exception.status, status)
        self.assertEqual(before, self.file.path.read_bytes() if self.file.path.exists() else None)


class FileTests(KeysCase):
    """The files, and who may have them."""

    def test_first_start(self) -> None:
        """The first start makes keys, the next one has the same."""
        first = self.opened()
        self.assertEqual(first.secrets.person.name, "alice")
        self.assertEqual(self.identity(), first.secrets.person.identity.public)

    def test_for_its_owner(self) -> None:
        """Folder and files are their owner's alone, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        self.opened()
        for path in (self.file.path.parent, *self.file.path.parent.iterdir()):
            self.assertEqual(S_IMODE(path.stat().st_mode), 0o700 if path.is_dir() else 0o600, path)

    def test_open_folder(self) -> None:
        """A folder that others may look into is closed to them."""
        self.file.path.parent.mkdir(parents=True, mode=0o755)
        self.opened()
        self.assertEqual(S_IMODE(self.file.path.parent.stat().st_mode), 0o700)

    def test_readable_by_others(self) -> None:
        """Keys that others may read are not used until somebody has looked at that."""
        self.opened()
        for mode in (0o640, 0o604, 0o660):
            self.file.path.chmod(mode)
            self.assert_refused("others on this machine", Exit.NOT_PERMITTED)
        self.file.path.chmod(0o600)
        self.opened()

    def test_one_for_each(self) -> None:
        """Another name and another relay have other keys."""
        mine = self.identity()
        for place, name in ((PLACE, "bob"), ("relay.example:1", "alice"), ("/tmp/a/b.sock", "alice")):
            other = KeyFile(self.home, place, name)
            self.addCleanup(other.close)
            self.assertNotEqual(other.open(NOW_MS).secrets.person.identity.public, mine)
            self.assertEqual(other.path.parent, self.file.path.parent)
        self.assertEqual(self.identity(), mine)

    def test_copied_to_another_name(self) -> None:
        """A store that was copied to another place is refused there."""
        self.opened()
        other = KeyFile(self.home, PLACE, "bob")
        other.path.write_bytes(self.file.path.read_bytes())
        other.path.chmod(0o600)
        with self.assertRaises(ClientError):
            other.open(NOW_MS)

    def test_held(self) -> None:
        """While one process has the keys another one is told so; they are free when it ends, however it ends."""
        self.opened()
        other = KeyFile(self.home, PLACE, "alice")
        with self.assertRaises(ClientError) as caught:
            other.open(NOW_MS)
        self.assertIn("another securechat is running as alice", str(caught.exception))
        self.assertEqual(caught.exception.status, Exit.NOT_PERMITTED)
        self.file.close()
        source = (
            "import os, pathlib, sys\nfrom securechat.client.keys import KeyFile\n"
            "KeyFile(pathlib.Path(sys.argv[1]), sys.argv[2], 'alice').open(0)\nos._exit(9)\n"
        )
        done = subprocess.run([sys.executable, "-c", source, str(self.home), PLACE], check=False)
        self.assertEqual(done.returncode, 9)
        self.opened()

    def test_refused_is_free(self) -> None:
        """A store that was refused is not held: it can be mended and tried again."""
        self.opened()
        good = self.file.path.read_bytes()
        self.file.path.write_bytes(good[:-1])
        self.assert_refused("damaged", Exit.FAILED)
        self.file.path.write_bytes(good)
        KeyFile(self.home, PLACE, "alice").open(NOW_MS)

    def test_cannot_be_written(self) -> None:
        """A home directory that cannot be there is told in one line."""
        self.home.parent.mkdir(parents=True)
        self.home.write_bytes(b"")
        with self.assertRaises(ClientError) as caught:
            self.opened()
        self.assertIn("cannot use", str(caught.exception))

    def test_left_over(self) -> None:
        """What a crash left half written is in nobody's way, and its mode is not taken over."""
        self.opened()
        part = self.file.path.with_name(f"{self.file.path.name}.part")
        part.write_bytes(b"half")
        part.chmod(0o666)
        store = self.opened()
        self.file.save(store)
        self.assertEqual(S_IMODE(self.file.path.stat().st_mode), 0o600)
        self.assertFalse(part.exists())
        self.opened()

    def test_disk_full(self) -> None:
        """A writing that fails leaves the store as it was, and says so."""
        store = self.opened()
        before = self.file.path.read_bytes()

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        with self.assertRaises(ClientError) as caught:
            self.file.save(store)
        self.assertIn("No space left", str(caught.exception))
        self.assertEqual(self.file.path.read_bytes(), before)


class ContentTests(KeysCase):
    """What is in the files."""

    def test_damaged(self) -> None:
        """A changed bit anywhere is noticed, and the keys are neither used nor replaced."""
        self.opened()
        whole = self.file.path.read_bytes()
        for at in (*range(0, len(whole), 37), len(whole) - 1):
            changed = bytearray(whole)
            changed[at] ^= 1
            self.file.path.write_bytes(changed)
            with self.assertRaises(ClientError):
                self.opened()
            self.assertEqual(self.file.path.read_bytes(), bytes(changed))

    def test_truncated(self) -> None:
        """A store that is cut off anywhere, to nothing too, is refused."""
        self.opened()
        whole = self.file.path.read_bytes()
        for size in (0, 1, 20, len(whole) // 2, len(whole) - 1):
            self.file.path.write_bytes(whole[:size])
            self.assert_refused("damaged", Exit.FAILED)

    def test_newer(self) -> None:
        """A store of a later version is told as that."""
        self.opened()
        self.file.path.write_bytes(b"SCKS\x03" + self.file.path.read_bytes()[5:])
        self.assert_refused("newer version", Exit.FAILED)

    def test_rolled_back(self) -> None:
        """A store that was put back from an older copy is refused."""
        store = self.opened()
        old = self.file.path.read_bytes()
        self.file.save(store)
        self.file.path.write_bytes(old)
        self.assert_refused("older than the last one", Exit.PROTOCOL)

    def test_crash_between_the_two(self) -> None:
        """A crash after the store and before its counter was written does no harm."""
        store = self.opened()
        counter = self.file.counter_path.read_bytes()
        self.file.save(store)
        self.file.counter_path.write_bytes(counter)
        self.assertEqual(self.opened().counter, store.counter)

    def test_counter_gone(self) -> None:
        """Without its counter, or with one that cannot be read, a whole store is opened all the same."""
        self.opened()
        for damage in (b"", b"x", b"\xff" * 100):
            self.file.counter_path.write_bytes(damage)
            self.opened()
        self.file.counter_path.unlink()
        self.opened()

    def test_gone(self) -> None:
        """Keys that are gone are not made anew in silence, until somebody says so by removing the counter."""
        mine = self.identity()
        self.file.path.unlink()
        self.assert_refused("are gone", Exit.PROTOCOL)
        self.assertFalse(self.file.path.exists())
        self.file.counter_path.unlink()
        self.assertNotEqual(self.identity(), mine)

    def test_not_in_the_clear(self) -> None:
        """Under a passphrase neither private key is in any file."""
        store = self.opened("secret")
        person = store.secrets.person
        for path in self.file.path.parent.iterdir():
            for seed in (person.identity.seed, person.device.seed):
                self.assertNotIn(seed, path.read_bytes())


class PassphraseTests(KeysCase):
    """Stores under a passphrase."""

    def test_asked_for(self) -> None:
        """A locked store is opened by its passphrase, which is asked for once."""
        store = self.opened("secret")
        asked: list[str] = []

        def ask() -> str:
            asked.append("")
            return "secret"

        self.file.close()
        again = self.file.open(NOW_MS, None, ask)
        self.assertEqual(len(asked), 1)
        self.assertEqual(again.secrets.person.identity.public, store.secrets.person.identity.public)
        self.file.save(again)
        self.opened("secret")

    def test_wrong(self) -> None:
        """Another passphrase, and none, are refused."""
        self.opened("secret")
        self.assert_refused("that was not it", Exit.NOT_PERMITTED, "other")
        self.assert_refused("passphrase", Exit.NOT_PERMITTED)

    def test_must_be_locked(self) -> None:
        """Where a passphrase is given a store without one is refused: somebody may have put it there."""
        self.opened()
        self.assert_refused("should have a passphrase", Exit.PROTOCOL, "secret")

    def test_no_question(self) -> None:
        """Without a passphrase nobody is asked for one, at the first start and later."""
        for _ in range(2):
            self.file.close()
            self.file.open(NOW_MS, None, lambda: self.fail("asked"))
