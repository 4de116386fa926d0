"""Ed25519 (RFC 8032) over `label ‖ 0x00 ‖ message`: each label serves one purpose (SC1, notation)."""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SEED_BYTES: Final = 32


class SigningKey:
    """A private Ed25519 key: an identity key or a device key. Never printed.

    `seed` is the 32 bytes that RFC 8032, section 5.1.5 calls the private key, `public` the 32 bytes of the public
    one.
    """

    __slots__ = ("_private", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        """Take a 32-byte seed. Raises ValueError for another length."""
        self.seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return "SigningKey(…)"

    def sign(self, label: bytes, message: bytes) -> bytes:
        """Give the 64-byte signature of a message for the purpose that the label names."""
        return self._private.sign(label + b"\x00" + message)


def is_signed(public: bytes, label: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the holder of a 32-byte public key signed this message for this purpose.

    Wrong lengths and bytes that are no point of the curve are an answer too: False.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, label + b"\x00" + message)
    except (InvalidSignature, ValueError):
        return False
    return True
