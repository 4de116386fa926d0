"""Hypothesis strategies for what travels: one per type of field, then one per message."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from securechat.wire.codes import Code
from securechat.wire.messages import (
    Ack,
    Append,
    Ask,
    Asked,
    Declined,
    Delivery,
    Enter,
    Found,
    Gap,
    Goodbye,
    Greeting,
    Hand,
    Hello,
    Limits,
    Lookup,
    Message,
    Ping,
    Pong,
    Post,
    Prekeys,
    Presence,
    Present,
    Refused,
    Renew,
    Repost,
    Roster,
    SealedKey,
    Seen,
    SessionKey,
    Want,
    Welcome,
)

_HANDLE: Final = r"[a-z0-9][a-z0-9._-]{0,31}"


def texts(least: int, most: int) -> SearchStrategy[str]:
    """Any text that UTF-8 can hold, in characters."""
    return st.text(st.characters(codec="utf-8"), min_size=least, max_size=most)


def handles() -> SearchStrategy[str]:
    """Names that the relay takes."""
    return st.from_regex(_HANDLE, fullmatch=True)


def counts() -> SearchStrategy[int]:
    """Numbers of 32 bits."""
    return st.integers(0, 2**32 - 1)


def seqs() -> SearchStrategy[int]:
    """Numbers of messages and milliseconds: 63 bits."""
    return st.integers(0, 2**63 - 1)


def exactly(size: int) -> SearchStrategy[bytes]:
    """So many bytes."""
    return st.binary(min_size=size, max_size=size)


def opaque(least: int = 1) -> SearchStrategy[bytes]:
    """Certificates, prekeys, entries, sealed keys and messages.

    Short ones, as a long one shows nothing that the bounds' own tests do not.
    """
    return st.binary(min_size=least, max_size=100)


def room_names() -> SearchStrategy[str]:
    """Two to 66 characters; which of them name a room is not the wire's business."""
    return texts(2, 66)


def names() -> SearchStrategy[str]:
    """One to 32 characters."""
    return texts(1, 32)


def codes() -> SearchStrategy[Code]:
    """Any code."""
    return st.sampled_from(Code)


def from_clients() -> SearchStrategy[Message]:
    """What a client may send."""
    return st.one_of(
        st.builds(Hello, counts(), opaque(), opaque(), exactly(64)),
        st.builds(Renew, opaque()),
        st.builds(Enter, room_names(), counts(), seqs()),
        st.builds(Append, room_names(), opaque()),
        st.builds(Want, st.lists(exactly(32), min_size=1, max_size=5)),
        st.builds(Lookup, names()),
        st.builds(Hand, room_names(), st.lists(st.tuples(exactly(32), opaque()), min_size=1, max_size=5)),
        st.builds(Ask, room_names(), exactly(32), exactly(16)),
        st.builds(
            Post,
            room_names(),
            exactly(32),
            st.lists(st.tuples(exactly(16), opaque()), min_size=1, max_size=5),
        ),
        st.builds(Repost, room_names(), exactly(32), seqs(), exactly(16), opaque()),
        st.builds(Seen, st.lists(st.tuples(room_names(), seqs(), seqs()), min_size=1, max_size=5)),
        st.builds(Goodbye, codes(), texts(0, 200)),
        st.builds(Ping),
        st.builds(Pong),
    )


def from_relays() -> SearchStrategy[Message]:
    """What the relay may send."""
    return st.one_of(
        st.builds(Greeting, counts(), exactly(32), texts(0, 1_000)),
        st.builds(
            Welcome,
            names(),
            st.lists(room_names(), max_size=5),
            st.builds(Limits, counts(), counts(), counts()),
        ),
        st.builds(Refused, codes(), texts(0, 200)),
        st.builds(Roster, room_names(), counts(), st.lists(opaque(), max_size=5), counts(), seqs()),
        st.builds(Present, room_names(), st.lists(names(), max_size=5)),
        st.builds(Prekeys, st.lists(st.tuples(exactly(32), opaque(0)), min_size=1, max_size=5)),
        st.builds(Found, names(), opaque(0), st.booleans()),
        st.builds(SealedKey, room_names(), seqs(), st.lists(st.tuples(names(), opaque()), min_size=1, max_size=5)),
        st.builds(Asked, room_names(), exactly(32), exactly(16)),
        st.builds(SessionKey, room_names(), exactly(32), exactly(32)),
        st.builds(Presence, room_names(), names(), st.booleans()),
        st.builds(Ack, room_names(), st.lists(st.tuples(exactly(16), seqs()), min_size=1, max_size=5)),
        st.builds(
            Delivery,
            room_names(),
            seqs(),
            st.lists(st.tuples(names(), seqs(), opaque()), min_size=1, max_size=5),
        ),
        st.builds(Gap, room_names(), seqs(), seqs(), codes()),
        st.builds(Declined, room_names(), st.lists(exactly(16), max_size=5), codes()),
        st.builds(Goodbye, codes(), texts(0, 200)),
        st.builds(Ping),
        st.builds(Pong),
    )


def splits(data: bytes) -> SearchStrategy[list[bytes]]:
    """The same bytes in pieces, cut anywhere."""

    def cut(places: Sequence[int]) -> list[bytes]:
        ends = [0, *sorted(places), len(data)]
        return [data[start:end] for start, end in pairwise(ends) if start < end]

    return st.lists(st.integers(0, len(data)), max_size=40).map(cut)
