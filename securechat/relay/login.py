"""Whether a `Hello` holds: the certificate, the proof for this very link, and the prekey (SC1 §1, §2).

Three signatures at most are checked for it, some 0.3 ms, and a connection has one `Hello`.
"""

from securechat.relay.binding import Binding
from securechat.relay.directory import Owner
from securechat.signed.certificates import login_is_proven, name_in, read_certificate
from securechat.signed.errors import NotAuthentic
from securechat.signed.prekeys import read_prekey
from securechat.wire.messages import Hello


def claimed_name(hello: Hello) -> str:
    """Under which name somebody wants to log in, which nobody has checked; empty where there is none."""
    try:
        return name_in(hello.certificate)
    except NotAuthentic:
        return ""


def who_says(hello: Hello, binding: Binding, nonce: bytes, now_ms: int) -> Owner:
    """Who logs in, by a greeting's 32-byte nonce. Raises `NotAuthentic` where they are not who they say."""
    certificate = read_certificate(hello.certificate)
    if not login_is_proven(certificate, binding.fingerprint, nonce, binding.exporter, hello.proof):
        raise NotAuthentic
    prekey = read_prekey(hello.prekey, certificate.device, now_ms)
    return Owner(
        certificate.name,
        certificate.identity,
        certificate.device,
        hello.certificate,
        hello.prekey,
        prekey.not_after_ms,
    )
