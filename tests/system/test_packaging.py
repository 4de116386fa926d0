"""The package as others meet it: its metadata, the plugin that twistd finds, and run.py on bare machines.

Nothing here reaches a network. Where run.py would make a real environment, a stand-in for the standard
library's `venv` makes one whose Python is a small shell script that writes down what it was asked to do.
"""

from __future__ import annotations

import ast
import configparser
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SkipTest, SynchronousTestCase

CHECKOUT: Final = Path(__file__).resolve().parents[2]
RUN: Final = CHECKOUT / "run.py"
PLUGIN: Final = "twisted/plugins/securechat_plugin.py"
TWISTD: Final = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"

OLD_PYTHON: Final = """
import fcntl, hashlib, pathlib, runpy, shutil, subprocess, sys
sys.version_info = (3, 9, 2, "final", 0)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

FAKE_VENV: Final = r'''
"""A stand-in for venv: its environment's Python logs its arguments and fails where $FAIL_ON says."""
import fcntl, os, pathlib, subprocess, sys

class EnvBuilder:
    def __init__(self, **options):
        assert options["with_pip"]

    def create(self, path):
        log("create")
        try:
            with open(sys.argv[0]) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            log("not locked")
        except BlockingIOError:
            pass
        folder = pathlib.Path(path, "bin")
        folder.mkdir(parents=True)
        for name in ("python", "twistd", "ruff", "mypy"):
            script = folder / name
            script.write_text(SCRIPT % {"name": name})
            script.chmod(0o755)
        if os.environ.get("FAIL_ON") == "create":
            raise subprocess.CalledProcessError(1, "ensurepip")
        if os.environ.get("FAIL_ON") == "exit":
            sys.exit("a message of its own")
        if os.environ.get("FAIL_ON") == "interrupt":
            raise KeyboardInterrupt
        if os.environ.get("FAIL_ON") == "kill":
            os._exit(137)

def log(line):
    with open(os.environ["LOG"], "a") as file:
        file.write(line + "\n")

