"""What went wrong with a link, in words that say what to do, and the exit status for it."""

from dataclasses import replace
from errno import ENOENT
from typing import Final

from OpenSSL import SSL
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.python.failure import Failure

from securechat.client.errors import ClientError, Exit
from securechat.wire.address import Address
from securechat.wire.codes import REASONS, Code

_STATUS: Final = {
    Code.FULL: Exit.NOT_PERMITTED,
    Code.BAD_NAME: Exit.NOT_PERMITTED,
    Code.NAME_TOO_LONG: Exit.NOT_PERMITTED,
    Code.NAME_OWNED: Exit.NOT_PERMITTED,
    Code.BANNED: Exit.NOT_PERMITTED,
    Code.REPLACED: Exit.NOT_PERMITTED,
    Code.TOO_MANY_LOGINS: Exit.NOT_PERMITTED,
    Code.BUSY: Exit.UNREACHABLE,
    Code.TIMED_OUT: Exit.UNREACHABLE,
    Code.SHUTDOWN: Exit.UNREACHABLE,
    Code.FAILED: Exit.UNREACHABLE,
}

_ADVICE: Final = {
    Code.FULL: "try again later",
    Code.NAME_OWNED: "choose another, or use the keys that it was first used with",
    Code.BANNED: "ask the operator",
    Code.SHUTDOWN: "try again later",
    Code.VERSION: "use the version of securechat that its operator uses",
}


def refused(address: Address, code: Code) -> ClientError:
    """The relay does not take our login."""
    advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
    text = f"the relay at {address.place} refused: {REASONS[code]}{advice}"
    return ClientError(text, _STATUS.get(code, Exit.PROTOCOL))


def other_key(address: Address, found: str) -> ClientError:
    """The relay has another key than `address` says, or, where that says none, than it had before."""
    whole = replace(address, fingerprint=found)
    if address.fingerprint:
        return ClientError(
            f"the relay at {address.place} has another key than the address says; do not go on: somebody may be in "
            f"between, or the address is old. Ask its operator. What answers is {whole}",
            Exit.PROTOCOL,
        )
    return ClientError(
        f"the relay at {address.place} has another key than when you first met it; do not go on unless its "
        f"operator confirms the new one. Then give it whole, once: --relay {whole}",
        Exit.PROTOCOL,
    )


def no_relay(address: Address) -> ClientError:
    """What answers has a certificate that no relay has."""
    return ClientError(f"what listens at {address.place} is no securechat relay", Exit.PROTOCOL)


def no_answer(address: Address) -> str:
    """There was a connection, or not even that, and no `Welcome` in time."""
    return f"{address.place} does not answer in time{_tls_hint(address)}"


def why_unreachable(address: Address, failure: Failure) -> str:
    """Why there was no connection."""
    place = address.place
    if failure.check(DNSLookupError):
        return f"there is no host called {address.host}; check the address"
    if failure.check(ConnectionRefusedError):
        return f"nothing listens at {place}; is the relay running? (twistd -n securechat starts one)"
    if failure.check(CancelledError, TimeoutError):
        return f"{place} does not answer; check the address and your network"
    if failure.check(ConnectError) and getattr(failure.value, "osError", None) == ENOENT:
        return f"there is no socket {place}; is the relay running?"
    return f"cannot reach {place}: {' '.join(failure.getErrorMessage().split())}"


def why_lost(address: Address, failure: Failure, welcomed: bool, last_word: Code | None) -> str:
    """Why a connection ended: before the login or after it, by us with a last word or not."""
    place = address.place
    if welcomed:
        return "the relay does not answer" if last_word is Code.SILENT else "the connection broke"
    if failure.check(SSL.Error):
        return f"what listens at {place} does not speak TLS 1.3; without TLS it is securechat+tcp://{place}"
    if last_word is not None:
        return f"what listens at {place} is no securechat relay{_tls_hint(address)}"
    text = f"{place} closed the connection; it may be no relay, or take no more connections from here"
    return text + _tls_hint(address)


def _tls_hint(address: Address) -> str:
    """A relay with TLS waits in silence for a client without."""
    return "" if address.tls or address.path else f"; if it speaks TLS, it is securechat://{address.place}"
