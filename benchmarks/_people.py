"""Who is logged in under load: keys made for the run, their logins, and the logs of rooms that they sign."""

import time

from OpenSSL import SSL

from securechat.e2e.identity import new_person
from securechat.e2e.prekeys import PrekeyRing
from securechat.signed.certificates import prove_login
from securechat.signed.entries import Policy
from securechat.signed.roster import Roster, found
from securechat.signed.suites import Suite
from securechat.wire.address import fingerprint
from securechat.wire.framing import frame
from securechat.wire.messages import VERSION, Append, Hello


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Member:
    """Somebody with keys of their own."""

    def __init__(self, name: str) -> None:
        self.person = new_person(name, _now_ms())
        record = PrekeyRing(self.person.device).rotate(_now_ms(), Suite.X25519)
        assert record is not None
        self._prekey = record.packed

    def hello(self, nonce: bytes, link: object) -> bytes:
        """The login on a link, bound to it where it is one of TLS."""
        shown = exporter = b""
        if isinstance(link, SSL.Connection):
            theirs = link.get_peer_certificate()
            assert theirs is not None
            shown = bytes.fromhex(fingerprint(theirs.to_cryptography()))
            exporter = link.export_keying_material(b"EXPORTER-Channel-Binding", 32)
        certificate = self.person.certificate
        proof = prove_login(self.person.device, certificate, shown, nonce, exporter)
        return frame(Hello(VERSION, certificate.packed, self._prekey, proof))


class RoomLog:
    """The log of an open room, made member by member: each method gives what the acting one sends."""

    def __init__(self, room: str, founder: Member) -> None:
        self._room = room
        entry = found(founder.person, room, Policy(is_open=True), _now_ms())
        self._log = Roster(entry)
        self.founding = frame(Append(room, entry))

    @property
    def epoch(self) -> bytes:
        """The epoch that the last entry began."""
        return self._log.epoch

    def add(self, author: Member, comer: Member) -> bytes:
        """A member brings somebody in."""
        entry = self._log.add(author.person, comer.person.certificate, _now_ms())
        self._log.append(entry)
        return frame(Append(self._room, entry))
