"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR

from twisted.trial.unittest import SynchronousTestCase

from securechat.disk.whole import write_whole


class WholeTests(SynchronousTestCase):
    """One file in a folder of its own."""

    def setUp(self) -> None:
        """Make the folder, and a mask that takes nothing away."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "file"
        self.addCleanup(os.umask, os.umask(0))

    def test_new_and_again(self) -> None:
        """It takes its place with what was given and the mode that was given, over one that is there too."""
        for data in (b"first, and long", b"second"):
            write_whole(self.path, data, 0o600)
            self.assertEqual((self.path.read_bytes(), self.path.stat().st_mode & 0o777), (data, 0o600))
        self.assertEqual(os.listdir(self.folder), ["file"])

    def test_what_was_left(self) -> None:
        """What a crash has left of an earlier try is not written into: others might have it open."""
        part = self.folder / "file.part"
        part.write_bytes(b"left")
        part.chmod(0o666)
        with part.open("rb") as theirs:
            write_whole(self.path, b"secret", 0o600)
            self.assertEqual(theirs.read(), b"left")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_failing(self) -> None:
        """Where it cannot be written the one that is there stays."""
        write_whole(self.path, b"old", 0o600)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        self.assertRaises(OSError, write_whole, self.path, b"new", 0o600)
        self.assertEqual(self.path.read_bytes(), b"old")

    def test_outlives_the_power(self) -> None:
        """It is forced to the disk before it takes its place, and its place after that."""
        forced: list[tuple[bool, bool]] = []
        fsync = os.fsync

        def watched(descriptor: int) -> None:
            forced.append((S_ISDIR(os.fstat(descriptor).st_mode), self.path.exists()))
            fsync(descriptor)

        self.patch(os, "fsync", watched)
        write_whole(self.path, b"x", 0o600)
        self.assertEqual(forced, [(False, False), (True, True)])
