"""Whom we take somebody for: safety numbers, and the keys that we remember (SC1 §11).

A safety number is 60 digits that two people compare, by Signal's algorithm (its "numeric fingerprint", version 0 of
the hash, 5,200 iterations): for each of the two

    h_0 = 0x0000 ‖ key ‖ name, h_n = SHA-512(h_{n-1} ‖ key) for n = 1 … 5,200

gives six groups of five digits, each 5 bytes of h_5200, big-endian, modulo 100,000; the smaller half comes first.
`key` is the 32 bytes of IK, `name` the name in UTF-8.

Keys are pinned at first use. Another key under a known name is never taken silently: whoever has it is not sent
anything until a person accepts that very key. For each device the latest prekey that was used is remembered
as well, so that nobody is moved to an older or a weaker one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha512
from typing import Final

from securechat.e2e.errors import E2EError
from securechat.signed.encoding import KEY, NAME, U64, Bounds, lp, number, read_name, split, split_list, u64
from securechat.signed.errors import NotAuthentic
from securechat.signed.prekeys import SKEW_MS, PrekeyRecord

ITERATIONS: Final = 5_200
DIGITS: Final = 60
MAX_PINS: Final = 65_536

_HASH_VERSION: Final = b"\x00\x00"
_GROUP_BYTES: Final = 5
_GROUPS: Final = 6
_BYTE: Final[Bounds] = (1, 1)
_MAYBE_KEY: Final[Bounds] = (0, 32)
_PIN: Final[Bounds] = (71, 166)


class ChangedKeyError(E2EError):
    """Somebody has another key than before, and nothing is sent to them until it is accepted."""


def safety_number(one: bytes, one_key: bytes, other: bytes, other_key: bytes) -> str:
    """The 60 digits for two people, by their names and identity keys, whoever of them asks."""
    return "".join(sorted((_half(one, one_key), _half(other, other_key))))


def _half(name: bytes, key: bytes) -> str:
    digest = _HASH_VERSION + key + name
    for _ in range(ITERATIONS):
        digest = sha512(digest + key).digest()
    groups = (digest[at : at + _GROUP_BYTES] for at in range(0, _GROUPS * _GROUP_BYTES, _GROUP_BYTES))
    return "".join(f"{number(group) % 100_000:05d}" for group in groups)


class Standing(Enum):
    """What we know of a key that somebody shows under a name."""

    FIRST = auto()
    """Nobody of this name was met before."""
    PINNED = auto()
    """It is the key of before, which nobody has compared."""
    VERIFIED = auto()
    """It is the key of before, and a person has compared the safety number."""
    CHANGED = auto()
    """It is another key than before."""


@dataclass(slots=True)
class Pin:
    """What is remembered of one name."""

    identity: bytes
    is_verified: bool = False
    changed_to: bytes = b""
    """The other key that was shown since, until a person decides; empty for none."""
    device: bytes = b""
    """The device that the two below are of; empty before the first."""
    suite_rank: int = 0
    prekey_from_ms: int = 0
    """When the newest prekey that we used began."""


class Pins:
    """The keys that we remember, by name."""

    def __init__(self) -> None:
        """Begin with none."""
        self._pins: dict[str, Pin] = {}
        self.changes = 0
        """Rises whenever somebody may have become blocked, or may be so no more."""

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._pins)

    def pin(self, name: str) -> Pin | None:
        """What is remembered of a name."""
        return self._pins.get(name)

    def standing(self, name: str, identity: bytes) -> Standing:
        """What we know of an identity key under a name. Changes nothing."""
        pin = self._pins.get(name)
        if pin is None:
            return Standing.FIRST
        if not is_pinned(pin, identity):
            return Standing.CHANGED
        return Standing.VERIFIED if pin.is_verified else Standing.PINNED

    def meet(self, name: str, identity: bytes) -> Standing:
        """Somebody showed a key: pin it if it is the first one, and remember a change until it is decided on."""
        standing = self.standing(name, identity)
        if standing is Standing.FIRST and len(self._pins) < MAX_PINS:
            self._pins[name] = Pin(identity)
            self.changes += 1
        elif standing is Standing.CHANGED and self._pins[name].changed_to != identity:
            self._pins[name].changed_to = identity
            self.changes += 1
        return standing

    def is_blocked(self, name: str, identity: bytes) -> bool:
        """Whether nothing may be sent to the holder of this key under this name.

        Both keys are blocked while a change is undecided: which of them is the person's is what is in question.
        """
        pin = self._pins.get(name)
        return pin is None or not is_pinned(pin, identity) or bool(pin.changed_to)

    def accept(self, name: str, identity: bytes) -> None:
        """A person decided which key is the right one: the new one, then unverified, or the old one after all.

        Raises `ChangedKeyError` for a key that is neither, so that what is accepted is what was on the screen.
        """
        pin = self._pins.get(name)
        if pin is None or identity not in (pin.identity, pin.changed_to):
            raise ChangedKeyError(f"the key of {name} is not the one that you were shown")
        self.changes += 1
        if identity == pin.identity:
            pin.changed_to = b""
        else:
            self._pins[name] = Pin(identity)

    def verify(self, name: str, identity: bytes) -> None:
        """A person compared the safety number made from this key. Raises `ChangedKeyError` if it is another's."""
        if self.is_blocked(name, identity):
            raise ChangedKeyError(f"the key of {name} is not the one that you compared")
        self._pins[name].is_verified = True

    def use(self, name: str, device: bytes, record: PrekeyRecord) -> None:
        """Remember a (checked) prekey of a device that we are about to seal to.

        Raises `NotAuthentic` where it is older, or of a weaker suite, than one that we used before: the relay keeps
        the latest, so whoever hands us that one wants us to use a key which may have leaked.
        """
        pin = self._pins.get(name)
        if pin is None or not is_no_step_back(pin, device, record):
            raise NotAuthentic
        pin.device = device
        pin.suite_rank, pin.prekey_from_ms = record.suite.rank, record.not_before_ms

    @property
    def packed(self) -> bytes:
        """What the key store keeps: `lp` of one item a name."""
        return lp(*(_packed(name, pin) for name, pin in self._pins.items()))


def read_pins(data: bytes) -> Pins:
    """Undo `Pins.packed`. Raises `NotAuthentic`."""
    pins = Pins()
    for item in split_list(data, _PIN, MAX_PINS):
        name, identity, verified, changed, device, rank, since = split(
            item, NAME, KEY, _BYTE, _MAYBE_KEY, _MAYBE_KEY, _BYTE, U64
        )
        pin = Pin(identity, verified == b"\x01", changed, device, number(rank), number(since))
        pins._pins[read_name(name)] = pin
    return pins


def is_pinned(pin: Pin, identity: bytes) -> bool:
    """Whether an identity key is the one that we remember."""
    return pin.identity == identity


def is_no_step_back(pin: Pin, device: bytes, record: PrekeyRecord) -> bool:
    """Whether a prekey is neither older nor weaker than the last one that we used of this device."""
    if pin.device != device:
        return True
    # The device's clock may have been put right since; a prekey from further ahead was never used.
    return record.suite.rank >= pin.suite_rank and record.not_before_ms >= pin.prekey_from_ms - SKEW_MS


def _packed(name: str, pin: Pin) -> bytes:
    flags = b"\x01" if pin.is_verified else b"\x00", bytes([pin.suite_rank])
    return lp(name.encode(), pin.identity, flags[0], pin.changed_to, pin.device, flags[1], u64(pin.prekey_from_ms))
