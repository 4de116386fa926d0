"""AutoEngine: each batch to the engine that is predicted to do it sooner, the host's or an accelerator's.

The host's engine is there at once and does everything until the accelerator is. Opening that takes a second
or more, and learning what both cost another moment (see calibration), so this happens in a thread beside and
begins with the first batch of LEAST_ITEMS: a chat, which seals its messages one by one, never wakes a GPU nor
waits at its end for one that is still being opened, and a program that becomes a daemon by forking does so
before there are threads. Where the accelerator can't be opened, or loses its device later, the host's engine
goes on alone, and one line in the log says why.

Which engine is sooner is for `policy` to say, from `costs` that are measured once and kept (`cost_cache`).
An accelerator tells by a property `usable` that it has lost its device (the batch it lost it with, it has
finished in some other way), and by one named `facts` what device it has; both may be missing. A batch for which
it raises an error instead is done by the host's engine: if that refuses it as well, the caller was wrong, and
otherwise the accelerator was, which is not asked again.
"""

import atexit
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from twisted.logger import Logger

from securechat.crypto.batch import Batch, Bytes
from securechat.crypto.calibration import BUDGET_S
from securechat.crypto.cost_cache import CostCache
from securechat.crypto.costs import OPERATIONS, Operation, Shape
from securechat.crypto.engine import Engine, Flags
from securechat.crypto.figures import CROSSOVER_BYTES, AcceleratorState, AutoStats, EngineStats, ModelStats
from securechat.crypto.lane import Lane, ThreadLane
from securechat.crypto.opening import CLOSED, LOST, Opened, Opener, Refused, reason_of, usable
from securechat.crypto.policy import Policy

LEAST_ITEMS: Final = 16
"""The least that a batch holds for which an accelerator is opened: one of fewer pays on none (docs/ENGINE.md)."""
LARGE_ITEMS: Final = 16_384
"""What one batch should hold where there is an accelerator that pays; at 1 KiB each a GPU is busy for 1 ms."""

T = TypeVar("T")


@dataclass(slots=True)
class _Tally:
    """What one engine has done so far."""

    batches: int = 0
    items: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def add(self, shape: Shape, seconds: float) -> None:
        self.batches += 1
        self.items += shape.items
        self.bytes += shape.bytes
        self.seconds += seconds


