"""Real programs: a relay run by twistd, and clients with pipes, read line by line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any

from twisted.trial.unittest import SynchronousTestCase

LONG_S = 30
"""What takes longer has gone wrong."""

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


class Program:
    """A running program; its output is read by threads, so that no pipe is ever full."""

    def __init__(self, command: Sequence[str], env: dict[str, str], stdin: int | IO[bytes] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
        )
        self.out: SimpleQueue[bytes | None] = SimpleQueue()
        self.seen: list[bytes] = []
        self.errors: list[bytes] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [
            Thread(target=self._read, args=(self.process.stdout, self.out.put), daemon=True),
            Thread(target=self._read, args=(self.process.stderr, self._error), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(pipe: IO[bytes], put: Callable[[bytes | None], object]) -> None:
        for line in pipe:
            put(line.rstrip(b"\n"))
        put(None)

    def _error(self, line: bytes | None) -> None:
        if line is not None:
            self.errors.append(line)

    @property
    def stderr(self) -> str:
        """What it said on stderr."""
        return b"\n".join(self.errors).decode()

    def writes(self, *lines: str | dict[str, Any]) -> None:
        """Write some lines, objects as JSON."""
        assert self.process.stdin is not None
        for line in lines:
            text = line if isinstance(line, str) else json.dumps(line)
            self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def ends_input(self) -> None:
        """End its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def line(self) -> str:
        """The next line of output."""
        try:
            line = self.out.get(timeout=LONG_S)
        except Empty:
            raise AssertionError(f"no more output; before: {self.seen[-5:]}, stderr: {self.stderr}") from None
        assert line is not None, f"its output ended; before: {self.seen[-5:]}, stderr: {self.stderr}"
        self.seen.append(line)
        return line.decode()

    def event(self, kind: str, **fields: object) -> dict[str, Any]:
        """The next event of a kind with these fields; others before it are passed over."""
        while True:
            event: dict[str, Any] = json.loads(self.line())
            if event["type"] == kind and all(event.get(name) == value for name, value in fields.items()):
                return event

    def says(self, text: str) -> None:
        """Wait until it has said something on stderr."""
        end = time.monotonic() + LONG_S
        while text not in self.stderr:
            assert time.monotonic() < end, self.stderr
            time.sleep(0.02)

    def rest(self) -> list[str]:
        """The lines of output that are left, to the end."""
        lines = []
        while (line := self.out.get(timeout=LONG_S)) is not None:
            lines.append(line.decode())
        return lines

    def ends(self) -> int:
        """Wait for its end; the exit status."""
        status = self.process.wait(LONG_S)
        for thread in self._threads:
            thread.join(LONG_S)
        return status

    def signals(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def clean_up(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.ends()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


class Relay(Program):
    """A relay; `address` is what it prints, whole."""

    def __init__(self, data: Path, *options: str, port: int = 0) -> None:
        self.data = data
        env = environment(data)
        listen = ("--listen", f"tcp:{port}:interface=127.0.0.1", "--data", str(data))
        super().__init__([*TWISTD, "-n", "--pidfile=", "securechat", *listen, *options], env)
        while True:
            match = re.search(r"securechat(\+tcp)?://\S+", self.line())
            if match is not None:
                break
        self.address = match[0]
        self.port = int(self.address.split(":")[2].split("/")[0])


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a program: our own, without what would change what it does."""
    dropped = ("SECURECHAT_", "NO_COLOR", "TERM")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "SECURECHAT_HOME": str(home), "PYTHONWARNINGS": "default", **more}


class ProgramCase(SynchronousTestCase):
    """A case with a relay, and a home for its clients; what they say on stderr is never a traceback."""

    relay_options: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start the relay."""
        self.home = Path(self.mktemp())
        self.relay = self.start_relay(*self.relay_options)

    def start_relay(self, *options: str) -> Relay:
        """Start a relay with a key of its own."""
        relay = Relay(Path(self.mktemp()), *options)
        self.addCleanup(relay.clean_up)
        return relay

    def client(self, *arguments: str, stdin: int | IO[bytes] | None = None) -> Program:
        """Start a client at the relay."""
        env = environment(self.home, SECURECHAT_RELAY=self.relay.address)
        program = Program([sys.executable, "-m", "securechat", *arguments], env, stdin)
        self.addCleanup(self.no_traceback, program)
        self.addCleanup(program.clean_up)
        return program

    def no_traceback(self, program: Program) -> None:
        """Nothing that a client says is for its programmers."""
        self.assertNotIn("Traceback", program.stderr)
        self.assertNotIn("Warning", program.stderr)

    def runs(self, *arguments: str, input: bytes | None = None) -> tuple[int, list[str], str]:
        """Run a client to its end: status, lines of output, stderr."""
        program = self.client(*arguments, stdin=subprocess.DEVNULL if input is None else None)
        if input is not None:
            assert program.process.stdin is not None
            program.process.stdin.write(input)
            program.ends_input()
        lines = program.rest()
        return program.ends(), lines, program.stderr

    def assert_fails(self, status: int, *arguments: str, says: str, input: bytes | None = None) -> None:
        """A client ends with a status, and one line on stderr that says this."""
        found, lines, stderr = self.runs(*arguments, input=input)
        self.assertEqual((found, lines), (status, []), stderr)
        self.assertEqual(len(stderr.splitlines()), 1, stderr)
        self.assertTrue(stderr.startswith("securechat: "), stderr)
        self.assertIn(says, stderr)
