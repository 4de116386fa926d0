"""What a login on a TLS link is bound to: the key that the relay showed there, and the secrets of that very link.

Taken from the link's own handle, so that it holds for our certificate as well as for one that an endpoint brought,
and behind a proxy that passes TLS through. Where somebody else ends TLS, or there is none, nothing is bound.
"""

from typing import Any, Final, NamedTuple, cast

from OpenSSL.SSL import Connection
from twisted.internet.interfaces import ISSLTransport

from securechat.signed.certificates import EXPORTER_BYTES
from securechat.wire.address import fingerprint

_LABEL: Final = b"EXPORTER-Channel-Binding"
"""RFC 9266."""


class Binding(NamedTuple):
    """The fingerprint of the relay's key and the exporter of the TLS session, 32 bytes each, or both empty."""

    fingerprint: bytes = b""
    exporter: bytes = b""


def binding_of(transport: object) -> Binding:
    """The binding of a link whose handshake is done."""
    if not ISSLTransport.providedBy(transport):
        return Binding()
    handle = cast(Any, transport).getHandle()
    assert isinstance(handle, Connection)
    certificate = handle.get_certificate()
    assert certificate is not None, "we are the server"
    shown = bytes.fromhex(fingerprint(certificate.to_cryptography()))
    return Binding(shown, handle.export_keying_material(_LABEL, EXPORTER_BYTES))
