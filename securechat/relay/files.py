"""Secrets in files: never where others can read them."""

from pathlib import Path
from stat import S_IMODE

from securechat.relay.errors import RelayError


def check_private(path: Path, forbidden: int = 0o077) -> None:
    """Raise `RelayError` where others than the owner may use a file."""
    if S_IMODE(path.stat().st_mode) & forbidden:
        raise RelayError(f"others can read {path}; run chmod 600 on it, or make a new key if they have")
