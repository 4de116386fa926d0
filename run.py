#!/usr/bin/env python3
"""Everything this checkout can do, with nothing installed but Python 3.11 or newer.

    python3 run.py demo                  a relay and its clients, now, explained step by step
    python3 run.py test [TESTS]          all tests, or some: python3 run.py test tests.wire
    python3 run.py faults [TESTS]        what relay and clients must survive, the tests that take minutes too
    python3 run.py cuda [--real] [TESTS] the tests that need PyCUDA, on an emulated GPU or this machine's
    python3 run.py lint                  ruff (rules, format) and mypy
    python3 run.py bench [NAME] [ARGS]   all benchmarks, or the one of that name
    python3 run.py PROGRAM [ARGS]        a program of the environment, such as:
    python3 run.py securechat chat alice
    python3 run.py twistd -n securechat

The first call makes .venv beside this file and installs securechat there, editable. Later calls
install again only when a packaging file or the C extension has changed.
"""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
from subprocess import DEVNULL

if sys.version_info < (3, 11):
    sys.exit("run.py: securechat needs Python 3.11 or newer; this one is %d.%d." % sys.version_info[:2])

HERE = pathlib.Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
UNFINISHED = VENV / "unfinished"  # there while the environment is being made
DEV_PROGRAMS = ("lint", "ruff", "mypy", "towncrier", "coverage", "pyproject-build")
NO_VENV = """run.py: this Python cannot make a virtual environment (venv or ensurepip is missing).
On Debian and Ubuntu:  sudo apt install python3-venv
Then run the same command again."""


def wanted_stamp() -> str:
    """Return what an up-to-date stamp says: where the checkout is, and a digest of its packaging files."""
    sources = [HERE / name for name in ("setup.cfg", "pyproject.toml", "setup.py", "securechat/crypto/_native.c")]
    packaging = b"".join(source.read_bytes() for source in sources if source.exists())
    return "%s\n%s\n" % (HERE, hashlib.sha256(packaging).hexdigest())


def stamps() -> list[str]:
    """Return the contents of all stamps in .venv: one for each extra, written after its installation."""
    return [path.read_text() for path in VENV.glob("stamp-*")]


def is_usable() -> bool:
    """Tell whether .venv can be installed into: whole, not moved since it was made, with Python and pip."""
    if UNFINISHED.exists() or any(not stamp.startswith("%s\n" % HERE) for stamp in stamps()):
        return False
    probe = [str(PYTHON), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    return PYTHON.exists() and subprocess.call(probe, stdin=DEVNULL, stderr=DEVNULL) == 0


def make_venv() -> None:
    """Make .venv anew, or leave none."""
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        import ensurepip  # noqa: F401  (venv needs it, and says so less clearly)
        import venv

        VENV.mkdir()
        UNFINISHED.touch()
        venv.EnvBuilder(symlinks=True, with_pip=True).create(VENV)
        UNFINISHED.unlink()
    except (ImportError, SystemExit, subprocess.CalledProcessError):  # Debian's venv exits by itself
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit(NO_VENV)
    except BaseException:
        shutil.rmtree(VENV, ignore_errors=True)
        raise


def install(extras: list[str]) -> None:
    """Install the checkout with these extras, unless every one of their stamps is up to date."""
    files = [VENV / ("stamp-" + extra) for extra in extras]
    with open(__file__) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second terminal waits instead of installing as well
        if PYTHON.exists() and all(file.exists() and file.read_text() == wanted_stamp() for file in files):
            return
        print("run.py: installing into %s ..." % VENV, file=sys.stderr, flush=True)
        if not is_usable():
            make_venv()
        for file in files:
            file.unlink(missing_ok=True)
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input"]
        # Standard input and output belong to the program that is wanted, not to pip.
        status = subprocess.call(
            [*pip, "-e", ".[%s]" % ",".join(extras)], cwd=HERE, stdin=DEVNULL, stdout=sys.stderr
        )
        if status:
            sys.exit("run.py: the installation failed (see above); the next run tries again.")
        for file in files:
            file.write_text(wanted_stamp())


def become(program: pathlib.Path, *arguments: str) -> None:
    """Go on as this program, which so gets the terminal, the signals and the exit status."""
    os.execv(str(program), [str(program), *arguments])


def run_all(*commands: list[str]) -> int:
    """Run programs of .venv in the checkout one after the other; return the first status that is not 0."""
    statuses = [subprocess.call([str(VENV / "bin" / name), *rest], cwd=HERE) for name, *rest in commands]
    return next((status for status in statuses if status), 0)


def main(words: list[str]) -> int:
    """Do what the words of the command line say; return the exit status."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(str(__doc__).strip())
        return 0
    word, rest = words[0], words[1:]
    install(["test", "dev"] if word in DEV_PROGRAMS else ["test"])
    if word == "lint":
        return run_all(["ruff", "check", *rest], ["ruff", "format", "--check", *rest], ["mypy", *rest])
    if word == "bench":
        scripts = {path.stem: str(path) for path in sorted(HERE.glob("benchmarks/[a-z]*.py"))}
        chosen = [scripts[rest.pop(0)]] if rest and rest[0] in scripts else list(scripts.values())
        return run_all(*(["python", script, *rest] for script in chosen))
    if word == "demo":
        become(PYTHON, "-m", "securechat", "demo", *rest)
    if word == "test":
        os.chdir(HERE)
        targets = [] if any(not argument.startswith("-") for argument in rest) else ["tests"]
        become(PYTHON, "-m", "twisted.trial", *rest, *targets)
    if word == "faults":
        os.chdir(HERE)
        targets = ["tests.faults", *("tests.faults." + path.stem for path in HERE.glob("tests/faults/*_cases.py"))]
        if any(not argument.startswith("-") for argument in rest):
            targets = []
        become(PYTHON, "-m", "twisted.trial", *rest, *targets)
    if word == "cuda":
        os.chdir(HERE)
        become(PYTHON, "-m", "tests.emulated", *rest)
    if not (VENV / "bin" / word).is_file():
        sys.exit("run.py: there is no command or program %r; python3 run.py --help lists them." % word)
    become(VENV / "bin" / word, *rest)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
