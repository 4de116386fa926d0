"""The real programs, started and stopped for tests: a relay by `twistd`, clients in pseudo-terminals and pipes."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

WAIT_S: Final = 20.0
"""How long a test waits for something that takes milliseconds, on a machine that is busy with other things."""

TWISTD: Final = str(Path(sys.executable).with_name("twistd"))


KEPT = ("PATH", "COVERAGE_PROCESS_START")
"""What programs need of our own environment."""


def environment(home: Path) -> dict[str, str]:
    """An environment that has nothing of the user's in it."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "HOME": str(home), "SECURECHAT_HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm-256color"}


class Relay:
    """A relay in a process of its own; `address` is what it printed."""

    def __init__(self, case: SynchronousTestCase, *options: str) -> None:
        self.directory = Path(case.mktemp())
        self.directory.mkdir(parents=True)
        listen = () if "--listen" in options else ("--listen", "tcp:0:interface=127.0.0.1")
        self.process = subprocess.Popen(
            [TWISTD, "--pidfile=", "-n", "securechat", "--data", str(self.directory / "data"), *listen, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(self.directory),
        )
        case.addCleanup(self.stop)
        assert self.process.stdout is not None
        self.log: list[str] = []
        for line in self.process.stdout:
            self.log.append(line)
            found = re.search(r"relay listens at (\S+)", line)
            if found:
                self.address = found[1]
                return
        raise AssertionError(f"the relay did not start: {''.join(self.log)}")

    def stop(self) -> int:
        """Stop it as an operator would; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                rest, _ = self.process.communicate(timeout=WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                rest, _ = self.process.communicate()
            self.log.extend(rest.splitlines(keepends=True))
        return self.process.returncode


class Terminal:
    """A program in a pseudo-terminal of 80 by 24."""

    def __init__(
        self, case: SynchronousTestCase, home: Path, *command: str, size: tuple[int, int] = (24, 80)
    ) -> None:
        self.output = b""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "securechat", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(home),
            start_new_session=True,
        )
        os.close(slave)
        case.addCleanup(self.close)

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self.master, text.encode())

    def wait_for(self, text: str) -> None:
        """Read on until the screen was told `text` since the last wait."""
        deadline = time.monotonic() + WAIT_S
        while text.encode() not in self.output:
            self._read(deadline, text)
        self.output = self.output.split(text.encode(), 1)[1]

    def wait_for_end(self) -> int:
        """Read on until the program ends; its exit status."""
        deadline = time.monotonic() + WAIT_S
        while self.process.poll() is None or select.select([self.master], [], [], 0)[0]:
            try:
                self._read(deadline, "the end")
            except OSError:
                break
        return self.process.wait(WAIT_S)

    def _read(self, deadline: float, wanted: str) -> None:
        if time.monotonic() > deadline:
            raise AssertionError(f"{wanted!r} did not come; what came: {self.output[-2000:]!r}")
        if select.select([self.master], [], [], 0.1)[0]:
            self.output += os.read(self.master, 65536)

    def close(self) -> None:
        """End the program, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


class JsonLines:
    """`securechat` in pipes, with JSON lines both ways."""

    def __init__(self, case: SynchronousTestCase, home: Path, *command: str) -> None:
        self._output = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "securechat", *command, "--json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(home),
        )
        case.addCleanup(self.close)

    def put(self, **fields: str) -> None:
        """One line of input."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(fields).encode() + b"\n")
        self.process.stdin.flush()

    def next(self, kind: str) -> dict[str, Any]:
        """The next event of a kind; others before it are passed over."""
        deadline = time.monotonic() + WAIT_S
        while True:
            line, newline, rest = self._output.partition(b"\n")
            if newline:
                self._output = rest
                event: dict[str, Any] = json.loads(line)
                if event["type"] == kind:
                    return event
            elif not self._read(deadline):
                raise AssertionError(f"no {kind!r} came")

    def _read(self, deadline: float) -> bool:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        data = os.read(descriptor, 65536)
        self._output += data
        return bool(data)

    def end(self) -> int:
        """End the input and wait; the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        """End the program, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.process.wait()
