"""The file of costs, whole and damaged."""

import json
import os
import platform
import stat
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from securechat.crypto import cost_cache
from securechat.crypto.cost_cache import (
    FORMAT,
    MOST_BYTES,
    MOST_ENTRIES,
    CostCache,
    cache_file,
    cost_key,
    processor,
)
from tests.crypto.auto_fakes import ACCELERATOR, HOST


class CostCacheTests(SynchronousTestCase):
    """A cache in a folder of its own, which isn't there yet."""

    def setUp(self) -> None:
        """Make it."""
        self.folder = Path(self.mktemp()) / "deep" / "cache"
        self.file = self.folder / "costs.json"
        self.cache = CostCache(self.file)

    def test_keeps(self) -> None:
        """What is kept is found again, by whoever looks into the file later, and under its key only."""
        self.assertIs(self.cache.find("one"), None)
        self.cache.keep("one", HOST)
        self.cache.keep("two", ACCELERATOR)
        self.cache.keep("one", HOST)
        later = CostCache(self.file)
        self.assertEqual((later.find("one"), later.find("two"), later.find("three")), (HOST, ACCELERATOR, None))

    def test_for_its_owner(self) -> None:
        """The file and the folders made for it can be read by their owner only, and nothing else is left there."""
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        self.cache.keep("one", HOST)
        self.cache.keep("two", HOST)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)
        self.assertEqual(list(self.folder.iterdir()), [self.file])

    def test_replaced_whole(self) -> None:
        """A reader who had opened the file before goes on seeing it as it was: it is replaced, not written over."""
        self.cache.keep("one", HOST)
        before = self.file.read_text()
        with self.file.open() as reader:
            self.cache.keep("two", HOST)
            self.assertEqual(reader.read(), before)
        self.assertNotEqual(self.file.read_text(), before)

    def test_oldest_goes(self) -> None:
        """Of more entries than it holds, those kept last stay."""
        for number in range(MOST_ENTRIES + 2):
            self.cache.keep(str(number), HOST)
        found = [number for number in range(MOST_ENTRIES + 2) if self.cache.find(str(number)) is not None]
        self.assertEqual(found, list(range(2, MOST_ENTRIES + 2)))
        self.assertLess(self.file.stat().st_size, MOST_BYTES / 4)

    def assert_ignored(self, content: bytes) -> None:
        """Expect that nothing is found in such a file, and that it is replaced when something is to be kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(content)
        self.assertIs(self.cache.find("one"), None, content[:100])
        self.cache.keep("one", HOST)
        self.assertEqual(self.cache.find("one"), HOST, content[:100])

    def test_damaged(self) -> None:
        """A file that is cut off anywhere is as if it were not there."""
        self.cache.keep("one", HOST)
        whole = self.file.read_bytes()
        for end in range(0, len(whole) - 1, 7):
            self.assert_ignored(whole[:end])

    def test_foreign(self) -> None:
        """So is a file of another format or kind, one that is nested without end, and one of a great size."""
        good: Any = {"format": FORMAT, "engines": {"one": HOST.as_json()}}
        foreign: list[Any] = [None, 1, [], {}, {**good, "format": FORMAT + 1}, {**good, "engines": []}]
        entries: list[Any] = [None, [], {"seal": []}, {"seal": 1, "open": 1}]
        foreign += [{**good, "engines": {"one": entry}} for entry in entries]
        for each in foreign:
            self.assert_ignored(json.dumps(each).encode())
        self.assert_ignored(b"\xff\xfe")
        self.assert_ignored(b"[" * 50_000)
        self.assert_ignored(json.dumps(good).encode() + b" " * MOST_BYTES)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, content: bytes) -> None:
        """Nothing that stands in the file is an error."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(content)
        self.assertIs(self.cache.find("one"), None)

    def test_cannot_be_written(self) -> None:
        """Where the folder can't be made, or something else has the file's name, nothing is kept, silently."""
        self.folder.parent.mkdir(parents=True)
        self.folder.write_text("a file")
        self.cache.keep("one", HOST)
        self.assertIs(self.cache.find("one"), None)
        self.folder.unlink()
        (self.file / "something").mkdir(parents=True)
        self.cache.keep("one", HOST)
        self.assertIs(self.cache.find("one"), None)
        self.assertEqual(list(self.folder.iterdir()), [self.file])


class PlaceTests(SynchronousTestCase):
    """Where the file is."""

    def test_home(self) -> None:
        """SECURECHAT_HOME comes first, else it is where the system keeps the user's caches."""
        self.assertEqual(cache_file({"SECURECHAT_HOME": "/somewhere"}), Path("/somewhere/engine-costs.json"))
        self.assertEqual(cache_file({"SECURECHAT_HOME": "~/x"}), Path.home() / "x" / "engine-costs.json")
        for environ in ({}, {"SECURECHAT_HOME": ""}):
            self.assertEqual(cache_file(environ).parent.name, "securechat")


class KeyTests(SynchronousTestCase):
    """What costs depend on."""

    def test_names_everything(self) -> None:
        """Engine, device, processors, Python and libraries stand in the key."""
        key = cost_key("cuda", "a card of some kind")
        for part in (
            "cuda",
            "a card of some kind",
            processor(),
            platform.python_version(),
            "numpy 2",
            "securechat ",
        ):
            self.assertIn(part, key)
        self.assertEqual(len({key, cost_key("cuda"), cost_key("cpu", "a card of some kind")}), 3)

    def test_other_versions(self) -> None:
        """After an upgrade of a library, and on another processor, the key is another one."""
        before = cost_key("cpu")
        self.patch(cost_cache, "version", lambda name: "1000")
        upgraded = cost_key("cpu")
        self.patch(cost_cache, "processor", lambda: "another")
        self.assertEqual(len({before, upgraded, cost_key("cpu")}), 3)

    def test_processor(self) -> None:
        """The processor is called what Linux calls it, or what Python does where that says nothing."""
        self.assertRegex(processor(Path("/nonexistent")), r"^\d+ x \S")
        cpuinfo = Path(self.mktemp())
        cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast: one @ 9 GHz\nmodel name\t: Slow\n")
        self.assertRegex(processor(cpuinfo), r"^\d+ x Fast: one @ 9 GHz$")
        cpuinfo.write_bytes(b"\xff")
        self.assertRegex(processor(cpuinfo), r"^\d+ x \S")
