"""HPKE in base mode (RFC 9180, section 5.1.1) to the prekey of a device, with the two suites of SC1 §1.

A suite is named by 6 bytes, HPKE's own numbers for KEM, KDF and AEAD (RFC 9180, section 5.1: what its `suite_id`
holds behind "HPKE"):

    647a 0001 0002   X-Wing (ML-KEM-768 with X25519), HKDF-SHA256, AES-256-GCM
    0020 0001 0002   X25519, HKDF-SHA256, AES-256-GCM; where OpenSSL has no ML-KEM

A private key is 32 bytes under both. For X-Wing they are the draft's decapsulation key, a seed that SHAKE-256
expands to 96 bytes: 64 for ML-KEM-768, 32 for X25519 (draft-connolly-cfrg-xwing-kem, section 5.2). A public key is
1,216 bytes (ML-KEM's 1,184, then X25519's 32), or 32. What is sealed is `enc ‖ ciphertext`, 1,136 or 48 bytes
longer than its plaintext.
"""

from functools import cache
from hashlib import shake_256
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey
from cryptography.hazmat.primitives.hpke import Suite as Hpke

from securechat.e2e.errors import E2EError
from securechat.signed.errors import NotAuthentic
from securechat.signed.suites import ML_KEM_PUBLIC_BYTES, X25519_BYTES, Suite

SEED_BYTES: Final = 32
ML_KEM_SEED_BYTES: Final = 64


class NoMlKemError(E2EError):
    """A post-quantum key cannot be used, as the OpenSSL of this machine has no ML-KEM."""


@cache
def best_suite() -> Suite:
    """The suite for this device's own prekeys: X-Wing wherever it can be had."""
    try:
        MLKEM768PrivateKey.from_seed_bytes(bytes(ML_KEM_SEED_BYTES))
    except UnsupportedAlgorithm:
        return Suite.X25519
    return Suite.X_WING


def public_of(suite: Suite, seed: bytes) -> bytes:
    """The public key of a 32-byte private one. Raises `NoMlKemError` for X-Wing without ML-KEM."""
    private = _private(suite, seed)
    if isinstance(private, X25519PrivateKey):
        return private.public_key().public_bytes_raw()
    ml_kem, x25519 = _halves(seed)
    return ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def hpke_seal(suite: Suite, public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """Seal to a public key: `enc ‖ ciphertext`, with empty associated data.

    Raises `NotAuthentic` for a public key that is none, `NoMlKemError` for X-Wing without ML-KEM.
    """
    try:
        if suite is Suite.X25519:
            return _hpke(suite).encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info)
        ml_kem = MLKEM768PublicKey.from_public_bytes(public[:ML_KEM_PUBLIC_BYTES])
        x25519 = X25519PublicKey.from_public_bytes(public[ML_KEM_PUBLIC_BYTES:])
        return _hpke(suite).encrypt(plaintext, MLKEM768X25519PublicKey(ml_kem, x25519), info)
    except UnsupportedAlgorithm as missing:
        raise NoMlKemError("this needs ML-KEM, which the OpenSSL of this machine does not have") from missing
    except ValueError:
        # Too short, no valid encoding (FIPS 203, section 7.2), or a point that gives an all-zero secret (RFC 7748).
        raise NotAuthentic from None


def hpke_open(suite: Suite, seed: bytes, info: bytes, sealed: bytes) -> bytes:
    """Open what was sealed to our public key under the same info. Raises `NotAuthentic`, `NoMlKemError`."""
    private = _private(suite, seed)
    try:
        return _hpke(suite).decrypt(sealed, private, info)
    except (InvalidTag, ValueError):
        raise NotAuthentic from None


def _hpke(suite: Suite) -> Hpke:
    kem = KEM.X25519 if suite is Suite.X25519 else KEM.MLKEM768_X25519
    return Hpke(kem, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _private(suite: Suite, seed: bytes) -> X25519PrivateKey | MLKEM768X25519PrivateKey:
    if suite is Suite.X25519:
        return X25519PrivateKey.from_private_bytes(seed)
    try:
        return MLKEM768X25519PrivateKey(*_halves(seed))
    except UnsupportedAlgorithm as missing:
        raise NoMlKemError("this needs ML-KEM, which the OpenSSL of this machine does not have") from missing


def _halves(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """The two private keys of X-Wing from its seed (draft-connolly-cfrg-xwing-kem, section 5.2)."""
    expanded = shake_256(seed).digest(ML_KEM_SEED_BYTES + X25519_BYTES)
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:ML_KEM_SEED_BYTES])
    return ml_kem, X25519PrivateKey.from_private_bytes(expanded[ML_KEM_SEED_BYTES:])
