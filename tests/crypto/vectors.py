"""Published vectors, and random material that is the same in every run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cryptography_vectors

RFC7518_B3_KEY = bytes(range(64))
RFC7518_B3_PLAINTEXT = (
    b"A cipher system must not be required to be secret, and it must be able to "
    b"fall into the hands of the enemy without inconvenience"
)
RFC7518_B3_IV = bytes.fromhex("1af38c2dc2b96ffdd86694092341bc04")
RFC7518_B3_ASSOCIATED = b"The second principle of Auguste Kerckhoffs"
RFC7518_B3_CIPHERTEXT = bytes.fromhex(
    "4affaaadb78c31c5da4b1b590d10ffbd 3dd8d5d302423526912da037ecbcc7bd"
    "822c301dd67c373bccb584ad3e9279c2 e6d12a1374b77f077553df829410446b"
    "36ebd97066296ae6427ea75c2e0846a1 1a09ccf5370dc80bfecbad28c73f09b3"
    "a3b75e662a2594410ae496b2e2e6609e 31e6e02cc837f053d21f37ff4f51950b"
    "be2638d09dd7a4930930806d0703b1f6"
)
RFC7518_B3_TAG = bytes.fromhex("4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5")
RFC7518_B3_SEALED = RFC7518_B3_IV + RFC7518_B3_CIPHERTEXT + RFC7518_B3_TAG

CAVP_FILES = ("CBCGFSbox256", "CBCKeySbox256", "CBCVarKey256", "CBCVarTxt256", "CBCMMT256")


@dataclass(frozen=True, slots=True)
class CbcVector:
    """One case of NIST's CAVP for AES-256-CBC: whole blocks, no padding."""

    key: bytes
    iv: bytes
    plaintext: bytes
    ciphertext: bytes


def cavp(name: str) -> list[CbcVector]:
    """Read one of the response files that the cryptography project republishes from NIST."""
    path = Path(cryptography_vectors.__file__).parent / "ciphers" / "AES" / "CBC" / f"{name}.rsp"
    return list(_cavp_cases(path.read_text("ascii")))


def _cavp_cases(text: str) -> Iterator[CbcVector]:
    fields: dict[str, bytes] = {}
    for line in text.splitlines():
        name, equals, value = line.partition(" = ")
        if equals and name in ("KEY", "IV", "PLAINTEXT", "CIPHERTEXT"):
            fields[name] = bytes.fromhex(value)
        if len(fields) == 4:
            yield CbcVector(fields["KEY"], fields["IV"], fields["PLAINTEXT"], fields["CIPHERTEXT"])
            fields = {}


@dataclass(frozen=True, slots=True)
class HmacVector:
    """One case of RFC 4231 for HMAC-SHA-512."""

    key: bytes
    message: bytes
    tag: bytes


def rfc4231() -> list[HmacVector]:
    """Read the cases of RFC 4231, sections 4.2 to 4.8 without the truncated one (4.6)."""
    text = (Path(cryptography_vectors.__file__).parent / "HMAC" / "rfc-4231-sha512.txt").read_text("ascii")
    values = [line.partition(" = ")[2] for line in text.splitlines() if line.startswith(("Key =", "Msg =", "MD ="))]
    found = list(map(bytes.fromhex, values))
    return [HmacVector(*found[at : at + 3]) for at in range(0, len(found), 3)]


def ragged(random: Random, count: int, longest: int) -> list[bytes]:
    """Give byte strings of lengths from 0 to `longest`, most of them short, some around a block's end."""
    edges = (0, 1, 15, 16, 17, 31, 32, 33, 127, 128, 129, longest)
    lengths = [
        random.choice(edges) if random.random() < 0.3 else int(longest * random.random() ** 6) for _ in range(count)
    ]
    return [random.randbytes(length) for length in lengths]


def flipped(data: bytes) -> list[bytes]:
    """Give every byte string that differs from `data` in one bit."""
    number = int.from_bytes(data, "big")
    return [(number ^ (1 << bit)).to_bytes(len(data), "big") for bit in range(8 * len(data))]
