"""Who may do more than everybody else, and what an operator may say of it."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from securechat.relay.limits import RelayLimits
from securechat.relay.overrides import limits_of, read_bot, read_network, times_more
from tests.relay.harness import Relay, RelayCase


class ReadingTests(SynchronousTestCase):
    """What is read from the command line."""

    def test_networks(self) -> None:
        """A network and a number of connections; anything else is told in words that show how."""
        self.assertEqual((ip_network("192.0.2.0/24"), 200), read_network("192.0.2.0/24=200"))
        self.assertEqual((ip_network("192.0.2.7/32"), 1), read_network("192.0.2.7=1"))
        self.assertEqual((ip_network("2001:db8::/56"), 9), read_network("2001:db8::/56=9"))
        for wrong in ("", "192.0.2.0/24", "192.0.2.0/24=", "192.0.2.0/24=0", "192.0.2.0/24=-1", "10.0.0.1/8=3",
                      "office=3", "192.0.2.0/24=1000001", "2001:db8::/65=3", "10.0.0.0/8=1.5"):  # fmt: skip
            with self.assertRaises(ValueError, msg=wrong):
                read_network(wrong)

    def test_bots(self) -> None:
        """A name and a rate, 0 for none."""
        self.assertEqual(("backup", 500.0), read_bot("backup=500"))
        self.assertEqual(("b.2", 0.0), read_bot("b.2=0"))
        for wrong in ("", "backup", "backup=", "backup=-1", "backup=nan", "backup=inf", "Backup=5", "=5", "a b=5"):
            with self.assertRaises(ValueError, msg=wrong):
                read_bot(wrong)


class LimitTests(SynchronousTestCase):
    """What follows from it."""

    def test_smallest_network(self) -> None:
        """The smallest network that an address is in says so; of other kinds and elsewhere there is no word."""
        networks = tuple(map(read_network, ("10.0.0.0/8=32", "10.1.0.0/16=160", "2001:db8::/32=64")))
        limits = RelayLimits(per_address=16, networks=networks)
        for counted, times in [
            ("10.2.0.1", 2.0),
            ("10.1.0.1", 10.0),
            ("192.0.2.1", 1.0),
            ("2001:db8:1:2::/64", 4.0),
            ("2001:db9:1:2::/64", 1.0),
        ]:
            self.assertEqual(times, times_more(limits, counted), counted)

    def test_everybody_else(self) -> None:
        """Without a word there is one rule for all."""
        limits = RelayLimits()
        self.assertEqual(1.0, times_more(limits, "192.0.2.1"))
        self.assertIs(limits, limits_of(limits, "alice"))

    def test_bot(self) -> None:
        """All that bounds posts grows as much as their rate, and nothing else does."""
        limits = RelayLimits(posts_per_s=50.0, bots={"bot": 100.0, "mouse": 0.001, "free": 0.0})
        bot = limits_of(limits, "bot")
        self.assertEqual((100.0, 1_000), (bot.posts_per_s, bot.posts_burst))
        self.assertEqual((2 * limits.bytes_per_s, 2 * limits.bytes_burst), (bot.bytes_per_s, bot.bytes_burst))
        self.assertEqual((limits.window, limits.requests_per_s), (bot.window, bot.requests_per_s))
        self.assertGreaterEqual(limits_of(limits, "mouse").posts_burst, 1)
        free = limits_of(limits, "free")
        self.assertEqual((0.0, 0.0), (free.posts_per_s, free.bytes_per_s))


class OfficeTests(RelayCase):
    """A relay with an office behind one address."""

    def come(self, relay: Relay, host: str, count: int) -> int:
        """So many connect from one address; how many may."""
        return sum(relay.try_connect(host) is not None for _ in range(count))

    def test_office(self) -> None:
        """An office has as many connections as was said, at once and anew; others as many as before."""
        networks = (read_network("192.0.2.0/24=40"),)
        relay = self.relay(RelayLimits(per_address=4, new_per_address=4, new_every_s=10.0, networks=networks))
        self.assertEqual(40, self.come(relay, "192.0.2.9", 50))
        self.assertEqual(40, self.come(relay, "192.0.2.10", 50))
        self.assertEqual(4, self.come(relay, "198.51.100.1", 50))
        for client in relay.connections:
            client.transport.lose()
        relay.clock.advance(2)
        self.assertEqual(2, self.come(relay, "192.0.2.9", 50))
        self.assertEqual(0, self.come(relay, "198.51.100.1", 50))

    def test_budget(self) -> None:
        """What the clients of one address may send together grows with it."""
        limits = RelayLimits(address_posts_burst=100, networks=(read_network("192.0.2.0/24=32"),))
        for host, more in (("192.0.2.9", 200), ("198.51.100.1", 100)):
            relay = self.relay(limits)
            client = relay.connect(host)
            allowances = relay.factory._allowances
            allowance = allowances.of(b"", "", client.protocol.network)
            self.assertEqual(0.0, allowance.wait_for_posts(more, 1), host)
            self.assertGreater(allowance.wait_for_posts(1, 1), 0.0)
