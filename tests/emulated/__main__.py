"""Run tests with PyCUDA: `python -m tests.emulated [--real] [ARGUMENTS OF TRIAL] [TESTS]`.

With --real the driver is the machine's. The status is trial's, 77 where cuda.h is missing, 1 where something can't
be built.
"""

import os
import sys
from typing import Final, NoReturn

from tests.emulated.build import CHECKOUT, HERE, BuildError, NoHeadersError, build_driver, build_pycuda

MISSING: Final = 77
"""What test harnesses take for "not possible here", as opposed to failed."""
SUFFIX: Final = "_cases"


def prepended(variable: str, folder: str) -> str:
    """Give a search path of the environment with a folder in front."""
    return os.pathsep.join(filter(None, [folder, os.environ.get(variable)]))


def become_trial(arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """Go on as trial, which so gets the terminal, the signals and the exit status."""
    os.execve(sys.executable, [sys.executable, "-m", "twisted.trial", *arguments], environment)


def main(words: list[str]) -> int:
    """Build what is missing, then go on as trial; give the status where that isn't possible."""
    real = "--real" in words
    rest = [word for word in words if word != "--real"]
    try:
        driver = build_driver()
        pycuda = build_pycuda(driver)
    except BuildError as error:
        print(f"run.py cuda: {error}", file=sys.stderr)
        return MISSING if isinstance(error, NoHeadersError) else 1
    environment = {**os.environ, "PYTHONPATH": prepended("PYTHONPATH", str(pycuda))}
    if not real:
        environment["LD_LIBRARY_PATH"] = prepended("LD_LIBRARY_PATH", str(driver))
    if all(word.startswith("-") for word in rest):
        rest += [f"tests.emulated.{path.stem}" for path in sorted(HERE.glob(f"*{SUFFIX}.py"))]
    os.chdir(CHECKOUT)
    become_trial(rest, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
