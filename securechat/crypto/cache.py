"""Files that may be lost at any time: the user's cache folder, for what takes long to make again.

The folder is `SECURECHAT_HOME` where that is set, else where the system keeps a user's caches. It is made for
its owner alone. Files appear whole. Nothing here raises: a cache that does not work costs time, and nothing
else; what belongs to somebody else, or may be written by others, is not looked at.
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path


def user_folder(environ: Mapping[str, str]) -> Path:
    """Tell where this user's files are."""
    home = environ.get("SECURECHAT_HOME")
    return Path(os.path.expanduser(home)) if home else user_cache_path("securechat")


class Cache:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        """Take the folder. It need not be there."""
        self._folder = folder

    @classmethod
    def of_user(cls, environ: Mapping[str, str]) -> "Cache":
        """Give this user's."""
        return cls(user_folder(environ))

    def read(self, name: str, most_bytes: int) -> bytes | None:
        """Give what is kept under a name; None where nothing of ours is, or more than so many bytes."""
        with suppress(OSError), open(self._folder / name, "rb") as file:
            found = os.fstat(file.fileno())
            others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if found.st_uid == os.getuid() and not others and found.st_size <= most_bytes:
                return file.read(most_bytes)
        return None

    def write(self, name: str, data: bytes) -> None:
        """Keep something under a name, if that is possible."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # mkstemp makes the file for its owner alone, under a name that was free; not synced to the disk,
            # since whoever reads checks what is in it.
            descriptor, part = tempfile.mkstemp(prefix=f"{name}.", dir=self._folder)
            try:
                with open(descriptor, "wb") as file:
                    file.write(data)
                os.replace(part, self._folder / name)
            except OSError:
                with suppress(OSError):
                    os.unlink(part)
