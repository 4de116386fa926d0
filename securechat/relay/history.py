"""Where what was said in a room is read again: the store, on its thread, when nothing waits to be written."""

from twisted.logger import Logger
from twisted.python.failure import Failure

from securechat.relay.pages import FIND_ROWS, Find, Page, Read
from securechat.relay.store import Store
from securechat.relay.writer import Writer
from securechat.wire.codes import Code
from securechat.wire.errors import kind_and_place


class KeptHistory:
    """That of a store."""

    missing = Code.EXPIRED
    _log = Logger()

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def read(self, room: str, first: int, read: Read) -> None:
        """Read messages of a room, from a number on, and call `read` with them later."""

        def page(store: Store) -> Page:
            return store.page(room, first)

        def failed(failure: Failure) -> None:
            assert failure.value is not None
            self._log.error("a room's messages cannot be read: {error}", error=kind_and_place(failure.value))
            read(None)

        self._writer.read(page).addCallbacks(read, failed)

    def find(self, room: str, tag: bytes, after: int, up_to: int, found: Find) -> None:
        """Look for a message by its tag, the latest ones first, some at a time."""
        first = max(after, up_to - FIND_ROWS)

        def some(store: Store) -> int:
            return store.find(room, tag, first, up_to)

        def done(seq: int) -> None:
            if seq or first <= after:
                found(seq)
            else:
                self.find(room, tag, after, first, found)

        def failed(failure: Failure) -> None:
            assert failure.value is not None
            self._log.error("a message cannot be looked for: {error}", error=kind_and_place(failure.value))
            found(None)

        self._writer.read(some).addCallbacks(done, failed)
