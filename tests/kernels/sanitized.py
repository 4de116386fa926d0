"""Run the kernels of one library over small batches: `python -m tests.kernels.sanitized LIBRARY`.

It is a process of its own because a sanitizer has to be loaded before everything else, and ends the process
that it finds something in. It prints "agreed", or what is not as the reference has it.
"""

import sys
from pathlib import Path

from tests.kernels.builds import disagreements
from tests.kernels.host import HostKernelEngine

COUNTS = (0, 1, 2, 31, 33)
LONGEST = 600


def main(library: str) -> int:
    """Run; give the exit status."""
    engine = HostKernelEngine(Path(library), grid=2, block=32)
    found = [what for count in COUNTS for what in disagreements(engine, count, LONGEST)]
    print(*found or ["agreed"])
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
