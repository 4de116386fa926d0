"""Taking turns, by a clock that is moved by hand."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.measure import (
    FEWEST_ROUNDS,
    LEAST_S,
    MOST_REPEATS,
    MOST_ROUNDS,
    TURN_S,
    Times,
    Turn,
    drive,
    rows,
    timer,
    turns,
)
from securechat.bench.rows import LOOP, Name
from tests.bench.harness import HandClock

OTHER: Name = ("cpu", "list")
THIRD: Name = ("native", "list")


class TurnTests(SynchronousTestCase):
    """Who is timed when, and how often."""

    def taken(self, seconds: dict[Name, float], budget_s: float) -> tuple[list[Turn], Times]:
        """Let these take turns; each takes always as long."""
        order: list[Turn] = []
        wanted = turns(list(seconds), budget_s)
        try:
            turn = next(wanted)
            while True:
                order.append(turn)
                turn = wanted.send(seconds[turn.name])
        except StopIteration as end:
            times: Times = end.value
            return order, times

    def test_interleaved(self) -> None:
        """Each round times all of them, and begins with another."""
        names = [LOOP, OTHER, THIRD]
        order, times = self.taken(dict.fromkeys(names, 1.0), 9.0)
        measured = [turn.name for turn in order[3:]]
        self.assertEqual(measured, [LOOP, OTHER, THIRD, OTHER, THIRD, LOOP, THIRD, LOOP, OTHER])
        self.assertEqual(times, dict.fromkeys(names, [1.0] * 3))

    def test_warming_up_is_no_result(self) -> None:
        """The first call of each is not among its times."""
        clock = HandClock()
        first = [5.0]
        slow_once = {LOOP: timer(lambda: clock.work(first.pop() if first else 1.0)(), clock)}
        self.assertEqual(drive(turns([LOOP], 0.0), slow_once), {LOOP: [1.0] * FEWEST_ROUNDS})

    def test_rounds(self) -> None:
        """The time allowed decides on the rounds: never too few for a median, never more than helps."""
        for budget_s, rounds in ((0.0, FEWEST_ROUNDS), (10.0, 5), (1e6, MOST_ROUNDS)):
            _, times = self.taken({LOOP: 1.0, OTHER: 1.0}, budget_s)
            self.assertEqual(len(times[LOOP]), rounds)
            self.assertEqual(len(times[OTHER]), rounds)

    def test_short_work_is_repeated(self) -> None:
        """Work that is short beside the clock is done several times in a row, until a turn is long enough."""
        order, _ = self.taken({LOOP: TURN_S / 8, OTHER: TURN_S}, 0.0)
        measured = order[3:]
        self.assertEqual({turn.times for turn in measured if turn.name == LOOP}, {8})
        self.assertEqual({turn.times for turn in measured if turn.name == OTHER}, {1})

    def test_a_second_look(self) -> None:
        """How often short work is repeated is decided by what it takes once it is warm."""
        wanted = turns([LOOP], 0.0)
        self.assertEqual(next(wanted), Turn(LOOP, 1))
        self.assertEqual(wanted.send(TURN_S / 2), Turn(LOOP, 2))
        self.assertEqual(wanted.send(TURN_S / 10), Turn(LOOP, 10))

    def test_repeats_are_bounded(self) -> None:
        """A clock that hardly moves does not keep anybody waiting for ever."""
        order, _ = self.taken({LOOP: LEAST_S}, 0.0)
        self.assertEqual(order[-1].times, MOST_REPEATS)

    def test_no_time_at_all(self) -> None:
        """A clock that does not move divides nothing by 0."""
        found = rows(self.taken({LOOP: 0.0, OTHER: 0.0}, 1.0)[1], "seal", 64, 1)
        self.assertEqual([(row.seconds, row.ratio) for row in found], [(LEAST_S, 1.0)] * 2)


class TimerTests(SynchronousTestCase):
    """Timing a function."""

    def test_seconds_of_one(self) -> None:
        """The time of several in a row is divided by their number."""
        clock = HandClock(100.0)
        self.assertEqual(timer(clock.work(2.0), clock)(3), 2.0)
        self.assertEqual(clock.now, 106.0)


class RowsTests(SynchronousTestCase):
    """What is made of times."""

    def test_median_and_spread(self) -> None:
        """A row has the median of the rounds, and the fastest and the slowest."""
        (found,) = rows({LOOP: [5.0, 1.0, 2.0]}, "open", 200, 16)
        self.assertEqual((found.seconds, found.fastest, found.slowest), (2.0, 1.0, 5.0))
        self.assertEqual((*found.name, found.operation, found.size, found.n), (*LOOP, "open", 200, 16))

    def test_ratio_is_round_by_round(self) -> None:
        """A ratio is the median of those within each round, so that a slow spell of the machine cancels out."""
        found = rows({LOOP: [4.0, 40.0, 4.0], OTHER: [2.0, 20.0, 1.0]}, "seal", 64, 1)
        self.assertEqual([row.ratio for row in found], [1.0, 2.0])
