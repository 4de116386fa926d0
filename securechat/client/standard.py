"""Standard input and output, as a transport that can be asked whether the system has taken what was written."""

from typing import Any

from twisted.internet.stdio import StandardIO

_StandardIO: Any = StandardIO  # mypy takes the one of Windows, which has other arguments


class Standard(_StandardIO):
    """Twisted's, whose output waits for the end of the turn; what must not be lost cannot wait for that."""

    def flush(self) -> bool:
        """Have the system take of the output what it takes now; whether nothing is left.

        What a pipe or a file has taken its reader gets, also when this process is killed.
        """
        left = self._left()
        while left and not self.disconnecting:
            self._writer.doWrite()
            before, left = left, self._left()
            if left == before:
                break
        return not left

    def _left(self) -> int:
        writer = self._writer
        return 0 if writer is None else len(writer.dataBuffer) - writer.offset + writer._tempDataLen
