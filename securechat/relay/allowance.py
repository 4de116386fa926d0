"""How much one client may send: what is a flood, and what is read more slowly.

Of what is read more slowly an identity keeps over its links what it has used up, so that nobody sends faster by
coming back. What would be a flood counts anew on each link: to come back takes a request for each room.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from securechat.relay.buckets import TokenBucket
from securechat.relay.limits import RelayLimits

REMEMBERED: Final = 10_000
"""Identities whose allowances are remembered; the one not seen for longest goes first, when it is full again."""


class Allowances:
    """The allowances of all clients."""

    def __init__(self, clock: IReactorTime, limits: RelayLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._of_identity: OrderedDict[bytes, Allowance] = OrderedDict()

    def new(self) -> "Allowance":
        """That of somebody who has not logged in."""
        return Allowance(self._clock, self._limits)

    def of(self, identity: bytes) -> "Allowance":
        """That of somebody who has just logged in."""
        allowance = self.new()
        before = self._of_identity.pop(identity, None)
        if before is not None:
            allowance.go_on(before)
        self._of_identity[identity] = allowance
        if len(self._of_identity) > REMEMBERED:
            self._of_identity.popitem(last=False)
        return allowance


class Allowance:
    """The token buckets of one client."""

    __slots__ = ("_appends", "_bytes", "_clock", "_hand_bytes", "_hands", "_posts", "_requests", "bounds_posts")

    def __init__(self, clock: IReactorTime, limits: RelayLimits) -> None:
        self._clock = clock
        now = clock.seconds()
        self._posts = TokenBucket(limits.posts_per_s, limits.posts_burst, now) if limits.posts_per_s else None
        self._bytes = TokenBucket(limits.bytes_per_s, limits.bytes_burst, now) if limits.bytes_per_s else None
        self._requests = TokenBucket(limits.requests_per_s, limits.requests_burst, now)
        self._appends = TokenBucket(limits.appends_per_s, limits.appends_burst, now)
        self._hands = TokenBucket(limits.hands_per_s, limits.hands_burst, now)
        self._hand_bytes = TokenBucket(limits.hand_bytes_per_s, limits.hand_bytes_burst, now)
        self.bounds_posts = self._posts is not None or self._bytes is not None
        """Whether posts are counted at all."""

    def go_on(self, before: "Allowance") -> None:
        """Go on where the last link of the same identity has ended."""
        self._posts, self._bytes = before._posts, before._bytes
        self._hands, self._hand_bytes = before._hands, before._hand_bytes

    def may_ask(self) -> bool:
        """Count a request; False where it was one too many."""
        return self._requests.take(1, self._clock.seconds()) == 0

    def may_append(self) -> bool:
        """Count an `Append`; False where it was one too many."""
        return self._appends.take(1, self._clock.seconds()) == 0

    def wait_for_posts(self, count: int, size: int) -> float:
        """Count posts of so many bytes; the seconds for which nothing should be read."""
        now = self._clock.seconds()
        wait = self._posts.take(count, now) if self._posts is not None else 0.0
        return max(wait, self._bytes.take(size, now)) if self._bytes is not None else wait

    def wait_for_keys(self, sizes: Sequence[int]) -> float:
        """Count sealed keys of these bytes; the seconds for which nothing should be read."""
        now = self._clock.seconds()
        return max(self._hands.take(len(sizes), now), self._hand_bytes.take(sum(sizes), now))
