"""The operator's commands as programs, beside a relay that is one."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGTERM
from typing import Final

from securechat.relay.admin.asking import connect
from securechat.relay.admin.commands import COMMANDS
from securechat.relay.admin.errors import Exit
from securechat.relay.admin.listening import SOCKET_FILE
from securechat.relay.storage_key import KEY_FILE
from securechat.wire.messages import (
    LAST_SEQ,
    Enter,
    Goodbye,
    Hand,
    Ping,
    Pong,
    Refused,
    Roster,
    SealedKey,
    SessionKey,
)
from tests.relay.people import Chain, person
from tests.relay.process import PATIENCE_S, RelayProcess, Talker, fresh_directory
from tests.relay.test_durable import FAST, ROOM, DurableCase, Poster

SECURECHAT: Final = (sys.executable, "-m", "securechat")


class RunningCase(DurableCase):
    """A data directory with a relay, and commands for it."""

    def start(self, *options: str) -> RelayProcess:
        """A relay that answers commands."""
        relay = super().start(*options)
        deadline = time.monotonic() + PATIENCE_S
        while (link := connect(self.data)) is None:
            assert time.monotonic() < deadline, "no admin socket"
            time.sleep(0.02)
        link.close()
        return relay

    def command(self, *words: str, data: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return subprocess.run(
            [*SECURECHAT, "relay", *words, "--data", str(data or self.data)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def done(self, *words: str, data: Path | None = None) -> str:
        """Run a command that succeeds; what it says."""
        result = self.command(*words, data=data)
        self.assertEqual((0, ""), (result.returncode, result.stderr))
        return result.stdout

    def refused(self, status: int, words: str, *arguments: str) -> None:
        """Run a command that fails, with one line."""
        result = self.command(*arguments)
        self.assertEqual((status, ""), (result.returncode, result.stdout), result.stderr)
        (line,) = result.stderr.splitlines()
        self.assertIn(words, line)

    def founded(self, relay: RelayProcess, *names: str) -> tuple[list[Talker], SessionKey]:
        """Talkers in a room of the first; its key."""
        talkers = [Talker(self, relay.address) for _ in names]
        people = [talker.login(name) for talker, name in zip(talkers, names, strict=True)]
        chain = Chain(ROOM)
        talkers[0].send(chain.found(people[0]), *(chain.add(people[0], other) for other in people[1:]))
        key = talkers[0].until(SessionKey)
        while key.epoch != chain.known.epoch:
            key = talkers[0].until(SessionKey)
        return talkers, key


class BackupTests(RunningCase):
    """Backup and restore."""

    def test_while_posts_flow(self) -> None:
        """A backup has all that was acknowledged before it began; acknowledgements go on; restored it is a relay.

        Restored on another machine, say, with the key: names, the room with its key and its numbers, and a sealed
        key that waits are there.
        """
        relay = self.start()
        (alice, bob), key = self.founded(relay, "alice", "bob")
        bob.socket.close()
        alice.send(Hand(ROOM, [(person("bob").device.public, b"unmistakable blob")]), Ping())
        alice.until(Pong)
        poster = Poster(alice, key.epoch)
        poster.start()
        self.assertTrue(poster.began.wait(PATIENCE_S))
        while len(poster.acked) < 400:
            time.sleep(0.01)
        before = dict(poster.acked)
        backup = self.data.with_name("backup")
        said = self.done("backup", str(backup))
        after = len(poster.acked)
        self.assertGreater(after, len(before))
        self.assertEqual(0o600, backup.stat().st_mode & 0o777)
        self.assertGreaterEqual(int(re.search(r"(\d+) messages", said)[1]), len(before))  # type: ignore[index]
        for name in ("alice", "bob", ROOM, "unmistakable"):
            self.assertNotIn(name.encode(), backup.read_bytes())
        relay.terminate()
        relay.wait()
        poster.join(PATIENCE_S)

        elsewhere = fresh_directory(self) / "data"
        elsewhere.mkdir(mode=0o700)
        (elsewhere / KEY_FILE).write_bytes((self.data / KEY_FILE).read_bytes())
        (elsewhere / KEY_FILE).chmod(0o600)
        self.done("restore", str(backup), data=elsewhere)
        again = RelayProcess(self, "--data", str(elsewhere), *FAST)
        talker, roster, same = self.enter(again, "alice")
        self.assertEqual(key.key, same.key)
        self.assertEqual(2, len(roster.entries))
        self.assertGreaterEqual(roster.last_seq, len(before))
        self.assertEqual(before, self.again(talker, list(before), same.epoch))
        bob = Talker(self, again.address)
        bob.login("bob")
        bob.send(Enter(ROOM, 0, LAST_SEQ))
        self.assertEqual([("alice", b"unmistakable blob")], bob.until(SealedKey).items)
        thief = Talker(self, again.address)
        thief.send(thief.hello(person("bob", 1)))
        self.assertEqual("name-owned", thief.until(Refused).code)

    def test_nothing_is_left(self) -> None:
        """A relay's own copy is gone when the command has it; what a killed one left, after the next start."""
        relay = self.start()
        self.done("backup", str(self.data.with_name("backup")))
        for _ in range(100):
            if not list(self.data.glob("backup-*")):
                break
            time.sleep(0.05)
        self.assertEqual([], list(self.data.glob("backup-*")))
        relay.kill()
        (self.data / "backup-left.part").touch()
        self.start()
        self.assertEqual([], list(self.data.glob("backup-*")))

    def test_running(self) -> None:
        """What needs a stopped relay is refused beside one that runs, and changes nothing."""
        relay = self.start()
        backup = self.data.with_name("backup")
        self.done("backup", str(backup))
        self.refused(Exit.EXISTS, "--force", "backup", str(backup))
        for words in (["restore", str(backup)], ["rotate-key"], ["verify", str(self.data / "relay.db")]):
            self.refused(Exit.RUNNING, "stop it first", *words)
        self.done("verify", str(backup))
        relay.terminate()
        self.assertEqual(-SIGTERM, relay.wait())
        self.assertFalse((self.data / SOCKET_FILE).exists())
        self.done("rotate-key")
        self.start()


