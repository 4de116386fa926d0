"""What the client keeps on disk: which key each relay had when it was first met.

Everything lies under one directory: `--home`, else `SECURECHAT_HOME`, else where the system keeps a user's
program data. It is made for its owner alone.
"""

import os
import re
from collections.abc import Mapping
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from securechat.client.errors import ClientError, Exit
from securechat.disk.whole import write_whole

PINS_FILE: Final = "known_relays"

_LINE = re.compile(r"(\S+) ([0-9a-f]{64})")


def home_directory(option: str | None, environ: Mapping[str, str]) -> Path:
    """Where this user's files are."""
    chosen = option or environ.get("SECURECHAT_HOME")
    return Path(chosen).expanduser() if chosen else user_data_path("securechat")


class Pins:
    """The fingerprints of relays that were met, in `known_relays`: a line each, place and fingerprint."""

    def __init__(self, home: Path) -> None:
        self.path = home / PINS_FILE

    def find(self, place: str) -> str | None:
        """The fingerprint remembered for a place. Raises `ClientError` where the file cannot be read."""
        return self._read().get(place)

    def remember(self, place: str, fingerprint: str) -> None:
        """Remember a relay's key from now on. Raises `ClientError` where that cannot be written."""
        if self.find(place) == fingerprint:
            return
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # Held until the directory is closed: another client may be adding a line of its own.
                flock(directory, LOCK_EX)
                pins = {**self._read(), place: fingerprint}
                lines = "".join(f"{each} {pins[each]}\n" for each in sorted(pins))
                write_whole(self.path, lines.encode(), 0o600)
            finally:
                os.close(directory)
        except OSError as wrong:
            raise ClientError(f"cannot write {self.path}: {wrong.strerror}") from wrong

    def _read(self) -> dict[str, str]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as wrong:
            raise ClientError(f"cannot read {self.path}") from wrong
        pins: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            match = _LINE.fullmatch(line.strip())
            if match is not None:
                pins[match[1]] = match[2]
            elif line.strip() and not line.startswith("#"):
                # Guessing here would quietly trust any key: the user decides.
                raise ClientError(f"line {number} of {self.path} is damaged; mend or remove it", Exit.PROTOCOL)
        return pins
