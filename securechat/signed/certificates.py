"""Who somebody is: the certificate of a device, and the proof of a login (SC1 §1, §2).

A person has an identity key IK and on each device a device key DK, both Ed25519. The certificate of a device is

    lp(name, IK, DK, created, signature)      signature = Sig_IK("securechat/1 device", lp(name, DK, created))

and everything that a person says is signed by a device. In this version a person has one device, which keeps IK
beside DK; nothing in the formats keeps IK from certifying another.
"""

from dataclasses import dataclass
from typing import Final

from securechat.signed.encoding import (
    HASH,
    KEY,
    LABEL_DEVICE,
    LABEL_LOGIN,
    NAME,
    SIGNATURE,
    U64,
    Bounds,
    lp,
    number,
    read_name,
    split,
    u64,
)
from securechat.signed.errors import NotAuthentic
from securechat.signed.signing import SigningKey, is_signed

CERTIFICATE: Final[Bounds] = (157, 188)
"""The bounds of a packed certificate: five lengths, and a name of 1 to 32 characters."""
NONCE_BYTES: Final = 32
EXPORTER_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Certificate:
    """An identity key's word that a device is its person's."""

    name: str
    identity: bytes
    """IK, 32 bytes."""
    device: bytes
    """DK, 32 bytes."""
    created_ms: int
    signature: bytes

    @property
    def packed(self) -> bytes:
        """The bytes that travel."""
        return lp(self.name.encode(), self.identity, self.device, u64(self.created_ms), self.signature)


def certify(identity: SigningKey, name: str, device: bytes, created_ms: int) -> Certificate:
    """Certify a device (its 32-byte public key) for the holder of an identity key (SC1 §1)."""
    signature = identity.sign(LABEL_DEVICE, _certified(name, device, created_ms))
    return Certificate(name, identity.public, device, created_ms, signature)


def parse_certificate(data: bytes) -> Certificate:
    """Read a certificate whose signature was checked before. Raises `NotAuthentic`."""
    name, identity, device, created, signature = split(data, NAME, KEY, KEY, U64, SIGNATURE)
    return Certificate(read_name(name), identity, device, number(created), signature)


def read_certificate(data: bytes) -> Certificate:
    """Read a certificate and check its signature. Raises `NotAuthentic`.

    That the identity key is the one that we know under this name is for `safety` to say.
    """
    certificate = parse_certificate(data)
    if not certificate_is_signed(certificate):
        raise NotAuthentic
    return certificate


def name_in(data: bytes) -> str:
    """The name that a certificate claims to be of; nothing of it has been checked. Raises `NotAuthentic`."""
    return read_name(split(data, NAME, KEY, KEY, U64, SIGNATURE)[0])


def certificate_is_signed(certificate: Certificate) -> bool:
    """Whether the identity key in it signed it."""
    certified = _certified(certificate.name, certificate.device, certificate.created_ms)
    return is_signed(certificate.identity, LABEL_DEVICE, certified, certificate.signature)


def prove_login(
    device: SigningKey, certificate: Certificate, fingerprint: bytes, nonce: bytes, exporter: bytes
) -> bytes:
    """Answer a relay's greeting: 64 bytes (SC1 §2).

    `fingerprint` is the 32-byte SHA-256 of the relay's SPKI, `exporter` the 32 bytes of TLS's
    `EXPORTER-Channel-Binding` (RFC 9266); both are empty on a plain loopback endpoint. `nonce` is the greeting's.
    Raises ValueError for other lengths: a proof without its binding would be good on another link.
    """
    if (len(fingerprint), len(exporter)) not in ((HASH[0], EXPORTER_BYTES), (0, 0)) or len(nonce) != NONCE_BYTES:
        raise ValueError("a login is bound to a relay, a nonce and a TLS session, of 32 bytes each")
    return device.sign(LABEL_LOGIN, _login(fingerprint, certificate, nonce, exporter))


def login_is_proven(
    certificate: Certificate, fingerprint: bytes, nonce: bytes, exporter: bytes, proof: bytes
) -> bool:
    """Whether the device of a (checked) certificate answered this very greeting on this very link (SC1 §2)."""
    login = _login(fingerprint, certificate, nonce, exporter)
    return is_signed(certificate.device, LABEL_LOGIN, login, proof)


def _certified(name: str, device: bytes, created_ms: int) -> bytes:
    return lp(name.encode(), device, u64(created_ms))


def _login(fingerprint: bytes, certificate: Certificate, nonce: bytes, exporter: bytes) -> bytes:
    return lp(fingerprint, certificate.name.encode(), certificate.device, nonce, exporter)
