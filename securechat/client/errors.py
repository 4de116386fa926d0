"""The root of what this package raises, and what the exit status says (as in sysexits.h where it has a number)."""

from enum import IntEnum


class Exit(IntEnum):
    """How `securechat` ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BAD_DATA = 65
    UNREACHABLE = 69
    PROTOCOL = 76
    NOT_PERMITTED = 77
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_HELP = """exit status:
  0    done; everything sent was acknowledged
  1    something failed
  2    the command line was wrong
  65   a line of the input could not be sent
  69   the relay cannot be reached, or was not reached again in time
  76   what answers is no relay, speaks another version, or has another key than before; or your keys were put back
  77   not permitted: the name is owned or bad, the relay is full, or your keys are locked
  130  stopped by Ctrl-C
  141  nobody reads the output any more
"""


class ClientError(Exception):
    """The client cannot go on: one line for the user that says what to do, and the exit status."""

    def __init__(self, text: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(text)
        self.status = status
