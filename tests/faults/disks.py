"""Disks that fill up, fail and hang: a real one of a few megabytes, and one that only pretends (disk_faults.c)."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from pathlib import Path
from shutil import which
from typing import ClassVar, Final, Protocol

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.faults.programs import MIB
from tests.relay.process import fresh_directory

SOURCE: Final = Path(__file__).with_name("disk_faults.c")
DISK_BYTES: Final = 64 * MIB
FINE, SYNC_FAILS, WRITE_FAILS, SYNC_HANGS, FULL = range(5)
_WORD: Final = struct.Struct("q")
_WORDS: Final = ("mode", "room", "failures", "syncs", "unsynced", "early", "sent")


class Disk(Protocol):
    """A disk that can be full. `name` says which."""

    name: ClassVar[str]
    path: Path
    environment: dict[str, str]
    """What a program needs that is to use it."""

    def fill(self) -> None:
        """From now on there is no room."""

    def empty(self) -> None:
        """There is room again."""


class RealDisk:
    """A file system in memory, filled by a file beside those of the relay. `OSError` where none may be mounted."""

    name: ClassVar = "tmpfs"

    def __init__(self, case: SynchronousTestCase) -> None:
        self.environment: dict[str, str] = {}
        self.path = fresh_directory(case)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            raise OSError(done.stderr.strip())
        # Whatever still uses it then, such as a relay that is ended after this, keeps it for as long.
        case.addCleanup(subprocess.run, ["umount", "-l", str(self.path)], timeout=20, check=True)

    def fill(self) -> None:
        """Write as long as there is room, to the last byte."""
        with (self.path / "filler").open("ab", buffering=0) as filler:
            for size in (MIB, 4_096, 1):
                try:
                    while True:
                        filler.write(bytes(size))
                except OSError:
                    continue

    def empty(self) -> None:
        """Delete what has filled it."""
        (self.path / "filler").unlink()


class FaultyDisk:
    """A disk that is as good as the one below it until it is told otherwise. `SkipTest` without a C compiler."""

    name: ClassVar = "LD_PRELOAD"

    def __init__(self, case: SynchronousTestCase) -> None:
        compiler = which("cc") or which("gcc")
        if compiler is None:
            raise SkipTest("no C compiler")
        folder, self.path = fresh_directory(case), fresh_directory(case)
        library, control = folder / "disk_faults.so", folder / "control"
        warnings = ["-Wall", "-Wextra", "-Werror"]
        command = [compiler, "-O1", *warnings, "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-ldl"]
        subprocess.run(command, capture_output=True, timeout=60, check=True)
        control.write_bytes(bytes(len(_WORDS) * _WORD.size))
        with control.open("r+b") as file:
            self._words = mmap.mmap(file.fileno(), 0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "DISK_FAULTS": str(control),
            "DISK_FAULTS_BELOW": str(self.path),
        }

    def __getitem__(self, word: str) -> int:
        return int(_WORD.unpack_from(self._words, _WORDS.index(word) * _WORD.size)[0])

    def __setitem__(self, word: str, value: int) -> None:
        _WORD.pack_into(self._words, _WORDS.index(word) * _WORD.size, value)

    def fill(self) -> None:
        """Nothing can be written any more but over what is there."""
        self["room"] = 0
        self["mode"] = FULL

    def empty(self) -> None:
        """All is well again."""
        self["mode"] = FINE


def small_disk(case: SynchronousTestCase) -> Disk:
    """A real disk, or, where none may be mounted, one that pretends."""
    if os.geteuid() == 0:
        try:
            return RealDisk(case)
        except OSError:
            pass
    return FaultyDisk(case)
