"""What is done every so often while a service runs, and is told how late it is: as late as everything else."""

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Beat(Service):
    """Calls `beat` every `every_s` seconds while it runs, counted from the last time."""

    def __init__(self, clock: IReactorTime, every_s: float) -> None:
        self._clock = clock
        self._every_s = every_s
        self._due = 0.0
        self._call: IDelayedCall | None = None

    def beat(self, late_s: float) -> None:
        """It is time, and has been for so many seconds."""
        raise NotImplementedError

    @property
    def overdue_s(self) -> float:
        """For how many seconds the next one is due; 0 where it is not, or where nothing runs."""
        return 0.0 if self._call is None else max(0.0, self._clock.seconds() - self._due)

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._wait()

    def stopService(self) -> None:
        """End."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        super().stopService()

    def _wait(self) -> None:
        self._due = self._clock.seconds() + self._every_s
        self._call = self._clock.callLater(self._every_s, self._came)

    def _came(self) -> None:
        late_s = self.overdue_s
        self._wait()
        self.beat(late_s)
