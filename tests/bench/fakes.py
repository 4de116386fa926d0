"""Rows and clocks for the tests."""

from collections.abc import Callable
from dataclasses import dataclass

from securechat.bench.rows import Row


@dataclass
class HandClock:
    """A clock that goes on when the test, or the work that it times, says so."""

    now: float = 100.0
    step: float = 0.0
    """How far it goes on by itself whenever it is read."""

    def __call__(self) -> float:
        """Give the time."""
        self.now += self.step
        return self.now

    def work(self, seconds: float) -> Callable[[], None]:
        """Give a piece of work that takes so long."""

        def run() -> None:
            self.now += seconds

        return run


def row(
    engine: str, path: str, n: int, each_us: float, ratio: float | None, operation: str = "seal", size: int = 200
) -> Row:
    """Give a row that took so many microseconds for each message, give or take a tenth."""
    seconds = 1e-6 * each_us * n
    return Row(engine, path, operation, size, n, seconds, 0.9 * seconds, 1.1 * seconds, ratio)


def line(engine: str, path: str, each_us: dict[int, float], loop_us: float = 10.0, size: int = 200) -> list[Row]:
    """Give the rows of one way of sealing, by n, beside a loop that takes the same for every message."""
    return [row(engine, path, n, each, loop_us / each, size=size) for n, each in each_us.items()]
