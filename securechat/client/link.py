"""The client's link to its relay: connect, check the relay's key, log in, stay, and come back when it is lost.

The relay speaks first. A client says nothing, not even its name, before it has checked the key of a relay that it
knows; the key of one that it meets for the first time is remembered at `Welcome`. A link that was up is tried
again for ever (`retry` says when); the first one is tried once.

Twisted's `ClientService` is not used: it has no place to tell somebody that it will try again, it logs the relay's
address, and a link lost while it logs in raises inside it (its machine has no transition for that).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol, cast

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from securechat.client.errors import ClientError, Exit
from securechat.client.retry import Retry
from securechat.client.tls import PinnedTLS, TLSClientFactory
from securechat.client.trouble import no_answer, no_relay, other_key, refused, why_lost, why_unreachable
from securechat.signed.certificates import EXPORTER_BYTES
from securechat.wire.address import Address, fingerprint
from securechat.wire.codes import REASONS, Code
from securechat.wire.framing import MessageProtocol, farewell, names_of
from securechat.wire.messages import (
    VERSION,
    FromClient,
    FromRelay,
    Goodbye,
    Greeting,
    Hello,
    Message,
    Refused,
    Renew,
    Welcome,
)
from securechat.wire.outbox import Turn

EXPORTER_LABEL: Final = b"EXPORTER-Channel-Binding"
"""RFC 9266, section 4."""

LOGIN_S: Final = 15.0
"""Seconds from the attempt to connect to `Welcome`."""

PING_MOST_S: Final = 300
"""The longest silence before a ping, whatever the relay says."""

RENEW_S: Final = 3600.0
"""How often a link looks whether a new prekey is due."""

# A relay ends a link for these reasons, which pass: a full house, a new start, a link that was too slow.
_PASSING: Final = frozenset(
    (Code.FULL, Code.BUSY, Code.TOO_MANY_LOGINS, Code.TIMED_OUT, Code.SHUTDOWN, Code.SLOW, Code.SILENT, Code.FAILED)
)

# And for these, which do not, whatever was before.
_FINAL: Final = frozenset({Code.REPLACED, Code.BANNED})


class KnownRelays(Protocol):
    """Remembers the keys of relays; `home.Pins` does."""

    def find(self, place: str) -> str | None:
        """The fingerprint remembered for a place."""

    def remember(self, place: str, fingerprint: str) -> None:
        """Remember one."""


class Login(Protocol):
    """Says who we are; `login.Login` does."""

    def hello(self, fingerprint: bytes, nonce: bytes, exporter: bytes) -> Hello:
        """Answer a greeting on a link: the relay's fingerprint and TLS's exporter, both empty without TLS.

        Raises `ClientError`.
        """

    def renewal(self) -> Renew | None:
        """A new prekey, where it is time for one. Raises `ClientError`."""


class LinkListener(Protocol):
    """Hears of a link; `Conversation` does."""

    def link_up(self, welcome: Welcome, relay: str, motd: str) -> None:
        """Logged in."""

    def link_down(self, relay: str, reason: str, retry_s: float | None) -> None:
        """The link is lost, and tried again after a while or not at all."""

    def received(self, message: FromRelay) -> None:
        """A message came."""


@implementer(IHandshakeListener)
class ClientProtocol(MessageProtocol):
    """The client's end of one link."""

    receives = msgspec.msgpack.Decoder(FromRelay)
    receives_names = names_of(FromRelay)
    # What a client has to say is bounded by the relay's window and by its own outboxes of rooms.
    outbox_bytes = 64 * 1024 * 1024
    outbox_frames = 100_000

    def __init__(self, clock: IReactorTime, turn: Turn, owner: "Link") -> None:
        super().__init__(clock, turn)
        self.fingerprint = ""
        self.exporter = b""
        self.welcomed = False
        self._owner = owner
        self._greeting: Greeting | None = None

    def connectionMade(self) -> None:
        """Wait for the relay to speak."""
        super().connectionMade()
        self._owner.connected(self)

    def handshakeCompleted(self) -> None:
        """TLS is up: see whose key it is, before anything is said."""
        certificate = cast(TLSMemoryBIOProtocol, self.transport).getPeerCertificate()
        assert certificate is not None
        try:
            self.fingerprint = fingerprint(certificate.to_cryptography())
        except (ValueError, UnsupportedAlgorithm):
            # OpenSSL reads certificates that `cryptography` does not; raised here it would be a traceback.
            self.fail(no_relay(self._owner.address))
            return
        wrong = self._owner.check_key(self.fingerprint)
        if wrong is not None:
            self.fail(wrong)
            return
        # RFC 9266: whoever is in between has two TLS sessions, and a login that is good for one of them only.
        handle = cast(TLSMemoryBIOProtocol, self.transport).getHandle()
        self.exporter = handle.export_keying_material(EXPORTER_LABEL, EXPORTER_BYTES)

    def fail(self, error: ClientError) -> None:
        """End a link that is of no use."""
        self._owner.failed(error)
        self.cut_off()

    def refuse(self, code: Code) -> None:
        """End a link on which a relay sent what none would: `Refused` is no client's word."""
        self.drop(farewell(Code.FAILED))

    def message_received(self, message: Message) -> None:
        """Greeting, then Welcome or Refused, then everything else."""
        if isinstance(message, Refused | Goodbye):
            self._owner.ended_by_relay(message, self.welcomed)
            self.drop(farewell(Code.QUIT))
        elif self.welcomed:
            if isinstance(message, Greeting | Welcome):
                self.refuse(Code.OUT_OF_ORDER)
            else:
                self._owner.listener.received(cast(FromRelay, message))
        elif self._greeting is None and isinstance(message, Greeting):
            self._greeting = message
            if message.version != VERSION:
                self.fail(refused(self._owner.address, Code.VERSION))
            else:
                self._log_in(message.nonce)
        elif self._greeting is not None and isinstance(message, Welcome):
            self.welcomed = True
            self.ping_s = min(max(message.limits.ping_s, 1), PING_MOST_S)
            self._owner.logged_in(self, message, self._greeting.motd)
        else:
            self.refuse(Code.OUT_OF_ORDER)

    def _log_in(self, nonce: bytes) -> None:
        try:
            hello = self._owner.login.hello(bytes.fromhex(self.fingerprint), nonce, self.exporter)
        except ClientError as wrong:
            # A prekey that could not be stored is not offered: what is sealed to it would be lost.
            self.fail(wrong)
        else:
            self.send(hello)

    def link_lost(self, reason: Failure) -> None:
        """The link is gone."""
        self._owner.lost(self, reason)


