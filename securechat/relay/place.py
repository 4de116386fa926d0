"""Where a relay's data is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

STORE_FILE: Final = "relay.db"


def data_directory(chosen: str | None, environ: Mapping[str, str]) -> Path:
    """The directory that was chosen, or systemd's, or the user's own."""
    if chosen:
        return Path(chosen)
    if environ.get("STATE_DIRECTORY"):
        return Path(environ["STATE_DIRECTORY"])
    return user_data_path("securechat") / "relay"
