"""Why a command of the operator's could not be carried out, and its exit status (as in sysexits.h)."""

import sqlite3
from enum import IntEnum
from errno import EACCES, EDQUOT, EEXIST, ENOSPC, EPERM, EROFS
from typing import Final

from securechat.relay.errors import DamagedError, InUseError, NewerStoreError, RelayError, WrongKeyError
from securechat.relay.listening import one_line


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

_BY_ERRNO: Final = {
    ENOSPC: Exit.NO_SPACE,
    EDQUOT: Exit.NO_SPACE,
    EEXIST: Exit.EXISTS,
    EACCES: Exit.NOT_PERMITTED,
    EPERM: Exit.NOT_PERMITTED,
    EROFS: Exit.NOT_PERMITTED,
}

_BY_SQLITE: Final = {
    "SQLITE_FULL": Exit.NO_SPACE,
    "SQLITE_NOTADB": Exit.DAMAGED,
    "SQLITE_CORRUPT": Exit.DAMAGED,
    "SQLITE_CANTOPEN": Exit.NOT_PERMITTED,
    "SQLITE_READONLY": Exit.NOT_PERMITTED,
}

_BY_KIND: Final = {
    WrongKeyError: Exit.WRONG_KEY,
    NewerStoreError: Exit.NEWER,
    DamagedError: Exit.DAMAGED,
}


class AdminError(Exception):
    """A command cannot be carried out: one line for the operator, and the exit status."""

    def __init__(self, text: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(text)
        self.status = status


def explained(wrong: OSError | sqlite3.Error | RelayError) -> AdminError:
    """What other parts raise, as an error of this kind."""
    cause = wrong.__cause__ if type(wrong) is RelayError else wrong
    if isinstance(cause, OSError):
        text = str(wrong) if isinstance(wrong, RelayError) else _about_file(cause)
        return AdminError(text, _BY_ERRNO.get(cause.errno or 0, Exit.FAILED))
    if isinstance(cause, sqlite3.Error):
        name = getattr(cause, "sqlite_errorname", "")
        return AdminError(one_line(wrong), _BY_SQLITE.get(name, Exit.FAILED))
    if isinstance(wrong, InUseError):
        return AdminError(f"{wrong}; stop it first", Exit.RUNNING)
    status = next((status for kind, status in _BY_KIND.items() if isinstance(wrong, kind)), Exit.FAILED)
    return AdminError(str(wrong), status)


def _about_file(wrong: OSError) -> str:
    where = f"{wrong.filename}: " if wrong.filename else ""
    return f"{where}{one_line(wrong)}"
