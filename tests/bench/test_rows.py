"""Rows that were measured beside the grid."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.rows import beside_loop
from tests.bench.harness import row


class BesideLoopTests(SynchronousTestCase):
    """Their ratio."""

    def test_message_by_message(self) -> None:
        """It is to the loop of the same operation and size with the most messages, for each message."""
        loops = [row(n=1, seconds=100.0), row(n=16, seconds=32.0), row(n=256, seconds=1.0, operation="open")]
        found = beside_loop(row(("openssl", "estimate"), 4, 2.0, None), loops)
        self.assertEqual(found.ratio, 4.0)

    def test_no_such_loop(self) -> None:
        """Without a loop of that size and operation there is none."""
        loops = [row(size=200), row(operation="open"), row(("cpu", "list"))]
        self.assertIsNone(beside_loop(row(("cuda", "kernel"), ratio=None), loops).ratio)
