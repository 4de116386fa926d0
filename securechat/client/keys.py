"""Our keys on disk: one store for each relay and name, made at the first start, for its owner alone.

A store is written beside its place, forced to the disk, and then renamed; so is, after it, a second file that
remembers its counter. A store that was put back from an older copy is noticed by that, unless both were. One
process at a time may hold a store: two that log in as one person would push each other out.

A store that is gone while its counter is there is not made anew in silence: to everybody else, and to the relay,
the new keys would be somebody else's under the same name.
"""

import os
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import sha256
from pathlib import Path
from stat import S_IMODE
from typing import Final

from securechat.client.errors import ClientError, Exit
from securechat.disk.whole import write_whole
from securechat.e2e.identity import new_person
from securechat.e2e.keystore import Cost, KeyStore, Secrets, StoreError, StoreFault, open_store
from securechat.e2e.prekeys import PrekeyRing

FOLDER: Final = "keys"

_STATUS: Final = {
    StoreFault.LOCKED: Exit.NOT_PERMITTED,
    StoreFault.NOT_LOCKED: Exit.PROTOCOL,
    StoreFault.ROLLED_BACK: Exit.PROTOCOL,
}


class KeyFile:
    """The file of one identity."""

    def __init__(self, home: Path, place: str, name: str) -> None:
        """Take the home directory, the relay's place as addresses write it, and the name."""
        self._place = f"{place} {name}".encode()
        self._name = name
        # A place has characters that no file name should have, and may be as long as a path.
        self.path = home / FOLDER / f"{name}-{sha256(place.encode()).hexdigest()[:16]}.keys"
        self.counter_path = self.path.with_suffix(".count")
        self._held: int | None = None

    @property
    def ledger_path(self) -> Path:
        """Where what must survive at once is written, by who holds the store."""
        return self.path.with_suffix(".ledger")

    @property
    def exists(self) -> bool:
        """Whether there are keys, or were."""
        return self.path.exists() or self._had_keys

    @property
    def _had_keys(self) -> bool:
        """Whether there were keys once: what counted their writings is there."""
        return self.counter_path.exists()

    def open(
        self,
        now_ms: int,
        passphrase: str | None = None,
        ask: Callable[[], str] | None = None,
        cost: Cost | None = None,
    ) -> KeyStore:
        """Open the store, or make one with new keys, and hold it until `close`.

        With a `passphrase` the store must have one, and a new one gets it, at this cost; `ask` is called for one
        where the store turns out to be locked. Raises `ClientError` where another process holds it, others may read
        it, it cannot be read or written, it is damaged, gone, or older than it was, or the passphrase is wrong; and
        whatever `ask` raises.
        """
        self._hold()
        try:
            return self._opened(now_ms, passphrase, ask, cost)
        except BaseException:
            self.close()
            raise

    def save(self, store: KeyStore) -> None:
        """Write the store as it is now. Raises `ClientError` where that cannot be done."""
        try:
            # The counter comes second: a crash in between leaves one that is too low, and never one too high.
            write_whole(self.path, store.write(), 0o600)
            write_whole(self.counter_path, b"%d\n" % store.counter, 0o600)
        except OSError as wrong:
            raise self._trouble("write", self.path, wrong) from wrong

    def lock(self, store: KeyStore, passphrase: str | None, cost: Cost | None = None) -> None:
        """Put the store under a passphrase, or None for none, from the next `save` on. Raises `ClientError`."""
        try:
            store.set_passphrase(passphrase, cost)
        except StoreError as wrong:
            raise self._unusable(wrong) from wrong

    def close(self) -> None:
        """Let another process have it."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def _opened(
        self, now_ms: int, passphrase: str | None, ask: Callable[[], str] | None, cost: Cost | None
    ) -> KeyStore:
        data = self._read()
        if data is None:
            person = new_person(self._name, now_ms)
            store = KeyStore(Secrets(person, PrekeyRing(person.device)), self._place)
            if passphrase is not None:
                self.lock(store, passphrase, cost)
            self.save(store)
            return store
        at_least = self._remembered()
        try:
            return open_store(data, self._place, passphrase, at_least)
        except StoreError as wrong:
            if wrong.fault is not StoreFault.LOCKED or passphrase is not None or ask is None:
                raise self._unusable(wrong) from wrong
        try:
            return open_store(data, self._place, ask(), at_least)
        except StoreError as wrong:
            raise self._unusable(wrong) from wrong

    def _hold(self) -> None:
        """Make the folder where there is none, and keep other processes out."""
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if S_IMODE(folder.stat().st_mode) & 0o077:
                folder.chmod(0o700)
            held = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as wrong:
            raise self._trouble("use", folder, wrong) from wrong
        try:
            flock(held, LOCK_EX | LOCK_NB)
        except OSError:
            os.close(held)
            raise ClientError(
                f"another securechat is running as {self._name} at this relay", Exit.NOT_PERMITTED
            ) from None
        self._held = held

    def _read(self) -> bytes | None:
        """The store; None before the first start."""
        try:
            with self.path.open("rb") as file:
                if S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    # Not put right in silence: whoever could read it may have your keys already.
                    raise ClientError(
                        f"others on this machine may read {self.path}, and so be you; chmod 600 it if nobody did",
                        Exit.NOT_PERMITTED,
                    )
                return file.read()
        except FileNotFoundError:
            if self._had_keys:
                raise ClientError(
                    f"your keys are gone from {self.path}; put them back, or remove {self.counter_path.name} "
                    "beside it to begin with new ones, which others will not take for yours",
                    Exit.PROTOCOL,
                ) from None
            return None
        except OSError as wrong:
            raise self._trouble("read", self.path, wrong) from wrong

    def _remembered(self) -> int:
        """The counter of the last writing; 0 where nobody remembers it, which only lets an older store by."""
        try:
            return int(self.counter_path.read_bytes()[:20])
        except (OSError, ValueError):
            return 0

    def _trouble(self, what: str, path: Path, wrong: OSError) -> ClientError:
        return ClientError(f"cannot {what} {path}: {wrong.strerror}")

    def _unusable(self, wrong: StoreError) -> ClientError:
        return ClientError(f"{self.path}: {wrong}", _STATUS.get(wrong.fault, Exit.FAILED))
