"""Stand-ins for what the worker stands on: a reactor, a thread and a clock that move when told to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.task import Clock

from securechat.crypto.cpu import CpuEngine
from securechat.crypto.lane import Job
from securechat.crypto.worker import CryptoWorker


@dataclass
class HandReactor:
    """Keeps what threads ask it to call, until a turn is taken by hand; its timers run by hand too."""

    calls: list[tuple[Callable[..., object], tuple[object, ...]]] = field(default_factory=list)
    came_back: int = 0
    timers: Clock = field(default_factory=Clock)

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None:
        """Keep a call."""
        self.calls.append((callable, args))
        self.came_back += 1

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any:
        """Make a timer."""
        return self.timers.callLater(delay, callable, *args)

    def turn(self) -> None:
        """Make the calls kept so far."""
        calls, self.calls = self.calls, []
        for function, args in calls:
            function(*args)


@dataclass
class HandLane:
    """A lane whose jobs run one at a time, by hand."""

    jobs: list[Job] = field(default_factory=list)
    submitted: int = 0
    running: bool = False

    def start(self) -> None:
        """Be ready."""
        assert not self.running
        self.running = True

    def submit(self, job: Job) -> None:
        """Keep a job."""
        assert self.running
        self.jobs.append(job)
        self.submitted += 1

    def end(self) -> None:
        """Be ended, with nothing left to do."""
        assert self.running
        assert not self.jobs
        self.running = False

    def run(self) -> None:
        """Do the job kept longest."""
        self.jobs.pop(0)()


@dataclass
class FinishingLane(HandLane):
    """One that, told to end with jobs left, does them first, as a thread does."""

    def end(self) -> None:
        """Be ended."""
        while self.jobs:
            self.run()
        super().end()


@dataclass
class HandClock:
    """Seconds that pass when told to."""

    now_s: float = 1000.0

    def seconds(self) -> float:
        """Give the time."""
        return self.now_s


class WatchedEngine(CpuEngine):
    """The CPU engine, which writes down what it is asked, and raises what it is told to."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.asked: list[tuple[str, int]] = []
        self.keys: list[bytes | Sequence[bytes]] = []
        self.closed = 0
        self.failure: BaseException | None = None
        self.drop = 0

    def seal_list(
        self,
        keys: bytes | Sequence[bytes],
        associated: Sequence[bytes],
        plaintexts: Sequence[bytes],
        ivs: Sequence[bytes] | None = None,
    ) -> list[bytes]:
        """Seal, or fail."""
        self._ask("seal", keys, len(plaintexts))
        sealed = super().seal_list(keys, associated, plaintexts, ivs)
        return sealed[: len(sealed) - self.drop]

    def open_list(
        self, keys: bytes | Sequence[bytes], associated: Sequence[bytes], sealed: Sequence[bytes]
    ) -> list[bytes | None]:
        """Open, or fail."""
        self._ask("open", keys, len(sealed))
        return super().open_list(keys, associated, sealed)

    def close(self) -> None:
        """Count."""
        self.closed += 1
        if self.failure is not None:
            raise self.failure

    def _ask(self, what: str, keys: bytes | Sequence[bytes], count: int) -> None:
        self.asked.append((what, count))
        self.keys.append(keys)
        if self.failure is not None:
            raise self.failure


@dataclass
class Rig:
    """A worker on all of these."""

    engine: WatchedEngine
    reactor: HandReactor
    lane: HandLane
    clock: HandClock
    worker: CryptoWorker

    @classmethod
    def new(cls, *, start: bool = True, engine: WatchedEngine | None = None, **bounds: Any) -> "Rig":
        """Make one, started or not, on an engine of its own unless one is given, with the bounds given."""
        engine = WatchedEngine() if engine is None else engine
        reactor, lane, clock = HandReactor(), HandLane(), HandClock()
        worker = CryptoWorker(engine, reactor, lane=lane, seconds=clock.seconds, **bounds)
        if start:
            worker.startService()
        return cls(engine, reactor, lane, clock, worker)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the timers that it brings about ring."""
        self.clock.now_s += seconds
        self.reactor.timers.advance(seconds)

    def timers(self) -> list[float]:
        """Tell in how many seconds each pending timer rings."""
        now_s = self.reactor.timers.seconds()
        return [call.getTime() - now_s for call in self.reactor.timers.getDelayedCalls()]

    def one_batch(self) -> None:
        """Let the thread do one job, and the reactor hear of it."""
        self.lane.run()
        self.reactor.turn()

    def all_batches(self) -> None:
        """Go on until there is nothing to do."""
        while self.lane.jobs or self.reactor.calls:
            if self.lane.jobs:
                self.lane.run()
            self.reactor.turn()
