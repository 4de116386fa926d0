"""Turns, rounds and ratios."""

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from securechat.bench.measure import FEWEST_ROUNDS, MOST_ROUNDS, TURN_S, Times, Turn, drive, rows, timer, turns
from securechat.bench.rows import LOOP, Name
from tests.bench.fakes import HandClock

OTHER: Name = ("cpu", "list")


class TurnsTests(SynchronousTestCase):
    """Who is timed when, and how often."""

    def asked(self, seconds: Mapping[Name, float], budget_s: float) -> tuple[list[Turn], Times]:
        """Answer every turn with its name's seconds; give all turns, and the result."""
        given: list[Turn] = []
        wanted = turns(list(seconds), budget_s)
        try:
            given.append(next(wanted))
            while True:
                given.append(wanted.send(seconds[given[-1].name]))
        except StopIteration as end:
            return given, end.value

    def test_everyone_once_a_round(self) -> None:
        """After the warming up each round has every name once, so a slow moment hits all of them."""
        names: list[Name] = [LOOP, OTHER, ("native", "list")]
        given, _ = self.asked(dict.fromkeys(names, 1.0), 5 * 3.0)
        rounds = [given[at : at + 3] for at in range(3, len(given), 3)]
        self.assertEqual(len(rounds), 5)
        for one in rounds:
            self.assertEqual({turn.name for turn in one}, set(names))

    def test_everyone_begins_in_turn(self) -> None:
        """Rounds begin with one name after the other, so nobody always comes behind the same one."""
        names: list[Name] = [LOOP, OTHER, ("native", "list")]
        given, _ = self.asked(dict.fromkeys(names, 1.0), 1.0)
        self.assertEqual([given[at].name for at in range(3, len(given), 3)], names)

    def test_warming_up_is_no_result(self) -> None:
        """What is timed before the first round does not count."""
        given, times = self.asked({LOOP: 1.0, OTHER: 1.0}, 4 * 2.0)
        self.assertEqual(len(given), 2 + 4 * 2)
        self.assertEqual({name: len(found) for name, found in times.items()}, {LOOP: 4, OTHER: 4})

    def test_short_work_is_repeated(self) -> None:
        """Work that is shorter than a turn is repeated until it fills one; longer work is done once."""
        given, _ = self.asked({LOOP: TURN_S / 8, OTHER: 2 * TURN_S}, 1.0)
        self.assertEqual({turn.name: turn.times for turn in given[-2:]}, {LOOP: 8, OTHER: 1})

    def test_first_call_does_not_decide(self) -> None:
        """A slow first call, which finds nothing in place, does not make the turns short."""
        wanted = turns([LOOP], 0.0)
        next(wanted)
        again = wanted.send(TURN_S / 2)
        self.assertEqual(again, Turn(LOOP, 2))
        self.assertEqual(wanted.send(TURN_S / 64), Turn(LOOP, 64))

    def test_clock_that_stands_still(self) -> None:
        """Work that seems to take no time is not repeated for ever."""
        given, _ = self.asked({LOOP: 0.0}, 1.0)
        self.assertEqual(max(turn.times for turn in given), 10_000)

    def test_fewest_rounds(self) -> None:
        """Whatever it takes, there are enough rounds for a median."""
        _, times = self.asked({LOOP: 60.0}, 1.0)
        self.assertEqual(len(times[LOOP]), FEWEST_ROUNDS)

    def test_most_rounds(self) -> None:
        """A large budget is not used up: more rounds tell nothing more."""
        _, times = self.asked({LOOP: 0.0}, 1e6)
        self.assertEqual(len(times[LOOP]), MOST_ROUNDS)


class TimingTests(SynchronousTestCase):
    """The clock, and what is made of its times."""

    def test_timer(self) -> None:
        """A timer gives the seconds of one piece of work, from all repetitions."""
        clock = HandClock()
        self.assertEqual(timer(clock.work(0.5), clock)(4), 0.5)
        self.assertEqual(clock.now, 102.0)

    def test_drive(self) -> None:
        """Every turn is timed with its own timer, and the times come back by name."""
        clock = HandClock()
        timers = {LOOP: timer(clock.work(4.0), clock), OTHER: timer(clock.work(1.0), clock)}
        times = drive(turns([LOOP, OTHER], 1.0), timers)
        self.assertEqual(times, {LOOP: [4.0] * FEWEST_ROUNDS, OTHER: [1.0] * FEWEST_ROUNDS})

    def test_ratio_within_rounds(self) -> None:
        """The ratio is the median of the rounds' ratios, not the ratio of the medians."""
        found = rows({LOOP: [1.0, 2.0, 9.0], OTHER: [1.0, 4.0, 3.0]}, "seal", 200, 16)[1]
        self.assertEqual(found.ratio, 1.0)

    def test_spread(self) -> None:
        """Seconds are the median of the rounds, with the fastest and the slowest beside them."""
        found = rows({LOOP: [2.0, 8.0, 6.0]}, "open", 64, 1)[0]
        self.assertEqual((found.seconds, found.fastest, found.slowest), (6.0, 2.0, 8.0))
        self.assertEqual((found.name, found.operation, found.size, found.n), (LOOP, "open", 64, 1))

    def test_loop_is_the_measure(self) -> None:
        """The loop's own ratio is 1."""
        self.assertEqual(rows({LOOP: [2.0, 8.0, 6.0]}, "open", 64, 1)[0].ratio, 1.0)
