"""`openssl speed` as a yardstick: what the cipher and the MAC alone cost, with nothing around them.

It times AES-256-CBC and HMAC-SHA-512 one by one on buffers as long as a message gives them, each under one
key that was set up before, on one core. Sealing is both, so the estimate of a message is the sum of the two
times: what a perfect program would take for whom keys, copies and Python cost nothing.
"""

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from securechat.bench.crypto import NoYardstick
from securechat.bench.material import ASSOCIATED_BYTES
from securechat.bench.rows import Row
from securechat.crypto.aead import IV_BYTES, TAG_BYTES, sealed_bytes

PROGRAM: Final = "openssl"
NO_PROGRAM: Final = "the program is not installed"
ENCRYPT: Final = ("-evp", "aes-256-cbc")
DECRYPT: Final = ("-decrypt", "-evp", "aes-256-cbc")
MAC: Final = ("-hmac", "sha512")
ESTIMATE: Final = "estimate"
"""The path of its rows."""
_LENGTH_BYTES: Final = 8
_TIMEOUT_S: Final = 30

Speed = Callable[[Sequence[str]], str]
"""Runs `openssl speed` with arguments, and gives what it printed. Raises NoYardstick."""


def run_speed(arguments: Sequence[str], path: str | None = None) -> str:
    """Run the real program, looked for in `path`, or $PATH. Raises NoYardstick where it is not there or fails."""
    program = shutil.which(PROGRAM, path=path)
    if program is None:
        raise NoYardstick(NO_PROGRAM)
    command = [program, "speed", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        raise NoYardstick(f"`openssl speed {' '.join(arguments)}` failed") from None
    return done.stdout


def parse(printed: str) -> float:
    """Give the bytes in a second from what `openssl speed -mr` printed for one algorithm and one size.

    That is the last field of the line that begins with +F. Raises NoYardstick where there is none.
    """
    for line in printed.splitlines():
        if line.startswith("+F:"):
            try:
                rate = float(line.rpartition(":")[2])
            except ValueError:
                break
            if rate > 0:
                return rate
    raise NoYardstick("what `openssl speed -mr` printed is not understood")


def estimates(counts: Mapping[int, int], speed: Speed = run_speed) -> list[Row]:
    """Give a row for sealing and one for opening, for so many messages of each size. Takes three seconds a size."""
    rows = []
    for size, n in counts.items():
        ciphertext = sealed_bytes(size) - IV_BYTES - TAG_BYTES
        mac_s = _seconds(MAC, ASSOCIATED_BYTES + IV_BYTES + ciphertext + _LENGTH_BYTES, speed)
        for operation, cipher in (("seal", ENCRYPT), ("open", DECRYPT)):
            seconds = n * (mac_s + _seconds(cipher, ciphertext, speed))
            rows.append(Row(PROGRAM, ESTIMATE, operation, size, n, seconds, seconds, seconds, None))
    return rows


def _seconds(what: Sequence[str], size: int, speed: Speed) -> float:
    """Give the seconds that one buffer takes. The rate is by the processor's time, as openssl has it."""
    return size / parse(speed(["-mr", "-seconds", "1", "-bytes", str(size), *what]))
