"""Noticing that an engine had its work done by another.

An engine with a device gives right answers whatever becomes of it: what is too long for the device, what it has no
memory for, and everything once it failed, is done by the CPU. Times of that are no times of the engine.
"""

from dataclasses import dataclass
from typing import Final

from securechat.crypto.engine import Engine

TOO_LONG: Final = "texts of this size go to the CPU"
NO_MEMORY: Final = "the device had no memory for it, so the CPU did it"


@dataclass(frozen=True, slots=True)
class Watch:
    """What an engine had left to others when the watch began. Engines that say nothing do all themselves."""

    engine: Engine
    long_items: int
    redone_batches: int

    def why_not_own(self) -> str | None:
        """Tell, in one line, why some of what was done since is not the engine's own work; None where all is."""
        lost: str | None = getattr(self.engine, "why_lost", None)
        if lost is not None:
            return f"it failed: {lost}"
        if _figure(self.engine, "redone_batches") > self.redone_batches:
            return NO_MEMORY
        return TOO_LONG if _figure(self.engine, "long_items") > self.long_items else None


def watch(engine: Engine) -> Watch:
    """Begin to watch an engine."""
    return Watch(engine, _figure(engine, "long_items"), _figure(engine, "redone_batches"))


def is_usable(engine: Engine) -> bool:
    """Tell whether an engine still has its device, if it ever had one."""
    return bool(getattr(engine, "usable", True))


def _figure(engine: Engine, name: str) -> int:
    return int(getattr(getattr(engine, "stats", None), name, 0))
