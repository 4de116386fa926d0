"""A logarithmic axis of a picture."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axis:
    """Values above 0 from `least` to `most`, drawn from one place to another."""

    least: float
    most: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Give the place of a value; the middle where there is only one value."""
        if self.least == self.most:
            return (self.start + self.end) / 2
        part = math.log(value / self.least) / math.log(self.most / self.least)
        return self.start + part * (self.end - self.start)

    def rounded(self) -> "Axis":
        """Give the axis between the nearest 1, 2 or 5 times a power of ten below, and above."""
        return Axis(_round(self.least, down=True), _round(self.most, down=False), self.start, self.end)

    def decades(self) -> list[float]:
        """Give the values that carry a name: 1, 2 and 5 times the powers of ten, of which long axes have only 1."""
        steps = (1.0,) if self.most / self.least > 500 else (1.0, 2.0, 5.0)
        first, last = math.floor(math.log10(self.least)), math.ceil(math.log10(self.most))
        values = (step * 10.0**power for power in range(first, last + 1) for step in steps)
        return [value for value in values if self.least * 0.999 <= value <= self.most * 1.001]


def _round(value: float, down: bool) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1.0, 2.0, 5.0, 10.0)
    if down:
        return power * max(step for step in steps if step * power <= value * 1.000001)
    return power * min(step for step in steps if step * power >= value * 0.999999)
