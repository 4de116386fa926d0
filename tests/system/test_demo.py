"""`securechat demo` on every engine of this machine."""

from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.crypto.engines import survey
from tests.system.demo import run_demo, sentences
from tests.system.programs import environment


class DemoTests(SynchronousTestCase):
    """The demo in a process of its own."""

    def setUp(self) -> None:
        """Make a home for it."""
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        self.environ = environment(home)

    def test_same_on_every_engine(self) -> None:
        """Whichever engine is asked for, the same is told, but for the engine's name and the figures."""
        told = {}
        for name in ["auto", *[name for name, reason in survey().items() if reason is None]]:
            done = run_demo(name, self.environ)
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            if name != "auto":
                self.assertIn(f"\n7. The engine in use is {name}.", done.stdout)
            told[name] = sentences(done.stdout)
        expected = told["cpu"]
        self.assertEqual(told, dict.fromkeys(told, expected))
        for number in range(1, 8):
            self.assertEqual(len([line for line in expected if line.startswith(f"{number}. ")]), 1, number)
        self.assertEqual(expected[-1].split(".")[0], "All of this was checked as it was told")

    def test_unavailable(self) -> None:
        """An engine that cannot be used is one line with the reason, and exit status 1."""
        missing = {name: reason for name, reason in survey().items() if reason is not None}
        if not missing:
            raise SkipTest("every engine can be used here")
        for name, reason in missing.items():
            done = run_demo(name, self.environ)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertEqual(done.stderr, f"securechat: engine {name!r} is not available: {reason}\n")


class SentencesTests(SynchronousTestCase):
    """What counts as the same."""

    def test_words_count(self) -> None:
        """Keys, addresses, figures and the engine may differ; any other word may not."""
        one = "key fingerprint 9d07d227108bf38d\n7. The engine in use is cpu. Two\n  in batches  236,906 messages/s"
        two = "key fingerprint 30c916a7351db2c4\n7. The engine in use is auto. Two\n  in batches     1 messages/s"
        self.assertEqual(sentences(one), sentences(two))
        for word in ("key", "engine", "Two", "in batches", "messages/s"):
            self.assertNotEqual(sentences(one), sentences(two.replace(word, "other")), word)
