"""Posts that have been read and not been answered, of all clients: while there are too many bytes of them, who
posts is not read.

Each client's are bounded by its window and its allowance, which is enough while the disk keeps up. Where it does
not, they would pile up here; so they do at those who send them.
"""

from collections.abc import Callable

Call = Callable[[], None]


class InFlight:
    """The bytes. `later` makes a call in another turn of the reactor."""

    def __init__(self, most: int, later: Callable[[Call], object]) -> None:
        self.bytes = 0
        self._most = most
        self._later = later
        self._held: list[Call] = []

    def take(self, size: int) -> bool:
        """Posts of so many bytes have been read; False where nothing more should be."""
        self.bytes += size
        return self.bytes <= self._most

    def give(self, size: int) -> None:
        """Posts of so many bytes have been answered; below half of the bound all are read again."""
        self.bytes -= size
        if self._held and self.bytes * 2 <= self._most:
            held, self._held = self._held, []
            for call in held:
                # Reading on may post at once, and we are in the middle of answering.
                self._later(call)

    def when_less(self, call: Call) -> None:
        """Make `call` once there are less of them."""
        self._held.append(call)
