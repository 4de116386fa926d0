"""No core file: what a program has in memory when it crashes would lie on the disk, keys and all."""

from resource import RLIMIT_CORE, getrlimit, setrlimit


def forbid_core_files() -> None:
    """Let this process leave none, whatever whoever has started it allows.

    Where the system hands what is left of a process to a program instead of writing a file, that program is told
    of this limit; systemd's keeps to it.
    """
    _, hard = getrlimit(RLIMIT_CORE)
    setrlimit(RLIMIT_CORE, (0, hard))
