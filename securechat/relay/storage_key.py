"""The operator's storage key: what the store's rows are sealed under, and what they are found by.

32 random bytes, in `storage.key` of the data directory or wherever the operator keeps them. HKDF makes two keys of
them: one seals rows (A256CBC-HS512), the other makes tags, 16 bytes of HMAC-SHA-256, under which a row is found
by those who have the key. Whoever has only the store's files sees how many rows there are and how long they are.
"""

import hmac
from os import urandom
from pathlib import Path
from typing import Final

from securechat.crypto.aead import MAC_KEY_BYTES, SECRET_BYTES, message_key
from securechat.disk.whole import write_whole
from securechat.relay.errors import RelayError
from securechat.relay.files import check_private
from securechat.signed.encoding import lp

KEY_FILE: Final = "storage.key"
KEY_ID: Final = b"\x01"
"""Stands in front of every sealed row, so that rows under another key can stand beside them one day."""

TAG_BYTES: Final = 16


class StorageKey:
    """What a storage key is good for."""

    def __init__(self, secret: bytes) -> None:
        self.row_key = message_key(secret, b"securechat/1 relay store rows")
        self._index_key = message_key(secret, b"securechat/1 relay store index")[:MAC_KEY_BYTES]

    def tag(self, table: str, *parts: bytes) -> bytes:
        """What a row of a table is found by; each part counts with its length."""
        return hmac.digest(self._index_key, table.encode() + b"\0" + lp(*parts), "sha256")[:TAG_BYTES]


def load_or_make(directory: Path, elsewhere: Path | None, store: Path) -> StorageKey:
    """The key `elsewhere`, or else the one in `directory`, made there for a new store. Raises `RelayError`."""
    path = directory / KEY_FILE
    if elsewhere is not None or path.exists():
        return load(directory, elsewhere)
    if store.exists():
        raise RelayError(f"{path} is missing, and without it {store} cannot be read")
    secret = urandom(SECRET_BYTES)
    try:
        write_whole(path, secret, 0o600)
    except OSError as wrong:
        raise RelayError(f"cannot use {path}: {wrong.strerror}") from wrong
    return StorageKey(secret)


def load(directory: Path, elsewhere: Path | None) -> StorageKey:
    """The key `elsewhere`, or else the one in `directory`. Raises `RelayError`."""
    path = directory / KEY_FILE if elsewhere is None else elsewhere
    try:
        # What a service manager hands over is often the group's to read.
        check_private(path, 0o077 if elsewhere is None else 0o007)
        secret = path.read_bytes()
    except OSError as wrong:
        raise RelayError(f"cannot use {path}: {wrong.strerror}") from wrong
    if len(secret) != SECRET_BYTES:
        raise RelayError(f"{path} is no storage key: it should have {SECRET_BYTES} bytes")
    return StorageKey(secret)
