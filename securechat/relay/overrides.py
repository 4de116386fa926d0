"""Who may do more than everybody else: offices behind one address, and programs that say a lot.

Both are the operator's word on the command line: `--allow-network 192.0.2.0/24=200`, `--bot backup=500`.
"""

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from securechat.relay.limits import Network, RelayLimits
from securechat.wire.names import name_refusal

MOST_CONNECTIONS: Final = 10**6
MOST_POSTS_PER_S: Final = 10**9
IPV6_PREFIX: Final = 64
"""An IPv6 address counts by this much of it, so that a longer prefix would be no other network."""


def read_network(text: str) -> tuple[Network, int]:
    """A network in CIDR notation and the connections that each address of it may have. Raises `ValueError`."""
    cidr, _, most = text.partition("=")
    if not most.isdecimal() or not 1 <= int(most) <= MOST_CONNECTIONS:
        raise ValueError(f"{text} is not NETWORK=CONNECTIONS, as 192.0.2.0/24=200 is")
    network = ip_network(cidr.strip())
    if isinstance(network, IPv6Network) and network.prefixlen > IPV6_PREFIX:
        raise ValueError(f"{cidr} is longer than the /{IPV6_PREFIX} by which IPv6 addresses count")
    return network, int(most)


def read_proxy(text: str) -> Network:
    """The network of a proxy, or its address. Raises `ValueError`."""
    return ip_network(text.strip())


def read_bot(text: str) -> tuple[str, float]:
    """A name and the messages a second that its owner may send for long. Raises `ValueError`."""
    name, _, rate = text.partition("=")
    try:
        posts_per_s = float(rate)
    except ValueError:
        posts_per_s = -1.0
    if name_refusal(name) or not 0 <= posts_per_s <= MOST_POSTS_PER_S:
        raise ValueError(f"{text} is not NAME=MESSAGES_A_SECOND, as backup=500 is")
    return name, posts_per_s


def times_more(limits: RelayLimits, counted: str) -> float:
    """How many times what everybody may an address may that counts as `counted`, an address or an IPv6 /64.

    Of several networks that it is in the smallest says so.
    """
    if not limits.networks:
        return 1.0
    where = ip_network(counted)
    of = [(network.prefixlen, most) for network, most in limits.networks if _holds(network, where)]
    return max(of)[1] / limits.per_address if of else 1.0


def _holds(network: Network, where: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(where, IPv4Network) and where.subnet_of(network)
    return isinstance(where, IPv6Network) and where.subnet_of(network)


def limits_of(limits: RelayLimits, name: str) -> RelayLimits:
    """The limits of a name's owner: all that bounds posts grows with what the operator has said."""
    posts_per_s = limits.bots.get(name)
    if posts_per_s is None:
        return limits
    times = posts_per_s / limits.posts_per_s
    return replace(
        limits,
        posts_per_s=posts_per_s,
        posts_burst=max(1, round(limits.posts_burst * times)),
        bytes_per_s=limits.bytes_per_s * times,
        bytes_burst=max(1, round(limits.bytes_burst * times)),
    )
