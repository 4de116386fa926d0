"""Who somebody is to us: asked of the relay, pinned at the first meeting, compared, and accepted anew (SC1 §11).

A key that changed is told in every room where it shows, once for each new key, and stays told until a person has
decided. What they accept, or call verified, is the key that was on their screen, and not one that came since.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final

from securechat.client.events import Error, Event, Info, KeyChanged
from securechat.e2e.keystore import Secrets
from securechat.e2e.safety import ChangedKeyError, Pin, Standing, safety_number
from securechat.signed.certificates import Certificate, read_certificate
from securechat.signed.errors import NotAuthentic
from securechat.signed.rights import Member
from securechat.wire import messages as wire
from securechat.wire.codes import REASONS, Code
from securechat.wire.names import name_refusal

Then = Callable[[Certificate | None, bool], None]
"""Hears whose a name is, None for nobody's, and whether they are logged in."""

_STANDING: Final = {
    Standing.FIRST: "not met before",
    Standing.PINNED: "the one that we remember, not verified",
    Standing.VERIFIED: "verified",
    Standing.CHANGED: "ANOTHER than before",
}


class People:
    """Everybody whom we have met over one relay."""

    def __init__(
        self,
        secrets: Secrets,
        send: Callable[[wire.FromClient], None],
        tell: Callable[[Event], None],
        keep_now: Callable[[], None],
    ) -> None:
        """Take our keys, what sends to the relay, where events go, and what stores the pins at once."""
        self._person = secrets.person
        self._pins = secrets.pins
        self._send = send
        self._tell = tell
        self._keep_now = keep_now
        self._lookups: dict[str, list[Then]] = {}
        self._told: set[tuple[str, str, bytes]] = set()
        self._shown: dict[str, bytes] = {}
        """The changed key of somebody that was told last."""
        self._compared: dict[str, bytes] = {}
        """The key of somebody from which the safety number was made that was told last."""

    @property
    def changed(self) -> list[str]:
        """Whose key is another than before, and nobody has decided which is right."""
        return sorted(self._shown)

    def is_blocked(self, member: Member) -> bool:
        """Whether nothing is sealed to a member, as their key changed."""
        return self._pins.is_blocked(member.name, member.identity)

    def is_verified(self, member: Member) -> bool:
        """Whether a person has compared a member's key."""
        return self._pins.standing(member.name, member.identity) is Standing.VERIFIED

    # What the relay says of names.

    def look_up(self, name: str, then: Then) -> None:
        """Ask whose a name is."""
        self._lookups.setdefault(name, []).append(then)
        self._send(wire.Lookup(name))

    def found(self, found: wire.Found) -> None:
        """The answer to a question of ours."""
        waiting = self._lookups.get(found.name)
        if not waiting:
            return
        then = waiting.pop(0)
        if not waiting:
            del self._lookups[found.name]
        then(self._certificate(found), found.online)

    def link_down(self) -> None:
        """What was asked is not answered any more."""
        self._lookups.clear()

    def _certificate(self, found: wire.Found) -> Certificate | None:
        try:
            certificate = read_certificate(found.certificate) if found.certificate else None
        except NotAuthentic:
            certificate = None
        if found.certificate and (certificate is None or not is_of(certificate, found.name)):
            self._tell(Error(f"what the relay says of {found.name} is not authentic"))
            return None
        return certificate

    # Keys.

    def meet(self, room: str, certificate: Certificate) -> bool:
        """Whether a key is the one that we know under its name, from now on at the latest; if not, that is told."""
        before = self._pins.changes
        self._pins.meet(certificate.name, certificate.identity)
        if self._pins.changes != before:
            self._keep_now()
        if not self._pins.is_blocked(certificate.name, certificate.identity):
            return True
        self._tell_changed(room, certificate.name)
        return False

    def withheld(self, room: str, members: Iterable[Member]) -> None:
        """These members of a room are handed nothing: tell of each whose change was not told there."""
        for member in members:
            self._tell_changed(room, member.name)

    def _tell_changed(self, room: str, name: str) -> None:
        pin = self._pins.pin(name)
        changed_to = b"" if pin is None else pin.changed_to
        if (room, name, changed_to) not in self._told:
            self._told.add((room, name, changed_to))
            self._shown[name] = changed_to
            self._tell(KeyChanged(room, name, key_id(changed_to)))

    def safety(self, name: str) -> None:
        """Tell the safety number of us and somebody whom we have met."""
        pin = self._pins.pin(name)
        if pin is None:
            self._tell(Error(f"you have not met {name}"))
            return
        identity = self._compared[name] = pin.changed_to or pin.identity
        ours = self._person.identity.public
        number = safety_number(self._person.name.encode(), ours, name.encode(), identity)
        groups = [number[at : at + 5] for at in range(0, len(number), 5)]
        then = f"If they are the same: /verify {name} yes"
        if pin.changed_to:
            then = f"This is the NEW key's number. If they are the same: /trust {name}, then /verify {name} yes"
        what = f"Compare with {name}, not over this chat:"
        self._tell(Info([what, " ".join(groups[:6]), " ".join(groups[6:]), then]))

    def verify(self, name: str) -> None:
        """Mark somebody as verified: the safety numbers were compared."""
        pin = self._pins.pin(name)
        try:
            if pin is None:
                raise ChangedKeyError(f"you have not met {name}")
            self._pins.verify(name, self._compared.get(name, pin.identity))
        except ChangedKeyError as wrong:
            self._tell(Error(str(wrong)))
            return
        self._keep_now()
        self._tell(Info([f"{name} is verified."]))

    def trust(self, name: str) -> bool:
        """Accept the new key of somebody, if it is the one that was told; gives whether."""
        pin = self._pins.pin(name)
        if pin is None or not pin.changed_to:
            self._tell(Error(f"the key of {name} has not changed"))
            return False
        if not is_shown(pin, self._shown.get(name)):
            self._tell_changed("", name)
            return False
        self._pins.accept(name, pin.changed_to)
        self._keep_now()
        del self._shown[name]
        self._told = {each for each in self._told if each[1] != name}
        self._tell(Info([f"The new key of {name} is accepted; it is not verified."]))
        return True

    def whois(self, name: str) -> None:
        """Tell what the relay and we know of somebody."""
        self.look_up(name, lambda certificate, online: self._told_who(name, certificate, online))

    def _told_who(self, name: str, certificate: Certificate | None, online: bool) -> None:
        if certificate is None:
            self._tell(Info([f"Nobody is called {name} here."]))
            return
        standing = self._pins.standing(name, certificate.identity)
        lines = [f"{name} is {'here' if online else 'away'}.", f"Key: {key_id(certificate.identity)}"]
        self._tell(Info([*lines, f"This key is {_STANDING[standing]}."]))


def is_of(certificate: Certificate, name: str) -> bool:
    """Whether a certificate is of the name that was asked for."""
    return certificate.name == name


def is_shown(pin: Pin, shown: bytes | None) -> bool:
    """Whether the changed key of somebody is the one that was on the screen."""
    return pin.changed_to == shown


def key_id(identity: bytes) -> str:
    """How a key is shown: the beginning of its SHA-256, in groups."""
    digits = sha256(identity).hexdigest()[:32]
    return " ".join(digits[at : at + 4] for at in range(0, 32, 4))


def why_no_name(name: str) -> str | None:
    """Why nobody can be called so, or None."""
    refusal = name_refusal(name)
    return None if refusal is None else REASONS.get(refusal, REASONS[Code.BAD_NAME])
