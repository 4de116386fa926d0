"""The table of attacks in ATTACKS.md names tests that there are, and a test for each attack."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from unittest import TestCase

from twisted.trial.unittest import SynchronousTestCase

TABLE = Path(__file__).with_name("ATTACKS.md")
ATTACKS = (
    "flips any bit of a message",
    "flips any bit of a header",
    "flips any bit of an entry of a log",
    "flips any bit of a certificate",
    "flips any bit of a prekey",
    "flips any bit of a sealed key",
    "replays a message",
    "reorders messages",
    "drops a message",
    "duplicates a message",
    "moves a message to another room",
    "moves a message to another epoch",
    "serves two members different rosters",
    "appends its own member",
    "appends its own `join` to a closed room",
    "appends an entry signed by a non-member",
    "appends an entry signed by a member without the right",
    "hands out an old prekey",
    "hands out a foreign prekey",
    "hands out a self-made prekey",
    "answers a login with somebody else's",
    "downgrades the suite",
    "downgrades the version",
    "sends plaintext",
    "withholds a session key",
    "sends a wrong session key",
    "re-forwards a sealed key",
    "posts under another's sid",
    "forks a session: two frames, one index",
    "sends index 2^32-1",
    "sends 10,000 unknown sids",
    "has, or is given, a 4 KiB name",
    "a removed member keeps its old keys and reads the wire",
    "a key store is copied",
    "a key store is truncated",
    "a key store is rolled back",
)
"""What the table must have at the least: the attacks that version 2 was to withstand when it was begun."""

_NAME = re.compile(r"`(tests\.[A-Za-z0-9_.]+)`")


def rows(text: str) -> list[list[str]]:
    """The cells of the rows of all tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| what ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def findings(text: str) -> list[str]:
    """What is wrong with a table."""
    found = []
    for cells in rows(text):
        names = _NAME.findall(cells[-1])
        if len(cells) != 3 or not all(cells) or not names or _NAME.sub("", cells[-1]).strip():
            found.append(f"{cells[0]}: not an attack, what is told, and tests")
        found += [f"{cells[0]}: there is no {name}" for name in names if not is_test(name)]
    return found


def is_test(name: str) -> bool:
    """Whether a dotted name is a test's: module, class, method."""
    module, _, rest = name.rpartition(".")
    module, _, case = module.rpartition(".")
    try:
        found = getattr(import_module(module), case, None)
    except ModuleNotFoundError:
        return False
    is_case = isinstance(found, type) and issubclass(found, TestCase)
    return is_case and rest.startswith("test_") and callable(getattr(found, rest, None))


class TableTests(SynchronousTestCase):
    """ATTACKS.md, and made-up tables that are wrong."""

    def test_every_test_is_there(self) -> None:
        """Each attack has tests, and each of them exists under its name."""
        self.assertEqual(findings(TABLE.read_text(encoding="utf-8")), [])

    def test_every_attack_is_there(self) -> None:
        """No attack has gone from the table, and none stands there twice."""
        listed = [cells[0] for cells in rows(TABLE.read_text(encoding="utf-8"))]
        self.assertEqual(set(ATTACKS) - set(listed), set())
        self.assertEqual(len(listed), len(set(listed)))

    def test_what_is_wrong_is_found(self) -> None:
        """A test that is not there, a name that is no test's, and an attack without a test are each found."""
        here = "tests.test_attacks_table.TableTests"
        for cell in (
            f"`{here}.test_gone`",
            "`tests.test_gone.TableTests.test_every_test_is_there`",
            "`tests.test_attacks_table.Gone.test_every_test_is_there`",
            "`tests.test_attacks_table.rows.test_every_test_is_there`",
            f"`{here}.id`",
            f"`{here}.test_every_test_is_there` or so",
            "",
            "none yet",
        ):
            self.assertEqual(len(findings(f"| flips a bit | nothing | {cell} |")), 1, cell)
        self.assertEqual(findings(f"| flips a bit | nothing | `{here}.test_every_test_is_there` |"), [])
