"""Who we are, to a relay: the answer to its greeting, and prekeys that are kept before they are offered."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from securechat.client.errors import ClientError
from securechat.client.login import Login
from securechat.e2e.keystore import Secrets
from securechat.e2e.prekeys import ROTATE_MS, PrekeyRing, read_ring
from securechat.signed.certificates import login_is_proven, read_certificate
from securechat.signed.errors import NotAuthentic
from securechat.signed.prekeys import PrekeyRecord, read_prekey
from securechat.wire.messages import VERSION, Hello
from tests.relay.people import NOW_MS, person

NONCE, FINGERPRINT, EXPORTER = b"n" * 32, b"f" * 32, b"e" * 32


class LoginTests(SynchronousTestCase):
    """The login of alice, who starts with no prekey."""

    def setUp(self) -> None:
        """Have keys, a clock, and a disk that remembers what was on it when."""
        self.person = person("alice")
        self.secrets = Secrets(self.person, PrekeyRing(self.person.device))
        self.now_ms = NOW_MS
        self.disk: list[bytes] = []
        self.login = self.made(lambda: self.disk.append(self.secrets.ring.packed))

    def made(self, save: Callable[[], None]) -> Login:
        """A login that saves in this way."""
        return Login(self.secrets, lambda: self.now_ms, save)

    def hello(self) -> Hello:
        """Answer a greeting over TLS."""
        return self.login.hello(FINGERPRINT, NONCE, EXPORTER)

    def offered(self, record: bytes) -> PrekeyRecord:
        """A prekey as a relay reads it."""
        return read_prekey(record, self.person.device.public, self.now_ms)

    def test_proven(self) -> None:
        """An answer has our certificate, and a proof that is good for this relay, nonce and link, and no other."""
        hello = self.hello()
        certificate = read_certificate(hello.certificate)
        self.assertEqual((VERSION, self.person.certificate), (hello.version, certificate))
        self.assertTrue(login_is_proven(certificate, FINGERPRINT, NONCE, EXPORTER, hello.proof))
        for link in (
            (b"g" * 32, NONCE, EXPORTER),
            (FINGERPRINT, b"m" * 32, EXPORTER),
            (FINGERPRINT, NONCE, b"d" * 32),
            (b"", NONCE, b""),
        ):
            self.assertFalse(login_is_proven(certificate, *link, hello.proof))

    def test_without_tls(self) -> None:
        """Without TLS the proof is over no relay's key and no exporter."""
        hello = self.login.hello(b"", NONCE, b"")
        self.assertTrue(login_is_proven(self.person.certificate, b"", NONCE, b"", hello.proof))

    def test_kept_before_it_is_offered(self) -> None:
        """The private half of the first prekey is on disk before the answer is given."""
        prekey = self.offered(self.hello().prekey)
        (kept,) = self.disk
        self.assertIsNotNone(read_ring(kept, self.person.device).private(prekey.prekey_id))

    def test_not_kept(self) -> None:
        """Where the prekey can't be kept there is no answer."""

        def full() -> None:
            raise ClientError("cannot write the keys")

        self.assertRaises(ClientError, self.made(full).hello, FINGERPRINT, NONCE, EXPORTER)

    def test_the_same_for_a_day(self) -> None:
        """Logins of one day offer one prekey, and nothing is written again; a day later there is another."""
        first = self.hello().prekey
        self.now_ms += ROTATE_MS - 1
        self.assertEqual((first, None), (self.hello().prekey, self.login.renewal()))
        self.assertEqual(1, len(self.disk))
        self.now_ms += 1
        second = self.hello().prekey
        self.assertNotEqual(self.offered(first).prekey_id, self.offered(second).prekey_id)
        self.assertEqual(2, len(self.disk))

    def test_renewed_on_a_link(self) -> None:
        """A link that lasts a day offers a new prekey, which is on disk; what was sealed to the old one opens."""
        old = self.offered(self.hello().prekey)
        self.now_ms += ROTATE_MS
        renewal = self.login.renewal()
        assert renewal is not None
        new = self.offered(renewal.prekey)
        ring = read_ring(self.disk[-1], self.person.device)
        for each in (old, new):
            self.assertIsNotNone(ring.private(each.prekey_id))
        self.assertEqual(renewal.prekey, self.hello().prekey)
        self.assertIsNone(self.login.renewal())

    def test_clock_that_went_back(self) -> None:
        """After a clock was set back a prekey of then is offered: the last one would come from the future."""
        future = self.hello().prekey
        self.now_ms -= ROTATE_MS
        self.assertRaises(NotAuthentic, self.offered, future)
        self.assertEqual(self.now_ms, self.offered(self.hello().prekey).not_before_ms)
