"""Token buckets, and connections per address.

Twisted's own limiter per peer fails on real addresses (TWISTED.md trap 10), so this is ours.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IAddress, IReactorTime

ADDRESSES: Final = 100_000
"""Addresses remembered; the one not seen for longest is forgotten first."""


class TokenBucket:
    """Lets `burst` through at once and `per_s` for long. It can run into debt, which is then waited off."""

    __slots__ = ("_burst", "_level", "_per_s", "_then")

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._level = burst
        self._then = now

    def take(self, amount: float, now: float) -> float:
        """Take `amount`; the seconds until the debt that this leaves is paid, 0 where there is none."""
        level = self._level + (now - self._then) * self._per_s
        self._level = level = min(level, self._burst) - amount
        self._then = now
        return -level / self._per_s if level < 0 else 0.0


def network_of(address: IAddress | None) -> str | None:
    """The address to count by: IPv4 whole, IPv6 by its /64; None where there is nothing to count by.

    Unix sockets count as nobody: they are the operator's own. So does loopback, see `AddressLimits`.
    """
    ip = ip_of(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return None if ip is None else str(ip)


def ip_of(address: IAddress | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address of a peer, an IPv4 one also where it is written as IPv6; None where it has none."""
    host = getattr(address, "host", None)
    if not isinstance(host, str):
        return None
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


class AddressLimits:
    """How many connections each address has and how fast it makes new ones."""

    def __init__(
        self,
        clock: IReactorTime,
        at_once: int,
        burst: int,
        every_s: float,
        exempt_loopback: bool = True,
        times: Callable[[str], float] = lambda network: 1.0,
    ) -> None:
        """Take the bounds, and how many `times` as much an address may have as others."""
        self._clock = clock
        self._times = times
        self._at_once = at_once
        self._burst = burst
        self._every_s = every_s
        self._exempt_loopback = exempt_loopback
        self._open: dict[str, int] = {}
        self._new: OrderedDict[str, TokenBucket] = OrderedDict()

    def network(self, address: IAddress | None) -> str | None:
        """What `address` is counted under, None for an exempt one."""
        ip = ip_of(address)
        return None if ip is not None and ip.is_loopback and self._exempt_loopback else network_of(address)

    def admit(self, network: str | None) -> bool:
        """Count a new connection, or say that it is one too many."""
        if network is None:
            return True
        times = self._times(network)
        if self._open.get(network, 0) >= round(self._at_once * times):
            return False
        now = self._clock.seconds()
        bucket = self._new.pop(network, None) or TokenBucket(
            times / self._every_s, max(1, self._burst * times), now
        )
        self._new[network] = bucket
        if len(self._new) > ADDRESSES:
            self._new.popitem(last=False)
        if bucket.take(1, now) > 0:
            # A refused attempt costs nothing, so whoever waits gets in.
            bucket.take(-1, now)
            return False
        self._open[network] = self._open.get(network, 0) + 1
        return True

    def release(self, network: str | None) -> None:
        """A connection that was admitted is gone."""
        if network is not None:
            left = self._open[network] - 1
            if left:
                self._open[network] = left
            else:
                del self._open[network]
