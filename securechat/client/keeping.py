"""When the key store is written: at once for what others or later starts rely on, else within a second.

At once, before anything that hangs on it is shown or sent: a prekey before it is offered, as what is sealed to it
could not be opened after a crash; a key that was met, or accepted, or verified, as the next start would take
another one under that name for the first.

Within a second: the sessions of others, which move with every message, and the prekeys that we last sealed to.
What a crash takes of them does no harm to a secret: a session goes back by a second, so the relay could show the
messages of that second once more, each still authentic, and a key that is gone is asked for again. A write of the
store for every message, forced to the disk, would cost more than the message. And never before what was told is
taken by whoever reads it: what the store says was told is not told again.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from securechat.client.errors import ClientError
from securechat.client.keys import KeyFile
from securechat.e2e.keystore import KeyStore

SAVE_S: Final = 1.0
"""Seconds until what has changed in the key store is written."""


class Keeper:
    """Writes one store. `pack` puts into the secrets what only the conversation has, before each writing."""

    def __init__(
        self, file: KeyFile, store: KeyStore, clock: IReactorTime, failed: Callable[[ClientError], None]
    ) -> None:
        """Take the file, its store, the clock, and whom to tell of a store that cannot be written."""
        self.pack: Callable[[], None] = lambda: None
        self.stored: Callable[[], None] = lambda: None
        """Hears whenever the store was written."""
        self.is_taken: Callable[[], bool] = lambda: True
        """Asks whether all that was told is out of our hands: what the store has is not told again."""
        self._file = file
        self._store = store
        self._clock = clock
        self._failed = failed
        self._call: IDelayedCall | None = None

    def soon(self) -> None:
        """Something changed that may wait: for a second, and until what was told is taken."""
        if self._call is None:
            self._call = self._clock.callLater(SAVE_S, self._waited)

    def _waited(self) -> None:
        self._call = None
        if self.is_taken():
            self.now()
        else:
            self.soon()

    def now(self) -> None:
        """Write at once; a failure is told, and ends the client."""
        try:
            self.store()
        except ClientError as wrong:
            self._failed(wrong)

    def store(self) -> None:
        """Write at once. Raises `ClientError`."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        # As much of it as can be: what waits now does not wait for the reader of a pipe.
        self.is_taken()
        self.pack()
        self._file.save(self._store)
        self.stored()

    def close(self) -> None:
        """Write for the last time, and let another process have the file."""
        self.now()
        self._file.close()
