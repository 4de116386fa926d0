"""`--engine` of the demo, the relay and the clients, with every engine that is usable here."""

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import native
from tests.system.programs import JsonLines, Relay, environment

USABLE = ("auto", "cpu", *(() if native.why_not() else ("native",)))


class EngineOptionTests(SynchronousTestCase):
    """What does not depend on it."""

    def setUp(self) -> None:
        """Make a home."""
        self.home = Path(self.mktemp())
        self.home.mkdir()

    def demo(self, engine: str) -> "subprocess.CompletedProcess[str]":
        """Run the demo with an engine."""
        command = [sys.executable, "-m", "securechat", "demo", "--engine", engine]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(self.home))

    def test_demo_says_the_same(self) -> None:
        """The demo's sentences are the same with every engine, but for the name of the engine."""
        told = {}
        for engine in USABLE:
            done = self.demo(engine)
            self.assertEqual((done.returncode, done.stderr), (0, ""), engine)
            sentences = [line for line in done.stdout.splitlines() if re.match(r"\S", line)]
            named = [line for line in sentences if "The engine in use is" in line]
            self.assertEqual(len(named), 1)
            if engine != "auto":
                self.assertIn(f"is {engine}.", named[0])
            told[engine] = [re.sub(r"engine in use is \w+", "", line) for line in sentences]
            self.assertGreater(len(sentences), 7)
        for engine in USABLE:
            self.assertEqual(told[engine], told["auto"], engine)

    def test_demo_without_the_engine(self) -> None:
        """With an engine that isn't there the demo ends with one line and status 1, with an unknown one with 2."""
        done = self.demo("no such")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        code = (
            "from securechat import demo\n"
            "from securechat.crypto.engines import EngineUnavailable\n"
            "def choose(name): raise EngineUnavailable(name, 'no card')\n"
            "demo.choose = choose\n"
            "raise SystemExit(demo.run_demo('cuda'))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment(self.home)
        )
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "securechat: engine 'cuda' is not available: no card\n")

    def test_chat(self) -> None:
        """A relay on each engine starts, and clients on different ones understand each other."""
        for engine, other in zip(USABLE, (*USABLE[1:], USABLE[0]), strict=True):
            relay = Relay(self, "--engine", engine)
            homes = [self.home / f"{engine}-{name}" for name in ("alice", "bob")]
            for home in homes:
                home.mkdir()
            alice = JsonLines(self, homes[0], "chat", "alice", "--relay", relay.address, "--engine", engine)
            alice.next("entered")
            bob = JsonLines(self, homes[1], "chat", "bob", "--relay", relay.address, "--engine", other)
            bob.next("key")
            alice.put(text=f"hello on {engine}")
            self.assertEqual(bob.next("message")["text"], f"hello on {engine}")
            self.assertEqual([alice.end(), bob.end()], [0, 0])
