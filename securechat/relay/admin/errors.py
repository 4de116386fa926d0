"""Why a command of the operator's could not be carried out, and its exit status (as in sysexits.h)."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DAMAGED = 65
    NO_SUCH = 68
    NOT_RUNNING = 69
    EXISTS = 73
    NO_SPACE = 74
    RUNNING = 75
    NEWER = 76
    NOT_PERMITTED = 77
    WRONG_KEY = 78
    INTERRUPTED = 130


EXIT_HELP: Final = """exit status:
  0    done
  1    something failed
  2    the command line was wrong
  65   a store or a backup is damaged, or is none
  68   there is no such name or ban
  69   no relay runs, and one must
  73   the file is there already
  74   no space is left
  75   a relay runs, and none may; or it is busy with another backup
  76   a newer version has made the store
  77   not permitted to read or write
  78   the storage key is missing, or another one
  130  stopped by Ctrl-C
"""


class AdminError(Exception):
    """A command cannot be carried out: one line for the operator, and the exit status."""

    def __init__(self, text: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(text)
        self.status = status
