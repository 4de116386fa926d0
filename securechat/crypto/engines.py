"""Choosing an engine by name."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from securechat.crypto import cuda, native
from securechat.crypto.aead import CryptoError
from securechat.crypto.auto import AutoEngine
from securechat.crypto.cache import Cache
from securechat.crypto.cost_cache import CostCache
from securechat.crypto.cpu import CpuEngine
from securechat.crypto.device import DeviceUnavailable
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


def open_cuda() -> Engine:
    """Open the CUDA engine, which takes a second or more. Raises DeviceUnavailable."""
    return cuda.CudaEngine()


class EngineChooser:
    """Makes engines; says once in its life what `auto` took, and why nothing better."""

    def __init__(
        self,
        why_not_cuda: Callable[[], str | None] = cuda.why_not,
        log: Logger | None = None,
        why_not_native: Callable[[], str | None] = native.why_not,
        open_cuda: Callable[[], Engine] = open_cuda,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Take the probes and the rest.

        The probes give at once the reason against CUDA and against native code, None where there may be
        none. `open_cuda` finds out for certain, or raises DeviceUnavailable. `environ` tells where costs are
        kept (see cost_cache).
        """
        self._why_not_cuda = why_not_cuda
        self._why_not_native = why_not_native
        self._open_cuda = open_cuda
        self._environ = environ
        self._log = Logger() if log is None else log
        self._said = False

    def choose(self, name: str = "auto") -> Engine:
        """Make the engine called `name`.

        `auto` is native where that was built and otherwise cpu. Only where there may be a GPU has it
        something to choose between, and is an AutoEngine on top of that one, which opens the GPU later and
        does without where that fails. `cuda` opens it now, which takes a second or more.

        Raises EngineUnavailable for `native` and `cuda` where they cannot be used, ValueError for a name
        not in NAMES.
        """
        self.check(name)
        if name == "cpu":
            return CpuEngine()
        if name == "cuda":
            return self._cuda()
        return NativeEngine() if name == "native" else self._auto()

    def check(self, name: str) -> None:
        """Raise what `choose` would, as far as that can be told without opening anything.

        So a program that is going to fork can refuse before, and leave making the engine to the child: a GPU
        and threads don't outlive a fork.
        """
        if name not in NAMES:
            raise ValueError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")
        probes = {"native": self._why_not_native, "cuda": self._why_not_cuda}
        reason = probes[name]() if name in probes else None
        if reason is not None:
            raise EngineUnavailable(name, reason)

    def survey(self) -> dict[str, str | None]:
        """Every engine by its name, with the reason why it cannot be used here; None where it can.

        Whether a GPU can be used is found out by opening it.
        """
        reason = None
        try:
            self.choose("cuda").close()
        except EngineUnavailable as error:
            reason = error.reason
        return {"cpu": None, "native": self._why_not_native(), "cuda": reason}

    def _cuda(self) -> Engine:
        try:
            return self._open_cuda()
        except DeviceUnavailable as error:
            raise EngineUnavailable("cuda", error.reason) from error

    def _auto(self) -> Engine:
        not_native = self._why_not_native()
        make_host: Callable[[], Engine] = NativeEngine if not_native is None else CpuEngine
        not_cuda = self._why_not_cuda()
        if not_cuda is None:
            cache = CostCache(Cache.of_user(self._environ))
            engine: Engine = AutoEngine(make_host, self._open_cuda, cache=cache, log=self._log)
        else:
            engine = make_host()
        if not self._said:
            self._said = True
            reasons = [
                "cuda for large batches, once it is open" if not_cuda is None else f"not cuda: {not_cuda}",
                *([f"not native: {not_native}"] if not_native is not None else []),
            ]
            self._log.info("using the {engine} engine ({reason})", engine=engine.name, reason="; ".join(reasons))
        return engine


_chooser = EngineChooser()
choose = _chooser.choose
"""The process's own chooser, for everybody who does not bring one."""

check = _chooser.check
"""What it would refuse."""

survey = _chooser.survey
"""What there is on this machine."""
