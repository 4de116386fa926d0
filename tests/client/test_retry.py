"""When a lost link is tried again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.retry import FORGIVEN_S, Retry


def waits(*up_s: float, jitter: float = 1.0) -> list[float]:
    """The waits after links that were up for so long."""
    retry = Retry(jitter=lambda: jitter)
    return [retry.wait_s(each) for each in up_s]


class RetryTests(SynchronousTestCase):
    """The waits of one link."""

    def test_doubled(self) -> None:
        """The longest wait doubles with each attempt that fails, from half a second to thirty."""
        self.assertEqual(waits(*[0.0] * 9), [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0])

    def test_least(self) -> None:
        """The shortest one is always the same, however often it fails."""
        self.assertEqual(set(waits(*[0.0] * 2_000, jitter=0.0)), {0.25})

    def test_drawn(self) -> None:
        """Between these every wait is as likely as another, the first one as well."""
        self.assertEqual(waits(0.0, 0.0, 0.0, jitter=0.5), [0.375, 0.625, 1.125])
        self.assertEqual(len({Retry().wait_s(0.0) for _ in range(100)}), 100)

    def test_dropped_at_once(self) -> None:
        """A relay that welcomes and drops at once is left in peace like one that is down."""
        self.assertEqual(waits(*[0.01] * 8)[-1], waits(*[0.0] * 7, 0.01)[-1])
        self.assertGreater(waits(*[FORGIVEN_S / 2] * 20)[-1], 20)

    def test_bad_line(self) -> None:
        """Where links last for a while before they are lost nobody waits for longer than at first."""
        self.assertEqual(set(waits(*[FORGIVEN_S] * 50)), {0.5})

    def test_forgiven(self) -> None:
        """A link takes back as many doublings as it lasted for; after a dozen seconds there is none left."""
        failed = [0.0] * 9
        self.assertAlmostEqual(waits(*failed, 1 * FORGIVEN_S)[-1], 15)
        self.assertAlmostEqual(waits(*failed, 3 * FORGIVEN_S)[-1], 3.75)
        self.assertEqual(waits(*failed, 12.0)[-1], 0.5)
