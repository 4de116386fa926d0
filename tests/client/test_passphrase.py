"""Passphrases: from a file or a terminal, never from a pipe's input; set, changed and removed by a command."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.__main__ import main
from securechat.client.errors import ClientError, Exit
from securechat.client.keys import KeyFile
from securechat.client.passphrase import FILE_BYTES, change_passphrase, read_passphrase
from tests.client.test_keys import NOW_MS, PLACE


class ReadingTests(SynchronousTestCase):
    """Files with a passphrase."""

    def written(self, data: bytes) -> str:
        """A file."""
        path = Path(self.mktemp())
        path.write_bytes(data)
        return str(path)

    def test_first_line(self) -> None:
        """The first line counts, without its end and with its spaces."""
        for data in (b" se cret ", b" se cret \n", b" se cret \r\nrest", b" se cret \n\xc3\xa9\n"):
            self.assertEqual(read_passphrase(self.written(data)), " se cret ")

    def test_none(self) -> None:
        """A file without one, of other bytes than UTF-8, or that is not there, is told in one line."""
        for path in (self.written(b""), self.written(b"\nsecond"), self.written(b"\xff"), self.mktemp()):
            with self.assertRaises(ClientError) as caught:
                read_passphrase(path)
            self.assertIn(path, str(caught.exception))
            self.assertEqual(caught.exception.status, Exit.USAGE)

    def test_endless(self) -> None:
        """A file that never ends is read to a bound."""
        self.assertEqual(len(read_passphrase(self.written(b"x" * 10 * FILE_BYTES))), FILE_BYTES)


class ChangingTests(SynchronousTestCase):
    """Setting and removing it."""

    def setUp(self) -> None:
        """Make a store."""
        self.home = Path(self.mktemp())
        self.typed: list[str] = []
        self.prompts: list[str] = []
        self.file = KeyFile(self.home, PLACE, "alice")
        self.identity = self.file.open(NOW_MS).secrets.person.identity.public
        self.file.close()

    def ask(self, prompt: str) -> str:
        """Type the next answer."""
        self.prompts.append(prompt)
        return self.typed.pop(0)

    def change(self, old: str | None = None, new: str | None = None, remove: bool = False) -> str:
        """Change it; the file is free afterwards."""
        return change_passphrase(self.file, NOW_MS, old, new, remove=remove, ask=self.ask)

    def opens(self, passphrase: str | None) -> bool:
        """Whether the store opens so, with the same keys in it."""
        try:
            store = self.file.open(NOW_MS, passphrase)
        except ClientError:
            return False
        finally:
            self.file.close()
        return store.secrets.person.identity.public == self.identity

    def test_set_change_remove(self) -> None:
        """It is set, changed and removed, each time asked for what is needed and no more."""
        self.typed = ["one", "one"]
        self.assertIn("new passphrase", self.change())
        self.assertTrue(self.opens("one"))
        self.assertFalse(self.opens(None))
        self.typed = ["one", "two", "two"]
        self.change()
        self.assertTrue(self.opens("two"))
        self.assertFalse(self.opens("one"))
        self.typed = ["two"]
        self.assertIn("no passphrase", self.change(remove=True))
        self.assertTrue(self.opens(None))
        self.assertEqual(len(self.prompts), 6)

    def test_given(self) -> None:
        """What was given is not asked for."""
        self.change(new="one")
        self.change(old="one", new="two")
        self.assertTrue(self.opens("two"))
        self.assertEqual(self.prompts, [])

    def test_refused(self) -> None:
        """Mistyped, empty or wrong: nothing is changed, and the file is free."""
        for typed in (["one", "other"], [""]):
            self.typed = typed
            self.assertRaises(ClientError, self.change)
            self.assertTrue(self.opens(None))
        self.change(new="one")
        self.typed = ["wrong"]
        self.assertRaises(ClientError, self.change)
        self.assertTrue(self.opens("one"))

    def test_no_keys(self) -> None:
        """Where there are no keys none are made for the sake of a passphrase."""
        other = KeyFile(self.home, PLACE, "bob")
        with self.assertRaises(ClientError) as caught:
            change_passphrase(other, NOW_MS, None, "one", remove=False, ask=self.ask)
        self.assertIn("there are no keys", str(caught.exception))
        self.assertFalse(other.path.exists())


class CommandTests(SynchronousTestCase):
    """The command as it is typed."""

    def setUp(self) -> None:
        """Make a store."""
        self.home = Path(self.mktemp())
        self.file = KeyFile(self.home, PLACE, "alice")
        self.file.open(NOW_MS)
        self.file.close()
        self.stderr = StringIO()
        self.patch(sys, "stderr", self.stderr)

    def command(self, *arguments: str) -> int:
        """Run it."""
        place = ("--home", str(self.home), "--relay", f"securechat://{PLACE}")
        return main(["passphrase", "alice", *place, *arguments])

    def test_command(self) -> None:
        """Files give the old and the new one; one line on stderr says what was done."""
        one, two = self.home / "one", self.home / "two"
        one.write_text("first\n")
        two.write_text("second\n")
        self.assertEqual(self.command("--new-passphrase-file", str(one)), 0)
        self.assertEqual(self.command("--passphrase-file", str(one), "--new-passphrase-file", str(two)), 0)
        self.file.open(NOW_MS, "second")
        self.file.close()
        self.assertEqual(self.command("--passphrase-file", str(one), "--remove"), Exit.NOT_PERMITTED)
        self.assertEqual(self.command("--passphrase-file", str(two), "--remove"), 0)
        self.file.open(NOW_MS)
        self.file.close()
        self.assertEqual(self.stderr.getvalue().count("\n"), 4)

    def test_usage(self) -> None:
        """What cannot be a name, an address or a file is told before anything is done."""
        self.assertEqual(main(["passphrase", "Alice", "--home", str(self.home)]), Exit.USAGE)
        self.assertEqual(self.command("--relay", "http://x"), Exit.USAGE)
        self.assertEqual(self.command("--new-passphrase-file", str(self.home / "none")), Exit.USAGE)

    def test_no_terminal(self) -> None:
        """Without a terminal nobody is asked, and standard input is left alone."""
        done = subprocess.run(
            [sys.executable, "-m", "securechat", "passphrase", "alice", "--home", self.home, "--relay", PLACE],
            input=b"one\none\n",
            capture_output=True,
            check=False,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual(done.returncode, Exit.NOT_PERMITTED, done.stderr)
        self.assertIn(b"--passphrase-file", done.stderr)
        self.file.open(NOW_MS)
        self.file.close()
