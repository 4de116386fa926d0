"""Somebody else's session as we follow it: which key a frame has, and whether it came before (SC1 §7).

`refusal` is asked before the signature is checked and costs nothing; `accept` comes after, and moves the chain. A
jump is at most 2,000 messages; for at most 1,000 that were skipped the keys are kept, each for at most 7 days; what
is 1,024 or more behind the highest index has come or never will. The digests of the frames in that window are kept,
so that a second frame under one index is told from the first one coming again.
"""

from dataclasses import dataclass
from typing import Final

from securechat.e2e.chain import CHAIN_KEY_BYTES, Frame, message_seed, next_chain_key
from securechat.e2e.outcomes import Refusal
from securechat.e2e.sealing import Descriptor, SenderKey, read_descriptor
from securechat.signed.encoding import HASH_BYTES, KEY, U32, Bounds, lp, number, split, split_list, u32, u64

WINDOW: Final = 1_024
"""How far behind the highest index a frame may come."""
MAX_JUMP: Final = 2_000
"""How far ahead of the highest index a frame may come."""
MAX_SKIPPED: Final = 1_000
"""For how many missing messages the keys are kept."""
SKIPPED_MS: Final = 7 * 24 * 3600 * 1000
"""For how long."""

_ANY_PLACE: Final = 2**32 - 1
_DESCRIPTOR: Final[Bounds] = (164, 164)
_SKIPPED_BYTES: Final = 4 + CHAIN_KEY_BYTES + 8
_SEEN_BYTES: Final = 4 + 2 * HASH_BYTES
_SKIPPED: Final[Bounds] = (0, MAX_SKIPPED * (4 + _SKIPPED_BYTES))
_SEEN: Final[Bounds] = (0, WINDOW * (4 + _SEEN_BYTES))
PACKED: Final[Bounds] = (252, 252 + _SKIPPED[1] + _SEEN[1])
"""The bounds of a packed session."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A frame whose signature was good: its key's seed, and what stands between it and the one before."""

    seed: bytes
    """MK, 32 bytes."""
    gap: tuple[int, int] | None
    is_late: bool
    is_forked: bool

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return "Accepted(…)"


