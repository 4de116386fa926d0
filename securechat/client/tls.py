"""TLS as the client speaks it: version 1.3, and a key that is known by its fingerprint."""

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer


@implementer(IOpenSSLClientConnectionCreator)
class PinnedTLS:
    """TLS 1.3 without certificate authorities: the key is checked by its fingerprint after the handshake.

    OpenSSL verifies in the handshake that the relay holds the key of its certificate; nothing else about the
    certificate counts.
    """

    def __init__(self) -> None:
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_min_proto_version(SSL.TLS1_3_VERSION)
        self._context.set_verify(SSL.VERIFY_NONE)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803
        """A connection over memory buffers, as Twisted wants it."""
        return SSL.Connection(self._context, None)


class TLSClientFactory(TLSMemoryBIOFactory):
    """TLS around the client's link; writes are gathered by our outbox, so Twisted's buffering is left out."""

    protocol = TLSMemoryBIOProtocol
