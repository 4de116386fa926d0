"""Addresses of relays, as people copy and paste them.

    securechat://HOST:PORT/#FINGERPRINT     TLS; the fingerprint is 64 hexadecimal digits and may be left out
    securechat+tcp://HOST:PORT              no TLS
    securechat+unix:///PATH                 a Unix socket, no TLS

The fingerprint is the SHA-256 of the relay's public key (its SubjectPublicKeyInfo in DER, as in RFC 7469 §2.4),
so that a renewed certificate with the same key keeps it.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from securechat.wire.errors import WireError

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 12345

_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)


class AddressError(WireError):
    """The text is not the address of a relay; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a relay listens: host and port with or without TLS, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = True
    fingerprint: str = ""
    """64 hexadecimal digits, or empty where the address does not say."""

    def __str__(self) -> str:
        """The address as `parse` reads it."""
        if self.path:
            return f"securechat+unix://{quote(self.path)}"
        place = f"{self.place}"
        if not self.tls:
            return f"securechat+tcp://{place}"
        return f"securechat://{place}/#{self.fingerprint}" if self.fingerprint else f"securechat://{place}"

    @property
    def place(self) -> str:
        """`host:port`, or the path: what a fingerprint is remembered for."""
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """Read an address; `host`, `host:port` and `[IPv6]:port` without a scheme mean TLS. Raises `AddressError`."""
    if "://" not in text:
        text = f"securechat://{text}"
    if not text.isprintable():
        # `urlsplit` would leave some of these out in silence.
        raise AddressError("an address holds no line breaks and no control characters")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname
    except ValueError as wrong:
        raise AddressError("the port is a number from 1 to 65535, and IPv6 stands in brackets") from wrong
    if parts.username is not None or parts.password is not None or parts.query:
        raise AddressError("an address holds a host, a port and a fingerprint, nothing else")
    if parts.scheme == "securechat+unix":
        if host or not parts.path.startswith("/") or parts.fragment:
            raise AddressError("a Unix socket is written securechat+unix:///absolute/path")
        return Address(path=unquote(parts.path), tls=False)
    if parts.scheme not in ("securechat", "securechat+tcp"):
        raise AddressError("an address begins with securechat://, securechat+tcp:// or securechat+unix://")
    if not host or " " in host or parts.path not in ("", "/") or port == 0:
        raise AddressError("an address is written securechat://host:port/#fingerprint")
    tls = parts.scheme == "securechat"
    fingerprint = parts.fragment.lower()
    if fingerprint and not (tls and _FINGERPRINT.fullmatch(fingerprint)):
        raise AddressError("a fingerprint is 64 hexadecimal digits, and belongs to securechat:// only")
    return Address(host=host, port=DEFAULT_PORT if port is None else port, tls=tls, fingerprint=fingerprint)


def fingerprint(certificate: x509.Certificate) -> str:
    """The fingerprint of a relay's certificate: 64 lower-case hexadecimal digits."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
