"""Our keys on disk: made once, for their owner alone, opened whole or not at all, by one process at a time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from stat import S_IMODE

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.errors import ClientError, Exit
from securechat.client.keys import FOLDER, KeyFile
from securechat.e2e.keystore import Cost, KeyStore, StoreFault
from tests.relay.people import NOW_MS

PLACE = "relay.example:12345"
CHEAP = Cost(memory_kib=32, passes=1, lanes=1)
HOLDER = """
import sys
from pathlib import Path
from securechat.client.keys import KeyFile

KeyFile(Path(sys.argv[1]), sys.argv[2], sys.argv[3]).open(int(sys.argv[4]))
print("held", flush=True)
sys.stdin.read()
"""


class KeysCase(SynchronousTestCase):
    """A case with a home that does not exist yet."""

    def setUp(self) -> None:
        """Choose the home."""
        self.home = Path(self.mktemp()) / "deeper" / "home"
        self.asked = 0

    def file(self, name: str = "alice", place: str = PLACE) -> KeyFile:
        """The file of one identity, let go of at the end."""
        file = KeyFile(self.home, place, name)
        self.addCleanup(file.close)
        return file

    def made(self, passphrase: str | None = None) -> KeyStore:
        """A store that was made and let go of."""
        file = self.file()
        store = file.open(NOW_MS)
        if passphrase is not None:
            store.set_passphrase(passphrase, CHEAP)
            file.save(store)
        file.close()
        return store

    def answer(self, passphrase: str) -> str:
        """Be asked for the passphrase."""
        self.asked += 1
        return passphrase

    def assert_refused(self, words: str, status: Exit, passphrase: str | None = None) -> ClientError:
        """Opening fails with one line that has these words, and leaves the store as it was."""
        file = self.file()
        before = file.path.read_bytes()
        ask = None if passphrase is None else lambda: self.answer(passphrase)
        error: ClientError = self.assertRaises(ClientError, file.open, NOW_MS, ask)
        self.assertEqual(status, error.status)
        self.assertIn(words, str(error))
        self.assertNotIn("\n", str(error))
        self.assertEqual(before, file.path.read_bytes())
        file.close()
        return error


class FirstStartTests(KeysCase):
    """There are no keys yet."""

    def test_made(self) -> None:
        """The first start makes keys of that name without a question, and they are on disk before they are used."""
        file = self.file()
        store = file.open(NOW_MS, lambda: self.answer("never asked"))
        self.assertEqual("alice", store.secrets.person.name)
        self.assertEqual((0, 1), (self.asked, store.counter))
        self.assertTrue(file.path.exists())

    def test_for_the_owner_alone(self) -> None:
        """Folders of keys are for their owner alone, and so is every file in them, whatever the umask says."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        file = self.file()
        file.save(file.open(NOW_MS))
        folder = self.home / FOLDER
        self.assertEqual(0o700, S_IMODE(folder.stat().st_mode))
        modes = {path.name: S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        self.assertEqual({0o600}, set(modes.values()), modes)
        self.assertEqual(3, len(modes))

    def test_one_for_each_name_and_relay(self) -> None:
        """Another name and another relay have other keys, in files of their own."""
        people = [
            self.file(name, place).open(NOW_MS).secrets.person
            for name, place in (("alice", PLACE), ("bob", PLACE), ("alice", "other.example:1"))
        ]
        self.assertEqual(3, len({each.identity.public for each in people}))
        self.assertEqual(3, len({each.device.public for each in people}))

    def test_unusable_folder(self) -> None:
        """Where the folder can't be made that is one line, which names the file."""
        self.home.parent.mkdir(parents=True)
        self.home.write_text("a file where the directory should be")
        file = self.file()
        error = self.assertRaises(ClientError, file.open, NOW_MS)
        self.assertEqual(Exit.FAILED, error.status)
        self.assertIn(f"cannot use {file.path}", str(error))

    def test_not_written(self) -> None:
        """Keys that can't be written are not used, and the next start makes others."""
        self.patch(os, "fsync", self.full_disk)
        file = self.file()
        error = self.assertRaises(ClientError, file.open, NOW_MS)
        self.assertIn("No space left", str(error))
        self.assertFalse(file.path.exists())

    def full_disk(self, _: int) -> None:
        """What a full disk says."""
        raise OSError(errno.ENOSPC, "No space left on device")


class AgainTests(KeysCase):
    """There are keys."""

    def test_same_keys(self) -> None:
        """A later start opens the same keys, without a passphrase where they have none."""
        made = self.made()
        file = self.file()
        opened = file.open(NOW_MS + 1, lambda: self.answer("never asked"))
        self.assertEqual(made.secrets.packed, opened.secrets.packed)
        self.assertEqual(0, self.asked)

    def test_what_was_saved(self) -> None:
        """What was learned and saved is there at the next start; what was not saved is not."""
        file = self.file()
        store = file.open(NOW_MS)
        store.secrets.rooms[b"r" * 32] = b"saved"
        file.save(store)
        store.secrets.rooms[b"s" * 32] = b"not saved"
        file.close()
        self.assertEqual({b"r" * 32: b"saved"}, self.file().open(NOW_MS).secrets.rooms)

    def test_whole_or_not_at_all(self) -> None:
        """A store that can't be written is told, and the one before it stays as it was."""
        made = self.made()
        before = made.secrets.packed
        file = self.file()
        store = file.open(NOW_MS)
        store.secrets.rooms[b"r" * 32] = b"x"
        self.patch(os, "fsync", lambda _: self.fail_to_write())
        error = self.assertRaises(ClientError, file.save, store)
        self.assertIn(f"cannot write {file.path}", str(error))
        file.close()
        self.assertEqual(before, self.file().open(NOW_MS).secrets.packed)

    def fail_to_write(self) -> None:
        """What a broken disk says."""
        raise OSError(errno.EIO, "Input/output error")

    def test_crash_between_two_files(self) -> None:
        """A store whose counter was not written any more, as the machine stopped, opens."""
        self.made()
        file = self.file()
        counter = next((self.home / FOLDER).glob("*.count"))
        old = counter.read_bytes()
        file.save(file.open(NOW_MS))
        file.close()
        counter.write_bytes(old)
        self.assertEqual(2, self.file().open(NOW_MS).counter)

    def test_no_counter(self) -> None:
        """A counter that is gone or no number is no reason to lose one's keys."""
        self.made()
        counter = next((self.home / FOLDER).glob("*.count"))
        for content in (b"", b"not a number", b"\xff" * 100):
            counter.write_bytes(content)
            file = self.file()
            self.assertEqual("alice", file.open(NOW_MS).secrets.person.name)
            file.close()
        counter.unlink()
        self.assertEqual("alice", self.file().open(NOW_MS).secrets.person.name)


class DamagedTests(KeysCase):
    """What is there is no whole store."""

    def test_damaged(self) -> None:
        """A store with one changed byte, wherever it is, is refused, and no keys are made in its place."""
        self.made()
        path = self.file().path
        whole = path.read_bytes()
        for at in (0, 5, 10, 40, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
            self.assert_refused(str(path), Exit.PROTOCOL)

    def test_truncated(self) -> None:
        """A store that was cut off is refused as damaged, an empty one too."""
        self.made()
        path = self.file().path
        whole = path.read_bytes()
        for length in (0, 1, 5, 13, 14, 100, len(whole) - 1):
            path.write_bytes(whole[:length])
            self.assert_refused(StoreFault.DAMAGED, Exit.PROTOCOL)

    def test_of_another_place(self) -> None:
        """A store that was copied from another relay or name is refused."""
        self.made()
        other = self.file("alice", "other.example:1")
        other.path.write_bytes(self.file().path.read_bytes())
        error = self.assertRaises(ClientError, other.open, NOW_MS)
        self.assertIn(StoreFault.DAMAGED, str(error))

    def test_rolled_back(self) -> None:
        """A store that was put back from an older copy is refused."""
        self.made()
        file = self.file()
        old = file.path.read_bytes()
        store = file.open(NOW_MS)
        file.save(store)
        file.close()
        file.path.write_bytes(old)
        self.assert_refused(StoreFault.ROLLED_BACK, Exit.PROTOCOL)

    def test_of_a_newer_version(self) -> None:
        """A store of a newer version is told as that."""
        self.made()
        path = self.file().path
        whole = path.read_bytes()
        path.write_bytes(whole[:4] + b"\x02" + whole[5:])
        self.assert_refused(StoreFault.NEWER, Exit.PROTOCOL)

    def test_directory_in_its_place(self) -> None:
        """What can't be read at all is one line."""
        path = self.file().path
        path.mkdir(parents=True)
        error = self.assertRaises(ClientError, self.file().open, NOW_MS)
        self.assertIn(f"cannot use {path}", str(error))


class PassphraseTests(KeysCase):
    """A store that is locked."""

    def test_right(self) -> None:
        """The right passphrase, asked for once, opens it; what is saved then is locked again."""
        made = self.made("correct horse")
        file = self.file()
        store = file.open(NOW_MS, lambda: self.answer("correct horse"))
        self.assertEqual((made.secrets.packed, 1), (store.secrets.packed, self.asked))
        file.save(store)
        file.close()
        self.assert_refused(StoreFault.LOCKED, Exit.PROTOCOL)
        again = self.file().open(NOW_MS, lambda: self.answer("correct horse"))
        self.assertEqual(made.secrets.packed, again.secrets.packed)

    def test_wrong(self) -> None:
        """A wrong passphrase and an empty one are told, once, and change nothing."""
        self.made("correct horse")
        for number, wrong in enumerate(("correct  horse", ""), 1):
            self.assert_refused(StoreFault.LOCKED, Exit.PROTOCOL, wrong)
            self.assertEqual(number, self.asked)

    def test_nobody_to_ask(self) -> None:
        """Where nobody can be asked, a locked store stays closed."""
        self.made("correct horse")
        self.assert_refused(StoreFault.LOCKED, Exit.PROTOCOL)

    def test_asking_fails(self) -> None:
        """What goes wrong while the passphrase is asked for is told as it is."""
        self.made("correct horse")

        def broken() -> str:
            raise ClientError("no terminal to ask on")

        error = self.assertRaises(ClientError, self.file().open, NOW_MS, broken)
        self.assertEqual("no terminal to ask on", str(error))

    def test_no_key_in_the_file(self) -> None:
        """A locked file has none of the private keys in it; an unlocked one has."""
        person = self.made().secrets.person
        path = self.file().path
        self.assertIn(person.identity.seed, path.read_bytes())
        file = self.file()
        store = file.open(NOW_MS)
        store.set_passphrase("correct horse", CHEAP)
        file.save(store)
        for seed in (person.identity.seed, person.device.seed):
            self.assertNotIn(seed, path.read_bytes())


class HeldTests(KeysCase):
    """One process at a time."""

    def hold(self, name: str) -> subprocess.Popen[bytes]:
        """Another process that has opened a store; it ends when its input does."""
        command = [sys.executable, "-c", HOLDER, str(self.home), PLACE, name, str(NOW_MS)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        self.addCleanup(holder.stdout.close)
        self.addCleanup(holder.wait, 30)
        self.addCleanup(holder.kill)
        self.assertEqual(b"held\n", holder.stdout.readline())
        return holder

    def test_another_process(self) -> None:
        """A store that another process has open is refused with who is running; once that ends, it opens."""
        holder = self.hold("alice")
        error = self.assert_refused("another securechat is running as alice", Exit.NOT_PERMITTED)
        self.assertIn("at this relay", str(error))
        assert holder.stdin is not None
        holder.stdin.close()
        self.assertEqual(0, holder.wait(30))
        self.assertEqual("alice", self.file().open(NOW_MS).secrets.person.name)

    def test_killed(self) -> None:
        """A process that was killed holds nothing."""
        holder = self.hold("alice")
        holder.kill()
        holder.wait(30)
        assert holder.stdin is not None
        holder.stdin.close()
        self.assertEqual("alice", self.file().open(NOW_MS).secrets.person.name)

    def test_another_name(self) -> None:
        """Another name at the same relay is free."""
        holder = self.hold("bob")
        self.assertEqual("alice", self.file().open(NOW_MS).secrets.person.name)
        assert holder.stdin is not None
        holder.stdin.close()

    def test_closed(self) -> None:
        """A store that was closed is free, however often it is closed."""
        file, other = self.file(), self.file()
        file.open(NOW_MS)
        self.assertRaises(ClientError, other.open, NOW_MS)
        file.close()
        file.close()
        other.open(NOW_MS)
