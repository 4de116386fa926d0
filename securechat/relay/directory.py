"""Whose the names are, for good, and who is logged in.

A name belongs to the identity key that first logged in under it, and an identity key has that one name. Of each the
newest device certificate and prekey are kept for others to ask for: in this version a person has one device, and
a new one takes the place of the old one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Generic, NamedTuple, Protocol, TypeVar

from securechat.relay.bus import Bus
from securechat.relay.space import never
from securechat.wire.codes import Code


@dataclass(frozen=True, slots=True)
class Owner:
    """Somebody who has a name here."""

    name: str
    identity: bytes
    device: bytes
    certificate: bytes
    """Their newest, as it travels."""
    prekey: bytes
    """Their newest, as it travels."""
    prekey_until_ms: int
    """When that is over."""
    is_former: bool = False
    """Whether the operator has taken the name away; the identity key is still bound to it."""


class Owners(Protocol):
    """Where owners are kept; the seam for a directory that outlives the relay."""

    def __len__(self) -> int:
        """How many names are owned."""

    def __iter__(self) -> Iterator[Owner]:
        """Who owns one, as of now."""

    def named(self, name: str) -> Owner | None:
        """Who owns a name."""

    def identified(self, identity: bytes) -> Owner | None:
        """Whose an identity key is, or was."""

    def having(self, device: bytes) -> Owner | None:
        """Whose device this is now, or was when they lost their name."""

    def keep(self, owner: Owner) -> None:
        """Keep somebody new, or what is new of somebody known."""

    def remove(self, owner: Owner) -> None:
        """Let somebody else have an owner's name."""


class MemoryOwners:
    """Owners for as long as the relay runs."""

    def __init__(self) -> None:
        self._by_name: dict[str, Owner] = {}
        self._by_identity: dict[bytes, Owner] = {}
        self._by_device: dict[bytes, Owner] = {}

    def __len__(self) -> int:
        """How many names are owned."""
        return len(self._by_name)

    def __iter__(self) -> Iterator[Owner]:
        """Who owns one, as of now."""
        return iter(list(self._by_name.values()))

    def named(self, name: str) -> Owner | None:
        """Who owns a name."""
        return self._by_name.get(name)

    def identified(self, identity: bytes) -> Owner | None:
        """Whose an identity key is, or was."""
        return self._by_identity.get(identity)

    def having(self, device: bytes) -> Owner | None:
        """Whose device this is now, or was when they lost their name."""
        return self._by_device.get(device)

    def keep(self, owner: Owner) -> None:
        """Keep somebody new, or what is new of somebody known; a device that was replaced is nobody's."""
        before = self._by_identity.get(owner.identity)
        if before is not None:
            del self._by_device[before.device]
        self._by_name[owner.name] = self._by_identity[owner.identity] = self._by_device[owner.device] = owner

    def remove(self, owner: Owner) -> None:
        """Let somebody else have an owner's name; the owner never gets another one, see `remember`."""
        del self._by_name[owner.name]
        self.remember(replace(owner, is_former=True))

    def remember(self, former: Owner) -> None:
        """Bind the key of somebody who has lost their name to it all the same.

        Rooms have them as a member under that name. Under another one they would be a stranger there who gets
        everything.
        """
        self._by_identity[former.identity] = self._by_device[former.device] = former


class Replaceable(Protocol):
    """A session, as the directory sees it."""

    def replaced(self) -> None:
        """The same identity has logged in again; the session ends, and releases itself, at once."""


Holder = TypeVar("Holder", bound=Replaceable)


class _Held(NamedTuple, Generic[Holder]):
    """A name's link here."""

    holder: Holder
    term: int
    """The later of two has the name."""


