"""Who somebody is: an identity key, a device key that it certifies, and the proof of a login (SC1 §1, §2).

A person has one identity key IK and on each device a device key DK, both Ed25519. The certificate of a device is

    lp(name, IK, DK, created, signature)      signature = Sig_IK("securechat/1 device", lp(name, DK, created))

and everything that a person says is signed by a device. In this version a person has one device, which keeps IK
beside DK; nothing in the formats keeps IK from certifying another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import urandom
from typing import Final

from securechat.e2e.encoding import (
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
from securechat.e2e.errors import NotAuthentic
from securechat.e2e.signing import SEED_BYTES, SigningKey, is_signed

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


def read_certificate(data: bytes) -> Certificate:
    """Read a certificate and check its signature. Raises `NotAuthentic`.

    That the identity key is the one that we know under this name is for `safety` to say.
    """
    name, identity, device, created, signature = split(data, NAME, KEY, KEY, U64, SIGNATURE)
    certificate = Certificate(read_name(name), identity, device, number(created), signature)
    if not certificate_is_signed(certificate):
        raise NotAuthentic
    return certificate


def certificate_is_signed(certificate: Certificate) -> bool:
    """Whether the identity key in it signed it."""
    certified = _certified(certificate.name, certificate.device, certificate.created_ms)
    return is_signed(certificate.identity, LABEL_DEVICE, certified, certificate.signature)


@dataclass(frozen=True, slots=True)
class Person:
    """Ourselves: both private keys, and the certificate of this device. Never printed."""

    identity: SigningKey
    device: SigningKey
    certificate: Certificate

    def __repr__(self) -> str:
        """Say nothing of the keys."""
        return "Person(…)"

    @property
    def name(self) -> str:
        """What we are called."""
        return self.certificate.name

    @property
    def packed(self) -> bytes:
        """What the key store keeps: `lp(IK's seed, DK's seed, certificate)`."""
        return lp(self.identity.seed, self.device.seed, self.certificate.packed)


def new_person(name: str, now_ms: int, random: Callable[[int], bytes] = urandom) -> Person:
    """Make the keys of a new person on its first device. The name must be one that `wire.names` takes."""
    identity, device = SigningKey(random(SEED_BYTES)), SigningKey(random(SEED_BYTES))
    return Person(identity, device, certify(identity, name, device.public, now_ms))


def read_person(data: bytes) -> Person:
    """Undo `Person.packed`. Raises `NotAuthentic`, also where keys and certificate do not belong together."""
    identity_seed, device_seed, packed = split(data, KEY, KEY, CERTIFICATE)
    person = Person(SigningKey(identity_seed), SigningKey(device_seed), read_certificate(packed))
    if not keys_belong_together(person):
        raise NotAuthentic
    return person


def keys_belong_together(person: Person) -> bool:
    """Whether the certificate is for the two keys that stand beside it."""
    certificate = person.certificate
    return (certificate.identity, certificate.device) == (person.identity.public, person.device.public)


def prove_login(person: Person, fingerprint: bytes, nonce: bytes, exporter: bytes) -> bytes:
    """Answer a relay's greeting: 64 bytes (SC1 §2).

    `fingerprint` is the 32-byte SHA-256 of the relay's SPKI, `exporter` the 32 bytes of TLS's
    `EXPORTER-Channel-Binding` (RFC 9266); both are empty on a plain loopback endpoint. `nonce` is the greeting's.
    Raises ValueError for other lengths: a proof without its binding would be good on another link.
    """
    if (len(fingerprint), len(exporter)) not in ((HASH[0], EXPORTER_BYTES), (0, 0)) or len(nonce) != NONCE_BYTES:
        raise ValueError("a login is bound to a relay, a nonce and a TLS session, of 32 bytes each")
    login = _login(fingerprint, person.certificate, nonce, exporter)
    return person.device.sign(LABEL_LOGIN, login)


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
