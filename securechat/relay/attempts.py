"""Logins that have failed: who fails again and again is made to wait, and whose name it is never is.

A login is a signature, so there is nothing to guess; but each that fails has cost three of them to check. It counts
for the name that was claimed together with the address that it came from, and for that address alone: nobody can
keep the owner of a name out from elsewhere. Connections of one address are bounded before (see `buckets`).
"""

from collections import OrderedDict
from typing import Final

from twisted.internet.interfaces import IReactorTime

from securechat.relay.buckets import TokenBucket

FREE: Final = 5
"""So many logins under one name from one address may fail before the next one has to wait."""
LEAST_S: Final = 12.0
MOST_S: Final = 900.0
"""For how long: twice as long each time, up to a quarter of an hour."""
ADDRESS_BURST: Final = 10
ADDRESS_EVERY_S: Final = 6.0
"""Logins of one address that may fail at once, and how long each further one takes: ten a minute."""
REMEMBERED: Final = 100_000
"""Names and addresses that are remembered; the one not seen for longest is forgotten first."""


class Attempts:
    """Logins that have failed, by name and address."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._pairs: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        """How often one name has failed from one address, and until when it waits there."""
        self._networks: OrderedDict[str, TokenBucket] = OrderedDict()

    def must_wait(self, name: str, network: str | None) -> bool:
        """Whether a login under a name from an address comes too soon; None is an address that does not count."""
        if network is None:
            return False
        now = self._clock.seconds()
        bucket = self._networks.get(network)
        if bucket is not None and bucket.take(0, now) > 0:
            return True
        return self._pairs.get((name, network), (0, 0.0))[1] > now

    def failed(self, name: str, network: str | None) -> None:
        """A login has failed."""
        if network is None:
            return
        now = self._clock.seconds()
        bucket = self._networks.pop(network, None) or TokenBucket(1 / ADDRESS_EVERY_S, ADDRESS_BURST - 1, now)
        bucket.take(1, now)
        self._networks[network] = bucket
        count = self._pairs.pop((name, network), (0, 0.0))[0] + 1
        wait = min(MOST_S, LEAST_S * 2.0 ** min(count - FREE, 16)) if count >= FREE else 0.0
        self._pairs[name, network] = count, now + wait
        for kept in (self._networks, self._pairs):
            if len(kept) > REMEMBERED:
                kept.popitem(last=False)

    def held(self, name: str, network: str | None) -> None:
        """A login was good: the name begins anew at this address."""
        if network is not None:
            self._pairs.pop((name, network), None)
