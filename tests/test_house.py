"""The house's floors, held by reading the source: who may import whom, and what may appear where.

The rules are those of DESIGN.md and STYLE.md. `HouseTests` applies them to securechat itself; the
other cases apply each rule to small made-up packages that break it, so that a rule which stopped looking is
noticed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

ROOT: Final = "securechat"
CHECKOUT: Final = Path(__file__).resolve().parent.parent

FLOORS: Final[dict[str, frozenset[str]]] = {
    "wire": frozenset(),
    "disk": frozenset(),
    "crypto": frozenset(),
    "bench": frozenset({"crypto"}),
    "signed": frozenset({"wire"}),
    "e2e": frozenset({"wire", "crypto", "signed"}),
    "relay": frozenset({"wire", "disk", "crypto", "signed"}),
    "client": frozenset({"wire", "disk", "crypto", "signed", "e2e"}),
}
"""Each package with the packages it may import; besides those, itself."""

SELF_CONTAINED: Final = frozenset({"wire", "disk", "crypto"})
"""Packages that import nothing of ours at all, not even the version."""

TOP: Final = frozenset({"__main__", "demo"})
"""Modules above all packages: they may import anything, and only they import each other."""

BUILDERS: Final = frozenset({"relay/building.py", "relay/tap.py", "client/cli.py", "demo.py"})
"""The files that build things: they alone take the wall clock and, inside functions, the global reactor."""

MARKERS: Final = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
IMPORTING_CALLS: Final = frozenset({"import_module", "__import__", "namedAny", "namedModule", "requireModule"})


@dataclass(frozen=True, slots=True)
class Import:
    """One name that an import statement brings in, as an absolute dotted path."""

    path: str
    line: int
    inside_function: bool


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the package with its dotted name, its text and its parsed tree."""

    name: str
    file: str
    is_package: bool
    text: str
    tree: ast.Module

    @property
    def floor(self) -> str:
        """The package under the root that it belongs to, or its own name at the top; empty for the root."""
        return self.name.partition(".")[2].partition(".")[0]

    def imports(self) -> Iterator[Import]:
        """Yield everything imported anywhere in the file: in functions and under TYPE_CHECKING too."""
        yield from self._imports_below(self.tree, inside_function=False)

    def _imports_below(self, node: ast.AST, inside_function: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            for path in self._paths(child):
                yield Import(path, getattr(child, "lineno", 0), inside_function)
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from self._imports_below(child, inside_function or is_function)

    def _paths(self, node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = ".".join(part for part in (self._ancestor(level), module) if part)
                yield from (f"{base}.{alias.name}" for alias in names)
            case ast.Call(func=func, args=[ast.Constant(value=str(path)), *_]):
                called = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
                if called in IMPORTING_CALLS:
                    yield path

    def _ancestor(self, level: int) -> str:
        """The package that so many leading dots mean here; empty for none."""
        if level == 0:
            return ""
        parts = self.name.split(".")
        up = level - 1 if self.is_package else level
        return ".".join(parts[: len(parts) - up])


def read_modules(root: Path) -> list[Module]:
    """Read every Python file below root, a folder that is the package."""
    modules = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        is_package = path.name == "__init__.py"
        parts = relative.parent.parts if is_package else relative.with_suffix("").parts
        text = path.read_text(encoding="utf-8")
        name = ".".join([ROOT, *parts])
        modules.append(Module(name, relative.as_posix(), is_package, text, ast.parse(text, str(path))))
    return modules


def is_ours(path: str) -> bool:
    """Tell whether a dotted path lies in our package."""
    return path == ROOT or path.startswith(ROOT + ".")


def floor_findings(modules: list[Module]) -> Iterator[str]:
    """Yield each import that a module's floor does not allow, and each module that has no floor."""
    floors = {module.floor for module in modules}
    for module in modules:
        mine = module.floor
        if mine in TOP:
            continue
        if mine and mine not in FLOORS:
            yield f"{module.file}: {mine} has no floor"
            continue
        for found in module.imports():
            if not is_ours(found.path):
                continue
            theirs = found.path.partition(".")[2].partition(".")[0]
            if theirs not in floors:  # a name that the root itself defines, such as the version
                allowed = mine not in SELF_CONTAINED
            else:
                allowed = bool(mine) and (theirs == mine or theirs in FLOORS[mine])
            if not allowed:
                yield f"{module.file}:{found.line}: imports {found.path}"


def cycle_findings(modules: list[Module]) -> Iterator[str]:
    """Yield one circle for each group of modules that import each other, as "a -> b -> a"."""
    names = {module.name for module in modules}
    edges: dict[str, set[str]] = {module.name: set() for module in modules}
    for module in modules:
        for found in module.imports():
            target = found.path
            while target and target not in names:  # a name defined in a module: step up to the module
                target = target.rpartition(".")[0]
            if target:
                edges[module.name].add(target)
    reported: set[str] = set()
    for start in sorted(edges):
        circle = _way_back(start, edges)
        if circle and reported.isdisjoint(circle):
            reported.update(circle)
            yield " -> ".join([*circle, start])


def _way_back(start: str, edges: dict[str, set[str]]) -> list[str]:
    """Return a shortest way along the edges from start to just before start again; empty if there is none."""
    ways = [[start]]
    seen = {start}
    for way in ways:  # grows while it is walked: breadth first
        if start in edges[way[-1]]:
            return way
        for target in sorted(edges[way[-1]] - seen):
            seen.add(target)
            ways.append([*way, target])
    return []


def reactor_findings(modules: list[Module]) -> Iterator[str]:
    """Yield each import of the global reactor that is not inside a function of a builder."""
    for module in modules:
        for found in module.imports():
            is_reactor = (found.path + ".").startswith("twisted.internet.reactor.")
            if is_reactor and not (found.inside_function and module.file in BUILDERS):
                yield f"{module.file}:{found.line}: imports the global reactor"


def wall_clock_findings(modules: list[Module]) -> Iterator[str]:
    """Yield each use of `time.time` or `time.time_ns`, by any import of them, outside the builders."""
    clocks = {"time.time", "time.time_ns"}
    for module in modules:
        if module.file in BUILDERS:
            continue
        modules_of_time = {
            alias.asname or alias.name
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.name == "time"
        }
        lines = [found.line for found in module.imports() if found.path in clocks]
        for node in ast.walk(module.tree):
            match node:
                case ast.Attribute(value=ast.Name(id=name), attr=attr, lineno=line):
                    if name in modules_of_time and f"time.{attr}" in clocks:
                        lines.append(line)
        yield from (f"{module.file}:{line}: takes the wall clock" for line in sorted(lines))


def marker_findings(modules: list[Module]) -> Iterator[str]:
    """Yield each line that carries a marker of unfinished work."""
    for module in modules:
        for number, line in enumerate(module.text.splitlines(), start=1):
            if MARKERS.search(line):
                yield f"{module.file}:{number}: {line.strip()}"


class HouseTests(SynchronousTestCase):
    """The rules, applied to securechat as it is."""

    def setUp(self) -> None:
        """Read the package once for each test."""
        self.modules = read_modules(CHECKOUT / ROOT)

    def assert_none(self, findings: Iterator[str]) -> None:
        """Fail with every finding on a line of its own."""
        found = list(findings)
        self.assertEqual(found, [], "\n" + "\n".join(found))

    def test_reads_the_package(self) -> None:
        """The checker sees the package and each floor of it."""
        names = {module.name for module in self.modules}
        self.assertIn(ROOT, names)
        self.assertEqual(set(FLOORS) - {module.floor for module in self.modules}, set())

    def test_floors(self) -> None:
        """A package imports only what stands below it: wire and crypto nothing, relay never e2e or client."""
        self.assert_none(floor_findings(self.modules))

    def test_no_circles(self) -> None:
        """No modules import each other in a circle, not even inside functions or for types."""
        self.assert_none(cycle_findings(self.modules))

    def test_reactor_is_passed_in(self) -> None:
        """Only functions of the builders import the global reactor; everything else is given one."""
        self.assert_none(reactor_findings(self.modules))

    def test_clock_is_passed_in(self) -> None:
        """Only the builders take the wall clock; everything else is given one."""
        self.assert_none(wall_clock_findings(self.modules))

    def test_nothing_is_left_over(self) -> None:
        """No marker of unfinished work stands in the package."""
        self.assert_none(marker_findings(self.modules))


class MadeUpTestCase(SynchronousTestCase):
    """A case whose tests write a small package and let a rule find what is wrong with it."""

    def made_up(self, **files: str) -> list[Module]:
        """Read a package of these files, `relay__rooms="..."` being relay/rooms.py, and of every floor."""
        root = Path(self.mktemp()) / ROOT
        for package in ["", *FLOORS]:
            (root / package).mkdir(parents=True)
            (root / package / "__init__.py").write_text("")
        (root / "__init__.py").write_text('__version__ = "1"\n')
        for name, text in files.items():
            path = root / (name.replace("__", "/", 1) + ".py" if not name.startswith("__") else name + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n")
        return read_modules(root)


class FloorTests(MadeUpTestCase):
    """Which imports between packages are found."""

    def test_downward_imports_are_fine(self) -> None:
        """What DESIGN.md allows is allowed, and the top modules may import everything."""
        modules = self.made_up(
            wire__framing="from . import messages\nimport struct\nfrom twisted.internet import defer",
            wire__messages="import msgspec",
            e2e__sealing="from securechat.wire import messages\nfrom ..crypto import aead",
            relay__tap="from securechat import __version__\nimport securechat.wire.framing",
            client__link="from securechat.e2e.sealing import seal\nfrom securechat.client import cli",
            demo="import securechat.relay.tap, securechat.client.link",
        )
        self.assertEqual(list(floor_findings(modules)), [])

    def test_every_spelling_is_found(self) -> None:
        """Absolute, relative, indented, typing-only, renamed and dynamic imports all count."""
        spellings = [
            "import securechat.client.link",
            "import securechat.client.link as harmless",
            "from securechat import client",
            "from securechat.client import link",
            "from ..client import link",
            "from .. import client",
            "def later():\n    from ..client.link import Link",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from securechat.client import link",
            "import importlib\nimportlib.import_module('securechat.client.link')",
            "try:\n    import securechat.client\nexcept ImportError:\n    pass",
        ]
        for spelling in spellings:
            found = list(floor_findings(self.made_up(relay__rooms=spelling)))
            self.assertEqual(len(found), 1, f"{spelling!r}: {found}")
            self.assertIn("relay/rooms.py:", found[0])

    def test_each_forbidden_pair_is_found(self) -> None:
        """Every pair of packages that is not allowed is found, in both directions."""
        for mine, allowed in FLOORS.items():
            for theirs in FLOORS:
                modules = self.made_up(**{f"{mine}__it": f"import securechat.{theirs}"})
                expected = 0 if theirs == mine or theirs in allowed else 1
                self.assertEqual(len(list(floor_findings(modules))), expected, f"{mine} imports {theirs}")

    def test_ground_floor_imports_nothing_of_ours(self) -> None:
        """Wire and crypto may not import the root package, other packages may."""
        text = "from securechat import __version__"
        self.assertEqual(len(list(floor_findings(self.made_up(wire__it=text, crypto__it=text)))), 2)
        self.assertEqual(list(floor_findings(self.made_up(relay__it=text, client__it=text, e2e__it=text))), [])

    def test_nobody_imports_upwards(self) -> None:
        """Neither a package nor the root package imports a top module or, for the root, anything."""
        modules = self.made_up(client__cli="from securechat import demo", demo="import this")
        self.assertEqual(list(floor_findings(modules)), ["client/cli.py:1: imports securechat.demo"])
        modules = self.made_up(__init__="from .wire import messages")
        self.assertEqual(list(floor_findings(modules)), ["__init__.py:1: imports securechat.wire.messages"])

    def test_new_packages_need_a_floor(self) -> None:
        """A package or top module that no floor is given for is found."""
        modules = self.made_up(utils__things="import os", helpers="import os")
        self.assertEqual(
            list(floor_findings(modules)),
            ["helpers.py: helpers has no floor", "utils/things.py: utils has no floor"],
        )


class CircleTests(MadeUpTestCase):
    """Which circles of imports are found."""

    def test_a_chain_is_fine(self) -> None:
        """Modules that import one another in one direction only make no circle."""
        modules = self.made_up(
            relay__tap="from . import factory, rooms",
            relay__factory="from .rooms import Room",
            relay__rooms="from securechat.wire import messages",
        )
        self.assertEqual(list(cycle_findings(modules)), [])

    def test_a_circle_is_shown(self) -> None:
        """A circle is shown with its modules in order, once, wherever in the files its imports stand."""
        modules = self.made_up(
            relay__tap="from .factory import Factory",
            relay__factory="from securechat.relay import rooms",
            relay__rooms="def later():\n    from . import protocol",
            relay__protocol="import typing\nif typing.TYPE_CHECKING:\n    from .factory import Factory",
        )
        names = [f"securechat.relay.{name}" for name in ("factory", "rooms", "protocol", "factory")]
        self.assertEqual(list(cycle_findings(modules)), [" -> ".join(names)])

    def test_a_package_and_its_module(self) -> None:
        """A module that imports a name from its package, which imports the module, makes a circle."""
        modules = self.made_up(wire__init="from . import Message", wire____init__="from .init import Frame")
        self.assertEqual(
            list(cycle_findings(modules)), ["securechat.wire -> securechat.wire.init -> securechat.wire"]
        )

    def test_a_module_that_imports_itself(self) -> None:
        """The smallest circle is found as well."""
        modules = self.made_up(wire__it="import securechat.wire.it")
        self.assertEqual(list(cycle_findings(modules)), ["securechat.wire.it -> securechat.wire.it"])


class ReactorTests(MadeUpTestCase):
    """Which imports of the global reactor are found."""

    def test_builders_import_it_inside_functions(self) -> None:
        """A function of a builder may import the reactor, the builder's module may not."""
        inside = "def run():\n    from twisted.internet import reactor"
        self.assertEqual(list(reactor_findings(self.made_up(relay__tap=inside, client__cli=inside))), [])
        self.assertEqual(len(list(reactor_findings(self.made_up(relay__rooms=inside)))), 1)

    def test_module_level_is_found(self) -> None:
        """At module level, in a class body or under a condition every spelling of the import is found."""
        spellings = [
            "from twisted.internet import reactor",
            "import twisted.internet.reactor",
            "from twisted.internet.reactor import callLater",
            "class It:\n    from twisted.internet import reactor as clock",
            "if True:\n    from twisted.internet import defer, reactor",
        ]
        for spelling in spellings:
            found = list(reactor_findings(self.made_up(relay__tap=spelling)))
            self.assertEqual(len(found), 1, f"{spelling!r}: {found}")

    def test_names_that_only_look_alike(self) -> None:
        """Other names in twisted.internet, and reactors that a caller passes in, are not found."""
        text = "from twisted.internet import defer\nimport twisted.internet.reactors\ndef f(reactor): reactor"
        self.assertEqual(list(reactor_findings(self.made_up(relay__rooms=text))), [])


class WallClockTests(MadeUpTestCase):
    """Which uses of the wall clock are found."""

    def test_every_spelling_is_found(self) -> None:
        """A call, a reference, a default argument and a renamed or direct import of it are found."""
        spellings = [
            "import time\nnow = time.time()",
            "import time\ndef f(clock=time.time): ...",
            "import time as t\nx = t.time_ns()",
            "from time import time",
            "def f():\n    from time import time as monotonic",
        ]
        for spelling in spellings:
            found = list(wall_clock_findings(self.made_up(relay__rooms=spelling)))
            self.assertEqual(len(found), 1, f"{spelling!r}: {found}")

    def test_what_is_allowed(self) -> None:
        """The builders may use it, everyone may use other clocks and attributes of the same name."""
        clock = "import time\nnow = time.time()"
        other = "import time\nx = time.monotonic()\ny = message.time\nz = self.clock.time()"
        modules = self.made_up(relay__tap=clock, client__cli=clock, demo=clock, relay__rooms=other)
        self.assertEqual(list(wall_clock_findings(modules)), [])


class MarkerTests(MadeUpTestCase):
    """Which markers of unfinished work are found."""

    def test_markers_are_found(self) -> None:
        """Each of the three words is found in comments and strings, and parts of longer words are not."""
        words = ["TO" + "DO", "FIX" + "ME", "X" * 3]
        for word in words:
            found = list(marker_findings(self.made_up(wire__it=f"x = 1\n# {word}: later")))
            self.assertEqual(found, [f"wire/it.py:2: # {word}: later"])
        self.assertEqual(list(marker_findings(self.made_up(wire__it=f"{words[0]}S = '{words[2]}X'"))), [])
