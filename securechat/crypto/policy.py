"""Which of two engines a batch goes to: the host's or the accelerator's. Decides by numbers; runs nothing.

A batch goes to the other engine than the one before it only where that is predicted to be 1.3 times as fast.
Near the crossover, where it hardly matters, batches so stay with one engine, whose memory is warm.

Predictions are corrected slowly by what batches really take: each engine and operation has a factor, which
moves by a sixteenth of the way to each measurement. Three things keep it from harm:

* a measurement counts as at most twice or half of what was expected, and a factor stays between 1/16 and 16;
* batches of less than 100 us are not measured by: what they take is mostly waiting for Python's global lock,
  which tells of the rest of the process and nothing of the engine;
* the factor of the engine that is passed over goes back towards 1, half of the way in 180 batches.
  An engine that was slow for a while, and so is not asked any more, would otherwise never be seen to
  have recovered.
"""

from math import exp, log
from typing import Final

from securechat.crypto.costs import OPERATIONS, Costs, EngineCosts, Operation, Shape, crossover

HYSTERESIS: Final = 1.3
"""How many times as fast the other engine must be."""
WEIGHT: Final = 1 / 16
"""Of one measurement in the factor."""
STEP_LIMIT: Final = log(2)
"""The most, as a logarithm, that one measurement is taken to be off."""
LIMIT: Final = log(16)
"""The most, as a logarithm, that a factor is off 1."""
LEAST_S: Final = 100e-6
"""What a batch must take to be measured by."""
FORGETTING: Final = 1 - 1 / 256
"""What is left of a factor's logarithm when the engine was passed over."""


class Correction:
    """What predictions of one operation on one engine are multiplied by."""

    def __init__(self) -> None:
        """Begin with 1."""
        self._log = 0.0

    @property
    def factor(self) -> float:
        """Measured over predicted, of late."""
        return exp(self._log)

    def measured(self, predicted_s: float, seconds: float) -> None:
        """Take a batch into account: what the model said without correction, and what it took."""
        if seconds >= LEAST_S and predicted_s > 0:
            off = log(seconds / predicted_s) - self._log
            moved = self._log + WEIGHT * max(-STEP_LIMIT, min(STEP_LIMIT, off))
            self._log = max(-LIMIT, min(LIMIT, moved))

    def passed_over(self) -> None:
        """Forget a little."""
        self._log *= FORGETTING


class Policy:
    """Two engines' costs, what became of the predictions, and which engine is at work for each operation."""

    def __init__(self, host: EngineCosts, accelerator: EngineCosts) -> None:
        """Begin with the host's engine at work."""
        self._costs = (host, accelerator)
        self._corrections: dict[Operation, tuple[Correction, Correction]] = {
            operation: (Correction(), Correction()) for operation in OPERATIONS
        }
        self._accelerating: dict[Operation, bool] = dict.fromkeys(OPERATIONS, False)
        self.switches = 0
        """How often a batch went to the other engine than the one before it of the same operation."""

    def costs(self, operation: Operation, accelerated: bool) -> Costs:
        """Give the costs as they were fitted."""
        return self._costs[accelerated].of(operation)

    def factor(self, operation: Operation, accelerated: bool) -> float:
        """Give what predictions are multiplied by at present."""
        return self._corrections[operation][accelerated].factor

    def seconds(self, operation: Operation, accelerated: bool, shape: Shape) -> float:
        """Predict what a batch takes, corrected."""
        return self.costs(operation, accelerated).seconds(shape) * self.factor(operation, accelerated)

    def accelerates(self, operation: Operation, shape: Shape) -> bool:
        """Decide for the accelerator or against it."""
        now = self._accelerating[operation]
        other = not now
        if self.seconds(operation, other, shape) * HYSTERESIS < self.seconds(operation, now, shape):
            self._accelerating[operation] = other
            self.switches += 1
        return self._accelerating[operation]

    def learn(self, operation: Operation, accelerated: bool, shape: Shape, seconds: float) -> None:
        """Take into account what a batch took."""
        used, passed_over = accelerated, not accelerated
        corrections = self._corrections[operation]
        corrections[used].measured(self.costs(operation, used).seconds(shape), seconds)
        corrections[passed_over].passed_over()

    def crossover(self, operation: Operation, each: int) -> int | None:
        """Give the least number of messages of so many bytes that pay on the accelerator, uncorrected."""
        return crossover(self.costs(operation, False), self.costs(operation, True), each)
