"""How much one client may send: what is a flood, and what is read more slowly.

Of what is read more slowly an identity keeps over its links what it has used up, so that nobody sends faster by
coming back; and all that comes from one address shares a budget, so that nobody sends faster by having many names.
What would be a flood counts anew on each link: to come back takes a request for each room.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from securechat.relay.buckets import TokenBucket
from securechat.relay.limits import RelayLimits
from securechat.relay.overrides import limits_of, times_more

REMEMBERED: Final = 100_000
"""Identities, and addresses, whose allowances are remembered, a kilobyte each; the one not seen for longest goes
first."""


class Posts:
    """Messages and their bytes: so many at once, and so many for long. A rate of 0 is no bound."""

    __slots__ = ("_buckets",)

    def __init__(
        self, posts_per_s: float, posts_burst: float, bytes_per_s: float, bytes_burst: float, now: float
    ) -> None:
        self._buckets = (
            TokenBucket(posts_per_s, posts_burst, now) if posts_per_s else None,
            TokenBucket(bytes_per_s, bytes_burst, now) if bytes_per_s else None,
        )

    @property
    def is_bound(self) -> bool:
        """Whether anything is counted."""
        return self._buckets != (None, None)

    def take(self, count: int, size: int, now: float) -> float:
        """Count posts of so many bytes; the seconds until what is too much of them is paid."""
        posts, data = self._buckets
        wait = posts.take(count, now) if posts is not None else 0.0
        return max(wait, data.take(size, now)) if data is not None else wait


class Allowances:
    """The allowances of all clients."""

    def __init__(self, clock: IReactorTime, limits: RelayLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._of_identity: OrderedDict[bytes, Allowance] = OrderedDict()
        self._of_network: OrderedDict[str, Posts] = OrderedDict()

    def new(self) -> "Allowance":
        """That of somebody who has not logged in."""
        return Allowance(self._clock, self._limits)

    def of(self, identity: bytes, name: str, network: str | None) -> "Allowance":
        """That of somebody who has just logged in from an address, None being one that does not count."""
        limits = limits_of(self._limits, name)
        allowance = Allowance(self._clock, limits)
        before = self._of_identity.pop(identity, None)
        if before is not None:
            allowance.go_on(before)
        self._of_identity[identity] = allowance
        if network is not None and limits is self._limits:
            # What the operator has granted to a name counts for nobody else at its address.
            allowance.share(self._shared(network))
        if len(self._of_identity) > REMEMBERED:
            self._of_identity.popitem(last=False)
        return allowance

    def _shared(self, network: str) -> Posts:
        posts = self._of_network.pop(network, None)
        if posts is None:
            limits, times = self._limits, times_more(self._limits, network)
            posts = Posts(
                limits.address_posts_per_s * times,
                limits.address_posts_burst * times,
                limits.address_bytes_per_s * times,
                limits.address_bytes_burst * times,
                self._clock.seconds(),
            )
        self._of_network[network] = posts
        if len(self._of_network) > REMEMBERED:
            self._of_network.popitem(last=False)
        return posts


class Allowance:
    """The token buckets of one client."""

    __slots__ = ("_appends", "_clock", "_hand_bytes", "_hands", "_own", "_requests", "_shared", "bounds_posts")

    def __init__(self, clock: IReactorTime, limits: RelayLimits) -> None:
        self._clock = clock
        now = clock.seconds()
        self._own = Posts(limits.posts_per_s, limits.posts_burst, limits.bytes_per_s, limits.bytes_burst, now)
        self._shared: Posts | None = None
        self._requests = TokenBucket(limits.requests_per_s, limits.requests_burst, now)
        self._appends = TokenBucket(limits.appends_per_s, limits.appends_burst, now)
        self._hands = TokenBucket(limits.hands_per_s, limits.hands_burst, now)
        self._hand_bytes = TokenBucket(limits.hand_bytes_per_s, limits.hand_bytes_burst, now)
        self.bounds_posts = self._own.is_bound
        """Whether posts are counted at all."""

    def go_on(self, before: "Allowance") -> None:
        """Go on where the last link of the same identity has ended."""
        self._own = before._own
        self._hands, self._hand_bytes = before._hands, before._hand_bytes

    def share(self, posts: Posts) -> None:
        """Count against what all that come from one address have together, too."""
        self._shared = posts
        self.bounds_posts = self.bounds_posts or posts.is_bound

    def may_ask(self) -> bool:
        """Count a request; False where it was one too many."""
        return self._requests.take(1, self._clock.seconds()) == 0

    def may_append(self) -> bool:
        """Count an `Append`; False where it was one too many."""
        return self._appends.take(1, self._clock.seconds()) == 0

    def wait_for_posts(self, count: int, size: int) -> float:
        """Count posts of so many bytes; the seconds for which nothing should be read."""
        now = self._clock.seconds()
        wait = self._own.take(count, size, now)
        return wait if self._shared is None else max(wait, self._shared.take(count, size, now))

    def wait_for_keys(self, sizes: Sequence[int]) -> float:
        """Count sealed keys of these bytes; the seconds for which nothing should be read."""
        now = self._clock.seconds()
        return max(self._hands.take(len(sizes), now), self._hand_bytes.take(sum(sizes), now))

    @property
    def debt_s(self) -> float:
        """The seconds for which nothing should be read of somebody who has come back too soon."""
        return max(self.wait_for_posts(0, 0), self.wait_for_keys([]))
