"""The file that makes way when the disk is full."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.spare import Spare
from tests.relay.keeping import store_path

SIZE = 100_000


class SpareTests(SynchronousTestCase):
    """One file."""

    def setUp(self) -> None:
        """Where it may be."""
        self.path = store_path(self).with_name("spare")
        self.spare = Spare(self.path, SIZE)

    def test_room(self) -> None:
        """It takes the room that it stands for, and gives it back, once."""
        self.assertFalse(self.spare.is_there)
        self.spare.make()
        self.assertTrue(self.spare.is_there)
        self.assertGreaterEqual(self.path.stat().st_blocks * 512, SIZE)
        self.assertEqual([True, False], [self.spare.give_up() for _ in range(2)])
        self.assertEqual((False, False), (self.spare.is_there, self.path.exists()))

    def test_of_the_last_run(self) -> None:
        """One that another run has left is deleted, and is not one of ours."""
        self.path.write_bytes(b"x")
        self.assertFalse(self.spare.give_up())
        self.assertFalse(self.path.exists())

    def test_no_room(self) -> None:
        """Where it cannot be made there is none, and nothing of it is left."""
        self.path.symlink_to("/dev/full")
        self.spare.make()
        self.assertFalse(self.spare.is_there)
        self.assertFalse(self.path.is_symlink())
