"""Our keys on disk: one store for each relay and name, made at the first start, for its owner alone.

A store is written beside its place and then renamed, after what it holds was forced to the disk. Its counter is
written to a second file, so that a store that was put back from an older copy is noticed (unless both were). One
process at a time may hold a store: two that send under one identity would push each other out.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import sha256
from pathlib import Path
from typing import Final

from securechat.client.errors import ClientError, Exit
from securechat.e2e.identity import new_person
from securechat.e2e.keystore import KeyStore, Secrets, StoreError, StoreFault, open_store
from securechat.e2e.prekeys import PrekeyRing

FOLDER: Final = "keys"


class KeyFile:
    """The file of one identity."""

    def __init__(self, home: Path, place: str, name: str) -> None:
        """Take the home directory, the relay's place as addresses write it, and the name."""
        self._place = f"{place} {name}".encode()
        self._name = name
        self.path = home / FOLDER / f"{name}-{sha256(place.encode()).hexdigest()[:16]}.keys"
        self._counter = self.path.with_suffix(".count")
        self._held: int | None = None

    def open(self, now_ms: int, passphrase: Callable[[], str] | None = None) -> KeyStore:
        """Open the store, or make one with new keys. `passphrase` is asked where it is locked.

        Raises ClientError where another process holds it, it can't be read or written, is damaged or older than
        it was, or the passphrase is wrong.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._hold()
            data = self.path.read_bytes() if self.path.exists() else None
        except OSError as wrong:
            raise ClientError(f"cannot use {self.path}: {wrong.strerror}") from wrong
        if data is None:
            person = new_person(self._name, now_ms)
            store = KeyStore(Secrets(person, PrekeyRing(person.device)), self._place)
            self.save(store)
            return store
        try:
            return open_store(data, self._place, None, self._remembered())
        except StoreError as wrong:
            if wrong.fault is not StoreFault.LOCKED or passphrase is None:
                raise self._unusable(wrong) from wrong
        try:
            return open_store(data, self._place, passphrase(), self._remembered())
        except StoreError as wrong:
            raise self._unusable(wrong) from wrong

    def save(self, store: KeyStore) -> None:
        """Write the store as it is now. Raises ClientError where that can't be done."""
        try:
            self._replace(self.path, store.write())
            self._replace(self._counter, b"%d\n" % store.counter)
        except OSError as wrong:
            raise ClientError(f"cannot write {self.path}: {wrong.strerror}") from wrong

    def close(self) -> None:
        """Let another process have it."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def _hold(self) -> None:
        if self._held is not None:
            return
        held = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            flock(held, LOCK_EX | LOCK_NB)
        except OSError:
            os.close(held)
            raise ClientError(
                f"another securechat is running as {self._name} at this relay", Exit.NOT_PERMITTED
            ) from None
        self._held = held

    def _replace(self, path: Path, data: bytes) -> None:
        part = path.with_name(f"{path.name}.part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def _remembered(self) -> int:
        with suppress(OSError, ValueError):
            return int(self._counter.read_bytes()[:20])
        return 0

    def _unusable(self, wrong: StoreError) -> ClientError:
        return ClientError(f"{self.path}: {wrong}", Exit.PROTOCOL)
