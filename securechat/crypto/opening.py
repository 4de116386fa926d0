"""Opening the accelerator for `auto`, and learning what both engines cost: slow work, for a thread of its own."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from securechat.crypto.aead import CryptoError
from securechat.crypto.calibration import calibrate
from securechat.crypto.cost_cache import CostCache, cost_key
from securechat.crypto.costs import EngineCosts
from securechat.crypto.engine import Engine
from securechat.crypto.policy import Policy

CLOSED: Final = "it was closed before that was done"
LOST: Final = "it lost its device"


@dataclass(frozen=True, slots=True)
class Opened:
    """An accelerator at hand."""

    engine: Engine
    """It."""
    policy: Policy
    """What to give it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No accelerator."""

    reason: str
    """Why, in one line for a person."""


class Opener:
    """Opens and measures. One call at a time, on any thread."""

    def __init__(
        self,
        make_host: Callable[[], Engine],
        open_accelerator: Callable[[], Engine],
        cache: CostCache | None,
        seconds: Callable[[], float],
        budget_s: float,
    ) -> None:
        """Take what makes the engines, where costs are kept, a clock that never goes back, and a time for each."""
        self._make_host = make_host
        self._open_accelerator = open_accelerator
        self._cache = cache
        self._seconds = seconds
        self._budget_s = budget_s

    def open(self, stopped: Callable[[], bool]) -> Opened | Refused:
        """Do everything; whatever goes wrong is a reason. Ends soon after `stopped` says so, but not at once."""
        try:
            engine = self._open_accelerator()
        except BaseException as error:
            return Refused(reason_of(error))
        try:
            # An engine is for one thread at a time, and the host's own is at work: this is another one.
            host = self._make_host()
            try:
                host_costs = self._costs(host, stopped)
            finally:
                host.close()
            policy = Policy(host_costs, self._costs(engine, stopped))
            if not usable(engine):
                raise CryptoError(LOST)
        except BaseException as error:
            return Refused(_closed_after(engine, error))
        return Opened(engine, policy)

    def _costs(self, engine: Engine, stopped: Callable[[], bool]) -> EngineCosts:
        key = cost_key(engine.name, str(getattr(engine, "facts", "")))
        known = self._cache.find(key) if self._cache is not None else None
        if known is not None:
            return known
        costs = calibrate(engine, self._seconds, self._budget_s, stopped)
        if stopped():
            raise CryptoError(CLOSED)
        if self._cache is not None and usable(engine):
            self._cache.keep(key, costs)
        return costs


def usable(engine: Engine) -> bool:
    """Tell whether an accelerator still has its device; one that does not say always has."""
    return bool(getattr(engine, "usable", True))


def _closed_after(engine: Engine, error: BaseException) -> str:
    """Close an accelerator that can't be used; give the reason, which counts for more than a failing close."""
    reason = reason_of(error)
    try:
        engine.close()
    except BaseException as another:
        return f"{reason}; then {reason_of(another)}"
    return reason


def reason_of(error: BaseException) -> str:
    """Give an error in one line: its text where it is ours, else kind and place, for others may hold contents."""
    if isinstance(error, CryptoError):
        return " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}"
