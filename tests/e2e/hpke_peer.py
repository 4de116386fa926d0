"""HPKE's key schedule (RFC 9180, section 5.1) with nothing of ours: from a shared secret to a ciphertext."""

import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUITES = {0x0020: b"HPKE" + bytes.fromhex("002000010002"), 0x647A: b"HPKE" + bytes.fromhex("647a00010002")}


def labeled_extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    """`LabeledExtract` of section 4, for HKDF-SHA256."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + secret, "sha256")


def labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    """`LabeledExpand` of section 4, for HKDF-SHA256 and up to 64 bytes."""
    labeled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    first = hmac.digest(key, labeled + b"\x01", "sha256")
    return (first + hmac.digest(key, first + labeled + b"\x02", "sha256"))[:size]


def schedule(kem: int, shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and base nonce of AES-256-GCM in base mode."""
    suite = SUITES[kem]
    context = b"\x00" + labeled_extract(suite, b"", b"psk_id_hash", b"")
    context += labeled_extract(suite, b"", b"info_hash", info)
    secret = labeled_extract(suite, shared, b"secret", b"")
    return labeled_expand(suite, secret, b"key", context, 32), labeled_expand(
        suite, secret, b"base_nonce", context, 12
    )


def seal_with(kem: int, enc: bytes, shared: bytes, info: bytes, plaintext: bytes) -> bytes:
    """`enc ‖ ciphertext` for a KEM's published output: what a sender would have made of it."""
    key, nonce = schedule(kem, shared, info)
    return enc + AESGCM(key).encrypt(nonce, plaintext, b"")
