"""A relay with a store: what was kept is back before anybody is heard, and all is kept before it stops."""

from collections.abc import Callable, Generator
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from securechat.relay.errors import RelayError, fail
from securechat.relay.journal import Journal
from securechat.relay.service import RelayService
from securechat.relay.store import Kept
from securechat.relay.writer import Writer

TIDY_S: Final = 3600.0

HANG_S: Final = 3.0
"""For how long the end of the relay waits for its disk. What is not kept by then was never said."""


class Durable(MultiService):
    """Has the relay as its child, which is heard from when the store is read, and stops before the store."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        writer: Writer,
        journal: Journal,
        relay: RelayService,
        restore: Callable[[Kept], None],
        give_up: Callable[[], None],
    ) -> None:
        super().__init__()
        self._writer = writer
        self._journal = journal
        self._relay = relay
        self._restore = restore
        self._clock = clock
        self._give_up = give_up
        self._hangs = False
        self._broken: Deferred[None] = Deferred()
        self._tidying = LoopingCall(
            lambda: writer.tidy(relay.factory.wall.now_ms(), relay.factory.rooms.done_with())
        )
        self._tidying.clock = clock
        relay.setServiceParent(self)

    def startService(self) -> None:
        """Read the store; where that fails the program ends with one line.

        Nobody is heard yet: whoever has connected waits for the reactor. And by now the process belongs to the user
        that it is to run as.
        """
        try:
            self._restore(self._writer.start())
        except RelayError as wrong:
            fail(wrong)
        self._tidying.start(TIDY_S)
        super().startService()

    def broken(self, words: str) -> None:
        """The store has failed: what is not kept is never said, so there is nothing to go on with."""
        self._log.critical("the store cannot be written, and the relay ends: {words}", words=words)
        self._relay.factory.cut_off()
        self._give_up()
        if not self._broken.called:
            self._broken.callback(None)

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        """Let the relay say goodbye, keep what is left to keep, and close the store."""
        yield super().stopService()
        if self._tidying.running:
            self._tidying.stop()
        waiting = self._clock.callLater(HANG_S, self._hang)
        yield DeferredList([self._journal.finish(), self._broken], fireOnOneCallback=True)
        if self._hangs:
            # Its thread is in the middle of a write, and ends with the process.
            return
        waiting.cancel()
        yield self._writer.stop()

    def _hang(self) -> None:
        """The disk does not answer, and perhaps never will."""
        self._log.critical("the disk does not answer, and the relay ends without waiting for it")
        self._hangs = True
        self._give_up()
        if not self._broken.called:
            self._broken.callback(None)
