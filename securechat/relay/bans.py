"""Who may not come here: identity keys, and networks.

A banned key is refused when it logs in, once it has proven to be that key. A banned network is cut off before
anything is said. Networks are as the limits count addresses: IPv4 by any prefix, IPv6 by a /64 at the longest.
"""

from collections.abc import Iterator
from enum import StrEnum
from ipaddress import ip_network
from typing import Final

import msgspec
from twisted.internet.interfaces import IAddress

from securechat.relay.buckets import network_of

BANS: Final = 10_000
"""As many there may be: each is kept in memory, and what is banned by the thousand is better kept out elsewhere."""

LONGEST_IPV6: Final = 64
"""Whoever has an IPv6 address has the rest of its /64 as well."""


class Kind(StrEnum):
    """What is banned."""

    KEY = "key"
    NETWORK = "network"


class Ban(msgspec.Struct, frozen=True):
    """One ban."""

    kind: Kind
    value: str
    """An identity key in hexadecimal digits, or a network, `192.0.2.0/24`."""
    since_ms: int
    name: str = ""
    """Whose the key was when it was banned, where that was known."""


class BanError(Exception):
    """What somebody wants to ban is no network that can be banned; in words."""


def network(text: str) -> str | None:
    """A network, or the one that an address counts under, in its one form; None for what is neither.

    Raises `BanError` for all there is.
    """
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        return None
    if found.version == 6:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None and found.prefixlen >= 96:
            found = ip_network((mapped, found.prefixlen - 96), strict=False)
        else:
            found = ip_network((found.network_address, min(found.prefixlen, LONGEST_IPV6)), strict=False)
    if not found.prefixlen:
        raise BanError(f"{text} is everybody")
    return str(found)


class Bans:
    """All bans."""

    def __init__(self) -> None:
        self._bans: dict[tuple[Kind, str], Ban] = {}
        self._networks: dict[tuple[int, int], set[int]] = {}
        """By IP version and length of the prefix, so that looking costs no more for many of them."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._bans)

    def __iter__(self) -> Iterator[Ban]:
        """All, in the order of their coming."""
        return iter(list(self._bans.values()))

    def find(self, kind: Kind, value: str) -> Ban | None:
        """The ban of this, if there is one."""
        return self._bans.get((kind, value))

    def is_banned(self, identity: bytes) -> bool:
        """Whether an identity key is."""
        return (Kind.KEY, identity.hex()) in self._bans

    def bars(self, address: IAddress | None) -> bool:
        """Whether a network is that an address is in; never for who has no address, as on a Unix socket."""
        counted = network_of(address) if self._networks else None
        if counted is None:
            return False
        ip = ip_network(counted)
        number, bits = int(ip.network_address), ip.max_prefixlen
        return any(
            version == ip.version and number >> (bits - length) << (bits - length) in networks
            for (version, length), networks in self._networks.items()
        )

    def add(self, ban: Ban) -> None:
        """Ban something."""
        self._bans[ban.kind, ban.value] = ban
        if ban.kind is Kind.NETWORK:
            of_length, number = self._place(ban)
            self._networks.setdefault(of_length, set()).add(number)

    def remove(self, ban: Ban) -> None:
        """Ban it no more."""
        del self._bans[ban.kind, ban.value]
        if ban.kind is Kind.NETWORK:
            of_length, number = self._place(ban)
            self._networks[of_length].discard(number)
            if not self._networks[of_length]:
                del self._networks[of_length]

    def _place(self, ban: Ban) -> tuple[tuple[int, int], int]:
        found = ip_network(ban.value)
        return (found.version, found.prefixlen), int(found.network_address)
