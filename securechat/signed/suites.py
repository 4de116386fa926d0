"""What a prekey is for: the two suites of HPKE that SC1 §1 has, by their numbers. See `e2e.hpke` for their use.

A suite is named by 6 bytes, HPKE's own numbers for KEM, KDF and AEAD (RFC 9180, section 5.1: what its `suite_id`
holds behind "HPKE").
"""

from enum import Enum
from typing import Final

from securechat.signed.errors import NotAuthentic

SUITE_BYTES: Final = 6
ML_KEM_PUBLIC_BYTES: Final = 1_184
X25519_BYTES: Final = 32


class Suite(Enum):
    """What a prekey is for. The order is that of strength: nobody goes back to an earlier one (see `safety`)."""

    X25519 = bytes.fromhex("002000010002")
    X_WING = bytes.fromhex("647a00010002")

    @property
    def rank(self) -> int:
        """Where it stands in the order of strength, the weakest being 0."""
        return list(Suite).index(self)

    @property
    def public_bytes(self) -> int:
        """The length of a public key."""
        return X25519_BYTES if self is Suite.X25519 else ML_KEM_PUBLIC_BYTES + X25519_BYTES


def read_suite(data: bytes) -> Suite:
    """Read the 6 bytes that name a suite. Raises `NotAuthentic` for one that SC1 does not have."""
    try:
        return Suite(data)
    except ValueError:
        raise NotAuthentic from None
