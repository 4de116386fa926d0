"""A program whose wall clock can be stepped from outside: `python -m tests.faults.stepped PROGRAM WORDS`.

The seconds by which it is wrong stand in the file that `STEPPED_BY` names, eight bytes that are mapped into memory.
The monotonic clock is left alone, as it is where somebody sets a machine's clock.
"""

import mmap
import os
import struct
import sys
import time
from pathlib import Path
from typing import Final

WRONG: Final = struct.Struct("d")


class Stepped:
    """The file with the seconds, seen by who steps the clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(WRONG.size))

    def by(self, seconds: float) -> None:
        """From now on the clock is wrong by so many seconds."""
        with self.path.open("r+b") as file:
            file.write(WRONG.pack(seconds))


def step() -> None:
    """Replace the wall clock of this process."""
    with open(os.environ["STEPPED_BY"], "rb") as file:
        wrong = mmap.mmap(file.fileno(), WRONG.size, access=mmap.ACCESS_READ)
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + WRONG.unpack_from(wrong)[0]
    time.time_ns = lambda: right_ns() + int(WRONG.unpack_from(wrong)[0] * 1e9)


if __name__ == "__main__":
    step()
    program, *words = sys.argv[1:]
    sys.argv = [program, *words]
    if program == "twistd":
        from twisted.scripts.twistd import run

        run()
    else:
        from securechat.__main__ import main

        sys.exit(main(words))
