"""The relay's own key and certificate, made at its first start.

A P-256 key in `relay.key` (mode 0600) and a self-signed certificate in `relay.crt`. Clients pin the key, not the
certificate: a certificate made anew for the same key changes nothing for them.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from OpenSSL import crypto
from twisted.internet.ssl import CertificateOptions, TLSVersion

from securechat.disk.whole import write_whole
from securechat.relay.errors import RelayError
from securechat.relay.files import check_private

KEY_FILE: Final = "relay.key"
CERTIFICATE_FILE: Final = "relay.crt"
_VALID_FOR: Final = timedelta(days=20 * 365)


def prepare_directory(directory: Path) -> None:
    """Make the data directory, for its owner alone. Raises `RelayError` where that cannot be."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as wrong:
        raise RelayError(f"cannot use the data directory {directory}: {wrong.strerror}") from wrong


def load_or_make(directory: Path, now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The key and certificate in `directory`, made where there are none. Raises `RelayError`."""
    prepare_directory(directory)
    key_path, certificate_path = directory / KEY_FILE, directory / CERTIFICATE_FILE
    try:
        key = _load_key(key_path) if key_path.exists() else _make_key(key_path)
        if certificate_path.exists():
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        else:
            certificate = _make_certificate(key, now)
            write_whole(certificate_path, certificate.public_bytes(Encoding.PEM), 0o644)
        belongs = certificate.public_key() == key.public_key()
    except OSError as wrong:
        # A full disk names no file.
        raise RelayError(f"cannot use {wrong.filename or directory}: {wrong.strerror}") from wrong
    except (ValueError, TypeError, UnsupportedAlgorithm) as wrong:
        # TypeError: the key is encrypted, and there is nobody to ask for its password.
        raise RelayError(f"{KEY_FILE} or {CERTIFICATE_FILE} in {directory} is damaged") from wrong
    if not belongs:
        raise RelayError(f"{CERTIFICATE_FILE} in {directory} does not belong to {KEY_FILE}")
    return key, certificate


def load_again(directory: Path, now: datetime, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The certificate in `directory` while `key` is in use; made anew where it was taken away. Raises `RelayError`.

    Never another key, and never a new one: clients know the relay by it, and it would lock all of them out.
    """
    path = directory / KEY_FILE
    try:
        present = _load_key(path)
    except OSError as wrong:
        raise RelayError(f"cannot use {path}: {wrong.strerror}") from wrong
    except (ValueError, TypeError, UnsupportedAlgorithm) as wrong:
        raise RelayError(f"{path} is damaged") from wrong
    if not is_same_key(present, key):
        raise RelayError(
            f"{path} holds ANOTHER KEY than the one in use, which would lock out every client; "
            "put the old key back, or restart the relay if that is meant"
        )
    return load_or_make(directory, now)[1]


def is_same_key(one: ec.EllipticCurvePrivateKey, other: ec.EllipticCurvePrivateKey) -> bool:
    """Whether two keys are one."""
    return one.public_key() == other.public_key()


def tls_options(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> CertificateOptions:
    """TLS 1.3 with this certificate; one context for all connections."""
    return CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(key),
        certificate=crypto.X509.from_cryptography(certificate),
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    check_private(path)
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise RelayError(f"{path} is not an elliptic-curve key")
    return key


def _make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    write_whole(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    return key


def _make_certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "securechat relay")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, SHA256())
    )
