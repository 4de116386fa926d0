"""What nobody may find at a relay: names, rooms, what is said and passphrases, looked for wherever it writes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from securechat.wire.address import Address
from securechat.wire.messages import LAST_SEQ, Append, Enter
from tests.faults.programs import FaultCase, Relay
from tests.relay.process import Talker

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
        """Nothing of what people do is in the relay's log, data directory, environment or command line."""
        relay = self.relay("--motd", "welcome", "--listen", "unix:chat.sock")
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
