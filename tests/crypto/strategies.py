"""Hypothesis strategies for costs, in the ranges that engines have."""

from hypothesis import strategies as st

from securechat.crypto.costs import Costs, EngineCosts, Line, Shape

ITEM_BYTES = 65_536


def lines() -> st.SearchStrategy[Line]:
    """Lines between those of C code and of a GPU far away: nothing, or no less than can be measured."""

    def some(least: float, most: float) -> st.SearchStrategy[float]:
        return st.just(0.0) | st.floats(least, most)

    return st.builds(Line, st.floats(1e-7, 1e-3), some(1e-7, 1e-5), some(1e-10, 1e-8), some(1e-9, 1e-7))


def costs() -> st.SearchStrategy[Costs]:
    """Costs of one line or two."""
    return st.builds(Costs, st.lists(lines(), min_size=1, max_size=2).map(tuple))


def engine_costs() -> st.SearchStrategy[EngineCosts]:
    """Costs of both operations."""
    return st.builds(EngineCosts, costs(), costs())


def shapes() -> st.SearchStrategy[Shape]:
    """Even batches of up to 2**17 messages, up to 64 KiB each."""
    return st.builds(Shape.even, st.integers(1, 1 << 17), st.integers(0, ITEM_BYTES))
