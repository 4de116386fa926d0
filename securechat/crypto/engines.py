"""Choosing an engine by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from securechat.crypto import cuda, native
from securechat.crypto.aead import CryptoError
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.engine import Engine
from securechat.crypto.native import NativeEngine

NAMES: Final = ("auto", "cpu", "native", "cuda")
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
    """Makes engines; says once in its life what `auto` took, and why nothing better."""

    def __init__(
        self,
        why_not_cuda: Callable[[], str] = cuda.why_not,
        log: Logger | None = None,
        why_not_native: Callable[[], str | None] = native.why_not,
    ) -> None:
        """Take the probes, which give the reason against CUDA and against native code, and the logger."""
        self._why_not_cuda = why_not_cuda
        self._why_not_native = why_not_native
        self._log = Logger() if log is None else log
        self._said = False

    def choose(self, name: str = "auto") -> Engine:
        """Make the engine called `name`; `auto` is native where that was built and otherwise cpu.

        Raises EngineUnavailable for `native` and `cuda` where they cannot be used, ValueError for a name
        not in NAMES.
        """
        if name not in NAMES:
            raise ValueError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")
        if name == "cpu":
            return CpuEngine()
        if name == "cuda":
            raise EngineUnavailable(name, self._why_not_cuda())
        reason = self._why_not_native()
        if name == "native" and reason is not None:
            raise EngineUnavailable(name, reason)
        engine: Engine = NativeEngine() if reason is None else CpuEngine()
        if name == "auto" and not self._said:
            self._said = True
            reasons = f"not cuda: {self._why_not_cuda()}" + (f"; not native: {reason}" if reason else "")
            self._log.info("using the {engine} engine ({reason})", engine=engine.name, reason=reasons)
        return engine

    def survey(self) -> dict[str, str | None]:
        """Every engine by its name, with the reason why it cannot be used here; None where it can."""
        return {"cpu": None, "native": self._why_not_native(), "cuda": self._why_not_cuda()}


_chooser = EngineChooser()
choose = _chooser.choose
"""The process's own chooser, for everybody who does not bring one."""

survey = _chooser.survey
"""What there is on this machine."""
