"""Timing several ways of doing the same so that their ratios mean something.

They take turns, round by round, each round beginning with another, so that a machine that slows down slows
all of them. A ratio is the median of the rounds' own ratios; the spread that is shown is that of the
rounds' times. Short work is repeated within a turn until the clock's own cost is nothing beside it.

What to time next is decided here (`turns`), the timing itself is the caller's: `drive` does it with plain
functions, and a caller whose work is asynchronous sends the seconds in by itself.
"""

import math
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from securechat.bench.rows import LOOP, Name, Row

Clock = Callable[[], float]
"""Seconds since any moment; never goes back."""
Timer = Callable[[int], float]
"""Does the work so many times, and gives the seconds of one of them."""
Times = dict[Name, list[float]]
"""The seconds of each round, for each that took turns."""

TURN_S: Final = 0.01
"""The least time of one turn; shorter work is repeated."""
MOST_REPEATS: Final = 100_000
FEWEST_ROUNDS: Final = 3
"""So many whatever they take: with fewer there is no median."""
MOST_ROUNDS: Final = 15
LEAST_S: Final = 1e-9
"""What counts as no time at all: nothing is divided by less."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be timed next."""

    name: Name
    times: int
    """How often in a row."""


Turns = Generator[Turn, float, Times]
"""Gives turns, takes the seconds of one piece of work in each, and returns all times."""


def turns(names: Sequence[Name], budget_s: float) -> Turns:
    """Have these take turns for about `budget_s` seconds, yet at least FEWEST_ROUNDS times each.

    What is found out before the first round warms up and decides on repetitions; it is no result.
    """
    repeats: dict[Name, int] = {}
    round_s = 0.0
    for name in names:
        times, seconds = 1, (yield Turn(name, 1))
        if seconds < TURN_S:  # the first call pays for what later ones find in place: look again
            times = _repeats(seconds)
            seconds = yield Turn(name, times)
        repeats[name] = _repeats(seconds)
        round_s += repeats[name] * seconds
    rounds = min(MOST_ROUNDS, max(FEWEST_ROUNDS, int(budget_s / max(round_s, LEAST_S))))
    found: Times = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            found[name].append(max((yield Turn(name, repeats[name])), LEAST_S))
    return found


def drive(wanted: Turns, timers: Mapping[Name, Timer]) -> Times:
    """Time every turn with its timer."""
    try:
        turn = next(wanted)
        while True:
            turn = wanted.send(timers[turn.name](turn.times))
    except StopIteration as end:
        times: Times = end.value
        return times


def timer(run: Callable[[], object], clock: Clock = time.perf_counter) -> Timer:
    """Give the timer of a function by this clock."""

    def timed(times: int) -> float:
        begun = clock()
        for _ in range(times):
            run()
        return (clock() - begun) / times

    return timed


def rows(times: Times, operation: str, size: int, n: int) -> list[Row]:
    """Make a row of each, compared round by round with the LOOP among them."""
    loop = times[LOOP]
    return [
        Row(
            *name,
            operation,
            size,
            n,
            statistics.median(found),
            min(found),
            max(found),
            statistics.median(a / b for a, b in zip(loop, found, strict=True)),
        )
        for name, found in times.items()
    ]


def _repeats(seconds: float) -> int:
    return min(MOST_REPEATS, max(1, math.ceil(TURN_S / max(seconds, LEAST_S))))
