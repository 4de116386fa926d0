"""GPUCrypto: seal and open data under one 32-byte key, one piece or many at a time.

What it gives is `iv (16) | ciphertext | tag (32)`, see aead, with no associated data, under the key
`message_key(key, b"securechat/1 GPUCrypto")`.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from securechat.crypto.aead import SECRET_BYTES, OpenError, message_key
from securechat.crypto.engine import Engine, as_bytes
from securechat.crypto.engines import choose

LABEL: Final = b"securechat/1 GPUCrypto"
"""What the key is derived for."""


class GPUCrypto:
    """Authenticated encryption under one key, for one thread at a time.

    Close it, or use it as a context manager, so that an engine that holds a device gives it back.
    """

    def __init__(self, key: bytes, engine: str | Engine = "auto") -> None:
        """Take a secret of 32 random bytes, and "auto", "cpu", "native", "cuda" or an engine.

        Raises ValueError for a key of another length and for an unknown name, EngineUnavailable for
        "native" and "cuda" where they cannot be used, with the reason. "cuda" wants PyCUDA and a GPU,
        and opens it now, which takes a second or more. "auto" takes "native" where it was built and else
        "cpu", and says so once in the log. Where there is a GPU it opens that in the background with the
        first large batch, and from then on gives it those that it does sooner.
        """
        secret = as_bytes("key", key)
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"key: expected {SECRET_BYTES} bytes, got {len(secret)}")
        self._engine = choose(engine) if isinstance(engine, str) else engine
        self._key = message_key(secret, LABEL)

    @property
    def engine(self) -> str:
        """The name of the engine in use."""
        return self._engine.name

    def encrypt(self, data: bytes) -> bytes:
        """Seal one piece, under a fresh random iv."""
        return self.encrypt_many([as_bytes("data", data)])[0]

    def decrypt(self, sealed: bytes) -> bytes:
        """Open one piece. Raises OpenError if it is not exactly what `encrypt` gave under this key."""
        opened = self.decrypt_many([as_bytes("sealed", sealed)])[0]
        if opened is None:
            raise OpenError
        return opened

    def encrypt_many(self, pieces: Sequence[bytes]) -> list[bytes]:
        """Seal many pieces in one call, each under its own iv. Much faster than one by one."""
        return self._engine.seal_list(self._key, [b""] * len(pieces), pieces)

    def decrypt_many(self, sealed: Sequence[bytes]) -> list[bytes | None]:
        """Open many pieces in one call; None stands where a piece is not authentic.

        It does not raise: whoever forges one of ten thousand pieces must not be able to withhold the
        others. None is no byte string, so overlooking it fails at once, and type checkers point at it.
        """
        return self._engine.open_list(self._key, [b""] * len(sealed), sealed)

    def close(self) -> None:
        """Give back what the engine holds."""
        self._engine.close()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
