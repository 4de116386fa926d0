"""What a measurement ran on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

from cryptography.hazmat.backends.openssl import backend

CPU_INFO: Final = Path("/proc/cpuinfo")

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


def one_line(facts: Facts) -> str:
    """Give the facts as one line for people."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _processor(cpu_info: Path) -> str:
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
