"""What a measurement ran on."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Final

from cryptography.hazmat.backends.openssl import backend

CPU_INFO: Final = Path("/proc/cpuinfo")
MEMORY_INFO: Final = Path("/proc/meminfo")
MEMORY_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")

Facts = dict[str, str | int]


def machine(cpu_info: Path = CPU_INFO) -> Facts:
    """Tell the processor, its cores and their load, the system, and the versions of what does the work."""
    facts: Facts = {
        "cpu": _processor(cpu_info),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "openssl": backend.openssl_version_text().removeprefix("OpenSSL "),
        **{name: version(name) for name in ("cryptography", "numpy")},
    }
    if hasattr(os, "getloadavg"):
        facts["load"] = f"{os.getloadavg()[0]:.1f}"
    return facts


def free_memory(memory_info: Path = MEMORY_INFO, limit: Path = MEMORY_LIMIT) -> int | None:
    """Tell how many bytes programs may still take: what Linux says, and no more than a container's limit.

    None where nothing is known.
    """
    found = re.search(r"^MemAvailable: *(\d+) kB$", _text(memory_info), re.MULTILINE)
    bounded = _text(limit).strip()
    known = ([1024 * int(found[1])] if found else []) + ([int(bounded)] if bounded.isdecimal() else [])
    return min(known, default=None)


def one_line(facts: Facts) -> str:
    """Give the facts as one line for people."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _processor(cpu_info: Path) -> str:
    lines = _text(cpu_info).splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _text(path: Path) -> str:
    """Read a file of the system's, which need not be there."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
