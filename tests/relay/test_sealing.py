"""The relay's crypto worker and when it gets its engine."""

import sys
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from securechat.crypto.engine import Engine
from securechat.crypto.engines import EngineUnavailable
from securechat.crypto.worker import CryptoWorker
from securechat.relay.sealing import Sealing
from tests.crypto.fakes import WatchedEngine

REACTOR: Any = reactor


class SealingTests(TestCase):
    """A service whose engine is watched."""

    timeout = 60

    def setUp(self) -> None:
        """Make it."""
        self.made: list[WatchedEngine] = []
        self.service = Sealing(self.make, REACTOR)

    def make(self) -> Engine:
        """Make an engine."""
        self.made.append(WatchedEngine())
        return self.made[-1]

    async def test_engine_comes_with_the_start(self) -> None:
        """Neither building nor the privileged start makes an engine, which twistd's fork would take apart."""
        self.service.privilegedStartService()
        self.assertEqual(self.made, [])
        self.service.startService()
        self.assertEqual(len(self.made), 1)
        (worker,) = self.service
        assert isinstance(worker, CryptoWorker)
        self.assertEqual(len(await worker.seal(bytes(64), b"", b"")), 64)
        await self.service.stopService()

    async def test_again(self) -> None:
        """Stopping closes the engine; started again the worker goes on with the same one."""
        for times in (1, 2):
            self.service.startService()
            await self.service.stopService()
            self.assertEqual([engine.closed for engine in self.made], [times])

    def test_unavailable(self) -> None:
        """An engine that cannot be used ends the program with one line and status 1."""

        def refuse() -> Engine:
            raise EngineUnavailable("cuda", "no card")

        self.patch(sys, "stderr", sys.stderr)
        with self.assertRaises(SystemExit) as caught:
            Sealing(refuse, REACTOR).startService()
        self.assertEqual(caught.exception.code, "securechat: engine 'cuda' is not available: no card")