class Link:
    """One client's link over all its connections. `gave_up` hears of what trying again would not mend."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        address: Address,
        login: Login,
        clock: IReactorTime,
        pins: KnownRelays,
        gave_up: Callable[[ClientError], None],
        retry: Retry | None = None,
    ) -> None:
        self.login = login
        self.listener: LinkListener
        self.relay = str(replace(address, fingerprint=""))
        self._endpoint = endpoint
        self.address = address
        self._clock = clock
        self._turn = Turn(clock)
        self._pins = pins
        self._gave_up = gave_up
        self._retry = retry or Retry()
        factory = Factory.forProtocol(lambda: ClientProtocol(clock, self._turn, self))
        factory.noisy = False
        self._factory: IProtocolFactory = factory
        if address.tls:
            self._factory = TLSClientFactory(PinnedTLS(), True, factory, clock)
        self._connecting: Deferred[IProtocol] | None = None
        self._protocol: ClientProtocol | None = None
        self._login_call: IDelayedCall | None = None
        self._retry_call: IDelayedCall | None = None
        self._renew_call: IDelayedCall | None = None
        self._was_up = False
        self._up_since: float | None = None
        self._error: ClientError | None = None
        self._reason = ""
        self._stopped: Deferred[None] | None = None
        self._held: set[str] = set()

    # What the owner does.

    def start(self, listener: LinkListener) -> None:
        """Connect, and tell `listener` what comes of it."""
        self.listener = listener
        self._connect()

    def send(self, message: FromClient) -> None:
        """Send a message; it is dropped where the link is down, which `link_down` has told or will tell."""
        if self._protocol is not None:
            self._protocol.send(message)

    def stop(self) -> Deferred[None]:
        """Say goodbye and end the link. Fires when it is gone, within seconds."""
        if self._stopped is not None:
            return self._stopped
        self._stopped = Deferred()
        self._cancel(self._retry_call)
        if self._connecting is not None:
            self._connecting.cancel()
        elif self._protocol is not None:
            self._protocol.drop(farewell(Code.QUIT))
        else:
            self._finish()
        return self._stopped

    def hold(self, why: str) -> None:
        """Read nothing, until every `why` has been released."""
        self._held.add(why)
        protocol = self._protocol
        # A login goes on: it says little, and paused it would come too late.
        if protocol is not None and protocol.welcomed and not protocol.paused:
            protocol.pauseProducing()

    def release(self, why: str) -> None:
        """What `hold` was called for is over."""
        if why not in self._held:
            return
        self._held.discard(why)
        # Not at once: this may be called from within the receiver (TWISTED.md trap 3).
        self._clock.callLater(0, self._read_again)

    def _read_again(self) -> None:
        protocol = self._protocol
        if not self._held and protocol is not None and protocol.paused and not protocol.closing:
            protocol.resumeProducing()

    # What a connection tells.

    def check_key(self, found: str) -> ClientError | None:
        """What is wrong with the key of the relay that we have reached, if anything is."""
        address = self.address
        try:
            expected = address.fingerprint or self._pins.find(address.place)
        except ClientError as unreadable:
            return unreadable
        if expected is None or found == expected:
            return None
        return other_key(address, found)

    def connected(self, protocol: ClientProtocol) -> None:
        """There is a connection; nobody is logged in yet."""
        self._protocol = protocol

    def logged_in(self, protocol: ClientProtocol, welcome: Welcome, motd: str) -> None:
        """The relay has taken our name."""
        if self.address.tls:
            try:
                self._pins.remember(self.address.place, protocol.fingerprint)
            except ClientError as wrong:
                protocol.fail(wrong)
                return
        self._cancel(self._login_call)
        self._renew_call = self._clock.callLater(RENEW_S, self._renew)
        self._was_up = True
        self._up_since = self._clock.seconds()
        self.listener.link_up(welcome, self.relay, motd)
        if self._held:
            protocol.pauseProducing()

    def failed(self, error: ClientError) -> None:
        """A connection is of no use, nor would another one be."""
        self._error = error

    def ended_by_relay(self, last: Refused | Goodbye, welcomed: bool) -> None:
        """The relay has said its last word."""
        self._reason = f"the relay says: {REASONS[last.code]}"
        if welcomed and isinstance(last, Refused):
            self._error = ClientError(f"the relay did not take what was sent: {REASONS[last.code]}", Exit.PROTOCOL)
        elif last.code in _FINAL or (not welcomed and not (self._was_up and last.code in _PASSING)):
            self._error = refused(self.address, last.code)

    def lost(self, protocol: ClientProtocol, failure: Failure) -> None:
        """A connection is gone."""
        if protocol is self._protocol:
            self._protocol = None
            self._reason = self._reason or why_lost(self.address, failure, protocol.welcomed, protocol.last_word)
            self._ended()

    # Attempts.

    def _connect(self) -> None:
        self._retry_call = None
        self._reason = ""
        self._login_call = self._clock.callLater(LOGIN_S, self._too_late)
        connecting = self._connecting = self._endpoint.connect(self._factory)
        connecting.addCallbacks(self._reached, self._unreachable)

    def _reached(self, _: object) -> None:
        self._connecting = None

    def _unreachable(self, failure: Failure) -> None:
        self._connecting = None
        self._reason = self._reason or why_unreachable(self.address, failure)
        self._ended()

    def _too_late(self) -> None:
        self._login_call = None
        self._reason = no_answer(self.address)
        if self._connecting is not None:
            self._connecting.cancel()
        elif self._protocol is not None:
            self._protocol.cut_off()

    def _renew(self) -> None:
        """Now and then: a link may last longer than a prekey should."""
        self._renew_call = self._clock.callLater(RENEW_S, self._renew)
        try:
            renewal = self.login.renewal()
        except ClientError as wrong:
            self._gave_up(wrong)
        else:
            if renewal is not None:
                self.send(renewal)

    def _ended(self) -> None:
        self._cancel(self._login_call)
        self._cancel(self._renew_call)
        if self._stopped is not None:
            self._finish()
        elif self._error is not None or not self._was_up:
            self._gave_up(self._error or ClientError(self._reason, Exit.UNREACHABLE))
        else:
            since, self._up_since = self._up_since, None
            wait = self._retry.wait_s(0.0 if since is None else self._clock.seconds() - since)
            self._retry_call = self._clock.callLater(wait, self._connect)
            self.listener.link_down(self.relay, self._reason, wait)

    def _finish(self) -> None:
        assert self._stopped is not None
        if not self._stopped.called:
            self._stopped.callback(None)

    def _cancel(self, call: IDelayedCall | None) -> None:
        if call is not None and call.active():
            call.cancel()
