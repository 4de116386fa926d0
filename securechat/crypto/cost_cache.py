"""The costs of engines on disk, so that a machine is measured once and not at every start.

One JSON file in the user's cache folder (see cache): `engine-costs.json`. Entries are found by a key in which
stands whatever the costs depend on; after an upgrade or on another machine there is none, and it is measured
again. So it is whenever the file cannot be read, is damaged or of another kind. Nothing here raises: a cache
that does not work costs a moment at each start.

Costs are no secret, and what somebody else might write there only makes a slower engine be chosen.
"""

import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from securechat.crypto.cache import Cache, user_folder
from securechat.crypto.costs import EngineCosts, engine_costs_from_json

FILE: Final = "engine-costs.json"
FORMAT: Final = 1
"""Raised when the model or what is measured changes."""
MOST_ENTRIES: Final = 16
"""Kept in the file; the oldest goes first."""
MOST_BYTES: Final = 64 * 1024
"""A larger file is none of ours."""
_LIBRARIES: Final = ("securechat", "cryptography", "numpy", "pycuda")


def cache_file(environ: Mapping[str, str]) -> Path:
    """Tell where this user's costs are kept."""
    return user_folder(environ) / FILE


def cost_key(engine: str, device: str = "") -> str:
    """Name an engine, the device it works on, and everything here that its costs depend on."""
    libraries = [f"{name} {_version(name)}" for name in _LIBRARIES]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return "; ".join([engine, device or "no device", processor(), python, *libraries])


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name the processor, and how many of them this process may use."""
    name = platform.processor() or platform.machine()
    with suppress(OSError, UnicodeDecodeError):
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            what, _, value = line.partition(":")
            if what.strip() == "model name":
                name = value.strip()
                break
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{count} x {name}"


class CostCache:
    """The file."""

    def __init__(self, path: Path) -> None:
        """Take its place. Neither it nor its folder need be there."""
        self._cache, self._name = Cache(path.parent), path.name

    def find(self, key: str) -> EngineCosts | None:
        """Give what is kept under a key; None where nothing usable is."""
        with suppress(KeyError, ValueError):
            return engine_costs_from_json(self._read()[key])
        return None

    def keep(self, key: str, costs: EngineCosts) -> None:
        """Keep an engine's costs, if that is possible.

        Of two processes that do so at once one may lose its entry, which is then measured again.
        """
        entries = {each: value for each, value in self._read().items() if each != key}
        entries[key] = costs.as_json()
        for oldest in list(entries)[:-MOST_ENTRIES]:
            del entries[oldest]
        text = json.dumps({"format": FORMAT, "engines": entries}, indent=1)
        self._cache.write(self._name, text.encode())

    def _read(self) -> dict[str, Any]:
        """Give all entries, not looked into; none where the file is not one of ours."""
        # Deep nesting makes the parser give up with a RecursionError.
        with suppress(ValueError, RecursionError):
            found = json.loads(self._cache.read(self._name, MOST_BYTES) or b"{}")
            if isinstance(found, dict) and found.get("format") == FORMAT and isinstance(found.get("engines"), dict):
                entries: dict[str, Any] = found["engines"]
                return entries
        return {}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