class ReceivingSession:
    """A chain of somebody else's device. Never printed."""

    def __init__(self, key: SenderKey) -> None:
        """Begin where the key begins: what came before that index cannot be opened."""
        self.descriptor: Descriptor = key.descriptor
        self._places = 0, _ANY_PLACE
        """Which entry of the log a newer frame's epoch begins with at the least, and an older one's at the most."""
        self._next = key.index
        self._chain_key = key.chain_key
        self._expected = key.index
        """One more than the highest index that was accepted, or to which a later key took us."""
        self._counted = key.index
        """From where on messages that do not come are missing."""
        self._skipped: dict[int, tuple[bytes, int]] = {}
        self._seen: dict[int, tuple[bytes, bytes]] = {}

    def __repr__(self) -> str:
        """Say nothing of the keys."""
        return f"ReceivingSession({self._expected})"

    @property
    def skipped(self) -> int:
        """For how many missing messages a key is kept."""
        return len(self._skipped)

    def refusal(self, frame: Frame) -> Refusal | None:
        """Why a frame is not worth checking its signature; None where it is (SC1 §7, replay check)."""
        index = frame.header.index
        if is_replay(self._seen, self._expected, frame):
            return Refusal.REPLAYED
        if is_too_far(index, self._expected):
            return Refusal.TOO_FAR
        if index < self._next and index not in self._skipped and index not in self._seen:
            return Refusal.KEY_GONE
        return None

    def is_in_order(self, index: int, place: int) -> bool:
        """Whether an epoch's place fits an index: a session goes from epoch to epoch and never back."""
        least, most = self._places
        return place >= least if index >= self._expected else place <= most

    def accept(self, frame: Frame, place: int, now_ms: int) -> Accepted | Refusal:
        """Take a frame that has passed `refusal` and whose signature was good, or say that it is a double."""
        header = frame.header
        if is_second(self._seen, frame):
            return Refusal.FORKED
        is_late = header.index < self._expected
        forked = not fits_neighbours(self._seen, self.descriptor, frame)
        gap = None
        if not is_late:
            if header.index > self._counted:
                gap = self._counted, header.index - 1
            self._forget_up_to(header.index + 1 - WINDOW)
            self._expected = self._counted = header.index + 1
            self._places = place, place
        self._expire(now_ms)
        seed = self._seed(header.index, now_ms)
        if seed is None:
            return Refusal.KEY_GONE
        self._seen[header.index] = frame.digest, header.prev
        return Accepted(seed, gap, is_late, forked)

    def give_back(self, index: int, seed: bytes, now_ms: int) -> None:
        """The frame did not open, as under a wrong session key: it may come again, and be opened then."""
        self._seen.pop(index, None)
        self._skip(index, seed, now_ms)

    def void(self, index: int, count: int) -> None:
        """Its sender gave up the `count` messages right before an index: they must not be shown any more."""
        for each in range(max(index - count, 0), index):
            self._skipped.pop(each, None)

    def renew(self, key: SenderKey) -> bool:
        """Another key of this session came: whether it fits. One that is far ahead is where we go on from.

        A key at an index that we can reach must be the one that we reach: its sender has one chain.
        """
        if key.descriptor != self.descriptor:
            return False
        if key.index <= self._next + MAX_JUMP:
            chain_key = self._chain_key
            for _ in range(self._next, key.index):
                chain_key = next_chain_key(chain_key)
            return key.index < self._next or chain_key == key.chain_key
        self._next, self._chain_key = key.index, key.chain_key
        self._forget_up_to(key.index - WINDOW)
        self._expected = key.index
        self._places = self._places[0], _ANY_PLACE
        return True

    @property
    def packed(self) -> bytes:
        """What a client may keep over a restart, under its own lock."""
        skipped = (u32(index) + seed + u64(at) for index, (seed, at) in self._skipped.items())
        seen = (u32(index) + digest + prev for index, (digest, prev) in self._seen.items())
        numbers = (u32(each) for each in (*self._places, self._next, self._expected, self._counted))
        return lp(self.descriptor.packed, *numbers, self._chain_key, lp(*skipped), lp(*seen))

    def _seed(self, index: int, now_ms: int) -> bytes | None:
        """MK of an index, once; those between it and the last one are kept for later."""
        if index < self._next:
            kept = self._skipped.pop(index, None)
            return None if kept is None else kept[0]
        while self._next < index:
            self._skip(self._next, message_seed(self._chain_key), now_ms)
            self._step()
        seed = message_seed(self._chain_key)
        self._step()
        return seed

    def _step(self) -> None:
        self._chain_key = next_chain_key(self._chain_key)
        self._next += 1

    def _skip(self, index: int, seed: bytes, now_ms: int) -> None:
        """Keep a key; over the bound the one goes that was kept for the longest."""
        self._skipped[index] = seed, now_ms
        if len(self._skipped) > MAX_SKIPPED:
            del self._skipped[next(iter(self._skipped))]

    def _forget_up_to(self, low: int) -> None:
        """The window moves up to an index: what it leaves behind is not remembered.

        By index where it moves a little, as it does with every message: to look at all of it would cost more than
        opening the message.
        """
        passed = range(max(self._expected - WINDOW, 0), low)
        for index in passed if len(passed) < WINDOW else [each for each in self._seen if each < low]:
            self._seen.pop(index, None)

    def _expire(self, now_ms: int) -> None:
        while self._skipped:
            index, (_, at_ms) = next(iter(self._skipped.items()))
            if now_ms - at_ms < SKIPPED_MS:
                return
            del self._skipped[index]


def read_session(data: bytes) -> ReceivingSession:
    """Undo `ReceivingSession.packed`. Raises `NotAuthentic`."""
    packed, least, most, following, expected, counted, chain_key, skipped, seen = split(
        data, _DESCRIPTOR, U32, U32, U32, U32, U32, KEY, _SKIPPED, _SEEN
    )
    session = ReceivingSession(SenderKey(read_descriptor(packed), number(following), chain_key))
    session._places = number(least), number(most)
    session._expected, session._counted = number(expected), number(counted)
    for item in split_list(skipped, (_SKIPPED_BYTES, _SKIPPED_BYTES), MAX_SKIPPED):
        session._skipped[number(item[:4])] = item[4:-8], number(item[-8:])
    for item in split_list(seen, (_SEEN_BYTES, _SEEN_BYTES), WINDOW):
        session._seen[number(item[:4])] = item[4 : 4 + HASH_BYTES], item[4 + HASH_BYTES :]
    return session


def is_replay(seen: dict[int, tuple[bytes, bytes]], expected: int, frame: Frame) -> bool:
    """Whether this very frame has come, or its index is behind the window, where nothing is remembered."""
    index = frame.header.index
    if index < expected - WINDOW:
        return True
    return index in seen and seen[index][0] == frame.digest


def is_too_far(index: int, expected: int) -> bool:
    """Whether more messages would have to be skipped than anybody loses: each costs two HMACs and a kept key."""
    return index - expected >= MAX_JUMP


def is_second(seen: dict[int, tuple[bytes, bytes]], frame: Frame) -> bool:
    """Whether another frame has come under this index: its sender signed two."""
    return frame.header.index in seen


def fits_neighbours(seen: dict[int, tuple[bytes, bytes]], descriptor: Descriptor, frame: Frame) -> bool:
    """Whether a frame points to the one before it, and the one behind it to this, as far as they have come."""
    index, prev = frame.header.index, frame.header.prev
    before = (descriptor.digest,) if index == 0 else seen.get(index - 1)
    behind = seen.get(index + 1)
    return (before is None or before[0] == prev) and (behind is None or behind[1] == frame.digest)
