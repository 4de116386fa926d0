"""How the plain client reaches a relay: docs/PROTOCOL.md, Transport."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL


class EndedError(Exception):
    """The relay has closed the link in good order, with TLS by its `close_notify`."""


class LostError(Exception):
    """The link was cut off, or nothing was heard for too long."""


class WrongKeyError(Exception):
    """The relay has another key than its address says."""


class SecureLink:
    """TLS 1.3 over a socket, with what a login is bound to: `fingerprint` and `exporter`."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        self._tls = SSL.Connection(context, None)
        self._tls.set_connect_state()
        self._call(self._tls.do_handshake)
        certificate = self._tls.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.fingerprint = hashlib.sha256(spki).digest()
        self.exporter: bytes = self._tls.export_keying_material(b"EXPORTER-Channel-Binding", 32)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        for at in range(0, len(data), 16_384):
            self._tls.send(data[at : at + 16_384])
            self._flush()

    def recv(self, size: int) -> bytes:
        """What came; nothing after the relay's `close_notify`."""
        try:
            return bytes(self._call(lambda: self._tls.recv(size)))
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error:
            raise ConnectionError from None

    def settimeout(self, seconds: float) -> None:
        """For how long to wait for the relay."""
        self._link.settimeout(seconds)

    def close(self) -> None:
        """Close the socket."""
        self._link.close()

    def _flush(self) -> None:
        while True:
            try:
                self._link.sendall(self._tls.bio_read(65_536))
            except SSL.WantReadError:
                return

    def _call(self, what: Callable[[], Any]) -> Any:
        while True:
            try:
                return what()
            except SSL.WantReadError:
                self._flush()
            data = self._link.recv(65_536)
            if not data:
                raise ConnectionError("no close_notify")
            self._tls.bio_write(data)


def connect(address: str, timeout_s: float) -> socket.socket | SecureLink:
    """A link to a relay that has, where its address says which, the right key."""
    parts = urlsplit(address)
    if parts.scheme == "securechat+unix":
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(timeout_s)
        link.connect(unquote(parts.path))
        return link
    link = socket.create_connection((parts.hostname or "", parts.port or 12_345), timeout_s)
    if parts.scheme == "securechat+tcp":
        return link
    secured = SecureLink(link)
    if parts.fragment and secured.fingerprint.hex() != parts.fragment:
        secured.close()
        raise WrongKeyError
    return secured
