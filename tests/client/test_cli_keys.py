"""Keys and names as programs meet them: real clients, real files, a real relay over TLS."""

import shutil
from pathlib import Path
from signal import SIGTERM

from securechat.client.errors import Exit
from tests.client.programs import Program, ProgramCase


class OwnedNameTests(ProgramCase):
    """A name belongs to whoever first had it."""

    def elsewhere(self, *arguments: str) -> Program:
        """A client of another person, with a home of their own."""
        return self.client(*arguments, "--home", str(self.home / "elsewhere"))

    def test_somebody_else(self) -> None:
        """Whoever comes with other keys under a name that is taken ends with 77 and is told so."""
        self.assertEqual(self.runs("send", "alice", "#room", "mine")[0], 0)
        other = self.elsewhere("send", "alice", "#room", "not mine")
        self.assertEqual(other.ends(), Exit.NOT_PERMITTED)
        self.assertIn("belongs to somebody else", other.stderr)
        self.assertEqual(self.runs("send", "alice", "#room", "still mine")[0], 0)

    def test_two_programs(self) -> None:
        """A second program with the same keys file ends with 77 while the first one runs."""
        first = self.client("chat", "alice", "--json")
        first.event("entered")
        self.assert_fails(Exit.NOT_PERMITTED, "send", "alice", "#lobby", "hi", says="another securechat is running")
        first.ends_input()
        self.assertEqual(first.ends(), 0)

    def test_replaced(self) -> None:
        """Where the keys were copied and log in again the older program ends with 77, and does not come back."""
        first = self.client("listen", "alice", "#lobby", "--json")
        first.event("entered")
        shutil.copytree(self.home / "keys", self.home / "elsewhere" / "keys")
        second = self.elsewhere("listen", "alice", "#lobby", "--json")
        second.event("entered")
        self.assertEqual(first.ends(), Exit.NOT_PERMITTED)
        self.assertIn("logged in again", first.stderr)
        second.signals(SIGTERM)

    def test_damaged(self) -> None:
        """With damaged keys nothing is sent, and no new keys are made."""
        self.assertEqual(self.runs("send", "alice", "#room", "mine")[0], 0)
        (path,) = (self.home / "keys").glob("*.keys")
        path.write_bytes(path.read_bytes()[:-1])
        self.assert_fails(Exit.FAILED, "send", "alice", "#room", "hi", says="damaged")


class LockedTests(ProgramCase):
    """Keys under a passphrase."""

    def test_locked(self) -> None:
        """Locked keys need their passphrase, which is the first line of a file; another one is told as wrong."""
        secret = Path(self.mktemp())
        secret.write_text("correct horse\n")
        file = ("--passphrase-file", str(secret))
        self.assertEqual(self.runs("send", "alice", "#room", "hi", *file)[0], 0)
        self.assertEqual(self.runs("send", "alice", "#room", "hi", *file)[0], 0)
        secret.write_text("wrong\n")
        self.assert_fails(Exit.NOT_PERMITTED, "send", "alice", "#room", "hi", *file, says="that was not it")
        self.assert_fails(Exit.USAGE, "send", "alice", "#room", "hi", "--passphrase-file", "/none", says="/none")


class AgainTests(ProgramCase):
    """Programs that end and start again."""

    def test_sessions_are_kept(self) -> None:
        """A listener that was away for a while hears the next message of a session that it knew."""
        alice = self.client("chat", "alice", "--json")
        alice.event("entered")
        for text in ("one", "two"):
            bob = self.client("listen", "bob", "#lobby", "--json", "--count", "1")
            bob.event("entered")
            alice.event("joined" if text == "one" else "came", name="bob")
            alice.writes({"text": text})
            self.assertEqual(bob.event("message")["text"], text)
            self.assertEqual(bob.ends(), 0)
            alice.event("gone", name="bob")
        alice.ends_input()
        self.assertEqual(alice.ends(), 0)
