"""How far a command is, on one line of a terminal."""

from types import TracebackType
from typing import Final, TextIO

WIDTH: Final = 30


class Bar:
    """Shows what is being done; nothing where nobody would see it move."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shows = stream.isatty()
        self._last = ""

    def __enter__(self) -> "Bar":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        """Leave an empty line for what comes next."""
        if self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def tell(self, what: str, done: int, total: int) -> None:
        """So much is done."""
        if not self._shows:
            return
        percent = done * 100 // total if total else 100
        full = percent * WIDTH // 100
        line = f"{what:<9}{'#' * full}{'.' * (WIDTH - full)} {percent:3d}%"
        if line != self._last:
            self._last = line
            self._stream.write(f"\r{line}")
            self._stream.flush()
