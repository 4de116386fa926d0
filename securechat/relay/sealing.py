"""The relay's crypto worker, on an engine that is made no sooner than the service starts.

By then twistd has become a daemon, which it does by forking after everything is built: an engine that holds a GPU
and a thread would lose both on the way, and wait for them for ever.
"""

from collections.abc import Callable
from typing import cast

from twisted.application.service import MultiService

from securechat.crypto.engine import Engine
from securechat.crypto.engines import EngineUnavailable
from securechat.crypto.worker import CryptoWorker, WorkerReactor
from securechat.relay.errors import RelayError, fail


class Sealing(MultiService):
    """Has the worker as its only child, from its first start on."""

    def __init__(self, make_engine: Callable[[], Engine], reactor: WorkerReactor) -> None:
        """Take what makes the engine, or raises EngineUnavailable, and the reactor."""
        super().__init__()
        self._make_engine = make_engine
        self._reactor = reactor

    @property
    def worker(self) -> CryptoWorker | None:
        """The worker, None before the first start."""
        return cast(CryptoWorker, self.services[0]) if self.services else None

    def startService(self) -> None:
        """Start the worker. An engine that can't be made ends the program with one line and exit status 1."""
        if not self.services:
            try:
                engine = self._make_engine()
            except EngineUnavailable as wrong:
                fail(RelayError(str(wrong)))
            CryptoWorker(engine, self._reactor).setServiceParent(self)
        super().startService()