SCRIPT = """#!/bin/sh
case "$*" in
  *"import pip"*) exit 0;;
  *"pip"*"install"*) echo "install ${*##* }" >>"$LOG"; cat; echo "pip says"; [ "$FAIL_ON" != install ]; exit;;
esac
echo "%(name)s $*" >>"$LOG"
: >it-ran-here
cat
[ "$FAIL_ON" != "%(name)s" ] || exit 7
"""
'''


def run(
    *command: str, cwd: Path = CHECKOUT, text_in: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with this input, and these variables added to the environment."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        input=text_in,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def plugin_lines(help_text: str) -> list[str]:
    """Return the lines of twistd's help that list our plugin."""
    return [line for line in help_text.splitlines() if line.split()[:1] == ["securechat"]]


class MetadataTests(SynchronousTestCase):
    """What the two packaging files say."""

    def setUp(self) -> None:
        """Read both files."""
        self.setup = configparser.ConfigParser()
        self.setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
        self.pyproject = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))

    def test_pyproject_describes_no_package(self) -> None:
        """Pyproject.toml holds the build system and settings of tools, and leaves the rest to setup.cfg."""
        self.assertEqual(set(self.pyproject), {"build-system", "tool"})
        self.assertNotIn("setuptools", self.pyproject["tool"])
        self.assertEqual(self.pyproject["build-system"]["build-backend"], "setuptools.build_meta")

    def test_every_requirement_has_a_lower_bound(self) -> None:
        """Each requirement says from which version on it works."""
        requirements = self.setup["options"]["install_requires"].split("\n")
        for extra in self.setup["options.extras_require"].values():
            requirements += extra.split("\n")
        self.assertEqual([line for line in requirements if line and ">=" not in line], [])

    def test_extras_and_script(self) -> None:
        """The extras cuda, test and dev exist, and so does the command securechat."""
        self.assertEqual(set(self.setup["options.extras_require"]), {"cuda", "test", "dev"})
        scripts = self.setup["options.entry_points"]["console_scripts"].split("\n")
        self.assertIn("securechat = securechat.__main__:main", scripts)

    def test_version_has_one_source(self) -> None:
        """The version is read from the package, where it is a plain literal."""
        self.assertEqual(self.setup["metadata"]["version"], "attr: securechat.__version__")
        tree = ast.parse((CHECKOUT / "securechat/__init__.py").read_text(encoding="utf-8"))
        versions = [
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
        ]
        self.assertEqual(len(versions), 1)
        self.assertIsInstance(ast.literal_eval(versions[0]), str)

    def test_data_files_are_there(self) -> None:
        """Every pattern of files that setup.cfg packages beside modules finds some."""
        found = {
            f"{package}: {pattern}": len(list((CHECKOUT / package.replace(".", "/")).glob(pattern)))
            for package, patterns in self.setup["options.package_data"].items()
            for pattern in patterns.split(",")
        }
        self.assertIn("securechat.bench: ipsec_mb.c", found)
        self.assertEqual([name for name, count in found.items() if not count], [])

    def test_no_data_folder_is_packaged(self) -> None:
        """Only the package and Twisted's plugin folder are taken, not folders whose names begin alike."""
        found = self.setup["options.packages.find"]["include"].split()
        self.assertEqual(found, ["securechat", "securechat.*", "twisted.plugins"])


class PluginTests(SynchronousTestCase):
    """What twistd sees of securechat."""

    def test_listed_from_the_checkout(self) -> None:
        """Started in the checkout, twistd lists securechat whether it is installed or not."""
        shown = run(sys.executable, "-c", TWISTD, "--help")
        self.assertEqual(len(plugin_lines(shown.stdout)), 1, shown.stdout + shown.stderr)

    def test_listed_once_installed(self) -> None:
        """An installed securechat is listed by the twistd beside its Python, from any folder."""
        twistd = Path(sys.executable).parent / "twistd"
        elsewhere = Path(self.mktemp())
        elsewhere.mkdir()
        location = "import importlib.metadata; importlib.metadata.distribution('securechat')"
        if not twistd.exists() or run(sys.executable, "-I", "-c", location, cwd=elsewhere).returncode:
            raise SkipTest("securechat is not installed in this environment")
        shown = run(str(twistd), "--help", cwd=elsewhere)
        self.assertEqual(len(plugin_lines(shown.stdout)), 1, shown.stdout + shown.stderr)

    def test_options_are_shown(self) -> None:
        """`twistd securechat --help` shows the relay's options."""
        shown = run(sys.executable, "-c", TWISTD, "securechat", "--help")
        self.assertEqual(shown.returncode, 0, shown.stdout + shown.stderr)
        for option in ("--listen", "--data", "--max-clients", "--motd", "--engine"):
            self.assertIn(option, shown.stdout)

    def test_imports_nothing_heavy(self) -> None:
        """Listing the plugin, as every twistd does, imports no module of ours, no cipher and no reactor."""
        code = (
            "import sys; sys.path.insert(0, '.'); from twisted.plugins import securechat_plugin\n"
            "print(securechat_plugin.__file__); print(*sorted(sys.modules))"
        )
        shown = run(sys.executable, "-c", code)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        file, modules = shown.stdout.splitlines()
        self.assertEqual((CHECKOUT / file).resolve(), CHECKOUT / PLUGIN)
        heavy = {"numpy", "cryptography", "msgspec", "securechat", "OpenSSL"}
        self.assertEqual([name for name in modules.split() if name.partition(".")[0] in heavy], [])
        self.assertNotIn("twisted.internet.reactor", modules.split())

    def test_holds_one_service_maker(self) -> None:
        """The plugin file imports ServiceMaker, makes one, and does nothing else."""
        tree = ast.parse((CHECKOUT / PLUGIN).read_text(encoding="utf-8"))
        self.assertEqual([type(node) for node in tree.body], [ast.Expr, ast.ImportFrom, ast.Assign])
        self.assertEqual(ast.unparse(tree.body[1]), "from twisted.application.service import ServiceMaker")
        for field in ("name='securechat'", "module='securechat.relay.tap'", "tapname='securechat'"):
            self.assertIn(field, ast.unparse(tree.body[2]))

    def test_twisted_stays_a_namespace(self) -> None:
        """No __init__.py stands in the plugin's folders, where it would hide Twisted or other plugins."""
        self.assertEqual(list((CHECKOUT / "twisted").rglob("__init__.py")), [])


class OldPythonTests(SynchronousTestCase):
    """What run.py says to a Python that is too old."""

    def test_parses_on_old_pythons(self) -> None:
        """The whole of run.py parses by the grammar of Python 3.5, so that its message can be shown."""
        ast.parse(RUN.read_text(encoding="utf-8"), feature_version=(3, 5))

    def test_new_syntax_would_be_noticed(self) -> None:
        """The grammar of Python 3.5 refuses what came later, so the test above can fail."""
        for text in ("x: int = 1", "if (y := 2): pass", "def f(a, /): pass"):
            with self.assertRaises(SyntaxError):
                ast.parse(text, feature_version=(3, 5))

    def test_old_python_gets_one_line(self) -> None:
        """On Python 3.9 run.py ends at once with one line that names both versions."""
        for arguments in ([], ["demo"], ["test"]):
            shown = run(sys.executable, "-c", OLD_PYTHON, str(RUN), *arguments)
            self.assertEqual(shown.returncode, 1)
            self.assertEqual(shown.stdout, "")
            self.assertEqual(shown.stderr, "run.py: securechat needs Python 3.11 or newer; this one is 3.9.\n")


@dataclass(slots=True)
class BareCheckout:
    """A folder with run.py and the packaging files only, and a stand-in for venv on the path."""

    folder: Path

    @property
    def venv(self) -> Path:
        """The environment that run.py makes."""
        return self.folder / ".venv"

    def run(
        self, *words: str, fail_on: str = "", cwd: Path | None = None, text_in: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run its run.py; `fail_on` is a step that fails: create, exit, interrupt, kill, install, a program."""
        return run(
            sys.executable,
            str(self.folder / "run.py"),
            *words,
            cwd=cwd or self.folder,
            text_in=text_in,
            PYTHONPATH=str(self.folder / "fakes"),
            LOG=str(self.folder / "log"),
            FAIL_ON=fail_on,
        )

    def take_log(self) -> list[str]:
        """Return what was done since the last call."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


class RunTests(SynchronousTestCase):
    """What run.py does to make, keep and use its environment."""

    def setUp(self) -> None:
        """Make a bare checkout."""
        folder = Path(self.mktemp()).resolve()
        (folder / "fakes").mkdir(parents=True)
        for name in ("run.py", "setup.cfg", "pyproject.toml"):
            shutil.copy(CHECKOUT / name, folder)
        (folder / "fakes/venv.py").write_text(FAKE_VENV)
        self.bare = BareCheckout(folder)

    def test_help_needs_no_environment(self) -> None:
        """With no word or --help, run.py lists its commands and makes nothing."""
        for words in ([], ["--help"]):
            shown = self.bare.run(*words)
            self.assertEqual(shown.returncode, 0)
            for word in ("demo", "test", "lint", "bench", "securechat chat"):
                self.assertIn("python3 run.py " + word, shown.stdout)
        self.assertFalse(self.bare.venv.exists())

    def test_installs_once(self) -> None:
        """The first call makes the environment and installs with the test extra; the next does neither."""
        self.assertEqual(self.bare.run("demo").returncode, 0)
        self.assertEqual(self.bare.take_log(), ["create", "install .[test]", "python -m securechat demo"])
        shown = self.bare.run("demo", "--quick")
        self.assertEqual(self.bare.take_log(), ["python -m securechat demo --quick"])
        self.assertEqual(shown.stderr, "")

    def test_reinstalls_when_the_packaging_changes(self) -> None:
        """A change to either packaging file brings one more installation, into the same environment."""
        self.bare.run("demo")
        for name in ("setup.cfg", "pyproject.toml"):
            with (self.bare.folder / name).open("a") as file:
                file.write("\n# changed\n")
            self.bare.take_log()
            self.bare.run("demo")
            self.assertEqual(self.bare.take_log(), ["install .[test]", "python -m securechat demo"])
            self.bare.run("demo")
            self.assertEqual(self.bare.take_log(), ["python -m securechat demo"])

    def test_lint_adds_its_tools_on_demand(self) -> None:
        """Lint installs the extra dev the first time, runs its three checks, and serves the tests too."""
        self.bare.run("test")
        self.bare.take_log()
        shown = self.bare.run("lint")
        checks = ["ruff check", "ruff format --check", "mypy "]
        self.assertEqual(self.bare.take_log(), ["install .[test,dev]", *checks])
        self.assertEqual(shown.returncode, 0)
        self.bare.run("lint")
        self.bare.run("test")
        self.assertEqual(self.bare.take_log(), [*checks, "python -m twisted.trial tests"])

    def test_lint_runs_every_check(self) -> None:
        """A check that fails does not keep lint from the next, and its status is the status of lint."""
        shown = self.bare.run("lint", fail_on="ruff")
        self.assertEqual(shown.returncode, 7)
        self.assertEqual(self.bare.take_log()[2:], ["ruff check", "ruff format --check", "mypy "])

    def test_named_tests_replace_all_tests(self) -> None:
        """Tests named after `test` run instead of all; options alone are added to all."""
        self.bare.run("test", "--random=0", "tests.wire")
        self.bare.run("test", "--random=0")
        self.assertEqual(
            self.bare.take_log()[2:],
            ["python -m twisted.trial --random=0 tests.wire", "python -m twisted.trial --random=0 tests"],
        )

    def test_benchmarks(self) -> None:
        """Bench runs every script of the folder, or the named one, and hands its arguments on."""
        folder = self.bare.folder / "benchmarks"
        folder.mkdir()
        for name in ("relay.py", "crypto.py", "_common.py"):
            (folder / name).touch()
        self.bare.run("bench", "--fast")
        self.bare.run("bench", "relay", "--fast")
        both = [f"python {folder}/{name}.py --fast" for name in ("crypto", "relay", "relay")]
        self.assertEqual(self.bare.take_log()[2:], both)

    def test_other_words_are_programs(self) -> None:
        """Any other word runs that program with its arguments, and passes its status on."""
        shown = self.bare.run("twistd", "-n", "securechat", fail_on="twistd")
        self.assertEqual(shown.returncode, 7)
        self.assertEqual(self.bare.take_log()[2:], ["twistd -n securechat"])

    def test_output_belongs_to_the_program(self) -> None:
        """What pip and run.py say goes to standard error, so that pipes carry the program's lines only."""
        shown = self.bare.run("twistd")
        self.assertEqual(shown.stdout, "")
        self.assertIn("pip says", shown.stderr)

    def test_input_belongs_to_the_program(self) -> None:
        """Lines that are piped in reach the program, and not pip, even when that has to run first."""
        shown = self.bare.run("twistd", text_in="one line\n")
        self.assertEqual(shown.stdout, "one line\n")

    def test_unknown_word(self) -> None:
        """A word that is neither command nor program gets one line and a status that is not 0."""
        self.bare.run("demo")
        shown = self.bare.run("tset")
        self.assertEqual(shown.returncode, 1)
        self.assertIn("no command or program 'tset'", shown.stderr)
        self.assertEqual(len(shown.stderr.splitlines()), 1)

    def test_missing_module_names_the_debian_package(self) -> None:
        """Without ensurepip or venv, run.py names python3-venv and leaves no .venv, and works after that."""
        for name in ("ensurepip", "venv"):
            fake = self.bare.folder / "fakes" / (name + ".py")
            kept = fake.read_text() if fake.exists() else None
            fake.write_text("raise ImportError('not on this machine')\n")
            shown = self.bare.run("demo")
            self.assertEqual(shown.returncode, 1)
            self.assertIn("sudo apt install python3-venv", shown.stderr)
            self.assertNotIn("Traceback", shown.stderr)
            self.assertFalse(self.bare.venv.exists())
            fake.unlink()
            if kept is not None:
                fake.write_text(kept)
        self.assertEqual(self.bare.run("demo").returncode, 0)

    def test_failing_ensurepip_names_the_debian_package(self) -> None:
        """An environment that cannot be finished is removed, with the same message."""
        for step in ("create", "exit"):
            shown = self.bare.run("demo", fail_on=step)
            self.assertEqual(shown.returncode, 1)
            self.assertIn("sudo apt install python3-venv", shown.stderr)
            self.assertFalse(self.bare.venv.exists())

    def test_interrupt_is_quiet(self) -> None:
        """Ctrl-C while the environment is made leaves none, and no traceback."""
        shown = self.bare.run("demo", fail_on="interrupt")
        self.assertEqual(shown.returncode, 130)
        self.assertNotIn("Traceback", shown.stderr)
        self.assertFalse(self.bare.venv.exists())

    def test_killed_while_making_the_environment(self) -> None:
        """An environment that was being made when run.py was killed is made anew by the next call."""
        self.assertEqual(self.bare.run("demo", fail_on="kill").returncode, 137)
        self.assertTrue(self.bare.venv.exists())
        self.bare.take_log()
        self.assertEqual(self.bare.run("demo").returncode, 0)
        self.assertEqual(self.bare.take_log()[:2], ["create", "install .[test]"])

    def test_failed_installation_is_tried_again(self) -> None:
        """When pip fails, run.py says so and stops; the next call installs into the same environment."""
        shown = self.bare.run("demo", fail_on="install")
        self.assertEqual(shown.returncode, 1)
        self.assertIn("the next run tries again", shown.stderr)
        self.assertEqual(self.bare.take_log(), ["create", "install .[test]"])
        self.assertEqual(self.bare.run("demo").returncode, 0)
        self.assertEqual(self.bare.take_log(), ["install .[test]", "python -m securechat demo"])

    def test_half_done_installation_is_not_trusted(self) -> None:
        """When pip fails after a change that is then taken back, the old stamp does not count any more."""
        self.bare.run("demo")
        before = (self.bare.folder / "setup.cfg").read_text()
        (self.bare.folder / "setup.cfg").write_text(before + "\n# changed\n")
        self.bare.run("demo", fail_on="install")
        (self.bare.folder / "setup.cfg").write_text(before)
        self.bare.take_log()
        self.bare.run("demo")
        self.assertEqual(self.bare.take_log(), ["install .[test]", "python -m securechat demo"])

    def test_moved_checkout_gets_its_own_environment(self) -> None:
        """A checkout that was moved with its .venv makes a new one, for the old one names the old place."""
        self.bare.run("demo")
        moved = BareCheckout(self.bare.folder.with_name("moved"))
        self.bare.folder.rename(moved.folder)
        moved.take_log()
        moved.run("demo")
        self.assertEqual(moved.take_log(), ["create", "install .[test]", "python -m securechat demo"])

    def test_working_folder(self) -> None:
        """From another folder the tests run in the checkout, and programs where they were called."""
        elsewhere = Path(self.mktemp())
        elsewhere.mkdir()
        self.assertEqual(self.bare.run("test", cwd=elsewhere).returncode, 0)
        self.assertTrue((self.bare.folder / "it-ran-here").exists())
        self.assertEqual(list(elsewhere.iterdir()), [])
        self.assertEqual(self.bare.run("twistd", cwd=elsewhere).returncode, 0)
        self.assertTrue((elsewhere / "it-ran-here").exists())
