"""Connections by address: how many at once, how many anew, and what counts as one address."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from securechat.relay import buckets
from securechat.relay.buckets import AddressLimits, TokenBucket, network_of
from securechat.relay.limits import RelayLimits
from tests.relay.harness import RelayCase


def v4(host: str) -> IAddress:
    """An IPv4 peer."""
    return IPv4Address("TCP", host, 1)


def v6(host: str) -> IAddress:
    """An IPv6 peer."""
    return IPv6Address("TCP", host, 1)


class NetworkTests(SynchronousTestCase):
    """What an address counts under."""

    def setUp(self) -> None:
        """One set of limits which spares loopback and one which does not."""
        self.sparing = AddressLimits(Clock(), 1, 1, 1.0)
        self.strict = AddressLimits(Clock(), 1, 1, 1.0, exempt_loopback=False)

    def test_ipv4(self) -> None:
        """An IPv4 address counts alone, also where it is written as an IPv6 one."""
        self.assertEqual("192.0.2.1", network_of(v4("192.0.2.1")))
        self.assertEqual("192.0.2.1", network_of(v6("::ffff:192.0.2.1")))
        self.assertNotEqual(network_of(v4("192.0.2.1")), network_of(v4("192.0.2.2")))

    def test_ipv6(self) -> None:
        """IPv6 addresses count by their /64, whatever their zone."""
        self.assertEqual(network_of(v6("2001:db8:0:1::1")), network_of(v6("2001:db8:0:1:ffff::2")))
        self.assertNotEqual(network_of(v6("2001:db8:0:1::1")), network_of(v6("2001:db8:0:2::1")))
        self.assertEqual(network_of(v6("fe80::1%eth0")), network_of(v6("fe80::2%eth1")))

    def test_loopback(self) -> None:
        """Loopback in all its spellings is exempt, or each of its addresses counts by itself."""
        spellings = [v4("127.0.0.1"), v4("127.1.2.3"), v6("::1"), v6("::ffff:127.0.0.1")]
        self.assertEqual({None}, {self.sparing.network(each) for each in spellings})
        counted = [self.strict.network(each) for each in spellings]
        self.assertEqual(counted[0], counted[3])
        self.assertEqual(3, len({*counted} - {None}))

    def test_nothing_to_count_by(self) -> None:
        """Unix sockets, names and peers without an address are never counted."""
        for peer in (UNIXAddress("/run/x"), HostnameAddress(b"example.org", 1), None):
            self.assertIsNone(self.strict.network(peer))
            self.assertTrue(all(self.strict.admit(None) for _ in range(5)))


class AdmissionTests(RelayCase):
    """Connections that a relay takes."""

    def test_at_once(self) -> None:
        """An address has so many connections at once; others are not affected, and one that ends makes room."""
        relay = self.relay(RelayLimits(per_address=3, new_per_address=100))
        first = [relay.try_connect("192.0.2.1") for _ in range(4)]
        self.assertEqual([True] * 3 + [False], [bool(each) for each in first])
        self.assertTrue(relay.try_connect("192.0.2.2"))
        self.assertEqual(1, relay.factory.refused_addresses)
        assert first[0] is not None
        first[0].transport.lose()
        self.assertTrue(relay.try_connect("192.0.2.1"))
        self.assertFalse(relay.try_connect("192.0.2.1"))

    def test_burst_and_refill(self) -> None:
        """An address makes so many new ones at once, then one every so many seconds; refused ones cost nothing."""
        relay = self.relay(RelayLimits(per_address=100, new_per_address=3, new_every_s=10.0))
        self.assertEqual(3, sum(bool(relay.try_connect("192.0.2.1")) for _ in range(9)))
        for _ in range(3):
            relay.clock.advance(9.5)
            self.assertFalse(relay.try_connect("192.0.2.1"))
            relay.clock.advance(0.6)
            self.assertTrue(relay.try_connect("192.0.2.1"))
            self.assertFalse(relay.try_connect("192.0.2.1"))

    def test_loopback(self) -> None:
        """Loopback is exempt unless the operator wants it counted."""
        limits = RelayLimits(per_address=1)
        self.assertTrue(all(self.relay(limits).try_connect() for _ in range(3)))
        relay = self.relay(limits, exempt_loopback=False)
        self.assertEqual([True, False], [bool(relay.try_connect()) for _ in range(2)])

    def test_unwelcome(self) -> None:
        """A connection too many is cut off before anything is said."""
        relay = self.relay(RelayLimits(per_address=1), exempt_loopback=False)
        relay.connect()
        unwelcome = relay.factory.buildProtocol(v4("127.0.0.1"))
        transport = relay.connections[0].transport.__class__(relay.clock, relay.connections[0].protocol)
        unwelcome.makeConnection(transport)
        self.assertEqual((True, b""), (transport.aborted, transport.value()))
        transport.lost = True
        relay.turn()

    def test_addresses_remembered(self) -> None:
        """The address that was not seen for longest is forgotten when there are too many."""
        self.patch(buckets, "ADDRESSES", 3)
        limits = AddressLimits(Clock(), 100, 1, 10.0)
        for network in "abca":
            limits.admit(network)
        limits.admit("d")
        # "b" is forgotten and may come anew; "a", refused just now, is not.
        self.assertFalse(limits.admit("a"))
        self.assertTrue(limits.admit("b"))


class TokenBucketTests(SynchronousTestCase):
    """The bucket itself."""

    def test_debt(self) -> None:
        """What is over the burst is waited off at the rate."""
        bucket = TokenBucket(per_s=2.0, burst=10, now=100.0)
        self.assertEqual(0.0, bucket.take(10, 100.0))
        self.assertEqual(2.5, bucket.take(5, 100.0))
        self.assertEqual(1.5, bucket.take(0, 101.0))
        self.assertEqual(0.0, bucket.take(1, 103.0))

    def test_never_over_the_burst(self) -> None:
        """However long nothing is taken, only the burst is there."""
        bucket = TokenBucket(per_s=1.0, burst=3, now=0.0)
        self.assertEqual(1.0, bucket.take(4, 1e9))

    @given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 5)), max_size=50))
    def test_long_run(self, takes: list[tuple[float, int]]) -> None:
        """Whoever waits as told takes no more than the burst, the rate's share of the time, and one last take."""
        bucket = TokenBucket(per_s=2.0, burst=5, now=0.0)
        now, taken = 0.0, 0
        for pause, amount in takes:
            now += pause
            wait = bucket.take(amount, now)
            taken += amount
            now += wait
            self.assertLessEqual(taken, 5 + 2.0 * now + 1e-6)
