"""What `auto` has done and why: the figures that it gives for metrics, and their lines for a person."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from securechat.crypto.costs import Costs, Operation

CROSSOVER_BYTES: Final = (200, 1_024)
"""The sizes of messages that crossovers are told for."""


class AcceleratorState(Enum):
    """How it stands with the accelerator."""

    CLOSED = "not open, for no batch was large enough yet"
    OPENING = "opening"
    USABLE = "usable"
    UNUSABLE = "not usable"


@dataclass(slots=True, frozen=True)
class EngineStats:
    """What one engine has done."""

    name: str
    """Its name."""
    batches: int
    """Calls with at least one item that gave results."""
    items: int
    """Items in them."""
    bytes: int
    """Bytes that went in with them, without keys."""
    seconds: float
    """Time that they took."""


@dataclass(slots=True, frozen=True)
class ModelStats:
    """What is known about one operation."""

    operation: Operation
    """Which."""
    host: Costs
    """The host engine's costs as they were measured at first."""
    accelerator: Costs
    """The accelerator's."""
    host_factor: float
    """Measured over predicted time of the host's batches, of late."""
    accelerator_factor: float
    """Of the accelerator's."""
    crossovers: tuple[tuple[int, int | None], ...]
    """For each size of CROSSOVER_BYTES: that, and from how many messages on the accelerator is faster."""


@dataclass(slots=True, frozen=True)
class AutoStats:
    """Everything about `auto`. Taken while a batch is at work, it may lack part of that one."""

    state: AcceleratorState
    """How it stands with the accelerator."""
    reason: str | None
    """Why the accelerator is not usable, in one line for a person."""
    engines: tuple[EngineStats, ...]
    """The host's engine, and the accelerator where it was opened."""
    models: tuple[ModelStats, ...]
    """Seal and open; none without an accelerator."""
    switches: int
    """How often a batch went to the other engine than the one before it."""


def lines(stats: AutoStats) -> Iterator[str]:
    """Tell a person."""
    yield f"accelerator: {stats.state.value}{f' ({stats.reason})' if stats.reason else ''}"
    for each in stats.engines:
        yield f"{each.name}: {each.batches} batches, {each.items} items, {each.bytes} bytes, {each.seconds:.3f} s"
    for model in stats.models:
        for name, costs, factor in (
            ("host", model.host, model.host_factor),
            ("accelerator", model.accelerator, model.accelerator_factor),
        ):
            yield f"{model.operation} by {name}: {_described(costs)}; of late {factor:.2f} times that"
        for each_bytes, least in model.crossovers:
            pays = "never pays" if least is None else f"pays from {least} of them on"
            yield f"{model.operation} of {each_bytes} B messages: the accelerator {pays}"
    if stats.models:
        yield f"switches: {stats.switches}"


def _described(costs: Costs) -> str:
    return " or ".join(
        f"{line.fixed * 1e6:.1f} us + {line.per_item * 1e6:.3f} us/message + {line.per_byte * 1e9:.3f} ns/byte"
        f" + {line.per_longest * 1e9:.2f} ns/byte of the longest"
        for line in costs.lines
    )