class ChangeTests(RunningCase):
    """Bans, and names that are taken away."""

    def test_key(self) -> None:
        """Who is banned is cut off with a reason, refused after a crash, and let in again when that is lifted."""
        relay = self.start()
        (_, bob), _ = self.founded(relay, "alice", "bob")
        self.assertIn("1 link ended", self.done("ban", "bob"))
        self.assertEqual("banned", bob.until(Goodbye).code)
        relay.kill()
        relay = self.start()
        again = Talker(self, relay.address)
        again.send(again.hello(person("bob")))
        self.assertEqual("banned", again.until(Refused).code)
        self.assertIn(person("bob").identity.public.hex(), self.done("bans"))
        self.done("unban", "bob")
        Talker(self, relay.address).login("bob")
        self.assertNotIn("bob", relay.output)

    def test_address(self) -> None:
        """A banned network is cut off and hears nothing, after a crash too; others come in."""
        relay = self.start()
        alice = Talker(self, relay.address, source="127.0.0.7")
        alice.login("alice")
        self.assertIn("1 link ended", self.done("ban", "127.0.0.6/31"))
        self.assertIsInstance(self.ended(alice), bool)
        for _ in range(2):
            for source, is_heard in (("127.0.0.7", False), ("127.0.0.8", True)):
                self.assertEqual(is_heard, self.is_heard(relay, source))
            relay.kill()
            relay = self.start()
        self.assertNotIn("127.0.0.6", relay.output)

    def ended(self, talker: Talker) -> bool:
        """Whether the link ends."""
        try:
            return not list(talker.messages())
        except OSError:
            return True

    def is_heard(self, relay: RelayProcess, source: str) -> bool:
        """Whether the relay says anything to an address."""
        there = (relay.address.host, relay.address.port)
        try:
            with socket.create_connection(there, PATIENCE_S, source_address=(source, 0)) as plain:
                return bool(plain.recv(1))
        except ConnectionError:
            return False

    def test_name(self) -> None:
        """A name that is taken away can be somebody else's at once, and is theirs after a crash."""
        relay = self.start()
        (_, bob), _ = self.founded(relay, "alice", "bob")
        self.done("remove-name", "bob")
        self.assertEqual("banned", bob.until(Goodbye).code)
        new = person("bob", 1)
        for _ in range(2):
            talker = Talker(self, relay.address)
            talker.send(talker.hello(new), Enter(ROOM, 0, LAST_SEQ))
            self.assertEqual(2, len(talker.until(Roster).entries))
            relay.kill()
            relay = self.start()
        self.refused(Exit.NO_SUCH, "nobody has that name", "remove-name", "nobody")

    def test_lists(self) -> None:
        """Users and rooms are listed for people and as JSON."""
        relay = self.start()
        talkers, _ = self.founded(relay, "alice", "bob")
        self.assertEqual(2, len(talkers))
        heads, alice, _ = [line.split() for line in self.done("users").splitlines()]
        self.assertEqual(["NAME", "HERE", "SEEN", "ROOMS", "KEY"], heads)
        self.assertEqual(["alice", "yes", "1", person("alice").identity.public.hex()], [*alice[:2], *alice[3:]])
        found = [json.loads(line) for line in self.done("users", "--json").splitlines()]
        self.assertEqual(
            [("alice", True, [ROOM]), ("bob", True, [ROOM])],
            [(each["name"], each["here"], each["rooms"]) for each in found],
        )
        self.assertRegex(self.done("rooms"), rf"{ROOM} +2 +2 +2 +0 +0 +0\n$")
        (room,) = [json.loads(line) for line in self.done("rooms", "--json").splitlines()]
        self.assertEqual(["alice", "bob"], room["members"])
        self.assertEqual("KIND  SINCE  NAME  WHAT\n", self.done("bans"))


