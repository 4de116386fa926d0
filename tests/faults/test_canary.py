"""What nobody may find at a relay: names, rooms, what is said and passphrases, looked for wherever it writes."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGABRT
from typing import Final

from securechat.wire.address import Address
from securechat.wire.messages import LAST_SEQ, Append, Enter
from tests.client.programs import environment
from tests.faults.programs import LONG_S, FaultCase, Relay
from tests.relay.process import TWISTD, Talker, fresh_directory
from tests.relay.test_operating import get, over_tcp

NAME: Final = "canaryname7x"
ROOM: Final = "#canaryroom7x"
TEXT: Final = "canarytext7x"
PASSPHRASE: Final = "canarypass7x"
SECRETS: Final = (NAME, ROOM[1:], TEXT, PASSPHRASE)


def spellings(secret: str) -> list[bytes]:
    """A secret as logs and files may have it."""
    plain = secret.encode()
    in_base64 = [base64.b64encode(bytes(shift) + plain)[4:-4] for shift in range(3)]
    return [plain, plain.hex().encode(), secret.encode("utf-16-le"), *in_base64]


def found(secrets: tuple[str, ...], places: dict[str, bytes]) -> list[str]:
    """Which secrets are where."""
    return [
        f"{secret} in {place}"
        for place, data in places.items()
        for secret in secrets
        if any(spelling in data for spelling in spellings(secret))
    ]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All files below a folder: their paths, and what they hold behind those."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), str(path.relative_to(folder)).encode() + path.read_bytes()


WITH_CORES: Final = 'ulimit -S -c "$(ulimit -H -c)"; exec "$0" "$@"'
"""As many bytes of a core file as may be."""


class CoreRelay(Relay):
    """One that may leave a core file, for all that the system says."""

    program = ("/bin/bash", "-c", WITH_CORES, TWISTD)


class CanaryTests(FaultCase):
    """People with names, rooms and words that are nowhere else."""

    def test_finds(self) -> None:
        """The search finds a secret, plain or encoded, in data and in the name of a file."""
        folder = self.home("x") / TEXT
        folder.mkdir(parents=True)
        (folder / "file").touch()
        places = {str(number): b"..." + each + b"..." for number, each in enumerate(spellings(NAME))}
        self.assertEqual([f"{NAME} in {number}" for number in range(6)], found(SECRETS, places))
        self.assertEqual(1, len(found(SECRETS, dict(files(self.home("x"))))))

    def troubles(self, relay: Relay, address: Address) -> None:
        """Things that a careless relay would log with what they were about."""
        talker = Talker(self, address)
        talker.login(NAME)
        talker.send(Enter(ROOM, 0, LAST_SEQ), Append(ROOM, TEXT.encode()), Enter(TEXT, 0, LAST_SEQ))
        talker.socket.sendall(b"\0\0\0\x20" + f"\x92\xa5Enter {TEXT} {NAME}".encode("latin-1").ljust(32))
        list(talker.messages())
        other = Talker(self, address)
        other.login(NAME)
        other.socket.close()
        relay.descriptors()

    def test_canary(self) -> None:
        """Nothing of what people do is in log, metrics, data directory, backup, environment or command line."""
        relay = self.relay(
            "--motd", "welcome", "--listen", "unix:chat.sock", "--status", "tcp:0:interface=127.0.0.1"
        )
        secret = self.home("secret")
        secret.mkdir(parents=True)
        (secret / "file").write_text(PASSPHRASE + "\n")
        options = ("--passphrase-file", str(secret / "file"))
        bob = self.client("bob", relay.address)
        canary = self.client("canaryname7xb", relay.address, *options)
        self.all_hear(f"{TEXT} one", canary, bob)
        self.all_hear(f"{TEXT} two", bob, canary)
        canary.writes({"text": f"{TEXT} three", "room": ROOM}, {"text": f"{TEXT} four", "room": "@bob"})
        bob.gets("message", text=f"{TEXT} four")
        canary.gets("sent", text=f"{TEXT} three")
        self.troubles(relay, Address(path=str(relay.directory / "chat.sock"), tls=False))
        places = {name: Path(f"/proc/{relay.pid}/{name}").read_bytes() for name in ("environ", "cmdline")}
        places["metrics"] = get(over_tcp(relay), "/metrics")[1]
        backup = fresh_directory(self) / "backup"
        command = [sys.executable, "-m", "securechat", "relay", "backup", str(backup)]
        done = subprocess.run(
            [*command, "--data", str(relay.directory / "data")], capture_output=True, timeout=LONG_S, check=True
        )
        places |= {"backup": backup.read_bytes(), "said of it": done.stdout + done.stderr}
        self.assertIn(b"SQLite format 3", places["backup"])
        self.assertIn(b"securechat_clients 2", places["metrics"])
        canary.ends_input()
        self.assertEqual(0, canary.ends())
        places["log"] = relay.ends().encode()
        places |= files(relay.directory)
        self.assertGreater(len(places), 3)
        self.assertEqual([], found(SECRETS, places))
        # Nor are words and passphrase in a key store that is under one.
        homes = dict(files(self.home("canaryname7xb")))
        self.assertGreater(len(homes), 0)
        self.assertEqual([], found((TEXT, PASSPHRASE), homes))

    def test_core(self) -> None:
        """A relay and a client that crash leave no core file, though they may."""
        relay = CoreRelay(self)
        home = self.home("alice")
        home.mkdir(parents=True)
        words = ["/bin/bash", "-c", WITH_CORES, sys.executable, "-m", "securechat", "chat", "alice", "--json"]
        client = subprocess.Popen(
            [*words, "--relay", str(relay.address), "--home", str(home)],
            cwd=home,
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with client:
            assert client.stdout is not None
            client.stdout.readline()
            for pid, folder, end in ((client.pid, home, client.wait), (relay.pid, relay.directory, relay.wait)):
                limits = Path(f"/proc/{pid}/limits").read_text()
                (line,) = (each for each in limits.splitlines() if each.startswith("Max core file size"))
                self.assertEqual("0", line.split()[4])
                os.kill(pid, SIGABRT)
                self.assertEqual(-SIGABRT, end())
                self.assertEqual([], [path for path in folder.rglob("*") if path.name.startswith("core")])
