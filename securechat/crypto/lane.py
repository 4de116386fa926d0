"""A lane: one thread that does jobs in their order, and ends when told to."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

Job = Callable[[], None]


class Lane(Protocol):
    """Where the worker's jobs run. A test brings one that runs them when it says so."""

    def start(self) -> None:
        """Make ready for jobs."""

    def submit(self, job: Job) -> None:
        """Run a job, after those submitted before, never within this call. The job must not raise."""

    def end(self) -> None:
        """End the thread once all its jobs are done, and wait for that. May be started again."""


class ThreadLane:
    """A lane with a thread of its own, fed by a SimpleQueue, which costs least (TWISTED.md, section 4).

    The thread is a daemon: a process that forgot to stop its worker can still exit.
    """

    def __init__(self, name: str = "crypto") -> None:
        """Take a name for the thread, to be seen in debuggers."""
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand a job to the thread."""
        self._jobs.put(job)

    def end(self) -> None:
        """Let the thread do what it still has to do, end it, and wait for that."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        for job in iter(self._jobs.get, None):
            job()
            del job  # what it holds, keys and texts among it, must not wait for the next one