class SocketTests(RunningCase):
    """The socket itself."""

    def test_private(self) -> None:
        """Socket and directory are their owner's alone, and the log does not tell of anybody."""
        self.start()
        self.done("bans")
        self.assertEqual(0o600, (self.data / SOCKET_FILE).stat().st_mode & 0o777)
        self.assertEqual(0o700, self.data.stat().st_mode & 0o777)

    def test_not_running(self) -> None:
        """Without a relay, and after one that was killed, it is said that none runs."""
        words = "no relay runs"
        self.refused(Exit.NOT_RUNNING, words, "users")
        self.start().kill()
        self.assertTrue((self.data / SOCKET_FILE).exists())
        for arguments in (["users"], ["rooms"], ["bans"], ["ban", "bob"], ["unban", "bob"], ["remove-name", "bob"]):
            self.refused(Exit.NOT_RUNNING, words, *arguments)
        self.start()
        self.done("users")

    def test_deep_directory(self) -> None:
        """A directory whose name is longer than the kernel takes for a socket does as well."""
        self.data = self.data / ("deep" * 20) / ("er" * 50)
        self.start()
        self.done("users")

    def test_garbage(self) -> None:
        """Garbage, silence and links by the hundred harm neither the socket nor the relay."""
        relay = self.start()
        self.done("users")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.data)
        links = []
        for number in range(100):
            link = socket.socket(socket.AF_UNIX)
            self.addCleanup(link.close)
            link.connect(SOCKET_FILE)
            links.append(link)
            if number % 2:
                link.close()
            elif number % 3:
                try:
                    link.sendall(b"\xff" * 10_000)
                except OSError:
                    continue
        for link in links:
            link.close()
        self.done("users")
        Talker(self, relay.address).login("alice")
        self.assertNotIn("Traceback", relay.output)

    def test_in_memory(self) -> None:
        """A relay that keeps nothing has no socket."""
        RelayProcess(self, "--data", str(self.data), *FAST, "--in-memory")
        self.refused(Exit.NOT_RUNNING, "no relay runs", "users")

    def test_something_in_the_way(self) -> None:
        """Where there can be no socket the relay says so and does without."""
        (self.data / SOCKET_FILE).mkdir(parents=True)
        relay = DurableCase.start(self)
        relay.until_said("no admin socket: ")
        Talker(self, relay.address).login("alice")


class CommandTests(RunningCase):
    """The command line."""

    def test_help(self) -> None:
        """Each command has a help with its exit statuses; wrong command lines are refused as usual."""
        for name in COMMANDS:
            result = subprocess.run([*SECURECHAT, "relay", name, "--help"], capture_output=True, text=True)
            self.assertEqual(0, result.returncode)
            self.assertIn("exit status", result.stdout)
        for words in ([], ["nonsense"], ["backup"], ["ban"]):
            result = subprocess.run([*SECURECHAT, "relay", *words], capture_output=True, text=True)
            self.assertEqual(Exit.USAGE, result.returncode)

    def test_its_own_program(self) -> None:
        """`securechat-relay` is the same."""
        script = "import sys; from securechat.relay.admin.cli import main; sys.exit(main())"
        for words, status in ((["--version"], 0), (["users", "--data", str(self.data)], Exit.NOT_RUNNING)):
            result = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
            self.assertEqual(status, result.returncode, result.stderr)

    def test_nobody_reads(self) -> None:
        """A list whose reader has gone away is no traceback."""
        relay = self.start()
        self.founded(relay, "alice", "bob")
        reader, writer = os.pipe()
        os.close(reader)
        result = subprocess.run(
            [*SECURECHAT, "relay", "users", "--data", str(self.data)],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writer)
        self.assertEqual((Exit.FAILED, ""), (result.returncode, result.stderr))
