"""What other parts raise, told to the operator by a command."""

import sqlite3
from errno import EACCES, EDQUOT, EEXIST, ENOSPC, EPERM, EROFS
from typing import Final

from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.errors import DamagedError, InUseError, NewerStoreError, RelayError, StoreError, WrongKeyError
from securechat.relay.listening import one_line

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


def explained(wrong: OSError | sqlite3.Error | RelayError) -> AdminError:
    """What other parts raise, as an error of this kind."""
    if isinstance(wrong, StoreError) and isinstance(wrong.__cause__, sqlite3.Error):
        wrong = wrong.__cause__
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
