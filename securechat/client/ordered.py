"""Events in the order of their causes, though some of them take a while to be known."""

from collections import deque
from collections.abc import Callable, Iterable

from securechat.client.events import Event


class Slot:
    """A place in the order for events that are not known yet."""

    __slots__ = ("_filled", "events")

    def __init__(self, filled: Callable[[], None]) -> None:
        self.events: list[Event] | None = None
        self._filled = filled

    def fill(self, events: Iterable[Event]) -> None:
        """The events are known now."""
        self.events = list(events)
        self._filled()


Mark = Callable[[], None]


class InOrder:
    """Passes events on to `tell`, none before those that were caused earlier."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._pass_on = tell
        self._waiting: deque[Slot | Event | Mark] = deque()
        self._passing = False

    def tell(self, event: Event) -> None:
        """Something happened."""
        self._waiting.append(event)
        self._flush()

    def after(self, call: Mark) -> None:
        """Make `call` when all is told that has happened."""
        self._waiting.append(call)
        self._flush()

    def hold(self) -> Slot:
        """Something happened of which the events will be known later."""
        slot = Slot(self._flush)
        self._waiting.append(slot)
        return slot

    def _flush(self) -> None:
        if self._passing:
            # Whoever is told may cause events in turn: these come after all that was caused before.
            return
        self._passing = True
        try:
            while self._waiting:
                head = self._waiting[0]
                if isinstance(head, Slot) and head.events is None:
                    return
                self._waiting.popleft()
                if isinstance(head, Slot):
                    self._waiting.extendleft(reversed(head.events or []))
                elif callable(head):
                    head()
                else:
                    self._pass_on(head)
        finally:
            self._passing = False
