"""Two people talk: real relay, real clients, real sockets, real pseudo-terminals."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto.engines import survey
from tests.system.programs import JsonLines, Relay, Terminal


class TwoPeopleTests(SynchronousTestCase):
    """The original's scene, as a stranger would see it."""

    def setUp(self) -> None:
        """Everybody has a home of their own."""
        self.homes = Path(self.mktemp())

    def home(self, name: str) -> Path:
        """Somebody's home."""
        directory = self.homes / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def test_terminals(self) -> None:
        """Two clients in pseudo-terminals exchange lines both ways, and /quit ends with status 0."""
        relay = Relay(self)
        alice = Terminal(self, self.home("alice"), "chat", "alice", "--relay", relay.address)
        alice.wait_for("#lobby")
        bob = Terminal(self, self.home("bob"), "chat", "bob", "--relay", relay.address)
        alice.wait_for("bob")
        alice.type("hello from alice\r")
        bob.wait_for("hello from alice")
        bob.type("hello from bob\r")
        alice.wait_for("hello from bob")
        for each in (alice, bob):
            each.type("/quit\r")
        self.assertEqual([alice.wait_for_end(), bob.wait_for_end()], [0, 0])

    def test_third_is_refused(self) -> None:
        """With --max-clients 2 the third client says why it was refused, and ends with status 77."""
        relay = Relay(self, "--max-clients", "2")
        alice = Terminal(self, self.home("alice"), "chat", "alice", "--relay", relay.address)
        alice.wait_for("#lobby")
        bob = Terminal(self, self.home("bob"), "chat", "bob", "--relay", relay.address)
        alice.wait_for("bob")
        carol = Terminal(self, self.home("carol"), "chat", "carol", "--relay", relay.address)
        carol.wait_for("as many clients as it takes")
        self.assertEqual(carol.wait_for_end(), 77)
        bob.type("still here\r")
        alice.wait_for("still here")

    def test_pipes(self) -> None:
        """The same through pipes with JSON lines, which end with status 0 once all is acknowledged."""
        relay = Relay(self, "--max-clients", "2")
        alice = JsonLines(self, self.home("alice"), "chat", "alice", "--relay", relay.address)
        alice.next("entered")
        bob = JsonLines(self, self.home("bob"), "chat", "bob", "--relay", relay.address)
        bob.next("key")
        alice.put(text="hello from alice", id="a1")
        heard = bob.next("message")
        self.assertEqual(
            (heard["room"], heard["sender"], heard["text"], heard["seq"]),
            ("#lobby", "alice", "hello from alice", 1),
        )
        self.assertEqual(alice.next("sent")["id"], "a1")
        bob.put(text="hello from bob")
        self.assertEqual(alice.next("message")["text"], "hello from bob")
        carol = JsonLines(self, self.home("carol"), "chat", "carol", "--relay", relay.address)
        self.assertEqual(carol.end(), 77)
        self.assertEqual([alice.end(), bob.end()], [0, 0])

    def test_engines(self) -> None:
        """Whichever engines people ask for, they read each other; a missing one is one line and status 1."""
        relay = Relay(self)
        engines = survey()
        readers = {}
        for name in ("auto", *[name for name, reason in engines.items() if reason is None]):
            readers[name] = JsonLines(
                self, self.home(name), "chat", name, "--relay", relay.address, "--engine", name
            )
            readers[name].next("key")
        for name, writer in readers.items():
            writer.put(text=f"sealed by {name}")
            for reader in readers.values():
                if reader is not writer:
                    self.assertEqual(reader.next("message")["text"], f"sealed by {name}")
        self.assertEqual([each.end() for each in readers.values()], [0] * len(readers))
        for name, reason in engines.items():
            if reason is not None:
                missing = JsonLines(
                    self, self.home(name), "chat", "dave", "--relay", relay.address, "--engine", name
                )
                self.assertEqual(missing.end(), 1)
                assert missing.process.stderr is not None
                self.assertEqual(
                    missing.process.stderr.read().decode(),
                    f"securechat: engine {name!r} is not available: {reason}\n",
                )

    def test_goodbye(self) -> None:
        """When the relay stops, a client says that it lost it and why, and loses no line that is typed then."""
        relay = Relay(self)
        alice = JsonLines(self, self.home("alice"), "chat", "alice", "--relay", relay.address)
        alice.next("entered")
        relay.stop()
        down = alice.next("link")
        self.assertEqual((down["up"], "stopping" in down["reason"]), (False, True))
        alice.put(text="typed while it was away")
        again = Relay(
            self, "--listen", f"tcp:{relay.address.split('/#')[0].rsplit(':', 1)[1]}:interface=127.0.0.1",
            "--data", str(relay.directory / "data"),
        )  # fmt: skip
        self.assertEqual(again.address, relay.address)
        self.assertEqual(alice.next("sent")["text"], "typed while it was away")
        self.assertEqual(alice.end(), 0)
