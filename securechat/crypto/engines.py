"""Choosing an engine by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from securechat.crypto import cuda
from securechat.crypto.aead import CryptoError
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.engine import Engine

NAMES: Final = ("auto", "cpu", "cuda")
"""What `choose` takes."""


@dataclass(eq=False)
class EngineUnavailable(CryptoError):  # noqa: N818
    """An engine that was asked for by name cannot be used here."""

    name: str
    """The engine."""
    reason: str
    """Why not, in one line for a person."""

    def __str__(self) -> str:
        """Give the user's text."""
        return f"engine {self.name!r} is not available: {self.reason}"


class EngineChooser:
    """Makes engines; says once in its life why `auto` did not take CUDA."""

    def __init__(self, why_not_cuda: Callable[[], str] = cuda.why_not, log: Logger | None = None) -> None:
        """Take the probe, which gives the reason against CUDA, and the logger."""
        self._why_not_cuda = why_not_cuda
        self._log = Logger() if log is None else log
        self._said = False

    def choose(self, name: str = "auto") -> Engine:
        """Make the engine called `name`; `auto` is CUDA where it can be used and otherwise the CPU.

        Raises EngineUnavailable for `cuda` where it cannot be used, ValueError for a name not in NAMES.
        """
        if name not in NAMES:
            raise ValueError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")
        if name == "cpu":
            return CpuEngine()
        reason = self._why_not_cuda()
        if name == "cuda":
            raise EngineUnavailable(name, reason)
        if not self._said:
            self._said = True
            self._log.info("using the CPU engine: {reason}", reason=reason)
        return CpuEngine()


choose = EngineChooser().choose
"""The process's own chooser, for everybody who does not bring one."""