class Directory(Generic[Holder]):
    """At most `max_names` owners, of whom at most `max_clients` are logged in, each once."""

    def __init__(
        self,
        owners: Owners,
        max_clients: int,
        max_names: int,
        is_banned: Callable[[bytes], bool],
        bus: Bus,
        is_full: Callable[[], bool] = never,
    ) -> None:
        self._bus = bus
        self._terms: Iterator[int] = count(1)
        """Of all logins here. Several nodes would count in the row of a name."""
        self._owners = owners
        self._max_clients = max_clients
        self._max_names = max_names
        self._is_full = is_full
        self._is_banned = is_banned
        self._holders: dict[bytes, _Held[Holder]] = {}
        bus.hear_moved(self._moved)

    def __len__(self) -> int:
        """How many are logged in."""
        return len(self._holders)

    def claim(self, owner: Owner, holder: Holder) -> Code | None:
        """Log in somebody who has proven to be who they say; the reason where that cannot be."""
        if self._is_banned(owner.identity):
            return Code.BANNED
        known = self._owners.identified(owner.identity)
        if not is_name_free(owner, self._owners.named(owner.name)):
            return Code.NAME_OWNED
        if not is_only_name(owner, known) or not is_own_device(owner, self._owners.having(owner.device)):
            return Code.BAD_CERTIFICATE
        if owner.identity not in self._holders and len(self._holders) >= self._max_clients:
            return Code.FULL
        is_new = known is None or known.is_former
        if is_new and (len(self._owners) >= self._max_names or self._is_full()):
            return Code.FULL
        self._owners.keep(owner)
        term = next(self._terms)
        # When this returns an older link here has ended, so that nobody is here twice.
        self._bus.moved(owner.identity, term)
        self._holders[owner.identity] = _Held(holder, term)
        return None

    def _moved(self, identity: bytes, term: int) -> None:
        """Somebody says that a name has moved to the link of a term: where ours is older it ends."""
        held = self._holders.get(identity)
        if held is not None and held.term < term:
            held.holder.replaced()

    def is_known(self, name: str, certificate: bytes) -> bool:
        """Whether a certificate is, to the byte, the one that the owner of a name has here."""
        owner = self._owners.named(name)
        return owner is not None and owner.certificate == certificate

    def renew(self, identity: bytes, prekey: bytes, until_ms: int) -> None:
        """Somebody offers a new prekey, which has been checked."""
        owner = self._owners.identified(identity)
        assert owner is not None, "they are logged in"
        self._owners.keep(replace(owner, prekey=prekey, prekey_until_ms=until_ms))

    def find(self, identity: bytes) -> Holder | None:
        """The session of somebody who is logged in."""
        held = self._holders.get(identity)
        return None if held is None else held.holder

    def release(self, identity: bytes) -> None:
        """Somebody is not logged in any more."""
        del self._holders[identity]

    def certificate(self, identity: bytes) -> bytes:
        """The newest certificate of an identity key; empty for one that nobody has here."""
        owner = self._owners.identified(identity)
        return b"" if owner is None or owner.is_former else owner.certificate

    def look_up(self, name: str) -> tuple[bytes, bool]:
        """The newest certificate of a name's owner, empty for a name that nobody has, and whether they are here."""
        owner = self._owners.named(name)
        return (b"", False) if owner is None else (owner.certificate, owner.identity in self._holders)

    def prekey(self, device: bytes, now_ms: int) -> bytes:
        """The newest prekey of a device; empty for one that is unknown, was replaced, or whose last one is over."""
        owner = self._owners.having(device)
        return b"" if owner is None or owner.is_former or owner.prekey_until_ms <= now_ms else owner.prekey


def is_name_free(owner: Owner, named: Owner | None) -> bool:
    """Whether a name is nobody else's; `named` is who has it."""
    return named is None or named.identity == owner.identity


def is_only_name(owner: Owner, known: Owner | None) -> bool:
    """Whether an identity has no other name; `known` is what is known of it."""
    return known is None or known.name == owner.name


def is_own_device(owner: Owner, having: Owner | None) -> bool:
    """Whether a device is no other identity's; `having` is whose it is."""
    return having is None or having.identity == owner.identity
