"""The demo run by tests, and its sentences without what is different each time."""

import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

DEMO_WAIT_S: Final = 60.0
"""It measures for two seconds, and the rest takes one."""
DIFFERENT: Final = (
    (re.compile(r"[0-9a-f]{16,}(…[0-9a-f]+)?"), "HEX"),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"engine in use is \w+\."), "engine in use is ENGINE."),
    (re.compile(r" *[\d,]+ messages/s"), " N messages/s"),
    (re.compile(r"[\d.]+ times as many"), "N times as many"),
)


def run_demo(engine: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `securechat demo --engine NAME` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "securechat", "demo", "--engine", engine],
        capture_output=True,
        check=False,
        env=dict(environ),
        text=True,
        timeout=DEMO_WAIT_S,
    )


def sentences(output: str) -> list[str]:
    """Give its lines, with a word for each key, address and figure, and for the engine's name."""
    for pattern, word in DIFFERENT:
        output = pattern.sub(word, output)
    return output.splitlines()
