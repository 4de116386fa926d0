"""The cache folder: files that may be lost, and never hurt."""

import os
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from securechat.crypto import cache
from securechat.crypto.cache import Cache


class CacheTests(SynchronousTestCase):
    """Keeping and finding."""

    def setUp(self) -> None:
        """Take a folder that is not there yet."""
        self.folder = Path(self.mktemp()) / "deep"
        self.cache = Cache(self.folder)

    def test_keeps(self) -> None:
        """What was written is found, for its owner alone, and nothing else lies there."""
        self.assertIsNone(self.cache.read("a", 100))
        self.cache.write("a", b"first")
        self.cache.write("a", b"second")
        self.assertEqual(self.cache.read("a", 100), b"second")
        self.assertEqual(os.listdir(self.folder), ["a"])
        self.assertEqual((self.folder / "a").stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)

    def test_too_large(self) -> None:
        """A file larger than expected is none of ours."""
        self.cache.write("a", bytes(101))
        self.assertIsNone(self.cache.read("a", 100))
        self.assertEqual(self.cache.read("a", 101), bytes(101))

    def test_others_may_write(self) -> None:
        """A file that others may write to is not looked at."""
        self.cache.write("a", b"x")
        for mode in (0o620, 0o602):
            (self.folder / "a").chmod(mode)
            self.assertIsNone(self.cache.read("a", 100))

    def test_of_another_owner(self) -> None:
        """Nor is a file of another owner."""
        if os.getuid() != 0:
            raise SkipTest("only root can give files away")
        self.cache.write("a", b"x")
        os.chown(self.folder / "a", 12345, 12345)
        self.assertIsNone(self.cache.read("a", 100))

    def test_unwritable(self) -> None:
        """Where nothing can be kept, nothing happens."""
        Path(self.mktemp()).touch()
        for place in (Path("/proc/nowhere"), Path(__file__)):
            there = Cache(place)
            there.write("a", b"x")
            self.assertIsNone(there.read("a", 100))

    def test_in_the_way(self) -> None:
        """Where the file can't be put in its place, no part of it is left behind."""
        (self.folder / "a" / "b").mkdir(parents=True)
        self.cache.write("a", b"x")
        self.assertIsNone(self.cache.read("a", 100))
        self.assertEqual(os.listdir(self.folder), ["a"])

    def test_of_user(self) -> None:
        """SECURECHAT_HOME is the folder where it is set, else it is where the system keeps the user's caches."""
        Cache.of_user({"SECURECHAT_HOME": str(self.folder)}).write("a", b"x")
        self.assertEqual(self.cache.read("a", 1), b"x")
        self.patch(cache, "user_cache_path", lambda name: self.folder / name)
        for environ in ({}, {"SECURECHAT_HOME": ""}):
            Cache.of_user(environ).write("b", b"y")
            self.assertEqual(Cache(self.folder / "securechat").read("b", 1), b"y")
