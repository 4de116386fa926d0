"""The relay that a command is for."""

import os
from dataclasses import dataclass
from pathlib import Path

from securechat.relay.admin.errors import AdminError, Exit
from securechat.relay.place import STORE_FILE
from securechat.relay.storage_key import KEY_FILE, StorageKey, load


@dataclass(frozen=True, slots=True)
class Place:
    """A relay's data directory, and where its storage key is if not in there."""

    directory: Path
    elsewhere: Path | None = None

    @property
    def store(self) -> Path:
        """The store, which may not exist."""
        return self.directory / STORE_FILE

    @property
    def key_path(self) -> Path:
        """The storage key."""
        return self.directory / KEY_FILE if self.elsewhere is None else self.elsewhere

    def key(self) -> StorageKey:
        """The storage key. Raises `RelayError` or `AdminError`."""
        if not self.key_path.exists() and os.access(self.key_path.parent, os.X_OK):
            raise AdminError(f"there is no storage key {self.key_path}", Exit.WRONG_KEY)
        return load(self.directory, self.elsewhere)

    def give(self, *paths: Path) -> None:
        """Give files that root has made to whoever has the directory: the relay has to use them."""
        if os.geteuid() == 0:
            owner = self.directory.stat()
            for path in paths:
                os.chown(path, owner.st_uid, owner.st_gid)