class AutoEngine:
    """The engine of the module's description."""

    name: Final = "auto"

    def __init__(
        self,
        make_host: Callable[[], Engine],
        open_accelerator: Callable[[], Engine],
        *,
        cache: CostCache | None = None,
        lane: Lane | None = None,
        seconds: Callable[[], float] = time.perf_counter,
        budget_s: float = BUDGET_S,
        log: Logger | None = None,
    ) -> None:
        """Take what makes the engines: the host's, made twice, and the accelerator's, which may raise.

        `cache` keeps costs, `lane` is the thread beside, `seconds` a clock that never goes back, and
        `budget_s` the time in which one engine is measured.
        """
        self._host = make_host()
        self._opener = Opener(make_host, open_accelerator, cache, seconds, budget_s)
        self._lane: Lane = ThreadLane("accelerator") if lane is None else lane
        self._seconds = seconds
        self._log = Logger() if log is None else log
        self._state = AcceleratorState.CLOSED
        self._reason: str | None = None
        self._outcome: Opened | Refused | None = None
        self._opened: Opened | None = None
        self._closing = False
        self._tallies = (_Tally(), _Tally())
        self._preferred_items = 0

    def seal(self, keys: Bytes, ivs: Bytes, associated: Batch, plaintext: Batch) -> Batch:
        """See Engine."""
        return self._packed("seal", associated, plaintext, lambda at: at.seal(keys, ivs, associated, plaintext))

    def open(self, keys: Bytes, associated: Batch, sealed: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        return self._packed("open", associated, sealed, lambda at: at.open(keys, associated, sealed))

    def encrypt(self, keys: Bytes, ivs: Bytes, plaintext: Batch) -> Batch:
        """See Engine."""
        return self._packed("seal", None, plaintext, lambda at: at.encrypt(keys, ivs, plaintext))

    def decrypt(self, keys: Bytes, ivs: Bytes, ciphertext: Batch) -> tuple[Batch, Flags]:
        """See Engine."""
        return self._packed("open", None, ciphertext, lambda at: at.decrypt(keys, ivs, ciphertext))

    def seal_list(
        self,
        keys: bytes | Sequence[bytes],
        associated: Sequence[bytes],
        plaintexts: Sequence[bytes],
        ivs: Sequence[bytes] | None = None,
    ) -> list[bytes]:
        """See Engine."""
        shape = _list_shape(associated, plaintexts)
        return self._done("seal", shape, True, lambda at: at.seal_list(keys, associated, plaintexts, ivs))

    def open_list(
        self, keys: bytes | Sequence[bytes], associated: Sequence[bytes], sealed: Sequence[bytes]
    ) -> list[bytes | None]:
        """See Engine."""
        shape = _list_shape(associated, sealed)
        return self._done("open", shape, True, lambda at: at.open_list(keys, associated, sealed))

    def close(self) -> None:
        """See Engine. Waits for an accelerator that is being opened, which can't be interrupted everywhere."""
        at_hand = self._stop_opening() if self._state is AcceleratorState.OPENING else self._opened
        self._opened = None
        self._preferred_items = 0
        if self._reason != LOST:  # a device that was lost is lost for the process
            self._state, self._reason = AcceleratorState.CLOSED, None
        try:
            if at_hand is not None:
                at_hand.engine.close()
        finally:
            self._host.close()

    def prepare(self) -> None:
        """Open the accelerator now and wait until that is done or has failed, for whoever wants figures."""
        if self._state is AcceleratorState.CLOSED:
            self._begin_opening()
        if self._state is AcceleratorState.OPENING:
            self._end_opening()

    @property
    def host(self) -> str:
        """The name of the host's engine."""
        return self._host.name

    @property
    def preferred_items(self) -> int:
        """How many items a batch should hold if so many wait; 0 while there is nothing to be gained by many."""
        return self._preferred_items

    @property
    def stats(self) -> AutoStats:
        """The figures as they stand. May be asked for on any thread."""
        opened = self._opened
        names = [self._host.name, *([opened.engine.name] if opened is not None else [])]
        return AutoStats(
            state=self._state,
            reason=self._reason,
            engines=tuple(
                EngineStats(name, tally.batches, tally.items, tally.bytes, tally.seconds)
                for name, tally in zip(names, self._tallies, strict=False)
            ),
            models=tuple(_model_stats(opened.policy, each) for each in OPERATIONS) if opened is not None else (),
            switches=opened.policy.switches if opened is not None else 0,
        )

    def _packed(
        self, operation: Operation, associated: Batch | None, texts: Batch, work: Callable[[Engine], T]
    ) -> T:
        """Do a packed batch. Costs are those of lists, near enough to choose by; nothing is learnt from it."""
        return self._done(operation, _batch_shape(associated, texts), False, work)

    def _done(self, operation: Operation, shape: Shape | None, learn: bool, work: Callable[[Engine], T]) -> T:
        """Have a batch done by one engine or the other; by the host's where there is no telling its shape."""
        if shape is None:
            return work(self._host)
        opened = self._at_hand(shape.items)
        if opened is None:
            return self._timed(False, self._host, shape, work)[0]
        accelerated = opened.policy.accelerates(operation, shape)
        try:
            result, took = self._timed(accelerated, opened.engine if accelerated else self._host, shape, work)
        except Exception as error:
            if not accelerated:
                raise
            result, _ = self._timed(False, self._host, shape, work)
            self._refuse(reason_of(error))
            return result
        if not usable(opened.engine):
            self._refuse(LOST)
        elif learn:
            opened.policy.learn(operation, accelerated, shape, took)
        return result

    def _timed(
        self, accelerated: bool, engine: Engine, shape: Shape, work: Callable[[Engine], T]
    ) -> tuple[T, float]:
        """Have a batch done by this engine, and count it; give the seconds that it took as well."""
        begun = self._seconds()
        result = work(engine)
        took = self._seconds() - begun
        self._tallies[accelerated].add(shape, took)
        return result, took

    def _at_hand(self, items: int) -> Opened | None:
        """Give the accelerator if it is there and works; begin to open it where nobody has and it may pay."""
        if self._state is AcceleratorState.CLOSED and items >= LEAST_ITEMS:
            self._begin_opening()
        elif self._state is AcceleratorState.OPENING and self._outcome is not None:
            self._end_opening()
        return self._opened if self._state is AcceleratorState.USABLE else None

    def _begin_opening(self) -> None:
        self._state, self._closing = AcceleratorState.OPENING, False
        atexit.register(self._end_at_exit)
        self._lane.start()
        self._lane.submit(self._open)

    def _open(self) -> None:
        """In the thread beside."""
        self._outcome = self._opener.open(lambda: self._closing)

    def _end_opening(self) -> None:
        """Let the thread beside end, which waits for it, and take what it found."""
        outcome = self._found()
        if isinstance(outcome, Opened):
            self._take(outcome)
        else:
            self._refuse(outcome.reason)

    def _stop_opening(self) -> Opened | None:
        """Cut the thread beside short, as far as that goes; give what was opened nevertheless."""
        self._closing = True
        outcome = self._found()
        return outcome if isinstance(outcome, Opened) else None

    def _found(self) -> Opened | Refused:
        """Let the thread beside end, and give what it found."""
        self._lane.end()
        atexit.unregister(self._end_at_exit)
        outcome, self._outcome = self._outcome, None
        assert outcome is not None, "whatever goes wrong with opening is an outcome"
        return outcome

    def _end_at_exit(self) -> None:
        """Wait for the thread beside at the end of a process that closed nothing; see CudaEngine for why."""
        opened = self._stop_opening()
        self._state, self._reason = AcceleratorState.UNUSABLE, CLOSED
        if opened is not None:
            opened.engine.close()

    def _take(self, opened: Opened) -> None:
        self._opened, self._state = opened, AcceleratorState.USABLE
        found = [least for operation in OPERATIONS for _, least in _crossovers(opened.policy, operation)]
        pays = min([least for least in found if least is not None], default=None)
        if pays is not None and pays <= LARGE_ITEMS:
            self._preferred_items = LARGE_ITEMS
        self._log.info(
            "the {accelerator} engine is open beside {host}, and {pays}",
            accelerator=opened.engine.name,
            host=self._host.name,
            pays="never pays" if pays is None else f"pays from {pays} messages on",
        )

    def _refuse(self, reason: str) -> None:
        self._state, self._reason = AcceleratorState.UNUSABLE, reason
        self._preferred_items = 0
        self._log.info("staying with the {host} engine: {reason}", host=self._host.name, reason=reason)


def _crossovers(policy: Policy, operation: Operation) -> tuple[tuple[int, int | None], ...]:
    return tuple((each, policy.crossover(operation, each)) for each in CROSSOVER_BYTES)


def _model_stats(policy: Policy, operation: Operation) -> ModelStats:
    return ModelStats(
        operation=operation,
        host=policy.costs(operation, False),
        accelerator=policy.costs(operation, True),
        host_factor=policy.factor(operation, False),
        accelerator_factor=policy.factor(operation, True),
        crossovers=_crossovers(policy, operation),
    )


def _list_shape(associated: Sequence[bytes], texts: Sequence[bytes]) -> Shape | None:
    """Give the shape of lists; None for an empty one, and for arguments that the engine will refuse or convert."""
    try:
        count = len(texts)  # before going through them: whatever can be gone through once only has no length
        len(associated)
        lengths = list(map(len, texts))
        return Shape(count, sum(lengths) + sum(map(len, associated)), max(lengths)) if count else None
    except TypeError:
        return None


def _batch_shape(associated: Batch | None, texts: Batch) -> Shape | None:
    if not isinstance(texts, Batch) or not isinstance(associated, Batch | None) or not len(texts):
        return None
    more = associated.total_bytes if associated is not None else 0
    return Shape(len(texts), texts.total_bytes + more, int(texts.lengths.max()))
