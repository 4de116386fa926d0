"""The one thread that uses the store: batches go in, one call for each comes back.

There is one connection to the store in the process, and this thread has it. What the relay gathers while a batch is
being committed becomes the next one (see `journal`), so the cost of a commit is shared by whatever comes in
meanwhile. What takes long, a copy of the store, lets in between its steps whatever has been asked for. A write
that fails is not tried again: the kernel may take a page for clean that it could not write. One that found no room
has not been made, so it is tried once more where room can be made (see `spare`).
"""

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from queue import Empty, PriorityQueue, SimpleQueue
from threading import Thread
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from securechat.relay.errors import NoRoomError, StoreError
from securechat.relay.records import Record
from securechat.relay.space import never
from securechat.relay.store import NOBODY, Kept, Store
from securechat.wire.errors import kind_and_place

Work = Callable[[Store], None]

_COMMIT: Final = 0
_WORK: Final = 1
_END: Final = 2
_READ: Final = 3
"""What goes first: frames wait for a commit, and for what is read again only who was away."""
Result = TypeVar("Result")


class EndedError(Exception):
    """What was being done with the store was given up."""


class FromThread(Protocol):
    """What the writer needs of a reactor."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object:
        """Have the reactor call this later, on its own thread."""


class Writer:
    """A store and its thread. `failed` is called once, with words for the log, when the store cannot be written.

    `make_room` is called on the thread where a batch finds no room, and says whether there is some now.
    """

    def __init__(
        self,
        reactor: FromThread,
        open_store: Callable[[], Store],
        failed: Callable[[str], None],
        make_room: Callable[[], bool] = never,
    ) -> None:
        self._reactor = reactor
        self._open_store = open_store
        self._failed = failed
        self._make_room = make_room
        self._queue: PriorityQueue[tuple[int, int, Work | None]] = PriorityQueue()
        self._order = count()
        self._thread: Thread | None = None
        self._ended: Callable[[], None] = _nothing
        self._broken: Store | None = None
        """The store once it has failed: kept, as closing it would have SQLite sync again what was not synced."""
        self.batches = 0
        """Batches that were kept, each sealed by the engine as one."""
        self.items = 0
        """Rows that were sealed for them."""
        self.sealing_s = 0.0
        """How long that took."""

    def start(self) -> Kept:
        """Open the store and read all of it. Blocks until that is done, and raises what it raises."""
        opened: SimpleQueue[Kept | BaseException] = SimpleQueue()
        self._thread = Thread(target=self._run, args=(opened,), name="store", daemon=True)
        self._thread.start()
        kept = opened.get()
        if isinstance(kept, BaseException):
            self._thread.join()
            self._thread = None
            raise kept
        return kept

    def write(self, records: list[Record], kept: Callable[[], None]) -> None:
        """Keep a batch, and then call `kept` on the reactor's thread."""

        def commit(store: Store) -> None:
            self.items += self._commit(store, records)
            self.batches += 1
            self.sealing_s = store.sealing_s
            self._reactor.callFromThread(kept)
            store.scrub(records)

        self._put(_COMMIT, commit)

    def _commit(self, store: Store, records: list[Record]) -> int:
        try:
            return store.commit(records)
        except NoRoomError:
            if not self._make_room():
                raise
        return store.commit(records)

    def read(self, work: Callable[[Store], Result]) -> Deferred[Result]:
        """Read the store when there is nothing else to do, and no more once it is to end; as `use` otherwise."""
        return self.use(work, _READ)

    def use(self, work: Callable[[Store], Result], rank: int = _WORK) -> Deferred[Result]:
        """Read the store between batches; fires with what `work` gives, and fails with what it raises.

        It never fires where the store cannot be written any more: then the relay ends.
        """
        used: Deferred[Result] = Deferred()

        def use(store: Store) -> None:
            try:
                result = work(store)
            except Exception:
                failure = Failure()
                failure.cleanFailure()
                self._reactor.callFromThread(used.errback, failure)
            else:
                self._reactor.callFromThread(used.callback, result)

        self._put(rank, use)
        return used

    def copy(self, path: Path, told: Callable[[int, int], None], is_wanted: Callable[[], bool]) -> Deferred[None]:
        """Copy all that was kept by now into an empty file, while batches go on.

        `told` is called on the reactor's thread with how many pages are done and of how many, a hundred times at
        most. Fails with `EndedError` where the copy `is_wanted` no more, or nothing is.
        """

        def copy(store: Store) -> None:
            percent = -1

            def between(done: int, total: int) -> None:
                nonlocal percent
                if done * 100 // max(total, 1) > percent:
                    percent = done * 100 // max(total, 1)
                    self._reactor.callFromThread(told, done, total)
                self._do_what_waits(store)
                if not is_wanted() or self._broken is not None:
                    raise EndedError

            store.copy(path, between)

        return self.use(copy)

    def tidy(self, now_ms: int, seen: Mapping[str, int] = NOBODY) -> None:
        """Delete what is too old, some at a time, between batches; where there is no room for it, the next time."""

        def some(store: Store) -> None:
            try:
                may_be_more = store.tidy(now_ms, seen)
            except NoRoomError:
                return
            if may_be_more:
                self._put(_WORK, some)

        self._put(_WORK, some)

    def stop(self) -> Deferred[None]:
        """Do what was asked for, and end; fires when the store is closed."""
        thread, self._thread = self._thread, None
        if thread is None:
            return succeed(None)
        stopped: Deferred[None] = Deferred()

        def joined() -> None:
            thread.join()
            stopped.callback(None)

        self._ended = joined
        self._put(_END, None)
        return stopped

    def _put(self, rank: int, work: Work | None) -> None:
        self._queue.put((rank, next(self._order), work))

    def _run(self, opened: "SimpleQueue[Kept | BaseException]") -> None:
        try:
            store = self._open_store()
            opened.put(store.load())
        except BaseException as wrong:
            opened.put(wrong)
            return
        while (work := self._queue.get()[2]) is not None:
            self._do(work, store)
        if self._broken is None:
            try:
                store.close()
            except BaseException as wrong:
                self._broken = store
                self._reactor.callFromThread(self._failed, _words(wrong))
        self._reactor.callFromThread(self._ended)

    def _do(self, work: Work, store: Store) -> None:
        if self._broken is None:
            try:
                work(store)
            except BaseException as wrong:
                self._broken = store
                self._reactor.callFromThread(self._failed, _words(wrong))

    def _do_what_waits(self, store: Store) -> None:
        """Do what was asked for while something else is being done."""
        while True:
            try:
                _, _, work = self._queue.get_nowait()
            except Empty:
                return
            if work is None:
                # The end, which `_run` is to find.
                self._put(_END, None)
                raise EndedError
            self._do(work, store)


def _nothing() -> None:
    """What a thread calls that ends without being asked to."""


def _words(wrong: BaseException) -> str:
    """What to log of a failure: never its text, which may hold what somebody has said, but for a store's own."""
    name = str(wrong) if isinstance(wrong, StoreError) else ""
    return f"{kind_and_place(wrong.__cause__ or wrong)} {name}".strip()
