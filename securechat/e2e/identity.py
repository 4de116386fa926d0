"""Ourselves: our identity key and device key, and the certificate of this device (SC1 §1)."""

from collections.abc import Callable
from dataclasses import dataclass
from os import urandom

from securechat.signed.certificates import CERTIFICATE, Certificate, certify, read_certificate
from securechat.signed.encoding import KEY, lp, split
from securechat.signed.errors import NotAuthentic
from securechat.signed.signing import SEED_BYTES, SigningKey


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
