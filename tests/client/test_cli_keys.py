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


class StoreTests(ProgramCase):
    """The file of keys, copied, cut off, put back or gone: `chat` says so in one line, and never makes new keys."""

    def setUp(self) -> None:
        """Alice has said something, so that there are keys; bob listens, who knows them."""
        super().setUp()
        self.bob = self.client("listen", "bob", "#room", "--json")
        self.bob.event("entered")
        self.assert_heard("before")
        (self.path,) = (self.home / "keys").glob("alice-*.keys")
        self.whole = self.path.read_bytes()

    def assert_heard(self, text: str) -> None:
        """Alice's program says something, and bob's shows it as from the key that it knows."""
        self.assertEqual(self.runs("send", "alice", "#room", text)[0], 0)
        heard = self.bob.event("message", text=text)
        self.assertEqual((heard["sender"], heard.get("key", "")), ("alice", ""))

    def assert_refused(self, status: Exit, says: str, name: str = "alice") -> None:
        """`chat` ends at once, before anything is said to the relay; what is on disk is as it was."""
        before = self.kept(name)
        self.assert_fails(status, "chat", name, "--json", says=says, input=b"never\n")
        self.assertEqual(self.kept(name), before)

    def kept(self, name: str) -> dict[Path, bytes]:
        """What is on disk for somebody, but for the file that holds the others off."""
        files = (self.home / "keys").glob(f"{name}-*")
        return {path: path.read_bytes() for path in files if path.suffix != ".lock"}

    def test_truncated(self) -> None:
        """Cut off, anywhere, it is damaged; put back, it goes on."""
        for size in (0, len(self.whole) // 2, len(self.whole) - 1):
            self.path.write_bytes(self.whole[:size])
            self.assert_refused(Exit.FAILED, "damaged")
        self.path.write_bytes(self.whole)
        self.assert_heard("after")

    def test_copied(self) -> None:
        """Under another name it is damaged, too, and so it is for another relay; in its own place it goes on."""
        other = self.start_relay()
        shutil.copy(self.path, self.path.with_name(self.path.name.replace("alice", "carol")))
        self.assert_refused(Exit.FAILED, "damaged", "carol")
        here, self.relay = self.relay, other
        self.assertEqual(self.runs("send", "dave", "#room", "to have a file there")[0], 0)
        (there,) = (self.home / "keys").glob("dave-*.keys")
        shutil.copy(self.path, there.with_name(there.name.replace("dave", "alice")))
        self.assert_refused(Exit.FAILED, "damaged")
        self.relay = here
        self.assert_heard("after")

    def test_rolled_back(self) -> None:
        """An older copy is told as that, and not used; with the newest one it goes on."""
        self.assert_heard("since then")
        newest = self.path.read_bytes()
        self.assertNotEqual(newest, self.whole)
        self.path.write_bytes(self.whole)
        self.assert_refused(Exit.PROTOCOL, "older than the last one")
        self.path.write_bytes(newest)
        self.assert_heard("after")

    def test_gone(self) -> None:
        """Where it is gone no new keys are made in silence; put back, it goes on."""
        self.path.unlink()
        self.assert_refused(Exit.PROTOCOL, "are gone")
        self.path.write_bytes(self.whole)
        self.path.chmod(0o600)
        self.assert_heard("after")


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
